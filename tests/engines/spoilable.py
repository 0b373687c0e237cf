"""The course's encoder, whose replica can be made ill from outside."""

import torch
from ray import serve
from torch import nn

from mlinfra.course import ray_app


@serve.deployment(health_check_period_s=0.5)
class Encoder(ray_app.Encoder.func_or_class):
    """Its health check is the course's; the weights can be spoiled."""

    def spoil(self) -> None:
        with torch.no_grad():
            nn.init.constant_(self.encoder.weight, torch.nan)


app = Encoder.bind()
