"""Custom resources that the builders write, against the schemas that upstream publishes (`--crds DIR`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_kserve_service import GOOD, VALUES, paths
from test_pipelines_argo import COURSE, source_notebook
from test_ray_config import RAY_SERVICE

from mlinfra import manifest
from mlinfra.admission import argo, kueue, rayservice, validate
from mlinfra.admission import keda as rules_of_keda
from mlinfra.admission import kserve as rules_of_kserve
from mlinfra.admission import vpa as rules_of_vpa
from mlinfra.admission.custom import CustomKind
from mlinfra.admission.custom_schema import of_file
from mlinfra.admission.schema import Schema
from mlinfra.autoscaling import hpa, keda, vpa
from mlinfra.gpu import quota
from mlinfra.gpu.nodes import GPU

BERT = manifest.ObjectReference("Deployment", "bert-classifier")
PUBLISHED = {
    "VerticalPodAutoscaler": "github.com/kubernetes/autoscaler, vertical-pod-autoscaler/deploy/vpa-v1-crd-gen.yaml",
    "ScaledObject": "github.com/kedacore/keda, config/crd/bases",
    "InferenceService": "github.com/kserve/kserve, config/crd/full/serving.kserve.io_inferenceservices.yaml",
    "Workflow": "github.com/argoproj/argo-workflows, manifests/base/crds/full",
    "RayService": "github.com/ray-project/kuberay, ray-operator/config/crd/bases",
    **dict.fromkeys(kueue.KINDS, "github.com/kubernetes-sigs/kueue, config/components/crd/bases"),
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
    quota.ClusterQueue("a", "ml", {GPU: quota.Quota(16, 4, 8)}).manifest(),
    quota.LocalQueue("research", "ml", "a").manifest(),
    quota.ResourceFlavor("a100", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}).manifest(),
    *[service.manifest() for service in GOOD],
    RAY_SERVICE.manifest(),
    COURSE,
]


def schema(folder: Path, obj: manifest.Manifest) -> dict[str, Any]:
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


def differing(ours: Schema, published: Schema, path: str = "spec") -> list[str]:
    """Fields that only one side has; what is a type of Kubernetes, or not looked at, may have any."""
    ours, published = ours.get("items", ours), published.get("items", published)
    if "properties" not in ours:
        return []
    names, known = published.get("properties", {}), ours["properties"]
    lines = [f"{path}.{name}" for name in sorted(known.keys() ^ names.keys())]
    for name in sorted(known.keys() & names.keys()):
        lines += differing(known[name], names[name], f"{path}.{name}")
    return lines


CUSTOM = [rules_of_keda.KIND, rules_of_vpa.KIND, rayservice.KIND, rules_of_kserve.KIND, *kueue.KINDS.values()]


@pytest.mark.parametrize("kind", CUSTOM, ids=lambda kind: str(kind.kind))
def test_the_fields_of_a_kind_are_those_published(kind: CustomKind, request: pytest.FixtureRequest) -> None:
    published = schema(request.config.getoption("crds"), {"apiVersion": kind.api_version, "kind": kind.kind})
    assert differing(of_file(kind.fields)["properties"]["spec"], published["properties"]["spec"]) == []


def mutations(obj: manifest.Manifest) -> Iterator[manifest.Manifest]:
    """The object with each value below `spec` replaced by others, and with each field renamed."""
    for path in paths(obj):
        if path[:1] != ("spec",):
            continue
        for value in VALUES[1:]:  # a null field is one that is not given
            changed, branch = copied(obj, path)
            branch[path[-1]] = value
            yield changed
        if isinstance(path[-1], str):
            changed, branch = copied(obj, path)
            branch[f"{path[-1]}z"] = branch.pop(path[-1])
            yield changed


def copied(obj: manifest.Manifest, path: tuple[Any, ...]) -> tuple[manifest.Manifest, Any]:
    """A copy, and what holds the last step of the path in it."""
    whole = branch = deepcopy(obj)
    for step in path[:-1]:
        branch = branch[step]
    return whole, branch


@pytest.mark.parametrize("obj", WRITTEN[:-1], ids=lambda obj: str(obj["kind"]))
def test_what_the_published_schema_refuses_is_refused(obj: manifest.Manifest, request: pytest.FixtureRequest) -> None:
    """Some 2,000 wrong objects a kind. An unknown field or a type that only our decoder refuses is a false alarm."""
    checker = jsonschema.Draft202012Validator(schema(request.config.getoption("crds"), obj))
    kind = {kind.kind: kind for kind in CUSTOM}[obj["kind"]]
    for changed in mutations(obj):
        if checker.is_valid(changed):
            assert kind.decode(changed).problems == [], changed
        else:
            assert validate(changed), changed


def test_what_the_published_schema_refuses_of_a_workflow_is_refused(request: pytest.FixtureRequest) -> None:
    """Some 2,000 wrong Workflows; an unknown field or a type that only our decoding refuses is a false alarm."""
    machinery = deepcopy(COURSE)
    machinery["spec"]["templates"] = machinery["spec"]["templates"][4:8]
    for good in (source_notebook(), machinery):
        checker = jsonschema.Draft202012Validator(schema(request.config.getoption("crds"), good))
        for obj in mutations(good):
            if checker.is_valid(obj):
                assert argo.KIND.decode(obj).problems == []
            else:
                assert validate(obj)
