"""The shapes of a real GPU cluster: its nodes and pods, the pods that are typical of it, and the load it gets.

Follows "Beware of Fragmentation" (FGD, USENIX ATC 2023) and the study's simulator
(hkust-adsl/kubernetes-scheduler-simulator@8f3d6417). A share of a GPU is counted in thousandths (milli).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mlinfra.admission.rules import Field, Invalid, Problem, Rules, between, refuse, tuple_of, whole
from mlinfra.tables import table

WHOLE, DEVICES, LOAD_PERCENT = 1000, 8, 130


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
    allowed = range(1, WHOLE + 1) if gpus.value == 1 else [WHOLE if gpus.value else 0]
    if milli.value not in allowed:
        expected = f"from 1 to {WHOLE}" if gpus.value == 1 else f"{allowed[0]}"
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
    accepted = tuple(models.split("|")) if models else ()
    return PodShape(int(row["cpu_milli"]), int(row["memory_mib"]), int(gpus), int(row["gpu_milli"]), accepted)


def openb() -> tuple[list[NodeShape], list[PodShape]]:
    """The nodes and the pods of the openb cluster: 1,213 and 8,152, the frequent shapes first."""
    nodes = [node_shape(row) for row in table("mlinfra.gpu", "openb_node_shapes") for _ in range(int(row["count"]))]
    return nodes, [pod_shape(row) for row in table("mlinfra.gpu", "openb_pod_shapes") for _ in range(int(row["count"]))]


def typical_pods(pods: Sequence[PodShape], covered: float = 0.95) -> list[TypicalPod]:
    """The most frequent shapes, memory aside, until they cover that part of the pods; their shares sum to 1."""
    counts = Counter((p.cpu_milli, p.gpus, p.gpu_milli, p.gpu_models) for p in pods)
    frequent, total = [], 0
    for shape, count in counts.most_common():
        if total >= covered * len(pods):
            break
        frequent.append((shape, count))
        total += count
    return [TypicalPod(*shape, count / total) for shape, count in frequent]


def load(pods: Sequence[PodShape], capacity_milli: int, seed: int | None = None) -> Iterator[PodShape]:
    """The list shuffled, then random repeats of it, until the next would pass 130 % of the capacity.

    Without a seed the list is repeated in its order.
    """
    refuse("load", whole(0, 2**63 - 1)(Field(capacity_milli, "capacity_milli")))
    if not any(pod.total_milli for pod in pods):
        raise Invalid("load", [Field([], "pods").required("one at least must ask for GPUs")])
    chance = None if seed is None else random.Random(seed)
    order = list(pods)
    if chance:
        chance.shuffle(order)
    load_milli, i = 0, 0
    while True:
        pod = order[i % len(order)] if i < len(order) or chance is None else chance.choice(order)
        load_milli, i = load_milli + pod.total_milli, i + 1
        if load_milli * 100 > LOAD_PERCENT * capacity_milli:
            return
        yield pod
