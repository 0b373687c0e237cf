"""The door and the decoder: one verdict for every kind, and jsonschema as the independent oracle of the types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import jsonschema
import pytest
from builders import GOOD, RAY_SERVICE
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from mlinfra import ApiWarning, Problem, validate
from mlinfra.admission import schema
from mlinfra.admission.rules import Field, circle, select
from mlinfra.manifest import Manifest


def head(api_version: str, kind: str) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}


VALUES: list[Any] = ["text", 5, 1.5, True, [], {}, ["a"], {"a": 1}]


def oracle(obj: Manifest) -> jsonschema.Draft202012Validator:
    """The same schema file, judged by another program."""
    group, slash, version = obj["apiVersion"].rpartition("/")
    name = f"{obj['kind'].lower()}-{group.partition('.')[0]}{'-' if slash else ''}{version}"
    folder = f"kubernetes-json-schema/v{schema.KUBERNETES}.0-local-strict"
    definitions = Resource.from_contents(schema_contents(f"{folder}/_definitions.json", schema.KUBERNETES))
    content = schema_contents(f"{folder}/{name}.json", schema.KUBERNETES)
    return jsonschema.Draft202012Validator(content, registry=definitions @ Registry())


def mutations(obj: Manifest) -> Iterator[Manifest]:
    """The object with every value replaced by values of other types, and with every field renamed."""
    for path in paths(obj):
        for value in VALUES:
            changed, branch = copied(obj, path)
            branch[path[-1]] = value
            yield changed
        if isinstance(path[-1], str):
            changed, branch = copied(obj, path)
            branch[f"{path[-1]}z"] = branch.pop(path[-1])
            yield changed


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in steps:
        if (*at, step) not in (("apiVersion",), ("kind",)):
            yield (*at, step)
            yield from paths(below, (*at, step))


def copied(obj: Manifest, path: tuple[Any, ...]) -> tuple[Manifest, Any]:
    whole = branch = deepcopy(obj)
    for step in path[:-1]:
        branch = branch[step]
    return whole, branch


def test_the_decoder_stops_at_the_first_wrong_type_and_names_every_unknown_field() -> None:
    unknown = deepcopy(GOOD["Deployment"])
    unknown["spec"] |= {"replica": 2, "stratgy": {}}
    assert [problem.path for problem in validate(unknown)] == ["spec.replica", "spec.stratgy"]
    unknown["spec"]["replicas"] = "2"
    (only,) = validate(unknown)
    assert (
        only.message == "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("metadata", "labels"), "a", "cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        (("metadata", "labels", "a"), 5, "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        (("spec", "replicas"), 1.5, "cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (("spec", "replicas"), 2**31, "cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (("spec", "template"), [], "cannot unmarshal array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec"),
        (("spec", "paused"), "yes", "cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool"),
        (("spec", "template", "spec", "containers"), {}, "of type []v1.Container"),
        (("spec", "template", "spec", "containers", 0, "image"), True, "cannot unmarshal bool into Go struct field Container.spec.template.spec.containers.image of type string"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_said_as_go_says_it(path: tuple[Any, ...], value: Any, message: str) -> None:
    obj = deepcopy(GOOD["Deployment"])
    obj["metadata"].setdefault("labels", {"a": "b"})
    changed, branch = copied(obj, path)
    branch[path[-1]] = value
    (problem,) = validate(changed)
    assert message in problem.message


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (head("apps/v2", "Deployment"), 'no matches for kind "Deployment" in version "apps/v2"'),
        (head("extensions/v1beta1", "Ingress"), 'no matches for kind "Ingress" in version "extensions/v1beta1"'),
        (head("policy/v1beta1", "PodDisruptionBudget"), "no matches for kind"),
        (head("keda.sh/v2", "ScaledObject"), 'no matches for kind "ScaledObject" in version "keda.sh/v2"'),
        ({"metadata": {"name": "a"}}, "no matches for kind"),
    ],
)
def test_a_kind_that_no_server_has_is_refused_in_the_servers_words(obj: Manifest, words: str) -> None:
    (problem,) = validate(obj)
    assert isinstance(problem, Problem)
    assert words in problem.message


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (head("kubeflow.org/v1", "PyTorchJob"), "not checked here: PyTorchJob in kubeflow.org/v1; `kubectl apply --dry-run=server`"),
        (head("serving.kserve.io/v1alpha1", "ServingRuntime"), "not checked here"),
    ],
)  # fmt: skip
def test_what_is_not_checked_is_said_and_not_refused(obj: Manifest, words: str) -> None:
    (warning,) = validate(obj)
    assert isinstance(warning, ApiWarning)
    assert words in warning.message


ROLE_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
SCHEMA_ONLY = [
    head("v1", "Secret") | {"stringData": {"token": "x"}, "type": "Opaque"},
    head("v1", "Namespace") | {"spec": {"finalizers": ["kubernetes"]}},
    head("v1", "PersistentVolumeClaim")
    | {"spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}}},
    head("v1", "ResourceQuota") | {"spec": {"hard": {"requests.nvidia.com/gpu": 4}}},
    head("v1", "LimitRange") | {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}},
    head("rbac.authorization.k8s.io/v1", "Role") | {"rules": ROLE_RULES},
    head("rbac.authorization.k8s.io/v1", "ClusterRole") | {"rules": ROLE_RULES},
    head("rbac.authorization.k8s.io/v1", "RoleBinding")
    | {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "b"}],
    },
    head("storage.k8s.io/v1", "StorageClass") | {"provisioner": "example.com/nfs"},
]


@pytest.mark.parametrize("obj", SCHEMA_ONLY, ids=lambda obj: str(obj["kind"]))
def test_a_kind_without_rules_here_is_held_against_its_schema_and_says_so(obj: Manifest) -> None:
    (warning,) = validate(obj)
    assert warning == ApiWarning("kind", f"schema only: this course has no rules of its own for {obj['kind']}")
    (problem,) = validate(obj | {"spek": {}})
    assert str(problem) == 'spek: strict decoding error: unknown field "spek"'


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("Secret", "My_Token", "a lowercase RFC 1123 subdomain"),
        ("PersistentVolumeClaim", "", "name or generateName is required"),
        ("Namespace", "ml.research", "a lowercase RFC 1123 label"),
        ("Role", "a/b", "may not contain '/'"),
        ("Role", "system:Pods_Reader", ""),
    ],
)
def test_names_of_kinds_without_rules_here(kind: str, name: str, why: str) -> None:
    (good,) = (obj for obj in SCHEMA_ONLY if obj["kind"] == kind)
    problems = [problem for problem in validate(good | {"metadata": {"name": name}}) if isinstance(problem, Problem)]
    assert [problem.path for problem in problems] == (["metadata.name"] if why else [])
    assert all(why in problem.message for problem in problems)


def test_a_kind_that_has_a_schema_alone_is_refused_by_it() -> None:
    assert (
        str(validate(head("v1", "Secret") | {"stringdata": {}})[0])
        == 'stringdata: strict decoding error: unknown field "stringdata"'
    )
    assert validate(head("apps/v1", "StatefulSet") | {"spec": {"serviceName": "a"}})[0].path == "spec.selector"
    assert validate({"apiVersion": "v1", "kind": "Namespace", "metadata": {}})[0].path == "metadata.name"


def test_a_version_that_is_still_served_is_a_warning_and_has_its_own_fields() -> None:

    ray = RAY_SERVICE.manifest() | {"apiVersion": "ray.io/v1alpha1"}
    (problem,) = validate(ray)
    assert problem.message == 'strict decoding error: unknown field "spec.upgradeStrategy"'
    del ray["spec"]["upgradeStrategy"]
    (warning,) = validate(ray)
    assert str(warning).startswith(
        "Warning: apiVersion: ray.io/v1alpha1 RayService is deprecated; use ray.io/v1 RayService. "
    )


def queue(version: str, **spec: Any) -> Manifest:
    resource = {"name": "nvidia.com/gpu", "nominalQuota": 8, "borrowingLimit": 4}
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": "a100", "resources": [resource]}]}
    return head(f"kueue.x-k8s.io/{version}", "ClusterQueue") | {"spec": {"resourceGroups": [group], **spec}}


def test_kueues_version_of_old_calls_the_cohort_by_another_name() -> None:
    (warning,) = validate(queue("v1beta1", cohort="ml", flavorFungibility={"whenCanBorrow": "Borrow"}))
    assert str(warning) == "Warning: apiVersion: This version is deprecated. Use v1beta2 instead."
    assert validate(queue("v1beta2", cohortName="ml")) == []
    for obj, why in (
        (queue("v1beta1", cohortName="ml"), 'unknown field "spec.cohortName"'),
        (queue("v1beta2", cohort="ml"), 'unknown field "spec.cohort"'),
        (queue("v1beta1"), "must be nil when cohort is empty"),
        (
            queue("v1beta2", cohortName="ml", flavorFungibility={"whenCanBorrow": "Borrow"}),
            'Unsupported value: "Borrow"',
        ),
    ):
        assert [why in problem.message for problem in validate(obj)] == [True], why
    cohort = queue("v1beta1") | {"kind": "Cohort"}
    assert [problem.message for problem in validate(cohort)] == ["Invalid value: 4: must be nil when parent is empty"]


OLD_AUTOSCALER = head("autoscaling/v1", "HorizontalPodAutoscaler") | {
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "bert"},
        "maxReplicas": 3,
        "targetCPUUtilizationPercentage": 60,
    }
}


def test_the_autoscaler_of_old_has_one_metric() -> None:
    assert validate(OLD_AUTOSCALER) == [], "v1 is not deprecated"
    for wrong, path in (
        ({"targetCPUUtilizationPercentage": 0}, "spec.metrics[0].resource.target.averageUtilization"),
        ({"minReplicas": 4}, "spec.maxReplicas"),
        ({"metrics": []}, "spec.metrics"),
    ):
        assert [problem.path for problem in validate(OLD_AUTOSCALER | {"spec": OLD_AUTOSCALER["spec"] | wrong})] == [
            path
        ]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"labels": {"version": 2}}, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        ({"annotations": {"on": True}}, "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of type string"),
        ({"name": 5}, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"),
        ({"labels": ["a"]}, "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        ({"lables": {"a": "b"}}, 'strict decoding error: unknown field "metadata.lables"'),
        ({"ownerReferences": [{"blockOwner": True}]}, 'strict decoding error: unknown field "metadata.ownerReferences[0].blockOwner"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["core", "custom"])
def test_metadata_is_decoded_alike_in_every_kind(kind: str, metadata: Manifest, message: str) -> None:
    obj = deepcopy(GOOD["Deployment"]) if kind == "core" else queue("v1beta2", cohortName="ml")
    obj["metadata"] |= metadata
    assert [problem.message for problem in validate(obj)] == [message]


def test_a_wrong_metadata_comes_before_unknown_fields_and_these_before_wrong_types() -> None:
    obj = queue("v1beta2", cohortName=5)
    assert [problem.path for problem in validate(obj)] == ["spec.cohortName"]
    obj["spec"]["cohort"] = "ml"
    obj["metadata"]["lables"] = {}
    assert [problem.path for problem in validate(obj)] == ["metadata.lables", "spec.cohort"]
    obj["metadata"]["labels"] = {"a": 1, "b": 2}
    assert [problem.path for problem in validate(obj)] == ["metadata.labels"]


def test_the_vpas_old_mode_is_a_warning() -> None:
    spec = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
        "updatePolicy": {"updateMode": "Auto"},
    }
    (warning,) = validate(head("autoscaling.k8s.io/v1", "VerticalPodAutoscaler") | {"spec": spec})
    assert isinstance(warning, ApiWarning)
    assert "Recreate" in warning.message


def test_strings_are_strings_in_custom_resources_too() -> None:
    """The most frequent mistake with a ScaledObject; a mode that YAML reads as a boolean; `num-cpus: 0` of Ray."""

    trigger = {"type": "aws-sqs-queue", "metadata": {"queueLength": 30, "queueURL": "u"}}
    scaled = head("keda.sh/v1alpha1", "ScaledObject") | {
        "spec": {"scaleTargetRef": {"name": "a"}, "triggers": [trigger]}
    }
    policies = {"containerPolicies": [{"containerName": "sidecar", "mode": False}]}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}
    vpa = head("autoscaling.k8s.io/v1", "VerticalPodAutoscaler") | {
        "spec": {"targetRef": reference, "resourcePolicy": policies}
    }
    ray = RAY_SERVICE.manifest()
    ray["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"] = {"num-cpus": 0, "block": True}
    for obj, named in ((scaled, ["queueLength"]), (vpa, ["mode"]), (ray, ["num-cpus", "block"])):
        problems = validate(obj)
        assert all("in body must be of type string" in problem.message for problem in problems)
        assert [name for name, problem in zip(named, problems, strict=True) if name in problem.path] == named
    assert "quote it" in validate(vpa)[0].message


def test_what_is_no_object_is_refused() -> None:
    objects: list[Any] = [None, 5, "text", [], {"kind": []}, {"apiVersion": {}, "kind": {}}]
    assert all(isinstance(validate(obj)[0], Problem) for obj in objects)


def test_a_verdict_needs_no_jsonschema() -> None:
    import subprocess
    import sys

    code = f"import sys; from mlinfra import validate; validate({json.dumps(head('v1', 'Namespace'))}); "
    code += "print([name for name in ('jsonschema', 'kubernetes_validate') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


OF_A_SERVER = [*GOOD.values(), *SCHEMA_ONLY, OLD_AUTOSCALER]


@pytest.mark.parametrize("good", OF_A_SERVER, ids=lambda obj: f"{obj['apiVersion']} {obj['kind']}")
def test_the_decoder_refuses_what_jsonschema_refuses_and_nothing_else(good: Manifest) -> None:
    judge, of_kind = oracle(good), schema.of_kind(good["apiVersion"], good["kind"])
    assert of_kind
    for obj in mutations(good):
        decoding = schema.decode(Field(obj), of_kind)
        refused = bool(decoding.problems or decoding.missing)
        assert refused == (not judge.is_valid(obj)), obj


@pytest.mark.parametrize(
    ("graph", "names"),
    [
        ({}, []),
        ({"a": ["b", "c"], "b": ["c"]}, []),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}, ["b", "c", "d", "b"]),
    ],
)
def test_a_circle_is_named_in_the_order_of_its_needs(graph: dict[str, list[str]], names: list[str]) -> None:
    assert circle(graph) == names


def scaled(**bounds: int) -> Manifest:
    trigger = {"type": "kafka", "metadata": {"topic": "orders"}}
    return head("keda.sh/v1alpha1", "ScaledObject") | {
        "spec": {"scaleTargetRef": {"name": "a"}, "triggers": [trigger], **bounds}
    }


def served(**model: str) -> Manifest:
    model_spec = {"modelFormat": {"name": "onnx"}, **model}
    return head("serving.kserve.io/v1beta1", "InferenceService") | {"spec": {"predictor": {"model": model_spec}}}


SCHEDULER: Manifest = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


@pytest.mark.parametrize(
    "obj",
    [
        served(name=""),
        served(storageUri="model-registry://iris/v1"),
        scaled(idleReplicaCount=0, minReplicaCount=0),
        SCHEDULER,
        SCHEDULER | {"clientConnection": {"kubeconfig": "/etc/kubernetes/scheduler.conf"}, "leaderElection": {}},
        SCHEDULER
        | {"profiles": [{"plugins": {"multiPoint": {"enabled": [{"name": "NodeResourcesFit", "weight": 1}]}}}]},
    ],
)
def test_what_people_have_and_upstream_takes_is_not_refused(obj: Manifest) -> None:
    assert all(isinstance(each, ApiWarning) for each in validate(obj))


def test_a_minimum_that_is_given_as_none_counts_as_one() -> None:
    (problem,) = validate(scaled(idleReplicaCount=0))
    assert "IdleReplicaCount=0 must be less than MinReplicaCount=0" in problem.message
    assert validate(scaled(minReplicaCount=3, maxReplicaCount=2))[0].path == "spec.minReplicaCount"


def test_a_scheme_that_only_a_container_of_the_cluster_knows_is_a_warning() -> None:
    (warning,) = validate(served(storageUri="model-registry://iris/v1"))
    assert "without a ClusterStorageContainer for model-registry:// the controller says" in warning.message


def test_a_configuration_has_no_metadata() -> None:
    assert [problem.path for problem in validate(SCHEDULER | {"metadata": {"name": "a"}})] == ["metadata"]


POD_SPEC = {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "c"}], "volumes": None}


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("containers[].name", ["containers[0].name", "containers[1].name"]),
        ("(initContainers|containers)[].name", ["initContainers[0].name", "containers[0].name", "containers[1].name"]),
        ("initContainers[].(name|image)", ["initContainers[0].name", "initContainers[0].image"]),
        ("(volumes[]|initContainers[]).(name|image)", [f"initContainers[0].{name}" for name in ("name", "image")]),
        ("volumes[].name", []),
        ("", [""]),
    ],
)
def test_a_path_stands_for_the_fields_that_are_there(path: str, places: list[str]) -> None:
    assert [field.path for field in select(Field(POD_SPEC), path)] == places
