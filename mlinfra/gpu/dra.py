"""Dynamic resource allocation (DRA): which devices of a node the claims of a pod get, as kube-scheduler has it.

Follows `dynamic-resource-allocation/structured/internal/incubating/allocator_incubating.go` @008b3652 (1.37): depth
first, and the first solution. Claims and what is not read of them stand in `claims.py`, devices in `devices.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mlinfra.gpu.claims import ALL, DeviceClass, DeviceRequest, FirstAvailable, ResourceClaim, same
from mlinfra.gpu.devices import Device, DevicePool

MOST_DEVICES_OF_A_CLAIM = 32
DeviceID = tuple[str, str, str]
"""Driver, pool and device."""


class DeviceResult(NamedTuple):
    """One line of a claim's `status.allocation`; a request of a list is named after both: `gpu/large`."""

    request: str
    driver: str
    pool: str
    device: str


class AllocationFailed(ValueError):
    """The allocator stops with an error, which is not the same as a node without room."""


class DeviceSelection(NamedTuple):
    """A request, or one of a list, under its full name, and the devices that it selects, in published order."""

    name: str
    request: DeviceRequest
    devices: Sequence[tuple[DevicePool, Device]]

    @property
    def number(self) -> int:
        return len(self.devices) if self.request.mode == ALL else self.request.count


class Taken(NamedTuple):
    """A device that the search has given to a request so far."""

    request: str
    pool: DevicePool
    device: Device


def allocate(
    claims: Sequence[ResourceClaim], pools: Iterable[DevicePool], allocated: Iterable[DeviceID] = ()
) -> list[list[DeviceResult]] | None:
    """The devices of each claim on one node, or None where the node has no room; AllocationFailed stops it all.

    `allocated` are the devices that others have.
    """
    allocator = Allocator(claims, pools, allocated)
    if not allocator.allocate_request(0, 0):
        return None
    return [
        [DeviceResult(each.request, each.pool.driver, each.pool.name, each.device.name) for each in taken]
        for taken in allocator.taken
    ]


class Allocator:
    """One search: the options of each request, the devices in use, what is left of the counters, what is taken."""

    def __init__(
        self, claims: Sequence[ResourceClaim], pools: Iterable[DevicePool], allocated: Iterable[DeviceID]
    ) -> None:
        self.claims, self.pools = claims, sorted(pools, key=lambda pool: (pool.driver, pool.name))
        self.in_use = set(allocated)
        self.counters_left = self._counters_left()
        self.options = [self._validated(claim) for claim in claims]
        self.taken: list[list[Taken]] = [[] for _ in claims]

    # ------------------------------------------------------------------------------------------- before the search

    def _counters_left(self) -> dict[tuple[str, str, str], int]:
        """By pool, set and counter: the total without what all allocated devices of the pool consume."""
        left: dict[tuple[str, str, str], int] = {}
        for pool in self.pools:
            for name, counters in pool.counters.items():
                left |= {(pool.id, name, counter): total for counter, total in counters.items()}
            for device in pool.devices:
                if device_id(pool, device) in self.in_use:
                    for key, amount in consumption(pool, device):
                        left[key] -= amount
        return left

    def _validated(self, claim: ResourceClaim) -> list[list[DeviceSelection]]:
        """The options of each request, in order; fails when the fewest devices are too many for one claim."""
        options = [[self._option(claim, *each) for each in alternatives(request)] for request in claim.requests]
        fewest = sum(min(option.number for option in each) for each in options)
        if fewest > MOST_DEVICES_OF_A_CLAIM:
            limit = f"number of requested devices {fewest} exceeds the claim limit of {MOST_DEVICES_OF_A_CLAIM}"
            raise AllocationFailed(f"claim {claim.name}: {limit}")
        return options

    def _option(self, claim: ResourceClaim, name: str, request: DeviceRequest) -> DeviceSelection:
        """An incomplete pool is passed over, but what is all of it cannot be known."""
        incomplete = [pool for pool in self.pools if not pool.complete]
        if request.mode == ALL and incomplete:
            updated = f"asks for all devices, but resource pool {incomplete[0].id} is currently being updated"
            raise AllocationFailed(f"claim {claim.name}, request {request.name}: {updated}")
        devices = [(pool, device) for pool in self.pools if pool.complete for device in pool.devices]
        return DeviceSelection(name, request, [each for each in devices if request.selects(*each)])

    # -------------------------------------------------------------------------------------------------- the search

    def allocate_request(self, claim: int, request: int) -> bool:
        """Whether this request and all that follow can be satisfied; `taken` then holds the devices."""
        if claim == len(self.claims):
            return True
        if request == len(self.options[claim]):
            return self.allocate_request(claim + 1, 0)
        options = [option for option in self.options[claim][request] if self._fits_claim(claim, option)]
        return any(self.allocate_devices(claim, request, option, 0, 0) for option in options)

    def _fits_claim(self, claim: int, option: DeviceSelection) -> bool:
        """All is at least one device, and a claim holds no more than 32."""
        least = 1 if option.request.mode == ALL else 0
        return option.number >= least and len(self.taken[claim]) + option.number <= MOST_DEVICES_OF_A_CLAIM

    def allocate_devices(self, claim: int, request: int, option: DeviceSelection, nth: int, start: int) -> bool:
        """Whether the nth device of the request, found at `start` or later, and all that follows can be allocated.

        When one choice leads nowhere the next is tried. With All there is no choice.
        """
        if nth == option.number:
            return self.allocate_request(claim, request + 1)
        others = option.number - nth - 1  # which come after this one
        end = start + 1 if option.request.mode == ALL else len(option.devices) - others
        for i in range(start, end):
            if self._may_take(claim, option, *option.devices[i]):
                self._take(claim, option, *option.devices[i])
                if self.allocate_devices(claim, request, option, nth + 1, i + 1):
                    return True
                self._give_back(claim)
        return False

    def _may_take(self, claim: int, option: DeviceSelection, pool: DevicePool, device: Device) -> bool:
        """Whether nobody has it, its counters are left, its taints are tolerated, and the constraints hold."""
        if device_id(pool, device) in self.in_use:
            return False
        if any(self.counters_left[key] < amount for key, amount in consumption(pool, device)):
            return False
        if not option.request.tolerates(device):
            return False
        matches = self._matches_the_first(claim, pool, device)
        if option.request.mode == ALL and not matches:
            unsatisfied = "because a claim constraint would not be satisfied"
            what = f"claim {self.claims[claim].name}, request {option.request.name}"
            raise AllocationFailed(f"{what}: cannot add device {pool.id}/{device.name} {unsatisfied}")
        return matches

    def _matches_the_first(self, claim: int, pool: DevicePool, device: Device) -> bool:
        """Whether it has each attribute of the constraints, with the value that the claim's first device has."""
        first = self.taken[claim][0] if self.taken[claim] else Taken("", pool, device)
        return all(
            same(first.device.attribute(name, first.pool.driver), device.attribute(name, pool.driver))
            for name in self.claims[claim].match_attribute
        )

    def _take(self, claim: int, option: DeviceSelection, pool: DevicePool, device: Device) -> None:
        self.in_use.add(device_id(pool, device))
        for key, amount in consumption(pool, device):
            self.counters_left[key] -= amount
        self.taken[claim].append(Taken(option.name, pool, device))

    def _give_back(self, claim: int) -> None:
        """The device that the claim took last."""
        _, pool, device = self.taken[claim].pop()
        self.in_use.remove(device_id(pool, device))
        for key, amount in consumption(pool, device):
            self.counters_left[key] += amount


def alternatives(request: DeviceRequest | FirstAvailable) -> Iterator[tuple[str, DeviceRequest]]:
    """The request, or those of a list in their order, with the names that an allocation shows."""
    if isinstance(request, DeviceRequest):
        yield request.name, request
    else:
        yield from ((f"{request.name}/{each.name}", each) for each in request.requests)


def device_id(pool: DevicePool, device: Device) -> DeviceID:
    return pool.driver, pool.name, device.name


def consumption(pool: DevicePool, device: Device) -> Iterator[tuple[tuple[str, str, str], int]]:
    """What it consumes, by pool, set and counter."""
    for name, counters in device.consumes.items():
        yield from (((pool.id, name, counter), amount) for counter, amount in counters.items())


# ------------------------------------------------------------------------------------------------ extended resources


def claim_of_extended_resources(
    name: str, requests: Mapping[str, int], classes: Iterable[DeviceClass]
) -> ResourceClaim | None:
    """The claim that the scheduler makes for a pod's extended resources, where classes serve them (KEP-5004)."""
    by_resource = {each.extended_resource_name: each for each in classes if each.extended_resource_name}
    served = [(by_resource[resource], count) for resource, count in requests.items() if resource in by_resource]
    made = [DeviceRequest(f"container-0-request-{i}", each, count) for i, (each, count) in enumerate(served)]
    return ResourceClaim(f"{name}-extended-resources", tuple(made)) if made else None
