"""The race of notebook 05: autoscalers that serve a burst, and a real hour, request by request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from mlinfra.autoscaling import hpa, keda, knative, loop, vpa
from mlinfra.course import data
from mlinfra.manifest import ObjectReference

DEPLOYMENT = ObjectReference("Deployment", "bert-classifier")
COLD_START = loop.ColdStart(image_s=20, weights_s=30, load_s=10, warm_up_s=5)
SERVICE = loop.Service(2.0, concurrency=4, timeout_s=60, cold_start=COLD_START, activator=True)
"""A request takes 2 s, a replica is one GPU and serves four at once."""

MOST, AT_START, FIXED = 20, 4, 6
TARGET = "2.8"
"""Requests in flight per replica: 70 % of the four slots."""

SLO_S = 5
Results = Mapping[str, loop.LoopSimulation]


def scaler(
    metric: hpa.Metric, behavior: hpa.Behavior | None = None, least: int = 1, most: int = MOST
) -> hpa.HorizontalPodAutoscaler:
    """An HPA of the service on one metric; without a behavior the API's defaults."""
    return hpa.HorizontalPodAutoscaler(DEPLOYMENT.name, DEPLOYMENT, most, least, (metric,), behavior or hpa.Behavior())


def in_flight(target: str = TARGET) -> hpa.External:
    return hpa.External("requests_in_flight", hpa.AverageValue(target))


def by_queue(behavior: hpa.Behavior | None = None, least: int = 1, target: str = TARGET) -> loop.ByHPA:
    """An HPA on requests in flight."""
    return loop.ByHPA(scaler(in_flight(target), behavior, least), lambda seen: seen.in_flight)


def by_busy() -> loop.ByHPA:
    """An HPA on the share of busy slots, at 70 %: a busy replica counts as one that uses all of its request."""
    busy = hpa.Resource("cpu", hpa.Utilization(70))
    return loop.ByHPA(scaler(busy), lambda seen: seen.busy * seen.ready)


def by_kpa() -> loop.ByKPA:
    revision = knative.Revision(container_concurrency=4, max_scale=MOST)
    return loop.ByKPA(knative.KPA(revision, ready_pods=AT_START))


def by_keda() -> loop.ByKEDA:
    query = {"serverAddress": "http://prometheus:9090", "query": "requests_in_flight"}
    trigger = keda.Trigger("prometheus", query, TARGET)
    scaled = keda.ScaledObject(DEPLOYMENT.name, DEPLOYMENT, (trigger,), max_replica_count=MOST, behavior=hpa.Behavior())
    return loop.ByKEDA(scaled, lambda seen: seen.in_flight)


@lru_cache(maxsize=2)
def arrivals_s(trace: str) -> tuple[float, ...]:
    """The requests of a trace, spread evenly within each 10 s."""
    return tuple(loop.spread(data.llm_arrivals(trace), data.BIN_S))


def contenders() -> dict[str, loop.Autoscaler]:
    """Five autoscalers that have not decided anything yet."""
    return {
        "fixed": loop.Fixed(FIXED),
        "HPA on busy": by_busy(),
        "HPA on queue": by_queue(),
        "KPA": by_kpa(),
        "KEDA": by_keda(),
    }


def race(trace: str, nodes: Callable[[], loop.Nodes | None] = lambda: None) -> dict[str, loop.LoopSimulation]:
    """Five autoscalers on the same hour, each on nodes of its own if there are any."""
    return {
        name: loop.simulate(arrivals_s(trace), SERVICE, scaler, FIXED if name == "fixed" else AT_START, nodes=nodes())
        for name, scaler in contenders().items()
    }


def race_table(results: Results) -> str:
    """Latency, answers in time, and cost of each, one a line."""
    lines = [f"{'':13} p50 s  p99 s  within {SLO_S} s  errors  GPU hours  $ per million"]
    for name, run in results.items():
        late = f"{run.latency_s(0.5):5.1f}  {run.latency_s(0.99):5.1f}  {run.attained(SLO_S):10.1%}  {run.errors:6}"
        lines.append(f"{name:13} {late}  {run.gpu_hours:9.1f}  {run.dollars_per_million:13,.0f}")
    return "\n".join(lines)


def causes_table(results: Results) -> str:
    """What lies behind the table: changes of the count, seconds at zero, seconds without a free slot."""
    lines = []
    for name, run in results.items():
        desired = [count for _, count, _, _ in run.timeline]
        changes = sum(a != b for a, b in pairwise(desired))
        asleep_s = sum(ready == 0 for _, _, ready, _ in run.timeline)
        full_s = sum(flying > 0 and flying >= 4 * ready for _, _, ready, flying in run.timeline)
        serving_h = sum(ready for _, _, ready, _ in run.timeline) / 3600
        states = f"{changes:4} changes  {asleep_s:4} s at zero  {full_s:4} s full"
        lines.append(f"{name:13} {states}  {serving_h:4.1f} of {run.gpu_hours:4.1f} GPU hours serving")
    return "\n".join(lines)


def headroom(ramp_per_s2: float, start_s: float, signal_s: float, per_replica: float) -> float:
    """Replicas that must be there before they are needed: the rate that is missing after the whole delay."""
    return ramp_per_s2 * (start_s + signal_s) / per_replica


def steepest_per_s2(trace: str, window_s: int = 60) -> float:
    """The fastest rise of a trace's rate between two minutes that follow each other, in requests/s per second."""
    counts, bins = data.llm_arrivals(trace), window_s // data.BIN_S
    rates = [sum(counts[i : i + bins]) / window_s for i in range(0, len(counts) - bins, bins)]
    return max(after - before for before, after in pairwise(rates)) / window_s


def on_code(scaler: loop.Autoscaler, least: int = 1, start: loop.ColdStart = COLD_START) -> loop.LoopSimulation:
    """The hour with waves, from four replicas or the minimum where that is more."""
    service = replace(SERVICE, cold_start=start)
    return loop.simulate(arrivals_s("code"), service, scaler, max(AT_START, least))


def plans_table() -> str:
    """A shorter start against replicas that already run, on the hour with waves."""
    short = replace(COLD_START, weights_s=0)
    plans = {
        "as it is": (COLD_START, 1),
        "weights on the node": (short, 1),
        "minReplicas 6": (COLD_START, 6),
        "both": (short, 6),
    }
    lines = []
    for name, (start, least) in plans.items():
        run = on_code(by_queue(least=least), least, start)
        outcome = f"{run.attained(SLO_S):6.1%} within {SLO_S} s  {run.gpu_hours:5.1f} GPU hours"
        lines.append(f"{name:19} {start.total_s:3.0f} s to start  {outcome}")
    return "\n".join(lines)


def starts_table() -> str:
    """The share answered in time by how long a replica takes to start, with one replica at least."""
    runs = {s: on_code(by_queue(), start=loop.ColdStart(load_s=s)) for s in (65, 55, 45, 40, 35, 30, 25)}
    return "\n".join(f"{s:3} s to start: {run.attained(SLO_S):.1%} within {SLO_S} s" for s, run in runs.items())


def burst(cold_s: float) -> dict[str, loop.LoopSimulation]:
    """One minute of 100 requests/s; a request takes 1 s, a pod serves ten at once."""
    requests_s = loop.poisson(lambda now_s: 100 if 60 <= now_s < 120 else 0, 100, 300, seed=1)
    pod = loop.Service(1.0, concurrency=10, cold_start=loop.ColdStart(load_s=cold_s), activator=True)
    kpa = loop.ByKPA(knative.KPA(knative.Revision(container_concurrency=10, max_scale=30)))
    hpa_on_7 = loop.ByHPA(scaler(in_flight("7"), most=30), lambda seen: seen.in_flight)
    return {
        "KPA from zero": loop.simulate(requests_s, pod, kpa, 0, until_s=300),
        "HPA from one": loop.simulate(requests_s, pod, hpa_on_7, 1, until_s=300),
    }


def spiral(evenings: int = 9, demand_milli: int = 4000, target: float = 0.60) -> list[tuple[int, int, int]]:
    """Evening by evening: pods, the request in milli cores, and the percent of it in use before the HPA acts."""
    pods, course = 4, []
    for _ in range(evenings):
        usage = vpa.AggregateContainerState()
        pod = vpa.ContainerState(usage)
        for minute in range(24 * 60):
            pod.add_cpu(demand_milli // pods, minute * 60)
        request_milli = vpa.recommend(usage).target.cpu_milli
        usage_share = demand_milli / pods / request_milli
        pods = min(40, math.ceil(pods * usage_share / target))
        course.append((pods, request_milli, round(100 * usage_share)))
    return course


class Watch:
    """One replica, and every snapshot of it."""

    interval_s = 1.0

    def __init__(self) -> None:
        self.snapshots: list[loop.Snapshot] = []

    def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
        self.snapshots.append(snapshot)
        return 1


def batching_at(rate_per_s: float) -> tuple[float, float, float]:
    """Share of the time that a batching GPU is busy, mean requests in flight, and p99 latency in seconds."""
    watch = Watch()
    requests_s = loop.poisson(lambda now_s: rate_per_s, rate_per_s, 600, seed=2)
    run = loop.simulate(requests_s, loop.Service(0.2, max_batch=16, per_item_s=0.01), watch)
    seen = watch.snapshots
    busy = sum(snapshot.busy for snapshot in seen) / len(seen)
    return busy, sum(snapshot.in_flight for snapshot in seen) / len(seen), run.latency_s(0.99) or 0.0
