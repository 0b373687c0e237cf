"""What a reader may mistype, and what random input never does, against plain slow code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import combinations, islice
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import validate
from mlinfra.admission.rules import Invalid
from mlinfra.gpu import fragmentation, kueue, mig, placement, preemption, profile, quota, scoring, shapes, sharing
from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.index import WholeGPUBestFit
from mlinfra.gpu.nodes import GPU, GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.scheduler import GPUScheduler

A100, N, URGENT, LOW = "A100-40GB", GPUNode("n", "A100", 8, 80), PriorityClass("urgent", 5), PriorityClass("low", 0)
SMALL, NO_GPU, V100 = (
    shapes.PodShape(1, 1, 1, 500),
    shapes.PodShape(1, 1, 0, 0),
    shapes.NodeShape(8000, 8000, 1, "V100"),
)
OWN, TYPICAL = {"a": quota.ClusterQueue("a", "ml", {GPU: quota.Quota(8)})}, [shapes.TypicalPod(0, 1, 1000, (), 1.0)]
SLICED, RATIO = sharing.Sharing("timeSlicing", 10), scoring.RequestedToCapacityRatio({GPU: 1}, ((0, 9), (9, 1)))
CURVED = profile.Profile("x", (scoring.NodeResourcesFit(RATIO),))
CALM, CHANCE = partial(settings, derandomize=True), st.integers(0, 9999).map(Random)

WRONG: list[Callable[[], object]] = [
    lambda: GPURequest("a", gang_size=2**31 - 1),
    lambda: GPUNode("n", devices={"cpu": 1}),
    lambda: GPUNode("n", "A100", 8, devices={GPU: 8}),
    lambda: profile.Profile(percentage_of_nodes_to_score=101),
    lambda: quota.FlavorUsage(OWN, {"b": Counter({GPU: 1})}),
    lambda: WholeGPUBestFit([N, N]),
    lambda: WholeGPUBestFit([N]).place(GPURequest("a", 1, gang_size=2)),
    lambda: WholeGPUBestFit([N]).place(GPURequest("a", 1, resource="a.b/c")),
    lambda: mig.best_packing(A100, ["1g.5gb"]),
    lambda: mig.maximal_layouts(A100, ["1g.5gb"]),
    lambda: mig.smallest_for(A100, -5),
    lambda: sharing.Sharing("", 4),
    lambda: shapes.PodShape(1, 1, 0, 500),
    lambda: shapes.PodShape(1, 1, 2, 500),
    lambda: shapes.PodShape(-9, 1, 1, 500),
    lambda: replace(V100, gpus=16),
    lambda: replace(V100, memory_mib=2**40),
    lambda: placement.run([replace(V100, gpus=0)], [NO_GPU], TYPICAL, placement.fgd),
    lambda: placement.run([], [SMALL], TYPICAL, placement.fgd),
    lambda: list(shapes.load([], 1000)),
    lambda: list(islice(shapes.load([NO_GPU], 1000), 9999)),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_has_one_clear_error(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|Unsupported|Required|not found|exists"):
        wrong()


def test_what_is_counted_is_what_is_there() -> None:
    cluster = GPUScheduler([GPUNode("n", devices=SLICED.devices(8))])
    alone = {name: quota.ClusterQueue(name, "", OWN["a"].quotas) for name in "ab"}
    assert quota.FlavorUsage(alone).available("a", GPU) == 8, "without a cohort nothing is lent"
    cluster.submit(GPURequest("low", 30))
    assert cluster.schedule() == [("low", "n")]
    nobody = preemption.select_victims(GPURequest("fits", 1, priority_class=URGENT), cluster.nodes["n"])
    assert not isinstance(nobody, preemption.Victims) or preemption.cost(nobody), "who fits evicts nobody"
    assert cluster.nodes["n"].free_gpus >= 0


@pytest.mark.parametrize("odd", [True, 7, "x"])
def test_a_number_or_text_is_no_map_and_no_list(odd: Any) -> None:
    queue, flavor, config = OWN["a"].manifest(), quota.ResourceFlavor("a", {"a": "b"}).manifest(), CURVED.manifest()
    group = queue["spec"]["resourceGroups"][0] | {"coveredResources": odd}
    specs = [
        odd,
        *(queue["spec"] | part for part in ({"preemption": odd}, {"resourceGroups": odd}, {"resourceGroups": [group]})),
    ]
    strange = [
        *(queue | {"spec": spec} for spec in specs),
        flavor | {"spec": odd},
        flavor | {"spec": {"nodeLabels": odd}},
    ]
    assert [made for made in strange if not validate(made)] == []
    assert [made for made in (odd, [odd]) if not validate(config | {"profiles": made})] == []


@pytest.mark.parametrize("name", placement.POLICIES)
@CALM(max_examples=40)
@given(CHANCE)
def test_who_fits_is_placed_and_nothing_is_taken_twice(name: str, chance: Random) -> None:
    pick, policy, rows = chance.choice, placement.POLICIES[name], np.arange(4)
    nodes = [shapes.NodeShape(pick([0, 64_000, 256_000]), 9000, pick([1, 2, 8]), pick("AV")) for _ in rows]
    shares, cluster = [(0, 0), (1, 1), (1, 333), (1, 1000), (8, 1000)], fragmentation.Cluster(nodes, TYPICAL)
    pods = [shapes.PodShape(pick([0, 64_000, 128_000]), 99, *pick(shares), pick([(), ("A",)])) for _ in range(12)]
    for pod, node in zip(pods, placement.run(nodes, pods, TYPICAL, policy).nodes, strict=True):
        fits = cluster.feasible(pod, rows)
        assert not fits.any() if node is None else fits[node]
        if node is not None:
            cluster.place(pod, node, int(policy(cluster, pod, rows[[node]]).device[0]))
        assert min(cluster.cpu.min(), cluster.memory.min(), cluster.gpu.min()) >= 0


@CALM(max_examples=30)
@given(st.sampled_from([A100, "A30-24GB"]), st.lists(st.sampled_from(["1g", "1g+me", "2g", "4g"]), max_size=6))
def test_layouts_are_all_that_overlap_nowhere(gpu: str, keys: list[str]) -> None:
    spots = [(p, range(s, s + p.memory_slices)) for p in mig.profiles(gpu).values() if p.key in keys for s in p.starts]
    sets = [
        c
        for n in range(4)
        for c in combinations(spots, n)
        if not Counter(i for _, r in c for i in r) - Counter(range(9))
    ]
    right = [sorted((p.key, r.start) for p, r in c) for c in sets if sum(p.media for p, _ in c) < 2]
    assert sorted(
        sorted((i.key, i.start) for i in found) for found in mig.layouts(gpu, keys) if len(found) < 4
    ) == sorted(right)


@CALM(max_examples=15)
@given(CHANCE)
def test_what_is_lent_stays_within_the_limits(chance: Random) -> None:
    quotas = [
        {r: quota.Quota(chance.randint(3, 8), *chance.choices([None, 0, 3], k=2)) for r in ("cpu", GPU)} for _ in "abc"
    ]
    queues = [quota.ClusterQueue(n, "ml", q, reclaim_within_cohort=chance.choice(["Any", "Never"])) for n, q in zip("abc", quotas, strict=True)]  # fmt: skip
    teams, again = kueue.Kueue(queues), kueue.Kueue(queues)
    for i in range(12):
        work = quota.Workload(f"w{i}", chance.choice("abc"), {r: chance.randint(0, 9) for r in ("cpu", GPU)}, i % 3)
        for side in (teams, again):
            side.submit(work)
            side.schedule()
        before = str(vars(teams))
        with pytest.raises(Invalid, match="exists"):
            teams.submit(work)
        assert (str(vars(teams)), teams.events) == (before, again.events)
        for r, some in ((r, some) for r in ("cpu", GPU) for n in (1, 2, 3) for some in combinations(queues, n)):
            most = sum(q.quotas[r].nominal - (0 if q in some else q.quotas[r].guaranteed) for q in queues)
            assert sum(teams.usage.used[q.name][r] for q in some) <= most
            assert all(q.quotas[r].borrowing_limit in (None, *range(teams.usage.borrowed(q.name, r), 4)) for q in some)


@CALM(max_examples=15)
@given(CHANCE, st.sampled_from([profile.BEST_FIT, profile.packing(), CURVED]))
def test_the_books_of_a_cluster(chance: Random, chosen: profile.Profile) -> None:
    pick = chance.choice
    nodes = [
        GPUNode(f"n{i}", pick("AV"), pick([1, 4, 8]), 80, 4, taints=pick([(), (Taint("k"),)]), max_pods=3)
        for i in range(4)
    ]
    one, two = (GPUScheduler(nodes, chosen, Random(1), [preemption.DisruptionBudget({"a": "b"}, 0)]) for _ in range(2))
    index, free = WholeGPUBestFit(nodes), [node.gpu_count for node in nodes]
    for i in range(20):
        tolerations, labels = pick([(), (Toleration("k", "Exists"),)]), pick([{}, {"a": "b"}])
        asked = GPURequest(
            f"r{i}",
            i % 5,
            0,
            pick(["", "A"]),
            "",
            pick([None, "900m"]),
            None,
            tolerations,
            pick([URGENT, LOW]),
            pick([1, 3]),
            labels,
        )
        for side in (one, two):
            side.submit(asked)
            side.schedule(i)
        before = str([vars(one), *map(vars, one.nodes.values())]), one.events
        one.explain(asked)
        with pytest.raises(Invalid, match="exists"):
            one.submit(asked)
        assert (str([vars(one), *map(vars, one.nodes.values())]), two.events) == before
        for name in sorted({asked.name, *one.running}) if i == 19 else pick([[], list(one.running)[:1]]):
            one.release(name)
            two.release(name)
        assert all(len(pods) == request.gang_size for request, pods in one.running.values())
        for info in one.nodes.values():
            assert +info.requested == sum((Counter(pod.request.requests) for pod in info.pods.values()), Counter())
            assert all(
                n <= {**info.node.allocatable, "pods": 3}[name]
                for name, n in (info.requested | Counter(pods=len(info.pods))).items()
            )
        points = [
            (100 * (asked.preferred_gpu_type == n.gpu_type) - 10 * f, -at)
            for at, (n, f) in enumerate(zip(nodes, free, strict=True))
            if f >= i % 5
        ]
        at = -max(points)[1] if points else None
        assert index.place(replace(asked, gang_size=1)) == (None if at is None else nodes[at].name)
        free = [f - i % 5 * (at == which) for which, f in enumerate(free)]
        if at is not None and i % 3 == 0:
            index.release(asked.name)
            free[at] += i % 5
        assert index.free == free
    assert not any(+info.requested or info.pods for info in one.nodes.values())


READ: list[tuple[Callable[[Any], object], Any]] = [
    (GPUNode.of, GPUNode("n", "A", 8, 79, taints=(Taint("k", "v"),), labels={"z": "a"}, devices={"a.b/c": 2})),
    (PriorityClass.of, URGENT),
    (lambda obj: GPURequest.of(obj, [URGENT]), GPURequest("p", 1, 40, "A", "B", 4, "1Gi", (Toleration("k", "Exists"),), URGENT)),
    (quota.ClusterQueue.of, OWN["a"]),
    (quota.LocalQueue.of, quota.LocalQueue("a", "b", "c")),
    (quota.ResourceFlavor.of, quota.ResourceFlavor("a", {"a": "b"})),
    (profile.Profile.of, profile.packing()),
    (profile.Profile.of, CURVED),
    (sharing.Sharing.of, SLICED),
    (lambda obj: mig.MIGConfig.of(obj, A100), mig.MIGConfig(A100, {"a": {"1g": 2}})),
]  # fmt: skip


def variants(obj: Any, odd: Any) -> Iterator[Any]:
    """The manifest with that value in the place of each branch and leaf, one after the other."""
    yield odd
    places = obj.items() if isinstance(obj, dict) else enumerate(obj) if isinstance(obj, list) else ()
    for place, branch in places:
        for variant in variants(branch, odd):
            changed = copy(obj)
            changed[place] = variant
            yield changed


@pytest.mark.parametrize(("of", "noun"), READ, ids=[type(noun).__name__ for _, noun in READ])
def test_what_is_odd_is_refused_or_read(of: Callable[[Any], object], noun: Any) -> None:
    for odd in (None, True, -1, 0.5, "", "x", "٣", "1" * 5000, [], [5], {}, {"a": "b"}):
        for variant in variants(noun.manifest(), odd):
            with suppress(Invalid):
                assert of(variant)
