"""The course's Ray Serve application in this process: HTTP, handles, streams, batches, health, new settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import torch

from mlinfra.course import classifier, ray_app, ray_local

TEXTS = ["the app is great", "support was very rude today", "the search is not slow"]
T = TypeVar("T")


@pytest.fixture(scope="module")
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Awaitable[T]], T]:
    """The answer of something that is awaited."""
    return loop.run_until_complete


@pytest.fixture
def local() -> ray_local.LocalApplication:
    return ray_local.run(ray_app.app)


def plain(text: str) -> ray_app.Sentiment:
    (row,) = classifier.probabilities(classifier.load(), [classifier.tokens(text)])
    return ray_app.Sentiment(label=classifier.LABELS[row.index(max(row))], probability=round(max(row), 3))


def test_a_handle_answers_as_plain_torch_does(local, run) -> None:  # type: ignore[no-untyped-def]
    assert [run(_predict(local, text)) for text in TEXTS] == [plain(text) for text in TEXTS]


def test_http_answers_the_same_and_refuses_what_fastapi_refuses(local, run) -> None:  # type: ignore[no-untyped-def]
    assert run(local.http.post("/classify", json={"text": TEXTS[0]})).json() == plain(TEXTS[0]).model_dump()
    refused = run(local.http.post("/classify", json={"txt": TEXTS[0]}))
    assert (refused.status_code, refused.json()["detail"][0]["msg"]) == (422, "Field required")


def test_a_stream_gives_one_line_a_message(local, run) -> None:  # type: ignore[no-untyped-def]
    reply = run(local.http.post("/stream", json=[{"text": text} for text in TEXTS]))
    assert list(map(json.loads, reply.text.splitlines())) == [plain(text).model_dump() for text in TEXTS]


def test_full_batches_do_not_wait(local, run) -> None:  # type: ignore[no-untyped-def]
    local.reconfigure("Encoder", {"batch_wait_timeout_s": 600.0})
    try:
        run(_together(local, 16))
    finally:
        local.reconfigure("Encoder", {"batch_wait_timeout_s": 0.01})
    assert local.replicas["Encoder"].sizes()[-2:] == [8, 8]


def test_a_higher_threshold_is_unsure_sooner(local, run) -> None:  # type: ignore[no-untyped-def]
    labels = []
    for threshold in (0.95, 0.5):
        local.reconfigure("Classifier", {"threshold": threshold})
        labels.append(run(_predict(local, TEXTS[1])).label)
    assert labels == ["unsure", "negative"]


def test_weights_that_are_not_finite_are_ill() -> None:
    encoder = ray_app.Encoder.func_or_class()  # type: ignore[attr-defined]
    encoder.check_health()
    with torch.no_grad():
        encoder.encoder.weight.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="not finite"):
        encoder.check_health()


def test_the_same_application_keeps_its_replicas(local) -> None:  # type: ignore[no-untyped-def]
    assert ray_local.run(ray_app.app) is local
    assert set(local.replicas) == {"Preprocessor", "Encoder", "Classifier"}


async def _predict(local: ray_local.LocalApplication, text: str) -> ray_app.Sentiment:
    answer: ray_app.Sentiment = await local.handle.predict.remote(text)
    return answer


async def _together(local: ray_local.LocalApplication, count: int) -> None:
    await asyncio.gather(*(_predict(local, TEXTS[0]) for _ in range(count)))
