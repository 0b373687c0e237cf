"""Nodes and requests: what counts, what the labels say, what is refused, and the manifests."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlinfra import admission
from mlinfra.gpu.cluster import (
    GPU,
    GPUNode,
    GPURequest,
    NodeInfo,
    Pod,
    PriorityClass,
    Requirement,
    Taint,
    Toleration,
    nonzero,
)

A100 = "NVIDIA-A100-SXM4-80GB"
IMAGE = "nvcr.io/nvidia/pytorch:25.01-py3"
LABELS = {"nvidia.com/gpu.memory": "81920", "zone": "a"}


def test_what_a_node_offers_and_says() -> None:
    node = GPUNode("n", A100, 8, 80, cpu="500m", memory="1Gi", labels={"zone": "a"})
    assert node.allocatable == {"cpu": 500, "memory": 2**30, "pods": 110, GPU: 8}
    assert node.all_labels == {
        "kubernetes.io/hostname": "n",
        "nvidia.com/gpu.product": A100,
        "nvidia.com/gpu.memory": "81920",
        "nvidia.com/gpu.count": "8",
        "zone": "a",
    }
    assert GPU not in GPUNode("plain").allocatable


@pytest.mark.parametrize(
    ("operator", "values", "matches"),
    [
        ("In", ("81920", "40960"), True),
        ("In", ("40960",), False),
        ("NotIn", ("40960",), True),
        ("NotIn", ("81920",), False),
        ("Exists", (), True),
        ("DoesNotExist", (), False),
        ("Gt", ("81919",), True),
        ("Gt", ("81920",), False),
        ("Lt", ("81921",), True),
        ("Lt", ("81920",), False),
    ],
)
def test_a_requirement_on_a_label(operator: str, values: tuple[str, ...], matches: bool) -> None:
    assert Requirement("nvidia.com/gpu.memory", operator, values).matches(LABELS) is matches
    absent = Requirement("not-there", operator, values).matches(LABELS)
    assert absent is (operator in ("NotIn", "DoesNotExist"))


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration("nvidia.com/gpu", value="present"), True),
        (Toleration("nvidia.com/gpu", value="present", effect="NoSchedule"), True),
        (Toleration("nvidia.com/gpu", "Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration("nvidia.com/gpu", value="absent"), False),
        (Toleration("nvidia.com/gpu"), False),
        (Toleration("other", "Exists"), False),
        (Toleration("nvidia.com/gpu", "Exists", effect="NoExecute"), False),
    ],
)
def test_a_toleration(toleration: Toleration, tolerates: bool) -> None:
    assert toleration.tolerates(Taint("nvidia.com/gpu", "present")) is tolerates


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gpu_count": -1}, "gpu_count: Invalid value: -1: must be greater than or equal to 0"),
        ({"gpu_count": 0.5}, "gpu_count: Invalid value: 0.5: must be an integer"),
        ({"gpu_count": True}, "gpu_count: Invalid value: true: must be an integer"),
        ({"gpu_memory_gib": -16}, "gpu_memory_gib: Invalid value: -16"),
        ({"gang_size": 0}, "gang_size: Invalid value: 0: must be greater than or equal to 1"),
        ({"cpu": "-1"}, 'cpu: Invalid value: "-1": must be greater than or equal to 0'),
        ({"memory": "4GB"}, "memory: Invalid value"),
        ({"required_gpu_type": "A 100"}, "required_gpu_type: Invalid value"),
        ({"name": "Bad Name"}, "name: Invalid value"),
        ({"name": None}, "name: Required value"),
        ({"labels": ["app"]}, 'labels: Invalid value: ["app"]: must be a map'),
        ({"tolerations": "all"}, 'tolerations: Invalid value: "all": must be a tuple of Toleration'),
    ],
)
def test_an_impossible_request(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        GPURequest(**{"name": "job"} | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gpu_count": -1}, "gpu_count: Invalid value: -1"),
        ({"gpu_count": 8}, "gpu_type: Required value: of a node with GPUs"),
        ({"max_pods": -1}, "max_pods: Invalid value: -1"),
        ({"memory": "much"}, "memory: Invalid value"),
    ],
)
def test_an_impossible_node(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        GPUNode("n", **wrong)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Taint("k", effect="Never"), 'effect: Unsupported value: "Never": supported values: "NoExecute"'),
        (lambda: Toleration("k", "Gt"), 'operator: Unsupported value: "Gt": supported values: "Equal", "Exists"'),
        (lambda: PriorityClass("p", "high"), 'value: Invalid value: "high": must be an integer'),  # type: ignore[arg-type]
        (lambda: PriorityClass("p", 1, "never"), 'preemption_policy: Unsupported value: "never"'),
    ],
)
def test_what_is_no_taint_toleration_or_priority(made: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        made()


def test_a_label_that_is_no_number_is_not_compared() -> None:
    labels = {"size": "80Gi"}
    assert not Requirement("size", "Gt", ("1",)).matches(labels)
    assert not Requirement("size", "Lt", ("1",)).matches(labels)


def test_part_of_a_byte_is_a_byte() -> None:
    assert GPURequest("p", memory="1500m").requests == {"memory": 2}


def test_scoring_counts_what_is_not_requested() -> None:
    assert nonzero({}) == {"cpu": 100, "memory": 200 * 2**20}
    assert nonzero({"cpu": 0, GPU: 1}) == {"cpu": 0, "memory": 200 * 2**20, GPU: 1}


def test_the_gpus_of_a_node_in_order() -> None:
    info = NodeInfo(GPUNode("n", A100, 4, 80), (Pod(GPURequest("a", 2), "n"), Pod(GPURequest("b", 1), "n")))
    assert info.gpus() == ["a", "a", "b", ""]
    info.remove("a")
    assert info.gpus() == ["b", "", "", ""]


def test_a_request_as_a_pod() -> None:
    urgent = PriorityClass("urgent", 1000, description="serving")
    request = GPURequest(
        "bert", 1, 40, A100, "", "4", "16Gi", (Toleration("nvidia.com/gpu", "Exists"),), urgent, labels={"app": "bert"}
    )
    pod = request.manifest(IMAGE, ("python", "serve.py"))
    assert admission.validate(pod) == []
    assert admission.validate(urgent.manifest()) == []
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", GPU: "1"}
    terms = pod["spec"]["affinity"]["nodeAffinity"]
    needed = terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]["matchExpressions"]
    assert needed == [{"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40959"]}]
    wished = terms["preferredDuringSchedulingIgnoredDuringExecution"][0]["preference"]["matchExpressions"]
    assert wished == [{"key": "nvidia.com/gpu.product", "operator": "In", "values": [A100]}]


def test_a_plain_pod_has_no_empty_parts() -> None:
    pod = GPURequest("plain", cpu=1, memory="1Gi").manifest(IMAGE, ("true",))
    assert set(pod["spec"]) == {"containers", "restartPolicy", "securityContext"}
    assert admission.validate(pod) == []


def test_a_gang_is_so_many_pods() -> None:
    gang = GPURequest("train", 8, gang_size=3)
    assert [pod.name for pod in gang.pods()] == ["train-0", "train-1", "train-2"]
    assert {pod.gpu_count for pod in gang.pods()} == {8}


def test_a_gang_as_a_job_for_kueue() -> None:
    train = GPURequest("train", 8, cpu=8, memory="64Gi", gang_size=2, labels={"app": "train"})
    job = train.job(IMAGE, ("python", "train.py"), "research")
    assert admission.validate(job) == []
    assert job["metadata"]["labels"] == {"app": "train", "kueue.x-k8s.io/queue-name": "research"}
    assert job["spec"]["template"]["metadata"]["labels"] == {"app": "train"}
    assert (job["spec"]["parallelism"], job["spec"]["completions"], job["spec"]["suspend"]) == (2, 2, True)
    job["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    problem = 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    assert [str(p) for p in admission.validate(job)] == [problem]
