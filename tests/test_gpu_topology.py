"""Topology-aware scheduling: small trees by hand, and what holds for every tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid, validate
from mlinfra.gpu.nodes import GPU, HOSTNAME, GPUNode
from mlinfra.gpu.topology import (
    PodSet,
    PodSetTopologyRequest,
    TASFlavorSnapshot,
    Topology,
    TopologyAssignment,
    find_topology_assignment,
)

BLOCK, RACK = "cloud.example.com/block", "cloud.example.com/rack"
DATA_CENTER = Topology("default", (BLOCK, RACK, HOSTNAME))
ONE_GPU = {GPU: 1}
Path = tuple[str, str, str]


def nodes(gpus: dict[Path, int]) -> list[GPUNode]:
    return [GPUNode(h, "H100", n, labels={BLOCK: b, RACK: f"{b}-{r}"}) for (b, r, h), n in gpus.items()]


def assign(gpus: dict[Path, int], count: int, mixed: bool = True, **request: Any) -> TopologyAssignment:
    snapshot = TASFlavorSnapshot(DATA_CENTER, nodes(gpus), profile_mixed=mixed)
    return find_topology_assignment(snapshot, PodSet(count, ONE_GPU, PodSetTopologyRequest(**request)))


TWO_RACKS = {("a", "1", "h1"): 8, ("a", "1", "h2"): 8, ("a", "2", "h3"): 8, ("b", "1", "h4"): 4}


def test_a_rack_that_is_required_is_too_small_and_a_preferred_one_gives_way_to_the_block() -> None:
    assert assign(TWO_RACKS, 20, required=RACK).reason == 'topology "default" allows to fit only 16 out of 20 pod(s)'
    assert assign(TWO_RACKS, 20, preferred=RACK).why() == "h1: 8\nh2: 8\nh3: 4"
    assert assign(TWO_RACKS, 20, required=BLOCK) == assign(TWO_RACKS, 20, preferred=RACK)


def test_the_smallest_that_fits_is_taken_and_unconstrained_pods_fill_the_fullest_hosts() -> None:
    assert assign(TWO_RACKS, 3, required=HOSTNAME).why() == "h4: 3"
    assert assign(TWO_RACKS, 6, unconstrained=True).why() == "h1: 6", "one host has room for all"
    assert assign(TWO_RACKS, 10, unconstrained=True).why() == "h1: 6\nh4: 4", "the least free capacity first"
    assert assign(TWO_RACKS, 10, mixed=False, unconstrained=True).why() == "h1: 8\nh4: 2", "the best fit"


def test_slices_are_whole_and_alone_they_leave_the_rest_unconstrained() -> None:
    assert assign(TWO_RACKS, 24, slice_level=RACK, slice_size=8).why() == "h1: 8\nh2: 8\nh3: 8"
    seven = dict.fromkeys(TWO_RACKS, 7)
    assert assign(seven, 8, required=RACK, slice_level=HOSTNAME, slice_size=4).why() == "h1: 4\nh2: 4"
    assert (
        assign(seven, 16, required=RACK, slice_level=HOSTNAME, slice_size=4).reason
        == 'topology "default" allows to fit only 2 out of 4 slice(s)'
    )


def test_a_level_that_the_topology_does_not_have_is_a_reason_in_upstreams_words() -> None:
    assert assign(TWO_RACKS, 1, required="zone").reason == "no requested topology level: zone"
    assert (
        assign(TWO_RACKS, 1, slice_level="zone", slice_size=1).reason == "no requested topology level for slices: zone"
    )
    above = assign(TWO_RACKS, 1, required=HOSTNAME, slice_level=RACK, slice_size=1).reason
    assert above == f"podset slice topology {RACK} is above the podset topology {HOSTNAME}"
    missing = "slice topology requested, but slice size not provided"
    assert assign(TWO_RACKS, 1, slice_level=RACK).reason == missing
    assert assign({}, 1, required=RACK).reason == f"no topology domains at level: {RACK}"


def test_what_is_assigned_is_gone_for_the_next_job() -> None:
    snapshot, pod_set = TASFlavorSnapshot(DATA_CENTER, nodes(TWO_RACKS)), PodSet(16, ONE_GPU)
    gang = PodSet(16, ONE_GPU, PodSetTopologyRequest(required=RACK))
    first = find_topology_assignment(snapshot, gang)
    after = snapshot.with_assignment(gang, first)
    assert first.pods == 16
    assert find_topology_assignment(after, gang).reason.startswith(
        'topology "default" allows to fit only 8 out of 16 pod(s). Total nodes: 4; excluded: resource "nvidia.com/gpu": 2'
    )
    assert find_topology_assignment(snapshot, gang) == first, "the snapshot itself has not changed"
    assert find_topology_assignment(after, pod_set).reason.startswith('topology "default" allows to fit only 12')
    used = TASFlavorSnapshot(DATA_CENTER, nodes(TWO_RACKS), {("a", "a-1", "h1"): {GPU: 9}})
    assert find_topology_assignment(used, gang).reason.startswith('topology "default" allows to fit only 8')


def test_a_node_that_is_cordoned_or_unlabelled_is_no_domain() -> None:
    bare = [GPUNode("x", "H100", 8), GPUNode("y", "H100", 8, labels={BLOCK: "a", RACK: "r"}, unschedulable=True)]
    assert TASFlavorSnapshot(DATA_CENTER, bare).free == {}


def test_node_selectors_are_one_a_pod() -> None:
    assert assign(TWO_RACKS, 2, required=RACK).node_selectors() == [{HOSTNAME: "h4"}] * 2


def test_manifests_and_annotations_are_read_as_they_are_written() -> None:
    assert Topology.of(DATA_CENTER.manifest()) == DATA_CENTER
    assert validate(DATA_CENTER.manifest()) == []
    for request in (
        PodSetTopologyRequest(required=RACK, slice_level=HOSTNAME, slice_size=8),
        PodSetTopologyRequest(preferred=RACK),
        PodSetTopologyRequest(unconstrained=True),
        PodSetTopologyRequest(),
    ):
        assert PodSetTopologyRequest.of(request.annotations()) == request


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Topology("t", ()),
        lambda: Topology("t", (BLOCK, BLOCK)),
        lambda: Topology("t", (HOSTNAME, RACK)),
        lambda: Topology("t", tuple(f"l{i}" for i in range(17))),
        lambda: Topology("t", ("/x",)),
        lambda: PodSetTopologyRequest(required=RACK, preferred=RACK),
        lambda: PodSetTopologyRequest(preferred=RACK, unconstrained=True),
        lambda: PodSetTopologyRequest(slice_size=2),
        lambda: PodSetTopologyRequest(slice_level=RACK, slice_size=-1),
        lambda: PodSetTopologyRequest.of({"kueue.x-k8s.io/podset-slice-size": "x"}),
        lambda: PodSet(-1, ONE_GPU),
        lambda: PodSet(1, {GPU: -1}),
        lambda: TASFlavorSnapshot(DATA_CENTER, [], {("a", "b", "c"): {GPU: 1}}),
    ],
)
def test_what_is_refused(wrong: Any) -> None:
    with pytest.raises(Invalid, match=r"must|Required|Too many|not found|can only|part"):
        wrong()


# ------------------------------------------------------------------------------------------------- for every tree

TREES = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from(["h1", "h2", "h3"])).map(
        lambda path: (path[0], path[1], "-".join(path))
    ),
    st.integers(0, 5),
    min_size=1,
    max_size=8,
)
LEVELS = {BLOCK: 0, RACK: 1, HOSTNAME: 2}


Rooms = dict[tuple[str, ...], int]


def summed(amounts: Iterable[tuple[Sequence[str], int]], depth: int) -> Rooms:
    """The amounts of all paths with the same beginning."""
    sums: Rooms = {}
    for path, n in amounts:
        sums[tuple(path[:depth])] = sums.get(tuple(path[:depth]), 0) + n
    return sums


def capacity(gpus: dict[Path, int], level: int, slice_level: int, size: int) -> Rooms:
    """Whole slices by domain of a level, in the plainest way."""
    pods = summed(gpus.items(), slice_level + 1)
    return summed([(path, n // size) for path, n in pods.items()], level + 1)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    TREES,
    st.integers(1, 12),
    st.sampled_from(["required", "preferred", "unconstrained", "slices alone"]),
    st.sampled_from([BLOCK, RACK, HOSTNAME]),
    st.sampled_from([None, BLOCK, RACK, HOSTNAME]),
    st.integers(1, 3),
    st.booleans(),
)
def test_an_assignment_is_valid_and_is_refused_only_where_there_is_none(
    gpus: dict[Path, int], slices: int, mode: str, level: str, slice_level: str | None, size: int, mixed: bool
) -> None:
    size = size if slice_level else 1
    slices_of = {"slice_level": slice_level, "slice_size": size} if slice_level else {}
    asked: dict[str, Any] = {mode: level} if mode in ("required", "preferred") else {}
    asked |= {"unconstrained": True} if mode == "unconstrained" else {}
    found = assign(gpus, slices * size, mixed, **asked, **slices_of)
    cut = LEVELS[slice_level or HOSTNAME]
    depth = LEVELS[level] if mode in ("required", "preferred") else 0 if slice_level else 2
    if depth > cut:
        assert "is above the podset topology" in found.reason
        return
    rooms = capacity(gpus, depth, cut, size)
    possible = max(rooms.values()) if mode == "required" else sum(rooms.values())
    assert (possible >= slices) == (not found.reason), found
    if found.reason:
        return
    paths = {path[2]: path for path in gpus}
    taken = {paths[values[0]]: pods for values, pods in found.domains}
    assert found.pods == slices * size
    assert all(0 < pods <= gpus[path] for path, pods in taken.items())
    assert all(pods % size == 0 for pods in summed(taken.items(), cut + 1).values())
    domains = {path[: depth + 1] for path in taken}
    if mode == "required" or max(rooms.values()) >= slices:
        assert len(domains) == 1


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 12))
def test_the_best_fit_takes_as_few_hosts_as_any_choice_could(gpus: list[int], count: int) -> None:
    tree = {("a", "1", f"h{i}"): n for i, n in enumerate(gpus)}
    found = assign(tree, count, preferred=BLOCK)
    enough = [n for n in range(len(gpus) + 1) if any(sum(c) >= count for c in combinations(gpus, n))]
    assert bool(found.reason) == (not enough)
    if enough:
        assert len(found.domains) == enough[0]
