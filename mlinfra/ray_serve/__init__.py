"""Ray Serve: deployments and applications, the autoscaling policy, a request's way, and the app on Ray itself."""

from mlinfra.ray_serve.autoscaling import AutoscalingConfig
from mlinfra.ray_serve.config import Application, Deployment

__all__ = ["Application", "AutoscalingConfig", "Deployment"]
