"""The course's service on Ray Serve, as one writes it: a preprocessor, an encoder and a classifier behind HTTP.

`serve run mlinfra.course.ray_app:app` starts it. Annotations are real types here, not texts: FastAPI reads them.
"""

from collections.abc import AsyncIterator
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from ray import serve
from ray.serve.handle import DeploymentHandle

from mlinfra.course import classifier

api = FastAPI()


class Message(BaseModel):
    """What a client sends."""

    text: str


class Sentiment(BaseModel):
    """What a client gets."""

    label: str
    probability: float


@serve.deployment(num_replicas=2)
class Preprocessor:
    """Text to tokens."""

    def __call__(self, text: str) -> list[int]:
        return classifier.tokens(text)


@serve.deployment(num_replicas="auto", max_ongoing_requests=16, user_config={"batch_wait_timeout_s": 0.01})
class Encoder:
    """Tokens to a vector: the first half of the model, for up to eight messages at once."""

    def __init__(self) -> None:
        self.encoder = classifier.load().encoder
        self.batch_sizes: list[int] = []

    def reconfigure(self, config: dict[str, Any]) -> None:
        self.__call__.set_batch_wait_timeout_s(config["batch_wait_timeout_s"])

    def check_health(self) -> None:
        if not torch.isfinite(self.encoder.weight).all():
            raise RuntimeError("the encoder's weights are not finite")

    @serve.batch(max_batch_size=8)
    async def __call__(self, rows: list[list[int]]) -> list[list[float]]:
        self.batch_sizes.append(len(rows))
        with torch.no_grad():
            return self.encoder(torch.tensor(rows)).tolist()

    def sizes(self) -> list[int]:
        return self.batch_sizes


@serve.deployment(user_config={"threshold": 0.5})
@serve.ingress(api)
class Classifier:
    """The ingress: HTTP in front, handles to the two others, and the second half of the model."""

    def __init__(self, preprocessor: DeploymentHandle, encoder: DeploymentHandle) -> None:
        self.preprocessor, self.encoder = preprocessor, encoder
        self.head = classifier.load().head

    def reconfigure(self, config: dict[str, Any]) -> None:
        self.threshold = config["threshold"]

    async def predict(self, text: str) -> Sentiment:
        tokens = self.preprocessor.remote(text)
        vector = await self.encoder.remote(tokens)
        with torch.no_grad():
            probabilities = torch.softmax(self.head(torch.tensor(vector)), -1).tolist()
        likelier = max(probabilities)
        label = classifier.LABELS[probabilities.index(likelier)] if likelier >= self.threshold else "unsure"
        return Sentiment(label=label, probability=round(likelier, 3))

    @api.post("/classify")
    async def classify(self, message: Message) -> Sentiment:
        return await self.predict(message.text)

    @api.post("/stream")
    async def stream(self, messages: list[Message]) -> StreamingResponse:
        return StreamingResponse(self.lines(messages), media_type="application/x-ndjson")

    async def lines(self, messages: list[Message]) -> AsyncIterator[str]:
        for message in messages:
            yield (await self.predict(message.text)).model_dump_json() + "\n"


app = Classifier.bind(Preprocessor.bind(), Encoder.bind())
