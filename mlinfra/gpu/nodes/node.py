"""Nodes with GPUs: what they have, and what their labels say.

Amounts are integers: cpu in milli, memory in bytes, everything else in pieces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated

from mlinfra.admission import Count, accepted, check
from mlinfra.admission.rules import dns_subdomain, quantity_check
from mlinfra.gpu.affinity import NODE_NAME, Taint
from mlinfra.manifest import Manifest, extended
from mlinfra.quantity import Quantity, milli_value, quantity, shown

GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
PRODUCT, MEMORY, COUNT = "nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/gpu.count"
Amounts = Mapping[str, int]
Amount = Annotated[Quantity, quantity_check()]
Name = Annotated[str, dns_subdomain]


@dataclass(frozen=True)
class GPUNode:
    """A node with equal GPUs; the labels are those that NVIDIA's GPU feature discovery sets, and yours.

    `devices` are its other extended resources, such as {"nvidia.com/mig-1g.10gb": 7}; a cordoned node is
    `unschedulable`.
    """

    name: Name
    gpu_type: str = ""
    gpu_count: Count = 0
    gpu_memory_gib: Count = 0
    cpu: Amount = "96"
    memory: Amount = "1Ti"
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    max_pods: Count = 110
    devices: Mapping[str, int] = field(default_factory=dict)
    unschedulable: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cpu", shown(self.cpu))
        object.__setattr__(self, "memory", shown(self.memory))
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> GPUNode:
        """The node of a manifest; the memory of its GPUs is what their label promises, in whole GiB."""
        obj = accepted("Node", manifest)
        labels, status = obj["metadata"].get("labels", {}), obj.get("status", {})
        amounts = status.get("allocatable") or status.get("capacity", {})
        mib = labels.get(MEMORY, "")
        node = cls(
            obj["metadata"].get("name", ""),
            labels.get(PRODUCT, ""),
            int(quantity(amounts.get(GPU, 0))),
            int(mib) // 1024 if mib.isdecimal() else 0,
            amounts.get("cpu", 0),
            amounts.get("memory", 0),
            taints=tuple(Taint.of(taint) for taint in obj.get("spec", {}).get("taints", ())),
            max_pods=int(quantity(amounts.get("pods", 0))),
            devices={name: int(quantity(n)) for name, n in amounts.items() if extended(name) and name != GPU},
            unschedulable=obj.get("spec", {}).get("unschedulable", False),
        )
        return replace(node, labels={key: text for key, text in labels.items() if node.all_labels.get(key) != text})

    @cached_property
    def allocatable(self) -> Amounts:
        amounts = {"cpu": milli_value(self.cpu), "memory": math.ceil(quantity(self.memory)), "pods": self.max_pods}
        return amounts | ({GPU: self.gpu_count} if self.gpu_count else {}) | dict(self.devices)

    @cached_property
    def all_labels(self) -> Mapping[str, str]:
        """The kubelet's label, those of GPU feature discovery, as far as there is something to say, and yours."""
        gpus = {PRODUCT: self.gpu_type, MEMORY: str(self.gpu_memory_gib * 1024), COUNT: str(self.gpu_count)}
        known = {key: text for key, text in gpus.items() if text not in ("", "0")}
        return {HOSTNAME: self.name} | known | dict(self.labels)

    @cached_property
    def selectable(self) -> Mapping[str, str]:
        """What terms of affinity may read: its labels, and its name as a field."""
        return {NODE_NAME: self.name} | dict(self.all_labels)

    def manifest(self) -> Manifest:
        """The node as the kubelet reports it."""
        pieces = {name: str(n) for name, n in self.allocatable.items() if name not in ("cpu", "memory")}
        amounts = {"cpu": self.cpu, "memory": self.memory} | pieces
        spec: Manifest = {"taints": [taint.manifest() for taint in self.taints]} if self.taints else {}
        if self.unschedulable:
            spec["unschedulable"] = True
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": dict(self.all_labels)},
            "spec": spec,
            "status": {"allocatable": amounts},
        }
