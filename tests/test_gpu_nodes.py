"""Node pools and their autoscaler: one test a rule, and what never happens in a fleet."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid, validate
from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.nodes import GPU, GPUNode
from mlinfra.gpu.nodes.autoscaler import AutoscalerMemory, ClusterView, Machine, reconcile
from mlinfra.gpu.nodes.drain import PodTraits
from mlinfra.gpu.nodes.estimate import equal_pods, estimate
from mlinfra.gpu.nodes.expander import Option, best_options, expand
from mlinfra.gpu.nodes.flags import AutoscalerFlags
from mlinfra.gpu.nodes.fleet import FleetSimulation, PodArrival
from mlinfra.gpu.nodes.loop import FleetRun, simulate
from mlinfra.gpu.nodes.paper import scale_up_for
from mlinfra.gpu.nodes.pool import BootTime, NodePool
from mlinfra.gpu.nodes.scale_up import PendingPod, PoolSize, ScaleUp, scale_up
from mlinfra.gpu.nodes.snapshot import ClusterSnapshot
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.scheduler import GPUScheduler

TAINT, TOLERATION = Taint("nvidia.com/gpu", "present"), Toleration("nvidia.com/gpu", "Exists")
A100 = NodePool("a100", GPUNode("n", "A100", 8, 80, taints=(TAINT,)), 32.0, BootTime(90, 120, 60), max_size=5)
L4 = NodePool("l4", GPUNode("n", "L4", 1, 24, cpu="8", memory="32Gi", taints=(TAINT,)), 0.8, max_size=3)
CPU = NodePool("cpu", GPUNode("n", cpu="16", memory="64Gi"), 0.7, BootTime(60, 0, 0), max_size=4)
HOUR = 3600.0


def gpus(name: str, count: int = 1, **more: Any) -> GPURequest:
    return GPURequest(name, count, cpu="1", memory="1Gi", tolerations=(TOLERATION,), **more)


def arrival(name: str, count: int = 1, at_s: float = 0.0, runs_s: float = HOUR, **traits: Any) -> PodArrival:
    return PodArrival(at_s, gpus(name, count), runs_s, PodTraits(**traits))


def events(run: FleetSimulation, reason: str) -> list[tuple[float, str]]:
    return [(event.at_s, event.about) for event in run.events if event.reason == reason]


# --------------------------------------------------------------------------------------------------------------- pools


def test_a_pool_is_read_as_it_is_written() -> None:
    pool = NodePool(
        "spot", GPUNode("x", "L4", 1, 24, labels={"zone": "a"}, taints=(TAINT,), devices={"a.b/c": 2}), spot=True
    )
    assert NodePool.of(pool.manifest()) == pool
    assert validate(pool.manifest()) == []
    assert pool.node("spot-1").all_labels["mlinfra.example/capacity"] == "spot"
    assert GPU not in pool.node_without_gpus("spot-1").allocatable
    least = {"shape": {"cpu": 4, "memory": "16Gi"}}
    manifest = {"apiVersion": "mlinfra.example/v1", "kind": "NodePool", "metadata": {"name": "p"}, "spec": least}
    assert NodePool.of(manifest) == NodePool("p", GPUNode("p", cpu=4, memory="16Gi"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("minSize", 20, "must be greater than or equal to minSize"),
        ("maxSize", 0, "must be greater than or equal to 1"),
        ("capacity", "cheap", "supported values"),
        ("pricePerHour", -1, "must be greater than or equal to 0"),
        ("boot", {"nodeSeconds": -1}, "must be greater than or equal to 0"),
        ("shape", {"cpu": 1, "memory": 1, "devices": {"nvidia.com/gpu": 1}}, "which gpus counts"),
        ("shape", {"cpu": 0, "memory": 1}, "must be positive"),
        ("size", 3, "unknown field"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(path: str, value: Any, message: str) -> None:
    manifest = A100.manifest()
    with pytest.raises(Invalid, match=message):
        NodePool.of(manifest | {"spec": manifest["spec"] | {path: value}})


# ------------------------------------------------------------------------------------------------------------ scale up


def up(pods: Sequence[GPURequest], *sizes: PoolSize, **flags: Any) -> ScaleUp:
    return scale_up(pods, sizes, [], AutoscalerFlags(**flags))


@pytest.mark.parametrize(
    ("pod", "sizes", "flags", "message"),
    [
        (gpus("p", 9), [PoolSize(A100, 0), PoolSize(L4, 0)], {}, "2 Insufficient nvidia.com/gpu"),
        (GPURequest("p", 1), [PoolSize(A100, 0)], {}, "1 node(s) had untolerated taint(s)"),
        (gpus("p", required_gpu_type="H100"), [PoolSize(A100, 0)], {}, "1 node(s) didn't match Pod's node affinity/selector"),
        (gpus("p"), [PoolSize(A100, 5), PoolSize(CPU, 0)], {}, "1 Insufficient nvidia.com/gpu, 1 max node group size reached"),
        (gpus("p"), [PoolSize(A100, 0, True)], {}, "1 in backoff after failed scale-up"),
        (gpus("p"), [PoolSize(A100, 0)], {"max_cores": 90}, "1 max cluster cpu limit reached"),
    ],
)  # fmt: skip
def test_what_it_says_of_a_pod_that_no_pool_helps(
    pod: GPURequest, sizes: list[PoolSize], flags: Any, message: str
) -> None:
    outcome = up([pod], *sizes, **flags)
    (event,) = outcome.events(7.0)
    assert event == (7.0, "NotTriggerScaleUp", "p", f"pod didn't trigger scale-up: {message}")
    assert message in outcome.why()


def test_the_cluster_is_full_of_nodes() -> None:
    outcome = scale_up([gpus("p")], [PoolSize(A100, 1)], [A100.template], AutoscalerFlags(max_nodes_total=1))
    assert outcome.events(0.0)[0].message == "pod didn't trigger scale-up: max total nodes in cluster reached"


def test_what_it_says_of_a_pool_that_grows() -> None:
    outcome = up([gpus("a"), gpus("b", 9), GPURequest("c", cpu="1")], PoolSize(A100, 1), PoolSize(CPU, 0))
    assert outcome.sizes == {"cpu": (0, 1, 4)}, "least waste: of cpu and memory alone"
    assert [event.about for event in outcome.events(0.0)] == ["c"], "while a pool grows, nobody is told that none does"
    assert outcome.events(0.0)[0].message == "pod triggered scale-up: [{cpu 0->1 (max: 4)}]"
    assert outcome.awaiting == ["a"]
    assert list(outcome.rejected) == ["b"]


def test_a_gang_gets_what_is_left_of_a_pool_and_not_all_or_nothing() -> None:
    gang = GPURequest("train", 8, tolerations=(TOLERATION,), gang_size=8)
    outcome = up([gang], PoolSize(A100, 0))
    assert outcome.sizes == {"a100": (0, 5, 5)}
    assert len(outcome.triggered) == 5


def test_least_waste_does_not_see_gpus() -> None:
    small = Option("small", 1, (gpus("p"),), L4.template)
    large = Option("large", 1, (gpus("p"),), replace(L4.template, gpu_count=8))
    assert [option.pool for option in best_options("least-waste", [small, large]).best] == ["small", "large"]


def test_the_price_expander_pays_for_no_gpu_that_is_not_needed() -> None:
    pod = (GPURequest("p", cpu="1", memory="4Gi"),)
    options = [Option(pool.name, 1, pod, pool.template, pool.price_per_hour) for pool in (L4, CPU)]
    assert [option.pool for option in best_options("price", options, cluster_nodes=10).best] == ["cpu"]


def test_the_price_expander_by_hand() -> None:
    """Two pods of 2 cores and 4 GiB cost 2 x (2 x 0.033174 + 4 x 0.004446) = 0.168264; three nodes cost 1.50.

    What keeps the ratio from jumping is 0.5 x 0.033174 + 500/1024 x 0.004446 = 0.018758. A cluster of 10 nodes prefers
    4 cores; 8 cores are unfit by 2, and three nodes at once make it 1 + 1 x (1 - tanh(2/15)) = 1.867451.
    """
    pods = tuple(GPURequest(name, cpu="2", memory="4Gi") for name in "ab")
    option = Option("eight", 3, pods, GPUNode("n", cpu="8", memory="32Gi"), 0.5)
    ratio, unfit = (1.5 + 0.018758) / (0.168264 + 0.018758), 1.867451
    assert best_options("price", [option], cluster_nodes=10).said == {
        "eight": f"price ratio {ratio:.2f} x unfitness {unfit:.2f} = {ratio * unfit:.2f}"
    }


def test_a_chain_of_expanders_and_the_last_tie() -> None:
    options = [Option(name, nodes, (), L4.template) for name, nodes in (("a", 1), ("b", 1), ("c", 2))]
    flags = AutoscalerFlags(expander="least-nodes,priority", priorities={5: ["b$"]})
    chosen, preferences = expand(options, flags)
    assert chosen is options[1]
    assert [preference.expander for preference in preferences] == ["least-nodes", "priority"]
    drawn = [expand(options, AutoscalerFlags(expander="random"), 0, random.Random(i))[0] for i in range(20)]
    assert all(option in drawn for option in options)
    with pytest.raises(Invalid, match="supported values"):
        expand(options, AutoscalerFlags(expander="cheapest"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"priorities": {5: ["("]}}, r"priorities\[5\]\[0\]: Invalid value: \"\(\": is no regular expression"),
        ({"priorities": {5: "gpu"}}, r"priorities\[5\]: Invalid value: \"gpu\": must be a list of regular expressions"),
        ({"scan_interval_s": 0}, "scan_interval_s"),
    ],
)
def test_flags_that_the_autoscaler_cannot_work_with(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        AutoscalerFlags(**changes)


def test_similar_pools_grow_together_when_asked() -> None:
    here, there = (
        replace(L4, name=name, shape=replace(L4.shape, labels={"topology.kubernetes.io/zone": name})) for name in "ab"
    )
    pods = [gpus(f"p{i}") for i in range(4)]
    assert up(pods, PoolSize(here, 0), PoolSize(there, 1)).sizes == {"a": (0, 3, 3)}
    both = up(pods, PoolSize(here, 0), PoolSize(there, 1), balance_similar_node_groups=True)
    assert both.sizes == {"a": (0, 3, 3), "b": (1, 2, 3)}


def test_a_similar_pool_on_which_one_of_the_pods_does_not_fit_stays_as_it_is() -> None:
    here, there = (
        replace(L4, name=name, shape=replace(L4.shape, labels={"topology.kubernetes.io/zone": name})) for name in "ab"
    )
    tied = gpus("tied", node_selector={"topology.kubernetes.io/zone": "a"})
    outcome = up([tied, gpus("free")], PoolSize(here, 0), PoolSize(there, 0), balance_similar_node_groups=True)
    assert outcome.sizes == {"a": (0, 2, 3)}


@given(st.lists(st.integers(1, 8), max_size=30), st.integers(0, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_an_estimate_fits_and_is_never_below_the_sum(counts: list[int], limit: int) -> None:
    pods = [gpus(f"p{i}", count) for i, count in enumerate(counts)]
    nodes, placed = estimate(equal_pods(pods), A100.template, limit)
    assert nodes * 8 >= sum(pod.gpu_count for pod in placed)
    assert not limit or nodes <= limit
    assert len(placed) == len(pods) or limit
    assert nodes <= len(placed)


# ---------------------------------------------------------------------------------------------------------- whole runs


def test_a_pod_waits_for_the_node_then_for_its_gpus_then_for_the_image() -> None:
    run = simulate([arrival("p")], [A100])
    assert events(run, "TriggeredScaleUp") == [(0.0, "p")]
    assert events(run, "Scheduled") == [(210.0, "p")]
    assert run.waits_s == {"p": 270.0}
    assert run.finished == {"p": 270.0 + HOUR}
    assert run.latency_s(0.5) == 270.0


def test_a_node_goes_ten_minutes_after_its_last_pod_and_is_paid_until_then() -> None:
    run = simulate([arrival("p", 8)], [A100])
    ((machine, gone_s),) = run.machines
    assert events(run, "ScaleDown") == [(270 + HOUR + 610, machine.name)], (
        "strictly longer than 600 s, on the next pass"
    )
    assert gone_s == 270 + HOUR + 610 + 5
    assert run.bill == {"a100": pytest.approx(32 * gone_s / 3600)}
    assert run.used_gpu_hours == pytest.approx(8 * (HOUR + 60) / 3600)


def test_a_node_whose_pod_found_no_other_place_is_not_looked_at_for_five_minutes() -> None:
    run = simulate([arrival("p", 1)], [A100])
    assert events(run, "ScaleDown")[0][0] > 270 + HOUR + 610


def test_an_unready_gpu_node_is_still_coming_if_the_cloud_labels_it() -> None:
    assert len(simulate([arrival("p")], [A100], until_s=400).machines) == 1
    unlabelled = replace(A100, gpu_label=False)
    assert len(simulate([arrival("p")], [unlabelled], until_s=400).machines) > 1, "one more for the same pod"


def test_pods_that_fit_on_a_node_that_is_coming_ask_for_no_second_one() -> None:
    run = simulate([arrival(f"p{i}", at_s=10.0 * i) for i in range(8)], [A100], until_s=400)
    assert len(run.machines) == 1
    assert events(run, "TriggeredScaleUp") == [(0.0, "p0")]


def test_a_pod_below_the_cutoff_brings_no_node_and_keeps_none() -> None:
    low = PriorityClass("low", -11)
    nobody = simulate([PodArrival(0.0, gpus("p", priority_class=low), HOUR)], [A100])
    assert nobody.machines == []
    assert nobody.waits_s == {"p": math.inf}
    pause = PodArrival(0.0, gpus("p", priority_class=PriorityClass("pause", -10)), HOUR)
    assert len(simulate([pause], [A100]).machines) == 1
    beside = simulate([arrival("real", 7), PodArrival(230.0, gpus("p", priority_class=low), 9 * HOUR)], [A100])
    assert events(beside, "ScaleDown")[:2] == [(4480.0, "a100-0"), (4480.0, "p")], "the pod leaves with its node"


def test_a_pod_waits_the_delay_before_it_counts() -> None:
    run = simulate([arrival("p")], [A100], AutoscalerFlags(new_pod_scale_up_delay_s=60))
    assert events(run, "TriggeredScaleUp") == [(60.0, "p")]


def test_nodes_that_do_not_come_are_given_up_and_the_pool_is_left_alone() -> None:
    never = replace(A100, boot=BootTime(node_s=1e9), max_size=1)
    run = simulate([arrival("p")], [never], until_s=2 * HOUR)
    assert [at_s for at_s, _ in events(run, "ScaleUpTimedOut")] == [910.0, 2120.0, 3630.0, 5740.0]
    assert run.machines == [(machine, gone_s) for machine, gone_s in run.machines if gone_s - machine.created_s <= 910]
    assert any("in backoff after failed scale-up" in event.message for event in run.events)


def two_nodes(**traits: Any) -> tuple[ClusterView, AutoscalerMemory]:
    """Two nodes with one pod of three GPUs each, unneeded for long."""
    infos = {
        name: NodeInfo(A100.node(name), (BoundPod(gpus(pod, 3), name),)) for name, pod in (("n0", "p0"), ("n1", "p1"))
    }
    machines = {name: Machine(name, "a100", 0.0) for name in infos}
    of_pods = {"p0": PodTraits(**traits), "p1": PodTraits(**traits)}
    return ClusterView({"a100": A100}, machines, infos, traits=of_pods), AutoscalerMemory({"n0": 0.0, "n1": 0.0})


def test_a_training_pod_is_moved_from_a_node_that_is_half_used() -> None:
    cluster, memory = two_nodes()
    outcome = reconcile(cluster, memory, 601.0)
    assert [(removal.node, removal.moved) for removal in outcome.removals] == [("n0", {"p0": "n1"})]
    assert outcome.staying == {"n1": "NoPlaceToMovePods"}, "n0 is on its way out, so its pod has to stay on n1"
    assert outcome.why() == "n0: is removed; p0 to n1\nn1: stays, NoPlaceToMovePods"
    assert list(cluster.infos["n0"].pods) == ["p0"], "nothing was changed"


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        ({"safe_to_evict": "false"}, "NotSafeToEvictAnnotation: p0"),
        ({"controller": ""}, "NotReplicated: p0"),
        ({"local_volumes": ("cache",)}, "LocalStorageRequested: p0"),
        ({"disruptions_allowed": 0}, "NotEnoughPdb: p0"),
        ({"namespace": "kube-system"}, "UnmovableKubeSystemPod: p0"),
    ],
)
def test_what_keeps_a_node(traits: dict[str, Any], reason: str) -> None:
    cluster, memory = two_nodes(**traits)
    outcome = reconcile(cluster, memory, 601.0)
    assert outcome.removals == []
    assert outcome.staying["n0"] == reason
    assert outcome.memory.unremovable["n0"] == (901.0, reason), "it is looked at again in five minutes"


def test_the_time_must_be_over_and_the_cooldown_too() -> None:
    cluster, memory = two_nodes()
    assert reconcile(cluster, memory, 600.0).staying["n0"] == "NotUnneededLongEnough"
    assert reconcile(cluster, replace(memory, last_scale_up_s=2.0), 601.0).removals == ()
    assert len(reconcile(cluster, replace(memory, last_scale_up_s=1.0), 601.0).removals) == 1


def test_a_pool_keeps_its_minimum() -> None:
    cluster, memory = two_nodes()
    at_minimum = replace(cluster, pools={"a100": replace(A100, min_size=2)})
    assert reconcile(at_minimum, memory, 601.0).staying == dict.fromkeys(("n0", "n1"), "NodeGroupMinSizeReached")


def test_ten_empty_nodes_go_at_once_and_one_that_must_be_drained() -> None:
    names = [f"n{i}" for i in range(14)]
    infos = {name: NodeInfo(CPU.node(name)) for name in names}
    for name in names[:3]:
        infos[name].add(BoundPod(GPURequest(f"on-{name}", cpu="1"), name))
    machines = {name: Machine(name, "cpu", 0.0) for name in names}
    pool = replace(CPU, max_size=20)
    view = ClusterView({"cpu": pool}, machines, infos)
    going = reconcile(view, AutoscalerMemory(dict.fromkeys(names, 0.0)), 601.0).removals
    assert [removal.empty for removal in going] == [True] * 10
    few = AutoscalerFlags(max_scale_down_parallelism=20)
    going = reconcile(view, AutoscalerMemory(dict.fromkeys(names, 0.0)), 601.0, few).removals
    assert sum(not removal.empty for removal in going) == 1


def test_headroom_is_bought_by_pods_that_give_way() -> None:
    pause = PodArrival(0.0, gpus("pause", 8, priority_class=PriorityClass("pause", -10)), 1e6)
    run = simulate([pause, arrival("real", 8, at_s=1000.0)], [A100], until_s=3000.0)
    assert run.waits_s["real"] == 0.0, "the image is there already"
    assert events(run, "Preempted") == [(1000.0, "pause")]
    assert len(run.machines) == 2, "the pause pod waits and brings the next node"
    assert run.restarts == 1


def test_what_a_run_refuses() -> None:
    with pytest.raises(Invalid, match="already exists"):
        simulate([arrival("p"), arrival("p")], [A100])
    with pytest.raises(Invalid, match="already exists"):
        simulate([], [A100, A100])
    with pytest.raises(Invalid, match="must have no nodes"):
        simulate([], [A100], scheduler=GPUScheduler([GPUNode("n")]))


# ------------------------------------------------------------------------------------------------- what never happens


def some_day(seed: int) -> tuple[list[PodArrival], list[NodePool], AutoscalerFlags]:
    chance = random.Random(seed)
    blocking: dict[str, Any] = {"safe_to_evict": "false"}
    arrivals = [
        PodArrival(
            float(chance.randrange(0, 4000, 10)),
            gpus(f"p{i}", chance.choice([0, 1, 2, 4, 8]), gang_size=chance.choice([1, 1, 1, 2]), priority_class=chance.choice([None, PriorityClass("high", 5)])),
            float(chance.randrange(0, 6000, 5)),
            PodTraits(**chance.choice([{}, {}, blocking])),
        )
        for i in range(chance.randrange(1, 25))
    ]  # fmt: skip
    pools = [
        replace(pool, min_size=chance.choice([0, 0, 1]), max_size=chance.choice([1, 2, 4])) for pool in (A100, L4, CPU)
    ]
    flags = AutoscalerFlags(
        expander=chance.choice(["least-waste", "most-pods", "price", "least-nodes"]),
        unneeded_s=chance.choice([60, 600]),
        delay_after_add_s=chance.choice([60, 600]),
        frequent_loops=chance.random() < 0.8,
    )
    return arrivals, pools, flags


class WatchedFleet(FleetRun):
    """A fleet that is looked at after each event; with `ticks` the autoscaler passes every interval."""

    ticks = False

    def record(self) -> None:
        super().record()
        counts = {pool.name: 0 for pool in self.pools}
        for machine in self.machines.values():
            counts[machine.pool] += 1
        for pool in self.pools:
            assert pool.min_size <= counts[pool.name] <= pool.max_size
        for info in self.scheduler.nodes.values():
            assert all(info.requested[name] <= info.node.allocatable.get(name, 0) for name in info.requested)
        live = {name for name in self.runs if name not in self.finished}
        queued = {request.name for request in self.scheduler.pending}
        assert live == set(self.scheduler.running) | queued, "no pod is lost"
        assert set(self.pending) == queued
        assert self.used_gpus == sum(info.requested[GPU] for info in self.scheduler.nodes.values())
        assert self.gpus == sum(info.node.gpu_count for info in self.scheduler.nodes.values())

    def _remove(self, name: str, way: str) -> None:
        for pod in self.scheduler.nodes[name].pods:
            assert self.traits.get(pod, PodTraits()).safe_to_evict != "false"
        super()._remove(name, way)

    def plan_next_pass(self) -> None:
        if not self.ticks:
            super().plan_next_pass()
        elif self._next_pass_s <= self.now_s or self._last_pass_s == self.now_s:
            self.pass_at(self._last_pass_s + self.flags.scan_interval_s)


def watched(seed: int, ticks: bool = False, plain: bool = False) -> FleetSimulation:
    arrivals, pools, flags = some_day(seed)
    fleet = WatchedFleet(pools, flags, 20_000.0, GPUScheduler() if plain else BatchScheduler())
    fleet.ticks = ticks
    fleet.start()
    for each in arrivals:
        fleet.at(each.at_s, fleet.arrive, each)
    fleet.run()
    return fleet.result()


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_no_pod_is_lost_no_node_overfull_no_pool_out_of_bounds(seed: int) -> None:
    run = watched(seed)
    hours = sum(gone_s - machine.created_s for machine, gone_s in run.machines) / 3600
    assert sum(run.node_hours.values()) == pytest.approx(hours)
    paid = [moment.nodes for moment in run.timeline]
    ends = [*(moment.at_s for moment in run.timeline[1:]), run.until_s]
    spans = [end - moment.at_s for moment, end in zip(run.timeline, ends, strict=True)]
    assert hours == pytest.approx(sum(n * span for n, span in zip(paid, spans, strict=True)) / 3600)
    assert run.dollars == pytest.approx(
        sum(run.node_hours[name] * pool.price_per_hour for name, pool in run.pools.items())
    )
    assert 0 <= run.utilization <= 1
    assert all(wait >= 0 for wait in run.waits_s.values())


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_passes_that_are_left_out_would_have_done_nothing(seed: int) -> None:
    skipping, ticking = watched(seed), watched(seed, ticks=True)
    assert skipping.events == ticking.events
    assert skipping.machines == ticking.machines
    assert skipping.passes <= ticking.passes


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_plain_cycle_gives_the_same_fleet(seed: int) -> None:
    fast, plain = watched(seed), watched(seed, plain=True)
    assert fast.events == plain.events
    assert fast.machines == plain.machines


def test_a_pending_pod_says_how_old_it_is() -> None:
    view = ClusterView({"a100": A100}, {}, {}, [PendingPod(gpus("p"), 0.0, "5m")])
    assert not reconcile(view, AutoscalerMemory(), 300.0).growth.sizes
    outcome = reconcile(view, AutoscalerMemory(), 301.0)
    assert outcome.growth.sizes == {"a100": (0, 1, 5)}
    assert "least-waste takes a100" in outcome.why()


def test_what_it_would_do_for_the_pods_that_wait_in_a_cluster() -> None:
    cluster = GPUScheduler([L4.node("l4-0")])
    for request in (gpus("a"), gpus("b"), gpus("c", 8), gpus("d", 9)):
        cluster.submit(request)
    cluster.schedule()
    assert scale_up_for(cluster, [L4.manifest(), A100.manifest()]) == [
        "TriggeredScaleUp b: pod triggered scale-up: [{l4 1->2 (max: 3)}]",
        "TriggeredScaleUp c: pod triggered scale-up: [{a100 0->1 (max: 5)}]",
        "NotTriggerScaleUp d: pod didn't trigger scale-up: 2 Insufficient nvidia.com/gpu",
    ]
    with pytest.raises(Invalid, match="the file has none"):
        scale_up_for(cluster, [])


def test_a_removal_that_fails_leaves_no_trace() -> None:
    snapshot = ClusterSnapshot({name: NodeInfo(GPUNode(name, "A100", 2)) for name in ("a", "b")})
    pods = [GPURequest(f"p{i}", 1) for i in range(3)]
    assert snapshot.place_all([*pods, GPURequest("large", 8)], leaving="x") is None
    assert snapshot.first_fit(GPURequest("next", 1)) == "a"
    assert snapshot.place_all(pods, leaving="x") == {"p0": "a", "p1": "a", "p2": "b"}


def test_who_is_evicted_before_its_image_is_there_has_not_started() -> None:
    high = PodArrival(230.0, gpus("high", 8, priority_class=PriorityClass("high", 5)), 100.0)
    run = simulate([arrival("low", 8), high], [replace(A100, max_size=1)])
    assert run.waits_s == {"low": 370.0, "high": 40.0}
    assert run.lost_gpu_s == 0.0
