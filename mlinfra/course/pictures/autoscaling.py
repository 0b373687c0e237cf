"""The pictures of notebook 05: pure functions from runs, or from a slider's values, to a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mlinfra import study, traffic
from mlinfra.autoscaling import hpa, loop, vpa
from mlinfra.course import data, loads, measured, predicted, race
from mlinfra.study import Arrow, Figure, Row

Points = list[tuple[float, float]]
Run = Sequence[hpa.Decision]


def over_time(run: Run) -> Points:
    """The count after each pass, by minutes."""
    return [(decision.at_s / 60, decision.desired) for decision in run]


def in_cores(demand: loads.Demand, run: Run) -> Points:
    return [(decision.at_s / 60, demand(decision.at_s) / 1000) for decision in run]


def jump(run: Run, cores: int = 5) -> Figure:
    """A demand that jumps and falls back, what the pods can use of it, and the count."""
    demand = in_cores(loads.jump(cores), run)
    usage = [(t, min(cores, d.current * loads.LIMIT_MILLI / 1000)) for (t, cores), d in zip(demand, run, strict=True)]
    peak = max(run, key=lambda decision: decision.desired)
    return study.steps(
        "An HPA at 60 % of a request of half a core",
        f"The demand jumps to {cores} cores at minute 2: {peak.desired} replicas at minute {peak.at_s / 60:g}, "
        f"{run[-1].desired} at minute {run[-1].at_s / 60:g}.",
        Row("CPU, cores", {"demand": demand, "used": usage}, top=cores + 1),
        Row("replicas", {"replicas": over_time(run)}, {"maxReplicas 20": 20}, top=24),
    )


def real_hour(run: Run, counts: list[int], target: float = 0.5) -> Figure:
    """The rate of a real hour, the count that it needs at each moment, and the count that the HPA keeps."""
    rate = [(d.at_s / 60, data.rate_per_s(counts, d.at_s)) for d in run]
    need = [(t, max(2, math.ceil(r / target))) for t, r in rate]
    shortages = sum(d.desired < n for d, (_, n) in zip(run, need, strict=True))
    exact = sum(n for _, n in need[:-1]) * loads.PASS_S / 3600
    return study.steps(
        "One hour of conversation requests, target 0.5 requests/s per pod",
        f"{loads.scale_events(run)} changes and {loads.pod_hours(run):.1f} pod-hours; {exact:.1f} if the count could "
        f"follow the rate exactly. {shortages} of {len(run)} passes run short.",
        Row("requests per second, over one minute", {"rate": rate[::4]}, top=10),
        Row("replicas", {"HPA": over_time(run), "needed": need[::4]}, top=20),
    )


def cpu_or_queue() -> Figure:
    """The same service on GPUs, scaled on CPU and on requests in flight."""
    cpu, queue = loads.GPUService(), loads.GPUService()
    on_cpu = hpa.Resource("cpu", hpa.Utilization(60))
    runs = {
        "on CPU": hpa.simulate(race.scaler(on_cpu, least=2), cpu.by_cpu, 2, 900),
        "on requests in flight": hpa.simulate(race.scaler(race.in_flight("8"), least=2), queue.by_in_flight, 2, 900),
    }
    counts = {name: over_time(run) for name, run in runs.items()}
    waiting = {
        name: [(t / 60, n) for t, n in service.waiting] for name, service in zip(runs, (cpu, queue), strict=True)
    }
    rate = [(d.at_s / 60, cpu.arrivals_per_s(d.at_s)) for d in runs["on CPU"]]
    last = {name: (run[-1].desired, round(waiting[name][-1][1])) for name, run in runs.items()}
    outcome = "; ".join(f"{name} {pods} pods, {left:,} requests wait" for name, (pods, left) in last.items())
    return study.steps(
        "A GPU service scaled on CPU and on requests in flight",
        f"60 requests/s keep 6 pods busy. At minute 15: {outcome}.",
        Row("requests per second", {"rate": rate}, top=80, height=80),
        Row("replicas", counts, {"6 pods": 6}, top=15, height=170),
        Row("requests waiting", waiting, top=35_000),
    )


def burst(results: race.Results, cold_s: float) -> Figure:
    """A minute of requests, the pods that serve them, and the requests in flight, every 2 s."""
    ready = {name: [(float(t), float(n)) for t, _, n, _ in run.timeline[::2]] for name, run in results.items()}
    flying = {name: [(float(t), float(n)) for t, _, _, n in run.timeline[::2]] for name, run in results.items()}
    times = [t for t, *_ in next(iter(results.values())).timeline[::2]]
    latencies = "; ".join(
        f"{name} p50 {run.latency_s(0.5):.1f} s, p99 {run.latency_s(0.99):.1f} s" for name, run in results.items()
    )
    return study.steps(
        f"One minute of 100 requests/s, cold start {cold_s:g} s",
        f"{latencies}.",
        Row("requests per second", {"rate": [(t, 100 if 60 <= t < 120 else 0) for t in times]}, top=120, height=70),
        Row("pods that serve", ready, top=40),
        Row("requests in flight", flying, top=6_000),
        x_label="seconds",
    )


def replicas_under(results: race.Results, trace: str) -> Figure:
    """The rate of the hour, and below it the replicas that serve, one row an autoscaler."""
    counts = data.llm_arrivals(trace)
    times = range(0, len(counts) * data.BIN_S, 30)
    rate = [(t / 60, data.rate_per_s(counts, t, window_s=30)) for t in times]
    ready = {name: [(t / 60, n) for t, _, n, _ in run.timeline[::30]] for name, run in results.items()}
    most = ", ".join(f"{name} {max(n for _, n in line)}" for name, line in ready.items())
    return study.steps(
        f"Replicas that serve, trace {trace}",
        f"The most replicas: {most}.",
        Row("requests per second", {"rate": rate}, height=80),
        *(Row(f"{name}, replicas", {name: line}, top=20, height=60) for name, line in ready.items()),
    )


@lru_cache(maxsize=1)
def untuned() -> loop.LoopSimulation:
    return race.on_code(race.by_queue())


def tuned(target: float, least: int, window: int) -> Figure:
    """An HPA of the reader's on the hour with waves."""
    down = hpa.ScalingRules(stabilization_window_seconds=window)
    scaler = race.by_queue(hpa.Behavior(scale_down=down), least, f"{target:.1f}")
    run, before = race.on_code(scaler, least), untuned()
    counts = data.llm_arrivals("code")
    rate = [(t / 60, data.rate_per_s(counts, t, window_s=30)) for t in range(0, len(counts) * data.BIN_S, 30)]
    return study.steps(
        "An HPA of your own on the hour with waves",
        f"p99 {run.latency_s(0.99):.1f} s (the race: {before.latency_s(0.99):.1f}), {run.gpu_hours:.1f} GPU hours "
        f"({before.gpu_hours:.1f}), {run.errors} errors, {100 * run.attained(race.SLO_S):.1f} % within {race.SLO_S} s.",
        Row("requests per second", {"rate": rate}, top=20, height=80),
        Row("replicas that serve", {"yours": [(t / 60, n) for t, _, n, _ in run.timeline[::30]]}, top=20),
    )


# ---------------------------------------------------------------------------------------------------- measured GPUs


TOKENS_PER_S = {
    "answers for 1 user": ("tokens_per_s", 1, 512),
    "answers for 64 users": ("tokens_per_s", 64, 512),
    "answers for 32 users with 8,192 tokens each": ("tokens_per_s", 32, 8192),
    "reading prompts of 2,048 tokens": ("prefill_tokens_per_s", 1, 2048),
}
"""Kinds of work by name: the measured column, the batch and the tokens of context."""

DEAREST = 8.0


def dollars(work: str, h100: float, h200: float) -> Figure:
    """What a million tokens of this work cost on both cards, at these prices an hour."""
    column, batch, context_tokens = TOKENS_PER_S[work]
    per_s = {card: predicted.decoding(card, batch, context_tokens)[column] for card in measured.CARDS}
    cost = {
        card: predicted.dollars_per_million(price, per_s[card])
        for card, price in zip(measured.CARDS, (h100, h200), strict=True)
    }
    ratio = per_s["h200"] / per_s["h100"]
    return study.bars(
        f"What a million tokens cost: {work}",
        f"{work[0].upper()}{work[1:]}: {cost['h100']:.3f} dollars per million tokens on the H100, {cost['h200']:.3f} "
        f"on the H200. The H200 is {ratio:.2f} times as fast, cheaper below {ratio * h100:.2f} dollars an hour.",
        {
            f"H100, ${h100:.2f}": {"per million tokens": cost["h100"]},
            f"H200, ${h200:.2f}": {"per million tokens": cost["h200"]},
        },
        "dollars",
        top=predicted.dollars_per_million(DEAREST, min(per_s.values())),
    )


# ---------------------------------------------------------------------------------------------------------- your own


def stretches(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The values in parts of so many, the last one shorter."""
    return [values[i : i + size] for i in range(0, len(values), size)]


def replayed(run: loop.LoopSimulation, counts: traffic.RequestCounts) -> Figure:
    """Traffic of the reader's own, minute by minute, and the replicas that an autoscaler starts for it."""
    a_minute = max(1, round(60 / counts.bin_s))
    rates = [sum(part) / (len(part) * counts.bin_s) for part in stretches(counts.counts, a_minute)]
    rate = [(i * a_minute * counts.bin_s / 60, rate) for i, rate in enumerate(rates)]
    desired = [(at_s / 60, wanted) for at_s, wanted, _, _ in run.timeline]
    ready = [(at_s / 60, serving) for at_s, _, serving, _ in run.timeline]
    flying = [(part[0][0] / 60, max(in_flight for *_, in_flight in part)) for part in stretches(run.timeline, 4)]
    return study.steps(
        "An HPA on recorded traffic",
        f"{counts.requests:,} requests from {counts.start:%d %B %Y, %H:%M}. Latency p50 {run.latency_s(0.5):.1f} s, "
        f"p99 {run.latency_s(0.99):.1f} s; {run.replica_s / 3600:.1f} pod-hours, {run.dollars:.2f} dollars.",
        Row("requests per second", {"rate": rate}, height=70),
        Row("replicas", {"desired": desired, "ready": ready}, height=100),
        Row("most requests in flight", {"in flight": flying}, height=70),
    )


# ------------------------------------------------------------------------------------------------------------ VPA

DAY_MIN, DAYS, SPIKE_MIN = 1440, 9, (30 * 60, 32 * 60)
Recommendations = list[tuple[float, vpa.Recommendation]]


def used_milli(minute: int) -> int:
    """200m all day, and 1,000m for two hours of the second day."""
    return 1000 if SPIKE_MIN[0] <= minute < SPIKE_MIN[1] else 200


def recommendations_of(flags: vpa.RecommenderFlags | None = None) -> Recommendations:
    """What the recommender says every four hours, by days."""
    pod, recommendations = vpa.ContainerState(vpa.AggregateContainerState(flags or vpa.RecommenderFlags())), []
    for minute in range(DAYS * DAY_MIN):
        pod.add_cpu(used_milli(minute), minute * 60)
        if minute % 240 == 239:
            recommendations.append(((minute + 1) / DAY_MIN, vpa.recommend(pod.aggregate)))
    return recommendations


def recommendation(percentile: int = 90, half_life: int = 24) -> Figure:
    """Usage, and what the VPA asks for above it."""
    recommendations = recommendations_of(vpa.RecommenderFlags(percentile / 100, histogram_half_life_s=half_life * 3600))
    usage = [(minute / DAY_MIN, used_milli(minute)) for minute in range(0, DAYS * DAY_MIN, 60)]
    target = [(day, r.target.cpu_milli) for day, r in recommendations]
    upper = [(day, min(r.upper_bound.cpu_milli, 3000)) for day, r in recommendations]
    return study.steps(
        "What a pod uses, and what the VPA asks for",
        f"Target p{percentile}, half-life {half_life} h: "
        f"{max(milli for _, milli in target)}m at most, {target[-1][1]}m on day 9.",
        Row(
            "milli cores (upper bound cut at 3000)",
            {"usage": usage, "target": target, "upper": upper},
            height=190,
            top=3000,
        ),
        x_label="days",
    )


def spiral(evenings: Sequence[tuple[int, int, int]]) -> Figure:
    """Evening by evening: the demand that stays, the request that the VPA sets, the pods that the HPA asks for."""
    nights = range(1, len(evenings) + 1)
    pods = [(n, count) for n, (count, _, _) in zip(nights, evenings, strict=True)]
    request = [(n, milli) for n, (_, milli, _) in zip(nights, evenings, strict=True)]
    shares = [percent for _, _, percent in evenings]
    return study.steps(
        "An HPA and a VPA on the same CPU",
        f"The demand stays at 4 cores. Utilization after the VPA's change is {min(shares)} to {max(shares)} % of the "
        f"request every evening, never 60. Pods: {', '.join(str(count) for count, _, _ in evenings)}.",
        Row("demand, cores", {"demand": [(n, 4) for n in nights]}, top=6, height=60),
        Row("request, milli cores", {"request": request}, top=1500, height=90),
        Row("pods", {"pods": pods}, {"maxReplicas 40": 40}, top=50, height=110),
        x_label="evenings",
    )


# ----------------------------------------------------------------------------------------------------------- loops


METRICS, PROXIES = "metrics server,\nadapter", "queue-proxies,\nactivator"
SOURCE = "Prometheus,\nKafka, ..."
HPA, KPA = "HPA controller\nevery 15 s", "KPA\nevery 2 s"
KEDA_HPA, OPERATOR = "HPA by KEDA\nevery 15 s", "KEDA operator\nevery 30 s"
REVISION, SCALED = "Deployment of\na revision", "Deployment of a\nScaledObject"


def loops() -> Figure:
    """The three control loops side by side: who measures, who decides, who writes the count."""
    return study.diagram(
        "Three control loops",
        "HPA: the controller reads metrics APIs every 15 s and writes the scale of a Deployment. KPA: queue-proxies "
        "and the activator report requests in flight every second, it decides every 2 s. KEDA: its operator "
        "polls its source every 30 s, steps between 0 and 1, and writes an HPA that does the rest.",
        {
            "decides": [HPA, KPA, KEDA_HPA, OPERATOR],
            "measures": [METRICS, PROXIES, "KEDA's metrics\nserver", SOURCE],
            "runs": ["Deployment", REVISION, SCALED, ""],
        },
        [
            Arrow("Deployment", METRICS, "usage"),
            Arrow(METRICS, HPA, "CPU, ..."),
            Arrow(HPA, "Deployment", "1 to max", dashed=True),
            Arrow(REVISION, PROXIES, "in flight"),
            Arrow(PROXIES, KPA, "in flight"),
            Arrow(KPA, REVISION, "0 to max", dashed=True),
            Arrow(SCALED, SOURCE, "work"),
            Arrow(SOURCE, "KEDA's metrics\nserver"),
            Arrow("KEDA's metrics\nserver", KEDA_HPA, "value"),
            Arrow(SOURCE, OPERATOR, "active?"),
            Arrow(KEDA_HPA, SCALED, "1 to max", dashed=True),
            Arrow(OPERATOR, SCALED, "0 or 1", dashed=True),
        ],
    )
