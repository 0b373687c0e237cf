"""Fragmentation of a GPU cluster, and six ways to place pods on it, on the shapes of a real one.

Follows "Beware of Fragmentation" (FGD, USENIX ATC 2023) and the study's simulator
(hkust-adsl/kubernetes-scheduler-simulator@8f3d6417). A share of a GPU is counted in thousandths (milli). Ties go to the
earlier node in the order given, and then to the lower device: that decides more than one would think.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlinfra.admission.rules import Field, Invalid, Problem, Rules, between, broken, check, tuple_of, whole
from mlinfra.tables import table

WHOLE, DEVICES, LOAD_PERCENT = 1000, 8, 130
UNFIT = np.iinfo(np.int64).min
Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class NodeShape(NamedTuple):
    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_model: str


class PodShape(NamedTuple):
    """What a pod asks for: `gpus` devices with `gpu_milli` of each; empty `gpu_models` accept any."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    gpu_models: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        return 0 < self.gpu_milli < WHOLE

    @property
    def total_milli(self) -> int:
        return self.gpus * self.gpu_milli


def _whole_gpus(pod: Field) -> Iterator[Problem]:
    """A share is of one GPU; several are asked for whole, and none has no share."""
    gpus, milli = pod["gpus"], pod["gpu_milli"]
    right = range(1, WHOLE + 1) if gpus.value == 1 else [WHOLE if gpus.value else 0]
    if milli.value not in right:
        expected = f"from 1 to {WHOLE}" if gpus.value == 1 else f"{right[0]}"
        yield milli.invalid(f"must be {expected} for {gpus.value} GPUs")


NODE_SHAPE: Rules = [("cpu_milli", whole(0)), ("memory_mib", whole(0)), ("gpus", between(0, DEVICES))]
POD_SHAPE: Rules = [*NODE_SHAPE, ("gpu_milli", between(0, WHOLE)), ("gpu_models", tuple_of(str)), ("", _whole_gpus)]


class TypicalPod(NamedTuple):
    """A shape of the expected load, and how much of the load has it."""

    cpu_milli: int
    gpus: int
    gpu_milli: int
    gpu_models: tuple[str, ...]
    share: float


def node_shape(row: Mapping[str, str]) -> NodeShape:
    """From a row of the study's tables, which call the number of GPUs `gpu` or `gpus`, and the model `model`."""
    gpus, model = row.get("gpus") or row["gpu"], row.get("gpu_model") or row["model"]
    return NodeShape(int(row["cpu_milli"]), int(row["memory_mib"]), int(gpus), model)


def pod_shape(row: Mapping[str, str]) -> PodShape:
    gpus, models = row.get("gpus") or row["num_gpu"], row.get("gpu_models") or row.get("gpu_spec") or ""
    asked = tuple(models.split("|")) if models else ()
    return PodShape(int(row["cpu_milli"]), int(row["memory_mib"]), int(gpus), int(row["gpu_milli"]), asked)


def openb() -> tuple[list[NodeShape], list[PodShape]]:
    """The nodes and the pods of the openb cluster: 1,213 and 8,152, the frequent shapes first."""
    nodes = [node_shape(row) for row in table("mlinfra.gpu", "openb_node_shapes") for _ in range(int(row["count"]))]
    return nodes, [pod_shape(row) for row in table("mlinfra.gpu", "openb_pod_shapes") for _ in range(int(row["count"]))]


def typical_pods(pods: Sequence[PodShape], covered: float = 0.95) -> list[TypicalPod]:
    """The most frequent shapes, memory aside, until they cover that part of the pods; their shares sum to 1."""
    counts = Counter((p.cpu_milli, p.gpus, p.gpu_milli, p.gpu_models) for p in pods)
    chosen, seen = [], 0
    for shape, count in counts.most_common():
        if seen >= covered * len(pods):
            break
        chosen.append((shape, count))
        seen += count
    return [TypicalPod(*shape, count / seen) for shape, count in chosen]


@dataclass
class Expected:
    """The typical pods as arrays, one place each, for the models that a cluster has."""

    pods: Sequence[TypicalPod]
    models: Sequence[str]
    cpu: Ints = field(init=False)
    gpus: Ints = field(init=False)
    milli: Ints = field(init=False)
    share: Floats = field(init=False)
    usable: Bools = field(init=False)

    def __post_init__(self) -> None:
        self.cpu = np.array([p.cpu_milli for p in self.pods], dtype=np.int32)
        self.gpus = np.array([p.gpus for p in self.pods], dtype=np.int32)
        self.milli = np.array([p.gpu_milli for p in self.pods], dtype=np.int32)
        self.share = np.array([p.share for p in self.pods])
        self.usable = np.array(
            [[p.gpus > 0 and (not p.gpu_models or m in p.gpu_models) for p in self.pods] for m in self.models],
            dtype=np.bool_,
        )

    def fragmentation(self, cpu: Ints, gpu: Ints, model: Ints) -> Floats:
        """F of each node, in milli: the free GPU that a typical pod cannot use, on average over the typical pods.

        Shapes: `cpu` and `model` (nodes,), `gpu` (nodes, devices). All of the free GPU counts for a pod that cannot run
        there or needs none; for another the devices with less than it asks for.
        """
        devices = gpu.T[:, :, None]  # devices first: sums over them then run along whole rows
        too_small = devices < self.milli
        fitting = DEVICES - too_small.sum(axis=0, dtype=np.int32)
        small_milli = (devices * too_small).sum(axis=0, dtype=np.int32)
        return self._wasted(cpu, model, fitting, small_milli, gpu.sum(axis=1))

    def relief_by_sharing(self, cpu: Ints, gpu: Ints, model: Ints, pod: PodShape) -> Floats:
        """F before minus F after (devices, nodes), if the pod's share were taken from each device in turn.

        Of the sums over devices only one term changes; so this costs no more than a look at each device.
        """
        devices, then = gpu.T[:, :, None], gpu.T[:, :, None] - pod.gpu_milli
        too_small, then_too_small = devices < self.milli, then < self.milli
        small, free = devices * too_small, gpu.sum(axis=1)
        fitting, small_milli = DEVICES - too_small.sum(axis=0, dtype=np.int32), small.sum(axis=0, dtype=np.int32)
        before = self._wasted(cpu, model, fitting, small_milli, free)
        fitting_then = fitting + too_small - then_too_small
        small_then = small_milli - small + then * then_too_small
        return before - self._wasted(cpu - pod.cpu_milli, model, fitting_then, small_then, free - pod.gpu_milli)

    def _wasted(self, cpu: Ints, model: Ints, fitting: Ints, small_milli: Ints, free_milli: Ints) -> Floats:
        runs = (fitting >= self.gpus) & (cpu[:, None] >= self.cpu) & self.usable[model]
        wasted: Floats = np.where(runs, small_milli, free_milli[:, None]).astype(np.float64) @ self.share
        return wasted


class Cluster:
    """What is free on every node, as arrays; a device that a node does not have is one with nothing free."""

    def __init__(self, nodes: Sequence[NodeShape], typical: Sequence[TypicalPod]) -> None:
        for shape in set(nodes):
            check("node shape", broken(Field(shape._asdict()), NODE_SHAPE))
        if not any(node.gpus for node in nodes):
            raise Invalid("cluster", [Field([], "nodes").required("one at least must have GPUs")])
        self.models = sorted({node.gpu_model for node in nodes})
        self.model = np.array([self.models.index(node.gpu_model) for node in nodes], dtype=np.int32)
        self.cpu = np.array([node.cpu_milli for node in nodes], dtype=np.int32)
        self.memory = np.array([node.memory_mib for node in nodes], dtype=np.int32)
        self.gpus = np.array([node.gpus for node in nodes], dtype=np.int32)
        self.gpu = np.where(np.arange(DEVICES) < self.gpus[:, None], WHOLE, 0).astype(np.int32)
        self.expected = Expected(typical, self.models)
        self.kinds: list[set[int]] = [set() for _ in nodes]

    @property
    def capacity_milli(self) -> int:
        return int(self.gpus.sum()) * WHOLE

    @property
    def free_milli(self) -> int:
        return int(self.gpu.sum())

    def fragmentation_milli(self) -> float:
        return float(self.expected.fragmentation(self.cpu, self.gpu, self.model).sum())

    def feasible(self, pod: PodShape, rows: Ints) -> Bools:
        """Whether cpu, memory, model and enough devices with the asked share are there."""
        accepted = np.array([not pod.gpu_models or model in pod.gpu_models for model in self.models])
        devices = (self.gpu[rows] >= max(1, pod.gpu_milli)).sum(axis=1) >= pod.gpus
        room = (self.cpu[rows] >= pod.cpu_milli) & (self.memory[rows] >= pod.memory_mib)
        fits: Bools = devices & room & accepted[self.model[rows]]
        return fits

    def place(self, pod: PodShape, node: int, device: int) -> None:
        """Whole GPUs are the first wholly free devices, a share is of the device named."""
        self.cpu[node] -= pod.cpu_milli
        self.memory[node] -= pod.memory_mib
        if pod.shared:
            self.gpu[node, device] -= pod.gpu_milli
        elif pod.gpus:
            self.gpu[node, np.flatnonzero(self.gpu[node] == WHOLE)[: pod.gpus]] = 0
        if pod.gpus:
            self.kinds[node].add(_kind(pod))


def _kind(pod: PodShape) -> int:
    """Shared, or whole with so many GPUs."""
    return 0 if pod.shared else pod.gpus


# -------------------------------------------------------------------------------------------------------- policies


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
    """The first so many wholly free devices of each node, gone."""
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
    base = np.array([_company(cluster.kinds[row], _kind(pod)) for row in rows], dtype=np.int32)
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
class Run:
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
        self.known: dict[PodShape, tuple[Ints, Ints, int]] = {}

    def of(self, pod: PodShape) -> tuple[Ints, Ints]:
        """Points (UNFIT where it does not fit) and devices of all nodes."""
        nodes = len(self.cluster.cpu)
        empty = np.full(nodes, UNFIT), np.zeros(nodes, dtype=np.int32), -1
        points, device, seen = self.known.get(pod, empty)
        stale = np.arange(nodes) if seen < 0 else np.unique(np.array(self.changed[seen:], dtype=np.int32))
        if len(stale):
            points[stale] = UNFIT
            rows = stale[self.cluster.feasible(pod, stale)]
            if len(rows):
                points[rows], device[rows] = self.policy(self.cluster, pod, rows)
        self.known[pod] = points, device, len(self.changed)
        return points, device


def run(
    nodes: Sequence[NodeShape],
    pods: Sequence[PodShape],
    typical: Sequence[TypicalPod],
    policy: Policy,
    ties: np.random.Generator | None = None,
) -> Run:
    """Place the pods one after the other, none of them leaving; marks at every 10 % of the capacity, and at the end.

    With `ties` each decision between nodes of equal points is drawn.
    """
    for shape in set(pods):
        check("pod shape", broken(Field(shape._asdict()), POD_SHAPE))
    cluster, made, asked, mark = Cluster(nodes, typical), Run(), 0, 10
    capacity_milli = cluster.capacity_milli
    rankings = _Rankings(cluster, policy)
    for pod in pods:
        points, device = rankings.of(pod)
        node = int(points.argmax()) if ties is None else int(ties.choice(np.flatnonzero(points == points.max())))
        fits = points[node] > UNFIT
        if fits:
            cluster.place(pod, node, int(device[node]))
            rankings.changed.append(node)
        made.nodes.append(node if fits else None)
        asked += pod.total_milli
        while asked * 100 >= mark * capacity_milli:
            made.marks.append(_mark(cluster, mark))
            mark += 10
    return replace(made, marks=[*made.marks, _mark(cluster, mark)])


def _mark(cluster: Cluster, arrived: int) -> Mark:
    free = cluster.free_milli
    allocated = 100 * (1 - free / cluster.capacity_milli)
    return Mark(arrived, allocated, 100 * cluster.fragmentation_milli() / free if free else 0.0)


def load(pods: Sequence[PodShape], capacity_milli: int, seed: int | None = None) -> Iterator[PodShape]:
    """The list shuffled, then random repeats of it, until the next would pass 130 % of the capacity.

    Without a seed the list is repeated in its order.
    """
    check("load", whole(0, 2**63 - 1)(Field(capacity_milli, "capacity_milli")))
    if not any(pod.total_milli for pod in pods):
        raise Invalid("load", [Field([], "pods").required("one at least must ask for GPUs")])
    chance = None if seed is None else random.Random(seed)
    order = list(pods)
    if chance:
        chance.shuffle(order)
    asked, i = 0, 0
    while True:
        pod = order[i % len(order)] if i < len(order) or chance is None else chance.choice(order)
        asked, i = asked + pod.total_milli, i + 1
        if asked * 100 > LOAD_PERCENT * capacity_milli:
            return
        yield pod
