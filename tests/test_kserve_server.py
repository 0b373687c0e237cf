"""KServe's own server in process: one answer over every way in, and the right status for a bad request."""

from __future__ import annotations

import socket
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlinfra.course import classifier, kserve_server
from mlinfra.course.kserve_server import ClassifierModel, Endpoint

TEXTS = ["the app is great", "support was very rude today", "the search is not slow", ""]
NAME = "bert-classifier"
TOKENS = classifier.tokens("the app is great")
V1, V2 = f"/v1/models/{NAME}:predict", f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module")
def service() -> Endpoint:
    return kserve_server.bert_classifier(NAME)


@pytest.fixture(scope="module")
def predictor() -> Endpoint:
    model = ClassifierModel("clf")
    model.load()
    return Endpoint(model)


def v2(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"id": "7", "inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}


def rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[round(p, 6) for p in row] for row in rows]


def test_v1_v2_and_plain_torch_give_the_same_answer(service: Endpoint, predictor: Endpoint) -> None:
    ids = [classifier.tokens(text) for text in TEXTS]
    plain = rounded(classifier.probabilities(classifier.load(), ids))
    by_v1 = service.post(V1, {"instances": TEXTS}).body["predictions"]
    by_v2 = service.post(V2, v2("texts", "BYTES", [len(TEXTS)], TEXTS)).body["outputs"][0]
    straight = predictor.post("/v1/models/clf:predict", {"instances": ids}).body["predictions"]
    flat = [i for row in ids for i in row]
    tensor = predictor.post("/v2/models/clf/infer", v2("tokens", "INT64", [len(ids), classifier.LENGTH], flat)).body
    assert by_v2["shape"] == [len(TEXTS), 2]
    assert rounded(by_v1) == rounded(straight) == plain
    for answer in (by_v2["data"], tensor["outputs"][0]["data"]):
        assert rounded([answer[i : i + 2] for i in range(0, len(answer), 2)]) == plain


def test_a_request_need_not_have_an_id(predictor: Endpoint, service: Endpoint) -> None:
    for endpoint, path, tensor in (
        (predictor, "/v2/models/clf/infer", v2("tokens", "INT64", [1, 12], TOKENS)),
        (service, V2, v2("texts", "BYTES", [1], ["the app is great"])),
    ):
        assert endpoint.post(path, tensor).body["id"] == "7"
        unnamed = endpoint.post(path, {"inputs": tensor["inputs"]})
        assert (unnamed.status, bool(unnamed.body["id"])) == (200, True)


def test_a_batch_is_its_messages_one_by_one(service: Endpoint) -> None:
    together = service.post(V1, {"instances": TEXTS}).body["predictions"]
    alone = [service.post(V1, {"instances": [text]}).body["predictions"][0] for text in TEXTS]
    assert rounded(together) == rounded(alone)


def test_metadata_and_readiness(service: Endpoint) -> None:
    assert service.get("/v2").body["name"] == "kserve"
    assert service.get("/v2/health/ready").body == {"ready": True}
    assert service.get(f"/v1/models/{NAME}").body == {"name": NAME, "ready": True}
    said = service.get(f"/v2/models/{NAME}").body
    assert (said["inputs"], said["outputs"]) == ([kserve_server.TEXTS], [kserve_server.PROBABILITIES])


def test_a_model_that_is_not_loaded_is_not_ready() -> None:
    model = ClassifierModel("clf")
    endpoint = Endpoint(model)
    for path in ("/v1/models/clf", "/v2/models/clf/ready"):
        assert endpoint.get(path).status == 503
    assert endpoint.post("/v1/models/clf:predict", {"instances": [classifier.tokens("hi")]}).status == 503
    model.load()
    assert endpoint.get("/v2/models/clf/ready").status == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (V1, '{"inst', 400, "Unrecognized request format"),
        (V1, [1], 400, 'Expected "instances" to be a list'),
        (V1, {}, 400, 'Expected "instances" to be a list'),
        (V1, {"instances": []}, 400, "at least one element"),
        (V1, {"instances": "the app"}, 400, 'Expected "instances" to be a list'),
        (V1, {"instances": ["\ud800", 3]}, 400, "Unrecognized request format"),
        (V1, {"instances": ["fine", 3]}, 400, "Instance 1: expected a text, got 3"),
        ("/v1/models/no:predict", {"instances": ["x"]}, 404, "Model with name no does not exist."),
        (V2, '{"inp', 422, "JSON decode error"),
        (V2, {"inputs": []}, 400, "Expected 1 input tensor, got 0"),
        (V2, v2("text", "BYTES", [1], ["x"]), 400, 'Expected an input "texts", got "text"'),
        (V2, v2("texts", "BYTES", [1, 1], ["x"]), 400, "expected shape [-1], got [1, 1]"),
        (V2, v2("texts", "BYTES", [2], ["x"]), 400, "cannot reshape array of size 1"),
        (V2, v2("texts", "BYTES", [0], []), 400, "expected shape [-1], got [0]"),
        (V2, v2("texts", "INT64", [1], [3]), 400, "expected datatype BYTES, got INT64"),
        (V2, v2("texts", "BYTES", [1], [None]), 400, "expected a text, got None"),
        ("/v2/models/no/infer", v2("texts", "BYTES", [1], ["x"]), 404, "does not exist"),
        (f"/v2/models/{NAME}/versions/1/infer", v2("texts", "BYTES", [1], ["x"]), 501, "versioning"),
    ],
)
def test_bad_requests_to_the_service(service: Endpoint, path: str, body: object, status: int, said: str) -> None:
    reply = service.post(path, body)
    assert reply.status == status
    assert said in str(reply.body)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1, 2], "expected a list of 12 whole numbers"),
        ([1.5] * 12, "expected a list of 12 whole numbers"),
        ([True] * 12, "expected a list of 12 whole numbers"),
        (["a"] * 12, "expected a list of 12 whole numbers"),
        ([classifier.VOCABULARY] * 12, "a token must be between 0 and 498"),
        ([-1] * 12, "a token must be between 0 and 498"),
        ([2**40] * 12, "a token must be between 0 and 498"),
    ],
)
def test_bad_tokens_to_the_predictor(predictor: Endpoint, row: list[Any], said: str) -> None:
    by_v1 = predictor.post("/v1/models/clf:predict", {"instances": [TOKENS, row]})
    assert (by_v1.status, by_v1.body["error"]) == (400, f"Instance 1: {said}")
    if len(row) == classifier.LENGTH:
        by_v2 = predictor.post("/v2/models/clf/infer", v2("tokens", "INT64", [1, 12], row))
        assert (by_v2.status, by_v2.body["error"]) == (400, f"Instance 0: {said}")


def test_what_is_no_json_is_text(service: Endpoint) -> None:
    assert "python_info" in service.get("/metrics").body


def test_other_warnings_are_still_heard(service: Endpoint) -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert {reply.status for reply in pool.map(service.get, ["/v1/models"] * 40)} == {200}
    assert list(warnings.filters) == before


def test_nothing_listens(service: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a port was opened")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(socket.socket, "listen", refuse)
    assert service.post(V1, {"instances": ["the app is great"]}).status == 200


def test_a_refused_request_prints_nothing(service: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    assert service.post(V1, {}).status == 400
    assert capfd.readouterr() == ("", "")


def test_a_pod_serves_the_file_that_storage_gave_it(tmp_path: Path) -> None:
    classifier.save(classifier.train(classifier.messages(50, seed=3), seed=3, epochs=5), tmp_path / "model")
    model = kserve_server.from_storage(["--model_name=other", f"--model_dir={tmp_path}"])
    reply = kserve_server.Endpoint(model).post("/v1/models/other:predict", {"instances": [classifier.tokens("slow")]})
    assert reply.body["predictions"] == classifier.probabilities(
        classifier.load(tmp_path / "model"), [classifier.tokens("slow")]
    )


@pytest.mark.parametrize(
    ("path", "body"), [(V1, {"instances": TEXTS}), (V2, v2("texts", "BYTES", [len(TEXTS)], TEXTS))]
)
def test_a_body_that_is_sent_as_a_form_is_refused(service: Endpoint, path: str, body: Any) -> None:
    """As `curl -d` sends it without a content type."""
    assert service.post(path, body).status == 200
    assert service.post(path, body, "application/x-www-form-urlencoded").status == 400
