"""Devices as a driver publishes them for DRA: pools of ResourceSlices, counters that devices share, and MIG by NVIDIA.

After `cmd/gpu-kubelet-plugin/{partitions,mig,driver}.go` of dra-driver-nvidia-gpu @95932046 (v0.5.0-dev), where its
feature gate DynamicMIG is alpha and off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Annotated

from mlinfra.admission import accepted, check, refuse
from mlinfra.admission.nouns.gpu import of_one_pool
from mlinfra.admission.rules import dns_label, dns_subdomain, one_of
from mlinfra.gpu.affinity import Taint
from mlinfra.gpu.mig import DRIVER, MIGProfile, profiles
from mlinfra.manifest import Manifest
from mlinfra.quantity import Quantity, quantity, shown

Attribute = str | int | bool | None
Counters = Mapping[str, Mapping[str, int]]
"""By counter set, and in it by counter."""


@dataclass(frozen=True)
class DeviceTaint(Taint):
    """What keeps claims away from a device, unless they tolerate it; the effect None only informs."""

    effect: Annotated[str, one_of("NoExecute", "NoSchedule", "None")] = "NoSchedule"


@dataclass(frozen=True)
class Device:
    """What a driver publishes of one device; `consumes` are its shares of the counters that devices have in common."""

    name: Annotated[str, dns_label]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    capacity: Mapping[str, Quantity] = field(default_factory=dict)
    consumes: Counters = field(default_factory=dict)
    taints: tuple[DeviceTaint, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "capacity", {name: shown(amount) for name, amount in self.capacity.items()})

    def attribute(self, name: str, driver: str) -> Attribute:
        """The value under the name, which may be qualified by the driver's own; None where there is none."""
        return self.attributes.get(name, self.attributes.get(name.removeprefix(f"{driver}/")))

    @classmethod
    def of(cls, manifest: Manifest) -> Device:
        consumed = {each["counterSet"]: _amounts(each["counters"]) for each in manifest.get("consumesCounters", ())}
        return cls(
            manifest["name"],
            {name: next(iter(value.values())) for name, value in manifest.get("attributes", {}).items()},
            {name: amount["value"] for name, amount in manifest.get("capacity", {}).items()},
            consumed,
            tuple(DeviceTaint.of(taint) for taint in manifest.get("taints", ())),
        )

    def manifest(self) -> Manifest:
        device: Manifest = {
            "name": self.name,
            "attributes": {name: {_type(value): value} for name, value in self.attributes.items() if value is not None},
            "capacity": {name: {"value": amount} for name, amount in self.capacity.items()},
            "consumesCounters": [_counter_set("counterSet", *shares) for shares in self.consumes.items()],
            "taints": [taint.manifest() for taint in self.taints],
        }
        return {name: value for name, value in device.items() if value}


@dataclass(frozen=True)
class DevicePool:
    """The ResourceSlices of one driver on one node, devices in the order of slices; incomplete while some are missing.

    `counters` are what the devices of the pool share: a device can be allocated only while its shares are left.
    """

    name: Annotated[str, dns_subdomain]
    driver: Annotated[str, dns_subdomain]
    devices: tuple[Device, ...]
    counters: Counters = field(default_factory=dict)
    complete: bool = True

    def __post_init__(self) -> None:
        check(self)

    @property
    def id(self) -> str:
        return f"{self.driver}/{self.name}"

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> DevicePool:
        """The pool of some slices, by name; of an older generation they are left out."""
        slices = sorted((accepted("ResourceSlice", each) for each in manifests), key=lambda s: s["metadata"]["name"])
        refuse("DevicePool", of_one_pool(slices))
        newest = max(each["spec"]["pool"]["generation"] for each in slices)
        specs = [each["spec"] for each in slices if each["spec"]["pool"]["generation"] == newest]
        sets = [each for spec in specs for each in spec.get("sharedCounters", ())]
        return cls(
            specs[0]["pool"]["name"],
            specs[0]["driver"],
            tuple(Device.of(device) for spec in specs for device in spec.get("devices", ())),
            {each["name"]: _amounts(each["counters"]) for each in sets},
            len(specs) == specs[0]["pool"]["resourceSliceCount"],
        )

    def manifests(self) -> list[Manifest]:
        """The slices as a driver publishes them since 1.35: one with all counters, and one for each set of devices."""
        contents: list[Manifest] = []
        if self.counters:
            contents.append({"sharedCounters": [_counter_set("name", *each) for each in self.counters.items()]})
        for _, devices in groupby(self.devices, key=lambda device: sorted(device.consumes)):
            contents.append({"devices": [device.manifest() for device in devices]})
        missing = 0 if self.complete else 1
        pool = {"name": self.name, "generation": 1, "resourceSliceCount": len(contents) + missing}
        return [
            self._slice(i, {"driver": self.driver, "nodeName": self.name, "pool": pool} | content)
            for i, content in enumerate(contents)
        ]

    def _slice(self, number: int, spec: Manifest) -> Manifest:
        metadata = {"name": f"{self.name}-{self.driver}-{number:03}"}
        return {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": metadata, "spec": spec}


def _amounts(counters: Mapping[str, Mapping[str, Quantity]]) -> dict[str, int]:
    return {name: int(quantity(counter["value"])) for name, counter in counters.items()}


def _counter_set(key: str, name: str, counters: Mapping[str, int]) -> Manifest:
    return {key: name, "counters": {counter: {"value": str(amount)} for counter, amount in counters.items()}}


def _type(value: Attribute) -> str:
    return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "string"


# ------------------------------------------------------------------------------------------------------------- MIG

PROFILE_IDS = {"1g": 19, "1g+me": 20, "1g.2x": 15, "2g": 14, "3g": 9, "4g": 5, "7g": 0}
PROFILE_IDS_OF_FOUR = {"1g": 14, "1g+me": 21, "2g": 5, "2g+me": 6, "4g": 0}
"""The id of a profile in `nvidia-smi mig -lgip`: of GPUs with seven compute slices, and of the A30."""


def mig_pool(node: str, gpus: Sequence[str]) -> DevicePool:
    """The GPUs of a node, each whole and as every MIG device that it could be cut into, sorted by name.

    All of one GPU share a counter set: a counter for each memory slice, so that no two overlap, and one for each
    thing that NVIDIA's listings count for every profile of this GPU.
    """
    devices = [device for minor, gpu in enumerate(gpus) for device in _devices_of(minor, gpu)]
    counters = {f"gpu-{minor}-counter-set": _consumed(gpu, _largest(gpu), 0) for minor, gpu in enumerate(gpus)}
    return DevicePool(node, DRIVER, tuple(sorted(devices, key=lambda device: device.name)), counters)


def _devices_of(minor: int, gpu: str) -> list[Device]:
    """The whole GPU, which consumes all, and a device for each profile and each place where it may begin."""
    uuid, whole = f"GPU-{minor}", _largest(gpu)
    devices = [_device(f"gpu-{minor}", minor, gpu, whole, 0, {"type": "gpu", "uuid": uuid, "productName": gpu})]
    ids = PROFILE_IDS if whole.key == "7g" else PROFILE_IDS_OF_FOUR
    for profile in profiles(gpu).values():
        attributes = {"type": "mig", "profile": profile.name, "parentUUID": uuid, "productName": gpu}
        short = re.sub("[^a-z0-9]", "-", profile.name.replace(".", ""))
        for start in profile.starts:
            name = f"gpu-{minor}-mig-{short}-{ids[profile.key]}-{start}"
            devices.append(_device(name, minor, gpu, profile, start, attributes))
    return devices


def _device(
    name: str, minor: int, gpu: str, profile: MIGProfile, start: int, attributes: Mapping[str, Attribute]
) -> Device:
    capacity = {counter.title().replace("-", ""): amount for counter, amount in _countable(gpu, profile).items()}
    capacity = {key[0].lower() + key[1:]: amount for key, amount in capacity.items()}
    return Device(name, attributes, capacity, {f"gpu-{minor}-counter-set": _consumed(gpu, profile, start)})


def _largest(gpu: str) -> MIGProfile:
    return max(profiles(gpu).values(), key=lambda profile: profile.compute_slices)


def _consumed(gpu: str, profile: MIGProfile, start: int) -> dict[str, int]:
    slices = range(start, start + profile.memory_slices)
    return _countable(gpu, profile) | {f"memory-slice-{i}": 1 for i in slices}


def _countable(gpu: str, profile: MIGProfile) -> dict[str, int]:
    """What the listings count for all profiles of the GPU; memory in bytes."""
    known = [
        counter for counter in _counts(profile) if all(_counts(p)[counter] is not None for p in profiles(gpu).values())
    ]
    return {counter: count for counter, count in _counts(profile).items() if counter in known and count is not None}


def _counts(profile: MIGProfile) -> dict[str, int | None]:
    memory = None if profile.memory_gib is None else int(profile.memory_gib * 2**30)
    return {
        "multiprocessors": profile.sm,
        "copy-engines": profile.copy_engines,
        "decoders": profile.decoders,
        "jpeg-engines": profile.jpeg_engines,
        "ofa-engines": profile.ofa_engines,
        "memory": memory,
    }
