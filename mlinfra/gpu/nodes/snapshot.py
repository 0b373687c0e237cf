"""A cluster to try things on: pods are placed and nodes taken away, and the real one does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import OF_ITS_PODS, refusal
from mlinfra.gpu.pods import GPURequest, PodKind

FeasibleNodes = Callable[[GPURequest], Iterable[str]]
"""The nodes of the real cluster that pass the filters for a pod, in the order of nodes."""


@dataclass
class Places:
    """Where pods of a kind may go: real nodes, then those on their way; no place before `first` takes one any more."""

    names: list[str]
    first: int = 0


@dataclass
class ClusterSnapshot:
    """The real nodes, those that were changed here, and those that are gone.

    `extra` nodes are still on their way; one may take the place of a real node that is not complete yet. With
    `feasible` the real nodes are not filtered again; without it each is. Room only shrinks while pods are placed, so
    each kind of pod goes on from the first place that still took one.
    """

    real: Mapping[str, NodeInfo]
    feasible: FeasibleNodes | None = None
    changed: dict[str, NodeInfo] = field(default_factory=dict)
    extra: dict[str, NodeInfo] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    places: dict[PodKind, Places] = field(default_factory=dict)

    def info(self, name: str) -> NodeInfo:
        return self.changed.get(name) or self.extra.get(name) or self.real[name]

    def add_node(self, name: str, info: NodeInfo) -> None:
        self.extra[name] = info
        self.places.clear()

    def place(self, pod: GPURequest, name: str) -> None:
        self._own(name).add(BoundPod(pod, name))

    def take(self, pod: str, name: str) -> None:
        self._own(name).remove(pod)
        self.places.clear()

    def _own(self, name: str) -> NodeInfo:
        """A node that may be changed: a copy of a real one."""
        if name not in self.changed and name not in self.extra:
            self.changed[name] = self.real[name].copy()
        return self.info(name)

    def first_fit(self, pod: GPURequest, leaving: str = "") -> str | None:
        """The first node on which the pod fits; a pod of a node that is `leaving` goes to another that is there."""
        places = self._places(pod)
        nothing_before = True
        for i in range(places.first, len(places.names)):
            name = places.names[i]
            if name == leaving or (leaving and name in self.extra):
                nothing_before = False
            elif name not in self.gone and self._fits(pod, name):
                return name
            elif nothing_before:
                places.first = i + 1
        return None

    def _fits(self, pod: GPURequest, name: str) -> bool:
        if self.feasible is None or name in self.extra:
            return refusal(pod, self.info(name)) is None
        return name not in self.changed or refusal(pod, self.changed[name], OF_ITS_PODS) is None

    def _places(self, pod: GPURequest) -> Places:
        if pod.kind not in self.places:
            real = self.real if self.feasible is None else self.feasible(pod)
            self.places[pod.kind] = Places([*(name for name in real if name not in self.extra), *self.extra])
        return self.places[pod.kind]

    def place_all(self, pods: Sequence[GPURequest], leaving: str) -> dict[str, str] | None:
        """The node of each pod, all of them placed one after the other; None, and nothing is placed, if one fails."""
        placed: dict[str, str] = {}
        before = {kind: places.first for kind, places in self.places.items()}
        for pod in pods:
            name = self.first_fit(pod, leaving)
            if name is None:
                self._take_back(placed, before)
                return None
            self.place(pod, name)
            placed[pod.name] = name
        return placed

    def _take_back(self, placed: Mapping[str, str], before: Mapping[PodKind, int]) -> None:
        for pod, name in placed.items():
            self._own(name).remove(pod)
        for kind, places in self.places.items():
            places.first = before.get(kind, 0)
