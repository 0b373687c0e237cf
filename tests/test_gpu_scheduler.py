"""The scheduler: the source notebook's example, upstream's messages, gangs, eviction, and what never happens."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlinfra import admission
from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.cluster import NodeInfo, nonzero
from mlinfra.gpu.filters import Refusal, num_feasible_nodes_to_find, refusal
from mlinfra.gpu.nodes import GPU, GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import DisruptionBudget
from mlinfra.gpu.profile import BEST_FIT, DEFAULT_PROFILE, Profile, packing
from mlinfra.gpu.scheduler import GPUScheduler

A100, V100 = "NVIDIA-A100-SXM4-80GB", "Tesla-V100-SXM2-32GB"
NODES = [GPUNode("node-1", A100, 8, 80), GPUNode("node-2", A100, 8, 80), GPUNode("node-3", V100, 4, 32)]


@pytest.mark.parametrize("misuse", ["submit", "explain", "add_node"])
@pytest.mark.parametrize("argument", ["job", {"kind": "Pod", "metadata": {"name": "job"}}])
def test_what_is_no_noun_of_ours_is_refused_with_the_name_of_what_would_be_right(misuse: str, argument: Any) -> None:
    with pytest.raises(admission.Invalid, match=r"must be a GPU(Request|Node); GPU(Request|Node).of reads a manifest"):
        getattr(GPUScheduler(), misuse)(argument)


def priority(value: int, policy: str = "PreemptLowerPriority") -> PriorityClass:
    return PriorityClass(f"p{value}", value, policy)


EXAMPLE = [
    GPURequest("llm-training", 4, 80, A100, priority_class=priority(10)),
    GPURequest("inference-1", 1, 16, priority_class=priority(5)),
    GPURequest("inference-2", 1, 16, priority_class=priority(5)),
    GPURequest("batch-job", 2, 32, V100, priority_class=priority(1)),
]
ON_ONE_NODE = [
    ("llm-training", "node-1"),
    ("inference-1", "node-1"),
    ("inference-2", "node-1"),
    ("batch-job", "node-3"),
]


def scheduled(*requests: GPURequest, nodes: list[GPUNode] = NODES, **given: Any) -> GPUScheduler:
    cluster = GPUScheduler(nodes, **given)
    for request in requests:
        cluster.submit(request)
    cluster.schedule()
    return cluster


def test_a_hint_holds_back_what_failed_and_not_the_same_name_once_it_was_placed() -> None:
    """Upstream's queueing hints are asked for pods in the queue of unschedulable ones alone."""
    first, second = GPURequest("first", 8), GPURequest("second", 8)
    cluster = scheduled(first, second, nodes=NODES[:1])
    cluster.release("first")
    assert cluster.schedule(retry=lambda request: False) == []
    assert cluster.schedule(retry=lambda request: True) == [("second", "node-1")]
    cluster.release("second")
    cluster.submit(second)
    assert cluster.schedule(retry=lambda request: False) == [("second", "node-1")]


def placements(cluster: GPUScheduler) -> list[tuple[str, str]]:
    return [(pod.request.name, pod.node) for running in cluster.running.values() for pod in running.pods]


@pytest.mark.parametrize("profile", [BEST_FIT, packing()], ids=lambda profile: str(profile.scheduler_name))
def test_the_source_notebooks_example(profile: Profile) -> None:
    assert placements(scheduled(*EXAMPLE, profile=profile)) == ON_ONE_NODE


def test_the_default_scheduler_spreads_the_example_once_cpu_is_requested() -> None:
    sized = [
        GPURequest(
            r.name,
            r.gpu_count,
            r.gpu_memory_gib,
            r.preferred_gpu_type,
            cpu=8 * r.gpu_count,
            memory="32Gi",
            priority_class=r.priority_class,
        )
        for r in EXAMPLE
    ]
    node_of = dict(placements(scheduled(*sized, profile=DEFAULT_PROFILE)))
    assert len({node_of["llm-training"], node_of["inference-1"], node_of["inference-2"]}) == 3


def test_a_seed_draws_the_ties() -> None:
    seen = {tuple(placements(scheduled(*EXAMPLE, ties=random.Random(seed)))) for seed in range(20)}
    assert len(seen) > 5
    assert placements(scheduled(*EXAMPLE)) == placements(scheduled(*EXAMPLE))


def test_the_status_has_the_source_notebooks_names() -> None:
    status = scheduled(*EXAMPLE, profile=BEST_FIT).status()
    assert status.pop("nodes")[0] == {"name": "node-1", "gpu_type": A100, "available": "2/8"}
    assert status == {"total_gpus": 20, "available_gpus": 12, "utilization": 0.4, "pending_jobs": 0, "running_jobs": 4}
    assert GPUScheduler().status()["utilization"] == 0.0


# -------------------------------------------------------------------------------------------------------- messages

TAINTED = GPUNode("t", A100, 8, 80, taints=(Taint("nvidia.com/gpu", "present"),))
NOT_HELPFUL = "preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("nodes", "request_", "message"),
    [
        (
            NODES,
            GPURequest("nine", 9),
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. " + NOT_HELPFUL.format(3),
        ),
        (
            NODES,
            GPURequest("h100", 1, required_gpu_type="H100"),
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. " + NOT_HELPFUL.format(3),
        ),
        (
            [TAINTED],
            GPURequest("shy", 1),
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). " + NOT_HELPFUL.format(1),
        ),
        (
            [TAINTED, *NODES],
            GPURequest("mixed", 9, cpu=97),
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu, 3 Insufficient nvidia.com/gpu. "
            + NOT_HELPFUL.format(4),
        ),
        (
            [GPUNode("full", max_pods=0)],
            GPURequest("p"),
            "0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            [],
            GPURequest("lonely"),
            "no nodes available to schedule pods",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_why_a_pod_is_pending(nodes: list[GPUNode], request_: GPURequest, message: str) -> None:
    cluster = scheduled(request_, nodes=nodes)
    assert [event.message for event in cluster.events] == [message]
    assert cluster.pending == (request_,)


def test_only_the_first_reason_of_a_node_counts() -> None:
    shy = GPUNode("shy", A100, 8, 80, cpu=1, taints=(Taint("k"),))
    wants = GPURequest("p", 9, required_gpu_type=V100, cpu=2)
    tolerant = GPURequest("p", 9, required_gpu_type=V100, cpu=2, tolerations=(Toleration("k", "Exists"),))
    asked = [GPUScheduler([shy]).explain(request).refused["shy"].reasons for request in (wants, tolerant)]
    assert asked == [("node(s) had untolerated taint(s)",), ("node(s) didn't match Pod's node affinity/selector",)]


def test_counts_are_sorted_as_text() -> None:
    nodes = [GPUNode(f"small-{i}", cpu=1) for i in range(10)] + [
        GPUNode(f"tainted-{i}", taints=(Taint("k"),)) for i in range(2)
    ]
    (event,) = scheduled(GPURequest("p", cpu=2), nodes=nodes).events
    assert event.message.startswith(
        "0/12 nodes are available: 10 Insufficient cpu, 2 node(s) had untolerated taint(s)."
    )


def test_a_toleration_opens_the_node_and_a_soft_taint_only_costs_points() -> None:
    shy = GPURequest("shy", 1, tolerations=(Toleration("nvidia.com/gpu", value="present"),))
    assert placements(scheduled(shy, nodes=[TAINTED])) == [("shy", "t")]
    soft = [GPUNode("soft", taints=(Taint("k", effect="PreferNoSchedule"),)), GPUNode("clean")]
    cluster = GPUScheduler(soft)
    explained = cluster.explain(GPURequest("p"))
    assert [explained.points[node]["TaintToleration"] for node in ("soft", "clean")] == [0, 300]
    cluster.submit(GPURequest("p"))
    assert cluster.schedule() == [("p", "clean")]


def test_explain_tells_of_every_node_and_changes_nothing() -> None:
    cluster = scheduled(*EXAMPLE, profile=packing())
    before = placements(cluster), len(cluster.events), cluster.pending
    text = str(cluster.explain(GPURequest("next", 1, 80, A100)))
    assert re.search(r"^node-1 +\d+ +NodeResourcesFit \d+, NodeAffinity 200, TaintToleration 300$", text, re.M)
    assert re.search(r"^node-3 +no  node\(s\) didn't match Pod's node affinity/selector$", text, re.M)
    assert (placements(cluster), len(cluster.events), cluster.pending) == before


# ------------------------------------------------------------------------------------------------------------ queue


def test_the_queue_is_by_priority_then_by_arrival() -> None:
    cluster = GPUScheduler(NODES)
    for name, value in (("a", 0), ("b", 5), ("c", 5), ("d", 9), ("e", 0)):
        cluster.submit(GPURequest(name, 1, priority_class=priority(value)))
    assert [request.name for request in cluster.pending] == ["d", "b", "c", "a", "e"]


def test_who_does_not_fit_holds_up_nobody() -> None:
    cluster = scheduled(GPURequest("big", 9, priority_class=priority(9)), GPURequest("small", 1))
    assert [name for name, _ in placements(cluster)] == ["small"]
    assert [request.name for request in cluster.pending] == ["big"]


@pytest.mark.parametrize(
    "again",
    [GPURequest("a"), GPURequest("gang-1"), GPURequest("gang", gang_size=2)],
    ids=lambda request: str(request.name),
)
def test_a_name_is_taken_while_it_waits_or_runs(again: GPURequest) -> None:
    cluster = scheduled(GPURequest("a", 1), GPURequest("gang", 1, gang_size=3))
    with pytest.raises(admission.Invalid, match=r'pods "\S+" already exists'):
        cluster.submit(again)
    assert cluster.pending == ()
    with pytest.raises(admission.Invalid, match='nodes "node-1" already exists'):
        cluster.add_node(NODES[0])
    cluster.release("a")
    cluster.submit(GPURequest("a", 1))


def test_a_release_gives_back_what_was_taken_and_no_more() -> None:
    cluster = scheduled(GPURequest("four", 4, cpu=8, memory="1Gi"))
    cluster.release("four")
    assert cluster.status()["available_gpus"] == 20
    for name in ("four", "never"):
        with pytest.raises(admission.Invalid, match=f'pods "{name}" not found'):
            cluster.release(name)
    assert cluster.status()["available_gpus"] == 20


def test_what_waits_can_be_withdrawn() -> None:
    cluster = scheduled(GPURequest("nine", 9), GPURequest("ten", 10))
    cluster.release("nine")
    assert [request.name for request in cluster.pending] == ["ten"]
    cluster.submit(GPURequest("nine", 1))


# ------------------------------------------------------------------------------------------------------------ gangs


def test_two_jobs_that_wait_for_each_other_and_the_gangs_that_do_not() -> None:
    nodes = [GPUNode(f"n{i}", A100, 4, 80) for i in range(3)]
    one_by_one = [GPURequest(f"{job}-{i}", 1) for i in range(8) for job in "ab"]
    stuck = scheduled(*one_by_one, nodes=nodes)
    assert Counter(name[0] for name, _ in placements(stuck)) == {"a": 6, "b": 6}
    gangs = scheduled(GPURequest("a", 1, gang_size=8), GPURequest("b", 1, gang_size=8), nodes=nodes)
    assert Counter(name[0] for name, _ in placements(gangs)) == {"a": 8}
    assert gangs.events[-1].message == "minCount (8) cannot be satisfied: 4 scheduled, 3 remaining"
    gangs.release("a")
    assert len(gangs.schedule()) == 8


# ---------------------------------------------------------------------------------------------------------- eviction


def test_an_eviction_step_by_step() -> None:
    cluster = scheduled(GPURequest("train", 8), GPURequest("notebook", 2, priority_class=priority(-5)), nodes=NODES[:2])
    cluster.submit(GPURequest("urgent", 8, priority_class=priority(100)))
    assert cluster.schedule(now_s=60) == [("urgent", "node-2")]
    said = [str(event) for event in cluster.events if event.at_s]
    assert said == [
        "t=60 s  FailedScheduling  urgent: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: found a potential placement for pod on node node-2, preempting 1 victims",
        "t=60 s  Preempted  notebook: Preempted by pod urgent on node node-2",
        "t=60 s  Scheduled  urgent: Successfully assigned default/urgent to node-2",
        "t=60 s  FailedScheduling  notebook: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.",
    ]


def test_never_preempts_and_equal_priority_is_safe() -> None:
    full = GPURequest("full", 8)
    patient = scheduled(full, GPURequest("p", 8, priority_class=priority(5, "Never")), nodes=NODES[:1])
    assert [name for name, _ in placements(patient)] == ["p"]  # it queued ahead, and evicts nobody later
    patient.submit(GPURequest("q", 8, priority_class=priority(9, "Never")))
    patient.schedule()
    assert patient.events[-2].message.endswith("preemption: not eligible due to preemptionPolicy=Never.")
    equal = scheduled(full, GPURequest("same", 8), nodes=NODES[:1])
    assert [name for name, _ in placements(equal)] == ["full"]


def test_the_whole_gang_goes_when_one_of_it_does() -> None:
    cluster = scheduled(GPURequest("gang", 8, gang_size=2), nodes=NODES[:2])
    cluster.submit(GPURequest("urgent", 4, priority_class=priority(100)))
    assert cluster.schedule() == [("urgent", "node-1")]
    assert cluster.status()["available_gpus"] == 12
    assert [request.name for request in cluster.pending] == ["gang"]


def test_a_gang_evicts_nobody() -> None:
    cluster = scheduled(GPURequest("low", 8), nodes=NODES[:1])
    cluster.submit(GPURequest("gang", 4, gang_size=2, priority_class=priority(100)))
    assert cluster.schedule() == []
    assert list(cluster.running) == ["low"]


def test_a_budget_moves_the_eviction_elsewhere() -> None:
    guarded = [GPURequest("guarded", 8, labels={"app": "bert"}), GPURequest("other", 8)]
    budget = DisruptionBudget({"app": "bert"}, 0)
    for budgets, victim in (((), "guarded"), ((budget,), "other")):
        cluster = scheduled(*guarded, nodes=NODES[:2], budgets=budgets)
        cluster.submit(GPURequest("urgent", 8, priority_class=priority(1)))
        cluster.schedule()
        assert [event.about for event in cluster.events if event.reason == "Preempted"] == [victim]


# ------------------------------------------------------------------------------------------------------------ scale


def test_a_large_cluster_is_not_searched_to_the_end() -> None:
    """All three prefer an A100; only the third look, in a circle, comes to the node that has some."""
    nodes = [*(GPUNode(f"n{i:03}") for i in range(299)), GPUNode("best", A100, 8, 80)]
    assert num_feasible_nodes_to_find(300) == 144
    cluster = GPUScheduler(nodes)
    for name, node in (("first", "n000"), ("second", "n144"), ("third", "best")):
        cluster.submit(GPURequest(name, preferred_gpu_type=A100))
        assert cluster.schedule() == [(name, node)]


# ------------------------------------------------------------------------------------------------ what never happens

NAMES = [f"r{i}" for i in range(12)]
REQUESTS = st.builds(
    GPURequest,
    st.sampled_from(NAMES),
    st.integers(0, 5),
    gpu_memory_gib=st.sampled_from([0, 16, 40, 80]),
    cpu=st.sampled_from([None, 0, "500m", 30]),
    memory=st.sampled_from([None, "1Gi", "300Gi"]),
    priority_class=st.sampled_from([priority(0), priority(5), priority(9, "Never"), priority(10)]),
    gang_size=st.sampled_from([1, 1, 1, 2, 4]),
    preferred_gpu_type=st.sampled_from(["", A100, V100]),
)


class Cluster(RuleBasedStateMachine):
    @initialize(profile=st.sampled_from([DEFAULT_PROFILE, packing(), BEST_FIT]), seed=st.sampled_from([None, 1]))
    def build(self, profile: Profile, seed: int | None) -> None:
        self.cluster = GPUScheduler(NODES, profile, random.Random(seed) if seed else None)
        self.known: dict[str, GPURequest] = {}

    @rule(request=REQUESTS)
    def submit(self, request: GPURequest) -> None:
        if request.name in self.known:
            with pytest.raises(admission.Invalid):
                self.cluster.submit(request)
        else:
            self.cluster.submit(request)
            self.known[request.name] = request

    @rule(now_s=st.integers(0, 100))
    def schedule(self, now_s: int) -> None:
        before = {name: info.free_gpus for name, info in self.cluster.nodes.items()}
        bound = self.cluster.schedule(now_s)
        assert set(bound) <= set(placements(self.cluster))
        assert bound or before == {name: info.free_gpus for name, info in self.cluster.nodes.items()}

    @rule(name=st.sampled_from(NAMES))
    def release(self, name: str) -> None:
        if name in self.known:
            self.cluster.release(name)
            del self.known[name]
        else:
            with pytest.raises(admission.Invalid):
                self.cluster.release(name)

    @invariant()
    def nobody_is_lost_and_a_gang_is_all_or_nothing(self) -> None:
        waiting = {request.name for request in self.cluster.pending}
        assert waiting.isdisjoint(self.cluster.running)
        assert waiting | set(self.cluster.running) == set(self.known)
        for request, pods in self.cluster.running.values():
            assert [pod.request.name for pod in pods] == [pod.name for pod in request.pods()]
            assert all(pod.request.name in self.cluster.nodes[pod.node].pods for pod in pods)

    @invariant()
    def the_books_are_right_and_nothing_is_over_allocated(self) -> None:
        for info in self.cluster.nodes.values():
            pods = [pod.request.requests for pod in info.pods.values()]
            asked, scored = sum(map(Counter, pods), Counter()), sum((Counter(nonzero(p)) for p in pods), Counter())
            assert +info.requested == asked
            assert +info.nonzero_requested == scored
            assert all(n <= info.node.allocatable[name] for name, n in asked.items())
        on_nodes = Counter(name for info in self.cluster.nodes.values() for name in info.pods)
        assert on_nodes == Counter(name for name, _ in placements(self.cluster))

    @invariant()
    def the_queue_is_in_order(self) -> None:
        order = [-request.priority for request in self.cluster.pending]
        assert order == sorted(order)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=30), st.integers(1, 8))
def test_of_equals_the_first_comes_first(waits: list[int], gpus: int) -> None:
    """Pods of one size and priority are bound in the order in which they came."""
    cluster = GPUScheduler(NODES)
    for i, _ in enumerate(waits):
        cluster.submit(GPURequest(f"r{i:02}", gpus))
    bound = [name for name, _ in cluster.schedule()]
    assert bound == sorted(bound) == [f"r{i:02}" for i in range(len(bound))]
    for later in cluster.pending:
        assert later.name > bound[-1]


def test_everything_given_back_is_as_before() -> None:
    fresh, cluster = GPUScheduler(NODES), scheduled(*EXAMPLE, GPURequest("gang", 1, gang_size=3))
    for name in list(cluster.running):
        cluster.release(name)
    assert cluster.status() == fresh.status()
    assert all(not +info.requested and not +info.nonzero_requested for info in cluster.nodes.values())
    assert all(info.requested[GPU] == 0 for info in cluster.nodes.values())


@pytest.mark.parametrize("resource", [GPU, "nvidia.com/mig-1g.10gb"])
def test_a_device_that_a_node_does_not_have_is_missing_for_good(resource: str) -> None:
    """One is more than none, and no eviction helps."""
    refused = refusal(GPURequest("one", 1, resource=resource), NodeInfo(GPUNode("cpu-only")))
    assert refused == Refusal((f"Insufficient {resource}",), resolvable=False)


def test_an_explanation_has_the_nodes_in_their_order() -> None:
    """Those that fit, then those that do not, each as they were added."""
    cluster = GPUScheduler([GPUNode(f"n{i}", "Tesla-V100-SXM2-32GB", 2 - i % 2, 32) for i in range(4)])
    said = cluster.explain(GPURequest("two", 2))
    assert (list(said.points), list(said.refused)) == (["n0", "n2"], ["n1", "n3"])


def test_a_bound_pod_holds_its_node_and_can_be_evicted_and_released() -> None:
    cluster = GPUScheduler([GPUNode("a", gpu_count=2)])
    cluster.add_bound_pod(GPURequest("there", 2), "a")
    cluster.submit(GPURequest("new", 1))
    assert cluster.schedule() == []
    cluster.submit(GPURequest("urgent", 2, priority_class=PriorityClass("urgent", 1000)))
    assert cluster.schedule() == [("urgent", "a")]
    cluster.release("urgent")
    assert dict(cluster.schedule()) == {"new": "a"}, "the evicted pod needs both"


def test_a_bound_pod_needs_a_node_and_a_name_of_its_own() -> None:
    cluster = GPUScheduler([GPUNode("a", gpu_count=2)])
    with pytest.raises(admission.Invalid, match='nodes "z" not found'):
        cluster.add_bound_pod(GPURequest("there"), "z")
    cluster.add_bound_pod(GPURequest("there"), "a")
    with pytest.raises(admission.Invalid, match='pods "there" already exists'):
        cluster.add_bound_pod(GPURequest("there"), "a")


def test_a_cordoned_node_takes_only_pods_that_tolerate_it() -> None:
    cluster = GPUScheduler([GPUNode("a", unschedulable=True)])
    cluster.submit(GPURequest("plain"))
    cluster.submit(GPURequest("daemon", tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists"),)))
    assert cluster.schedule() == [("daemon", "a")]
    assert "1 node(s) were unschedulable" in cluster.events[0].message
