"""The classifier's month: node hours of serving, training, releases and staging, and what each decision saves.

The hour of production traffic of notebook 5 stands for every hour of the month. Prices are those of `service_nodes`.
"""

from __future__ import annotations

import math
from functools import lru_cache

from mlinfra.autoscaling import hpa, loop
from mlinfra.course import data, service_nodes
from mlinfra.course.node_race import node_hours
from mlinfra.course.race import COLD_START
from mlinfra.course.service_nodes import GPU_DOLLARS, SPOT_DOLLARS
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS
from mlinfra.helm.bill import HOURS_PER_MONTH, Bill, Line
from mlinfra.kserve.canary import Counts, effective_sample, largest_sample
from mlinfra.manifest import ObjectReference
from mlinfra.pipelines.timing import Preemptible

RELEASES = 8
"""New versions in a month."""

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
    gpus_a_node: int = 1,
) -> loop.LoopSimulation:
    """The trace, served by replicas that answer `at_once` requests and take this `share` of a GPU, one or a half.

    An HPA aims at `target` requests in flight per replica, never below `least` replicas; `fixed` turns it off.
    """
    replica = loop.Service(
        service_s, concurrency=at_once, timeout_s=60, cold_start=COLD_START, gpus=share, activator=True
    )
    nodes = service_nodes.fleet(gpus_a_node) if share == 1 else service_nodes.half_fleet()
    if fixed:
        return loop.simulate(arrivals_s(), replica, loop.Fixed(fixed), replicas=fixed, nodes=nodes)
    in_flight = (hpa.External("in_flight", hpa.AverageValue(f"{target:g}")),)
    scaler = hpa.HorizontalPodAutoscaler("bert", TARGET, 80 // at_once, least, in_flight, hpa.Behavior())
    by_hpa = loop.ByHPA(scaler, lambda snapshot: snapshot.in_flight)
    return loop.simulate(arrivals_s(), replica, by_hpa, replicas=max(16 // at_once, least), nodes=nodes)


def month(served: loop.LoopSimulation, spot: bool = True, canary: bool = True, staging_asleep: bool = True) -> Bill:
    """The bill of 30 days in which every hour is like the trace: hours of nodes at the price of a node."""
    traces = HOURS_PER_MONTH / TRACE_H
    lines = (
        Line("serving", node_hours(served) * traces, served.dollars / node_hours(served)),
        Line("training", 30 * paid_h(training_h(spot)), SPOT_DOLLARS if spot else GPU_DOLLARS),
        Line("releases", RELEASES * (rollout_h(served) + (paid_h(canary_h()) if canary else 0)), GPU_DOLLARS),
        Line("staging", 22 * paid_h(10) if staging_asleep else HOURS_PER_MONTH, GPU_DOLLARS),
    )
    return Bill(lines, (len(arrivals_s()) - served.errors) * traces)


def paid_h(needed_h: float) -> float:
    """Hours of a node of its own: it boots first, and it goes when nobody has needed it for ten minutes."""
    return needed_h + (service_nodes.pool().ready_s + DEFAULT_FLAGS.unneeded_s) / 3600


def training_h(spot: bool) -> float:
    """Hours of a night's node: four of work; on spot nodes with a checkpoint every 30 minutes, and work done twice."""
    nightly = Preemptible(4 * 3600, 0.1, 30 * 60, 60) if spot else Preemptible(4 * 3600, 0)
    return nightly.expected_s() / 3600


def rollout_h(served: loop.LoopSimulation) -> float:
    """Node hours of a surge of 25 %: nodes for a quarter of the replicas, while four waves of them start."""
    surge = math.ceil(served.gpu_hours / TRACE_H / 4)
    return surge * paid_h(4 * COLD_START.total_s / 3600)


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
        "nodes of 1 GPU, not of 8": month(serve(gpus_a_node=8)),
        "a whole GPU, not half for 2 at once": month(serve(at_once=2, share=1 / 2, target=1.4)),
        "scale with load, not 5 all day": month(serve(fixed=5)),
    }
