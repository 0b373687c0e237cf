"""The shapes of a real GPU cluster: its nodes and pods, the pods that are typical of it, and the load it gets.

Follows "Beware of Fragmentation" (FGD, USENIX ATC 2023) and the study's simulator
(hkust-adsl/kubernetes-scheduler-simulator@8f3d6417). A share of a GPU is counted in thousandths (milli).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from mlinfra.admission import Count, Field, Invalid, check
from mlinfra.admission.rules import between
from mlinfra.tables import table

WHOLE, DEVICES, LOAD_PERCENT = 1000, 8, 130


GPUs = Annotated[int, between(0, DEVICES)]


@dataclass(frozen=True)
class NodeShape:
    cpu_milli: Count
    memory_mib: Count
    gpus: GPUs
    gpu_model: str

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class PodShape:
    """What a pod asks for: `gpus` devices with `gpu_milli` of each; empty `gpu_models` accept any."""

    cpu_milli: Count
    memory_mib: Count
    gpus: GPUs
    gpu_milli: Annotated[int, between(0, WHOLE)]
    gpu_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)

    @property
    def shared(self) -> bool:
        return 0 < self.gpu_milli < WHOLE

    @property
    def total_milli(self) -> int:
        return self.gpus * self.gpu_milli


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
    nodes: list[NodeShape] = []
    for row in table("mlinfra.gpu", "openb_node_shapes"):
        nodes += [node_shape(row)] * int(row["count"])
    pods: list[PodShape] = []
    for row in table("mlinfra.gpu", "openb_pod_shapes"):
        pods += [pod_shape(row)] * int(row["count"])
    return nodes, pods


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
