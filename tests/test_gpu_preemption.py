"""Preemption against its definition, read out of upstream's words by other code, on random nodes."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra.admission import Invalid
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import Refusal, refusal
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import (
    MIN_CANDIDATES,
    NO_VICTIMS,
    DisruptionBudget,
    Victims,
    cost,
    dry_run,
    preempt,
    select_victims,
    violating,
)
from mlinfra.manifest import Manifest

CAPACITY = 10
SMALL = GPUNode("n", cpu=CAPACITY)


def pod(name: str, cpu: int, value: int, start_s: float = 0.0, app: str = "") -> BoundPod:
    labels = {"app": app} if app else {}
    return BoundPod(
        GPURequest(name, cpu=cpu, priority_class=PriorityClass(f"p{value}", value), labels=labels), "n", start_s
    )


def full_node(sizes: list[tuple[int, int, int, str]]) -> NodeInfo:
    """Pods that fit together: as many of the sizes as there is room for."""
    info = NodeInfo(SMALL)
    for i, (cpu, value, start_s, app) in enumerate(sizes):
        candidate = pod(f"v{i}", cpu, value, start_s, app)
        if refusal(candidate.request, info) is None:
            info.add(candidate)
    return info


PODS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 4), st.integers(0, 9), st.sampled_from(["", "a", "b"])), max_size=8
)
BUDGETS = st.lists(
    st.builds(DisruptionBudget, st.sampled_from([{"app": "a"}, {"app": "b"}, {}]), st.integers(0, 2)), max_size=3
)


@given(PODS, st.integers(1, CAPACITY), st.integers(0, 5), BUDGETS)
def test_victims_are_enough_lower_and_none_could_stay(
    sizes: list[tuple[int, int, int, str]], cpu: int, value: int, budgets: list[DisruptionBudget]
) -> None:
    info, incoming = full_node(sizes), pod("incoming", cpu, value).request
    before = dict(info.pods), dict(info.requested)
    outcome = select_victims(incoming, info, budgets)
    assert (dict(info.pods), dict(info.requested)) == before
    lower = [p for p in info.pods.values() if p.request.priority < value]
    kept_cpu = sum(p.request.requests["cpu"] for p in info.pods.values() if p not in lower)
    if isinstance(outcome, Refusal):
        assert outcome == NO_VICTIMS if not lower else kept_cpu + cpu * 1000 > CAPACITY * 1000
        return
    assert all(victim in lower for victim in outcome.pods)
    stays = [p for p in info.pods.values() if p not in outcome.pods]
    used = sum(p.request.requests["cpu"] for p in stays) + cpu * 1000
    assert used <= CAPACITY * 1000
    assert all(used + victim.request.requests["cpu"] > CAPACITY * 1000 for victim in outcome.pods)
    assert outcome.budget_violations <= len(outcome.pods)


@given(PODS, BUDGETS)
def test_a_budget_pays_for_the_first_it_covers(
    sizes: list[tuple[int, int, int, str]], budgets: list[DisruptionBudget]
) -> None:
    """Without a budget that covers it nobody is protected; with one, all but as many as it allows."""
    pods = [pod(f"v{i}", cpu, value, start_s, app) for i, (cpu, value, start_s, app) in enumerate(sizes)]
    expected = []
    for i, candidate in enumerate(pods):
        rank = {id(b): sum(b.covers(p) for p in pods[: i + 1]) for b in budgets}
        if any(b.covers(candidate) and rank[id(b)] > b.disruptions_allowed for b in budgets):
            expected.append(candidate)
    assert violating(pods, budgets) == expected


@given(st.lists(st.tuples(st.integers(0, 2), PODS.filter(bool)), min_size=2, max_size=5))
def test_no_other_candidate_is_better(rows: list[tuple[int, list[tuple[int, int, int, str]]]]) -> None:
    """Upstream's five criteria, asked one after the other of every pair."""
    found = []
    for n, (violations, sizes) in enumerate(rows):
        pods = sorted(
            (pod(f"v{i}", cpu, value, start_s) for i, (cpu, value, start_s, _) in enumerate(sizes)),
            key=lambda p: (-p.request.priority, p.start_s),
        )
        found.append(Victims(f"n{n}", tuple(pods), min(violations, len(pods))))
    for one, other in combinations(found, 2):
        assert (cost(one) < cost(other)) == better(one, other)


def better(one: Victims, other: Victims) -> bool:
    def top(victims: Victims) -> int:
        return max(p.request.priority for p in victims.pods)

    def total(victims: Victims) -> int:
        return sum(p.request.priority + 2**31 for p in victims.pods)

    def earliest_of_the_top(victims: Victims) -> float:
        return min(p.start_s for p in victims.pods if p.request.priority == top(victims))

    if one.budget_violations != other.budget_violations:
        return one.budget_violations < other.budget_violations
    if top(one) != top(other):
        return top(one) < top(other)
    if total(one) != total(other):
        return total(one) < total(other)
    if len(one.pods) != len(other.pods):
        return len(one.pods) < len(other.pods)
    return earliest_of_the_top(one) > earliest_of_the_top(other)


def victims_of(*pods: BoundPod, cpu: int = 5, budgets: tuple[DisruptionBudget, ...] = ()) -> list[str]:
    outcome = select_victims(pod("incoming", cpu, 9).request, NodeInfo(SMALL, pods), budgets)
    assert isinstance(outcome, Victims)
    return [victim.request.name for victim in outcome.pods]


def test_whom_a_budget_protects_comes_back_before_the_more_important() -> None:
    guarded, important = pod("guarded", 5, 0, app="a"), pod("important", 5, 1)
    assert victims_of(guarded, important) == ["guarded"]
    assert victims_of(guarded, important, budgets=(DisruptionBudget({"app": "a"}, 0),)) == ["important"]


def stored_budget(namespace: str, selector: dict[str, Any], status: dict[str, int]) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"minAvailable": 1, "selector": selector},
        "status": status,
    }


@pytest.mark.parametrize(
    ("labels", "namespace", "selector", "is_covered"),
    [
        ({"app": "web", "tier": "a"}, "ml", {"matchLabels": {"app": "web", "tier": "a"}}, True),
        ({"app": "web"}, "ml", {"matchLabels": {"app": "web", "tier": "a"}}, False),
        ({"app": "web"}, "other", {"matchLabels": {"app": "web"}}, False),
        ({"app": "web"}, "ml", {}, False),
        ({}, "ml", {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"a": "b"}, "ml", {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, True),
        ({"app": "web"}, "ml", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}, True),
        ({"app": "web"}, "ml", {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
    ],
)  # fmt: skip
def test_a_budget_covers_what_its_selector_says_in_its_namespace(
    labels: dict[str, str], namespace: str, selector: dict[str, Any], is_covered: bool
) -> None:
    status = {"disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3}
    budget = DisruptionBudget.of(stored_budget("ml", selector, status))
    assert budget.disruptions_allowed == 2
    running = BoundPod(GPURequest("web-1", labels=labels, namespace=namespace), "n", 0.0)
    assert budget.covers(running) == is_covered


@pytest.mark.parametrize(
    ("status", "allowed"), [({}, 0), ({"disruptionsAllowed": 0}, 0), ({"disruptionsAllowed": 3}, 3)]
)
def test_a_budget_allows_what_its_status_says(status: dict[str, int], allowed: int) -> None:
    counts = {"currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3}
    budget = stored_budget("default", {"matchLabels": {"app": "web"}}, counts | status if status else {})
    assert DisruptionBudget.of(budget).disruptions_allowed == allowed


def test_a_budget_allows_no_negative_number() -> None:
    with pytest.raises(Invalid, match="disruptions_allowed"):
        DisruptionBudget({"app": "web"}, -1)


def test_the_most_important_victim_stands_first_whoever_a_budget_protects() -> None:
    """`pickOneNodeForPreemption` reads the highest priority off the first."""
    guarded, important = pod("guarded", 5, 0, app="a"), pod("important", 5, 1)
    budgets = (DisruptionBudget({"app": "a"}, 0),)
    assert victims_of(guarded, important, cpu=10, budgets=budgets) == ["important", "guarded"]


def test_of_equals_who_started_earlier_stays() -> None:
    assert victims_of(pod("young", 5, 0, 9), pod("old", 5, 0, 1)) == ["young"]


def test_the_node_whose_oldest_important_victim_is_youngest() -> None:
    wide = Victims("wide", (pod("a", 1, 1, 1), pod("b", 1, 1, 9)))
    narrow = Victims("narrow", (pod("c", 1, 1, 2), pod("d", 1, 1, 3)))
    assert cost(narrow) < cost(wide)


def test_a_large_cluster_is_not_tried_to_the_end() -> None:
    infos = [NodeInfo(GPUNode(f"n{i}", cpu=1), (pod(f"v{i}", 1, 0),)) for i in range(MIN_CANDIDATES + 50)]
    assert len(dry_run(pod("incoming", 1, 1).request, infos)) == MIN_CANDIDATES


def test_who_protects_everybody_is_tried_further() -> None:
    """Candidates that break a budget do not end the search."""
    infos = [NodeInfo(GPUNode(f"n{i}", cpu=1), (pod(f"v{i}", 1, 0, app="a"),)) for i in range(MIN_CANDIDATES + 5)]
    infos.append(NodeInfo(GPUNode("last", cpu=1), (pod("v", 1, 0),)))
    refused = {info.node.name: Refusal(("Insufficient cpu",), True) for info in infos}
    victims, said = preempt(pod("incoming", 1, 1).request, infos, refused, [DisruptionBudget({"app": "a"}, 0)])
    assert victims is not None
    assert victims.node == "last"
    assert said == "preemption: found a potential placement for pod on node last, preempting 1 victims"


def test_of_a_large_cluster_a_tenth_is_tried() -> None:
    """`minCandidateNodesPercentage` 10: 150 of 1500 nodes, more than the 100 that are the least."""
    infos = [NodeInfo(GPUNode(f"n{i}", cpu=1)) for i in range(1500)]
    for i, info in enumerate(infos):
        info.add(pod(f"v{i}", 1, 0))
    assert len(dry_run(pod("incoming", 1, 1).request, infos)) == 150


@pytest.mark.parametrize(("protected", "looked_at"), [(99, 100), (100, 101), (101, 102)])
def test_the_search_goes_on_until_one_of_the_hundred_breaks_no_budget(protected: int, looked_at: int) -> None:
    """A hundred candidates are enough as soon as one of them, whichever, violates nothing."""
    infos = [NodeInfo(GPUNode(f"n{i}", cpu=1)) for i in range(150)]
    for i, info in enumerate(infos):
        info.add(pod(f"v{i}", 1, 0, app="kept" if i < protected else ""))
    found = dry_run(pod("incoming", 1, 1).request, infos, [DisruptionBudget({"app": "kept"}, 0)])
    assert len(found) == looked_at
