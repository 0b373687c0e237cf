"""The closed loop: against queueing theory, against SimPy request for request, and in its invariants."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from builders import BERT, autoscaler, scalers, simpy_waits
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission
from mlinfra.autoscaling import hpa, keda, knative, loop
from mlinfra.course import data, service_nodes


def random_load(requests: int, rate_per_s: float, mean_s: float, seed: int) -> tuple[list[float], list[float]]:
    chance, now_s, arrivals = random.Random(seed), 0.0, []
    for _ in range(requests):
        now_s += chance.expovariate(rate_per_s)
        arrivals.append(now_s)
    return arrivals, [chance.expovariate(1 / mean_s) for _ in arrivals]


@pytest.mark.parametrize("servers", [1, 3, 8])
def test_the_fifo_core_agrees_with_simpy_request_for_request(servers: int) -> None:
    arrivals, needed = random_load(20_000, 0.9 * servers, 1.0, seed=servers)
    ours, theirs = loop.fifo_waits(arrivals, needed, servers), simpy_waits(arrivals, needed, servers)
    assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6) for a, b in zip(ours, theirs, strict=True))


def erlang_c(servers: int, offered: float) -> float:
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 0.8), (8, 0.875)])
def test_random_service_waits_as_erlang_says(servers: int, load: float) -> None:
    arrivals, needed = random_load(300_000, load * servers, 1.0, seed=3)
    waits = loop.fifo_waits(arrivals, needed, servers)
    expected = erlang_c(servers, load * servers) / (servers * (1 - load))
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.06)


def test_constant_service_waits_half_as_long() -> None:
    """M/D/1: rho / (2 (1 - rho)) service times, by Pollaczek and Khinchine."""
    arrivals, _ = random_load(300_000, 0.7, 1.0, seed=5)
    waits = loop.fifo_waits(arrivals, [1.0] * len(arrivals), 1)
    assert sum(waits) / len(waits) == pytest.approx(0.7 / (2 * 0.3), rel=0.05)


@given(st.lists(st.floats(0, 100), max_size=60).map(sorted), st.integers(1, 4), st.integers(1, 3))
def test_the_loop_with_a_fixed_fleet_is_the_fifo_core(arrivals: list[float], replicas: int, slots: int) -> None:
    one = loop.Service(service_s=3.0, concurrency=slots)
    outcome = loop.simulate(arrivals, one, loop.Fixed(replicas), replicas)
    assert outcome.waits_s == pytest.approx(loop.fifo_waits(arrivals, [3.0] * len(arrivals), replicas * slots))


@dataclass
class Plan:
    """An autoscaler that follows a list of counts, one every ten seconds."""

    counts: list[int]
    interval_s: float = 10.0

    def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
        return self.counts[int(now_s / 10) % len(self.counts)]


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=60).map(sorted),
    st.lists(st.integers(1, 5), min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_nobody_overtakes_and_no_slot_serves_two(arrivals: list[float], counts: list[int], slots: int) -> None:
    one = loop.Service(2.0, slots, cold_start=loop.ColdStart(load_s=7.0))
    outcome = loop.simulate(arrivals, one, Plan(counts), 1)
    starts = [arrived + wait for arrived, wait in zip(arrivals, outcome.waits_s, strict=True)]
    assert all(wait >= 0 for wait in outcome.waits_s)
    assert all(a <= b + 1e-9 for a, b in pairwise(starts))
    for start in starts:
        assert sum(s <= start < s + 2.0 - 1e-9 for s in starts) <= 5 * slots * 2  # drained replicas finish theirs


def test_a_cold_start_delays_the_first_request_by_its_parts() -> None:
    cold = loop.ColdStart(node_s=60, image_s=30, weights_s=20, load_s=8, warm_up_s=2)
    asleep = loop.Service(1.0, cold_start=cold, activator=True)
    outcome = loop.simulate([5.0], asleep, Plan([1]), 0, until_s=200)
    assert cold.total_s == 120
    assert outcome.latencies_s == [120 - 5 + 1]  # asked for at second 0


def test_a_draining_replica_finishes_and_is_paid_until_then() -> None:
    outcome = loop.simulate([0.0, 0.0, 8.0], loop.Service(15.0), Plan([2, 1, 1, 1, 1, 1, 1]), 2, until_s=60)
    assert outcome.latencies_s == [15.0, 15.0, 22.0]  # the third waits for the one that stays
    assert outcome.replica_s == 60 + 15


def test_a_batch_takes_what_waits() -> None:
    batching = loop.Service(1.0, max_batch=4, per_item_s=0.1)
    outcome = loop.simulate([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], batching, loop.Fixed(1), 1)
    assert outcome.waits_s == pytest.approx([0, 0.9, 0.8, 0.7, 0.6, 1.8])
    assert outcome.latencies_s[1] == pytest.approx(0.9 + 1.3)


def test_who_waits_too_long_is_an_error_and_costs_no_slot() -> None:
    impatient = loop.Service(10.0, timeout_s=5.0)
    outcome = loop.simulate([0.0, 1.0, 9.0], impatient, loop.Fixed(1), 1)
    assert outcome.latencies_s == [10.0, math.inf, 11.0]
    assert outcome.errors == 1
    assert outcome.attained(15.0) == pytest.approx(2 / 3)


def test_the_bill_adds_up() -> None:
    pricey = loop.Service(1.0, gpus=2, dollars_per_gpu_hour=3.0)
    outcome = loop.simulate([float(t) for t in range(3601)], pricey, loop.Fixed(4), 4)
    assert outcome.gpu_hours == 8
    assert outcome.dollars == 24
    assert outcome.dollars_per_million == pytest.approx(24e6 / 3601)
    assert outcome.latency_s(0.5) == 1.0


@pytest.mark.parametrize("name", ["hpa", "kpa", "keda"])
def test_the_real_hour_is_the_same_every_time(name: str) -> None:
    arrivals = loop.spread(data.llm_arrivals(), data.BIN_S)
    one = loop.Service(2.0, 4, cold_start=loop.ColdStart(image_s=20, load_s=10), activator=True)
    first = loop.simulate(arrivals, one, scalers()[name](), 2)
    assert first == loop.simulate(arrivals, one, scalers()[name](), 2)
    assert len(first.latencies_s) == 19_366
    assert all(count <= 20 for _, count, *_ in first.timeline)


def test_spread_keeps_the_counts_and_the_order() -> None:
    counts = data.llm_arrivals("code")
    times = loop.spread(counts, data.BIN_S, seed=4)
    assert times == sorted(times)
    assert [sum(1 for t in times if 10 * i <= t < 10 * i + 10) for i in range(60)] == counts[:60]


def test_poisson_follows_its_rate() -> None:
    times = loop.poisson(lambda t: 5.0 if t < 1000 else 15.0, 15.0, 2000, seed=1)
    early = sum(t < 1000 for t in times)
    assert early == pytest.approx(5000, rel=0.05)
    assert len(times) - early == pytest.approx(15_000, rel=0.05)


ONE = loop.Service(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: loop.simulate([2.0, 1.0], ONE, loop.Fixed(1)),
            "arrivals_s[1]: Invalid value: 1.0: must not be before",
        ),
        (lambda: loop.fifo_waits([0.0, math.nan], [1, 1], 1), "arrivals_s[1]: Invalid value: NaN"),
        (lambda: loop.fifo_waits([0.0], [1.0], 0), "servers: Invalid value: 0: must be greater than or equal to 1"),
        (
            lambda: loop.simulate([0.0], ONE, loop.Fixed(1), 0),
            "replicas: Invalid value: 0: must be at least 1 without",
        ),
        (
            lambda: loop.simulate([0.0], ONE, loop.Fixed(0), 1),
            "replicas: Invalid value: 0: must be at least 1 without",
        ),
        (lambda: loop.simulate([0.0], ONE, loop.Fixed(1), 1, lag_s=-1), "lag_s: Invalid value: -1"),
        (lambda: loop.simulate([0.0], ONE, loop.Fixed(1), 1, scrape_s=0), "scrape_s: Invalid value: 0"),
        (lambda: loop.Service(-1.0), "service_s: Invalid value: -1.0: must be greater than or equal to 0"),
        (lambda: loop.Service(1.0, 0), "concurrency: Invalid value: 0: must be greater than or equal to 1"),
        (
            lambda: loop.Service(1.0, cold_start=loop.ColdStart(image_s=-3)),
            "image_s: Invalid value: -3",
        ),
        (lambda: loop.simulate([0.0], ONE, autoscaler()), "must be one of Fixed(replicas), ByHPA(hpa, measure)"),  # type: ignore[arg-type]
        (lambda: loop.simulate([0.0], 0.1, loop.Fixed(1)), "service: Invalid value: 0.1: must be a Service"),  # type: ignore[arg-type]
        (lambda: loop.Fixed("3"), 'replicas: Invalid value: "3": must be an integer'),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_one_clear_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        call()


def test_an_empty_history_gives_an_empty_outcome() -> None:
    outcome = loop.simulate([], ONE, loop.Fixed(1))
    assert (outcome.latency_s(0.99), outcome.errors, outcome.attained(1)) == (None, 0, 0.0)


def test_who_gave_up_is_no_longer_in_the_queue_even_without_replicas() -> None:
    snapshots: list[loop.Snapshot] = []

    class Sleeping(loop.Fixed):
        def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
            snapshots.append(snapshot)
            return 0

    asleep = loop.Service(1.0, timeout_s=5.0, activator=True)
    outcome = loop.simulate([1.0, 2.0], asleep, Sleeping(0, interval_s=1.0), 0, until_s=10)
    assert [s.queued for s in snapshots] == [0, 1, 2, 2, 2, 2, 2, 1, 0, 0, 0]
    assert outcome.errors == 2


def test_only_metrics_lag() -> None:
    """With a lag of 3 s the queue is seen 3 s late, the ready count at once."""
    snapshots: list[loop.Snapshot] = []

    class Curious(loop.Fixed):
        def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
            snapshots.append(snapshot)
            return 2

    loop.simulate([4.0] * 9, loop.Service(100.0), Curious(2, interval_s=1.0), 1, until_s=8, lag_s=3.0)
    assert [s.in_flight for s in snapshots] == [0, 0, 0, 0, 0, 0, 0, 9, 9]
    assert [s.ready for s in snapshots] == [1, 2, 2, 2, 2, 2, 2, 2, 2]


def test_what_still_starts_is_given_up_first() -> None:
    slow = loop.Service(1.0, cold_start=loop.ColdStart(node_s=50))
    outcome = loop.simulate([25.0, 40.0], slow, Plan([1, 3, 1, 1, 1, 1]), 1, until_s=59)
    assert outcome.latencies_s == [1.0, 1.0]  # the one that serves stayed
    assert outcome.replica_s == 59 + 2 * 10


def outcome_with(latencies_s: list[float], desired: list[int]) -> loop.LoopSimulation:
    timeline = [(float(t), count, count, 0) for t, count in enumerate(desired)]
    return loop.LoopSimulation(latencies_s=latencies_s, waits_s=[], replica_s=0.0, timeline=timeline, service=ONE)


def test_percentiles_are_nearest_ranks() -> None:
    four = outcome_with([4.0, 1.0, 3.0, 2.0], [])
    assert [four.latency_s(p) for p in (0.0, 0.25, 0.5, 0.51, 0.99, 1.0)] == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]


def test_what_happened_is_told_in_the_order_of_time() -> None:
    cold = loop.Service(1.0, cold_start=loop.ColdStart(load_s=12))
    outcome = loop.simulate([0.0, 1.0], cold, Plan([2, 3, 1, 1]), 1, until_s=39)
    assert [str(event) for event in outcome.events] == [
        "t=0 s  SuccessfulRescale  autoscaler: New size: 2, from 1",
        "t=10 s  SuccessfulRescale  autoscaler: New size: 3, from 2",
        "t=12 s  Ready  replica-1: 12 s after it was created",
        "t=20 s  SuccessfulRescale  autoscaler: New size: 1, from 3",
        "t=20 s  Removed  replica-1: drained",
        "t=20 s  Removed  replica-2: before it was ready",
    ]
    assert outcome.why().splitlines()[0] == "t=0 s  SuccessfulRescale  autoscaler: New size: 2, from 1"


def test_a_decision_that_cannot_be_is_refused() -> None:
    for desired in (10**9, -1):
        with pytest.raises(admission.Invalid, match=f"decision is invalid: replicas: Invalid value: {desired}"):
            loop.simulate([0.0], ONE, Plan([desired]), 1)


def test_a_flap_is_a_turn_not_a_change() -> None:
    assert outcome_with([], [1, 2, 2, 3, 5]).flaps == 0
    assert outcome_with([], [1, 3, 3, 2, 4, 4, 1]).flaps == 3


def snapshot_at(second: float, in_flight: int, ready: int = 0) -> loop.Snapshot:
    return loop.Snapshot(second, ready, in_flight, 0, 0.0, 0.0)


def test_the_kpa_decides_on_its_ticks_alone() -> None:
    kpa = loop.ByKPA(knative.KPA())
    assert [kpa.decide(float(t), snapshot_at(t, 500), 0) for t in (0, 1, 2)] == [8, 0, 8]


def sleeping(**given: Any) -> loop.ByKEDA:
    trigger = keda.Trigger("prometheus", {"query": "in_flight"}, 3)
    return loop.ByKEDA(keda.ScaledObject("b", BERT, (trigger,), **given), lambda s: s.in_flight)


@pytest.mark.parametrize("polling_interval", [10, 15, 20, 30, 45])
def test_keda_wakes_at_a_poll(polling_interval: int) -> None:
    """Load comes after the first second; whoever sleeps hears of it at the first poll after that."""
    scaler = sleeping(polling_interval=polling_interval)
    served = loop.simulate([1.0] * 9 + [100.0], loop.Service(1.0, activator=True), scaler, replicas=0)
    woken = next(at_s for at_s, desired, _, _ in served.timeline if desired)
    assert woken == polling_interval


def test_keda_does_not_hurry_the_hpa() -> None:
    """A poll every 10 s leaves the HPA at its own period."""
    scaler = sleeping(polling_interval=10)
    served = loop.simulate([i / 10 for i in range(900)], loop.Service(1.0, activator=True), scaler, replicas=0)
    steps = [b for a, b in pairwise(served.timeline) if a[1] != b[1]]
    grown = [at_s for at_s, desired, _, _ in steps if desired > 1]
    assert len(grown) > 2
    assert all(at_s % 15 == 0 for at_s in grown)


def test_the_loop_reads_one_measure_for_each_metric() -> None:
    two = keda.ScaledObject("b", BERT, (keda.Trigger("cron"), keda.Trigger("kafka")))
    with pytest.raises(admission.Invalid, match="measure: Invalid value: 1: must be one for each of 2 metrics"):
        loop.ByKEDA(two, lambda s: s.in_flight)
    both = loop.ByKEDA(two, (lambda s: 0.0, lambda s: s.queued))
    assert both.decide(0.0, loop.Snapshot(0.0, 0, 3, 0, 0.0, 0.0), 0) == 3, (
        "the second trigger wakes it, and the HPA follows"
    )


def test_what_is_not_said_of_a_service_costs_nothing_and_a_gpu_costs_what_it_does_on_a_node() -> None:
    assert loop.ColdStart().total_s == 0
    assert loop.Service(1.0).dollars_per_gpu_hour == service_nodes.GPU_DOLLARS == 3


def test_an_hpa_in_the_loop_reads_exact_thousandths() -> None:
    """6 in flight at 3 a pod are 2 pods; a little more would be 3."""
    goal = (hpa.External("in_flight", hpa.AverageValue(3)),)
    scaler = loop.ByHPA(autoscaler(metrics=goal), lambda seen: seen.in_flight)
    assert scaler.decide(0.0, loop.Snapshot(0.0, 1, 6, 0, 0.0, 1.0), 1) == 2


def test_an_hpa_on_cpu_in_the_loop() -> None:
    """Pods request one core: 4 busy cores in 4 pods are 100 %, twice the target."""
    by_cpu = autoscaler(metrics=(hpa.Resource("cpu", hpa.Utilization(50)),))
    scaler = loop.ByHPA(by_cpu, lambda seen: seen.busy * seen.ready)
    assert scaler.decide(0.0, loop.Snapshot(0.0, 4, 0, 4, 0.0, 1.0), 4) == 8
