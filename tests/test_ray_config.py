"""Serve's config file and KubeRay's RayService: what is refused, and what Ray would drop without a word."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from builders import BERT_APPLICATION, CLASSIFIER, ENCODER, RAY_SERVICE, VALUES, damaged, paths

from mlinfra.admission import serve, validate
from mlinfra.admission.rules import ApiWarning, Invalid
from mlinfra.admission.serve_deployment import RENAMED
from mlinfra.manifest import Manifest, to_yaml
from mlinfra.ray_serve import Application, AutoscalingConfig, Deployment
from mlinfra.ray_serve.kuberay import RayService


def said(config: Manifest) -> list[str]:
    return [str(problem) for problem in serve.validate(config)]


def test_the_config_of_an_application_is_accepted() -> None:
    assert said(BERT_APPLICATION.config()) == []
    assert [each["name"] for each in BERT_APPLICATION.config()["applications"][0]["deployments"]] == [
        "Preprocessor",
        "Encoder",
        "Classifier",
    ]
    assert BERT_APPLICATION.ingress == "Classifier"


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


@pytest.mark.parametrize("name", ["smoothing_factor", "upscale_smoothing_factor", "downscale_smoothing_factor"])
def test_what_ray_still_reads_is_deprecated_and_not_dropped(name: str) -> None:
    """`AutoscalingConfig.get_upscaling_factor` of Ray 2.60 (`python/ray/serve/config.py`) is the oracle."""
    from ray.serve.config import AutoscalingConfig as OfRay

    scaling: Manifest = {name: 0.5, "max_replicas": 4}
    (warning,) = validate(with_deployment({"name": "a", "autoscaling_config": scaling}))
    assert isinstance(warning, ApiWarning)
    assert warning.message.startswith("deprecated: its name is ")
    ours, rays = AutoscalingConfig.of(scaling), OfRay(**scaling)
    assert (ours.upscaling_factor or 1, ours.downscaling_factor or 1) == (
        rays.get_upscaling_factor(),
        rays.get_downscaling_factor(),
    )


def test_the_new_name_wins_over_the_old_one() -> None:
    assert AutoscalingConfig.of({"upscaling_factor": 2, "upscale_smoothing_factor": 0.5}).upscaling_factor == 2


def test_a_deprecated_name_in_a_ray_service_is_a_warning() -> None:
    obj = RAY_SERVICE.manifest()
    config = with_deployment({"name": "a", "autoscaling_config": {"smoothing_factor": 0.5, "metrics_interval_s": 5}})
    obj["spec"]["serveConfigV2"] = to_yaml(config)
    assert [(type(each), "deprecated" in each.message) for each in validate(obj)] == [(ApiWarning, True)] * 2


def test_a_name_that_ray_drops_is_said_as_dropped() -> None:
    lines = said(with_deployment({"name": "a", "autoscaling_config": {"upscale_factor": 1}}))
    assert lines == ["applications[0].deployments[0].autoscaling_config.upscale_factor: unknown key, silently dropped"]
    http = with_deployment({"name": "a"}) | {"http_options": {"location": "HeadOnly"}}
    assert said(http) == ["http_options.location: unknown key, silently dropped"]


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


def test_code_that_is_only_in_the_image_is_not_imported() -> None:
    policy = {"min_replicas": 1, "max_replicas": 3, "policy": {"policy_function": "my.code:policy"}}
    router = {"request_router_class": "my.code:Router"}
    assert said(with_deployment({"name": "a", "autoscaling_config": policy, "request_router_config": router})) == []
    assert said(with_deployment({"name": "a", "request_router_config": {"router_class": "my.code:Router"}})) == [
        "applications[0].deployments[0].request_router_config.router_class: unknown key, silently dropped"
    ]


def test_the_ray_service_is_accepted_and_holds_the_config() -> None:
    obj = RAY_SERVICE.manifest()
    assert validate(obj) == []
    assert "import_path: mlinfra.course.ray_app:app" in obj["spec"]["serveConfigV2"]


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


CPUS = {"CPU": "1"}
V2 = [{"name": "RAY_enable_autoscaler_v2", "value": "1"}]
GROUP = {"groupName": "gpu", "template": {"spec": {"containers": [{"name": "worker", "image": "r:1"}]}}}
CLUSTERS: dict[str, tuple[str, Any, str]] = {
    "a name twice": ("workerGroupSpecs", [GROUP, GROUP], "worker group names must be unique"),
    "negative": ("workerGroupSpecs 0 minReplicas", -1, "worker group gpu has negative minReplicas -1"),
    "no head": ("headGroupSpec template spec containers", [], "headGroupSpec should have at least one container"),
    "no worker": (
        "workerGroupSpecs 0 template spec containers",
        [],
        "workerGroupSpec should have at least one container",
    ),
    "resources twice": ("headGroupSpec resources", CPUS, "in both rayStartParams and Resources for Head group"),
    "labels": ("headGroupSpec rayStartParams labels", "a=b", "rayStartParams['labels'] is not supported for Head"),
    "a label": ("workerGroupSpecs 0 labels", {"a b": "c"}, "invalid label key for gpu group: 'a b'"),
    "patience": ("workerGroupSpecs 0 idleTimeoutSeconds", 5, "autoscaler v2 is not enabled"),
    "priority": ("workerGroupSpecs 0 priority", 5, "Priority is only supported with autoscaler v2 enabled"),
    "suspended": ("workerGroupSpecs 0 suspend", True, "worker group gpu cannot be suspended with Autoscaler enabled"),
    "idle": ("autoscalerOptions", {"idleTimeoutSeconds": -1}, "must be non-negative, got -1"),
    "restarts": ("headGroupSpec template spec restartPolicy", "Always", "should be Never or unset when using"),
    "username": ("headGroupSpec rayStartParams redis-username", "a", "cannot set redis username in rayStartParams"),
    "password": ("headGroupSpec rayStartParams redis-password", "a", "cannot set `redis-password` in rayStartParams"),
    "token": ("authOptions", {"mode": "token"}, "authOptions.mode is 'token' but minimum Ray version is 2.52.0"),
    "token of Kubernetes": ("authOptions", {"enableK8sTokenAuth": True}, "currently not supported for RayService"),
    "service": ("headGroupSpec headService", {"metadata": {"name": "a"}}, "metadata.name should not be set"),
    "strategy": ("upgradeStrategy", {"type": "None"}, "cannot be set when RayCluster is created by RayService"),
    "address": (
        "headGroupSpec template spec containers 0 env",
        [{"name": "RAY_REDIS_ADDRESS", "value": "r"}],
        "which implicitly enables GCS fault tolerance",
    ),
}
BESIDE: dict[str, dict[str, Any]] = {
    "restarts": {"autoscalerOptions": {"version": "v2"}},
    "password": {"gcsFaultToleranceOptions": {}},
    "token": {"rayVersion": "2.51.0"},
}


def set_at(obj: Any, path: str, value: Any) -> None:
    *steps, last = path.split()
    for step in steps:
        obj = obj[int(step)] if step.isdigit() else obj[step]
    obj[last] = value


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_that_the_operator_refuses(name: str) -> None:
    """`ValidateRayClusterSpec` of KubeRay 1.7."""
    path, value, why = CLUSTERS[name]
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    cluster = obj["spec"]["rayClusterConfig"]
    cluster |= BESIDE.get(name, {})
    set_at(cluster, path, value)
    (problem,) = validate(obj)
    assert why in problem.message


def test_both_ways_to_choose_the_autoscaler_are_one_too_many() -> None:
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    cluster = obj["spec"]["rayClusterConfig"]
    set_at(cluster, "headGroupSpec template spec containers 0 env", V2)
    assert validate(obj) == []
    cluster["workerGroupSpecs"][0]["idleTimeoutSeconds"] = 5
    assert validate(obj) == []
    cluster["autoscalerOptions"] = {"version": "v2"}
    assert "please only use the former" in validate(obj)[0].message
    del cluster["autoscalerOptions"], cluster["enableInTreeAutoscaling"]
    assert "cannot be set to '1' when enableInTreeAutoscaling is false" in validate(obj)[0].message


def test_replicas_outside_of_their_bounds_are_moved_and_a_gate_is_named() -> None:
    """`GetWorkerGroupDesiredReplicas` of KubeRay 1.7."""
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    cluster = obj["spec"]["rayClusterConfig"]
    cluster["workerGroupSpecs"][0]["replicas"] = 9
    cluster["tlsOptions"] = {"enabled": True}
    gate, moved = validate(obj)
    assert "requires the RayClusterMTLS feature gate" in gate.message
    assert moved.message == "9 is not between minReplicas and maxReplicas: the operator makes 4"
    assert isinstance(moved, ApiWarning)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5m", ""),
        ("300", ""),
        ("0", "must be a positive duration"),
        ("-3", "positive integer"),
        ("soon", "invalid format"),
    ],
)
def test_the_patience_with_a_new_cluster(text: str, why: str) -> None:
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    obj["metadata"]["annotations"] = {"ray.io/initializing-timeout": text}
    assert [why in problem.message for problem in validate(obj)] == ([True] if why else [])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("maxSurgePercent", 101, "maxSurgePercent must be between 0 and 100"),
        ("stepSizePercent", 30, "stepSizePercent must be less than or equal to maxSurgePercent"),
        ("intervalSeconds", 0, "intervalSeconds must be greater than 0"),
        ("gatewayClassName", "", "gatewayClassName is required"),
    ],
)
def test_the_steps_of_an_upgrade(name: str, value: Any, why: str) -> None:
    options = {"maxSurgePercent": 20, "stepSizePercent": 5, "intervalSeconds": 10, "gatewayClassName": "istio"}
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    obj["spec"]["upgradeStrategy"] = {
        "type": "NewClusterWithIncrementalUpgrade",
        "clusterUpgradeOptions": options | {name: value},
    }
    (problem,) = validate(obj)
    assert why in problem.message


@pytest.mark.parametrize("path", [path for path in paths(RAY_SERVICE.manifest()) if path])
def test_a_damaged_ray_service_gets_a_verdict(path: tuple[Any, ...]) -> None:
    for value in VALUES:
        validate(damaged(RAY_SERVICE.manifest(), path, value))


@pytest.mark.parametrize("path", [path for path in paths(BERT_APPLICATION.config()) if path])
def test_a_missing_value_anywhere_gets_a_verdict(path: tuple[Any, ...]) -> None:
    validate(damaged(BERT_APPLICATION.config(), path, None))


# -------------------------------------------------------------------------------------------------------- read back


def test_an_application_is_read_back() -> None:
    assert Application.of(BERT_APPLICATION.manifest()) == BERT_APPLICATION
    chain = Application("x", "a:b", (Deployment("a", calls=("b",)), Deployment("b", calls=("c",)), Deployment("c")))
    assert Application.of(chain.manifest(), {"a": ["b"], "b": ["c"]}) == chain
    assert Application.of(chain.manifest()).ingress == "a", "a file does not say who calls whom"


def test_a_deployment_and_its_autoscaling_are_read_back() -> None:
    assert Deployment.of(ENCODER.manifest()) == ENCODER
    assert Deployment.of(CLASSIFIER.manifest(), CLASSIFIER.calls) == CLASSIFIER
    config = AutoscalingConfig(0, 9, 3.5, upscaling_factor=0.5, downscale_to_zero_delay_s=5, aggregation_function="max")
    assert AutoscalingConfig.of(config.manifest()) == config


def test_what_the_simulator_does_not_use_is_left_out() -> None:
    encoder = ENCODER.manifest() | {"health_check_period_s": 5}
    encoder["autoscaling_config"] |= {"initial_replicas": None}
    entry = {"import_path": "a:b", "runtime_env": {}, "deployments": [encoder]}
    assert Application.of(entry) == Application("default", "a:b", (ENCODER,))


REFUSED: dict[str, tuple[Manifest, str]] = {
    "key of old": ({"import_path": "a:b", "deployments": [of_the_source_notebook("a")]}, "silently dropped"),
    "no code": ({"name": "a", "deployments": [{"name": "a"}]}, "import_path"),
    "no deployments": ({"import_path": "a:b"}, "must have one ingress that nobody calls, not none"),
}


@pytest.mark.parametrize(("entry", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_not_read(entry: Manifest, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Application.of(entry)


def test_a_ray_service_is_read_back() -> None:
    assert RayService.of(RAY_SERVICE.manifest()) == RAY_SERVICE
    by_steps = replace(
        RAY_SERVICE,
        upgrade="NewClusterWithIncrementalUpgrade",
        upgrade_options={
            "maxSurgePercent": 20,
            "stepSizePercent": 5,
            "intervalSeconds": 10,
            "gatewayClassName": "istio",
        },
    )
    assert RayService.of(by_steps.manifest()) == by_steps


def test_what_a_cluster_shows_of_a_ray_service_is_read() -> None:
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    obj["metadata"] |= {"uid": "5a", "generation": 2, "labels": {"team": "nlp"}}
    obj["status"] = {"serviceStatus": "Running", "activeServiceStatus": {"rayClusterName": "bert-raycluster"}}
    del obj["spec"]["upgradeStrategy"], obj["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"]
    service = RayService.of(obj)
    assert (service.upgrade, service.workers[0].max_replicas) == ("NewCluster", 2**31 - 1)


HEAD = ("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "containers")
NEEDED: list[tuple[tuple[Any, ...], Any]] = [
    (("spec",), None),
    (("spec", "serveConfigV2"), None),
    (HEAD, []),
    ((*HEAD, 0, "image"), None),
]


@pytest.mark.parametrize(("path", "value"), NEEDED, ids=str)
def test_a_ray_service_without_what_we_need_is_not_read(path: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(Invalid, match=r"Required value|at least one container"):
        RayService.of(damaged(RAY_SERVICE.manifest(), path, value))


def test_a_ray_service_with_two_applications_is_not_read() -> None:
    obj = copy.deepcopy(RAY_SERVICE.manifest())
    entries = [replace(BERT_APPLICATION, name=name, route_prefix=f"/{name}").manifest() for name in "xy"]
    obj["spec"]["serveConfigV2"] = to_yaml({"applications": entries})
    with pytest.raises(Invalid, match="applications: must be one, not 2"):
        RayService.of(obj)


def test_arguments_of_a_builder_are_read_back() -> None:
    built = replace(BERT_APPLICATION, args={"batching": True})
    assert built.manifest()["args"] == {"batching": True}
    assert Application.of(built.manifest()).args == {"batching": True}


def test_null_in_a_deployment_is_a_field_that_is_not_given() -> None:
    entry = {"name": "Encoder", "ray_actor_options": None, "num_replicas": None, "autoscaling_config": None}
    assert Deployment.of(entry) == Deployment("Encoder")
