"""A server that batches continuously, 64 requests a batch: the fast way beside the plain step, which defines it."""

from __future__ import annotations

import random
from collections.abc import Iterator

from benchmarks.rows import Row, seconds

from mlinfra.autoscaling.llm import LLMConfig, LLMRequest, simulate

BATCH = LLMConfig(max_num_seqs=64)
MEAN_TOKENS = 256


def rows() -> Iterator[Row]:
    """First all sizes the fast way, then all of them step by step."""
    pairs = [both(tokens) for tokens in (10_000, 100_000, 1_000_000)]
    yield from (fast for fast, _ in pairs)
    yield from (plain for _, plain in pairs)


def both(tokens: int) -> tuple[Row, Row]:
    """So many output tokens the fast way and step by step; RuntimeError when the results differ."""
    requests = load(tokens)
    size = f"{tokens:,} output tokens"
    if simulate(requests, BATCH) != simulate(requests, BATCH, fast=False):
        raise RuntimeError(f"{size}: the fast way and the plain step differ")
    fast, plain = (seconds(lambda: simulate(requests, BATCH, fast=way)) for way in (True, False))  # noqa: B023
    last = tokens == 1_000_000
    return (
        Row("continuous batching", size, tokens, fast, "the plain step", plain, "5 s" * last, not last or fast <= 5),
        Row("the plain step", size, tokens, plain, target="20 s" * last, met=not last or plain <= 20),
    )


def load(tokens: int) -> list[LLMRequest]:
    """Requests at once, with prompts of 50 to 800 tokens and exponential lengths, that ask for so many tokens."""
    chance = random.Random(tokens)
    requests: list[LLMRequest] = []
    while tokens > 0:
        wanted = min(tokens, 1 + int(chance.expovariate(1 / MEAN_TOKENS)))
        requests.append(LLMRequest(f"request-{len(requests)}", chance.randint(50, 800), wanted))
        tokens -= wanted
    return requests
