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

from mlinfra import manifest
from mlinfra.gpu.cluster import GPU
from mlinfra.gpu.kueue import Kueue
from mlinfra.gpu.quota import (
    ClusterQueue,
    Quota,
    Usage,
    Workload,
    local_queue,
    resource_flavor,
    validate,
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
    usage = Usage(LENDING, {name: Counter({GPU: n}) for name, n in zip("abc", used, strict=True)})
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
    evicted = [event.workload for event in kueue.events if event.message.startswith("Preempted")]
    assert evicted == victims


def test_what_was_lent_is_not_given_back_without_reclaim() -> None:
    kueue = Kueue([queue("a", Quota(8)), queue("b", Quota(8))])
    assert admit(kueue, gpus("borrower", "b", 16)) == ["borrower"]
    assert admit(kueue, gpus("owner", "a", 8)) == []
    assert str(kueue.events[-1]) == (
        "owner: couldn't assign flavors to pod set main: "
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


def test_what_changes_nothing() -> None:
    kueue = Kueue([queue("a", Quota(4))])
    admit(kueue, gpus("x", "a", 1))
    for wrong, message in (
        (gpus("x", "a", 1), 'workloads "x" already exists'),
        (gpus("y", "b", 1), "queue: ClusterQueue b not found"),
    ):
        with pytest.raises(manifest.Invalid, match=re.escape(message)):
            kueue.submit(wrong)
    with pytest.raises(manifest.Invalid, match=re.escape("requests[nvidia.com/gpu]: Invalid value: -1: must be")):
        gpus("y", "a", -1)
    with pytest.raises(manifest.Invalid, match='workloads "y" not found'):
        kueue.finish("y")
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
TestCohort.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_without_a_cohort_a_queue_has_its_own_and_no_more(nominal: int, used: int, asked: int) -> None:
    alone = ClusterQueue("alone", "", {GPU: Quota(nominal)})
    usage = Usage({"alone": alone, "b": queue("b", Quota(50))}, {"alone": Counter({GPU: min(used, nominal)})})
    assert usage.available("alone", GPU) == nominal - min(used, nominal)
    assert usage.fits(gpus("w", "alone", asked)) == (asked <= nominal - min(used, nominal))


# --------------------------------------------------------------------------------------------------------- manifests


def test_manifests_that_kueue_accepts() -> None:
    written = [
        LENDING["a"].manifest(),
        ClusterQueue("alone", "", {"cpu": Quota(8), GPU: Quota(1)}).manifest(),
        local_queue("research", "ml", "a"),
        resource_flavor("a100", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}),
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
        (lambda: queue("a", Quota(-1)), 'nominalQuota: Invalid value: "-1": must be greater than or equal to 0'),
        (lambda: queue("a", Quota(1), reclaim_within_cohort="Always"), 'reclaimWithinCohort: Unsupported value: "Always": supported values: "Any", "LowerPriority", "Never"'),
        (lambda: queue("Team A", Quota(1)), "metadata.name"),
    ],
)  # fmt: skip
def test_queues_that_kueue_refuses(made: Any, message: str) -> None:
    with pytest.raises(manifest.Invalid, match=re.escape(message)):
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
