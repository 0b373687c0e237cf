"""Objects as a server gives them back are read as what their author wrote; what is not used is a short, true list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from builders import BERT, OBJECTS, autoscaler
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import manifest, validate
from mlinfra.admission import Problem
from mlinfra.autoscaling import hpa, keda, knative, vpa
from mlinfra.gpu.affinity import Requirement, Taint, Toleration
from mlinfra.gpu.mig import MIGConfig
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.gpu.quota import ClusterQueue, LocalQueue, Quota, ResourceFlavor
from mlinfra.helm.deployment import Rollout
from mlinfra.kserve import InferenceService, Model, Predictor
from mlinfra.manifest import Manifest, Resources
from mlinfra.ray_serve import Application, Deployment
from mlinfra.ray_serve.kuberay import RayService, WorkerGroup

SERVED = {obj["kind"]: obj for obj in manifest.load(OBJECTS / "served.yaml")}
GPU_WORKER = Resources({"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1}, {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1})  # fmt: skip
HEAD = Resources({"cpu": 2, "memory": "4Gi"}, {"cpu": 2, "memory": "4Gi"})
MODEL = Resources({"cpu": 1, "memory": "8Gi", "nvidia.com/gpu": 1}, {"cpu": 2, "memory": "8Gi", "nvidia.com/gpu": 1})
A100 = "NVIDIA-A100-SXM4-80GB"

NOUNS: dict[str, tuple[Callable[[Manifest], Any], Any]] = {
    "HorizontalPodAutoscaler": (
        hpa.HorizontalPodAutoscaler.of,
        autoscaler(
            max_replicas=10,
            metrics=(hpa.Resource("cpu", hpa.Utilization(60)),),
            behavior=hpa.Behavior(scale_down=hpa.ScalingRules(stabilization_window_seconds=60)),
            scale_target_ref=replace(BERT, name="bert"),
        ),
    ),
    "VerticalPodAutoscaler": (
        vpa.VerticalPodAutoscaler.of,
        vpa.VerticalPodAutoscaler(
            "bert", replace(BERT, name="bert"),
            container_policies=(vpa.ContainerPolicy(max_allowed={"cpu": 4, "memory": "8Gi"}),),
        ),
    ),
    "ScaledObject": (
        keda.ScaledObject.of,
        keda.ScaledObject(
            "bert", replace(BERT, name="bert"),
            (keda.Trigger("prometheus", {"query": "sum(in_flight)", "serverAddress": "http://prometheus:9090"}, 3),),
            max_replica_count=10, polling_interval=15, cooldown_period=120,
        ),
    ),
    "Deployment": (Rollout.of, Rollout(4, 1, 0)),
    "InferenceService": (
        InferenceService.of,
        InferenceService(
            "bert",
            Predictor(1, 4, model=Model("huggingface", "s3://models/bert/v1", MODEL)),
            namespace="ml", with_pitfalls=True,
        ),
    ),
    "RayService": (
        RayService.of,
        RayService(
            "bert", Application("bert", "app:build", (Deployment("Encoder", 2),)),
            "registry.example.com/bert-ray:1.0.0", HEAD, (WorkerGroup("gpu", GPU_WORKER, 1, 4),),
        ),
    ),
    "Node": (
        GPUNode.of,
        GPUNode("gpu-1", A100, 8, 80, "95800m", "1031846Mi", taints=(Taint("nvidia.com/gpu", "present"),)),
    ),
    "Pod": (
        GPURequest.of,
        GPURequest(
            "bert-6f7b8-2hvlt", 1, namespace="ml", cpu="4", memory="24Gi",
            labels={"app": "bert", "pod-template-hash": "6f7b8"},
            node_selector={"nvidia.com/gpu.product": A100},
            tolerations=(
                Toleration("node.kubernetes.io/not-ready", "Exists", effect="NoExecute"),
                Toleration("node.kubernetes.io/unreachable", "Exists", effect="NoExecute"),
                Toleration("nvidia.com/gpu", "Exists", effect="NoSchedule"),
            ),
        ),
    ),
    "PriorityClass": (PriorityClass.of, PriorityClass("serving", 100000, description="what answers users")),
    "ClusterQueue": (
        ClusterQueue.of,
        ClusterQueue("team-a", "all", {"nvidia.com/gpu": Quota(8, 4)}, "a100", reclaim_within_cohort="Any"),
    ),
    "LocalQueue": (LocalQueue.of, LocalQueue("batch", "ml", "team-a")),
    "ResourceFlavor": (ResourceFlavor.of, ResourceFlavor("a100", {"nvidia.com/gpu.product": A100})),
    "KubeSchedulerConfiguration": (Profile.of, DEFAULT_PROFILE),
    "ConfigMap": (knative.Config.of, knative.Config(stable_window_s=120, max_scale_up_rate=10)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SERVED)
def test_a_served_object_is_what_its_author_wrote(kind: str) -> None:
    of, plain = NOUNS[kind]
    assert of(SERVED[kind]) == plain


@pytest.mark.parametrize("kind", SERVED)
def test_a_served_object_is_accepted(kind: str) -> None:
    assert [each for each in validate(SERVED[kind]) if isinstance(each, Problem)] == []


def test_there_is_one_of_every_kind_that_is_read() -> None:
    assert SERVED.keys() == NOUNS.keys()


@pytest.mark.parametrize("kind", SERVED)
def test_what_the_server_adds_is_dropped(kind: str) -> None:
    metadata = SERVED[kind].get("metadata", {})
    assert not metadata.keys() & {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
    assert not [name for name in metadata.get("annotations", {}) if name.startswith("kubectl.kubernetes.io/")]
    assert ("status" in SERVED[kind]) == (kind in ("Node", "Pod"))


NOT_USED = {
    "HorizontalPodAutoscaler": [],
    "VerticalPodAutoscaler": [],
    "ScaledObject": [],
    "InferenceService": [],
    "RayService": [],
    "Node": ["spec.podCIDR", "spec.podCIDRs[0]", "spec.providerID"],
    "Pod": [
        "spec.containers[0].image",
        "spec.nodeName",
        "spec.tolerations[0].tolerationSeconds",
        "spec.tolerations[1].tolerationSeconds",
    ],
    "PriorityClass": [],
    "ClusterQueue": [],
    "LocalQueue": [],
    "ResourceFlavor": [],
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_USED)
def test_what_is_not_used_is_short_and_true(kind: str) -> None:
    of, _ = NOUNS[kind]
    assert manifest.unused_fields(SERVED[kind], of(SERVED[kind]).manifest()) == NOT_USED[kind]


# ----------------------------------------------------------------------------- what is written is read, of the others

names = st.from_regex(r"[a-z]([a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
cpus, memories = st.sampled_from([1, "500m", "2"]), st.sampled_from(["1Gi", "512Mi"])
requirements = st.builds(
    Requirement, st.just("zone"), st.just("In"), st.lists(names, min_size=1, max_size=2).map(tuple)
)
pods = st.builds(
    GPURequest,
    names,
    st.integers(0, 8),
    st.integers(0, 80),
    preferred_gpu_type=st.sampled_from(["", A100]),
    required_gpu_type=st.sampled_from(["", A100]),
    cpu=st.none() | cpus,
    memory=st.none() | memories,
    tolerations=st.lists(st.builds(Toleration, names, st.just("Exists")), max_size=2).map(tuple),
    labels=st.dictionaries(names, names, max_size=2),
    devices=st.dictionaries(st.just("example.com/nic"), st.integers(1, 4)),
    node_selector=st.dictionaries(names, names, max_size=1),
    node_affinity=st.lists(st.tuples(requirements), max_size=2, unique=True).map(tuple),
)


@given(pods)
def test_a_pod_is_read_as_it_is_written(pod: GPURequest) -> None:
    read = GPURequest.of(pod.manifest())
    assert read.manifest() == pod.manifest()
    assert read.requests == pod.requests
    assert read.required == pod.required


@given(names, st.integers(-(2**31), 10**9), st.sampled_from(["Never", "PreemptLowerPriority"]), st.booleans(), names)
def test_a_priority_class_is_read_as_it_is_written(
    name: str, value: int, policy: str, everywhere: bool, words: str
) -> None:
    made = PriorityClass(name, value, policy, everywhere, words)
    assert PriorityClass.of(made.manifest()) == made


resources = st.builds(lambda cpu, memory: Resources({"cpu": cpu, "memory": memory}, {"memory": memory}), cpus, memories)
groups = st.builds(WorkerGroup, names, resources, st.integers(0, 2), st.integers(2, 5))
deployments = st.builds(Deployment, names, st.integers(1, 4), st.integers(1, 50))


@given(names, st.lists(deployments, min_size=1, max_size=3, unique_by=lambda each: each.name), resources,
       st.lists(groups, min_size=1, max_size=2, unique_by=lambda each: each.name))  # fmt: skip
def test_a_ray_service_is_read_as_it_is_written(
    name: str, several: list[Deployment], head: Resources, workers: list[WorkerGroup]
) -> None:
    chain = [replace(each, calls=(below.name,)) for each, below in pairwise(several)]
    application = Application(name, "app:build", (*chain, several[-1]))
    made = RayService(name, application, "registry.example.com/ray:1", head, tuple(workers))
    calls = {each.name: each.calls for each in application.deployments}
    assert RayService.of(made.manifest(), calls) == made


@given(
    st.dictionaries(names, st.sampled_from([{"1g": 1}, {"1g": 2}, {"2g": 1}, {"3g": 2}, {}]), min_size=1, max_size=3)
)
def test_a_mig_configuration_is_read_as_it_is_written(cuts: dict[str, dict[str, int]]) -> None:
    made = MIGConfig("A100-80GB", cuts)
    assert MIGConfig.of(made.manifest(), made.gpu) == made
