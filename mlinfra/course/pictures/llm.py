"""The pictures of language models: in notebook 1 a step, a path and stale metrics, in 5 latencies and a race."""

from __future__ import annotations

from dataclasses import replace

from mlinfra.autoscaling.llm import LLMSimulation
from mlinfra.course import llm_loads, llm_server, measured
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

TOP_TIMES = 10
"""A gap of 250 ms, and a first token after 10 s."""


def knee(results: llm_server.Knee) -> Figure:
    """Both latencies of one server against the load, as multiples of their promises."""
    lines = {
        "first token": [(per_s, first_token_s(run) / llm_server.TTFT_S) for per_s, run in results.items()],
        "per token": [(per_s, (run.tpot_s(0.99) or 0) / llm_server.TPOT_S) for per_s, run in results.items()],
    }
    late = {name: next(per_s for per_s, share in line if share > 1) for name, line in lines.items()}
    names = {"first token": "the time to first token", "per token": "the time per token"}
    said = ", ".join(f"{names[line]} from {per_s} requests/s on" for line, per_s in late.items())
    return bands(
        "One server under rising load: p99, times the promise",
        f"p99 is above the promise: {said}.",
        Row("times the promise", lines, {"promise": 1}, steps=False, top=8, height=160),
        x_label="requests per second",
    )


def stalls(load: int, long: int, budget: str) -> Figure:
    """The longest gap and the first token's p99 under two budgets of tokens a step, as multiples of the promises."""
    budgets = {"8,192": 8192, "yours": int(budget.replace(",", ""))}
    runs = {name: llm_server.chat_with_files(load, long, tokens) for name, tokens in budgets.items()}
    gaps_s, firsts_s = ({name: late(run) for name, run in runs.items()} for late in (longest_gap_s, first_token_s))
    said = "; ".join(
        f"{name}: mean gap {1000 * mean_gap_s(run):.0f} ms, longest gap {1000 * gaps_s[name]:.0f} ms, "
        f"first token p99 {firsts_s[name]:.2f} s"
        for name, run in runs.items()
    )
    rows = {f"gap {name}": {"longest gap": times(gap_s, llm_server.TPOT_S)} for name, gap_s in gaps_s.items()}
    rows |= {f"TTFT {name}": {"TTFT p99": times(ttft_s, llm_server.TTFT_S)} for name, ttft_s in firsts_s.items()}
    title = f"{load} requests/s, {long} % with a file, {budget} tokens a step"
    return bars(title, f"{said}.", rows, "times the promise", top=TOP_TIMES)


def times(latency_s: float, promise_s: float) -> float:
    """A latency as a multiple of its promise, cut at the end of the axis."""
    return min(TOP_TIMES, round(latency_s / promise_s, 2))


def longest_gap_s(run: LLMSimulation) -> float:
    return run.gap_s(1) or 0.0


def first_token_s(run: LLMSimulation) -> float:
    return run.ttft_s(0.99) or 0.0


def mean_gap_s(run: LLMSimulation) -> float:
    """The mean gap between two tokens."""
    gaps = sum(request.output_tokens - 1 for request in run.requests)
    return sum(request.decode_s for request in run.requests) / max(1, gaps)
