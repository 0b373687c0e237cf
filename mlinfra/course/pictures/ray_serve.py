"""Notebook 2: Ray Serve's actors, a request's way, and what load does to stages, batches and replicas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlinfra.course import ray_loads
from mlinfra.ray_serve import AutoscalingConfig
from mlinfra.ray_serve.router import RouterSimulation, simulate
from mlinfra.study import Arrow, Figure, Row, diagram, steps

RATES = range(50, 451, 25)
WAITS_MS = range(0, 21)
LATENCY_TOP_MS, BATCH_TOP_MS, QUEUE_TOP, REPLICAS_TOP = 300, 50, 1_000, 12


def actors() -> Figure:
    """Who runs in a Serve cluster, and who talks to whom."""
    layers = {
        "client": ["HTTP client"],
        "control": ["controller"],
        "edge": ["proxy, head node", "proxy, worker node"],
        "ingress": ["Classifier replica"],
        "called": ["Preprocessor replica 1", "Preprocessor replica 2", "Encoder replica"],
    }
    arrows = [
        Arrow("HTTP client", "proxy, head node", "HTTP"),
        Arrow("HTTP client", "proxy, worker node", "HTTP"),
        Arrow("proxy, head node", "Classifier replica", "call"),
        Arrow("proxy, worker node", "Classifier replica", "call"),
        Arrow("Classifier replica", "Preprocessor replica 1", "handle"),
        Arrow("Classifier replica", "Encoder replica", "handle"),
        Arrow("controller", "proxy, head node", "replica list", dashed=True),
        Arrow("controller", "Classifier replica", "start, health", dashed=True),
    ]
    description = (
        "A client calls a proxy, one on each node with replicas. The proxy calls a replica of the ingress, which calls "
        "replicas of the Preprocessor and the Encoder through handles. The controller starts replicas, checks their "
        "health, hears how many requests are ongoing, and tells proxies and handles which replicas there are; no "
        "request passes through it."
    )
    return diagram("Ray Serve's actors", description, layers, arrows)


def request_path() -> Figure:
    """Where a request waits."""
    layers = {
        "client": ["client"],
        "proxy": ["router's queue\nmax_queued_requests"],
        "ingress": ["Classifier, 2 of 5 places", "Classifier, 4 of 5 places"],
        "its handle": ["router's queue of the handle"],
        "encoder": ["Encoder, 1 of 16 places", "Encoder, 16 of 16 places"],
        "batch": ["batch that forms", "batch at work"],
    }
    arrows = [
        Arrow("client", "router's queue\nmax_queued_requests", "HTTP"),
        Arrow("router's queue\nmax_queued_requests", "Classifier, 2 of 5 places", "the shorter of two"),
        Arrow("Classifier, 2 of 5 places", "router's queue of the handle", "handle call"),
        Arrow("router's queue of the handle", "Encoder, 1 of 16 places", "the shorter of two"),
        Arrow("Encoder, 1 of 16 places", "batch that forms", "joins"),
        Arrow("batch that forms", "batch at work", "full, or its wait is over"),
    ]
    description = (
        "A request can wait in five places: in the proxy's router while all replicas of the ingress are full; in the "
        "ingress, whose place it keeps until its answer comes; in the router of the ingress's handle while all "
        "encoders are full; in a batch that forms; and behind the batch that is at work."
    )
    return diagram("A request's way through Ray Serve", description, layers, arrows)


def stages(ingress: int, encoders: int) -> Figure:
    """Latency and busy encoders at each arrival rate, for that many replicas of the ingress and the encoder."""
    outcomes = {per_s: _three(per_s, ingress, encoders) for per_s in RATES}
    busy = [(per_s, 100 * min(1.0, per_s * 0.040 / encoders)) for per_s in RATES]
    text = (
        f"{ingress} replicas of the ingress with 5 places each, {encoders} encoders. "
        f"p99 is at most {LATENCY_TOP_MS} ms up to {_last_within(outcomes)} requests per second."
    )
    return steps(
        "Latency at each arrival rate",
        text,
        _latency(outcomes, LATENCY_TOP_MS),
        Row("encoders busy, %", {"busy": busy}, {"70 %": 70}, steps=False, height=90, top=100),
        x_label="requests per second",
    )


def _three(per_s: float, ingress: int, encoders: int) -> RouterSimulation:
    return simulate(ray_loads.three_stages(ingress, encoders=encoders), ray_loads.poisson(per_s, 2_000))


def _latency(outcomes: dict[int, RouterSimulation], top_ms: int) -> Row:
    """p50 and p99 in milliseconds, cut off at the end of the axis."""
    lines = {}
    for name, fraction in (("p50", 0.5), ("p99", 0.99)):
        lines[name] = [(float(at), min(_ms(outcome, fraction), top_ms)) for at, outcome in outcomes.items()]
    return Row(f"latency, ms (cut off at {top_ms})", lines, steps=False, top=top_ms)


def _ms(outcome: RouterSimulation, fraction: float) -> float:
    return 1_000 * (outcome.latency_s(fraction) or 0.0)


def _last_within(outcomes: dict[int, RouterSimulation]) -> int:
    """The highest rate before the p99 leaves the picture; 0 when the first is out of it."""
    rate = 0
    for per_s, outcome in outcomes.items():
        if _ms(outcome, 0.99) > LATENCY_TOP_MS:
            break
        rate = per_s
    return rate


def batches(per_s: int, largest: int) -> Figure:
    """Latency and mean batch at each wait, for a rate and a largest batch."""
    outcomes = {wait_ms: ray_loads.batched(per_s, wait_ms / 1000, largest, count=1_200) for wait_ms in WAITS_MS}
    sizes = [(float(wait_ms), _mean(outcome.batches["model"])) for wait_ms, outcome in outcomes.items()]
    best = min(outcomes, key=lambda wait_ms: _ms(outcomes[wait_ms], 0.99))
    p99 = _ms(outcomes[best], 0.99)
    text = f"{per_s} requests per second, batches of up to {largest}: the lowest p99, {p99:.0f} ms, is at {best} ms."
    return steps(
        "Latency at each wait of a batch",
        text,
        _latency(outcomes, BATCH_TOP_MS),
        Row("requests in a mean batch", {"mean": sizes}, steps=False, height=90, top=32),
        x_label="batch_wait_timeout_s, in ms",
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def replicas(target: float, up_s: int, down_s: int) -> Figure:
    """Ray Serve's autoscaler under the wave: traffic, desired and ready replicas, requests in flight."""
    config = AutoscalingConfig(1, REPLICAS_TOP, target, upscale_delay_s=up_s, downscale_delay_s=down_s)
    outcome = ray_loads.wave(config)
    hours = outcome.replica_s / 3600
    text = (
        f"Target {target:g}, up after {up_s} s, down after {down_s} s: "
        f"p99 {outcome.latency_s(0.99):.1f} s, {hours:.2f} replica-hours."
    )
    counts = {
        "desired": _minutes((at_s, desired) for at_s, desired, _, _ in outcome.timeline),
        "ready": _minutes((at_s, ready) for at_s, _, ready, _ in outcome.timeline),
    }
    flying = _minutes((at_s, min(in_flight, QUEUE_TOP)) for at_s, _, _, in_flight in outcome.timeline)
    traffic = [(float(minute), per_s) for minute, per_s in enumerate([*ray_loads.WAVE, ray_loads.WAVE[-1]])]
    return steps(
        "Ray Serve's autoscaler under a wave",
        text,
        Row("requests per second", {"arrivals": traffic}, height=90, top=30),
        Row("replicas", counts, {"needed at 25/s": 5}, top=REPLICAS_TOP),
        Row("requests in flight", {"in flight": flying}, top=QUEUE_TOP),
    )


def _minutes(points: Iterable[tuple[float, int]]) -> list[tuple[float, float]]:
    return [(at_s / 60, float(value)) for at_s, value in points]
