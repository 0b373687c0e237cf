"""The pictures of language models: in notebook 1 a step, a path and stale metrics, in 5 latencies and a race."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlinfra.autoscaling.llm import LLMSimulation
from mlinfra.course import llm_loads, llm_race, llm_server, measured
from mlinfra.study import Arrow, Figure, Row, bars, diagram
from mlinfra.study import steps as bands

SHARED = replace(llm_loads.CHATS, count=240, long=0.1, system=1000)
"""Every prompt begins with the same 1,000 tokens."""

COMPARED = {"round robin": "round robin", "KServe's": "KServe's picker", "+ in flight": "in flight added"}
TOP_MS = 10_000


def steps() -> Figure:
    """Measured steps of Llama 3 8B on an H100: decoding alone, and beside chunks of a prompt."""
    measured_ms = {
        (row["decoding_requests"], row["prefill_chunk_tokens"]): row["step_ms"] for row in measured.llm_mixed_step()
    }
    shown = [(1, 0), (32, 0), (64, 0), (0, 512), (0, 2048), (32, 2048)]
    rows = {_label(*work): {_kind(*work): measured_ms[work]} for work in shown}
    said = "; ".join(f"{_kind(*work)} {_label(*work)}: {measured_ms[work]:.1f} ms" for work in shown) + "."
    return bars("One step of Llama 3 8B on an H100, measured", said, rows, "ms")


def _kind(decoding: int, chunk: int) -> str:
    if decoding and chunk:
        return "both"
    return "decode" if decoding else "prefill"


def _label(decoding: int, chunk: int) -> str:
    """How many requests decode, and how many tokens of a prompt are read."""
    if decoding and chunk:
        return f"{chunk:,} + {decoding}"
    return f"{decoding} request{'s' * (decoding > 1)}" if decoding else f"{chunk} tokens"


def path() -> Figure:
    """A request's way through an LLMInferenceService."""
    arrows = [
        Arrow("client", "gateway", "POST /v1/chat/completions"),
        Arrow("gateway", "endpoint picker", "which pod?"),
        Arrow("gateway", "vLLM, pod 1", "the request"),
        Arrow("endpoint picker", "vLLM, pod 1", dashed=True),
        Arrow("endpoint picker", "vLLM, pod 2", "metrics, every 50 ms", dashed=True),
    ]
    layers = {
        "client": ["client"],
        "cluster edge": ["gateway", "endpoint picker"],
        "pool": ["vLLM, pod 1", "vLLM, pod 2"],
    }
    said = (
        "A client sends a request to the gateway. The gateway asks the endpoint picker which pod of the InferencePool "
        "gets it, and forwards the request to that pod. The picker reads the metrics of every pod each 50 ms. It sees "
        "the prompt, and does not forward the request."
    )
    frame = {"InferencePool": ["vLLM, pod 1", "vLLM, pod 2"]}
    return diagram("The path of a request to an LLMInferenceService", said, layers, arrows, frame)


def stale(conversations: int, replicas: int, every_ms: int) -> Figure:
    """The p99 of the time to first token behind three pickers, with metrics that are read every so many ms."""
    mix = replace(SHARED, conversations=conversations / 100)
    results = {name: llm_loads.served(mix, name, replicas, every_ms / 1000) for name in COMPARED.values()}
    ttft_ms = {name: 1000 * (run.ttft_s(0.99) or 0) for name, run in results.items()}
    rows = {label: {"TTFT p99": min(TOP_MS, ttft_ms[name])} for label, name in COMPARED.items()}
    said = " ".join(
        f"{name}: {ttft_ms[name]:,.0f} ms, {run.prefix_cache_hit_rate:.0%} cached, busiest: {run.largest_share:.0%}."
        for name, run in results.items()
    )
    title = f"{conversations} % conversations, {replicas} replicas, metrics every {every_ms:,} ms"
    return bars(title, said, rows, "ms", top=TOP_MS)


# ------------------------------------------------------------------------------------------------------ notebook 05

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
"""Percentiles by name, from left to right."""

TOP_GAP_MS, TOP_TTFT_S = 250, 2.0


def knee(results: llm_server.Knee) -> Figure:
    """Both latencies of one server against the load, with both promises."""
    ttft = [(per_s, run.ttft_s(0.99) or 0) for per_s, run in results.items()]
    tpot = [(per_s, 1000 * (run.tpot_s(0.99) or 0)) for per_s, run in results.items()]
    late = {
        "time per token": next(per_s for per_s, ms in tpot if ms > 1000 * llm_server.TPOT_S),
        "time to first token": next(per_s for per_s, s in ttft if s > llm_server.TTFT_S),
    }
    said = ", ".join(f"the {name} from {per_s} requests/s on" for name, per_s in late.items())
    return bands(
        "One server under rising load",
        f"p99 is above the promise: {said}.",
        Row("TTFT p99, s (promise: 1 s)", {"TTFT": ttft}, {"1 s": 1}, steps=False, top=8, height=110),
        Row("TPOT p99, ms (promise: 25 ms)", {"TPOT": tpot}, {"25 ms": 25}, steps=False, top=80, height=110),
        x_label="requests per second",
    )


def stalls(load: int, long: int, budget: str) -> Figure:
    """How long users wait for tokens, by percentile, with two budgets of tokens a step."""
    runs = {
        "8,192 a step": llm_server.chat_with_files(load, long, 8192),
        "yours": llm_server.chat_with_files(load, long, int(budget.replace(",", ""))),
    }
    said = "; ".join(
        f"{name}: mean time per token {1000 * mean_gap_s(run):.0f} ms, longest gap {1000 * (run.gap_s(1) or 0):.0f} "
        f"ms, first token p99 {run.ttft_s(0.99) or 0:.2f} s"
        for name, run in runs.items()
    )
    gaps = {name: by_share(run.gap_s, 1000, TOP_GAP_MS) for name, run in runs.items()}
    firsts = {name: by_share(run.ttft_s, 1, TOP_TTFT_S) for name, run in runs.items()}
    return bands(
        f"{load} requests/s, {long} % with a file, {budget} tokens a step",
        f"{said[0].upper()}{said[1:]}.",
        Row("gap between tokens, ms (dashed: 25 ms)", gaps, {"": 25}, steps=False, top=TOP_GAP_MS, height=120),
        Row("time to first token, s (dashed: 1 s)", firsts, {"": 1}, steps=False, top=TOP_TTFT_S, height=120),
        x_label="percentile",
        x_names={float(place): name for place, name in enumerate(SHARES)},
    )


def mean_gap_s(run: LLMSimulation) -> float:
    """The mean gap between two tokens."""
    gaps = sum(request.output_tokens - 1 for request in run.requests)
    return sum(request.decode_s for request in run.requests) / max(1, gaps)


def by_share(value_s: Callable[[float], float | None], scale: float, top: float) -> list[tuple[float, float]]:
    """A latency at each percentile, cut at the top of the axis."""
    return [(place, min(top, scale * (value_s(share) or 0))) for place, share in enumerate(SHARES.values())]


def signals(results: llm_race.Results) -> Figure:
    """The wave, and below it the replicas that serve under each signal."""
    rate = [(at_s, llm_race.rate_per_s(at_s)) for at_s in range(0, llm_race.END_S + 1, 10)]
    ready = {name: [(at_s, seen.ready) for at_s, _, seen in run.timeline[::5]] for name, run in results.items()}
    asked = {name: llm_race.asks_first_s(run) for name, run in results.items()}
    said = ", ".join(f"{name} {'never' if at_s is None else f'at {at_s:.0f} s'}" for name, at_s in asked.items())
    return bands(
        "One wave, five signals: replicas that serve",
        f"The first time that each asks for more: {said}. A new replica serves {llm_race.START_S:.0f} s later.",
        Row("requests per second", {"rate": rate}, steps=False, top=24, height=60),
        *(Row(f"{name}, replicas", {name: line}, top=llm_race.MOST, height=44) for name, line in ready.items()),
        x_label="seconds",
    )
