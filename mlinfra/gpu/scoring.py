"""How nodes are scored: kube-scheduler's strategies in exact integers, its plugins, and a simple best fit.

Follows Kubernetes 1.37, `pkg/scheduler/framework/plugins/{noderesources,nodeaffinity,tainttoleration,helper}`. Not
modelled: PodTopologySpread, InterPodAffinity, ImageLocality and DynamicResources, which find nothing to score in
these pods.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Protocol

from mlinfra.admission import check
from mlinfra.gpu.affinity import term_matches
from mlinfra.gpu.cluster import NodeInfo, nonzero
from mlinfra.gpu.nodes import Amounts
from mlinfra.gpu.pods import GPURequest
from mlinfra.manifest import Manifest, extended

MAX_NODE_SCORE, MAX_SHAPE_SCORE = 100, 10
CPU_AND_MEMORY = {"cpu": 1, "memory": 1}


@dataclass(frozen=True)
class Strategy:
    """How full a node should be: the weighted mean of what each resource scores."""

    resources: Mapping[str, int] = field(default_factory=CPU_AND_MEMORY.copy)

    def __post_init__(self) -> None:
        check(self)

    def points(self, used: int, capacity: int) -> int:
        """What one resource scores, from 0 to 100."""
        raise NotImplementedError

    def score(self, used: Amounts, allocatable: Amounts, requests: Amounts) -> int:
        """Points of a node, cut to a whole number; `used` counts the pod in, `requests` is the pod alone."""
        total = weights = 0
        for weight, points in self._resource_points(used, allocatable, requests):
            total += weight * points
            weights += weight
        return total // (weights or 1)

    def _resource_points(self, used: Amounts, allocatable: Amounts, requests: Amounts) -> list[tuple[int, int]]:
        """Weight and points of what the node has; a device counts only for pods that ask for it."""
        return [
            (weight, self.points(used.get(name, 0), allocatable[name]))
            for name, weight in self.resources.items()
            if allocatable.get(name) and (requests.get(name) or not extended(name))
        ]

    def manifest(self) -> Manifest:
        """The `scoringStrategy` of NodeResourcesFitArgs."""
        weights = [{"name": name, "weight": weight} for name, weight in self.resources.items()]
        return {"type": type(self).__name__, "resources": weights}


class LeastAllocated(Strategy):
    """The emptier the better: this spreads. kube-scheduler's default, over cpu and memory alone."""

    def points(self, used: int, capacity: int) -> int:
        return max(0, capacity - used) * MAX_NODE_SCORE // capacity


class MostAllocated(Strategy):
    """The fuller the better: this packs."""

    def points(self, used: int, capacity: int) -> int:
        return min(used, capacity) * MAX_NODE_SCORE // capacity


@dataclass(frozen=True)
class RequestedToCapacityRatio(Strategy):
    """A curve that you draw: points of (utilization 0 to 100, score 0 to 10), joined by straight lines."""

    shape: tuple[tuple[int, int], ...] = ()

    def points(self, used: int, capacity: int) -> int:
        scaled = [(x, y * MAX_NODE_SCORE // MAX_SHAPE_SCORE) for x, y in self.shape]
        return broken_linear(scaled, used * 100 // capacity)

    def score(self, used: Amounts, allocatable: Amounts, requests: Amounts) -> int:
        """Resources that score 0 do not count at all; the mean is rounded, half up."""
        total = weights = 0
        for weight, points in self._resource_points(used, allocatable, requests):
            if points > 0:
                total += weight * points
                weights += weight
        return (2 * total + weights) // (2 * weights) if weights else 0

    def manifest(self) -> Manifest:
        shape = [{"utilization": x, "score": y} for x, y in self.shape]
        return super().manifest() | {"requestedToCapacityRatio": {"shape": shape}}


def broken_linear(shape: list[tuple[int, int]], x: int) -> int:
    """The line through the points at x, level outside of them; Go's division cuts toward zero."""
    if x <= shape[0][0]:
        return shape[0][1]
    for (x0, y0), (x1, y1) in pairwise(shape):
        if x <= x1:
            return y0 + math.trunc((y1 - y0) * (x - x0) / (x1 - x0))
    return shape[-1][1]


# -------------------------------------------------------------------------------------------------------- plugins


class ScorePlugin(Protocol):
    """One opinion about nodes: raw points of each, brought to 0 to 100, times a weight."""

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> int: ...

    def score(self, pod: GPURequest, info: NodeInfo) -> int:
        """Raw points of one node."""
        ...

    def normalize_score(self, pod: GPURequest, raw: list[int]) -> list[int]:
        """Points of all nodes from 0 to 100."""
        ...


def normalize(raw: list[int]) -> list[int]:
    """The highest becomes 100, the others keep their proportion."""
    highest = max(raw, default=0)
    return [MAX_NODE_SCORE * points // highest if highest else 0 for points in raw]


def normalize_reversed(raw: list[int]) -> list[int]:
    """The highest becomes 0, and 0 becomes 100."""
    return [MAX_NODE_SCORE - points for points in normalize(raw)]


@dataclass(frozen=True)
class NodeResourcesFit:
    """The strategy's points, with 100m and 200Mi in the place of requests that are not made."""

    strategy: Strategy = field(default_factory=LeastAllocated)
    weight: int = 1
    name: ClassVar[str] = "NodeResourcesFit"

    def score(self, pod: GPURequest, info: NodeInfo) -> int:
        requests = nonzero(pod.requests)
        used = {name: info.nonzero_requested[name] + requests.get(name, 0) for name in self.strategy.resources}
        return self.strategy.score(used, info.node.allocatable, requests)

    def normalize_score(self, pod: GPURequest, raw: list[int]) -> list[int]:
        return raw


@dataclass(frozen=True)
class BalancedAllocation:
    """Whether the pod brings the node's use of cpu and of memory closer together: 50 to 100, 75 for no change."""

    weight: int = 1
    name: ClassVar[str] = "NodeResourcesBalancedAllocation"

    def score(self, pod: GPURequest, info: NodeInfo) -> int:
        """As since Kubernetes 1.36; a pod that asks for neither is not scored."""
        if not any(pod.requests.get(name) for name in CPU_AND_MEMORY):
            return 0
        after = {name: info.requested[name] + pod.requests.get(name, 0) for name in CPU_AND_MEMORY}
        gain = balance(after, info.node.allocatable) - balance(info.requested, info.node.allocatable)
        return 50 + (50 + gain) // 2

    def normalize_score(self, pod: GPURequest, raw: list[int]) -> list[int]:
        return raw


def balance(used: Amounts, allocatable: Amounts) -> int:
    """100 when cpu and memory are used in the same proportion, less by their standard deviation."""
    shares = [min(1.0, used[name] / allocatable[name]) for name in CPU_AND_MEMORY if allocatable[name]]
    deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0.0
    return int((1 - deviation) * MAX_NODE_SCORE)


@dataclass(frozen=True)
class NodeAffinity:
    """The weights of the pod's preferred terms that the node's labels match."""

    weight: int = 2
    name: ClassVar[str] = "NodeAffinity"

    def score(self, pod: GPURequest, info: NodeInfo) -> int:
        return sum(term.weight for term in pod.preferred if term_matches(term.preference, info.node.selectable))

    def normalize_score(self, pod: GPURequest, raw: list[int]) -> list[int]:
        return normalize(raw)


@dataclass(frozen=True)
class TaintToleration:
    """The fewer `PreferNoSchedule` taints that the pod does not tolerate, the better."""

    weight: int = 3
    name: ClassVar[str] = "TaintToleration"

    def score(self, pod: GPURequest, info: NodeInfo) -> int:
        soft = [taint for taint in info.node.taints if taint.effect == "PreferNoSchedule"]
        return sum(not pod.tolerates(taint) for taint in soft)

    def normalize_score(self, pod: GPURequest, raw: list[int]) -> list[int]:
        return normalize_reversed(raw)


PREFERRED_POINTS, SPARE_POINTS = 100, 10


@dataclass(frozen=True)
class BestFit:
    """The tightest node first: 100 points for the preferred type, less 10 for each GPU that stays free."""

    weight: int = 1
    name: ClassVar[str] = "BestFit"

    def score(self, pod: GPURequest, info: NodeInfo) -> int:
        spare = info.free_gpus - pod.gpu_count
        is_preferred = pod.preferred_gpu_type and pod.preferred_gpu_type == info.node.gpu_type
        return (PREFERRED_POINTS if is_preferred else 0) - spare * SPARE_POINTS

    def normalize_score(self, pod: GPURequest, raw: list[int]) -> list[int]:
        return raw


def prioritize_nodes(
    pod: GPURequest, infos: Sequence[NodeInfo], plugins: Iterable[ScorePlugin]
) -> dict[str, dict[str, int]]:
    """Score, normalize over the nodes that fit, weight: the points of each node by plugin."""
    points: dict[str, dict[str, int]] = {info.node.name: {} for info in infos}
    for plugin in plugins:
        raw = [plugin.score(pod, info) for info in infos]
        scores = plugin.normalize_score(pod, raw)
        for info, score in zip(infos, scores, strict=True):
            points[info.node.name][plugin.name] = score * plugin.weight
    return points
