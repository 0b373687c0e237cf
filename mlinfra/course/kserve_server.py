"""KServe's own model server with the classifier in it and a tokenizer in front, called in process: no port is open.

KServe 0.21.0. `ModelServer.start` listens on 0.0.0.0, which is right in a pod and wrong on a desk, so the REST
application is built from the same parts (`protocol/rest/server.py`) and called through its ASGI interface.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from kserve import (
    InferenceRESTClient,
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    Model,
    ModelRepository,
    ModelServer,
    model_server,
)
from kserve.errors import InvalidInput
from kserve.inference_client import RESTConfig
from kserve.logging import logger
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer
from kserve.utils.utils import generate_uuid

from mlinfra.course import classifier

TEXTS = {"name": "texts", "datatype": "BYTES", "shape": [-1]}
TOKENS = {"name": "tokens", "datatype": "INT64", "shape": [-1, classifier.LENGTH]}
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(classifier.LABELS)]}
"""Tensors as the Open Inference Protocol's metadata gives them; -1 is any number of rows."""

Payload: TypeAlias = dict[str, Any] | InferRequest
Answer: TypeAlias = dict[str, Any] | InferResponse

warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe 0.21 on a newer FastAPI
logger.addHandler(logging.NullHandler())  # refused requests are logged with a traceback; the caller sees the answer


class ClassifierModel(Model):
    """The predictor: tokens in, the probability of each label out, in V1 and in the Open Inference Protocol."""

    def __init__(self, name: str, weights: Path = classifier.WEIGHTS) -> None:
        super().__init__(name)
        self.weights = weights

    def load(self) -> bool:
        self.model = classifier.load(self.weights)
        self.ready = True
        return self.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        return [TOKENS]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [PROBABILITIES]

    def predict(self, payload: Payload, headers: Mapping[str, str] | None = None) -> Answer:
        if isinstance(payload, InferRequest):
            rows = classifier.probabilities(self.model, _tokens(_tensor(payload, TOKENS)))
            return _tensors(payload, self.name, rows)
        return {"predictions": classifier.probabilities(self.model, _tokens(_instances(payload)))}


class Tokenizer(Model):
    """The transformer: texts in, tokens on to the predictor in the caller's protocol, its answer back."""

    def __init__(self, name: str, predictor: httpx.AsyncBaseTransport, predictor_host: str) -> None:
        super().__init__(name)
        self.url = f"http://{predictor_host}"
        self.v1, self.v2 = (InferenceRESTClient(RESTConfig(predictor, protocol)) for protocol in ("v1", "v2"))

    def get_input_types(self) -> list[dict[str, Any]]:
        return [TEXTS]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [PROBABILITIES]

    def preprocess(self, payload: Payload, headers: Mapping[str, str] | None = None) -> Payload:
        if not isinstance(payload, InferRequest):
            return {"instances": [classifier.tokens(text) for text in _texts(_instances(payload))]}
        rows = [classifier.tokens(text) for text in _texts(_tensor(payload, TEXTS))]
        tensor = InferInput("tokens", [len(rows), classifier.LENGTH], "INT64", [i for row in rows for i in row])
        return InferRequest(self.name, [tensor], payload.id)

    async def predict(self, payload: Payload, headers: Mapping[str, str] | None = None) -> Answer:
        client = self.v2 if isinstance(payload, InferRequest) else self.v1
        answer: Answer = await client.infer(self.url, payload, self.name)
        return answer


def _instances(payload: Any) -> list[Any]:
    """The list of a V1 request; InvalidInput (status 400) when there is none."""
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InvalidInput('Expected "instances" to be a list with at least one element')
    return instances


def _tensor(request: InferRequest, expected: Mapping[str, Any]) -> list[Any]:
    """The rows of a V2 request's one tensor, whose type and shape must be those of the model's metadata."""
    if len(request.inputs) != 1:
        raise InvalidInput(f"Expected 1 input tensor, got {len(request.inputs)}")
    tensor, shape = request.inputs[0], expected["shape"]
    if tensor.datatype != expected["datatype"]:
        raise InvalidInput(f'Input "{tensor.name}": expected datatype {expected["datatype"]}, got {tensor.datatype}')
    if tensor.name != expected["name"]:
        raise InvalidInput(f'Expected an input "{expected["name"]}", got "{tensor.name}"')
    if len(tensor.shape) != len(shape) or tensor.shape[0] < 1 or list(tensor.shape[1:]) != shape[1:]:
        raise InvalidInput(f'Input "{tensor.name}": expected shape {shape}, got {tensor.shape}')
    try:
        rows: list[Any] = np.array(tensor.data, dtype=object).reshape(tensor.shape).tolist()  # an object is not cast
    except ValueError as error:
        raise InvalidInput(f'Input "{tensor.name}": {error}') from error
    return rows


def _tokens(rows: list[Any]) -> list[list[int]]:
    """Rows of `LENGTH` numbers of the vocabulary; InvalidInput for any other."""
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != classifier.LENGTH or not all(type(item) is int for item in row):
            raise InvalidInput(f"Instance {i}: expected a list of {classifier.LENGTH} whole numbers")
        if not all(0 <= item < classifier.VOCABULARY for item in row):
            raise InvalidInput(f"Instance {i}: a token must be between 0 and {classifier.VOCABULARY - 1}")
    return rows


def _texts(rows: list[Any]) -> list[str]:
    """Texts, decoded when they come as bytes; InvalidInput for anything else."""
    texts = [row.decode(errors="replace") if isinstance(row, bytes) else row for row in rows]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"Instance {i}: expected a text, got {text!r}")
    return texts


def _tensors(request: InferRequest, name: str, rows: list[list[float]]) -> InferResponse:
    """Rows as the one FP32 tensor of a V2 response."""
    tensor = InferOutput(
        "probabilities", [len(rows), len(classifier.LABELS)], "FP32", [item for row in rows for item in row]
    )
    return InferResponse(request.id or generate_uuid(), name, [tensor])  # a request need not name itself


@dataclass(frozen=True)
class Reply:
    """What a server answers: the HTTP status and the decoded body."""

    status: int
    body: Any


JSON = "application/json"


class Endpoint:
    """A KServe REST server with these models, without a port."""

    def __init__(self, *models: Model) -> None:
        self.models = ModelRepository()
        for model in models:
            self.models.update(model)
        rest = RESTServer("", DataPlane(self.models), ModelRepositoryExtension(self.models), http_port=0)
        app = FastAPI()
        rest._register_endpoints(app)  # upstream's public way puts every server into one global application
        rest._add_exception_handlers(app)
        self.transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def get(self, path: str) -> Reply:
        """The answer to a GET."""
        return self._send("GET", path, b"", JSON)

    def post(self, path: str, body: object, content_type: str = JSON) -> Reply:
        """The answer to a POST; a body that is not text yet goes out as JSON."""
        return self._send("POST", path, (body if isinstance(body, str) else json.dumps(body)).encode(), content_type)

    def _send(self, method: str, path: str, content: bytes, content_type: str) -> Reply:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://in-process") as client:
                return await client.request(method, path, content=content, headers={"content-type": content_type})

        with start_blocking_portal() as portal:  # a notebook's own loop is running already
            response = portal.call(call)
        body = response.json() if "json" in response.headers.get("content-type", "") else response.text
        return Reply(int(response.status_code), body)


def bert_classifier(name: str = "bert-classifier") -> Endpoint:
    """The course's service: the tokenizer's server in front of the classifier's."""
    predictor = ClassifierModel(name)
    predictor.load()
    front = Tokenizer(name, Endpoint(predictor).transport, f"{name}-predictor")
    front.load()
    return Endpoint(front)


def from_storage(arguments: Sequence[str] | None = None) -> ClassifierModel:
    """The model whose weights are the one file that KServe's storage initializer has put into --model_dir."""
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--model_dir", type=Path, default=Path("/mnt/models"))
    options = parser.parse_args(arguments)
    (weights,) = options.model_dir.iterdir()
    model = ClassifierModel(options.model_name, weights)
    model.load()
    return model


if __name__ == "__main__":
    ModelServer().start([from_storage()])
