"""Six policies that place pods on a GPU cluster, and a run that places one pod after the other.

Follows "Beware of Fragmentation" (FGD, USENIX ATC 2023) and the study's simulator
(hkust-adsl/kubernetes-scheduler-simulator@8f3d6417). Ties go to the earlier node in the order given, and then to the
lower device: that decides more than one would think.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mlinfra.gpu.fragmentation import Cluster, Floats, Ints, kind_of
from mlinfra.gpu.shapes import DEVICES, WHOLE, NodeShape, PodShape, TypicalPod

UNFIT = np.iinfo(np.int64).min


class Ranking(NamedTuple):
    """Points of some nodes for a pod, and the device that a share would be taken from."""

    points: Ints
    device: Ints


Policy = Callable[[Cluster, PodShape, Ints], Ranking]
CPU_SCALE, GPU_SCALE = 128_000, DEVICES * WHOLE


def fgd(cluster: Cluster, pod: PodShape, rows: Ints) -> Ranking:
    """Fragmentation gradient descent: the less the placement adds to the fragmentation, the better."""
    cpu, gpu, model = cluster.cpu[rows], cluster.gpu[rows], cluster.model[rows]
    if pod.shared:
        relief = cluster.expected.relief_by_sharing(cpu, gpu, model, pod)
        points = np.where(pod.gpu_milli > gpu.T, -1, _gradient(relief))
        return Ranking(points.max(axis=0), points.argmax(axis=0))
    both = cluster.expected.fragmentation(
        np.concatenate([cpu, cpu - pod.cpu_milli]),
        np.concatenate([gpu, _without_whole(gpu, pod.gpus)]),
        np.concatenate([model, model]),
    )
    before, after = np.split(both, 2)
    return Ranking(_gradient(before - after), np.zeros(len(rows), dtype=np.int32))


def _gradient(less_milli: Floats) -> Ints:
    points: Ints = (100 / (1 + np.exp(-less_milli / WHOLE))).astype(np.int32)
    return points


def _without_whole(gpu: Ints, gpus: int) -> Ints:
    """The devices of each node after its first `gpus` wholly free ones are taken."""
    free = gpu == WHOLE
    return np.where(free & (free.cumsum(axis=1) <= gpus), 0, gpu)


def _tightest_device(gpu: Ints, pod: PodShape) -> Ints:
    """The device with the least free share that is enough, the lowest of equals."""
    least: Ints = np.where(gpu >= pod.gpu_milli, gpu, WHOLE + 1).argmin(axis=1)
    return least


def best_fit(cluster: Cluster, pod: PodShape, rows: Ints) -> Ranking:
    """The less cpu and GPU the node would have left, each in proportion, the better."""
    cpu_left = (cluster.cpu[rows] - pod.cpu_milli) / CPU_SCALE
    gpu_left = (cluster.gpu[rows].sum(axis=1) - pod.total_milli) / GPU_SCALE
    points = ((1 - (cpu_left * 0.5 + gpu_left * 0.5)) * 100).astype(np.int32)
    return Ranking(points, _tightest_device(cluster.gpu[rows], pod))


def dot_product(cluster: Cluster, pod: PodShape, rows: Ints) -> Ranking:
    """The less what the node has free is in line with what the pod asks for, the better."""
    cpu = cluster.cpu[rows] / CPU_SCALE * pod.cpu_milli / CPU_SCALE
    gpu = cluster.gpu[rows].sum(axis=1) / GPU_SCALE * pod.total_milli / GPU_SCALE
    return Ranking((100 * (1 - (cpu + gpu) / 2)).astype(np.int32), _tightest_device(cluster.gpu[rows], pod))


def gpu_packing(cluster: Cluster, pod: PodShape, rows: Ints) -> Ranking:
    """First devices that are shared already, then free ones of a node in use, then a node that is wholly free."""
    gpu, device = cluster.gpu[rows], _tightest_device(cluster.gpu[rows], pod)
    if not pod.gpus:
        return Ranking(np.zeros(len(rows), dtype=np.int32), device)
    free = (gpu == WHOLE).sum(axis=1)
    least = gpu[np.arange(len(rows)), device]
    opened = np.where(least == WHOLE, 1, 0) if pod.shared else np.full(len(rows), pod.gpus)
    points = np.where(opened > 0, np.maximum(50 - opened, 33), np.maximum(100 - least * 100 // WHOLE // 10, 50))
    return Ranking(np.where(free == cluster.gpus[rows], np.maximum(33 - free, free), points), device)


def gpu_clustering(cluster: Cluster, pod: PodShape, rows: Ints) -> Ranking:
    """Pods of one kind together; among those the fuller node."""
    device = _tightest_device(cluster.gpu[rows], pod)
    if not pod.gpus:
        return Ranking(np.zeros(len(rows), dtype=np.int32), device)
    base = np.array([_company(cluster.kinds[row], kind_of(pod)) for row in rows], dtype=np.int32)
    return Ranking(base + 25 * (GPU_SCALE - cluster.gpu[rows].sum(axis=1)) // GPU_SCALE, device)


def _company(kinds: set[int], kind: int) -> int:
    """Only its own kind, its own and others, nobody, only others."""
    if kind in kinds:
        return 75 if len(kinds) == 1 else 50
    return 0 if kinds else 25


def at_random(seed: int) -> Policy:
    """All nodes alike, and of a node any device that has room; with `ties` drawn, a uniform draw."""
    chance = np.random.default_rng(seed)

    def draw(cluster: Cluster, pod: PodShape, rows: Ints) -> Ranking:
        device = np.where(cluster.gpu[rows] >= pod.gpu_milli, chance.random((len(rows), DEVICES)), -1.0).argmax(axis=1)
        return Ranking(np.zeros(len(rows), dtype=np.int32), device)

    return draw


POLICIES: dict[str, Policy] = {
    "DotProd": dot_product,
    "GpuClustering": gpu_clustering,
    "GpuPacking": gpu_packing,
    "BestFit": best_fit,
    "FGD": fgd,
}
"""By the names of the study; `at_random` is the sixth."""


# ------------------------------------------------------------------------------------------------------------- runs


class Mark(NamedTuple):
    """How the cluster stands once so much has arrived, all in percent: of the capacity, and F of what is free."""

    arrived: int
    allocated: float
    fragmented: float


@dataclass
class PlacementRun:
    """Where each pod went (None: nowhere), and the marks on the way."""

    nodes: list[int | None] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def placed(self) -> int:
        return sum(node is not None for node in self.nodes)


class _Rankings:
    """For each shape of pod the points of all nodes; a node is asked again once something was placed on it."""

    def __init__(self, cluster: Cluster, policy: Policy) -> None:
        self.cluster, self.policy = cluster, policy
        self.changed: list[int] = []
        self.rankings: dict[PodShape, tuple[Ints, Ints, int]] = {}

    def place(self, pod: PodShape, ties: np.random.Generator | None) -> int | None:
        """The node with the most points, which the pod is put on; None where none fits."""
        points, device = self.of(pod)
        node = int(points.argmax()) if ties is None else int(ties.choice(np.flatnonzero(points == points.max())))
        if points[node] == UNFIT:
            return None
        self.cluster.place(pod, node, int(device[node]))
        self.changed.append(node)
        return node

    def of(self, pod: PodShape) -> tuple[Ints, Ints]:
        """Points (UNFIT where it does not fit) and devices of all nodes."""
        nodes = len(self.cluster.cpu)
        empty = np.full(nodes, UNFIT), np.zeros(nodes, dtype=np.int32), -1
        points, device, age = self.rankings.get(pod, empty)
        stale = np.arange(nodes) if age < 0 else np.unique(np.array(self.changed[age:], dtype=np.int32))
        if len(stale):
            points[stale] = UNFIT
            rows = stale[self.cluster.feasible(pod, stale)]
            if len(rows):
                points[rows], device[rows] = self.policy(self.cluster, pod, rows)
        self.rankings[pod] = points, device, len(self.changed)
        return points, device


def run(
    nodes: Sequence[NodeShape],
    pods: Sequence[PodShape],
    typical: Sequence[TypicalPod],
    policy: Policy,
    ties: np.random.Generator | None = None,
) -> PlacementRun:
    """Place the pods one after the other, none of them leaving; marks at every 10 % of the capacity, and at the end.

    With `ties` each decision between nodes of equal points is drawn.
    """
    cluster, outcome = Cluster(nodes, typical), PlacementRun()
    rankings = _Rankings(cluster, policy)
    capacity_milli, load_milli, percent = cluster.capacity_milli, 0, 10
    for pod in pods:
        outcome.nodes.append(rankings.place(pod, ties))
        load_milli += pod.total_milli
        while load_milli * 100 >= percent * capacity_milli:
            outcome.marks.append(_mark(cluster, percent))
            percent += 10
    outcome.marks.append(_mark(cluster, percent))
    return outcome


def _mark(cluster: Cluster, arrived: int) -> Mark:
    free = cluster.free_milli
    allocated = 100 * (1 - free / cluster.capacity_milli)
    return Mark(arrived, allocated, 100 * cluster.fragmentation_milli() / free if free else 0.0)
