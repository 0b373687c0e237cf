"""Quota and admission: upstream's arithmetic worked by hand, what borrowing and reclaim never do, what is refused."""

from __future__ import annotations

import re
from collections import Counter
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlinfra import admission
from mlinfra.admission import validate
from mlinfra.gpu.kueue import Kueue
from mlinfra.gpu.nodes import GPU
from mlinfra.gpu.quota import (
    ClusterQueue,
    FlavorUsage,
    LocalQueue,
    Quota,
    ResourceFlavor,
    Workload,
)


def queue(name: str, quota: Quota, **given: Any) -> ClusterQueue:
    return ClusterQueue(name, "ml", {GPU: quota}, **given)


LENDING = {q.name: q for q in (queue("a", Quota(16, 4, 8)), queue("b", Quota(16)), queue("c", Quota(8, None, 0)))}


@pytest.mark.parametrize(
    ("used", "available"),
    [((0, 0, 0), (20, 24, 32)), ((10, 20, 3), (2, 2, 7)), ((4, 24, 0), (4, 0, 8))],
)
def test_what_is_left_by_hand(used: tuple[int, ...], available: tuple[int, ...]) -> None:
    """16 that lend 8 and borrow 4, 16 without limits, 8 that lend nothing."""
    usage = FlavorUsage(LENDING, {name: Counter({GPU: n}) for name, n in zip("abc", used, strict=True)})
    assert tuple(usage.available(name, GPU) for name in "abc") == available
    assert tuple(usage.potential(name, GPU) for name in "abc") == (20, 24, 32)


def admit(kueue: Kueue, *workloads: Workload) -> list[str]:
    for workload in workloads:
        kueue.submit(workload)
    return kueue.schedule()


def gpus(name: str, queue_name: str, n: int, priority: int = 0) -> Workload:
    return Workload(name, queue_name, {GPU: n}, priority)


@pytest.mark.parametrize(("first", "third", "victims"), [(4, 6, ["b1"]), (3, 7, ["b2", "b1"])])
def test_reclaim_takes_the_least_important_and_spares_who_need_not_go(
    first: int, third: int, victims: list[str]
) -> None:
    kueue = Kueue([queue("a", Quota(8), reclaim_within_cohort="Any"), queue("b", Quota(8))])
    for workload in (gpus("b1", "b", first), gpus("b2", "b", 2), gpus("b3", "b", third, 10)):
        assert admit(kueue, workload) == [workload.name]
    assert kueue.usage.borrowed("b", GPU) == 4
    assert admit(kueue, gpus("a8", "a", 8)) == ["a8"]
    evicted = [event.about for event in kueue.events if event.message.startswith("Preempted")]
    assert evicted == victims


def test_what_was_lent_is_not_given_back_without_reclaim() -> None:
    kueue = Kueue([queue("a", Quota(8)), queue("b", Quota(8))])
    assert admit(kueue, gpus("borrower", "b", 16)) == ["borrower"]
    assert admit(kueue, gpus("owner", "a", 8)) == []
    assert str(kueue.events[-1]) == (
        "t=0 s  Pending  owner: couldn't assign flavors to pod set main: "
        "insufficient unused quota for nvidia.com/gpu in flavor default-flavor, 8 more needed"
    )
    kueue.finish("borrower")
    assert kueue.schedule() == ["owner"]


def test_lower_priority_only() -> None:
    for priority, admitted in ((5, ["owner"]), (0, [])):
        kueue = Kueue([queue("a", Quota(8), reclaim_within_cohort="LowerPriority"), queue("b", Quota(8))])
        admit(kueue, gpus("borrower", "b", 16))
        assert admit(kueue, gpus("owner", "a", 8, priority)) == admitted


def test_a_request_beyond_every_quota() -> None:
    kueue = Kueue([queue("a", Quota(8, 4)), queue("b", Quota(8))])
    assert admit(kueue, gpus("huge", "a", 13)) == []
    said = "previously considered podsets requests (0) + current podset request (13) > maximum capacity (12)"
    assert kueue.events[-1].message.endswith(f"insufficient quota for nvidia.com/gpu in flavor default-flavor, {said}")
    assert admit(kueue, Workload("other", "a", {"cpu": 1})) == []
    assert kueue.events[-1].message.endswith("resource cpu unavailable in ClusterQueue")


def test_who_borrows_comes_last_even_with_a_higher_priority() -> None:
    kueue = Kueue([queue("a", Quota(4)), queue("b", Quota(4))])
    admit(kueue, gpus("borrows", "a", 8, 100), gpus("owns", "b", 1))
    assert list(kueue.admitted) == ["owns"]


@pytest.mark.parametrize(("strategy", "admitted"), [("StrictFIFO", []), ("BestEffortFIFO", ["small"])])
def test_the_head_of_a_queue(strategy: str, admitted: list[str]) -> None:
    kueue = Kueue([queue("a", Quota(4), queueing_strategy=strategy)])
    admit(kueue, gpus("runs", "a", 2))
    assert admit(kueue, gpus("head", "a", 4), gpus("small", "a", 1)) == admitted


@pytest.mark.parametrize(("policy", "admitted"), [("Any", ["small"]), ("Never", [])])
def test_a_head_that_waits_for_quota_keeps_it_from_others_unless_it_could_reclaim(
    policy: str, admitted: list[str]
) -> None:
    kueue = Kueue(
        [
            queue("a", Quota(8), queueing_strategy="StrictFIFO", reclaim_within_cohort=policy),
            queue("b", Quota(8)),
            queue("c", Quota(0)),
        ]
    )
    admit(kueue, gpus("six", "a", 6), gpus("full", "b", 8))
    assert admit(kueue, gpus("four", "a", 4), gpus("small", "c", 2)) == admitted


def test_what_a_head_keeps_is_at_most_its_own() -> None:
    """Of the 5 GPUs that are free 2 are still a's own, so b may borrow 3."""
    strict = queue("a", Quota(8), queueing_strategy="StrictFIFO", reclaim_within_cohort="LowerPriority")
    kueue = Kueue([strict, queue("b", Quota(8)), queue("c", Quota(8))])
    admit(kueue, gpus("mine", "a", 1), gpus("b1", "b", 8), gpus("c1", "c", 8), gpus("c2", "c", 2))
    assert kueue.usage.available("b", GPU) == 5
    assert admit(kueue, gpus("seven", "a", 7), gpus("b2", "b", 1)) == []
    kueue.finish("b1")
    assert kueue.schedule() == ["seven", "b2"]


def test_two_owners_do_not_evict_the_same_borrower() -> None:
    kueue = Kueue([queue(name, Quota(4), reclaim_within_cohort="Any") for name in "ab"] + [queue("c", Quota(0))])
    admit(kueue, gpus("c1", "c", 4), gpus("c2", "c", 4))
    assert admit(kueue, gpus("a1", "a", 4), gpus("b1", "b", 4)) == ["a1", "b1"]
    assert [str(event) for event in kueue.events if "overlapping" in event.message] == [
        "t=0 s  Pending  b1: Workload has overlapping preemption targets with another workload"
    ]


def test_who_evicts_gets_what_came_free_even_from_an_older_one_of_its_queue() -> None:
    """`huge` is older but too large; `mine` reclaims from b, and the evicted b1 does not slip back in before it."""
    kueue = Kueue([queue("a", Quota(4), reclaim_within_cohort="Any"), queue("b", Quota(4))])
    admit(kueue, gpus("b1", "b", 8))
    assert admit(kueue, gpus("huge", "a", 5, 9), gpus("mine", "a", 4)) == ["mine"]
    assert [event.about for event in kueue.events if event.message.startswith("Preempted")] == ["b1"]


def test_only_what_a_queue_covers_and_only_within_its_flavor() -> None:
    covers = [queue("a", Quota(0)), ClusterQueue("b", "ml", {GPU: Quota(8), "cpu": Quota(64)})]
    kueue = Kueue(covers)
    assert admit(kueue, Workload("both", "a", {GPU: 4, "cpu": 4})) == []
    assert kueue.events[-1].message.endswith("pod set main: resource cpu unavailable in ClusterQueue")
    assert admit(kueue, Workload("none", "a", {GPU: 4, "cpu": 0})) == ["none"]
    flavors = Kueue([queue("a", Quota(8), flavor="a100"), queue("b", Quota(8), flavor="h100")])
    assert admit(flavors, gpus("wide", "a", 12)) == []
    assert flavors.events[-1].message.endswith("> maximum capacity (8)")


def test_nobody_is_evicted_for_who_would_borrow() -> None:
    kueue = Kueue([queue("a", Quota(8), reclaim_within_cohort="Any"), queue("b", Quota(4)), queue("c", Quota(6))])
    admit(kueue, gpus("busy", "a", 6), gpus("borrower", "b", 10))
    assert kueue.usage.borrowed("b", GPU) == 6
    assert admit(kueue, gpus("more", "a", 4)) == []
    assert "borrower" in kueue.admitted


def test_what_is_reclaimed_is_taken_at_once() -> None:
    """In the cycle of the eviction c may not borrow what a is about to get."""
    kueue = Kueue([queue("a", Quota(8), reclaim_within_cohort="Any"), queue("b", Quota(2)), queue("c", Quota(0))])
    admit(kueue, gpus("borrower", "b", 6))
    admit(kueue, gpus("owner", "a", 8), gpus("small", "c", 3))
    assert sorted(kueue.admitted) == ["owner"]
    assert [e.about for e in kueue.events if e.message.startswith("Preempted")] == ["borrower"]


def test_what_waits_can_be_withdrawn() -> None:
    kueue = Kueue([queue("a", Quota(4))])
    admit(kueue, gpus("large", "a", 5))
    kueue.finish("large")
    assert kueue.pending("a") == []


def test_a_condition_that_stays_is_said_once() -> None:
    kueue = Kueue([queue("a", Quota(4), queueing_strategy="StrictFIFO")])
    admit(kueue, gpus("large", "a", 5))
    for _ in range(3):
        kueue.schedule()
    assert len(kueue.events) == 1


def test_what_changes_nothing() -> None:
    kueue = Kueue([queue("a", Quota(4))])
    admit(kueue, gpus("x", "a", 1))
    for wrong, message in (
        (gpus("x", "a", 1), 'workloads "x" already exists'),
        (gpus("y", "b", 1), 'clusterqueues "b" not found'),
    ):
        with pytest.raises(admission.Invalid, match=re.escape(message)):
            kueue.submit(wrong)
    with pytest.raises(admission.Invalid, match=re.escape("requests[nvidia.com/gpu]: Invalid value: -1: must be")):
        gpus("y", "a", -1)
    with pytest.raises(admission.Invalid, match='clusterqueues "a" already exists'):
        Kueue([queue("a", Quota(1)), queue("a", Quota(2))])
    with pytest.raises(admission.Invalid, match="nominal: Invalid value"):
        Quota(-1)
    with pytest.raises(admission.Invalid, match='workloads "y" not found'):
        kueue.finish("y")
    with pytest.raises(admission.Invalid, match='clusterqueues "b" not found'):
        kueue.pending("b")
    assert kueue.pending("a") == []
    assert kueue.usage.used["a"][GPU] == 1


# ------------------------------------------------------------------------------------------------ what never happens

QUOTAS = st.builds(Quota, st.integers(0, 8), st.sampled_from([None, 0, 4]), st.sampled_from([None, 0]))
POLICIES = st.fixed_dictionaries(
    {
        "queueing_strategy": st.sampled_from(["BestEffortFIFO", "StrictFIFO"]),
        "reclaim_within_cohort": st.sampled_from(["Any", "LowerPriority", "Never"]),
    }
)


class Cohort(RuleBasedStateMachine):
    @initialize(quotas=st.lists(st.tuples(QUOTAS, POLICIES), min_size=1, max_size=3))
    def build(self, quotas: list[tuple[Quota, dict[str, str]]]) -> None:
        self.kueue = Kueue([queue(f"q{i}", quota, **policies) for i, (quota, policies) in enumerate(quotas)])
        self.names = list(self.kueue.usage.queues)
        self.known: list[str] = []
        self.number = count()

    @rule(which=st.integers(0, 2), n=st.integers(0, 12), priority=st.integers(0, 2))
    def submit_and_schedule(self, which: int, n: int, priority: int) -> None:
        name = f"w{next(self.number)}"
        self.kueue.submit(gpus(name, self.names[which % len(self.names)], n, priority))
        self.known.append(name)
        admitted = self.kueue.schedule()
        assert set(admitted) <= set(self.kueue.admitted)

    @rule(which=st.integers(0, 50))
    def finish(self, which: int) -> None:
        if self.kueue.admitted:
            names = sorted(self.kueue.admitted)
            self.kueue.finish(names[which % len(names)])
            self.known.remove(names[which % len(names)])
            self.kueue.schedule()

    @invariant()
    def nothing_is_lent_twice(self) -> None:
        usage = self.kueue.usage
        total = sum(usage.used[name][GPU] for name in self.names)
        assert total <= sum(usage.queues[name].quotas[GPU].nominal for name in self.names)
        for name in self.names:
            quota = usage.queues[name].quotas[GPU]
            assert quota.borrowing_limit is None or usage.borrowed(name, GPU) <= quota.borrowing_limit
            mine = [e.workload.requests[GPU] for e in self.kueue.admitted.values() if e.workload.queue == name]
            assert usage.used[name][GPU] == sum(mine)

    @invariant()
    def nobody_is_lost(self) -> None:
        waiting = [workload.name for name in self.names for workload in self.kueue.pending(name)]
        assert sorted([*waiting, *self.kueue.admitted]) == sorted(self.known)

    @invariant()
    def nobody_waits_for_what_is_his_and_free(self) -> None:
        """A head that fits has been let in; so a second look finds nothing to do."""
        before = set(self.kueue.admitted)
        assert self.kueue.schedule() == []
        assert set(self.kueue.admitted) == before


TestCohort = Cohort.TestCase
TestCohort.settings = settings(max_examples=60, stateful_step_count=30)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_without_a_cohort_a_queue_has_its_own_and_no_more(nominal: int, used: int, asked: int) -> None:
    alone = ClusterQueue("alone", "", {GPU: Quota(nominal)})
    usage = FlavorUsage({"alone": alone, "b": queue("b", Quota(50))}, {"alone": Counter({GPU: min(used, nominal)})})
    assert usage.available("alone", GPU) == nominal - min(used, nominal)
    assert usage.fits(gpus("w", "alone", asked)) == (asked <= nominal - min(used, nominal))


# --------------------------------------------------------------------------------------------------------- manifests


def test_memory_is_written_in_its_largest_whole_unit() -> None:
    assert Quota(2**40, 3 * 2**30, 1000).manifest("memory") == {
        "name": "memory",
        "nominalQuota": "1Ti",
        "borrowingLimit": "3Gi",
        "lendingLimit": "1000",
    }


def test_manifests_that_kueue_accepts() -> None:
    written = [
        LENDING["a"].manifest(),
        ClusterQueue("alone", "", {"cpu": Quota(8), GPU: Quota(1)}).manifest(),
        LocalQueue("research", "ml", "a").manifest(),
        ResourceFlavor("a100", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}).manifest(),
    ]
    assert [validate(obj) for obj in written] == [[]] * len(written)
    assert written[0]["spec"]["resourceGroups"][0]["flavors"][0]["resources"] == [
        {"name": GPU, "nominalQuota": "16", "borrowingLimit": "4", "lendingLimit": "8"}
    ]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ClusterQueue("alone", "", {GPU: Quota(8, 4)}), "borrowingLimit: Invalid value: \"4\": must be nil when cohort is empty"),
        (lambda: queue("a", Quota(8, None, 9)), 'lendingLimit: Invalid value: "9": must be less than or equal to the nominalQuota'),
        (lambda: queue("a", Quota(-1)), 'nominal: Invalid value: -1: must be greater than or equal to 0'),
        (lambda: queue("a", Quota(1), reclaim_within_cohort="Always"), 'reclaimWithinCohort: Unsupported value: "Always": supported values: "Any", "LowerPriority", "Never"'),
        (lambda: queue("Team A", Quota(1)), "metadata.name"),
    ],
)  # fmt: skip
def test_queues_that_kueue_refuses(made: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        made()


def test_fields_that_older_versions_had() -> None:
    old = LENDING["a"].manifest()
    old["spec"]["cohort"] = old["spec"].pop("cohortName")
    assert 'spec.cohort: strict decoding error: unknown field "spec.cohort"' in [str(p) for p in validate(old)]
    mixed = LENDING["a"].manifest()
    mixed["spec"]["resourceGroups"][0]["coveredResources"] = ["cpu"]
    assert str(validate(mixed)[0]).endswith(
        'resources[0].name: Invalid value: "nvidia.com/gpu": must match the name in coveredResources'
    )
    assert str(validate({"kind": "Foo"})[0]) == 'kind: no matches for kind "Foo" in version "None"'


def test_in_a_queue_the_higher_priority_goes_first_then_the_older() -> None:
    kueue = Kueue([ClusterQueue("a", "", {GPU: Quota(1)})])
    for name, priority in (("old", 0), ("young", 0), ("urgent", 10)):
        kueue.submit(Workload(name, "a", {GPU: 1}, priority))
    assert [workload.name for workload in kueue.pending("a")] == ["urgent", "old", "young"]
    assert kueue.schedule() == ["urgent"]


def test_everybody_who_need_not_go_is_put_back() -> None:
    """The two small ones are asked first, being newer; once the large one goes, both may stay."""
    kueue = Kueue(
        [
            ClusterQueue("a", "ml", {GPU: Quota(8)}, reclaim_within_cohort="Any"),
            ClusterQueue("b", "ml", {GPU: Quota(8)}),
        ]
    )
    for name, gpus in (("large", 14), ("small-1", 1), ("small-2", 1)):
        assert admit(kueue, Workload(name, "b", {GPU: gpus})) == [name]
    assert admit(kueue, Workload("owner", "a", {GPU: 8})) == ["owner"]
    assert [event.about for event in kueue.events if event.message.startswith("Preempted")] == ["large"]


def both(name: str, gpus: int, cpu: int, **given: str) -> ClusterQueue:
    return ClusterQueue(name, "ml", {GPU: Quota(gpus), "cpu": Quota(cpu)}, **given)


def test_within_nominal_means_every_resource() -> None:
    usage = FlavorUsage({"a": both("a", 4, 4)})
    assert [usage.within_nominal("a", {GPU: n, "cpu": 1}) for n in (4, 5)] == [True, False]


def test_a_queue_that_borrows_one_of_what_is_short_can_be_reclaimed_from() -> None:
    """a is short of GPUs and of cpu; b borrows GPUs alone, for it is c that has a's cpu."""
    kueue = Kueue([both("a", 4, 4, reclaim_within_cohort="Any"), both("b", 4, 8), both("c", 0, 0)])
    assert admit(kueue, Workload("c1", "c", {"cpu": 4})) == ["c1"]
    assert admit(kueue, Workload("b1", "b", {GPU: 8, "cpu": 8})) == ["b1"]
    assert admit(kueue, Workload("a1", "a", {GPU: 4, "cpu": 4})) == ["a1"]
    assert set(kueue.admitted) == {"c1", "a1"}


def test_what_a_head_that_borrows_keeps_ends_at_its_borrowing_limit() -> None:
    """`quotaResourcesToReserve`: the request, or the nominal quota and the limit less what is used."""
    for asked, kept in ((9, 9), (20, 8 + 4 - 2)):
        usage = FlavorUsage({"a": ClusterQueue("a", "ml", {GPU: Quota(8, 4)})})
        usage.add(Workload("runs", "a", {GPU: 2}))
        usage.reserve(Workload("waits", "a", {GPU: asked}))
        assert usage.used["a"][GPU] == 2 + kept


def test_who_asks_for_more_of_one_resource_than_its_queue_owns_keeps_nothing_from_others() -> None:
    """`large` is short of GPUs, 6 where its queue owns 4, and of cpu, which it could own: it does not fit at all."""
    kueue = Kueue([both("a", 4, 4, queueing_strategy="StrictFIFO"), both("b", 4, 4), both("c", 4, 4)])
    assert admit(kueue, Workload("b0", "b", {GPU: 4, "cpu": 4})) == ["b0"]
    assert admit(kueue, Workload("c0", "c", {GPU: 4, "cpu": 5})) == ["c0"]
    large, small = Workload("large", "a", {GPU: 6, "cpu": 4}), Workload("small", "c", {GPU: 1, "cpu": 1})
    assert admit(kueue, large, small) == ["small"]


READ_BACK = [
    *LENDING.values(),
    ClusterQueue("alone", "", {"cpu": Quota(8), "memory": Quota(2**40)}, "a100", "StrictFIFO"),
    LocalQueue("research", "ml", "a"),
    ResourceFlavor("a100", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}),
]


@pytest.mark.parametrize("made", READ_BACK, ids=lambda made: str(made.name))
def test_what_kueue_stores_is_read_back(made: Any) -> None:
    assert type(made).of(made.manifest()) == made
    live = made.manifest() | {"status": {}}
    live["metadata"] = live["metadata"] | {"uid": "1", "generation": 1}
    assert type(made).of(live) == made


resource_names = st.sampled_from(["cpu", "memory", GPU, "nvidia.com/mig-1g.10gb"])
amounts = st.none() | st.integers(0, 2**50)
quotas = st.integers(0, 2**50).flatmap(
    lambda nominal: st.builds(Quota, st.just(nominal), amounts, st.none() | st.integers(0, nominal))
)


@given(
    st.dictionaries(resource_names, quotas, min_size=1),
    st.sampled_from(["a100", "spot"]),
    st.sampled_from(["BestEffortFIFO", "StrictFIFO"]),
    st.sampled_from(["Never", "LowerPriority", "Any"]),
)
def test_a_queue_is_read_as_it_is_written(owned: dict[str, Quota], flavor: str, strategy: str, reclaim: str) -> None:
    made = ClusterQueue("team", "ml", owned, flavor, strategy, reclaim)
    assert [each for each in validate(made.manifest()) if isinstance(each, admission.Problem)] == []
    assert ClusterQueue.of(made.manifest()) == made


@pytest.mark.parametrize(("name", "cluster_queue"), [("Research", "a"), ("research", "")])
def test_a_local_queue_that_kueue_would_not_store(name: str, cluster_queue: str) -> None:
    with pytest.raises(admission.Invalid):
        LocalQueue(name, "ml", cluster_queue)


def test_what_one_queue_cannot_hold() -> None:
    two = LENDING["b"].manifest()
    (group,) = two["spec"]["resourceGroups"]
    group["flavors"].append(group["flavors"][0] | {"name": "spot"})
    with pytest.raises(admission.Invalid, match=r"flavors\[1\]: Forbidden: only one flavor is read"):
        ClusterQueue.of(two)
    half = ClusterQueue("half", "", {"cpu": Quota(1)}).manifest()
    half["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]["nominalQuota"] = "500m"
    with pytest.raises(admission.Invalid, match="only whole amounts are read"):
        ClusterQueue.of(half)


def test_what_happens_to_a_workload() -> None:
    kueue = Kueue([queue("a", Quota(8), reclaim_within_cohort="Any"), queue("b", Quota(8))])
    kueue.submit(gpus("borrower", "b", 12))
    kueue.schedule(now_s=10)
    kueue.submit(gpus("owner", "a", 8))
    kueue.schedule(now_s=20)
    assert [(event.at_s, event.reason, event.about) for event in kueue.events[:6]] == [
        (10, "QuotaReserved", "borrower"),
        (10, "Admitted", "borrower"),
        (20, "Preempted", "borrower"),
        (20, "Pending", "owner"),
        (20, "QuotaReserved", "owner"),
        (20, "Admitted", "owner"),
    ]
    assert {(event.reason, event.about) for event in kueue.events[6:]} == {("Pending", "borrower")}


def test_a_name_that_comes_again_has_its_events_again() -> None:
    kueue = Kueue([ClusterQueue("a", "", {GPU: Quota(1)})])
    for _ in range(2):
        kueue.submit(Workload("w", "a", {GPU: 2}))
        kueue.schedule()
        kueue.finish("w")
    assert [event.reason for event in kueue.events] == ["Pending", "Pending"]


def test_what_is_no_workload_is_refused() -> None:
    with pytest.raises(admission.Invalid, match="must be a Workload"):
        Kueue(()).submit("train")  # type: ignore[arg-type]
