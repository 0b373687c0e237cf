"""The devices of one node for the pods' claims: what the scheduler's plugin DynamicResources reads and writes.

Follows `pkg/scheduler/framework/plugins/dynamicresources` of Kubernetes 1.37 for claims that are made from a template:
each pod has its own, which is allocated when a node is reserved for the pod and deleted with the pod. Not modelled:
claims that pods share, devices that no single node has, and the time that a driver takes to prepare a device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlinfra.gpu.claims import ResourceClaim
from mlinfra.gpu.cluster import not_found
from mlinfra.gpu.devices import DevicePool
from mlinfra.gpu.dra import AllocationFailed, DeviceID, DeviceResult, allocate
from mlinfra.gpu.pods import GPURequest


@dataclass
class NodeDevices:
    """The pools of a node, the claims that templates make, by the template's name, and the devices of each pod."""

    pools: Sequence[DevicePool]
    templates: Mapping[str, ResourceClaim]
    allocated: dict[str, list[DeviceResult]] = field(default_factory=dict)

    def fits(self, pod: GPURequest) -> bool:
        """Whether all claims of the pod can be allocated together; where the allocator gives up, they cannot."""
        try:
            return pod.name in self.allocated or self._allocation(pod) is not None
        except AllocationFailed:
            return False

    def reserve(self, pod: GPURequest) -> None:
        """The pod's claims are allocated; one that has its devices keeps them."""
        if pod.name not in self.allocated:
            self.allocated[pod.name] = [device for claim in self._allocation(pod) or () for device in claim]

    def release(self, pod: str) -> None:
        """The pod is gone, and its claims with it."""
        self.allocated.pop(pod, None)

    def copy(self) -> NodeDevices:
        return NodeDevices(self.pools, self.templates, dict(self.allocated))

    def devices_of(self, pod: str) -> list[str]:
        """The names of the devices that a pod has been given."""
        return [result.device for result in self.allocated.get(pod, ())]

    def _allocation(self, pod: GPURequest) -> list[list[DeviceResult]] | None:
        return allocate([self._claim(name) for name in pod.claims], self.pools, self._in_use())

    def _claim(self, template: str) -> ResourceClaim:
        if template not in self.templates:
            raise not_found("resourceclaimtemplate", template)
        return self.templates[template]

    def _in_use(self) -> list[DeviceID]:
        return [(each.driver, each.pool, each.device) for results in self.allocated.values() for each in results]
