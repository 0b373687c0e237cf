"""DRA: the allocator against every choice there is, NVIDIA's MIG devices, and the objects read and written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid, Problem, validate
from mlinfra.gpu import mig
from mlinfra.gpu.affinity import Toleration
from mlinfra.gpu.claims import (
    ALL,
    CLASSES,
    GPU_CLASS,
    MIG_CLASS,
    AttributeEquals,
    CapacityAtLeast,
    DeviceClass,
    DeviceRequest,
    FirstAvailable,
    ResourceClaim,
)
from mlinfra.gpu.devices import Device, DevicePool, DeviceTaint, mig_pool
from mlinfra.gpu.dra import AllocationFailed, DeviceResult, allocate, claim_of_extended_resources
from mlinfra.gpu.nodes import GPU

A100, A30 = "A100-40GB", "A30-24GB"
ANY = DeviceClass("any", "d.example.com")


def slices(profile: str, count: int = 1, name: str = "r") -> DeviceRequest:
    return DeviceRequest(name, MIG_CLASS, count, selectors=(AttributeEquals("profile", profile),))


def names(found: list[list[DeviceResult]] | None) -> list[str]:
    assert found is not None
    return [result.device for claim in found for result in claim]


# --------------------------------------------------------------------------------------------------------- MIG


def test_the_lowest_start_is_taken_and_over_time_that_leaves_no_room() -> None:
    pool = mig_pool("n", [A100])
    one = allocate([ResourceClaim("a", (slices("1g.5gb"),))], [pool])
    assert names(one) == ["gpu-0-mig-1g5gb-19-0"]
    in_use = [("gpu.nvidia.com", "n", name) for name in names(one)]
    assert allocate([ResourceClaim("b", (slices("4g.20gb"),))], [pool], in_use) is None, "4g begins at 0 only"
    together = allocate([ResourceClaim("c", (slices("1g.5gb"), slices("4g.20gb", name="s")))], [pool])
    assert names(together) == ["gpu-0-mig-1g5gb-19-4", "gpu-0-mig-4g20gb-5-0"], "one claim goes back"


def test_a_whole_gpu_and_a_slice_of_it_exclude_each_other() -> None:
    whole = ResourceClaim("w", (DeviceRequest("gpu", GPU_CLASS),))
    claims = [ResourceClaim("s", (slices("1g.5gb"),)), whole]
    assert allocate(claims, [mig_pool("n", [A100])]) is None
    assert names(allocate(claims, [mig_pool("n", [A100, A100])])) == ["gpu-0-mig-1g5gb-19-0", "gpu-1"]


@pytest.mark.parametrize("gpu", sorted(mig._table()))
def test_the_counters_allow_every_layout_that_the_gpu_has(gpu: str) -> None:
    """Nothing that NVIDIA counts is the reason why a layout does not fit."""
    pool = mig_pool("n", [gpu])
    keys = {(mig.profiles(gpu)[key].name, start): key for key in mig.profiles(gpu) for start in range(8)}
    totals = pool.counters["gpu-0-counter-set"]
    shares = {}
    for device in pool.devices[1:]:
        start = int(device.name.rpartition("-")[2])
        shares[keys[str(device.attributes["profile"]), start], start] = device.consumes["gpu-0-counter-set"]
    for layout in mig.maximal_layouts(gpu, tuple(mig.profiles(gpu))):
        parts = [shares[instance.key, instance.start] for instance in layout]
        assert all(sum(part.get(counter, 0) for part in parts) <= total for counter, total in totals.items()), layout


def test_the_counters_allow_nothing_but_layouts() -> None:
    pool, legal = mig_pool("n", [A30]), {frozenset(layout) for layout in mig.layouts(A30, tuple(mig.profiles(A30)))}
    totals, cut = pool.counters["gpu-0-counter-set"], pool.devices[1:]
    by_name = {profile.name: profile.key for profile in mig.profiles(A30).values()}
    fitting = {
        frozenset(mig.Instance(by_name[str(d.attributes["profile"])], int(d.name.rpartition("-")[2])) for d in chosen)
        for n in range(5)
        for chosen in combinations(cut, n)
        if all(sum(d.consumes["gpu-0-counter-set"].get(c, 0) for d in chosen) <= total for c, total in totals.items())
    }
    assert fitting == legal


def test_the_devices_are_those_that_the_driver_names() -> None:
    names_of_two = [device.name for device in mig_pool("n", [A30]).devices if "2g" in device.name]
    assert names_of_two == [f"gpu-0-mig-2g12gb-{rest}" for rest in ("5-0", "5-2", "me-6-0", "me-6-2")]


def test_a_pod_that_asks_for_gpus_as_always_gets_a_claim() -> None:
    claim = claim_of_extended_resources("pod", {"cpu": 4, GPU: 2}, CLASSES.values())
    assert claim == ResourceClaim("pod-extended-resources", (DeviceRequest("container-0-request-0", GPU_CLASS, 2),))
    assert names(allocate([claim], [mig_pool("n", [A100] * 3)])) == ["gpu-0", "gpu-1"]
    assert claim_of_extended_resources("pod", {"cpu": 4}, CLASSES.values()) is None


def test_a_taint_without_effect_keeps_nobody_away_and_one_is_not_true() -> None:
    informed, kept = Device("a", {"numa": 1}, taints=(DeviceTaint("k", effect="None"),)), Device("b", {"numa": True})
    pool = DevicePool("n", ANY.driver, (informed, kept, Device("c", {"numa": None})))
    assert names(allocate([ResourceClaim("c", (DeviceRequest("r", ANY),))], [pool])) == ["a"]
    for count in (2, 3):
        assert allocate([ResourceClaim("c", (DeviceRequest("r", ANY, count),), ("numa",))], [pool]) is None
    true = DeviceRequest("r", ANY, selectors=(AttributeEquals("numa", True),))
    assert names(allocate([ResourceClaim("c", (true,))], [pool])) == ["b"]
    large = DeviceRequest("r", ANY, selectors=(CapacityAtLeast("memory", "1Gi"),))
    sizes = DevicePool(
        "n", ANY.driver, (Device("a", capacity={"memory": "1G"}), Device("b", capacity={"memory": "2Gi"}))
    )
    assert names(allocate([ResourceClaim("c", (large,))], [sizes])) == ["b"]


# ------------------------------------------------------------------------------------------------------- errors


def test_all_of_what_cannot_be_known_or_may_not_be_together_is_an_error() -> None:
    devices = (Device("a", {"numa": 0}), Device("b", {"numa": 1}))
    everything = ResourceClaim("c", (DeviceRequest("r", ANY, mode=ALL),), ("numa",))
    with pytest.raises(AllocationFailed, match=r"claim c, request r: cannot add device d\.example\.com/n/b because a"):
        allocate([everything], [DevicePool("n", ANY.driver, devices)])
    with pytest.raises(AllocationFailed, match="is currently being updated"):
        allocate([everything], [DevicePool("n", ANY.driver, devices, complete=False)])
    with pytest.raises(AllocationFailed, match="number of requested devices 33 exceeds the claim limit of 32"):
        allocate([ResourceClaim("c", (DeviceRequest("r", ANY, 33),))], [])


def test_more_than_32_devices_leave_a_list_only_its_smaller_request() -> None:
    pool = DevicePool("n", ANY.driver, tuple(Device(f"d{i}") for i in range(40)))
    rank = FirstAvailable("rank", (DeviceRequest("many", ANY, 20), DeviceRequest("few", ANY, 2)))
    found = allocate([ResourceClaim("c", (DeviceRequest("r", ANY, 20), rank))], [pool])
    assert found is not None
    assert [result.request for result in found[0]] == ["r"] * 20 + ["rank/few"] * 2


def test_more_devices_than_there_are_is_known_at_once() -> None:
    """Without that the search would try each of 2^28 sets."""
    assert allocate([ResourceClaim("c", (slices("1g.5gb", 32),))], [mig_pool("n", [A100] * 4)]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Device("Upper"),
        lambda: Device("a", capacity={"memory": "lots"}),
        lambda: Device("a", consumes={"s": {"c": -1}}),
        lambda: DeviceTaint("k", effect="PreferNoSchedule"),
        lambda: DevicePool("n", ANY.driver, (Device("a"), Device("a"))),
        lambda: DevicePool("n", ANY.driver, (Device("a", consumes={"s": {"c": 1}}),)),
        lambda: DeviceRequest("r", ANY, 0),
        lambda: DeviceRequest("r", ANY, mode="Some"),
        lambda: FirstAvailable("r", ()),
        lambda: ResourceClaim("c", ()),
        lambda: ResourceClaim("c", (DeviceRequest("r", ANY), DeviceRequest("r", ANY))),
        lambda: mig_pool("n", ["T4"]),
        lambda: ResourceClaim.of(claim_with(expression="device.attributes['d'].a.startsWith('x')")),
        lambda: ResourceClaim.of(claim_with(expression="device.driver == 'd' || true")),
        lambda: ResourceClaim.of(claim_with(adminAccess=True)),
        lambda: ResourceClaim.of(claim_with(deviceClassName="other")),
        lambda: ResourceClaim.of(claim_with(constraint={"distinctAttribute": "d/a"})),
        lambda: ResourceClaim.of(claim_with(constraint={"matchAttribute": "d/a", "requests": ["x"]})),
        lambda: DeviceClass.of(class_with("device.attributes['d'].a == 1")),
    ],
)
def test_what_is_refused(wrong: Any) -> None:
    with pytest.raises(Invalid, match=r"must|Required|Unsupported|Duplicate|not found|read|consist|quantit"):
        wrong()


def claim_with(expression: str = "", constraint: Any = None, **request: Any) -> dict[str, Any]:
    exactly = {"deviceClassName": MIG_CLASS.name, **request}
    if expression:
        exactly["selectors"] = [{"cel": {"expression": expression}}]
    devices: dict[str, Any] = {"requests": [{"name": "r", "exactly": exactly}]}
    if constraint:
        devices["constraints"] = [constraint]
    head = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "c"}}
    return {**head, "spec": {"devices": devices}}


def class_with(expression: str) -> dict[str, Any]:
    head = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "c"}}
    return {**head, "spec": {"selectors": [{"cel": {"expression": expression}}]}}


# ------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("nodes", [("n", "m"), ()])
def test_slices_of_two_pools_are_no_pool(nodes: tuple[str, ...]) -> None:
    slices_of_nodes = [each for name in nodes for each in mig_pool(name, [A100]).manifests()]
    with pytest.raises(Invalid, match="must be those of one pool of one driver"):
        DevicePool.of(slices_of_nodes)


def test_objects_are_read_as_they_are_written() -> None:
    assert DeviceClass.of(mig.device_class()) == MIG_CLASS
    assert MIG_CLASS.manifest() == mig.device_class()
    for each in CLASSES.values():
        assert DeviceClass.of(each.manifest()) == each
    pool = mig_pool("n", [A100, "H200-141GB"])
    tainted = Device("x", {"numa": 1, "fast": True}, {"memory": "40Gi"}, taints=(DeviceTaint("k", "v", "None"),))
    for made in (pool, DevicePool("n", "d", (tainted,)), DevicePool("n", "d", (tainted,), complete=False)):
        assert DevicePool.of(made.manifests()) == made
        assert [
            problem for each in made.manifests() for problem in validate(each) if isinstance(problem, Problem)
        ] == []
    selected = (CapacityAtLeast("memory", "10Gi"), AttributeEquals("resource.kubernetes.io/pcieRoot", "p0"))
    several = ResourceClaim(
        "c",
        (
            FirstAvailable("a", (slices("3g.20gb", name="large"), slices("1g.5gb", 2, "small"))),
            DeviceRequest("b", GPU_CLASS, mode=ALL, selectors=selected, tolerations=(Toleration("k", "Exists"),)),
            DeviceRequest("c", GPU_CLASS, selectors=(AttributeEquals("fast", True), AttributeEquals("numa", 1))),
        ),
        ("parentUUID", "resource.kubernetes.io/pcieRoot"),
    )
    assert ResourceClaim.of(several.manifest()) == several
    assert validate(several.manifest()) == []
    for count in (1, 2):
        written = mig.resource_claim("c", mig.profiles(A100)["3g"], count)
        assert ResourceClaim.of(written).manifest() == written


# -------------------------------------------------------------------------------------------- against every choice

TAINT = DeviceTaint("k", "v")
DEVICES = st.tuples(
    st.sampled_from([{}, {"numa": 0}, {"numa": 1}, {"numa": True}]),
    st.sampled_from([{}, {"s": {"c": 1}}, {"s": {"c": 2}}]),
    st.sampled_from([(), (), (TAINT,), (DeviceTaint("k", "v", "None"),)]),
)
POOLS = st.lists(st.lists(DEVICES, max_size=3), min_size=1, max_size=2)
REQUESTS = st.tuples(
    st.integers(1, 2),
    st.sampled_from([(), (AttributeEquals("numa", 1),), (AttributeEquals("numa", 0),)]),
    st.sampled_from([(), (Toleration("k", "Exists"),)]),
)
CLAIMS = st.lists(
    st.tuples(st.lists(st.lists(REQUESTS, min_size=1, max_size=2), min_size=1, max_size=2), st.booleans()),
    min_size=1,
    max_size=2,
)
Choice = tuple[tuple[str, DevicePool, Device], ...]


def pools_of(drawn: Any) -> list[DevicePool]:
    return [
        DevicePool(
            f"p{i}",
            ANY.driver,
            tuple(Device(f"d{k}", dict(a), {}, dict(c), t) for k, (a, c, t) in enumerate(devices)),
            {"s": {"c": 2}},
        )
        for i, devices in enumerate(drawn)
    ]


def claims_of(drawn: Any) -> list[ResourceClaim]:
    claims = []
    for i, (requests, match) in enumerate(drawn):
        made: list[DeviceRequest | FirstAvailable] = []
        for k, listed in enumerate(requests):
            each = [DeviceRequest(f"s{j}", ANY, n, "ExactCount", s, t) for j, (n, s, t) in enumerate(listed)]
            made.append(FirstAvailable(f"r{k}", tuple(each)))
        claims.append(ResourceClaim(f"c{i}", tuple(made), ("numa",) if match else ()))
    return claims


def choices(claim: ResourceClaim, pools: list[DevicePool]) -> Iterator[Choice]:
    """Every choice for a claim alone, those that come first in published order first."""
    published = [(pool, device) for pool in pools for device in pool.devices]
    for_requests = []
    for first in claim.requests:
        assert isinstance(first, FirstAvailable)
        for_requests.append(
            [
                tuple((f"{first.name}/{each.name}", *pair) for pair in chosen)
                for each in first.requests
                for chosen in combinations(published, each.count)
                if all(each.selects(*pair) and each.tolerates(pair[1]) for pair in chosen)
            ]
        )
    for parts in product(*for_requests):
        yield tuple(one for part in parts for one in part)


def is_allowed(claims: list[ResourceClaim], chosen: tuple[Choice, ...], pools: list[DevicePool]) -> bool:
    ids = [(pool.name, device.name) for choice in chosen for _, pool, device in choice]
    used = {pool.name: 0 for pool in pools}
    for choice in chosen:
        for _, pool, device in choice:
            used[pool.name] += device.consumes.get("s", {}).get("c", 0)
    alike = all(
        not claim.match_attribute
        or (
            len({repr(device.attributes.get("numa")) for _, _, device in choice} | {"None"}) == 2
            and all("numa" in device.attributes for _, _, device in choice)
        )
        for claim, choice in zip(claims, chosen, strict=True)
    )
    return len(set(ids)) == len(ids) and max(used.values()) <= 2 and alike


@settings(derandomize=True, max_examples=400, deadline=None)
@given(POOLS, CLAIMS)
def test_the_first_of_all_solutions_is_found_and_nothing_is_taken_in_part(drawn_pools: Any, drawn_claims: Any) -> None:
    pools, claims = pools_of(drawn_pools), claims_of(drawn_claims)
    solutions = (c for c in product(*(choices(each, pools) for each in claims)) if is_allowed(claims, c, pools))
    first = next(solutions, None)
    found = allocate(claims, reversed(pools))
    assert (found is None) == (first is None)
    if found is not None and first is not None:
        assert [[(r.request, r.pool, r.device) for r in claim] for claim in found] == [
            [(name, pool.name, device.name) for name, pool, device in choice] for choice in first
        ]
        in_use = [(r.driver, r.pool, r.device) for claim in found for r in claim]
        again = allocate(claims, pools, in_use)
        assert again is None or not {r.device + r.pool for c in again for r in c} & {d + p for _, p, d in in_use}
