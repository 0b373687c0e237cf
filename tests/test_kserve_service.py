"""InferenceService: what is accepted, and each known defect of the source notebook with who refuses it and how."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import (
    BERT_MODEL,
    KNATIVE,
    OWN_SERVER,
    OWN_SERVICE,
    SERVICES,
    STANDARD,
    VALUES,
    damaged,
    paths,
)

from mlinfra.admission import validate
from mlinfra.admission.kserve import MODE, pitfalls
from mlinfra.admission.rules import Invalid
from mlinfra.kserve import Canary, Container, InferenceService, Model, Predictor, Transformer
from mlinfra.manifest import Manifest, Resources, load, to_yaml


def said(obj: Manifest) -> list[str]:
    return [str(problem) for problem in validate(obj)]


def changed(service: InferenceService, path: str, value: Any) -> Manifest:
    """A copy of the manifest with another value at a path, its steps parted by blanks; None takes the field away."""
    obj = copy.deepcopy(service.manifest())
    *steps, last = path.split()
    branch: Any = obj
    for step in steps:
        branch = branch[int(step)] if step.isdigit() else branch.setdefault(step, {})
    if value is None:
        del branch[last]
    else:
        branch[last] = value
    return obj


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.mode))
def test_what_the_builder_writes_is_accepted(service: InferenceService) -> None:
    assert (said(service.manifest()), pitfalls(service.manifest())) == ([], [])


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow", "sklearn", "xgboost"])
def test_the_source_notebooks_frameworks_are_formats(framework: str) -> None:
    service = InferenceService("clf", Predictor(model=replace(BERT_MODEL, format=framework, protocol_version="")))
    assert service.manifest()["spec"]["predictor"]["model"]["modelFormat"] == {"name": framework}
    assert said(service.manifest()) == []


def test_yaml_has_no_references() -> None:
    assert "&" not in to_yaml(KNATIVE.manifest())


# ------------------------------------------------------------------------ the source notebook's defects, K1 to K10


def of_the_source_notebook(framework: str = "pytorch", **annotations: str) -> Manifest:
    """The InferenceService as the source notebook writes it."""
    resources = {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"cpu": "2", "memory": "8Gi"}}
    resources["limits"]["nvidia.com/gpu"] = "1"
    served = {"storageUri": "s3://models/bert-classifier/v1", "runtimeVersion": "latest", "resources": resources}
    metadata = {"name": "bert-classifier", "namespace": "ml-production", "annotations": annotations}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": {framework: served}},
    }


def test_k1_a_canary_at_the_top_of_spec_is_rejected() -> None:
    obj = of_the_source_notebook()
    obj["spec"] |= {"canaryTrafficPercent": 10, "canaryPredictor": {"pytorch": {"storageUri": "s3://models/v2"}}}
    assert said(obj) == [
        'spec.canaryTrafficPercent: strict decoding error: unknown field "spec.canaryTrafficPercent"',
        'spec.canaryPredictor: strict decoding error: unknown field "spec.canaryPredictor"',
    ]


@pytest.mark.parametrize("framework", ["custom", "mlflow"])
def test_k2_a_framework_that_is_no_field_is_rejected(framework: str) -> None:
    path = f"spec.predictor.{framework}"
    assert said(of_the_source_notebook(framework)) == [f'{path}: strict decoding error: unknown field "{path}"']


PITFALLS = {
    "k3 minScale": ("autoscaling.knative.dev/minScale", "KServe writes min-scale from spec.predictor.minReplicas"),
    "k3 maxScale": ("autoscaling.knative.dev/maxScale", "KServe writes max-scale from spec.predictor.maxReplicas"),
    "k4 target": ("autoscaling.knative.dev/target", "a number of requests, not a percentage"),
    "k5 latest": ("runtimeVersion", "with a runtimeVersion KServe does not add -gpu"),
    "k7 legacy key": ("spec.predictor.pytorch", "the old form of model.modelFormat.name: pytorch"),
}


@pytest.mark.parametrize(("path", "why"), PITFALLS.values(), ids=PITFALLS)
def test_k3_to_k7_what_is_accepted_and_not_meant_is_named(path: str, why: str) -> None:
    annotations = {
        f"autoscaling.knative.dev/{name}": value
        for name, value in {"minScale": "2", "maxScale": "20", "target": "70"}.items()
    }
    obj = of_the_source_notebook(**annotations)
    assert said(obj) == []
    assert any(path in problem.path and why in problem.message for problem in pitfalls(obj))


def test_k6_the_canary_percent_is_written() -> None:
    assert KNATIVE.manifest()["spec"]["predictor"]["canaryTrafficPercent"] == 10


def test_k8_the_transformer_is_part_of_the_object() -> None:
    (container,) = KNATIVE.manifest()["spec"]["transformer"]["containers"]
    assert container["image"] == "registry.example.com/bert-tokenizer:1.0.0"


BROKEN: dict[str, tuple[InferenceService, str, Any, str]] = {
    "percent 150": (KNATIVE, "spec predictor canaryTrafficPercent", 150, "must be between 0 and 100, inclusive"),
    "min above max": (
        KNATIVE, "spec predictor minReplicas", 30, "'MinReplicas' cannot be greater than MaxReplicas"),
    "transformer min above max": (
        KNATIVE, "spec transformer maxReplicas", -1, "'MaxReplicas' cannot be less than 0"),
    "negative min": (KNATIVE, "spec predictor minReplicas", -1, "'MinReplicas' cannot be less than 0"),
    "no format": (KNATIVE, "spec predictor model modelFormat", None, "spec.predictor.model.modelFormat: Required"),
    "empty format": (KNATIVE, "spec predictor model modelFormat name", "", "modelFormat.name: Required value"),
    "model and container": (
        KNATIVE, "spec predictor containers", [{"name": "kserve-container", "image": "a:1"}], "exactly one of ["),
    "nothing": (KNATIVE, "spec predictor model", None, "exactly one of ["),
    "name": (KNATIVE, "metadata name", "1bert", "a InferenceService name must consist of lower case"),
    "long name": (KNATIVE, "metadata name", "b" * 47, "must be no more than 46 characters"),
    "no spec": (KNATIVE, "spec", None, "spec: Required value"),
    "predictor's name": (STANDARD, "spec predictor name", "V 2!", "a predictor's name must consist of"),
    "empty metric": (STANDARD, "spec predictor scaleMetric", "", "Unsupported value"),
    "empty transformer": (KNATIVE, "spec transformer", {}, "exactly one of [containers]"),
    "transformer's percent": (KNATIVE, "spec transformer canaryTrafficPercent", 150, "must be between 0 and 100"),
    "canary's workers": (STANDARD, "spec canary 0 predictor workerSpec", {}, "multi-node is not yet supported"),
    "storage": (KNATIVE, "spec predictor model storageUri", "ftp://m", "StorageURI not supported"),
    "cpu in Knative mode": (KNATIVE, "spec predictor scaleMetric", "cpu", "[cpu] is not a supported metric"),
    "metric": (KNATIVE, "spec predictor scaleMetric", "gpu", "Unsupported value"),
    "concurrency": (KNATIVE, "spec predictor containerConcurrency", -1, "parallelism cannot be less than 0"),
    "strategy": (KNATIVE, "spec predictor deploymentStrategy", {"type": "Recreate"}, "only supported for raw"),
    "container's name": (KNATIVE, "spec predictor model name", "x", "the 'name' field is not allowed in standard"),
    "autoscaler": (STANDARD, "metadata annotations serving.kserve.io/autoscalerClass", "kpa", "[kpa] is not a supp"),
    "gpu request": (
        KNATIVE, "spec predictor model resources requests nvidia.com/gpu", "2", "must be equal to nvidia.com/gpu"),
    "fraction of a gpu": (
        KNATIVE, "spec predictor model resources limits nvidia.com/gpu", "0.5", "must be an integer"),
    "quantity": (KNATIVE, "spec predictor model resources limits memory", "4GB", "in body should match"),
    "number": (KNATIVE, "spec predictor model resources limits cpu", 1.5, "in body must be of type string"),
    "canary in Knative mode": (STANDARD, f"metadata annotations {MODE}", "Knative", "only supported in Standard"),
    "canary's name": (STANDARD, "spec canary 0 predictor name", "v1", "conflicts with stable predictor name"),
    "canary without name": (STANDARD, "spec canary 0 predictor name", None, "canary predictor.name is required"),
    "canary percent": (STANDARD, "spec canary 0 trafficPercent", 101, "must be between 0 and 100"),
    "canary maxReplicas": (STANDARD, "spec canary 0 predictor maxReplicas", 3, "canary uses fixed replicas"),
    "canary minReplicas": (STANDARD, "spec canary 0 predictor minReplicas", 3, "must not exceed stable predictor"),
    "canary of nothing": (STANDARD, "spec canary 0 predictor model", None, "exactly one of ["),
    "canary container name": (STANDARD, "spec canary 0 predictor model name", None, "predictor.model.name: Required value"),
    "type": (KNATIVE, "spec predictor minReplicas", "2", 'in body must be of type integer: "string"'),
    "list": (KNATIVE, "spec predictor tolerations", {}, 'in body must be of type array: "object"'),
    "deep field": (KNATIVE, "spec predictor model resources limitz", {}, 'field "spec.predictor.model.resources.limitz"'),
    "kind": (KNATIVE, "kind", "Service", "not checked here: Service in serving.kserve.io"),
}  # fmt: skip


@pytest.mark.parametrize(("service", "path", "value", "why"), BROKEN.values(), ids=BROKEN)
def test_k10_and_more_is_rejected(service: InferenceService, path: str, value: Any, why: str) -> None:
    obj = changed(service, path, value)
    assert any(why in line for line in said(obj)), said(obj)


def test_a_key_of_old_replaces_the_model_and_two_are_too_many() -> None:
    obj = changed(KNATIVE, "spec predictor pytorch", {"storageUri": "s3://m"})
    assert said(obj) == []
    assert "spec.predictor.model: is overwritten by spec.predictor.pytorch" in map(str, pitfalls(obj))
    obj["spec"]["predictor"]["sklearn"] = {"storageUri": "s3://m"}
    assert any("exactly one of [" in line for line in said(obj))
    with_canary = changed(STANDARD, "spec predictor sklearn", {"storageUri": "s3://m"})
    del with_canary["spec"]["predictor"]["model"]
    assert said(with_canary) == []


def test_two_canaries_share_what_there_is() -> None:
    obj = copy.deepcopy(STANDARD.manifest())
    obj["spec"]["canary"].append(copy.deepcopy(obj["spec"]["canary"][0]))
    obj["spec"]["canary"][1]["trafficPercent"] = 91
    lines = "\n".join(said(obj))
    assert "predictor.name is duplicated" in lines
    assert "sum of canary trafficPercent values (101) must be <= 100" in lines


IGNORED = {
    "percent in Standard mode": (STANDARD, "spec predictor canaryTrafficPercent", 5, "is ignored in Standard mode"),
    "queue in Standard mode": (STANDARD, "spec predictor containerConcurrency", 5, "no queue-proxy"),
    "requests in Standard mode": (STANDARD, "spec predictor scaleMetric", "rps", "[rps] is not a supported metric; w"),
    "nothing at least in Standard mode": (STANDARD, "spec predictor minReplicas", 0, "does not scale to zero"),
    "name in Knative mode": (KNATIVE, "spec predictor name", "v1", "only supported in Standard deployment mode"),
    "floating image": (OWN_SERVICE, "spec predictor containers 0 image", "a/b:latest", "is not pinned"),
    "image without tag": (OWN_SERVICE, "spec predictor containers 0 image", "localhost:5000/a", "is not pinned"),
}  # fmt: skip


@pytest.mark.parametrize(("service", "path", "value", "why"), IGNORED.values(), ids=IGNORED)
def test_more_pitfalls(service: InferenceService, path: str, value: Any, why: str) -> None:
    obj = changed(service, path, value)
    assert said(obj) == []
    assert any(why in str(problem) for problem in pitfalls(obj)), pitfalls(obj)


KEDA = "serving.kserve.io/autoscalerClass"


def metric(kind: str, **source: Any) -> dict[str, Any]:
    return {"autoScaling": {"metrics": [{"type": kind, **source}]}}


def resource(name: str, **target: Any) -> dict[str, Any]:
    return metric("Resource", resource={"name": name, "target": target})


def external(query: str, **target: Any) -> dict[str, Any]:
    return metric("External", external={"metric": {"backend": "prometheus", "query": query}, "target": target})


SCALED: dict[str, tuple[str, dict[str, Any], str]] = {
    "metric of the HPA": ("keda", {"scaleMetric": "cpu"}, "ScaleMetric is not supported for KEDA"),
    "no source": ("keda", metric("External"), "metricSpec.External is not set for external metric source type"),
    "cpu by amount": ("keda", resource("cpu", type="AverageValue"), "the cpu target value type should be Utilization"),
    "memory by value": ("keda", resource("memory", type="Value"), "should be AverageValue or Utilization"),
    "a little memory": ("keda", resource("memory", type="AverageValue", averageValue="1k"), "greater than 1 MiB"),
    "no share": ("keda", resource("cpu", type="Utilization"), "the AverageUtilization type should be set"),
    "share": ("keda", resource("cpu", type="Utilization", averageUtilization=101), "should be a [1-100] integer"),
    "no query": ("keda", external("", value=5), "the query should not be empty"),
    "no threshold": ("keda", external("q"), "the target threshold value should not be empty"),
    "query of an HPA": ("hpa", external("q", value=5), "valid metric source types are Resource"),
    "no memory": ("hpa", {"scaleMetric": "memory", "scaleTarget": 0}, "the target memory should be greater than 1 MiB"),
    "nobody": ("nobody", {}, "[nobody] is not a supported autoscaler class type"),
    "empty": ("", {}, "[] is not a supported autoscaler class type"),
    "sound": ("keda", external("q", value=5, type="Value"), ""),
    "none": ("none", {"scaleMetric": "rps"}, ""),
    "external": ("external", {"minReplicas": 3, "maxReplicas": 2}, "'MinReplicas' cannot be greater than MaxReplicas"),
}


@pytest.mark.parametrize(("scaler", "fields", "why"), SCALED.values(), ids=SCALED)
def test_what_the_webhook_refuses_for_each_autoscaler(scaler: str, fields: dict[str, Any], why: str) -> None:
    """`validateAutoScalingCompExtension` of KServe 0.20."""
    obj = InferenceService("bert", Predictor(model=BERT_MODEL)).manifest()
    obj["metadata"]["annotations"][KEDA] = scaler
    obj["spec"]["predictor"] |= fields
    assert [why in line for line in said(obj)] == ([True] if why else []), said(obj)


NODES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "sound": ({}, {}, ""),
    "storage": ({}, {"storageUri": "s3://m"}, "Multinode only supports 'pvc' and 'oci' Storage Protocol(s3)"),
    "no storage": ({}, {"storageUri": None}, "StorageURI must be set for multinode enabled"),
    "size": ({"pipelineParallelSize": 0}, {}, "WorkerSpec.PipelineParallelSize cannot be less than 1(0)"),
    "variable": ({}, {"env": [{"name": "TENSOR_PARALLEL_SIZE", "value": "2"}]}, "setting TENSOR_PARALLEL_SIZE in"),
    "containers": (
        {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
        {},
        "setting multiple containers in workerSpec is not allowed",
    ),
}


@pytest.mark.parametrize(("workers", "fields", "why"), NODES.values(), ids=NODES)
def test_a_model_on_several_nodes(workers: dict[str, Any], fields: dict[str, Any], why: str) -> None:
    """`validateMultiNodeVariables` of KServe 0.20."""
    model = {"modelFormat": {"name": "huggingface"}, "storageUri": "pvc://m"} | fields
    obj = changed(OWN_SERVICE, "spec predictor", {"model": model, "workerSpec": workers})
    obj["metadata"]["annotations"][KEDA] = "none"
    assert [why in line for line in said(obj)] == ([True] if why else []), said(obj)
    del obj["metadata"]["annotations"][KEDA]
    assert any("Multinode only supports 'none' autoscaler()" in line for line in said(obj))


def test_keda_without_metrics_has_nothing_to_scale_by() -> None:
    obj = changed(OWN_SERVICE, f"metadata annotations {KEDA}", "keda")
    assert said(obj) == []
    assert any("has no triggers" in str(problem) for problem in pitfalls(obj))
    with_canary = changed(STANDARD, f"metadata annotations {KEDA}", "keda")
    with_canary["spec"]["predictor"] |= {"scaleMetric": None, "scaleTarget": None} | external("q", value=5)
    assert said(with_canary) == []
    assert any("a canary may have no autoScaling" in str(problem) for problem in pitfalls(with_canary))


def sources(*entries: str) -> dict[str, Any]:
    return {"storageUris": [dict(zip(("uri", "mountPath"), entry.split(), strict=False)) for entry in entries]}


STORED: dict[str, tuple[dict[str, Any], str]] = {
    "two ways": (sources("s3://b/m"), "Setting both StorageURI and StorageURIs is not supported."),
    "relative": (sources("s3://b/m mnt"), "storage path must be absolute"),
    "root": (sources("s3://b/m /"), "storage path cannot be empty"),
    "up": (sources("s3://b/m /mnt/../etc"), "storage path cannot contain '..' for security reasons"),
    "apart": (sources("s3://b/m /mnt/a", "gs://b/m /opt/b"), "have no common parent beyond root"),
    "a volume twice": (sources("pvc://a /p", "pvc://b /p", "s3://a /m/a", "s3://b /m/b"), "paths must be unique"),
    "together": (sources("s3://b/m /mnt/a", "gs://b/m /mnt/b", "pvc://a /p"), ""),
    "python": ({"model": {"env": [{"name": "PYTHONPATH", "value": "/x"}]}}, "is not allowed for security reasons"),
    "path and URI": (
        {"model": {"storage": {"path": "m"}, "storageUri": "s3://m"}},
        "must provide only one of storageUri",
    ),
    "no secret": ({"model": {"confidential": {"enabled": True}}}, "requires storageUri to be set"),
    "secret": (
        {"model": {"storageUri": "s3://m", "confidential": {"enabled": True, "resourceId": "kbs:///a/b"}}},
        "must be in the format kbs:///<repo>/<type>/<tag>",
    ),
    "logger": ({"logger": {"mode": "all", "storage": {"path": "m"}}}, "invalid logger storage configuration"),
}


@pytest.mark.parametrize(("name", "fields", "why"), [(name, *case) for name, case in STORED.items()], ids=STORED)
def test_where_the_model_comes_from(name: str, fields: dict[str, Any], why: str) -> None:
    """`validateMultipleStorageURIs`, `validateBlockedEnvVars`, `validateConfidential` of KServe 0.20."""
    single = {"storageUri": "s3://m"} if name == "two ways" else {}
    model = {"modelFormat": {"name": "sklearn"}, **single, **fields.get("model", {})}
    obj = changed(OWN_SERVICE, "spec predictor", fields | {"model": model})
    assert [why in line for line in said(obj)] == ([True] if why else []), said(obj)


@pytest.mark.parametrize("place", ["model", "sklearn"])
@pytest.mark.parametrize(
    ("uri", "known"),
    [
        ("modelscope://a/b", True),
        ("/mnt/models/a", True),
        ("models/a", True),
        ("https://a.blob.core.windows.net/b/c", True),
        ("https://a.blob.core.windows.net/", False),
        ("model-registry://iris/v1", False),
        ("ftp://m", False),
    ],
)
def test_a_scheme_is_known_to_the_chart_or_warned_of(place: str, uri: str, known: bool) -> None:
    """`ValidateStorageURI`, and `config/storagecontainers/default.yaml`."""
    model = {"storageUri": uri} | ({"modelFormat": {"name": "sklearn"}} if place == "model" else {})
    verdict = validate(changed(OWN_SERVICE, "spec predictor", {place: model}))
    assert [f"StorageUri [{uri}] is not supported" in warning.message for warning in verdict] == (
        [] if known else [True]
    )


@pytest.mark.parametrize("place", ["model", "sklearn", "pytorch"])
@pytest.mark.parametrize("name", ["", "x"])
def test_a_standard_predictor_may_have_an_empty_name(place: str, name: str) -> None:
    model = {"name": name} | ({"modelFormat": {"name": "onnx"}} if place == "model" else {})
    obj = changed(OWN_SERVICE, "spec predictor", {place: model})
    assert len(said(obj)) == (1 if name else 0), said(obj)


def test_a_digest_is_pinned() -> None:
    assert not pitfalls(changed(OWN_SERVICE, "spec predictor containers 0 image", "a/b@sha256:" + "0" * 64))


def test_the_constructor_refuses_what_is_refused_and_what_is_not_meant() -> None:
    with pytest.raises(Invalid, match="must be between 0 and 100"):
        replace(KNATIVE, predictor=replace(KNATIVE.predictor, canary_traffic_percent=150))
    with pytest.raises(Invalid, match="is ignored in Standard mode"):
        replace(OWN_SERVICE, predictor=replace(OWN_SERVICE.predictor, canary_traffic_percent=10))
    with pytest.raises(Invalid, match="is not pinned"):
        InferenceService("clf", Predictor(model=replace(BERT_MODEL, runtime_version="latest")))


def test_the_builder_writes_the_modes_by_their_present_names() -> None:
    with pytest.raises(Invalid, match="mode: Unsupported value"):
        replace(OWN_SERVICE, mode="Serverless")


def test_the_old_names_of_the_modes_count() -> None:
    obj = changed(STANDARD, "metadata annotations", {MODE: "RawDeployment"})
    assert said(obj) == []
    assert said(changed(STANDARD, "metadata annotations", {MODE: "Serverless"})) != []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.mode))
def test_a_service_is_read_back(service: InferenceService) -> None:
    assert InferenceService.of(service.manifest()) == service


def test_its_parts_are_read_back() -> None:
    assert Model.of(BERT_MODEL.manifest()) == BERT_MODEL
    assert Container.of(OWN_SERVER.manifest()) == OWN_SERVER
    for service in SERVICES:
        assert Predictor.of(service.predictor.manifest()) == service.predictor
    assert KNATIVE.transformer is not None
    assert Transformer.of(KNATIVE.transformer.manifest()) == KNATIVE.transformer
    assert Canary.of(STANDARD.canary[0].manifest()) == STANDARD.canary[0]


def test_what_a_cluster_shows_is_read() -> None:
    """As `kubectl get -o yaml`: metadata and status of the server, defaults of the webhook, a key of old, no mode."""
    obj = of_the_source_notebook("sklearn", **{"kubectl.kubernetes.io/last-applied-configuration": "{}"})
    obj["metadata"] |= {"uid": "5a", "generation": 2, "creationTimestamp": None, "finalizers": ["isvc.finalizers"]}
    obj["spec"]["predictor"] |= {"minReplicas": 1, "nodeSelector": None}
    obj["status"] = {"url": "http://bert-classifier.example.com", "conditions": [{"type": "Ready", "status": "True"}]}
    service = InferenceService.of(obj)
    served = service.predictor.model
    assert isinstance(served, Model)
    assert (service.mode, service.predictor.min_replicas, served.format) == ("Knative", 1, "sklearn")
    assert served.runtime_version == "latest", "a pitfall is read as it stands"
    assert InferenceService.of(service.manifest()) == service


def test_of_several_containers_kserves_own_is_read() -> None:
    obj = changed(OWN_SERVICE, "spec predictor containers", [{"name": "side", "image": "b:1"}])
    assert InferenceService.of(obj).predictor.model == Container("b:1", Resources())
    obj["spec"]["predictor"]["containers"].append({"name": "kserve-container", "image": "a:1", "args": ["--x"]})
    assert InferenceService.of(obj).predictor.model == Container("a:1", Resources(), ("--x",))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("spec predictor minReplicas", "2", "must be of type integer"),
        ("kind", "Service", 'kind: Unsupported value: "Service"'),
        (
            "apiVersion",
            "example.com/v1",
            "apiVersion: Invalid value: .* InferenceService is known here in serving.kserve.io/v1beta1",
        ),
    ],
)
def test_what_is_refused_is_not_read(path: str, value: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        InferenceService.of(changed(KNATIVE, path, value))


def test_any_value_anywhere_gets_a_verdict_and_no_traceback() -> None:
    for service in SERVICES:
        for path in paths(service.manifest()):
            for value in VALUES:
                validate(damaged(service.manifest(), path, value))


def test_what_the_webhook_refuses_is_named_beside_what_the_deployment_would_be_refused_for() -> None:
    """The example file has one of each."""
    [example] = load(Path(__file__).parents[1] / "examples" / "inferenceservice.yaml")
    assert [problem.path for problem in validate(example)] == [
        "spec.predictor.minReplicas",
        "spec.predictor.model.resources.limits",
    ]
