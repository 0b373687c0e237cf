"""Notebook 04's claims for slices of a GPU: the templates, one node with DRA, and pods in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlinfra.gpu import GPUNode, GPURequest, GPUScheduler
from mlinfra.gpu.claims import MIG_CLASS, AttributeEquals, DeviceRequest, ResourceClaim
from mlinfra.gpu.devices import mig_pool
from mlinfra.gpu.mig import Instance, Layout, profiles
from mlinfra.gpu.node_devices import NodeDevices
from mlinfra.manifest import Manifest

GPU_TYPE, NODE = "A100-40GB", "node-1"
KEYS = ("1g", "2g", "3g", "4g")
POOL = mig_pool(NODE, [GPU_TYPE])


def device_request(key: str, count: int = 1) -> DeviceRequest:
    """So many MIG devices of a profile."""
    profile = profiles(GPU_TYPE)[key].name
    return DeviceRequest(f"mig-{key}", MIG_CLASS, count, selectors=(AttributeEquals("profile", profile),))


def claim(*keys: str) -> ResourceClaim:
    """A claim for all of these slices together."""
    counts = Counter(keys)
    requests = tuple(device_request(key, count) for key, count in counts.items())
    return ResourceClaim("-and-".join(f"a-{key}" for key in counts), requests)


TEMPLATES = {each.name: each for each in map(claim, KEYS)}


def slice_with(device: str) -> Manifest:
    """The ResourceSlice of the node's devices, cut down to one of them."""
    published = next(each for each in POOL.manifests() if "devices" in each["spec"])
    published["spec"]["devices"] = [each for each in published["spec"]["devices"] if each["name"] == device]
    return published


def in_order(keys: Sequence[str]) -> GPUScheduler:
    """A node with one A100, and pods that claim these slices, one after the other."""
    cluster = GPUScheduler([GPUNode(NODE, cpu="32")])
    cluster.publish(NODE, NodeDevices([POOL], TEMPLATES))
    for number, key in enumerate(keys, 1):
        cluster.submit(GPURequest(f"pod-{number}", cpu="1", claims=(f"a-{key}",)))
        cluster.schedule()
    return cluster


def devices_of(cluster: GPUScheduler) -> dict[str, str]:
    """The device of each pod that runs."""
    devices = cluster.nodes[NODE].devices
    assert isinstance(devices, NodeDevices)
    return {pod: name for pod in cluster.running for name in devices.devices_of(pod)}


def layout(cluster: GPUScheduler) -> Layout:
    """The same as instances with their first memory slices, for the picture."""
    keys = {profile.name: key for key, profile in profiles(GPU_TYPE).items()}
    published = {device.name: device for device in POOL.devices}
    return tuple(
        Instance(keys[str(published[name].attributes["profile"])], int(name.rpartition("-")[2]))
        for name in devices_of(cluster).values()
    )
