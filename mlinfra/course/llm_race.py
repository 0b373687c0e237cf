"""The race on signals in notebook 05: one wave of requests to the chat model, five autoscalers, five signals.

`least_requests` routes. A request that was sent to a replica waits there: a new replica takes over nobody's queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from mlinfra.autoscaling import hpa, keda, loop
from mlinfra.autoscaling.llm import PoolRequest, PoolSimulation, simulate_pool
from mlinfra.autoscaling.llm.mix import requests
from mlinfra.autoscaling.llm.pool import in_flight, kv_usage, waiting
from mlinfra.course import measured, race
from mlinfra.course.llm_server import DOCUMENTS, SERVER, TPOT_S, TTFT_S, in_ms
from mlinfra.course.service_nodes import GPU_DOLLARS
from mlinfra.kserve.picker import PickerRouter, least_requests
from mlinfra.manifest import ObjectReference
from mlinfra.tables import columns

DEPLOYMENT = ObjectReference("Deployment", "chat")
MOST = 8
CALM_PER_S, TOP_PER_S = 2, 24
RISE_S, TOP_S, END_S = 90, 230, 285
START_S = race.COLD_START.total_s
CORES, BUSY_CORES = 8, 1
"""What a pod requests, and what the server's own loop keeps busy while it works: an assumption."""

Results = Mapping[str, PoolSimulation]


def rate_per_s(now_s: float) -> float:
    """A calm minute and a half, a rise of two minutes and a third, and a minute at the top."""
    risen = min(1.0, max(0.0, (now_s - RISE_S) / (TOP_S - RISE_S)))
    return CALM_PER_S + risen * (TOP_PER_S - CALM_PER_S)


@lru_cache(maxsize=1)
def wave() -> tuple[PoolRequest, ...]:
    """The requests of the wave: Poisson arrivals at that rate, and the lengths of the documents."""
    arrivals_s = loop.poisson(rate_per_s, TOP_PER_S, END_S, seed=3)
    drawn = requests(replace(DOCUMENTS, count=len(arrivals_s)))
    moved = (replace(each.request, arrival_s=at_s) for each, at_s in zip(drawn, arrivals_s, strict=True))
    return tuple(PoolRequest(request) for request in moved)


def serve(scaler: loop.Autoscaler, replicas: int = 1) -> PoolSimulation:
    """The wave, from so many replicas on."""
    return simulate_pool(wave(), PickerRouter(least_requests()), replicas, SERVER, scaler=scaler, start_s=START_S)


# ------------------------------------------------------------------------------------------------- the contenders


def by_cpu() -> loop.Autoscaler:
    """An HPA at 60 % of the CPU request."""
    share = BUSY_CORES / CORES
    return by_hpa(hpa.Resource("cpu", hpa.Utilization(60)), lambda seen: share * seen.busy * seen.ready)


def by_gpu_util() -> loop.Autoscaler:
    """An HPA at 80 % GPU-Util: a replica with one request already reads what was measured with one user."""
    percent = next(row["utilization_percent"] for row in measured.llm_decode() if row["batch"] == 1)
    dial = hpa.Pods("DCGM_FI_DEV_GPU_UTIL", hpa.AverageValue(80))
    return by_hpa(dial, lambda seen: percent * seen.busy * seen.ready)


def by_hpa(metric: hpa.Metric, measure: loop.Measure) -> loop.Autoscaler:
    scaler = hpa.HorizontalPodAutoscaler(DEPLOYMENT.name, DEPLOYMENT, MOST, 1, (metric,), hpa.Behavior())
    return loop.ByHPA(scaler, measure)


def trigger(query: str, threshold: str, metric_type: str = "AverageValue") -> keda.Trigger:
    source = {"serverAddress": "http://prometheus:9090", "query": query}
    return keda.Trigger("prometheus", source, threshold, metric_type=metric_type)


def scaled(*triggers: keda.Trigger, least: int = 1, most: int = MOST) -> keda.ScaledObject:
    return keda.ScaledObject(DEPLOYMENT.name, DEPLOYMENT, triggers, least, most, polling_interval=15)


ON_KV = trigger("avg(vllm:kv_cache_usage_perc)", "0.3", "Value")
ON_WAITING = trigger("sum(vllm:num_requests_waiting)", "5")
ON_IN_FLIGHT = trigger("sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)", "12")


def contenders() -> dict[str, loop.Autoscaler]:
    """One autoscaler a signal."""
    return {
        "CPU": by_cpu(),
        "GPU-Util": by_gpu_util(),
        "KV use": loop.ByKEDA(scaled(ON_KV), kv_usage),
        "waiting": loop.ByKEDA(scaled(ON_WAITING), waiting),
        "in flight": loop.ByKEDA(scaled(ON_IN_FLIGHT), in_flight),
    }


@lru_cache(maxsize=1)
def run_all() -> Results:
    """The wave under each of the five."""
    return {name: serve(scaler) for name, scaler in contenders().items()}


# ------------------------------------------------------------------------------------------------------- the tables


def standings(results: Results) -> str:
    """A line a signal: when it first asked, its replicas when the wave begins, both latencies, promises kept, cost."""
    latencies = ["TTFT p99", "KEPT", "TPOT p99", "KEPT", "BOTH KEPT"]
    head = ["SIGNAL", "ASKS", f"AT {RISE_S} s", *latencies, "GPU HOURS", "$ PER M TOKENS"]
    return "\n".join(columns([head, *([name, *figures(run)] for name, run in results.items())]))


def figures(run: PoolSimulation) -> list[str]:
    first_s = asks_first_s(run)
    first = "never" if first_s is None else f"{first_s:.0f} s"
    ttft = [f"{run.ttft_s(0.99):.1f} s", f"{run.attained(TTFT_S, math.inf):.0%}"]
    tpot = [in_ms(run.tpot_s(0.99)), f"{run.attained(math.inf, TPOT_S):.0%}"]
    cost = [f"{gpu_hours(run):.2f}", f"{dollars_per_million(run):.2f}"]
    return [first, str(run.timeline[RISE_S][1]), *ttft, *tpot, f"{kept(run):.0%}", *cost]


def asks_first_s(run: PoolSimulation) -> float | None:
    """When the count first rose; None if it never did."""
    start = run.timeline[0][1]
    return next((at_s for at_s, desired, _ in run.timeline if desired > start), None)


def kept(run: PoolSimulation) -> float:
    """Share of the answers within both promises."""
    return run.attained(TTFT_S, TPOT_S)


def gpu_hours(run: PoolSimulation) -> float:
    return run.replica_s / 3600


def dollars_per_million(run: PoolSimulation) -> float:
    """Dollars for a million tokens of answers, until the last request came."""
    return 1e6 * gpu_hours(run) * GPU_DOLLARS / run.output_tokens


def ratio_table() -> str:
    """What an HPA makes of a cache that is 90 % full on average, with a target of 30 %, by target type and replicas."""
    lines = [["REPLICAS", "AverageValue ASKS FOR", "Value ASKS FOR"]]
    for replicas in (1, 2, 4):
        counts = [proposal(replicas, goal) for goal in (hpa.AverageValue("0.3"), hpa.Value("0.3"))]
        lines.append([str(replicas), *map(str, counts)])
    return "\n".join(columns(lines))


def proposal(replicas: int, goal: hpa.AverageValue | hpa.Value) -> int:
    metric, pods = hpa.External("s0-prometheus", goal), hpa.running_pods(replicas)
    scaler = hpa.HorizontalPodAutoscaler(DEPLOYMENT.name, DEPLOYMENT, 20, 1, (metric,))
    decided = hpa.reconcile(scaler, hpa.Observation(replicas, pods, ([900],))).proposals[0]
    assert isinstance(decided, hpa.Proposal)
    return decided.replicas
