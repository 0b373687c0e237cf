"""The fragmentation F of a GPU cluster, and the cluster's free resources as arrays.

Follows "Beware of Fragmentation" (FGD, USENIX ATC 2023) and the study's simulator
(hkust-adsl/kubernetes-scheduler-simulator@8f3d6417).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlinfra.admission import Field, Invalid
from mlinfra.gpu.shapes import DEVICES, WHOLE, NodeShape, PodShape, TypicalPod

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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
        """Whether a node has the cpu and the memory, an accepted model, and enough devices with the share."""
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
            self.kinds[node].add(kind_of(pod))


def kind_of(pod: PodShape) -> int:
    """0 for a shared GPU, otherwise the number of whole GPUs."""
    return 0 if pod.shared else pod.gpus
