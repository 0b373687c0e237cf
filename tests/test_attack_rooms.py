"""Pipelines, Helm, KServe and Ray Serve under attack: one clear refusal or a sound answer, and nothing in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlinfra.admission import kserve as kserve_rules
from mlinfra.admission import validate
from mlinfra.admission.argo import pitfalls
from mlinfra.admission.rules import Invalid
from mlinfra.course import kserve_server, steps
from mlinfra.kserve import InferenceService, Model, Predictor, reconcile
from mlinfra.manifest import Resources
from mlinfra.pipelines import argo
from mlinfra.ray_serve import config as ray

ODD: list[Any] = [None, True, 0, -1, 10**400, 0.5, math.nan, math.inf, "", "5", "é", "\ud800", [], [None], {}, {"a": 1}]
QUICK = settings(max_examples=80, derandomize=True)
ENDPOINT = kserve_server.bert_classifier("c")
BERT = Model("huggingface", "s3://a/b", Resources({"cpu": 1}, {"cpu": 2, "nvidia.com/gpu": 1}), protocol_version="v2")
SERVICE = InferenceService("bert", Predictor(model=BERT, min_replicas=2)).manifest()
SERVICE["spec"] |= {"canary": [], "transformer": {"containers": [{"name": "a", "image": "a:1"}]}}
SERVICE["spec"]["predictor"]["autoScaling"] = {"metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]}
MAIN = {"name": "main", "dag": {"tasks": [{"name": "a", "template": "s"}]}}
HAND = {"apiVersion": argo.API_VERSION, "kind": "Workflow", "metadata": {"generateName": "x-"}}
LEAF = {"name": "s", "container": {"image": "a:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}}
SPEC = {"entrypoint": "main", "templates": [MAIN, LEAF]}
WORKFLOW = argo.workflow(steps.pipeline().ir()) | {"spec": SPEC}
SERVE = ray.Application("a", "m:app", (ray.Deployment("A", 2, calls=("B",)), ray.Deployment("B"))).config()


def sound(call: Callable[[], object]) -> None:
    """The call works, or is refused as bad input is."""
    with suppress(Invalid):
        call()


def damaged(value: Any) -> Iterator[Any]:
    """The document with each odd thing in each place."""
    yield from ODD
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        for broken in damaged(child):
            yield {**value, key: broken} if isinstance(value, dict) else [*value[:key], broken, *value[key + 1 :]]


@QUICK
@given(st.sampled_from([*damaged(SERVICE)]))
def test_what_kserve_accepts_becomes_objects(document: Any) -> None:
    sound(lambda: kserve_rules.pitfalls(document))
    if not validate(document):
        assert reconcile.objects(document)
        assert reconcile.containers(document)
        assert reconcile.hpa("bert", document["spec"]["predictor"])


@QUICK
@given(st.sampled_from([*damaged(WORKFLOW)]))
@example(WORKFLOW | {"spec": SPEC | {"entrypoint": "s"}})
def test_what_argo_accepts_has_pods(document: Any) -> None:
    sound(lambda: pitfalls(document))
    if not validate(document):
        sound(lambda: argo.pods(document))


def test_an_odd_value_is_refused_in_one_way() -> None:
    for document in damaged(SERVE):
        sound(lambda document=document: validate(document))  # type: ignore[misc]
