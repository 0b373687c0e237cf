"""Custom resources that the builders write, against the schemas that upstream publishes (`--crds DIR`)."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from mlinfra import manifest
from mlinfra.autoscaling import hpa, keda, vpa

BERT = manifest.ObjectReference("Deployment", "bert-classifier")
PUBLISHED = {
    "VerticalPodAutoscaler": "github.com/kubernetes/autoscaler, vertical-pod-autoscaler/deploy/vpa-v1-crd-gen.yaml",
    "ScaledObject": "github.com/kedacore/keda, config/crd/bases",
}

WRITTEN = [
    vpa.VerticalPodAutoscaler("bert", BERT).manifest(),
    vpa.VerticalPodAutoscaler(
        "bert",
        BERT,
        "InPlaceOrRecreate",
        (vpa.ContainerPolicy("server", {"cpu": "100m"}, {"memory": "4Gi"}, ("memory",), "RequestsOnly"),),
    ).manifest(),
    keda.ScaledObject(
        "bert",
        BERT,
        (keda.Trigger("prometheus", {"query": "q"}, "2.8"), keda.Trigger("cpu", {}, 60, metric_type="Utilization")),
        min_replica_count=2,
        idle_replica_count=1,
        behavior=hpa.Behavior(hpa.ScalingRules(tolerance="0.05")),
    ).manifest(),
]


def schema(folder: Path, obj: manifest.Manifest) -> dict[str, object]:
    group, _, version = obj["apiVersion"].partition("/")
    path = folder / f"{group}_{version}_{obj['kind']}.json"
    if not path.exists():
        pytest.skip(f"no schema {path.name} in --crds {folder}; upstream publishes it: {PUBLISHED[obj['kind']]}")
    return dict(json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("obj", WRITTEN, ids=lambda obj: str(obj["kind"]))
def test_what_a_builder_writes_is_in_the_published_schema(
    obj: manifest.Manifest, request: pytest.FixtureRequest
) -> None:
    checker = jsonschema.Draft202012Validator(schema(request.config.getoption("crds"), obj))
    assert [error.message for error in checker.iter_errors(obj)] == []
    assert list(checker.iter_errors(obj | {"spec": obj["spec"] | {"replicaz": 1}})), "the schema is strict"
