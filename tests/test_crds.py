"""Custom resources that the builders write, against the schemas that upstream publishes (`--crds DIR`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from builders import BERT, LLM_SERVICES, RAY_SERVICE, SERVICES, VALUES, paths
from pipeline_steps import COURSE_WORKFLOW, source_workflow

from mlinfra import manifest
from mlinfra.admission import argo, kueue, picker, rayservice, scheduler, validate
from mlinfra.admission import keda as rules_of_keda
from mlinfra.admission import kserve as rules_of_kserve
from mlinfra.admission import vpa as rules_of_vpa
from mlinfra.admission.custom import CustomKind
from mlinfra.admission.custom_schema import of_file
from mlinfra.admission.schema import QUANTITY, QUANTITY_PATTERN, Schema, definitions, resolved
from mlinfra.autoscaling import hpa, keda, vpa
from mlinfra.gpu import profile, quota
from mlinfra.gpu.nodes import GPU
from mlinfra.kserve.picker import kserve_default

PUBLISHED = {
    "VerticalPodAutoscaler": "github.com/kubernetes/autoscaler, vertical-pod-autoscaler/deploy/vpa-v1-crd-gen.yaml",
    "ScaledObject": "github.com/kedacore/keda, config/crd/bases",
    "InferenceService": "github.com/kserve/kserve, config/crd/full/serving.kserve.io_inferenceservices.yaml",
    "LLMInferenceService": "github.com/kserve/kserve, config/crd/full/llmisvc",
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
    {
        "apiVersion": kueue.API_VERSION,
        "kind": "Cohort",
        "metadata": {"name": "ml"},
        "spec": {
            "parentName": "all",
            "resourceGroups": quota.ClusterQueue("a", "ml", {GPU: quota.Quota(16, 4, 8)}).manifest()["spec"][
                "resourceGroups"
            ],
        },
    },
    quota.LocalQueue("research", "ml", "a").manifest(),
    quota.ResourceFlavor("a100", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}).manifest(),
    *[service.manifest() for service in SERVICES],
    *[service.manifest() for service in LLM_SERVICES],
    RAY_SERVICE.manifest(),
    COURSE_WORKFLOW,
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


def differing(ours: Schema, published: Schema, path: str = "spec", borrowed: bool = False) -> list[str]:
    """Fields that only one side has, and types and requirements that differ.

    A type of Kubernetes (`borrowed`) has the fields of today: more than a schema that was made of an older one.
    """
    name, ours = resolved(ours)
    if name == QUANTITY or not ours:
        return [] if not ours or "anyOf" in published else [f"{path}: no quantity"]
    if "oneOf" in ours:
        return [] if "anyOf" in published else [f"{path}: not both"]
    borrowed = borrowed or bool(name)
    types = ours.get("type", "")
    if published["type"] not in ([types] if isinstance(types, str) else types):
        return [f"{path}: {types}"]
    lines = [f"{path}: enum"] if not borrowed and set(ours.get("enum", ())) != set(published.get("enum", ())) else []
    for step, inside in (("[]", "items"), ("{}", "additionalProperties")):
        if isinstance(ours.get(inside), Mapping) and published.get(inside):
            lines += differing(ours[inside], published[inside], path + step, borrowed)
    if "properties" in ours and "properties" in published:
        known, names = ours["properties"], published["properties"]
        lines += [f"{path}.{each}" for each in names.keys() - known.keys()]
        lines += [f"{path}.{each}: unpublished" for each in known.keys() - names.keys() if not borrowed]
        if not borrowed and set(ours.get("required", ())) != set(published.get("required", ())):
            lines.append(f"{path}: required")
        for each in known.keys() & names.keys():
            lines += differing(known[each], names[each], f"{path}.{each}", borrowed)
    return lines


CUSTOM = [
    kind
    for module in (
        argo.KINDS,
        rules_of_keda.KINDS,
        rules_of_vpa.KINDS,
        rayservice.KINDS,
        rules_of_kserve.KINDS,
        kueue.KINDS,
    )
    for kind in module.values()
]


@pytest.mark.parametrize("kind", CUSTOM, ids=lambda kind: str(kind.kind))
def test_the_fields_of_a_kind_are_those_published(kind: CustomKind, request: pytest.FixtureRequest) -> None:
    published = schema(request.config.getoption("crds"), {"apiVersion": kind.api_version, "kind": kind.kind})
    assert differing(of_file(kind.fields)["properties"]["spec"], published["properties"]["spec"]) == []


def mutations(obj: manifest.Manifest) -> Iterator[manifest.Manifest]:
    """The object with each value below its head replaced by others, and with each field renamed."""
    for path in paths(obj):
        if not path or path[0] in ("apiVersion", "kind", "metadata"):
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


ONE_OF_EACH_TEMPLATE = deepcopy(COURSE_WORKFLOW)
ONE_OF_EACH_TEMPLATE["spec"]["templates"] = COURSE_WORKFLOW["spec"]["templates"][4:8]
MUTATED = [*WRITTEN[:-1], source_workflow(), ONE_OF_EACH_TEMPLATE]


@pytest.mark.parametrize("obj", MUTATED, ids=lambda obj: str(obj["kind"]))
def test_what_the_published_schema_refuses_is_refused(obj: manifest.Manifest, request: pytest.FixtureRequest) -> None:
    """Some 2,000 wrong objects a kind. An unknown field or a type that only our decoder refuses is a false alarm."""
    checker = jsonschema.Draft202012Validator(schema(request.config.getoption("crds"), obj))
    kind = {kind.kind: kind for kind in CUSTOM}[obj["kind"]]
    for changed in mutations(obj):
        if checker.is_valid(changed):
            assert kind.decode(changed).problems == [], changed
        else:
            assert validate(changed), changed


OLD_RAY = RAY_SERVICE.manifest() | {"apiVersion": "ray.io/v1alpha1"}
del OLD_RAY["spec"]["upgradeStrategy"]
OLD_QUEUE = quota.ClusterQueue("a", "ml", {GPU: quota.Quota(16, 4, 8)}).manifest()
OLD_QUEUE |= {"apiVersion": "kueue.x-k8s.io/v1beta1"}
OLD_QUEUE["spec"]["cohort"] = OLD_QUEUE["spec"].pop("cohortName")
OLD_LLM = LLM_SERVICES[0].manifest() | {"apiVersion": "serving.kserve.io/v1alpha1"}
WITHOUT_A_SCHEMA = [OLD_RAY, OLD_QUEUE, OLD_LLM, kserve_default().manifest(), profile.packing().manifest()]


def strict(shape: Any) -> Any:
    """Our schema for another judge: a struct has the fields that it names and no others."""
    if isinstance(shape, list):
        return [strict(each) for each in shape]
    if not isinstance(shape, Mapping):
        return shape
    inside = {name: strict(each) for name, each in shape.items()}
    return inside | ({"additionalProperties": False} if "properties" in shape else {})


@pytest.mark.parametrize(
    "obj", [*MUTATED[:-1], *WITHOUT_A_SCHEMA], ids=lambda obj: f"{obj['apiVersion']} {obj['kind']}"
)
def test_the_decoder_refuses_what_jsonschema_refuses_and_nothing_else(obj: manifest.Manifest) -> None:
    """The same fields, judged by another program, of the versions of old and the configuration file too."""
    kind = {kind.kind: kind for kind in [*CUSTOM, picker.KIND, scheduler.KIND]}[obj["kind"]]
    old = kind.older.get(obj["apiVersion"])
    fields = strict(of_file(old.fields if old else kind.fields))
    amounts = {QUANTITY: {"type": ["string", "integer"], "pattern": QUANTITY_PATTERN}}
    checker = jsonschema.Draft202012Validator(fields | {"$defs": definitions() | amounts})
    assert checker.is_valid(obj)
    for changed in mutations(obj):
        assert (kind.decode(changed).problems == []) == checker.is_valid(changed), changed
