"""The course's three stages without their model, for what a cluster does: no replica imports torch."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request


@serve.deployment
class Preprocessor:
    """Takes its time."""

    def __init__(self, work_s: float) -> None:
        self.work_s = work_s

    async def __call__(self, text: str) -> str:
        await asyncio.sleep(self.work_s)
        return text


@serve.deployment(name="Encoder")
class Encoder(Preprocessor.func_or_class):
    """Takes its time too."""


@serve.deployment
class Classifier:
    """The ingress: asks the two others in turn, and answers with its version."""

    def __init__(
        self, preprocessor: DeploymentHandle[Any], encoder: DeploymentHandle[Any], work_s: float, version: str
    ):
        self.preprocessor, self.encoder, self.work_s, self.version = preprocessor, encoder, work_s, version

    async def __call__(self, request: Request) -> dict[str, str]:
        text = await self.preprocessor.remote((await request.json())["text"])
        await self.encoder.remote(text)
        await asyncio.sleep(self.work_s)
        return {"version": self.version}


def build(arguments: dict[str, Any]) -> Application:
    """The application; `work_s` says how long each stage takes, and `version` is told."""
    work_s = arguments["work_s"]
    stages = (Preprocessor.bind(work_s["Preprocessor"]), Encoder.bind(work_s["Encoder"]))
    return Classifier.bind(*stages, work_s["Classifier"], arguments["version"])
