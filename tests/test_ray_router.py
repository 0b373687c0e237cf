"""A request's way, beside queueing formulas and beside what Ray's own batching decorator was seen to do."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlinfra.admission.rules import Invalid
from mlinfra.ray_serve.router import (
    Batching,
    RouterSimulation,
    RunningReplica,
    Stage,
    any_one,
    exponential,
    linear,
    shorter_of_two,
    simulate,
    takes,
)


def poisson(per_s: float, count: int, seed: int = 1) -> list[float]:
    draw, now_s, times = random.Random(seed), 0.0, []
    for _ in range(count):
        now_s += draw.expovariate(per_s)
        times.append(now_s)
    return times


def erlang_c(erlangs: float, servers: int) -> float:
    """The chance to wait in M/M/c."""
    full = erlangs**servers / math.factorial(servers) * servers / (servers - erlangs)
    return full / (sum(erlangs**k / math.factorial(k) for k in range(servers)) + full)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 0.8)])
def test_one_replica_with_workers_is_m_m_c(servers: int, load: float) -> None:
    erlangs = load * servers
    stage = Stage("s", exponential(1.0), max_ongoing_requests=10**9, workers=servers)
    waited = fmean(simulate([stage], poisson(erlangs, 100_000)).latencies_s) - 1
    assert waited == pytest.approx(erlang_c(erlangs, servers) / (servers - erlangs), rel=0.08)


def test_one_worker_and_a_constant_time_is_m_d_1() -> None:
    stage = Stage("s", takes(1.0), max_ongoing_requests=10**9)
    waited = fmean(simulate([stage], poisson(0.7, 100_000)).latencies_s) - 1
    assert waited == pytest.approx(0.7 / 2 / 0.3, rel=0.05)


def test_replicas_of_one_request_each_are_one_queue() -> None:
    """With max_ongoing_requests 1 the router holds the queue: M/M/c, whichever replica is picked."""
    for pick in (shorter_of_two, any_one):
        stage = Stage("s", exponential(1.0), replicas=4, max_ongoing_requests=1)
        waited = fmean(simulate([stage], poisson(3.2, 60_000), pick=pick).latencies_s) - 1
        assert waited == pytest.approx(erlang_c(3.2, 4) / 0.8, rel=0.1)


def test_two_choices_beat_one() -> None:
    stage = Stage("s", exponential(1.0), replicas=10, max_ongoing_requests=10**9)
    tails = {
        pick: simulate([stage], poisson(9, 40_000), pick=pick).latency_s(0.99) or math.nan
        for pick in (shorter_of_two, any_one)
    }
    assert tails[shorter_of_two] < tails[any_one] / 2


def test_without_batching_requests_of_one_moment_follow_one_another() -> None:
    assert simulate([Stage("s", takes(1.0))], [0.0, 0.0, 0.0]).latencies_s == [1.0, 2.0, 3.0]


def test_a_closed_batch_never_grows() -> None:
    """Ray's decorator, size 4, wait 10 ms, 100 ms a batch, a request every 20 ms: eight batches of one."""
    simulated = simulate(
        [Stage("s", takes(0.1), max_ongoing_requests=100, batching=Batching(4, 0.01))], [0.02 * i for i in range(8)]
    )
    assert simulated.batches["s"] == [1] * 8
    ends = [0.02 * i + t for i, t in enumerate(simulated.latencies_s)]
    assert ends == pytest.approx([0.11, 0.21, 0.31, 0.41, 0.51, 0.61, 0.71, 0.81])


def test_a_burst_fills_batches_and_the_rest_waits() -> None:
    simulated = simulate([Stage("s", takes(0.0), max_ongoing_requests=100, batching=Batching(4, 0.1))], [0.0] * 10)
    assert simulated.batches["s"] == [4, 4, 2]
    assert simulated.latencies_s == pytest.approx([0.0] * 8 + [0.1, 0.1])


def test_a_worker_that_is_free_takes_all_that_wait() -> None:
    """One worker, 1 s a batch of at most 2: the first goes alone, the next two together, the last after them."""
    batching = Batching(2, 9.0, when_free=True)
    stage = Stage("s", takes(1.0), max_ongoing_requests=100, batching=batching)
    simulated = simulate([stage], [0.0, 0.1, 0.2, 0.3])
    assert simulated.batches["s"] == [1, 2, 1]
    assert simulated.latencies_s == pytest.approx([1.0, 1.9, 1.8, 2.7])


@pytest.mark.parametrize(
    ("wait_s", "ongoing", "keeps_up"), [(0.02, 1000, True), (0.04, 1000, True), (0.01, 1000, False), (0.01, 5, False)]
)
def test_a_short_wait_at_400_a_second_does_not_keep_up(wait_s: float, ongoing: int, keeps_up: bool) -> None:
    """As measured with Ray's decorator at t(b) = 8 + 1.5 b ms: 20 ms hold, 10 ms do not, nor does the default limit."""
    stage = Stage("s", linear(0.008, 0.0015), max_ongoing_requests=ongoing, batching=Batching(16, wait_s))
    tail_s = simulate([stage], poisson(400, 1600)).latency_s(0.99)
    assert tail_s is not None
    assert (tail_s < 0.15) == keeps_up


def test_a_caller_keeps_its_place_while_it_waits() -> None:
    """A front with room for one request lets the second in only when the slow stage has answered the first."""
    stages = [Stage("slow", takes(1.0), workers=5), Stage("front", takes(0.0), max_ongoing_requests=1, calls=("slow",))]
    assert simulate(stages, [0.0, 0.0]).latencies_s == pytest.approx([1.0, 2.0])
    wide = [stages[0], Stage("front", takes(0.0), max_ongoing_requests=2, calls=("slow",))]
    assert simulate(wide, [0.0, 0.0]).latencies_s == pytest.approx([1.0, 1.0])


def test_a_full_queue_drops_and_the_others_are_answered() -> None:
    stage = Stage("s", takes(1.0), max_ongoing_requests=1, max_queued_requests=2)
    simulated = simulate([stage], [0.0] * 5)
    assert (simulated.dropped, simulated.latencies_s) == (2, [1.0, 2.0, 3.0])


def test_a_drop_deeper_down_frees_the_caller() -> None:
    stages = [
        Stage("deep", takes(1.0), max_ongoing_requests=1, max_queued_requests=1),
        Stage("front", takes(0.0), max_ongoing_requests=10, calls=("deep",)),
    ]
    simulated = simulate(stages, [0.0] * 4 + [5.0])
    assert (simulated.dropped, len(simulated.latencies_s)) == (2, 3)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 60), st.integers(0, 5))
def test_every_request_is_answered_or_dropped(replicas: int, ongoing: int, size: int, count: int, seed: int) -> None:
    stages = [
        Stage("a", exponential(0.5), replicas, ongoing, 3, batching=Batching(size, 0.1)),
        Stage("b", exponential(0.2), replicas, ongoing, calls=("a",)),
    ]
    simulated = simulate(stages, poisson(10, count, seed), seed)
    assert len(simulated.latencies_s) + simulated.dropped == count
    assert all(time_s >= 0 for time_s in simulated.latencies_s)
    assert max(simulated.batches["a"], default=0) <= min(size, ongoing)


def test_bad_stages() -> None:
    with pytest.raises(Invalid, match="must be a stage listed before"):
        simulate([Stage("front", takes(1.0), calls=("slow",))], [0.0])
    with pytest.raises(Invalid, match="at least one stage"):
        simulate([], [0.0])
    with pytest.raises(Invalid, match="replicas: Invalid value: 0: must be greater than 0"):
        Stage("s", takes(1.0), replicas=0)
    with pytest.raises(Invalid, match=r"must be -1 \(no limit\) or a positive integer"):
        Stage("s", takes(1.0), max_queued_requests=0)


def test_called_stages_follow_one_another() -> None:
    """1 s in the first, 2 s in the second, then half a second of its own."""
    stages = [Stage("a", takes(1.0)), Stage("b", takes(2.0)), Stage("front", takes(0.5), calls=("a", "b"))]
    assert simulate(stages, [0.0]).by_stage == {"a": [1.0], "b": [2.0], "front": [3.5]}


def test_two_are_drawn_and_not_three() -> None:
    """Of three the longest queue never wins, and the second wins whenever the shortest is not drawn."""
    draw, replicas = random.Random(0), [RunningReplica(ongoing) for ongoing in range(3)]
    assert {shorter_of_two(replicas, draw).ongoing for _ in range(100)} == {0, 1}


def test_latencies_of_a_stage_are_nearest_ranks() -> None:
    by_stage = {"s": [4.0, 1.0, 3.0, 2.0], "idle": []}
    simulated = RouterSimulation(latencies_s=[9.0], by_stage=by_stage, batches={}, dropped=0)
    assert [simulated.latency_s(p, "s") for p in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1.0, 1.0, 2.0, 3.0, 4.0]
    assert (simulated.latency_s(0.5), simulated.latency_s(0.5, "idle")) == (9.0, None)
    with pytest.raises(Invalid, match='stage: Unsupported value: "nope"'):
        simulated.latency_s(0.5, "nope")


def test_the_events_name_the_stage_that_was_full() -> None:
    stages = [
        Stage("deep", takes(1.0), max_ongoing_requests=1, max_queued_requests=1),
        Stage("front", takes(0.0), max_ongoing_requests=3, calls=("deep",)),
    ]
    assert simulate(stages, [0.0, 5.0]).events == []
    queued = "t=0.1 s  Queued  deep: the first to wait for a replica; 1 wait at most"
    dropped = "t=0.2 s  Dropped  deep: the first of 1; max_queued_requests is 1"
    assert simulate(stages, [0.0, 0.1, 0.2, 5.0]).why() == f"{queued}\n{dropped}"


@settings(max_examples=30)
@given(st.integers(0, 700), st.integers(1, 30), st.sampled_from([-1, 1, 5]), st.sampled_from([1, 8]))
@example(700, 20, 1, 8)
def test_the_router_loses_no_request(count: int, places: int, queued: int, batch: int) -> None:
    pre = Stage("pre", takes(0.005), max_queued_requests=queued)
    model = Stage("model", takes(0.5), 1, 100, batching=Batching(batch, 0.05))
    ingress = Stage("ingress", takes(0.001), 1, places, calls=("pre", "model"))
    simulated = simulate([pre, model, ingress], [0.0008 * i for i in range(count)])
    assert len(simulated.latencies_s) + simulated.dropped == count


HOSTILE = (math.nan, math.inf, -1, 0, 99)
ONE = Stage("s", takes(0.1))
STAGES: dict[str, Callable[[Any], Stage]] = {
    "replicas": lambda number: replace(ONE, replicas=number),
    "max_ongoing_requests": lambda number: replace(ONE, max_ongoing_requests=number),
    "workers": lambda number: replace(ONE, workers=number),
    "max_batch_size": lambda number: replace(ONE, batching=Batching(number)),
    "batch_wait_timeout_s": lambda number: replace(ONE, batching=Batching(2, number)),
    "seconds": lambda number: replace(ONE, service_s=takes(number)),
    "mean_s": lambda number: replace(ONE, service_s=exponential(number)),
}


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("number", HOSTILE)
def test_a_hostile_number_is_taken_or_refused(stage: Callable[[Any], Stage], number: float) -> None:
    with suppress(Invalid):
        simulated = simulate([stage(number)], [0.0, 0.5, 9.0])
        assert len(simulated.latencies_s) == 3
        assert min(simulated.latencies_s) >= 0


def test_an_arrival_needs_a_time() -> None:
    with pytest.raises(Invalid, match=r"arrivals_s\[1\]: Invalid value: NaN: must be a finite number"):
        simulate([ONE], [0.0, math.nan])
    with pytest.raises(Invalid, match='Duplicate value: "s"'):
        simulate([ONE, replace(ONE, calls=("s",))], [0.0])
