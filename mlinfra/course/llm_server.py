"""One server of the chat model in notebook 05: its knee, long prompts among users who decode, and a full cache.

A server is Llama 3 8B on one H100, as measured, with vLLM's defaults for that card. The prompts have nothing in common,
so the prefix cache is off; it would find nothing. KV blocks have 64 tokens instead of 16, which is a quarter of the
bookkeeping, and moves no latency that is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from mlinfra.autoscaling.llm import (
    LLMConfig,
    LLMRequest,
    LLMSimulation,
    Mix,
    ServerStep,
    kv_blocks,
    max_concurrency,
    simulate,
)
from mlinfra.autoscaling.llm.mix import requests
from mlinfra.autoscaling.step_time import H100
from mlinfra.course import measured
from mlinfra.course.predicted import dollars_per_million
from mlinfra.course.service_nodes import GPU_DOLLARS
from mlinfra.simulation import percentile
from mlinfra.tables import columns

BLOCK = 64
SERVER = LLMConfig(num_blocks=kv_blocks(block_size=BLOCK), block_size=BLOCK, enable_prefix_caching=False)
TTFT_S, TPOT_S = 1.0, 0.025
"""The two promises; both are edges of buckets in vLLM's histograms (`v1/metrics/loggers.py`)."""

DOCUMENTS = Mix(conversations=0, long=0, message=3000, answer=400)
"""Questions about documents: prompts of some 3,000 tokens and answers of some 400, half of that more or less."""

RATES = (1, 2, 3, 4, 5, 6, 7)
LOAD_S = 90
MODEL = "meta-llama/Meta-Llama-3-8B-Instruct"

Knee = Mapping[int, LLMSimulation]


def knee(batch: int = SERVER.max_num_seqs, rates: Iterable[int] = RATES) -> Knee:
    """A minute and a half of each rate, on one server that takes so many requests into a batch."""
    return MappingProxyType({per_s: loaded(per_s, batch) for per_s in rates})


@lru_cache(maxsize=32)
def loaded(per_s: int, batch: int) -> LLMSimulation:
    load = requests(replace(DOCUMENTS, per_s=per_s, count=per_s * LOAD_S))
    return simulate([each.request for each in load], replace(SERVER, max_num_seqs=batch))


def knee_table(results: Knee) -> str:
    """A line for each rate: both latencies, and what five signals read, as means over the time of the run."""
    head = ["REQUESTS/S", "TTFT p99", "TPOT p99", "GPU-UTIL", "IN FLIGHT", "KV USE", "WAITING"]
    return "\n".join(columns([head, *([str(per_s), *readings(run)] for per_s, run in results.items())]))


def readings(run: LLMSimulation) -> list[str]:
    times = [in_ms(run.ttft_s(0.99)), in_ms(run.tpot_s(0.99))]
    waiting, running = (mean(run.steps, gauge) for gauge in ("num_requests_waiting", "num_requests_running"))
    usage = mean(run.steps, "kv_cache_usage_perc")
    return [*times, f"{busy(run):.0%}", f"{waiting + running:.0f}", f"{usage:.0%}", f"{waiting:.1f}"]


def capacity_table(dollars_an_hour: float = GPU_DOLLARS, context_tokens: int = 3200) -> str:
    """What users who decode at the same time cost: the step, the tokens of all, dollars a million, and the cache."""
    lines = [["USERS", "A STEP", "TOKENS/S", "$ PER M TOKENS", "KV USE"]]
    for users in (1, 8, 32, 64, 128):
        step_ms = H100.step_ms(users, users * context_tokens)
        per_s, usage = 1000 * users / step_ms, users / max_concurrency(SERVER.num_blocks, context_tokens, BLOCK)
        dollars = dollars_per_million(dollars_an_hour, per_s)
        lines.append([str(users), f"{step_ms:.1f} ms", f"{per_s:,.0f}", f"{dollars:.2f}", f"{usage:.0%}"])
    return "\n".join(columns(lines))


def in_ms(seconds: float | None) -> str:
    return f"{1000 * (seconds or 0):,.0f} ms"


def with_budget(tokens: int) -> LLMConfig:
    """The server with so many tokens in a step at most; a batch has no more requests than that."""
    return replace(SERVER, max_num_batched_tokens=tokens, max_num_seqs=min(tokens, SERVER.max_num_seqs))


def promised(results: Knee) -> int:
    """The highest rate at which 99 % of the answers keep each of the promises."""
    return max(per_s for per_s, run in results.items() if keeps(run))


def keeps(run: LLMSimulation) -> bool:
    return (run.ttft_s(0.99) or 0) <= TTFT_S and (run.tpot_s(0.99) or 0) <= TPOT_S


def mean(steps: Sequence[ServerStep], gauge: str) -> float:
    """The mean of a gauge over the time of the steps."""
    lasted_s = [step.end_s - step.start_s for step in steps]
    read = (getattr(step, gauge) * step_s for step, step_s in zip(steps, lasted_s, strict=True))
    return float(sum(read) / sum(lasted_s))


def busy(run: LLMSimulation) -> float:
    """The share of the time in which a step runs."""
    return sum(step.end_s - step.start_s for step in run.steps) / run.end_s


# ------------------------------------------------------------------------------------------------- one long prompt

DECODING, CONTEXT = 32, 2048
CHUNKS = (0, 256, 512, 2048)
BUDGETS = (8192, 2048, 512, 256)
LONG_PROMPT, EVERY_S, LONG_PROMPTS, FIRST_S = 7000, 0.7, 8, 4.0


def steps_table() -> str:
    """A step in which 32 requests decode beside a chunk of a prompt: by the formula, and as measured."""
    rows = {row["prefill_chunk_tokens"]: row["step_ms"] for row in beside_chunks()}
    lines = [["CHUNK", "BY THE FORMULA", "MEASURED", "ERROR"]]
    for chunk in CHUNKS:
        predicted_ms = H100.step_ms(DECODING + chunk, DECODING * CONTEXT)
        error = predicted_ms / rows[chunk] - 1
        lines.append([f"{chunk:,} tokens", f"{predicted_ms:.1f} ms", f"{rows[chunk]:.1f} ms", f"{error:+.0%}"])
    return "\n".join(columns(lines))


def beside_chunks() -> list[measured.Row]:
    return [row for row in measured.llm_mixed_step() if row["decoding_requests"] == DECODING]


@lru_cache(maxsize=8)
def stalled(budget: int) -> LLMSimulation:
    """32 users who decode, and eight long prompts among them, with so many tokens in a step at most."""
    users = [LLMRequest(f"user-{i}", CONTEXT, 1200) for i in range(DECODING)]
    long = [LLMRequest(f"long-{i}", LONG_PROMPT, 1, FIRST_S + i * EVERY_S) for i in range(LONG_PROMPTS)]
    return simulate([*users, *long], with_budget(budget))


def gaps_s(run: LLMSimulation) -> list[float]:
    """The gaps between the users' tokens while the long prompts come, the shortest first."""
    last_s = FIRST_S + LONG_PROMPTS * EVERY_S
    users = (request for request in run.requests if request.name.startswith("user"))
    gaps = (
        after - before
        for request in users
        for before, after in zip(request.token_times_s, request.token_times_s[1:], strict=False)
        if FIRST_S <= before < last_s
    )
    return sorted(gaps)


def stalls_table() -> str:
    """What each budget does to those who decode, and to the long prompt itself."""
    lines = [["TOKENS A STEP", "MEAN GAP", "GAP p99", "LONGEST GAP", "TTFT OF A LONG PROMPT"]]
    for budget in BUDGETS:
        run = stalled(budget)
        gaps, long = gaps_s(run), [request.ttft_s for request in run.requests if request.name.startswith("long")]
        figures = (sum(gaps) / len(gaps), percentile(gaps, 0.99), gaps[-1], max(long))
        lines.append([f"{budget:,}", *map(in_ms, figures)])
    return "\n".join(columns(lines))


def chat_with_files(per_s: int, long_percent: int, budget: int) -> LLMSimulation:
    """20 s of short questions, some of them with a file of some 5,000 tokens, with so many tokens in a step."""
    mix = Mix(per_s, per_s * 20, conversations=0, long=long_percent / 100, message=500, long_prompt=5000, answer=300)
    return simulate([each.request for each in requests(mix)], with_budget(budget))


# ---------------------------------------------------------------------------------------------------- a full cache

TINY = LLMConfig(num_blocks=9, max_model_len=128)
"""Eight blocks of 16 tokens, and the null block."""


def two_in_eight_blocks() -> LLMSimulation:
    """Two requests of 48 tokens that want 40 more each: six blocks each, where there are eight."""
    return simulate([LLMRequest(name, 48, 40) for name in ("first", "second")], TINY)


def metrics_page(run: LLMSimulation, number: int) -> str:
    """The lines of `/metrics` that matter, after the step with this number."""
    step, preemptions = run.steps[number], sum(len(step.preempted) for step in run.steps[: number + 1])
    values = {
        "num_requests_running": step.num_requests_running,
        "num_requests_waiting": step.num_requests_waiting,
        "kv_cache_usage_perc": round(step.kv_cache_usage_perc, 4),
        "num_preemptions_total": preemptions,
    }
    return "\n".join(metric_lines(values.items()))


def metric_lines(values: Iterable[tuple[str, float]]) -> Iterable[str]:
    for name, value in values:
        yield f'vllm:{name}{{engine="0",model_name="{MODEL}"}} {float(value)}'


def preempting(run: LLMSimulation) -> int:
    """The number of the first step that preempted."""
    return next(number for number, step in enumerate(run.steps) if step.preempted)
