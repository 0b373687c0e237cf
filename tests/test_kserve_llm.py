"""LLMInferenceService: what is written is read again, and what the webhook and the controller refuse."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from builders import CHAT, LLM_SERVICES, SPLIT_CHAT

from mlinfra.admission import ApiWarning, Invalid, validate
from mlinfra.kserve import LLMInferenceService
from mlinfra.kserve.picker import kserve_default
from mlinfra.manifest import Manifest

KEDA = {"triggers": [{"type": "prometheus", "metadata": {"query": "q"}}]}


def changed(base: LLMInferenceService, **fields: Any) -> Manifest:
    """The manifest with fields set; `a__b` is a path below spec, and None removes."""
    obj = copy.deepcopy(base.manifest())
    for path, value in fields.items():
        *steps, last = path.split("__")
        branch = obj["spec"]
        for step in steps:
            branch = branch.setdefault(step, {})
        if value is None:
            del branch[last]
        else:
            branch[last] = value
    return obj


@pytest.mark.parametrize("service", [*LLM_SERVICES, replace(CHAT, scheduler=False)])
def test_a_service_is_read_as_it_is_written(service: LLMInferenceService) -> None:
    assert validate(service.manifest()) == []
    assert LLMInferenceService.of(service.manifest()) == service
    old = service.manifest() | {"apiVersion": "serving.kserve.io/v1alpha1"}
    assert LLMInferenceService.of(old) == service


def test_the_manifest_is_what_the_documentation_shows() -> None:
    spec = CHAT.manifest()["spec"]
    assert spec["model"] == {
        "uri": "hf://meta-llama/Llama-3.1-8B-Instruct",
        "name": "meta-llama/Llama-3.1-8B-Instruct",
    }
    assert spec["router"] == {"scheduler": {}, "route": {}, "gateway": {}}
    assert spec["replicas"] == 3
    assert [container["name"] for container in spec["template"]["containers"]] == ["main"]


def test_the_picker_gets_kserves_default_or_the_services_own() -> None:
    assert CHAT.picker_config() == kserve_default("0.20")
    assert replace(SPLIT_CHAT, picker=None).picker_config() == kserve_default("0.20", prefill=True, lora=True)
    own = kserve_default("0.19")
    assert replace(CHAT, picker=own).picker_config() == own


WORKER = {"containers": [{"name": "main"}]}
REFS = [{"name": "mine"}]


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"replicas": -1}, "spec.replicas", "greater than or equal to 0"),
        ({"replicaz": 1}, "spec.replicaz", "unknown field"),
        ({"model": {"name": "m"}}, "spec.model.uri", "Required"),
        ({"model__uri": "llama"}, "spec.model.uri", "invalid model URI"),
        ({"model__uri": "gs://b/m"}, "spec.model.uri", "unsupported schema in model URI"),
        ({"worker": WORKER}, "spec.worker", "when worker is specified, parallelism must be configured"),
        (
            {"worker": WORKER, "parallelism": {"tensor": 2}},
            "spec.worker",
            "when worker is specified, parallelism must be configured",
        ),
        ({"parallelism": {"data": 2}}, "spec.parallelism.dataLocal", "dataLocal must be set when data is set"),
        ({"parallelism": {"dataLocal": 2}}, "spec.parallelism.data", "data must be set when dataLocal is set"),
        ({"parallelism": {"data": 2, "dataLocal": 1, "pipeline": 2}}, "spec.parallelism", "cannot set both pipeline"),
        ({"parallelism": {"tensor": 0}}, "spec.parallelism.tensor", "greater than or equal to 1"),
        ({"scaling": {"maxReplicas": 3, "keda": KEDA}}, "spec.scaling", "scaling and replicas are mutually exclusive"),
        ({"replicas": None, "scaling": {"maxReplicas": 3}}, "spec.scaling", "either wva or keda must be specified"),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "minReplicas": 4, "keda": KEDA}},
            "spec.scaling.minReplicas",
            "minReplicas (4) cannot exceed maxReplicas (3)",
        ),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "keda": KEDA, "wva": {"hpa": {}}}},
            "spec.scaling",
            "wva and keda are mutually exclusive",
        ),
        ({"replicas": None, "scaling": {"maxReplicas": 3, "wva": {}}}, "spec.scaling.wva", "either hpa or keda"),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "wva": {"hpa": {}, "keda": {}}}},
            "spec.scaling.wva",
            "hpa and keda are mutually exclusive",
        ),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "wva": {"hpa": {}, "variantCost": "-1"}}},
            "spec.scaling.wva.variantCost",
            "must be a non-negative numeric string",
        ),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "keda": {"triggers": []}}},
            "spec.scaling.keda.triggers",
            "at least one trigger is required",
        ),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "keda": KEDA | {"idleReplicaCount": 0}}},
            "spec.scaling.minReplicas",
            "minReplicas is required when idleReplicaCount is set",
        ),
        (
            {"replicas": None, "scaling": {"maxReplicas": 3, "minReplicas": 1, "keda": KEDA | {"idleReplicaCount": 1}}},
            "spec.scaling.keda.idleReplicaCount",
            "idleReplicaCount (1) must be less than minReplicas (1)",
        ),
        (
            {
                "replicas": None,
                "scaling": {
                    "maxReplicas": 3,
                    "wva": {"keda": {"advanced": {"scalingModifiers": {"formula": "x"}}}},
                },
            },
            "spec.scaling.wva.keda.advanced.scalingModifiers",
            "Forbidden: scalingModifiers must not be set",
        ),
        (
            {"rolloutStrategy": {"maxSurge": 0, "maxUnavailable": "0%"}},
            "spec.rolloutStrategy",
            "maxUnavailable and maxSurge cannot both be zero",
        ),
        ({"rolloutStrategy": {"maxSurge": "200%"}}, "spec.rolloutStrategy.maxSurge", "must not be greater than 100%"),
        ({"router__scheduler": {"replicas": 0}}, "spec.router.scheduler.replicas", "must be greater than zero"),
        ({"router__scheduler": {"config": {}}}, "spec.router.scheduler.config", "either inline or ref is required"),
        (
            {"router__scheduler": {"config": {"inline": {"a": 1}, "ref": {"key": "k", "name": "n"}}}},
            "spec.router.scheduler.config",
            "both inline and ref are set",
        ),
        ({"router__scheduler": {"config": {"inline": {}}}}, "spec.router.scheduler.config.inline", "is invalid"),
        (
            {"router__scheduler": {"config": {"ref": {"key": "k"}}}},
            "spec.router.scheduler.config.ref.name",
            "name is empty",
        ),
        ({"router__route": {"http": {"refs": REFS}}}, "spec.router.route.http.refs", "with a managed gateway"),
        (
            {"router__route": {"http": {"refs": REFS, "spec": {}}}, "router__gateway": {"refs": [{"name": "g"}]}},
            "spec.router.route.http",
            "cannot use both custom HTTPRoute refs",
        ),
        (
            {
                "router__route": {"http": {"spec": {"parentRefs": [{"name": "h"}]}}},
                "router__gateway": {"refs": [{"name": "g"}]},
            },
            "spec.router.route.http.spec",
            "has parentRefs that conflict with custom gateway refs",
        ),
        ({"router__route": {"weight": 1}}, "spec.router.route.group", "weight requires group"),
        ({"router__route": {"group": "g"}}, "spec.router.route.weight", "group requires weight"),
        (
            {"router__route": {"group": "g", "weight": 1}, "router__ingress": {}},
            "spec.router.route.group",
            "traffic splitting requires Gateway API routing",
        ),
        ({"model__lora": {"adapters": [{"uri": "hf://a"}]}}, "spec.model.lora.adapters[0].name", "name is required"),
        ({"model__lora": {"adapters": [{"name": ".."}]}}, "spec.model.lora.adapters[0].name", "path traversal risk"),
        (
            {"model__lora": {"adapters": [{"name": "a"}, {"name": "a"}]}},
            "spec.model.lora.adapters[1].name",
            "duplicate name (same as adapters[0])",
        ),
        (
            {"model__lora": {"adapters": [{"name": "meta-llama/Llama-3.1-8B-Instruct"}]}},
            "spec.model.lora.adapters[0].name",
            "must differ from base model name",
        ),
        (
            {"model__confidential": {"enabled": True, "resourceId": "x"}},
            "spec.model.confidential.resourceId",
            "kbs:///",
        ),
        (
            {"kvCacheOffloading": {"cpu": "0", "secondary": [{"fileSystem": {"emptyDir": {"size": "1Gi"}}}]}},
            "spec.kvCacheOffloading.cpu",
            "cpu must be set when secondary tiers are configured",
        ),
        (
            {"kvCacheOffloading": {"cpu": "1Gi", "secondary": [{"fileSystem": {"pvc": {}}}]}},
            "spec.kvCacheOffloading.secondary[0].fileSystem.pvc",
            "exactly one of spec or ref must be set",
        ),
    ],
)
def test_what_upstream_refuses_is_refused_in_its_words(fields: dict[str, Any], path: str, words: str) -> None:
    problems = validate(changed(CHAT, **fields))
    assert [p for p in problems if p.path == path and words in p.message], list(map(str, problems))


def scaled(decode: Manifest, prefill: Manifest) -> Manifest:
    obj = changed(SPLIT_CHAT, replicas=None, prefill__replicas=None)
    obj["spec"]["scaling"] = {"maxReplicas": 4} | decode
    obj["spec"]["prefill"]["scaling"] = {"maxReplicas": 4} | prefill
    return obj


def test_decode_and_prefill_are_scaled_in_one_way() -> None:
    assert validate(scaled({"keda": KEDA}, {"keda": KEDA})) == []
    assert validate(scaled({"wva": {"hpa": {}}}, {"wva": {"hpa": {}}})) == []
    (mode,) = validate(scaled({"keda": KEDA}, {"wva": {"hpa": {}}}))
    assert "must use the same scaling mode; decode uses direct keda but prefill uses wva" in mode.message
    (backend,) = validate(scaled({"wva": {"keda": {}}}, {"wva": {"hpa": {}}}))
    assert "must use the same actuator backend; decode uses keda but prefill uses hpa" in backend.message


@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        ({"device-count": "2"}, "is required to enable managed DRA"),
        ({"device-class": " "}, "device class must not be empty"),
        ({"device-class": "gpu.nvidia.com", "device-count": "0"}, "must be >= 1"),
        ({"device-class": "gpu.nvidia.com", "cel-selector": "\n"}, "at least one non-empty CEL expression"),
        ({"device-class": "gpu.nvidia.com", "container-name": "Main"}, "RFC 1123 label"),
    ],
)
def test_annotations_of_managed_devices(annotations: dict[str, str], words: str) -> None:
    obj = CHAT.manifest()
    obj["metadata"]["annotations"] = {f"serving.kserve.io/exp-dra-{name}": text for name, text in annotations.items()}
    assert [p for p in validate(obj) if words in p.message], validate(obj)


def test_what_is_accepted_with_a_word() -> None:
    gateway = {"refs": [{"name": "g", "namespace": "n"}]}
    route = {"http": {"spec": {"parentRefs": gateway["refs"], "rules": [{}]}}}
    obj = changed(CHAT, router__gateway=gateway, router__route=route)
    verdict = validate(obj)
    assert all(isinstance(each, ApiWarning) for each in verdict)
    assert [each.message for each in verdict] == [
        "parentRefs can be omitted when spec.router.gateway.refs is set; parentRefs will be derived automatically from "
        "gateway refs",
        "not checked here: the rules of an HTTPRoute",
    ]
    assert "conflict" in validate(obj | {"apiVersion": "serving.kserve.io/v1alpha1"})[0].message


def test_the_pickers_own_file_is_looked_at_too() -> None:
    inline = kserve_default().manifest() | {"plugins": []}
    (first, *_) = validate(changed(CHAT, router__scheduler={"config": {"inline": inline}}))
    assert isinstance(first, ApiWarning)
    assert first.path == "spec.router.scheduler.config.inline.schedulingProfiles[0].plugins[0].pluginRef"
    assert "the endpoint picker will not start" in first.message


def test_fields_of_one_version_are_unknown_in_the_other() -> None:
    old = changed(CHAT, model__criticality="Critical")
    assert "unknown field" in validate(old)[0].message
    assert validate(old | {"apiVersion": "serving.kserve.io/v1alpha1"}) == []
    new = changed(CHAT, kvCacheOffloading={"cpu": "1Gi"})
    assert validate(new) == []
    assert "unknown field" in validate(new | {"apiVersion": "serving.kserve.io/v1alpha1"})[0].message


def test_what_a_base_config_may_hold_the_noun_needs() -> None:
    for fields in ({"model": None, "baseRefs": [{"name": "base"}]}, {"model__lora": {"adapters": [{"name": "a"}]}}):
        obj = changed(CHAT, **fields)
        assert validate(obj) == []
        with pytest.raises(Invalid, match="Required value"):
            LLMInferenceService.of(obj)


def test_a_service_that_would_be_refused_is_not_made() -> None:
    with pytest.raises(Invalid, match="unsupported schema"):
        replace(CHAT, model_uri="gs://models/llama")
    with pytest.raises(Invalid, match="must differ from base model name"):
        replace(CHAT, adapters={CHAT.model_name: "hf://a/b"})
