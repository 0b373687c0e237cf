"""PodGroups: one test for each rule, and tiny clusters where every placement and every set of victims is tried."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid, validate
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.gangs import ALL, SINGLE, WAITING, GroupPreemption, PodGroup, preempt, schedule_pod_group
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import DisruptionBudget
from mlinfra.gpu.scheduler import GPUScheduler

HIGH, MIDDLE, POLITE = PriorityClass("high", 10), PriorityClass("middle", 5), PriorityClass("polite", 10, "Never")


def group(name: str, size: int, gpus: int = 1, min_count: int = 0, **more: Any) -> PodGroup:
    pods = tuple(GPURequest(f"{name}-{i}", gpus) for i in range(size))
    return PodGroup(name, pods, min_count or size, **more)


def cluster(gpus: list[int], bound: dict[str, tuple[int, GPURequest]]) -> list[NodeInfo]:
    """Nodes with so many GPUs, and pods on them that started in this order."""
    infos = [NodeInfo(GPUNode(f"n{i}", "H100", n)) for i, n in enumerate(gpus)]
    for start_s, (node, pod) in enumerate(bound.values()):
        infos[node].add(BoundPod(pod, f"n{node}", start_s))
    return infos


def on(node: int, name: str, gpus: int = 1, **more: Any) -> tuple[str, tuple[int, GPURequest]]:
    return name, (node, GPURequest(name, gpus, **more))


def gone(found: GroupPreemption | str) -> list[str]:
    assert isinstance(found, GroupPreemption), found
    return [unit.name for unit in found.victims]


def test_a_gang_waits_until_enough_pods_are_there() -> None:
    assert schedule_pod_group(group("g", 2, min_count=3), cluster([8], {})) == WAITING


def test_fewer_than_min_count_give_everything_back_and_more_are_placed_where_there_is_room() -> None:
    nodes = cluster([2, 1], {})
    assert schedule_pod_group(group("g", 5), nodes) == "minCount (5) cannot be satisfied: 3 scheduled, 1 remaining"
    assert all(not info.pods for info in nodes), "the snapshot is as it was"
    placed = schedule_pod_group(group("g", 5, min_count=2), nodes)
    assert [pod.request.name for pod in placed if isinstance(pod, BoundPod)] == ["g-0", "g-1", "g-2"]


def test_each_pod_of_a_gang_goes_to_the_node_with_the_most_points() -> None:
    """One by one, and each counts for the next: the default profile spreads cpu, so the smaller node comes last."""
    nodes = [NodeInfo(GPUNode("small", cpu=8)), NodeInfo(GPUNode("large", cpu=32))]
    pods = tuple(GPURequest(f"g-{i}", cpu=4) for i in range(3))
    placed = schedule_pod_group(PodGroup("g", pods, 3), nodes)
    assert [pod.node for pod in placed if isinstance(pod, BoundPod)] == ["large", "large", "large"]


def test_never_means_never_and_nobody_less_important_means_nobody() -> None:
    nodes = cluster([1], dict((on(0, "low"),)))
    assert preempt(group("g", 1, priority_class=POLITE), nodes) == (
        "preemption: not eligible due to preemptionPolicy=Never."
    )
    assert preempt(group("g", 1), nodes) == "preemption: no preemption victims found for incoming pod group"


@pytest.mark.parametrize(("mode", "victims", "evicted"), [(SINGLE, ["low-1"], 1), (ALL, ["low"], 2)])
def test_pods_of_a_group_go_one_by_one_or_all_together(mode: str, victims: list[str], evicted: int) -> None:
    low = group("low", 2, disruption_mode=mode)
    nodes = cluster([2], {pod.name: (0, pod) for pod in low.pods})
    found = preempt(group("g", 1, priority_class=HIGH), nodes, [low])
    assert gone(found) == victims
    assert isinstance(found, GroupPreemption)
    assert len(found.evicted) == evicted


def test_the_priority_of_the_group_counts_and_not_that_of_its_pods() -> None:
    pod = GPURequest("p", 1, priority_class=PriorityClass("pod", 0))
    important = PodGroup("i", (pod,), 1, HIGH)
    nodes = cluster([1], {"p": (0, pod)})
    assert isinstance(preempt(group("g", 1, priority_class=MIDDLE), nodes, [important]), str)
    assert gone(preempt(group("g", 1, priority_class=MIDDLE), nodes)) == ["p"], "as a pod of no group it goes"


def test_who_breaks_a_budget_is_given_back_first_then_the_most_important() -> None:
    bound = dict([on(0, "early"), on(0, "covered", labels={"app": "x"}), on(0, "late")])
    wants_two, one = group("g", 2, priority_class=HIGH), group("g", 1, priority_class=HIGH)
    assert gone(preempt(one, cluster([3], bound))) == ["late"], "the earlier start is more important"
    assert gone(preempt(wants_two, cluster([3], bound))) == ["covered", "late"]
    budgets = (DisruptionBudget({"app": "x"}, 0),)
    found = preempt(wants_two, cluster([3], bound), budgets=budgets)
    assert gone(found) == ["early", "late"]
    assert isinstance(found, GroupPreemption)
    assert found.budget_violations == 0
    everybody = preempt(group("g", 3, priority_class=HIGH), cluster([3], bound), budgets=budgets)
    assert isinstance(everybody, GroupPreemption)
    assert everybody.budget_violations == 1
    assert gone(everybody) == ["early", "covered", "late"], "the most important first, whoever a budget protects"


def test_a_group_is_more_important_than_a_pod_and_a_larger_one_than_a_smaller() -> None:
    two, three = group("two", 2, disruption_mode=ALL), group("three", 3, disruption_mode=ALL)
    bound = {p.name: (0, p) for p in (GPURequest("alone", 1), *two.pods, *three.pods)}
    assert gone(preempt(group("g", 1, priority_class=HIGH), cluster([6], bound), [two, three])) == ["alone"]
    assert gone(preempt(group("g", 3, priority_class=HIGH), cluster([6], bound), [two, three])) == ["two", "alone"]


def test_even_a_group_of_one_is_more_important_than_a_pod_that_started_earlier() -> None:
    one = group("one", 1, disruption_mode=ALL)
    bound = dict([on(0, "alone"), ("one-0", (0, one.pods[0]))])
    assert gone(preempt(group("g", 1, priority_class=HIGH), cluster([2], bound), [one])) == ["alone"]


def test_a_group_is_as_old_as_its_oldest_pod() -> None:
    old, middle = group("old", 2, disruption_mode=ALL), group("middle", 2, disruption_mode=ALL)
    starts = (old.pods[0], *middle.pods, old.pods[1])
    nodes = cluster([4], {pod.name: (0, pod) for pod in starts})
    assert gone(preempt(group("g", 2, priority_class=HIGH), nodes, [old, middle])) == ["middle"]


def test_a_group_that_cannot_return_as_a_whole_leaves_its_room_to_others() -> None:
    low, alone = group("low", 2, disruption_mode=ALL), GPURequest("alone", 1)
    nodes = cluster([1, 2], {"a": (1, low.pods[0]), "b": (0, low.pods[1]), "c": (1, alone)})
    assert gone(preempt(group("g", 2, priority_class=HIGH), nodes, [low])) == ["low"]


def test_two_gangs_do_not_hold_halves_against_each_other() -> None:
    nodes = cluster([2, 2], {})
    first = schedule_pod_group(group("a", 3), nodes)
    assert isinstance(first, tuple)
    for pod in first:
        nodes[int(pod.node[1:])].add(pod)
    assert isinstance(schedule_pod_group(group("b", 3), nodes), str)
    assert sum(len(info.pods) for info in nodes) == 3


def test_the_scheduler_evicts_for_a_gang_only_where_that_is_switched_on() -> None:
    for switched_on in (False, True):
        scheduler = GPUScheduler([GPUNode("n0", "H100", 2), GPUNode("n1", "H100", 2)], gang_preemption=switched_on)
        for request in (GPURequest("single", 1), GPURequest("low", 1, gang_size=2)):
            scheduler.submit(request)
        scheduler.schedule()
        scheduler.submit(GPURequest("polite", 2, gang_size=2, priority_class=POLITE))
        assert scheduler.schedule() == []
        scheduler.submit(GPURequest("high", 1, gang_size=3, priority_class=HIGH))
        bound = scheduler.schedule(1.0)
        assert len(bound) == (4 if switched_on else 0), "the gang, and the single pod again"
        # the pod's node went to the gang, whose placements are kept: it leaves, and finds another node
        evicted = [event.about for event in scheduler.events if event.reason == "Preempted"]
        assert evicted == (["single", "low-0", "low-1"] if switched_on else [])
        assert all(info.free_gpus >= 0 for info in scheduler.nodes.values())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: group("g", 2, min_count=-1),
        lambda: group("g", 2, disruption_mode="Pod"),
        lambda: PodGroup("g", (GPURequest("p"), GPURequest("p")), 1),
        lambda: PodGroup("g", (GPURequest("p", gang_size=2),), 1),
    ],
)
def test_what_is_refused(wrong: Any) -> None:
    with pytest.raises(Invalid, match=r"must|Unsupported|Duplicate"):
        wrong()


# ------------------------------------------------------------------------------------------- against every choice

PODS = st.tuples(st.integers(0, 2), st.integers(1, 2), st.sampled_from([0, 5, 20]), st.sampled_from("abc-"))
CLASSES = {0: None, 5: MIDDLE, 20: PriorityClass("highest", 20)}


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
    st.lists(PODS, max_size=6),
    st.tuples(st.sampled_from([SINGLE, ALL]), st.sampled_from([SINGLE, ALL]), st.sampled_from([SINGLE, ALL])),
    st.integers(1, 4),
    st.integers(1, 2),
)
def test_equal_pods_find_a_place_where_there_is_one_and_nobody_leaves_for_nothing(
    gpus: list[int], drawn: list[Any], modes: tuple[str, ...], size: int, gpus_of_a_pod: int
) -> None:
    free, bound, members = list(gpus), {}, {name: [] for name in "abc"}  # type: ignore[var-annotated]
    priorities = {name: next((p for _, _, p, n in drawn if n == name), 0) for name in "abc"}
    for i, (node, n, priority, of) in enumerate(drawn):
        at = node % len(gpus)
        if free[at] >= n:
            pod = GPURequest(f"p{i}", n, priority_class=CLASSES[priority])
            bound[pod.name], free[at] = (at, pod), free[at] - n
            if of != "-":
                members[of].append(pod)
    running = [
        PodGroup(name, tuple(members[name]), 1, CLASSES[priorities[name]], mode)
        for name, mode in zip("abc", modes, strict=True)
        if members[name]
    ]
    gang = group("g", size, gpus_of_a_pod, priority_class=HIGH)
    fits = sum(n // gpus_of_a_pod for n in free) >= size
    assert isinstance(schedule_pod_group(gang, cluster(gpus, bound)), tuple) == fits

    of_group = {pod.name: each for each in running for pod in each.pods}
    priority = {name: of_group[name].priority if name in of_group else pod.priority for name, (_, pod) in bound.items()}
    lower = [name for name in bound if priority[name] < HIGH.value]
    emptied = list(free)
    for name in lower:
        emptied[bound[name][0]] += bound[name][1].gpu_count
    found = preempt(gang, cluster(gpus, bound), running)
    possible = bool(lower) and sum(n // gpus_of_a_pod for n in emptied) >= size
    assert isinstance(found, GroupPreemption) == possible
    if not isinstance(found, GroupPreemption):
        return
    evicted = {pod.request.name for pod in found.evicted}
    assert evicted <= set(lower)
    for each in running:
        names = {pod.name for pod in each.pods}
        assert each.disruption_mode == SINGLE or not evicted & names or names <= evicted

    def room(kept: set[str]) -> bool:
        left = list(emptied)
        for placement in found.placements:
            left[int(placement.node[1:])] -= gpus_of_a_pod
        for name in kept:
            left[bound[name][0]] -= bound[name][1].gpu_count
        return min(left) >= 0

    # every set of units that could stay; of those with room the first that keeps the most important ones
    units: dict[str, list[str]] = {}
    for name in lower:
        together = name in of_group and of_group[name].disruption_mode == ALL
        units.setdefault(f"group {of_group[name].name}" if together else name, []).append(name)
    order = sorted(
        units.values(),
        key=lambda names: (
            -priority[names[0]],
            not (names[0] in of_group and of_group[names[0]].disruption_mode == ALL),
            -len(names),
            min(list(bound).index(name) for name in names),
        ),
    )
    for keep in product((True, False), repeat=len(order)):
        kept = {name for names, stays in zip(order, keep, strict=True) if stays for name in names}
        if room(kept):
            assert set(lower) - kept == evicted
            return
    raise AssertionError("no set of victims makes room")


def test_the_objects_of_a_gang_are_accepted_and_say_what_the_group_says() -> None:
    whole = group("alpha", 8, priority_class=HIGH, disruption_mode=ALL)
    fields = {
        "schedulingPolicy": {"gang": {"minCount": 8}},
        "disruptionMode": {"all": {}},
        "priorityClassName": "high",
    }
    assert whole.manifest()["spec"] == {"workloadRef": {"workloadName": "alpha", "templateName": "workers"}} | fields
    member = whole.member(whole.pods[0].manifest())
    assert member["spec"]["schedulingGroup"] == {"podGroupName": "alpha"}
    (template,) = whole.workload()["spec"]["podGroupTemplates"]
    assert template == {"name": "workers"} | fields
    assert [validate(each) for each in (whole.manifest(), whole.workload(), member)] == [[], [], []]
