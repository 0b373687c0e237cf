"""The cluster as kube-scheduler's cache keeps it: each node with its pods, and the sums of what they request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from mlinfra.admission import Invalid, Problem
from mlinfra.gpu.nodes import GPU, Amounts, GPUNode
from mlinfra.gpu.pods import GPURequest
from mlinfra.tables import plural_of

NONZERO_DEFAULTS = {"cpu": 100, "memory": 200 * 2**20}


def nonzero(requests: Amounts) -> Amounts:
    """A container's requests as scoring counts them: 100m and 200Mi where it names no cpu or memory."""
    return NONZERO_DEFAULTS | dict(requests)


@dataclass(frozen=True)
class BoundPod:
    """A pod with its node; of a gang, `request` is the one pod, not what was submitted."""

    request: GPURequest
    node: str
    start_s: float = 0.0


class Devices(Protocol):
    """What DRA drivers publish on a node, and which pod has been given which devices (`gpu/node_devices.py`)."""

    def fits(self, pod: GPURequest) -> bool: ...
    def reserve(self, pod: GPURequest) -> None: ...
    def release(self, pod: str) -> None: ...
    def copy(self) -> Devices: ...


class NodeInfo:
    """A node, its pods in the order in which they came, and the sums of their requests (scoring has its own)."""

    def __init__(self, node: GPUNode, pods: tuple[BoundPod, ...] = (), devices: Devices | None = None) -> None:
        self.node, self.devices = node, devices
        self.pods: dict[str, BoundPod] = {}
        self.requested: Counter[str] = Counter()
        self.nonzero_requested: Counter[str] = Counter()
        for pod in pods:
            self.add(pod)

    def add(self, pod: BoundPod) -> None:
        self.pods[pod.request.name] = pod
        self.requested.update(pod.request.requests)
        self.nonzero_requested.update(nonzero(pod.request.requests))
        if self.devices and pod.request.claims:
            self.devices.reserve(pod.request)

    def remove(self, name: str) -> None:
        """The pod's requests are given back, exactly; its devices stay allocated until its claims are deleted."""
        pod = self.pods.pop(name)
        self.requested.subtract(pod.request.requests)
        self.nonzero_requested.subtract(nonzero(pod.request.requests))

    def copy(self) -> NodeInfo:
        """The same node with the same pods, to be changed on its own."""
        info = NodeInfo(self.node, devices=self.devices and self.devices.copy())
        info.pods = dict(self.pods)
        info.requested, info.nonzero_requested = self.requested.copy(), self.nonzero_requested.copy()
        return info

    @property
    def free_gpus(self) -> int:
        return self.node.allocatable.get(GPU, 0) - self.requested[GPU]

    def gpus(self) -> list[str]:
        """Which pod has each GPU, "" for a free one; the kubelet picks the devices, here they are taken in order."""
        taken = [pod.request.name for pod in self.pods.values() for _ in range(pod.request.requests.get(GPU, 0))]
        return taken + [""] * self.free_gpus


def not_found(what: str, name: str) -> Invalid:
    return Invalid(what, [Problem("name", f'{plural_of(what)} "{name}" not found')])


def already_exists(what: str, name: str) -> Invalid:
    return Invalid(what, [Problem("name", f'{what}s "{name}" already exists')])
