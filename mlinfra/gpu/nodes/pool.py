"""Node pools: nodes of one shape that a cloud makes on demand, with their price and the time that one takes to boot.

The YAML form is ours (`apiVersion: mlinfra.example/v1`): every cloud has its own, and none is part of Kubernetes. Not
modelled: zones, reservations, machines that a cloud has run out of, prices that change, and discounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

from mlinfra.admission import AtLeastOne, Count, NotNegative, accepted, check
from mlinfra.admission.node_pool import API_VERSION
from mlinfra.admission.rules import a
from mlinfra.gpu.affinity import Taint
from mlinfra.gpu.nodes.node import GPUNode, Name
from mlinfra.manifest import Manifest

POOL, CAPACITY = "mlinfra.example/pool", "mlinfra.example/capacity"


@dataclass(frozen=True)
class BootTime:
    """How long a new node takes, in parts: to be Ready, then until its GPUs are allocatable, then to pull an image.

    Not confirmed by one source: 60 to 120 s for a machine, 60 to 180 s for driver and device plugin, 60 to 120 s for
    the image of a model server.
    """

    node_s: NotNegative = 90.0
    gpu_s: NotNegative = 120.0
    image_s: NotNegative = 90.0

    @property
    def total_s(self) -> float:
        return self.node_s + self.gpu_s + self.image_s


@dataclass(frozen=True)
class NodePool:
    """Nodes of one `shape` (whose name does not count), between `min_size` and `max_size`, at a price in dollars.

    `gpu_label`: whether its nodes carry the cloud's label for GPUs, by which the autoscaler knows that GPUs will come.
    """

    name: Name
    shape: Annotated[GPUNode, a(GPUNode)]
    price_per_hour: NotNegative = 0.0
    boot: Annotated[BootTime, a(BootTime)] = field(default_factory=BootTime)
    min_size: Count = 0
    max_size: AtLeastOne = 10
    spot: bool = False
    gpu_label: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.shape, GPUNode):
            object.__setattr__(self, "shape", replace(self.shape, name=self.name))
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> NodePool:
        obj = accepted("NodePool", manifest)
        name, spec = obj["metadata"]["name"], obj["spec"]
        return cls(
            name,
            _shape(name, spec),
            float(spec.get("pricePerHour", 0)),
            BootTime(**{_PARTS[part]: float(time_s) for part, time_s in spec.get("boot", {}).items()}),
            spec.get("minSize", 0),
            spec.get("maxSize", 10),
            spec.get("capacity", "on-demand") == "spot",
            spec.get("gpuLabel", True),
        )

    def manifest(self) -> Manifest:
        """The pool in our YAML form."""
        shape = self.shape
        amounts = {"gpuType": shape.gpu_type, "gpus": shape.gpu_count, "gpuMemoryGiB": shape.gpu_memory_gib}
        known: dict[str, Any] = {name: value for name, value in amounts.items() if value}
        known |= {"cpu": shape.cpu, "memory": shape.memory, "pods": shape.max_pods}
        spec: Manifest = {
            "shape": known | ({"devices": dict(shape.devices)} if shape.devices else {}),
            "pricePerHour": self.price_per_hour,
            "capacity": "spot" if self.spot else "on-demand",
            "boot": {part: getattr(self.boot, name) for part, name in _PARTS.items()},
            "minSize": self.min_size,
            "maxSize": self.max_size,
            "gpuLabel": self.gpu_label,
        }
        if shape.labels:
            spec["labels"] = dict(shape.labels)
        if shape.taints:
            spec["taints"] = [taint.manifest() for taint in shape.taints]
        return {"apiVersion": API_VERSION, "kind": "NodePool", "metadata": {"name": self.name}, "spec": spec}

    @cached_property
    def template(self) -> GPUNode:
        """A node of the pool, complete, as the autoscaler reckons with it."""
        ours = {POOL: self.name, CAPACITY: "spot" if self.spot else "on-demand"}
        return replace(self.shape, name=f"template-of-{self.name}", labels=dict(self.shape.labels) | ours)

    def node(self, name: str) -> GPUNode:
        """A node of the pool with all that it has, its GPUs included."""
        return replace(self.template, name=name)

    def node_without_gpus(self, name: str) -> GPUNode:
        """A node that is Ready before its device plugin is."""
        return replace(self.template, name=name, gpu_count=0, devices={})

    @property
    def has_gpus(self) -> bool:
        """Whether a node is complete only once its device plugin is up."""
        return bool(self.shape.gpu_count or self.shape.devices)

    @property
    def ready_s(self) -> float:
        """Seconds from the request for a node until a pod that wants its GPUs can be bound."""
        return self.boot.node_s + (self.boot.gpu_s if self.has_gpus else 0.0)


_PARTS: Mapping[str, str] = {"nodeSeconds": "node_s", "gpuSeconds": "gpu_s", "imageSeconds": "image_s"}


def _shape(name: str, spec: Manifest) -> GPUNode:
    shape = spec["shape"]
    return GPUNode(
        name,
        shape.get("gpuType", ""),
        shape.get("gpus", 0),
        shape.get("gpuMemoryGiB", 0),
        shape["cpu"],
        shape["memory"],
        spec.get("labels", {}),
        tuple(Taint.of(taint) for taint in spec.get("taints", ())),
        shape.get("pods", 110),
        shape.get("devices", {}),
    )
