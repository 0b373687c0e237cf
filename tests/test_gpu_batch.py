"""The cycle at scale decides as the plain one: bindings, events with their reasons, ties, and where the search goes on."""

from __future__ import annotations

import random
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.gpu.affinity import PreferredSchedulingTerm, Requirement, Taint, Toleration
from mlinfra.gpu.batch import MOST_KINDS, BatchScheduler
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import DisruptionBudget
from mlinfra.gpu.profile import BEST_FIT, DEFAULT_PROFILE, Profile, packing
from mlinfra.gpu.scheduler import GPUScheduler

PROFILES = [DEFAULT_PROFILE, BEST_FIT, packing(), Profile("few", percentage_of_nodes_to_score=1)]
TAINTS = [(), (Taint("gpu", "yes"),), (Taint("soft", effect="PreferNoSchedule"),)]
CLASSES = [None, PriorityClass("low", -1), PriorityClass("high", 9), PriorityClass("calm", 5, "Never")]
ZONE_A = PreferredSchedulingTerm(30, (Requirement("zone", "In", ("a",)),))


def a_node(chance: Random, name: str) -> GPUNode:
    return GPUNode(
        name,
        chance.choice(["A100", "L4"]),
        chance.choice([0, 1, 4, 8]),
        chance.choice([24, 80]),
        cpu=chance.choice(["8", "32"]),
        memory="64Gi",
        labels={"zone": chance.choice("ab")},
        taints=chance.choice(TAINTS),
        unschedulable=chance.random() < 0.05,
    )


def a_request(chance: Random, name: str) -> GPURequest:
    return GPURequest(
        name,
        chance.choice([0, 1, 2, 4]),
        preferred_gpu_type=chance.choice(["", "", "L4"]),
        cpu=chance.choice([None, "1", "4"]),
        memory=chance.choice([None, "8Gi"]),
        tolerations=chance.choice([(), (Toleration("gpu", "Exists"),)]),
        priority_class=chance.choice(CLASSES),
        gang_size=chance.choice([1, 1, 1, 3]),
        labels={"app": chance.choice("xy")},
        preferred_terms=chance.choice([(), (ZONE_A,)]),
    )


def step(scheduler: GPUScheduler, chance: Random, number: int) -> object:
    """One thing happens to the cluster."""
    what = chance.choice(["submit", "submit", "submit", "schedule", "release", "add", "remove", "update"])
    if what == "submit":
        scheduler.submit(a_request(chance, f"pod-{number}"))
    elif what == "schedule":
        return scheduler.schedule(float(number))
    elif what == "release" and scheduler.running:
        scheduler.release(chance.choice(sorted(scheduler.running)))
    elif what == "add":
        name = f"n{chance.randrange(200)}"
        if name not in scheduler.nodes:
            scheduler.add_node(a_node(chance, name))
    elif what == "remove" and scheduler.nodes:
        scheduler.remove_node(chance.choice(sorted(scheduler.nodes)), float(number))
    elif what == "update" and scheduler.nodes:
        old = scheduler.nodes[chance.choice(sorted(scheduler.nodes))].node
        scheduler.update_node(GPUNode(old.name, old.gpu_type, 8, cpu="64", memory="1Ti"))
    return None


@pytest.mark.parametrize("nodes", [0, 7, 130])
@given(seed=st.integers(0, 10**6), profile=st.sampled_from(PROFILES), drawn=st.booleans())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_it_decides_as_the_plain_cycle(nodes: int, seed: int, profile: Profile, drawn: bool) -> None:
    chance = Random(seed)
    fleet = [a_node(chance, f"n{i}") for i in range(nodes)]
    budgets = [DisruptionBudget({"app": "x"}, 1)]
    both = [
        kind(fleet, profile, random.Random(seed) if drawn else None, budgets) for kind in (GPUScheduler, BatchScheduler)
    ]
    chances = [Random(seed + 1), Random(seed + 1)]
    for number in range(40):
        plain, batch = (step(scheduler, own, number) for scheduler, own in zip(both, chances, strict=True))
        assert plain == batch
    plain, batch = (scheduler.schedule(99.0) for scheduler in both)
    assert plain == batch
    assert both[0].events == both[1].events
    assert both[0].pending == both[1].pending
    assert both[0]._next_start_node_index == both[1]._next_start_node_index


def test_more_kinds_than_it_remembers() -> None:
    scheduler = BatchScheduler([GPUNode("n", cpu="10000", max_pods=10_000)])
    for i in range(MOST_KINDS + 3):
        scheduler.submit(GPURequest(f"p{i}", cpu=f"{i + 1}m"))
    assert len(scheduler.schedule()) == MOST_KINDS + 3


def test_who_may_fit() -> None:
    scheduler = BatchScheduler([GPUNode("n", "A100", 8)])
    scheduler.submit(GPURequest("all", 8))
    scheduler.schedule()
    assert not scheduler.may_fit(GPURequest("one", 1))
    assert scheduler.may_fit(GPURequest("one", 1, priority_class=PriorityClass("high", 9))), "by preemption"
    scheduler.release("all")
    assert scheduler.may_fit(GPURequest("one", 1))
    assert list(scheduler.feasible_nodes(GPURequest("one", 1))) == ["n"]


def test_with_hints_only_those_are_tried_again_that_may_fit() -> None:
    scheduler = GPUScheduler([GPUNode("n", "A100", 1)])
    for name in ("a", "b", "c"):
        scheduler.submit(GPURequest(name, 1))
    assert scheduler.schedule() == [("a", "n")]
    scheduler.release("a")
    assert scheduler.schedule(1.0, lambda request: request.name == "c") == [("c", "n")]
    assert [request.name for request in scheduler.pending] == ["b"]
