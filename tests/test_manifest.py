"""Quantities, resources, YAML, and the verdicts of `validate`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from mlinfra import admission, manifest, quantity
from mlinfra.admission.containers import resource_problems
from mlinfra.admission.rules import Field
from mlinfra.autoscaling.hpa import HorizontalPodAutoscaler

# Expected values from apimachinery pkg/api/resource/quantity_test.go: TestQuantityParse, TestQuantityString.
PARSED = {
    "0": 0,
    "0n": 0,
    "100m": Fraction(1, 10),
    "+5": 5,
    "-3.01i".rstrip("i"): Fraction(-301, 100),
    "1Ki": 1024,
    "8Ki": 8192,
    "1E": 10**18,
    "1E3": 1000,
    "10e-3": Fraction(1, 100),
    ".5": Fraction(1, 2),
    "4.": 4,
    "9999999999999999999": 2**63 - 1,
}
SHOWN = {
    "1024000m": "1024",
    "1.5Gi": "1536Mi",
    "1024Mi": "1Gi",
    "0.5": "500m",
    "1000": "1k",
    "0.0001": "100u",
    "1e3": "1e3",
    "0.3Ki": "307200m",
    "2048Ki": "2Mi",
    "0Ki": "0",
    "-1e-12": "-1n",
}
REFUSED = {
    "4GB": "regular expression",
    "NaN": "regular expression",
    "1_000": "regular expression",
    " 1": "regular expression",
    "": "regular expression",
    "1.1.1": "numeric part",
    "1mi": "suffix",
    "1e": "suffix",
}


@pytest.mark.parametrize("text", PARSED)
def test_quantity(text: str) -> None:
    assert quantity.quantity(text) == PARSED[text]


@pytest.mark.parametrize("text", SHOWN)
def test_canonical(text: str) -> None:
    assert quantity.canonical(text) == SHOWN[text]


@pytest.mark.parametrize("text", REFUSED)
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[text]):
        quantity.quantity(text)


@pytest.mark.parametrize("value", [True, None, [], float("nan"), float("inf")])
def test_no_quantity_of_another_type(value: Any) -> None:
    quantity.milli_value(1)  # True == 1: a cache must not mix them up
    with pytest.raises(ValueError, match="regular expression"):
        quantity.quantity(value)


@given(st.integers(-(10**12), 10**12), st.sampled_from(["m", "", "k", "M", "Ki", "Mi", "Gi", "e3"]))
def test_canonical_keeps_the_amount_and_is_stable(number: int, suffix: str) -> None:
    shown = quantity.canonical(f"{number}{suffix}")
    assert quantity.quantity(shown) == quantity.quantity(f"{number}{suffix}")
    assert quantity.canonical(shown) == shown


@pytest.mark.parametrize(("text", "milli"), [("0.0001", 1), ("-0.0001", -1), ("1.0005", 1001), ("2", 2000)])
def test_milli_rounds_away_from_zero(text: str, milli: int) -> None:
    assert quantity.milli_value(text) == milli


def test_a_gpu_is_whole_and_equal_in_both() -> None:
    block = manifest.Resources({"cpu": "0.5", "memory": "1024Mi"}, {"memory": "2Gi", "nvidia.com/gpu": 1})
    assert block.manifest() == {
        "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    }


# The messages are those of a Kubernetes 1.36 API server.
@pytest.mark.parametrize(
    ("requests", "limits", "message"),
    [
        (
            {"nvidia.com/gpu": 1},
            {},
            "resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        ({"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 2}, "must be equal to nvidia.com/gpu limit of 2"),
        ({}, {"nvidia.com/gpu": "500m"}, 'resources.limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer'),
        ({"cpu": 3}, {"cpu": 2}, 'Invalid value: "3": must be less than or equal to cpu limit of 2'),
        ({"memory": "4GB"}, {}, 'resources.requests[memory]: Invalid value: "4GB": quantities must match'),
        ({"cpu": -1}, {}, "must be greater than or equal to 0"),
    ],
)
def test_refused_resources(requests: dict[str, Any], limits: dict[str, Any], message: str) -> None:
    block = Field({"requests": requests, "limits": limits}, "resources")
    assert any(message in str(problem) for problem in resource_problems(block))


def test_yaml_is_sorted_and_quotes_what_yaml_would_misread() -> None:
    text = manifest.to_yaml({"kind": "K", "apiVersion": "v1", "spec": {"b": "100", "a": ["yes", "no way", 1]}})
    assert text == 'apiVersion: v1\nkind: K\nspec:\n  a:\n  - "yes"\n  - no way\n  - 1\n  b: "100"\n'


@example({"next line": "\n\x85"})
@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans() | st.lists(st.text())))
def test_yaml_reads_back(obj: dict[str, Any]) -> None:
    assert yaml.safe_load(manifest.to_yaml(obj)) == obj


def hpa(**spec: Any) -> manifest.Manifest:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "bert"}
    head = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "bert"}}
    return {**head, "spec": {"scaleTargetRef": reference, "maxReplicas": 3, **spec}}


def pods_metric(**target: Any) -> manifest.Manifest:
    return {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": target}}


def cpu(**target: Any) -> manifest.Manifest:
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


ACCEPTED = [
    hpa(),
    hpa(metrics=[]),
    hpa(minReplicas=3, metrics=[cpu(type="Utilization", averageUtilization=60)]),
    hpa(
        minReplicas=0,
        metrics=[
            {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "3"}}}
        ],
    ),
    hpa(behavior={"scaleUp": {"tolerance": "0.05"}, "scaleDown": {"selectPolicy": "Disabled"}}),
]


@pytest.mark.parametrize("obj", ACCEPTED)
def test_accepted(obj: manifest.Manifest) -> None:
    assert admission.validate(obj) == []


REJECTED = [
    (hpa(minReplicas=4), "spec.maxReplicas", "must be greater than or equal to `minReplicas`"),
    (hpa(minReplicas=0), "spec.metrics", "must specify at least one Object or External metric"),
    (hpa(maxReplicas=0), "spec.maxReplicas", "must be set and greater than 0"),
    (hpa(metrics=[cpu(type="Utilization", averageUtilization=0)]), "spec.metrics[0].resource.target.averageUtilization", "greater than 0"),
    (hpa(metrics=[cpu(type="Utilization", averageUtilization=5, averageValue="1")]), "spec.metrics[0].resource.target.averageValue", "may not set both"),
    (hpa(metrics=[pods_metric(type="AverageValue")]), "spec.metrics[0].pods.target.averageValue", "positive target averageValue"),
    (hpa(metrics=[pods_metric(type="AverageValue", averageValue="-1")]), "spec.metrics[0].pods.target.averageValue", "must be positive"),
    (hpa(metrics=[{"type": "Custom"}]), "spec.metrics[0].type", 'Unsupported value: "Custom"'),
    (hpa(metrics=[{"type": "Pods"}]), "spec.metrics[0].pods", "must populate information"),
    (hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 4000}}), "spec.behavior.scaleDown.stabilizationWindowSeconds", "less than or equal to 3600"),
    (hpa(behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 2000}]}}), "spec.behavior.scaleUp.policies[0].periodSeconds", "less than or equal to 1800"),
    (hpa(behavior={"scaleUp": {"policies": []}}), "spec.behavior.scaleUp.policies", "at least one Policy"),
    (hpa(maxReplica=3), "spec.maxReplica", 'unknown field "spec.maxReplica"'),
    (
        hpa(maxReplicas="3"),
        "spec.maxReplicas",
        "json: cannot unmarshal string into Go struct field "
        "HorizontalPodAutoscalerSpec.spec.maxReplicas of type int32",
    ),
    (hpa(scaleTargetRef={"kind": "Deployment", "name": ""}), "spec.scaleTargetRef.name", "Required value"),
    ({**hpa(), "metadata": {"name": "My_HPA"}}, "metadata.name", "RFC 1123 subdomain"),
    ({**hpa(), "metadata": {"name": "a", "labels": {"app": "b c"}}}, "metadata.labels", "a valid label"),
    ({**hpa(), "apiVersion": "autoscaling/v2beta2"}, "kind", "no matches for kind"),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "path", "message"), REJECTED, ids=[case[1] for case in REJECTED])
def test_rejected(obj: manifest.Manifest, path: str, message: str) -> None:
    problems = admission.validate(obj)
    assert [p for p in problems if p.path == path and message in p.message], problems


POD: manifest.Manifest = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bert", "uid": "5f4d", "labels": {"app": "bert"}},
    "spec": {"hostNetwork": True, "containers": [{"name": "server", "resources": {"limits": {"memory": "1024Mi"}}}]},
    "status": {"phase": "Running"},
}


def kept(**changes: Any) -> manifest.Manifest:
    container = {"name": "server", "resources": {"limits": {"memory": "1Gi"}}} | changes
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bert"}, "spec": {"containers": [container]}}


@pytest.mark.parametrize(
    ("read", "used", "paths"),
    [
        (POD, POD, []),
        (POD, kept(), ["spec.hostNetwork"]),
        (POD, kept(resources={"limits": {"memory": "2Gi"}}), ["spec.hostNetwork", "spec.containers[0].resources.limits.memory"]),
        (POD, kept(name="other") | {"metadata": {}}, ["metadata.name", "spec.hostNetwork", "spec.containers[0].name"]),
        (POD | {"spec": {}}, kept(), ["spec"]),
        (POD | {"spec": {"nodeSelector": {}, "tolerations": [], "priority": None}}, kept(), ["spec.nodeSelector", "spec.tolerations"]),
        ({"spec": {"replicas": 2, "cpu": "500m", "paused": True, "share": 0.5}}, {"spec": {"replicas": "2", "cpu": 0.5, "paused": 1, "share": "500m"}}, ["spec.paused"]),
        ({"kind": "Job"}, {}, ["kind"]),
        ({}, POD, []),
    ],
)  # fmt: skip
def test_what_is_not_used_is_named(read: manifest.Manifest, used: manifest.Manifest, paths: list[str]) -> None:
    assert manifest.unused_fields(read, used) == paths


def test_what_a_scaler_does_not_use_of_an_object_from_a_server() -> None:
    obj = hpa(metrics=[cpu(type="Utilization", averageUtilization=60)])
    obj["metadata"] |= {"namespace": "ml", "resourceVersion": "7", "annotations": {"note": "mine"}}
    obj["status"] = {"currentReplicas": 2}
    assert manifest.unused_fields(obj, HorizontalPodAutoscaler.of(obj).manifest()) == []
    obj["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 61
    assert manifest.unused_fields(obj, obj | {"spec": {}})[:2] == [
        "spec.scaleTargetRef.apiVersion",
        "spec.scaleTargetRef.kind",
    ]
