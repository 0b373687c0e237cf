"""A cluster to try things on: pods are placed and nodes taken away, and the real one does not change."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import refusal
from mlinfra.gpu.pods import GPURequest

FeasibleNodes = Callable[[GPURequest], Iterable[str]]
"""The nodes of the real cluster that pass the filters for a pod, in the order of nodes."""


@dataclass
class ClusterSnapshot:
    """The real nodes, those that were changed here, and those that are gone.

    `extra` nodes are still on their way; one may take the place of a real node that is not complete yet. With
    `feasible` the real nodes are not filtered again; without it each is.
    """

    real: Mapping[str, NodeInfo]
    feasible: FeasibleNodes | None = None
    changed: dict[str, NodeInfo] = field(default_factory=dict)
    extra: dict[str, NodeInfo] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def info(self, name: str) -> NodeInfo:
        return self.changed.get(name) or self.extra.get(name) or self.real[name]

    def add_node(self, info: NodeInfo) -> None:
        self.extra[info.node.name] = info

    def place(self, pod: GPURequest, name: str) -> None:
        self._own(name).add(BoundPod(pod, name))

    def take(self, pod: str, name: str) -> None:
        self._own(name).remove(pod)

    def _own(self, name: str) -> NodeInfo:
        """A node that may be changed: a copy of a real one."""
        if name not in self.changed and name not in self.extra:
            self.changed[name] = self.real[name].copy()
        return self.info(name)

    def first_fit(self, pod: GPURequest, without: Container[str] = ()) -> str | None:
        """The first node on which the pod fits, of those that are not excluded."""
        for name in self._candidates(pod):
            if name in self.gone or name in without:
                continue
            is_known = self.feasible is not None and name not in self.changed and name not in self.extra
            if is_known or refusal(pod, self.info(name)) is None:
                return name
        return None

    def _candidates(self, pod: GPURequest) -> Iterator[str]:
        real = self.real if self.feasible is None else self.feasible(pod)
        yield from (name for name in real if name not in self.extra)
        yield from self.extra

    def place_all(self, pods: Sequence[GPURequest], without: Container[str] = ()) -> dict[str, str] | None:
        """The node of each pod, all of them placed one after the other; None, and nothing is placed, if one fails."""
        placed: dict[str, str] = {}
        for pod in pods:
            name = self.first_fit(pod, without)
            if name is None:
                for earlier, node in placed.items():
                    self.take(earlier, node)
                return None
            self.place(pod, name)
            placed[pod.name] = name
        return placed
