"""The course's service on Ray Serve: a preprocessor, an encoder and a classifier, composed by handles.

`build` is what a config file imports: `import_path: mlinfra.course.ray_app:build`. Local testing mode runs it without
a cluster; there batching is not available, so the encoder takes messages one by one unless told otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Any

import torch
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

from mlinfra.course import classifier

BATCH_SIZE, WAIT_S = 8, 0.01


@serve.deployment
class Preprocessor:
    """Text to tokens."""

    def __init__(self, work_s: float = 0.0) -> None:
        self.work_s = work_s

    async def __call__(self, text: str) -> list[int]:
        await asyncio.sleep(self.work_s)
        return classifier.tokens(text)


@serve.deployment
class Encoder:
    """Tokens to a vector: the first half of the model."""

    def __init__(self, work_s: float = 0.0) -> None:
        torch.set_num_threads(1)
        self.encoder, self.work_s = classifier.load().encoder, work_s

    def encode(self, rows: list[list[int]]) -> list[list[float]]:
        with torch.no_grad():
            vectors: list[list[float]] = self.encoder(torch.tensor(rows)).tolist()
        return vectors

    async def __call__(self, row: list[int]) -> list[float]:
        await asyncio.sleep(self.work_s)
        return self.encode([row])[0]


@serve.deployment(name="Encoder")
class BatchingEncoder(Encoder.func_or_class):
    """The same for up to eight messages at once, if that many come within 10 ms; it remembers how many did."""

    def __init__(self, work_s: float = 0.0) -> None:
        super().__init__(work_s)
        self.batch_sizes: list[int] = []

    def sizes(self) -> list[int]:
        """Sizes of the batches so far."""
        return self.batch_sizes

    @serve.batch(max_batch_size=BATCH_SIZE, batch_wait_timeout_s=WAIT_S)
    async def __call__(self, rows: list[list[int]]) -> list[list[float]]:
        self.batch_sizes.append(len(rows))
        await asyncio.sleep(self.work_s)
        return self.encode(rows)


@serve.deployment
class Classifier:
    """The ingress: asks the two others in turn, and ends with the second half of the model."""

    def __init__(
        self, preprocessor: DeploymentHandle, encoder: DeploymentHandle, work_s: float = 0.0, version: str = ""
    ) -> None:
        torch.set_num_threads(1)
        self.preprocessor, self.encoder, self.version = preprocessor, encoder, version
        self.head, self.work_s = classifier.load().head, work_s

    async def predict(self, text: str) -> dict[str, float]:
        """The probability of each label."""
        row = await self.preprocessor.remote(text)
        vector = await self.encoder.remote(row)
        await asyncio.sleep(self.work_s)
        with torch.no_grad():
            probabilities = torch.softmax(self.head(torch.tensor(vector)), -1).tolist()
        return dict(zip(classifier.LABELS, probabilities, strict=True))

    async def __call__(self, request: Request) -> dict[str, Any]:
        answer: dict[str, Any] = await self.predict((await request.json())["text"])
        return answer | ({"version": self.version} if self.version else {})


def build(arguments: dict[str, Any]) -> Application:
    """The application; `batching` puts the batching encoder in, `work_s` lets stages take longer, `version` is told."""
    work_s = arguments.get("work_s", {})
    encoder = BatchingEncoder if arguments.get("batching") else Encoder
    stages = (Preprocessor.bind(work_s.get("Preprocessor", 0.0)), encoder.bind(work_s.get("Encoder", 0.0)))
    return Classifier.bind(*stages, work_s.get("Classifier", 0.0), arguments.get("version", ""))
