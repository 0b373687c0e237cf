"""Translates `dra_allocation.json` into calls of `mlinfra.gpu.dra`."""

from __future__ import annotations

from typing import Any

from mlinfra.gpu.affinity import Toleration
from mlinfra.gpu.claims import (
    AttributeEquals,
    CapacityAtLeast,
    DeviceClass,
    DeviceRequest,
    FirstAvailable,
    ResourceClaim,
    Selector,
)
from mlinfra.gpu.devices import Device, DevicePool, DeviceTaint
from mlinfra.gpu.dra import AllocationFailed, allocate

Case = dict[str, Any]

FIELDS = {"inputs", "kind"}
INPUT_FIELDS = {"allocated", "claims", "pools"}
POOL_FIELDS = {"complete", "counters", "devices", "driver", "name"}
DEVICE_FIELDS = {"attributes", "capacity", "consumes", "name", "taints"}
REQUEST_FIELDS = {"count", "driver", "first_available", "mode", "name", "selectors", "tolerations"}


class Part(str):
    """A text that equals another one of which it is a part."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in str(other)

    __hash__ = str.__hash__


def known(case: Case, fields: set[str]) -> Case:
    assert case.keys() <= fields, case.keys() - fields
    return case


def device(case: Case) -> Device:
    known(case, DEVICE_FIELDS)
    taints = tuple(DeviceTaint.of(taint) for taint in case.get("taints", ()))
    return Device(case["name"], case.get("attributes", {}), case.get("capacity", {}), case.get("consumes", {}), taints)


def pool(case: Case) -> DevicePool:
    known(case, POOL_FIELDS)
    devices = tuple(map(device, case["devices"]))
    return DevicePool(case["name"], case["driver"], devices, case["counters"], case["complete"])


def selector(case: Case) -> Selector:
    if "capacity" in case:
        return CapacityAtLeast(case["capacity"], case["at_least"])
    return AttributeEquals(case["attribute"], case["equals"])


def request(case: Case) -> DeviceRequest | FirstAvailable:
    if "first_available" in known(case, REQUEST_FIELDS):
        return FirstAvailable(case["name"], tuple(map(exactly, case["first_available"])))
    return exactly(case)


def exactly(case: Case) -> DeviceRequest:
    known(case, REQUEST_FIELDS)
    return DeviceRequest(
        case["name"],
        DeviceClass(case["driver"], case["driver"]),
        case.get("count") or 1,
        case.get("mode", "ExactCount"),
        tuple(map(selector, case.get("selectors", ()))),
        tuple(map(Toleration.of, case.get("tolerations", ()))),
    )


def claim(number: int, case: Case) -> ResourceClaim:
    known(case, {"match_attribute", "requests"})
    return ResourceClaim(f"claim-{number}", tuple(map(request, case["requests"])), tuple(case["match_attribute"]))


def expectation(case: Case) -> Case:
    return {name: Part(value) if name == "error" else value for name, value in case["expected"].items()}


def answer(case: Case) -> Case:
    inputs = known(case["inputs"], INPUT_FIELDS)
    pools = [pool(each) for each in inputs["pools"]]
    others = {tuple(each) for each in inputs["allocated"]}
    in_use = [(p.driver, p.name, d.name) for p in pools for d in p.devices if (p.name, d.name) in others]
    try:
        found = allocate([claim(i, each) for i, each in enumerate(inputs["claims"])], pools, in_use)
    except AllocationFailed as failed:
        return {"error": str(failed)}
    if found is None:
        return {"allocations": None}
    return {"allocations": [[[each.request, each.pool, each.device] for each in devices] for devices in found]}
