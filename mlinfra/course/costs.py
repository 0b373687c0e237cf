"""The classifier's month: GPU hours of serving, training, releases and staging, and what each decision saves.

The hour of production traffic of notebook 5 stands for every hour of the month. Prices are examples.
"""

from __future__ import annotations

from functools import lru_cache

from mlinfra.autoscaling import hpa, loop
from mlinfra.course import data
from mlinfra.helm.bill import HOURS_PER_MONTH, Bill, Line
from mlinfra.kserve.canary import Counts, effective_sample, largest_sample
from mlinfra.manifest import ObjectReference
from mlinfra.pipelines.timing import Preemptible

GPU_DOLLARS, SPOT_DOLLARS = 3.0, 1.0
"""Dollars per GPU hour."""

RELEASES = 8
"""New versions in a month."""

COLD_START = loop.ColdStart(image_s=20, weights_s=30, load_s=10, warm_up_s=5)
TARGET = ObjectReference("Deployment", "bert-inference")
TRACE_H = len(data.llm_arrivals("conversation")) * data.BIN_S / 3600


@lru_cache
def arrivals_s() -> tuple[float, ...]:
    """When each request of the trace arrives."""
    return tuple(loop.spread(data.llm_arrivals("conversation"), data.BIN_S))


@lru_cache(maxsize=64)
def serve(
    at_once: int = 4,
    share: float = 1.0,
    target: float = 2.8,
    least: int = 2,
    fixed: int = 0,
    service_s: float = 2.0,
) -> loop.LoopSimulation:
    """The trace, served by replicas that answer `at_once` requests and take this `share` of a GPU each.

    An HPA aims at `target` requests in flight per replica, never below `least` replicas; `fixed` turns it off.
    """
    replica = loop.Service(
        service_s, concurrency=at_once, timeout_s=60, cold_start=COLD_START, gpus=share, activator=True
    )
    if fixed:
        return loop.simulate(arrivals_s(), replica, loop.Fixed(fixed), replicas=fixed)
    in_flight = (hpa.External("in_flight", hpa.AverageValue(f"{target:g}")),)
    scaler = hpa.HorizontalPodAutoscaler("bert", TARGET, 80 // at_once, least, in_flight, hpa.Behavior())
    by_hpa = loop.ByHPA(scaler, lambda snapshot: snapshot.in_flight)
    return loop.simulate(arrivals_s(), replica, by_hpa, replicas=max(16 // at_once, least))


def month(served: loop.LoopSimulation, spot: bool = True, canary: bool = True, staging_asleep: bool = True) -> Bill:
    """The bill of 30 days in which every hour is like the trace."""
    traces = HOURS_PER_MONTH / TRACE_H
    lines = (
        Line("serving", served.gpu_hours * traces, GPU_DOLLARS),
        Line("training", 30 * training_h(spot), SPOT_DOLLARS if spot else GPU_DOLLARS),
        Line("releases", RELEASES * (rollout_h(served) + (canary_h() if canary else 0)), GPU_DOLLARS),
        Line("staging", 22 * 10 if staging_asleep else HOURS_PER_MONTH, GPU_DOLLARS),
    )
    return Bill(lines, (len(arrivals_s()) - served.errors) * traces)


def training_h(spot: bool) -> float:
    """GPU hours of a night: four of work; on spot nodes with a checkpoint every 30 minutes, and work done twice."""
    nightly = Preemptible(4 * 3600, 0.1, 30 * 60, 60) if spot else Preemptible(4 * 3600, 0)
    return nightly.expected_s() / 3600


def rollout_h(served: loop.LoopSimulation) -> float:
    """GPU hours that new pods hold while they start: as many as serve on average."""
    return served.gpu_hours / TRACE_H * COLD_START.total_s / 3600


def canary_h() -> float:
    """Hours of one GPU until a canary of 5 % can tell 1 % errors from 0.5 %."""
    of_a_request = effective_sample([(Counts(95), Counts(5))]) / 100
    return largest_sample(0.005, 0.01) / (of_a_request * len(arrivals_s()) / TRACE_H)


def without() -> dict[str, Bill]:
    """The month with one decision taken back, by the decision."""
    chosen = serve()
    return {
        "answer 4 at once, not 1": month(serve(at_once=1, target=0.7)),
        "scale with load, not 20 all day": month(serve(fixed=20)),
        "let staging sleep at night": month(chosen, staging_asleep=False),
        "scale with load, not 6 all day": month(serve(fixed=6)),
        "train on spot nodes": month(chosen, spot=False),
        "try a canary first": month(chosen, canary=False),
        "a whole GPU, not half for 2 at once": month(serve(at_once=2, share=1 / 2, target=1.4)),
        "scale with load, not 5 all day": month(serve(fixed=5)),
    }
