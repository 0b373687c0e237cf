"""How many nodes of a pool the waiting pods would need: cluster-autoscaler's estimate, first fit decreasing.

Follows Kubernetes 1.37, `estimator/{binpacking_estimator,decreasing_pod_orderer}.go`. Of the nodes that it has opened
the first that fits is taken, where upstream looks on from the one that it took last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import refusal
from mlinfra.gpu.nodes.node import GPUNode
from mlinfra.gpu.pods import GPURequest

PodGroup = tuple[GPURequest, ...]
"""Pods that are equal but for their names."""


class Estimate(NamedTuple):
    """So many nodes, and the pods that would run on them."""

    nodes: int
    pods: tuple[GPURequest, ...]


def estimate(groups: Iterable[PodGroup], template: GPUNode, max_nodes: int = 0) -> Estimate:
    """Place the pods on fresh nodes, those of the highest score first, until they are placed or the limit is reached.

    Only nodes that got a pod count. A limit of 0 is none.
    """
    fresh = FreshNodes(template, max_nodes)
    for group in decreasing(groups, template):
        waiting = fresh.fill(group)
        fresh.open_for(waiting)
    return Estimate(sum(bool(info.pods) for info in fresh.infos), tuple(fresh.placed))


def equal_pods(pods: Iterable[GPURequest]) -> list[PodGroup]:
    """The pods in groups of equal ones, in the order of each group's first; a gang counts as its single pods."""
    groups: dict[object, list[GPURequest]] = {}
    for pod in pods:
        groups.setdefault((pod.kind, pod.priority), []).extend(pod.pods())
    return [tuple(group) for group in groups.values()]


def decreasing(groups: Iterable[PodGroup], template: GPUNode) -> list[PodGroup]:
    """The groups by the share of a node that a pod wants in cpu and memory together, largest first; no GPUs in it."""
    return sorted(groups, key=lambda group: -score(group[0], template))


def score(pod: GPURequest, template: GPUNode) -> float:
    size = template.allocatable
    return sum(pod.requests.get(name, 0) / size[name] for name in ("cpu", "memory") if size[name])


@dataclass
class FreshNodes:
    """The nodes that an estimate has opened, and the pods that it has placed, in order."""

    template: GPUNode
    max_nodes: int = 0
    infos: list[NodeInfo] = field(default_factory=list)
    placed: list[GPURequest] = field(default_factory=list)
    limit_reached: bool = False

    def fill(self, group: PodGroup) -> PodGroup:
        """Put the pods on nodes that are open; those that found no place."""
        first = 0  # equal pods: a node that has refused one refuses the next
        for i, pod in enumerate(group):
            while first < len(self.infos) and refusal(pod, self.infos[first]):
                first += 1
            if first == len(self.infos):
                return group[i:]
            self._place(pod, self.infos[first])
        return ()

    def open_for(self, pods: Sequence[GPURequest]) -> None:
        """Open a node whenever the last one is full; stop when an empty one does not help, or at the limit."""
        for pod in pods:
            if self.infos and refusal(pod, self.infos[-1]) is None:
                self._place(pod, self.infos[-1])
                continue
            if self.infos and not self.infos[-1].pods:
                return
            if self.limit_reached or not self._open():
                return
            if refusal(pod, self.infos[-1]):
                return
            self._place(pod, self.infos[-1])

    def _open(self) -> bool:
        """Whether one more node may be opened; from the first that may not be, none is."""
        self.limit_reached = bool(self.max_nodes) and len(self.infos) >= self.max_nodes
        if not self.limit_reached:
            self.infos.append(NodeInfo(self.template))
        return not self.limit_reached

    def _place(self, pod: GPURequest, info: NodeInfo) -> None:
        info.add(BoundPod(pod, info.node.name))
        self.placed.append(pod)
