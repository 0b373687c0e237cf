"""The closed loop on nodes that come and go: one case a rule, computed by hand, and what never happens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid
from mlinfra.autoscaling import loop
from mlinfra.autoscaling.on_nodes import NodeBill, pod_name
from mlinfra.course import race
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.nodes.flags import AutoscalerFlags
from mlinfra.gpu.nodes.fleet import FleetSimulation
from mlinfra.gpu.nodes.live import LiveFleet, PodChange, SpotMarket
from mlinfra.gpu.nodes.pool import BootTime, NodePool
from mlinfra.gpu.pods import GPURequest

POD = GPURequest("bert", 1, cpu="4", memory="16Gi")
START = loop.ColdStart(node_s=999, image_s=999, weights_s=30, load_s=10, warm_up_s=5)
ONE = loop.Service(2.0, cold_start=START, activator=True)
NODE_S, GPU_S, IMAGE_S, LEFT_S = 90, 120, 20, 45


def pool(gpus: int = 1, most: int = 10, name: str = "gpu", **more: Any) -> NodePool:
    shape = GPUNode("n", "A100", gpus, 80, cpu=str(12 * gpus), memory=f"{128 * gpus}Gi")
    return NodePool(name, shape, 3.0 * gpus, BootTime(NODE_S, GPU_S, IMAGE_S), max_size=most, **more)


@dataclass
class Plan:
    """An autoscaler that follows a list of counts, one every ten seconds; the last one stays."""

    counts: list[int]
    interval_s: float = 10.0

    def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
        return self.counts[min(int(now_s / 10), len(self.counts) - 1)]


def run(
    counts: list[int], fleet: LiveFleet, arrivals_s: tuple[float, ...] = (), until_s: float = 1000, **service: Any
) -> loop.LoopSimulation:
    settings: dict[str, Any] = {"service_s": 2.0, "cold_start": START, "activator": True} | service
    return loop.simulate(arrivals_s, loop.Service(**settings), Plan(counts), counts[0], until_s, nodes=fleet)


def events(outcome: loop.LoopSimulation, *reasons: str) -> list[tuple[float, str, str]]:
    return [(event.at_s, event.reason, event.about) for event in outcome.events if event.reason in reasons]


def nodes(outcome: loop.LoopSimulation) -> FleetSimulation:
    assert isinstance(outcome.nodes, FleetSimulation)
    return outcome.nodes


# ------------------------------------------------------------------------------------------------------ one rule each


def test_a_replica_without_a_gpu_waits_for_a_node_in_all_its_parts() -> None:
    outcome = run([1, 2], LiveFleet([pool()], POD))
    ready_s = 10 + NODE_S + GPU_S + IMAGE_S + LEFT_S
    assert events(outcome, "TriggeredScaleUp", "Ready") == [
        (10, "TriggeredScaleUp", "replica-1"),
        (ready_s, "Ready", "replica-1"),
    ]
    assert nodes(outcome).node_hours == {"gpu": pytest.approx((1000 + 990) / 3600)}
    assert outcome.replica_s == 1000 + (1000 - 10 - NODE_S - GPU_S)  # a pod that waits holds no GPU


def test_a_free_gpu_of_a_node_skips_the_boot_and_the_image() -> None:
    outcome = run([1, 2], LiveFleet([pool(gpus=2)], POD))
    assert events(outcome, "Ready") == [(10 + LEFT_S, "Ready", "replica-1")]
    assert len(nodes(outcome).machines) == 1


def test_two_replicas_of_one_node_wait_for_its_image_together() -> None:
    outcome = run([2, 4], LiveFleet([pool(gpus=2)], POD))
    ready_s = 10 + NODE_S + GPU_S + IMAGE_S + LEFT_S
    assert events(outcome, "Ready") == [(ready_s, "Ready", "replica-2"), (ready_s, "Ready", "replica-3")]


def test_a_pool_at_its_maximum_leaves_the_pod_pending() -> None:
    outcome = run([1, 4], LiveFleet([pool(most=2)], POD))
    assert [about for _, _, about in events(outcome, "Ready")] == ["replica-1"]
    assert max(ready for _, _, ready, _ in outcome.timeline) == 2
    assert "1 max node group size reached" in outcome.why()


def test_a_node_goes_ten_minutes_after_its_replica_and_is_paid_until_then() -> None:
    outcome = run([2, 1], LiveFleet([pool()], POD), until_s=2000)
    ((gone_s, _, _),) = events(outcome, "ScaleDown")
    assert 10 + 600 < gone_s <= 10 + 600 + 2 * AutoscalerFlags().scan_interval_s
    assert outcome.dollars == pytest.approx(3.0 * (2000 + gone_s + 5) / 3600)
    assert outcome.gpu_hours == pytest.approx((2000 + 10) / 3600)


def test_a_replica_that_comes_back_in_time_finds_the_node_with_its_image() -> None:
    outcome = run([2, 1, 1, 2], LiveFleet([pool()], POD))
    assert events(outcome, "Ready", "TriggeredScaleUp") == [(30 + LEFT_S, "Ready", "replica-2")]


def test_consolidation_moves_a_replica_and_it_starts_again() -> None:
    """Two nodes of four with five replicas; the two that are left stand on one node each, and fit on one."""
    outcome = run([5, 2], LiveFleet([pool(gpus=4)], POD), until_s=2000)
    assert events(outcome, "ScaleDown", "Ready") == [
        (620, "ScaleDown", "gpu-0"),
        (620, "ScaleDown", "replica-4"),
        (620 + LEFT_S, "Ready", "replica-5"),
    ]
    assert nodes(outcome).node_hours == {"gpu": pytest.approx((2000 + 620 + 30) / 3600)}  # 30 s for the pod to end


def test_placeholders_leave_at_once_and_bring_the_next_node() -> None:
    outcome = run([1, 2], LiveFleet([pool()], POD, placeholders=1))
    assert len(nodes(outcome).machines) == 3
    assert events(outcome, "Preempted", "TriggeredScaleUp", "Ready") == [
        (10, "Preempted", "placeholder-0"),
        (10, "TriggeredScaleUp", "placeholder-0"),
        (10 + IMAGE_S + LEFT_S, "Ready", "replica-1"),  # the node has the pause image, not the model server's
    ]
    placed = [event for event in outcome.events if event.reason == "Scheduled" and event.about == "placeholder-0"]
    assert [event.at_s for event in placed] == [10 + NODE_S + GPU_S]


def test_placeholders_keep_their_nodes() -> None:
    outcome = run([1], LiveFleet([pool()], POD, placeholders=3), until_s=3600)
    assert nodes(outcome).node_hours == {"gpu": 4.0}
    assert outcome.gpu_hours == 1.0


@dataclass
class TakenAt:
    """Chance that is none: the first spot node goes after that time, and no other."""

    after_s: float

    def expovariate(self, rate: float) -> float:
        after_s, self.after_s = self.after_s, math.inf
        return after_s


def taken_at(after_s: float, notice_s: float, **more: Any) -> LiveFleet:
    fleet = LiveFleet([pool(spot=True, **more)], POD, spot=SpotMarket(1.0, notice_s))
    fleet.chance = TakenAt(after_s)  # type: ignore[assignment]
    return fleet


@pytest.mark.parametrize(
    ("notice_s", "service_s", "lost"), [(30, 2, 0), (30, 25, 0), (30, 40, 1), (120, 40, 1), (0, 2, 1)]
)
def test_a_spot_node_takes_what_its_replica_has_not_finished(notice_s: float, service_s: float, lost: int) -> None:
    """The request starts at 99 s, the notice is at 100 s; a pod has 30 s of grace, also on AWS."""
    outcome = run([1], taken_at(100, notice_s), (99.0,), until_s=600, service_s=service_s)
    assert (outcome.lost, outcome.errors) == (lost, lost)
    assert events(outcome, "SpotInterrupted", "Ready") == [
        (100, "SpotInterrupted", "gpu-0"),
        (100 + NODE_S + GPU_S + IMAGE_S + LEFT_S, "Ready", "replica-1"),
    ]
    assert nodes(outcome).node_hours == {"gpu": pytest.approx((100 + notice_s + 500) / 3600)}


def test_a_request_after_the_notice_waits_for_the_next_replica() -> None:
    outcome = run([1], taken_at(100, 30), (101.0,), until_s=600)
    assert outcome.latencies_s == [100 + NODE_S + GPU_S + IMAGE_S + LEFT_S + 2 - 101]


def test_a_replica_that_drains_already_loses_its_request_too() -> None:
    fleet = taken_at(15, 0)
    outcome = run([2, 1], fleet, (1.0, 1.0), until_s=600, service_s=40)
    assert outcome.lost == 1


def test_the_price_is_that_of_the_pool() -> None:
    cheap = NodePool("spot", pool().shape, 1.0, BootTime(0, 0, 0), spot=True)
    assert run([3], LiveFleet([cheap], POD), until_s=3600).dollars == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run([3], LiveFleet([pool(most=2)], POD)), "has no room in the pools"),
        (lambda: LiveFleet([pool(), pool()], POD), "gpu: already exists"),
        (lambda: LiveFleet([pool()], POD, placeholders=-1), "placeholders: Invalid value: -1"),
        (lambda: LiveFleet([pool()], GPURequest("g", 1, gang_size=2)), "pod.gang_size: Invalid value: 2"),
        (lambda: SpotMarket(notice_s=-1), "notice_s: Invalid value: -1"),
        (lambda: run([1], LiveFleet([pool()], POD), max_batch=2), "service.max_batch: Invalid value: 2"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        call()


# ------------------------------------------------------------------------------------------------- what never happens


@dataclass
class Log:
    """What a fleet told the loop, and what the loop asked of it."""

    placed: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)


class Watched(LiveFleet):
    """A fleet that looks at its nodes after each step."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.log = Log()

    def step(self) -> None:
        super().step()
        for info in self.scheduler.nodes.values():
            assert all(amount <= info.node.allocatable.get(name, 0) for name, amount in info.requested.items())
        sizes = Counter(machine.pool for machine in self.machines.values())
        assert all(sizes[each.name] <= each.max_size for each in self.pools)
        bound = {pod for info in self.scheduler.nodes.values() for pod in info.pods}
        assert bound.isdisjoint(self.pending)
        assert bound | self.pending.keys() == self.runs.keys()

    def advance(self, until_s: float) -> list[PodChange]:
        changes = super().advance(until_s)
        for change in changes:
            (self.log.placed if change.placed else self.log.gone)[change.pod] = change.at_s
        return changes

    def remove(self, pod: str, at_s: float) -> None:
        self.log.gone.setdefault(pod, at_s)
        super().remove(pod, at_s)


FLEETS = st.fixed_dictionaries(
    {
        "gpus": st.sampled_from([1, 2, 4]),
        "most": st.integers(3, 6),
        "placeholders": st.integers(0, 3),
        "per_hour": st.sampled_from([0.0, 5.0, 40.0]),
        "notice_s": st.sampled_from([0.0, 30.0, 120.0]),
    }
)
PLANS = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(lambda counts: [min(3, counts[0]), *counts])
LOADS = st.lists(st.floats(0, 900), max_size=60).map(lambda times: tuple(sorted(times)))


def watched(shape: dict[str, Any]) -> Watched:
    spot = SpotMarket(shape["per_hour"], shape["notice_s"], seed=1)
    return Watched([pool(shape["gpus"], shape["most"], spot=True)], POD, shape["placeholders"], spot=spot)


@given(FLEETS, PLANS, LOADS, st.sampled_from([1.0, 20.0, 45.0]), st.sampled_from([math.inf, 60.0]))
@settings(max_examples=60, deadline=None)
def test_what_never_happens(
    shape: dict[str, Any], counts: list[int], load: tuple[float, ...], service_s: float, timeout_s: float
) -> None:
    fleet, again = watched(shape), watched(shape)
    parts: Any = {"until_s": 2000, "service_s": service_s, "timeout_s": timeout_s}
    outcome = run(counts, fleet, load, **parts)
    assert outcome == run(counts, again, load, **parts)

    for at_s, _, name in events(outcome, "Ready"):  # no replica without a GPU
        assert fleet.log.placed[name] + LEFT_S <= at_s <= fleet.log.gone.get(name, math.inf)
    assert max((ready for _, _, ready, _ in outcome.timeline), default=0) <= shape["gpus"] * shape["most"]

    seconds = sum(gone_s - machine.created_s for machine, gone_s in nodes(outcome).machines)
    assert outcome.dollars == pytest.approx(seconds / 3600 * 3 * shape["gpus"])
    assert outcome.gpu_hours <= shape["gpus"] * sum(nodes(outcome).node_hours.values()) + 1e-9

    assert len(outcome.latencies_s) == len(load)
    for wait_s, latency_s in zip(outcome.waits_s, outcome.latencies_s, strict=True):
        answered = math.isclose(latency_s, wait_s + service_s)
        assert answered or latency_s == math.inf
    if shape["per_hour"] == 0 and service_s <= 30:  # within the grace of a pod that is moved
        assert outcome.lost == 0
    if timeout_s == math.inf and counts[-1] > 0 and shape["per_hour"] == 0:
        assert all(wait_s < math.inf for wait_s in outcome.waits_s)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), LOADS, st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_nodes_that_are_all_there_change_nothing(counts: list[int], load: tuple[float, ...], slots: int) -> None:
    """Six nodes that stay, without boot and image: the loop without nodes, request for request."""
    stays = NodePool("stays", pool().shape, 3.0, BootTime(0, 0, 0), min_size=6, max_size=6)
    start = loop.ColdStart(weights_s=30, load_s=10, warm_up_s=5)
    service = loop.Service(7.0, slots, timeout_s=100, cold_start=start, activator=True)
    plain = loop.simulate(load, service, Plan(counts), counts[0], 900)
    served = loop.simulate(load, service, Plan(counts), counts[0], 900, nodes=LiveFleet([stays], POD))
    assert served.latencies_s == plain.latencies_s
    assert served.timeline == plain.timeline
    assert nodes(served).node_hours == {"stays": 1.5}


@dataclass
class Bare:
    """The least that the loop can be given as nodes: one GPU, and whoever comes first has it."""

    holder: str = ""
    waiting: list[str] = field(default_factory=list)
    now_s: float = 0.0
    events: tuple[()] = ()
    node_hours: dict[str, float] = field(default_factory=dict)
    dollars: float = 5.0

    def begin(self, pods: Sequence[str]) -> None:
        (self.holder,) = pods

    def add(self, pod: str, at_s: float) -> None:
        self.waiting.append(pod)

    def remove(self, pod: str, at_s: float) -> None:
        self.now_s = at_s
        self.waiting = [name for name in self.waiting if name != pod]
        self.holder = "" if pod == self.holder else self.holder

    def advance(self, until_s: float) -> list[PodChange]:
        if self.holder or not self.waiting:
            return []
        self.holder = self.waiting.pop(0)
        return [PodChange(self.now_s, self.holder, True, self.now_s)]

    def bill(self, end_s: float) -> NodeBill:
        return self


def test_any_nodes_will_do() -> None:
    outcome = loop.simulate([], ONE, Plan([1, 2, 0, 1]), 1, until_s=200, nodes=Bare())
    assert outcome.dollars == 5.0
    assert [name for _, _, name in events(outcome, "Ready")] == [pod_name(2)]


def test_the_hour_without_nodes_is_as_it_was() -> None:
    """The figures of the race that stand in the notebook."""
    waves = race.race("code")
    assert [(name, round(run.gpu_hours, 1), run.errors, run.nodes) for name, run in waves.items()] == [
        ("fixed", 5.7, 0, None),
        ("HPA on busy", 7.7, 0, None),
        ("HPA on queue", 11.2, 0, None),
        ("KPA", 11.3, 205, None),
        ("KEDA", 11.2, 0, None),
    ]
