"""The cluster as kube-scheduler sees it: nodes, pods that want GPUs, and what is left of each node.

Amounts are integers: cpu in milli, memory in bytes, everything else in pieces.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from mlinfra.admission.rules import (
    Field,
    Invalid,
    Needed,
    Problem,
    Rules,
    a,
    a_map,
    broken,
    dns_subdomain,
    label_key,
    label_value,
    labels,
    one_of,
    quantity_check,
    refuse,
    tuple_of,
    whole,
)
from mlinfra.manifest import Manifest, Resources, extended
from mlinfra.quantity import Quantity, milli_value, quantity

GPU = "nvidia.com/gpu"
PRODUCT, MEMORY, COUNT = "nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/gpu.count"
QUEUE_NAME = "kueue.x-k8s.io/queue-name"
EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
Amounts = Mapping[str, int]
NONZERO_DEFAULTS = {"cpu": 100, "memory": 200 * 2**20}
LARGEST_GANG = 10_000


def _typed(node: Field) -> Iterator[Problem]:
    if node["gpu_count"].value and not node["gpu_type"].value:
        yield node["gpu_type"].required("of a node with GPUs")


def _devices(field: Field) -> Iterator[Problem]:
    for name in field.value:
        yield from _extended(Field(name, field.path))


def _one_count(node: Field) -> Iterator[Problem]:
    if node["gpu_count"].value and GPU in node["devices"].value:
        yield node["devices"].invalid(f"must not have {GPU} beside gpu_count")


def _extended(field: Field) -> Iterator[Problem]:
    if not extended(str(field.value)):
        yield field.invalid("must be an extended resource, such as nvidia.com/gpu")


TAINT: Rules = [("key", label_key), ("effect", Needed(), one_of(*EFFECTS))]
TOLERATION: Rules = [("operator", one_of("Equal", "Exists")), ("effect", one_of(*EFFECTS))]
PRIORITY_CLASS: Rules = [
    ("value", Needed(), whole(-(2**31))),
    ("preemption_policy", one_of("Never", "PreemptLowerPriority")),
]
NAMED: Rules = [
    ("name", Needed(), dns_subdomain),
    ("labels", a_map, labels),
    ("gpu_count", Needed(), whole(0)),
    ("gpu_memory_gib", Needed(), whole(0)),
    ("cpu", quantity_check()),
    ("memory", quantity_check()),
]


@dataclass(frozen=True)
class Taint:
    """What keeps pods away from a node, unless they tolerate it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def __post_init__(self) -> None:
        refuse(f'taint "{self.key}"', broken(Field(vars(self)), TAINT))


@dataclass(frozen=True)
class Toleration:
    """Taints that a pod accepts; an empty key with `Exists` accepts all, an empty effect every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        refuse(f'toleration "{self.key}"', broken(Field(vars(self)), TOLERATION))

    def tolerates(self, taint: Taint) -> bool:
        same_key = self.key in ("", taint.key)
        same_value = self.operator == "Exists" or self.value == taint.value
        return self.effect in ("", taint.effect) and same_key and same_value

    def manifest(self) -> Manifest:
        return {name: said for name, said in vars(self).items() if said}


@dataclass(frozen=True)
class Requirement:
    """A node selector's requirement on one label; Gt and Lt compare whole numbers."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.key)
        if self.operator in ("NotIn", "DoesNotExist"):
            return found is None or (self.operator == "NotIn" and found not in self.values)
        if found is None:
            return False
        if self.operator in ("Gt", "Lt"):
            return self._compares(found)
        return self.operator == "Exists" or found in self.values

    def _compares(self, found: str) -> bool:
        """What is not a whole number matches nothing."""
        if not all(re.fullmatch("[+-]?[0-9]+", number) for number in (found, *self.values[:1])):
            return False
        return int(found) > int(self.values[0]) if self.operator == "Gt" else int(found) < int(self.values[0])

    def manifest(self) -> Manifest:
        return {"key": self.key, "operator": self.operator} | ({"values": list(self.values)} if self.values else {})


NODE: Rules = [
    *NAMED,
    ("max_pods", Needed(), whole(0)),
    ("devices", a_map, _devices),
    ("devices[]", Needed(), whole(0)),
    ("gpu_type", label_value),
    ("", _typed),
    ("", _one_count),
    ("taints", tuple_of(Taint)),
]


@dataclass(frozen=True)
class GPUNode:
    """A node with equal GPUs; the labels are those that NVIDIA's GPU feature discovery sets, and yours.

    `devices` are its other extended resources, such as {"nvidia.com/mig-1g.10gb": 7}.
    """

    name: str
    gpu_type: str = ""
    gpu_count: int = 0
    gpu_memory_gib: int = 0
    cpu: Quantity = "96"
    memory: Quantity = "1Ti"
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    max_pods: int = 110
    devices: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse(f'node "{self.name}"', broken(Field(vars(self)), NODE))

    @cached_property
    def allocatable(self) -> Amounts:
        amounts = {"cpu": milli_value(self.cpu), "memory": math.ceil(quantity(self.memory)), "pods": self.max_pods}
        return amounts | ({GPU: self.gpu_count} if self.gpu_count else {}) | dict(self.devices)

    @cached_property
    def all_labels(self) -> Mapping[str, str]:
        gpus = {PRODUCT: self.gpu_type, MEMORY: str(self.gpu_memory_gib * 1024), COUNT: str(self.gpu_count)}
        return {"kubernetes.io/hostname": self.name} | (gpus if self.gpu_count else {}) | dict(self.labels)


@dataclass(frozen=True)
class PriorityClass:
    """A name for a priority; `preemption_policy` Never queues ahead of others and evicts nobody."""

    name: str
    value: int
    preemption_policy: str = "PreemptLowerPriority"
    global_default: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        refuse(f'PriorityClass "{self.name}"', broken(Field(vars(self)), PRIORITY_CLASS))

    def manifest(self) -> Manifest:
        said = {"description": self.description} if self.description else {}
        return {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": self.name},
            "value": self.value,
            "preemptionPolicy": self.preemption_policy,
            "globalDefault": self.global_default,
            **said,
        }


NO_CLASS = PriorityClass("", 0)


REQUEST: Rules = [
    *NAMED,
    ("gang_size", Needed(), whole(1, LARGEST_GANG)),
    ("resource", _extended),
    ("preferred_gpu_type", label_value),
    ("required_gpu_type", label_value),
    ("tolerations", tuple_of(Toleration)),
    ("priority_class", Needed(), a(PriorityClass)),
]


@dataclass(frozen=True)
class GPURequest:
    """A pod that wants GPUs, or a gang of `gang_size` such pods; what is None or empty is not asked for.

    With another `resource` than nvidia.com/gpu it wants so many of those, such as MIG instances.

    GPU memory and type are wishes on node labels: `required_gpu_type` and `gpu_memory_gib` filter nodes,
    `preferred_gpu_type` scores them.
    """

    name: str
    gpu_count: int = 0
    gpu_memory_gib: int = 0
    preferred_gpu_type: str = ""
    required_gpu_type: str = ""
    cpu: Quantity | None = None
    memory: Quantity | None = None
    tolerations: tuple[Toleration, ...] = ()
    priority_class: PriorityClass = NO_CLASS
    gang_size: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    resource: str = GPU

    def __post_init__(self) -> None:
        refuse(f'pod "{self.name}"', broken(Field(vars(self)), REQUEST))

    @property
    def priority(self) -> int:
        return self.priority_class.value

    @cached_property
    def requests(self) -> Amounts:
        """What the node must have left."""
        amounts = {self.resource: self.gpu_count} if self.gpu_count else {}
        if self.cpu is not None:
            amounts["cpu"] = milli_value(self.cpu)
        return amounts if self.memory is None else amounts | {"memory": math.ceil(quantity(self.memory))}

    @cached_property
    def required(self) -> tuple[Requirement, ...]:
        """What the node's labels must say."""
        kind = (Requirement(PRODUCT, "In", (self.required_gpu_type,)),) if self.required_gpu_type else ()
        least = Requirement(MEMORY, "Gt", (str(self.gpu_memory_gib * 1024 - 1),))
        return kind + ((least,) if self.gpu_memory_gib else ())

    @cached_property
    def preferred(self) -> tuple[Requirement, ...]:
        """What the node's labels had better say."""
        return (Requirement(PRODUCT, "In", (self.preferred_gpu_type,)),) if self.preferred_gpu_type else ()

    def pods(self) -> tuple[GPURequest, ...]:
        """The pods of a gang, numbered; a single pod is its own."""
        if self.gang_size == 1:
            return (self,)
        return tuple(replace(self, name=f"{self.name}-{i}", gang_size=1) for i in range(self.gang_size))

    def manifest(self, image: str, command: tuple[str, ...]) -> Manifest:
        """One pod as a manifest, as the restricted Pod Security Standard wants it."""
        container = {
            "name": "main",
            "image": image,
            "command": list(command),
            "resources": self._resources().manifest(),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
        }
        spec: Manifest = {
            "containers": [container],
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        }
        if self.priority_class != NO_CLASS:
            spec["priorityClassName"] = self.priority_class.name
        if self.tolerations:
            spec["tolerations"] = [toleration.manifest() for toleration in self.tolerations]
        if affinity := self._affinity():
            spec["affinity"] = {"nodeAffinity": affinity}
        metadata = {"name": self.name} | ({"labels": dict(self.labels)} if self.labels else {})
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def job(self, image: str, command: tuple[str, ...], queue: str = "") -> Manifest:
        """The gang as an indexed Job; with a queue it is for Kueue, which starts it by lifting `suspend`."""
        pod = self.manifest(image, command)
        template = {"spec": pod["spec"]} | ({"metadata": {"labels": dict(self.labels)}} if self.labels else {})
        size = {"completionMode": "Indexed", "completions": self.gang_size, "parallelism": self.gang_size}
        labels = dict(self.labels) | ({QUEUE_NAME: queue} if queue else {})
        metadata = {"name": self.name} | ({"labels": labels} if labels else {})
        spec = size | {"suspend": bool(queue), "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    def _resources(self) -> Resources:
        """Limits equal requests: of GPUs they must, and the pod gets what it was scheduled for."""
        asked = {"cpu": self.cpu, "memory": self.memory, self.resource: self.gpu_count or None}
        amounts = {name: amount for name, amount in asked.items() if amount is not None}
        return Resources(amounts, amounts)

    def _affinity(self) -> Manifest:
        required = {"nodeSelectorTerms": [{"matchExpressions": [r.manifest() for r in self.required]}]}
        preferred = [{"weight": 100, "preference": {"matchExpressions": [r.manifest()]}} for r in self.preferred]
        rules = {
            "requiredDuringSchedulingIgnoredDuringExecution": self.required and required,
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        }
        return {name: rule for name, rule in rules.items() if rule}


def nonzero(requests: Amounts) -> Amounts:
    """A container's requests as scoring counts them: 100m and 200Mi where it names no cpu or memory."""
    return NONZERO_DEFAULTS | dict(requests)


@dataclass(frozen=True)
class Pod:
    """A request that has a node."""

    request: GPURequest
    node: str
    start_s: float = 0.0


class NodeInfo:
    """A node, its pods in the order in which they came, and the sums of their requests (scoring has its own)."""

    def __init__(self, node: GPUNode, pods: tuple[Pod, ...] = ()) -> None:
        self.node = node
        self.pods: dict[str, Pod] = {}
        self.requested: Counter[str] = Counter()
        self.nonzero_requested: Counter[str] = Counter()
        for pod in pods:
            self.add(pod)

    def add(self, pod: Pod) -> None:
        self.pods[pod.request.name] = pod
        self.requested.update(pod.request.requests)
        self.nonzero_requested.update(nonzero(pod.request.requests))

    def remove(self, name: str) -> None:
        """The pod's requests are given back, exactly."""
        pod = self.pods.pop(name)
        self.requested.subtract(pod.request.requests)
        self.nonzero_requested.subtract(nonzero(pod.request.requests))

    def copy(self) -> NodeInfo:
        return NodeInfo(self.node, tuple(self.pods.values()))

    @property
    def free_gpus(self) -> int:
        return self.node.allocatable.get(GPU, 0) - self.requested[GPU]

    def gpus(self) -> list[str]:
        """Which pod has each GPU, "" for a free one; the kubelet picks the devices, here they are taken in order."""
        taken = [pod.request.name for pod in self.pods.values() for _ in range(pod.request.requests.get(GPU, 0))]
        return taken + [""] * self.free_gpus


def not_found(what: str, name: str) -> Invalid:
    return Invalid(what, [Problem("name", f'{what}s "{name}" not found')])


def already_exists(what: str, name: str) -> Invalid:
    return Invalid(what, [Problem("name", f'{what}s "{name}" already exists')])
