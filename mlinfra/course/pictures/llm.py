"""The pictures of language models in notebook 1: a step's time, a request's path, and what stale metrics do."""

from __future__ import annotations

from dataclasses import replace

from mlinfra.course import llm_loads, measured
from mlinfra.study import Arrow, Figure, bars, diagram

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
