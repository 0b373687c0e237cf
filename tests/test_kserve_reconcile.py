"""What KServe's controller writes: revisions and their traffic, HPAs, names, canary pods."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from builders import BERT_MODEL, KNATIVE, OWN_SERVER, STANDARD, damaged, paths
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import validate
from mlinfra.admission.kserve import pitfalls
from mlinfra.admission.rules import Invalid, Problem
from mlinfra.kserve import Canary, InferenceService, Model, Predictor, Transformer, reconcile
from mlinfra.kserve.reconcile import Revisions
from mlinfra.kserve.scaled_object import scaled_object
from mlinfra.manifest import Resources

# ---------------------------------------------------------------------------------------------------- Knative mode


def test_annotations_of_the_source_notebook_lose() -> None:
    """Its minScale of 2 becomes 1: KServe writes min-scale, which Knative reads first."""
    written = reconcile.revision_annotations({}, {"autoscaling.knative.dev/minScale": "2"})
    assert written["autoscaling.knative.dev/min-scale"] == "1"


def test_annotations_that_would_clash_are_dropped() -> None:
    given_annotations = {"autoscaling.knative.dev/max-scale": "9", "team": "nlp"}
    written = reconcile.revision_annotations({"minReplicas": 0}, given_annotations)
    assert "autoscaling.knative.dev/max-scale" not in written
    assert (written["team"], written["autoscaling.knative.dev/min-scale"]) == ("nlp", "0")


def test_a_canary_from_first_to_last() -> None:
    first = Revisions().apply("r1", None)
    assert (first.rolled_out, first.split(None)) == ("r1", {"r1": 100})
    canary = first.apply("r2", 10)
    assert canary.split(10) == {"r2": 10, "r1": 90}
    assert canary.split(0) == {"r1": 100}
    promoted = canary.apply("r2", None)
    assert promoted == Revisions("r2", rolled_out="r2", previous="r1")
    assert promoted.apply("r2", 0).split(0) == {"r1": 100}, "a rollback after the promotion, by the percentage alone"


def test_a_first_revision_takes_all_whatever_the_percentage() -> None:
    assert Revisions().apply("r1", 10).split(10) == {"r1": 100}


def test_a_second_canary_before_the_first_is_promoted_leaves_the_stable_one() -> None:
    second = Revisions().apply("r1", None).apply("r2", 10).apply("r3", 20)
    assert second.split(20) == {"r3": 20, "r1": 80}


@given(st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3"]), st.none() | st.integers(0, 100)), max_size=8))
def test_all_the_traffic_always_goes_somewhere(steps: list[tuple[str, int | None]]) -> None:
    state = Revisions()
    for revision, percent in steps:
        state = state.apply(revision, percent)
        assert sum(state.split(percent).values()) == 100
        assert state.apply(revision, percent) == state, "reconciling again changes nothing"


def test_tags() -> None:
    tags = [target.get("tag") for target in reconcile.traffic(20, "r1", tag_routing=True)]
    assert tags == ["latest", "prev"]


# --------------------------------------------------------------------------------------------------- Standard mode


def test_a_metric_of_requests_leaves_an_hpa_without_metrics() -> None:
    assert reconcile.hpa("bert", {"scaleMetric": "concurrency", "scaleTarget": 8})["spec"]["metrics"] == []


def test_auto_scaling_outweighs_the_scale_target() -> None:
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    }
    component = {"scaleTarget": 30, "autoScaling": {"metrics": [memory, {"type": "External", "external": {}}]}}
    assert reconcile.hpa("bert", component)["spec"]["metrics"] == [memory]
    assert reconcile.hpa("bert", {"scaleTarget": 30, "autoScaling": {}})["spec"]["metrics"] == []


@pytest.mark.parametrize(
    ("given_target", "kept"),
    [
        ({"type": "Value", "value": "2Gi"}, {}),
        ({"averageUtilization": 60}, {}),
        (
            {"type": "Utilization", "averageUtilization": 60, "averageValue": "1Gi"},
            {"type": "Utilization", "averageUtilization": 60},
        ),
    ],
)
def test_of_a_memory_target_only_what_its_type_names_is_kept(
    given_target: dict[str, Any], kept: dict[str, Any]
) -> None:
    metric = {"type": "Resource", "resource": {"name": "memory", "target": given_target}}
    found = reconcile.hpa("bert", {"autoScaling": {"metrics": [metric]}})["spec"]["metrics"]
    assert found == [{"type": "Resource", "resource": {"name": "memory", "target": kept}}]


@pytest.mark.parametrize(("percent", "stable", "pods"), [(10, 4, 1), (25, 4, 1), (26, 4, 2), (0, 4, 0), (50, None, 1)])
def test_pods_of_a_canary(percent: int, stable: int | None, pods: int) -> None:
    entry = {"trafficPercent": percent, "predictor": {}}
    assert reconcile.canary_replicas(entry, {} if stable is None else {"minReplicas": stable}) == pods
    assert reconcile.canary_replicas({"trafficPercent": percent, "predictor": {"minReplicas": 3}}, {}) == 3


def test_weights_by_deployment() -> None:
    assert reconcile.weights(STANDARD.manifest()) == {
        "bert-classifier-v1-predictor": 90,
        "bert-classifier-v2-predictor": 10,
    }


# ----------------------------------------------------------------------------------------------- what is made of it


def names(service: InferenceService, kind: str) -> list[str]:
    return [made.name for made in reconcile.reconcile(service.manifest()) if made.kind == kind]


def test_what_appears_in_each_mode() -> None:
    assert names(KNATIVE, "Knative Service") == ["bert-classifier-predictor", "bert-classifier-transformer"]
    assert names(KNATIVE, "Revision")[0] == "bert-classifier-predictor-00001"
    assert names(KNATIVE, "HorizontalPodAutoscaler") == names(KNATIVE, "HTTPRoute") == []
    assert names(STANDARD, "HorizontalPodAutoscaler")[0] == "bert-classifier-v1-predictor"
    assert names(STANDARD, "Deployment") == ["bert-classifier-v1-predictor", "bert-classifier-v2-predictor"]
    assert names(STANDARD, "HTTPRoute") == ["bert-classifier-predictor", "bert-classifier"]


AUTOSCALER = "serving.kserve.io/autoscalerClass"
SCALED_BY = {None: ["HorizontalPodAutoscaler"], "hpa": ["HorizontalPodAutoscaler"], "keda": ["ScaledObject"]}
SCALED_BY |= {"none": [], "external": []}


@pytest.mark.parametrize("scaler", SCALED_BY, ids=str)
@pytest.mark.parametrize("place", ["the service", "the predictor"])
def test_who_scales_a_service_in_standard_mode(scaler: str | None, place: str) -> None:
    """`reconcilers/autoscaler/autoscaler_reconciler.go` and `shouldCreateHPA`; a component's annotation counts first."""
    obj = InferenceService("bert", Predictor(model=BERT_MODEL, min_replicas=2)).manifest()
    annotations = {AUTOSCALER: scaler} if scaler else {}
    if place == "the service":
        obj["metadata"]["annotations"] |= annotations
    else:
        obj["metadata"]["annotations"][AUTOSCALER] = "external"
        obj["spec"]["predictor"]["annotations"] = annotations or {AUTOSCALER: "hpa"}
    assert validate(obj) == []
    kinds = [made.kind for made in reconcile.reconcile(obj)]
    assert kinds == ["InferenceService", "Deployment", "Service", *SCALED_BY[scaler], "HTTPRoute", "HTTPRoute"]


def test_a_service_that_is_stopped_has_nothing_below_it() -> None:
    for service in (KNATIVE, STANDARD):
        obj = service.manifest()
        obj["metadata"]["annotations"]["serving.kserve.io/stop"] = "true"
        assert [made.kind for made in reconcile.reconcile(obj)] == ["InferenceService"]


def test_in_knative_mode_the_class_makes_nothing() -> None:
    obj = KNATIVE.manifest()
    kinds = [made.kind for made in reconcile.reconcile(obj)]
    obj["metadata"]["annotations"][AUTOSCALER] = "keda"
    assert [made.kind for made in reconcile.reconcile(obj)] == kinds


QUERY = {"metric": {"backend": "prometheus", "serverAddress": "http://p", "query": "q"}, "target": {"value": "5"}}


def test_the_scaled_object_of_a_component() -> None:
    """`createKedaScaledObject`: a minimum of none stays, a maximum is at least the minimum."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max"}}
    metrics = [{"type": "External", "external": QUERY}, cpu]
    made = scaled_object(
        "bert-predictor",
        {"minReplicas": 0, "maxReplicas": 4, "autoScaling": {"metrics": metrics, "behavior": behavior}},
    )
    assert validate(made) == []
    assert made["spec"] == {
        "scaleTargetRef": {"name": "bert-predictor"},
        "minReplicaCount": 0,
        "maxReplicaCount": 4,
        "triggers": [
            {"type": "prometheus", "metadata": {"serverAddress": "http://p", "query": "q", "threshold": "5"}},
            {"type": "cpu", "metadata": {"value": "80"}, "metricType": "Utilization"},
        ],
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}},
    }
    assert scaled_object("a", {"minReplicas": 3, "maxReplicas": 2})["spec"]["maxReplicaCount"] == 3


def model(form: str, **given: Any) -> dict[str, Any]:
    return {"modelFormat": {"name": form}, **given}


SOURCES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "image": ({"model": model("sklearn", storageUri="oci://r/m:1")}, ["modelcar-init", "kserve-container", "modelcar"]),
    "volume of an image": ({"model": model("sklearn", storageUri="oci+native://r/m:1")}, ["kserve-container"]),
    "image that is fetched": (
        {"model": model("sklearn", storageUri="oci+fetch://r/m:1")},
        ["storage-initializer", "kserve-container"],
    ),
    "several": (
        {
            "model": model("huggingface"),
            "storageUris": [{"uri": "pvc://base/m"}, {"uri": "s3://b/adapter", "mountPath": "/mnt/adapter"}],
        },
        ["storage-initializer", "kserve-container"],
    ),
    "several volumes": (
        {"model": model("huggingface"), "storageUris": [{"uri": "pvc://base/m"}]},
        ["kserve-container"],
    ),
    "a path": (
        {"model": model("sklearn", storage={"key": "local", "path": "m"})},
        ["storage-initializer", "kserve-container"],
    ),
    "key of old": ({"sklearn": {"storageUri": "pvc://m"}}, ["kserve-container"]),
    "own container": (
        {
            "containers": [
                {"name": "kserve-container", "image": "a:1", "env": [{"name": "STORAGE_URI", "value": "gs://m"}]}
            ]
        },
        ["storage-initializer", "kserve-container"],
    ),
    "another scheme": (
        {"model": model("sklearn", storageUri="model-registry://iris/v1")},
        ["storage-initializer", "kserve-container"],
    ),
}


@pytest.mark.parametrize(("predictor", "running"), SOURCES.values(), ids=SOURCES)
def test_who_fetches_the_model(predictor: dict[str, Any], running: list[str]) -> None:
    """`pkg/webhook/admission/pod/storage_initializer_injector.go`, with modelcars as in the chart."""
    obj = damaged(SERVICE, ("spec",), {"predictor": predictor})
    assert not [problem for problem in validate(obj) if isinstance(problem, Problem)]
    assert reconcile.containers(obj) == running


def test_every_object_has_an_owner_above_it() -> None:
    for service in (KNATIVE, STANDARD):
        depths = [made.depth for made in reconcile.reconcile(service.manifest())]
        assert depths[0] == 0
        assert all(0 < below <= above + 1 for above, below in pairwise(depths))


def test_a_transformer_has_a_route_of_its_own() -> None:
    front = replace(STANDARD, transformer=Transformer(container=OWN_SERVER), canary=())
    assert names(front, "HTTPRoute") == ["bert-classifier-predictor", "bert-classifier-transformer", "bert-classifier"]


def test_what_runs_in_a_pod() -> None:
    assert reconcile.containers(KNATIVE.manifest()) == ["storage-initializer", "kserve-container", "queue-proxy"]
    assert reconcile.containers(STANDARD.manifest()) == ["storage-initializer", "kserve-container"]
    mounted = InferenceService("m", Predictor(model=Model("sklearn", "pvc://models/v1", Resources())))
    assert reconcile.containers(mounted.manifest()) == ["kserve-container"]
    assert reconcile.containers(InferenceService("own", Predictor(model=OWN_SERVER)).manifest()) == ["kserve-container"]


def test_a_canary_of_another_model_keeps_the_service_name() -> None:
    canary = Canary(5, Predictor(model=replace(BERT_MODEL, storage_uri="s3://models/v3"), name="v3"))
    service = replace(STANDARD, canary=(canary,))
    assert list(reconcile.weights(service.manifest()).values()) == [95, 5]


SERVICE = InferenceService("bert", Predictor(model=BERT_MODEL, min_replicas=2)).manifest()
SERVICE["spec"] |= {"canary": [], "transformer": {"containers": [{"name": "a", "image": "a:1"}]}}
CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
SERVICE["spec"]["predictor"]["autoScaling"] = {"metrics": [{"type": "Resource", "resource": CPU}]}
ODD: list[Any] = [None, True, 0, -1, 10**400, 0.5, math.nan, math.inf, "", "5", "é", "\ud800", [], [None], {}, {"a": 1}]


def test_the_service_is_accepted_before_it_is_damaged() -> None:
    assert validate(SERVICE) == []


@settings(max_examples=80, derandomize=True)
@given(st.sampled_from([*paths(SERVICE)][1:]), st.sampled_from(ODD))
def test_what_is_accepted_can_be_read_and_becomes_objects(path: tuple[Any, ...], value: Any) -> None:
    document = damaged(SERVICE, path, value)
    with suppress(Invalid):
        pitfalls(document)
    with suppress(Invalid):
        InferenceService.of(document)
    if not validate(document):
        assert reconcile.reconcile(document)
        assert reconcile.containers(document)
        assert reconcile.hpa("bert", document["spec"]["predictor"])


def test_a_null_field_is_one_that_is_not_given() -> None:
    nulls = damaged(damaged(SERVICE, ("spec", "canary"), None), ("spec", "transformer"), None)
    assert validate(nulls) == []
    assert [made.name for made in reconcile.reconcile(nulls) if made.kind == "Deployment"] == ["bert-predictor"]
    assert [made.name for made in reconcile.reconcile(nulls) if made.kind == "HTTPRoute"] == ["bert-predictor", "bert"]
    assert reconcile.weights(nulls) == {"bert-predictor": 100}
    without_storage = damaged(SERVICE, ("spec", "predictor", "model", "storageUri"), None)
    assert reconcile.containers(without_storage) == ["kserve-container"]


def test_the_model_of_a_key_of_old_is_fetched_too() -> None:
    predictor = {"pytorch": {"storageUri": "s3://models/bert/v1"}}
    obj = damaged(SERVICE, ("spec", "predictor"), predictor)
    assert validate(obj) == []
    assert reconcile.containers(obj) == ["storage-initializer", "kserve-container"]


def test_without_the_gateway_api_the_way_in_is_one_ingress() -> None:
    made = reconcile.reconcile(STANDARD.manifest(), gateway_api=False)
    assert [each for each in made if each.kind in ("HTTPRoute", "Ingress")] == [(1, "Ingress", "bert-classifier")]
    assert reconcile.reconcile(KNATIVE.manifest(), gateway_api=False) == reconcile.reconcile(KNATIVE.manifest())


def test_a_container_without_a_readiness_probe_is_ready_when_its_port_is_open() -> None:
    assert reconcile.readiness_probe({})["tcpSocket"] == {"port": 8080}
    assert reconcile.readiness_probe({"ports": [{"containerPort": 9000}]})["tcpSocket"] == {"port": 9000}
    own = OWN_SERVER.manifest()
    assert reconcile.readiness_probe(own)["httpGet"]["path"] == "/v2/health/ready"
