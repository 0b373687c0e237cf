"""Serve's config file and KubeRay's RayService: what is refused, and what Ray would drop without a word."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from waiting import HANG_S

from mlinfra.admission import serve, validate
from mlinfra.admission.rules import Invalid
from mlinfra.admission.serve import RENAMED
from mlinfra.manifest import Manifest, Resources
from mlinfra.ray_serve import Application, AutoscalingConfig, Deployment
from mlinfra.ray_serve.kuberay import RayService, WorkerGroup

PREPROCESSOR = Deployment("Preprocessor", 2)
ENCODER = Deployment(
    "Encoder",
    max_ongoing_requests=16,
    ray_actor_options={"num_gpus": 1},
    autoscaling_config=AutoscalingConfig(1, 4, 8),
)
CLASSIFIER = Deployment("Classifier", "auto", ray_actor_options={"num_gpus": 0.5}, calls=("Preprocessor", "Encoder"))
BERT = Application("bert", "mlinfra.course.ray_app:build", (CLASSIFIER, PREPROCESSOR, ENCODER), args={"batching": True})
CPU = Resources({"cpu": 2, "memory": "4Gi"}, {"cpu": 2, "memory": "4Gi"})
WORKER = Resources({"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1}, {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1})
RAY_SERVICE = RayService("bert", BERT, "registry.example.com/bert-ray:1.0.0", CPU, (WorkerGroup("gpu", WORKER, 1, 4),))


def said(config: Manifest) -> list[str]:
    return [str(problem) for problem in serve.validate(config)]


def test_the_config_of_an_application_is_accepted() -> None:
    assert said(BERT.config()) == []
    assert [each["name"] for each in BERT.config()["applications"][0]["deployments"]] == [
        "Preprocessor",
        "Encoder",
        "Classifier",
    ]
    assert BERT.ingress == "Classifier"


def of_the_source_notebook(name: str, **options: Any) -> Manifest:
    scaling = {"min_replicas": 1, "max_replicas": 10, "target_num_ongoing_requests_per_replica": 10}
    return {"name": name, "max_concurrent_queries": 100, "autoscaling_config": scaling, **options}


def test_r1_the_source_notebooks_document_is_no_config() -> None:
    config = {"deployments": {"encoder": of_the_source_notebook("encoder")}, "dag": {"edges": [["a", "b"]]}}
    assert said(config) == [
        "applications: Field required",
        "deployments: unknown key, silently dropped",
        "dag: unknown key, silently dropped",
    ]


def with_deployment(deployment: Manifest, **application: Any) -> Manifest:
    return {"applications": [{"import_path": "a:b", "deployments": [deployment], **application}]}


def test_r2_a_fixed_count_and_autoscaling_exclude_each_other() -> None:
    lines = "\n".join(said(with_deployment(of_the_source_notebook("encoder", num_replicas=4))))
    assert "Manually setting num_replicas is not allowed when autoscaling_config is provided." in lines
    with pytest.raises(Invalid, match="Manually setting num_replicas"):
        replace(ENCODER, num_replicas=4)


def test_r3_r4_old_names_are_given_the_new_ones() -> None:
    lines = said(with_deployment(of_the_source_notebook("encoder")))
    assert any("max_concurrent_queries" in line and "its name is max_ongoing_requests now" in line for line in lines)
    assert any("target_num_ongoing" in line and "its name is target_ongoing_requests now" in line for line in lines)
    assert RENAMED.keys() >= {"max_concurrent_queries", "target_num_ongoing_requests_per_replica"}


GRAPHS: dict[str, tuple[tuple[Deployment, ...], str]] = {
    "circle": ((Deployment("a", calls=("b",)), Deployment("b", calls=("a",))), "a handle cannot be bound in a circle"),
    "itself": ((Deployment("a", calls=("a",)),), "a handle cannot be bound in a circle"),
    "unknown": ((Deployment("a", calls=("c",)),), "Deployment 'c' does not exist. Available: a"),
    "two roots": ((Deployment("a"), Deployment("b")), "must have one ingress that nobody calls, not a, b"),
    "none": ((), "must have one ingress that nobody calls, not none"),
    "twice": ((Deployment("a", calls=("b",)), Deployment("b"), Deployment("b")), 'Duplicate value: "b"'),
}


@pytest.mark.parametrize(("deployments", "why"), GRAPHS.values(), ids=GRAPHS)
def test_r6_a_graph_that_cannot_be_bound_is_refused(deployments: tuple[Deployment, ...], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Application("x", "a:b", deployments)


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "one and a half GPUs": ({"ray_actor_options": {"num_gpus": 1.5}}, "GPU resource quantities >1 must be whole"),
    "less than nothing": ({"ray_actor_options": {"num_cpus": -1}}, "num_cpus cannot be negative"),
    "misspelt": ({"ray_actor_options": {"num_gpu": 1}}, "Specifying 'num_gpu' in ray_actor_options is not allowed"),
    "no replicas": ({"num_replicas": 0}, "must be greater than or equal to 1"),
    "a word": ({"num_replicas": "many"}, "must be an integer"),
    "no room": ({"max_ongoing_requests": 0}, "must be greater than or equal to 1"),
    "queue of none": ({"max_queued_requests": 0}, r"must be -1 \(no limit\) or a positive integer"),
    "target above the limit": (
        {"autoscaling_config": AutoscalingConfig(1, 4, 10)},
        "'max_ongoing_requests' is less than 'target_ongoing_requests'",
    ),
    "name": ({"name": "a#b"}, "must not contain the '#' character"),
    "no name": ({"name": ""}, "name: Required value"),
}


@pytest.mark.parametrize(("options", "why"), OPTIONS.values(), ids=OPTIONS)
def test_bad_options(options: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Deployment(**{"name": "a"} | options)


LATE: dict[str, tuple[Manifest, str]] = {
    "route": (with_deployment({"name": "a"}, route_prefix="x"), "must start with a forward slash"),
    "route's end": (with_deployment({"name": "a"}, route_prefix="/x/"), "may not end with a trailing"),
    "bounds": (
        with_deployment({"name": "a", "autoscaling_config": {"min_replicas": 5}}),
        "max_replicas (1) must be greater than or equal to min_replicas (5)!",
    ),
    "key inside": (
        with_deployment({"name": "a", "autoscaling_config": {"max_ongoing_requests": 9}}),
        "autoscaling_config.max_ongoing_requests: unknown key, silently dropped",
    ),
    "import path": ({"applications": [{"import_path": "abc"}]}, "must contain at least on dot or colon"),
    "same route": ({"applications": [{"import_path": "a:b", "name": n} for n in "xy"]}, "duplicate applications"),
}


@pytest.mark.parametrize(("config", "why"), LATE.values(), ids=LATE)
def test_what_the_schema_leaves_to_the_deployment(config: Manifest, why: str) -> None:
    assert any(why in line for line in said(config)), said(config)


def test_the_ray_service_is_accepted_and_holds_the_config() -> None:
    obj = RAY_SERVICE.manifest()
    assert validate(obj) == []
    assert "import_path: mlinfra.course.ray_app:build" in obj["spec"]["serveConfigV2"]


SERVICES: dict[str, tuple[str, Any, str]] = {
    "name": ("metadata name", "9bert", "DNS-1035 label"),
    "long name": ("metadata name", "b" * 48, "must be no more than 47 characters"),
    "field": ("spec serveConfig", {}, 'unknown field "spec.serveConfig"'),
    "upgrade": ("spec upgradeStrategy type", "Rolling", "valid options are NewClusterWithIncrementalUpgrade"),
    "incremental": (
        "spec upgradeStrategy type",
        "NewClusterWithIncrementalUpgrade",
        "ClusterUpgradeOptions are required",
    ),
    "workers": ("spec rayClusterConfig workerGroupSpecs 0 minReplicas", 9, "greater than maxReplicas 4"),
    "template": (
        "spec rayClusterConfig headGroupSpec template spec containers 0 imagee",
        "x",
        'unknown field "spec.rayClusterConfig.headGroupSpec.template.spec.containers[0].imagee"',
    ),
    "no YAML": ("spec serveConfigV2", "{", "must be YAML"),
    "no map": ("spec serveConfigV2", "x", "must be a map"),
    "garbage": ("spec serveConfigV2", "deployments: []", "applications: Field required"),
}


@pytest.mark.parametrize(("path", "value", "why"), SERVICES.values(), ids=SERVICES)
def test_bad_ray_services(path: str, value: Any, why: str) -> None:
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    *steps, last = path.split()
    branch: Any = obj
    for step in steps:
        branch = branch[int(step)] if step.isdigit() else branch[step]
    branch[last] = value
    lines = [str(problem) for problem in validate(obj)]
    assert any(why in line for line in lines), lines


def test_the_application_answers_in_local_testing_mode_as_plain_torch_does() -> None:
    from ray import serve

    from mlinfra.course import classifier, ray_app

    texts = ["the app is great", "support was very rude today"]
    handle = serve.run(ray_app.build({}), _local_testing_mode=True)
    plain = classifier.probabilities(classifier.load(), [classifier.tokens(text) for text in texts])
    for text, row in zip(texts, plain, strict=True):
        assert list(handle.predict.remote(text).result(timeout_s=HANG_S).values()) == pytest.approx(row, abs=1e-6)
