"""Nodes and requests: what counts, what the labels say, what is refused, and the manifests."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlinfra import admission
from mlinfra.gpu.affinity import PreferredSchedulingTerm, Requirement, Taint, Toleration
from mlinfra.gpu.cluster import BoundPod, NodeInfo, nonzero
from mlinfra.gpu.nodes import GPU, GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass

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
        ({"gpu_memory_gib": -16}, "gpu_memory_gib: Invalid value: -16"),
        ({"gang_size": 0}, "gang_size: Invalid value: 0: must be greater than or equal to 1"),
        ({"cpu": "-1"}, 'cpu: Invalid value: "-1": must be greater than or equal to 0'),
        ({"memory": "4GB"}, "memory: Invalid value"),
        ({"required_gpu_type": "A 100"}, "required_gpu_type: Invalid value"),
        ({"name": "Bad Name"}, "name: Invalid value"),
    ],
)
def test_an_impossible_request(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        GPURequest(**{"name": "job"} | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gpu_count": -1}, "gpu_count: Invalid value: -1"),
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
        (lambda: PriorityClass("p", 1, "never"), 'preemptionPolicy: Unsupported value: "never"'),
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
    info = NodeInfo(GPUNode("n", A100, 4, 80), (BoundPod(GPURequest("a", 2), "n"), BoundPod(GPURequest("b", 1), "n")))
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


# ---------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "node",
    [
        GPUNode("plain", cpu=16),
        GPUNode("a100", A100, 8, 80, "95500m", "1031823Mi", {"zone": "a"}, (Taint("nvidia.com/gpu", "present"),)),
        GPUNode("h100", "H100", 8, 79, labels={"nvidia.com/gpu.memory": "81559"}),
        GPUNode("cut", A100, 0, 80, devices={"nvidia.com/mig-1g.10gb": 7}, max_pods=250),
    ],
    ids=lambda node: str(node.name),
)
def test_a_node_is_read_back(node: GPUNode) -> None:
    assert admission.validate(node.manifest()) == []
    assert GPUNode.of(node.manifest()) == node


def test_a_node_as_a_cluster_shows_it() -> None:
    """Labels of feature discovery, a cordon's taint, and amounts that nobody here counts."""
    live = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "gpu-1",
            "uid": "1",
            "labels": {
                "kubernetes.io/hostname": "gpu-1",
                "nvidia.com/gpu.product": "H100",
                "nvidia.com/gpu.memory": "81559",
                "nvidia.com/gpu.count": "8",
                "zone": "a",
            },
        },
        "spec": {
            "providerID": "x://1",
            "unschedulable": True,
            "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-11-01T00:00:00Z"}],
        },
        "status": {
            "capacity": {"cpu": "96", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": "8"},
            "allocatable": {"cpu": "95", "memory": "1000Gi", "pods": "110", "nvidia.com/gpu": "8", "rdma/ib": "4", "ephemeral-storage": "1Ti"},
            "nodeInfo": {"architecture": "amd64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "v1.37.0", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""},
        },
    }  # fmt: skip
    node = GPUNode.of(live)
    assert node == GPUNode(
        "gpu-1",
        "H100",
        8,
        79,
        95,
        "1000Gi",
        {"nvidia.com/gpu.memory": "81559", "zone": "a"},
        (Taint("node.kubernetes.io/unschedulable"),),
        devices={"rdma/ib": 4},
        unschedulable=True,
    )
    bare = GPUNode.of({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}, "status": {"allocatable": {"nvidia.com/gpu": 2}}})  # fmt: skip
    assert (bare.gpu_count, bare.all_labels) == (2, {"kubernetes.io/hostname": "bare", "nvidia.com/gpu.count": "2"})
    for wrong in ({"kind": "Pod"}, {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}):
        with pytest.raises(admission.Invalid):
            GPUNode.of(live | wrong)


URGENT = PriorityClass("urgent", 1000, "Never", description="serving")
ZONE = Requirement("zone", "In", ("a", "b"))


@pytest.mark.parametrize(
    "request_",
    [
        GPURequest("plain"),
        GPURequest("sized", 1, 40, A100, "", 4, "16Gi", (Toleration("nvidia.com/gpu", "Exists"),), labels={"app": "bert"}),
        GPURequest("typed", 8, 80, "", A100, "500m", "1G", priority_class=URGENT),
        GPURequest("slice", 2, resource="nvidia.com/mig-1g.10gb"),
        GPURequest("fast", 8, devices={"rdma/ib": 1}, node_selector={"zone": "a"}),
        GPURequest("here", 1, 40, node_affinity=((ZONE,), (Requirement("rack", "Exists"),))),
        GPURequest("there", preferred_gpu_type=A100, preferred_terms=(PreferredSchedulingTerm(5, (ZONE,)),)),
    ],
    ids=lambda request: str(request.name),
)  # fmt: skip
def test_a_request_is_read_back(request_: GPURequest) -> None:
    assert admission.validate(request_.manifest()) == []
    assert GPURequest.of(request_.manifest(), [URGENT]) == request_


def test_a_priority_class_is_read_back() -> None:
    assert PriorityClass.of(URGENT.manifest()) == URGENT
    assert PriorityClass.of(URGENT.manifest() | {"preemptionPolicy": None}).preemption_policy == "PreemptLowerPriority"


def test_the_classes_of_the_system_itself() -> None:
    """`IsKnownSystemPriorityClass`: two names, each with its value."""
    assert PriorityClass("system-node-critical", 2_000_001_000).value == 2_000_001_000
    for name, value in (("system-node-critical", 5), ("system-own", 5), ("own", 2_000_001_000)):
        with pytest.raises(admission.Invalid, match="Forbidden"):
            PriorityClass(name, value)


def container(name: str, restart: str = "", **requests: str) -> dict[str, Any]:
    amounts = {f"nvidia.com/{name}" if name == "gpu" else name: amount for name, amount in requests.items()}
    policy = {"restartPolicy": restart} if restart else {}
    return {"name": name, "image": "i:1", "resources": {"requests": amounts, "limits": amounts}} | policy


def live_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "live", "namespace": "ml", "uid": "1"},
        "spec": {"containers": list(containers), "nodeName": "n"} | spec,
        "status": {"phase": "Running"},
    }


@pytest.mark.parametrize(
    ("pod", "requests"),
    [
        (live_pod(container("a", cpu="1", memory="1Gi"), container("b", cpu="500m", gpu="1")), {"cpu": 1500, "memory": 2**30, GPU: 1}),
        (live_pod(container("a", cpu="1"), initContainers=[container("i", cpu="4", gpu="2")]), {"cpu": 4000, GPU: 2}),
        (live_pod(container("a", cpu="1"), initContainers=[container("s", "Always", cpu="2"), container("i", cpu="4")]), {"cpu": 6000}),
        (live_pod(container("a", cpu="5"), initContainers=[container("i", cpu="4"), container("s", "Always", cpu="2")]), {"cpu": 7000}),
        (live_pod(container("a", cpu="1"), overhead={"cpu": "250m"}), {"cpu": 1250}),
        (live_pod({"name": "a", "image": "i:1", "resources": {"limits": {"cpu": "2"}}}), {"cpu": 2000}),
        (live_pod(container("a", memory="1.5Gi")), {"memory": 3 * 2**29}),
    ],
)  # fmt: skip
def test_what_the_scheduler_counts_of_a_pod(pod: dict[str, Any], requests: dict[str, int]) -> None:
    """`PodRequests`: the sum of what runs together, or the largest step of the start."""
    assert GPURequest.of(pod).requests == requests


def test_whose_priority_a_pod_has() -> None:
    named = live_pod(container("a"), priorityClassName="urgent")
    assert GPURequest.of(named, [URGENT]).priority == 1000
    filled = live_pod(container("a"), priorityClassName="urgent", priority=7, preemptionPolicy="Never")
    assert GPURequest.of(filled).priority_class == PriorityClass("urgent", 7, "Never")
    with pytest.raises(admission.Invalid, match="no PriorityClass with name urgent was found"):
        GPURequest.of(named)


def test_terms_that_are_not_read() -> None:
    affinity: Any = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}
    with pytest.raises(admission.Invalid, match=r"nodeSelectorTerms\[0\]: Forbidden: only matchExpressions and match"):
        GPURequest.of(live_pod(container("a"), affinity=affinity))


def test_where_a_pod_may_run() -> None:
    """The selector and one of the terms, each with the wishes of the request."""
    request = GPURequest("p", required_gpu_type=A100, node_selector={"pool": "x"}, node_affinity=((ZONE,), ()))
    labels = {"nvidia.com/gpu.product": A100, "pool": "x"}
    assert request.accepts(labels)
    assert not request.accepts(labels | {"pool": "y"})
    assert not request.accepts({"pool": "x", "zone": "a"})
    assert not GPURequest("q", node_affinity=((ZONE,),)).accepts({"zone": "c"})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Toleration(value="x"), "operator must be Exists when `key` is empty"),
        (lambda: Toleration("a", "Exists", "v"), "value must be empty when `operator` is 'Exists'"),
        (lambda: Toleration("-bad-", "Exists"), "key: Invalid value"),
        (lambda: Taint("-bad-"), "key: Invalid value"),
    ],
)
def test_a_toleration_that_no_server_takes(made: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        made()


@pytest.mark.parametrize(
    "configuration",
    [{"version": "v1", "mig-configs": {"off": [{"devices": "all", "mig-enabled": False}]}}, {"applications": []}],
)
def test_a_configuration_without_a_kind_is_no_node(configuration: dict[str, Any]) -> None:
    assert admission.validate(configuration) == []
    with pytest.raises(admission.Invalid, match='no matches for kind "None"'):
        GPUNode.of(configuration)
