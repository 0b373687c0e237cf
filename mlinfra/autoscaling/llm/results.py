"""What a server of a language model did: each step, each request's latencies, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from mlinfra.simulation import Event, Simulation, percentile

WAITS_FOR = {
    "blocks": "there are not enough free KV blocks for the head of the queue, and nobody overtakes it",
    "budget": "no tokens are left in the budget",
    "chunk": "the prompt at the head of the queue does not fit into the budget whole",
    "max_num_seqs": "the batch is full (max_num_seqs)",
    "preempted": "nobody is admitted in a step that preempted",
}


class ServerStep(NamedTuple):
    """One step: what it computed, and the gauges after it.

    `tokens` were scheduled, of which `decoding` requests took one each and read `context_tokens`; `prefill` has the
    tokens of all other requests, and `admitted` the cached tokens of new and resumed ones. `held` is the scheduler's
    word for why the head of the queue waits.
    """

    start_s: float
    end_s: float
    tokens: int
    decoding: int
    context_tokens: int
    prefill: Mapping[str, int]
    admitted: Mapping[str, int]
    preempted: tuple[str, ...]
    finished: tuple[str, ...]
    held: str
    num_requests_running: int
    num_requests_waiting: int
    kv_cache_usage_perc: float


@dataclass(frozen=True)
class RequestTimes:
    """When a request was received, first scheduled, and got its tokens: vLLM's intervals (`v1/metrics/stats.py`).

    Time lost to preemption is part of prefill or decode, never of the queue. What has not happened is infinite.
    """

    name: str
    arrival_s: float
    scheduled_s: float
    token_times_s: Sequence[float]
    preemptions: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finished: bool = True

    @property
    def output_tokens(self) -> int:
        return len(self.token_times_s)

    @property
    def first_token_s(self) -> float:
        return self.token_times_s[0] if self.token_times_s else math.inf

    @property
    def last_token_s(self) -> float:
        return self.token_times_s[-1] if self.token_times_s else math.inf

    @property
    def ttft_s(self) -> float:
        """Time to first token: from the arrival, the queue included."""
        return self.first_token_s - self.arrival_s

    @property
    def inter_token_s(self) -> list[float]:
        """The gaps between tokens."""
        return [after - before for before, after in pairwise(self.token_times_s)]

    @property
    def tpot_s(self) -> float:
        """Time per output token: the mean gap, 0 for a single token."""
        return self.decode_s / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0

    @property
    def queue_s(self) -> float:
        return self.scheduled_s - self.arrival_s

    @property
    def prefill_s(self) -> float:
        return self.first_token_s - self.scheduled_s if self.token_times_s else math.inf

    @property
    def decode_s(self) -> float:
        return self.last_token_s - self.first_token_s if self.token_times_s else math.inf

    @property
    def inference_s(self) -> float:
        return self.last_token_s - self.scheduled_s if self.token_times_s else math.inf

    @property
    def e2e_s(self) -> float:
        """From the arrival to the last token; infinite while it is not finished."""
        return self.last_token_s - self.arrival_s if self.finished else math.inf


@dataclass(frozen=True, kw_only=True)
class ServedRequests(Simulation):
    """The times of every request of a run, in the order of arrival."""

    requests: Sequence[RequestTimes]

    def ttft_s(self, fraction: float) -> float | None:
        """The time to first token that this share of the requests did not exceed."""
        return percentile((request.ttft_s for request in self.requests), fraction)

    def tpot_s(self, fraction: float) -> float | None:
        """The time per output token that this share of the requests with more than one token did not exceed."""
        return percentile((request.tpot_s for request in self.requests if request.output_tokens > 1), fraction)

    def gap_s(self, fraction: float) -> float | None:
        """The gap between two tokens that this share of all gaps did not exceed: it shows stalls, the mean does not."""
        return percentile(self._gaps_s, fraction)

    @cached_property
    def _gaps_s(self) -> list[float]:
        return sorted(gap_s for request in self.requests for gap_s in request.inter_token_s)

    def queue_s(self, fraction: float) -> float | None:
        """The time before the first scheduling that this share did not exceed."""
        return percentile((request.queue_s for request in self.requests), fraction)

    @property
    def output_tokens(self) -> int:
        return sum(request.output_tokens for request in self.requests)

    @property
    def preemptions(self) -> int:
        return sum(request.preemptions for request in self.requests)

    @property
    def prefix_cache_hit_rate(self) -> float:
        """Share of the prompt tokens of admitted requests that were cached at their first admission."""
        admitted = [request for request in self.requests if request.scheduled_s < math.inf]
        return sum(r.cached_tokens for r in admitted) / max(1, sum(r.prompt_tokens for r in admitted))

    def attained(self, ttft_s: float, tpot_s: float = math.inf) -> float:
        """Share of the requests that were finished within both objectives."""
        within = [r.finished and r.ttft_s <= ttft_s and r.tpot_s <= tpot_s for r in self.requests]
        return sum(within) / max(1, len(within))


@dataclass(frozen=True, kw_only=True)
class LLMSimulation(ServedRequests):
    """A run of one server: its steps, and the times of every request."""

    steps: Sequence[ServerStep]
    max_num_batched_tokens: int = field(repr=False)

    @property
    def end_s(self) -> float:
        """When the last step ended."""
        return self.steps[-1].end_s if self.steps else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second, from the start of the first step to the end of the last."""
        return self.output_tokens / (self.end_s - self.steps[0].start_s) if self.steps else 0.0

    def why(self, step: int | None = None) -> str:
        """What the step with this number did, in words; without a number, the events."""
        if step is None:
            return super().why()
        return f"step {step}: " + "; ".join(words(self.steps[step], self.max_num_batched_tokens))


def words(step: ServerStep, budget: int) -> Iterator[str]:
    """The sentences about one step."""
    yield f"{step.start_s:.4f} s, {1000 * (step.end_s - step.start_s):.2f} ms, {step.tokens:,} of {budget:,} tokens"
    if step.decoding:
        yield f"{requests(step.decoding, 'decode')}, with {step.context_tokens:,} tokens of context"
    for name, tokens in step.prefill.items():
        cached = step.admitted.get(name)
        behind = "" if cached is None else f", admitted with {cached:,} cached"
        yield f"{name} computes {tokens:,} tokens{behind}"
    for name in step.preempted:
        yield f"{name} is preempted: no free KV block was left; all its tokens will be computed again"
    if step.finished:
        yield f"finished: {', '.join(step.finished)}"
    if step.held:
        yield f"{requests(step.num_requests_waiting, 'wait')}: {WAITS_FOR[step.held]}"


def requests(count: int, verb: str) -> str:
    return f"1 request {verb}s" if count == 1 else f"{count:,} requests {verb}"


def events(steps: Sequence[ServerStep]) -> Iterator[Event]:
    """Admissions, preemptions and the ends of requests, step by step."""
    for step in steps:
        for name in step.preempted:
            yield Event(step.start_s, "Preempted", name, "no free KV block was left")
        for name, cached in step.admitted.items():
            yield Event(step.start_s, "Scheduled", name, f"{cached} tokens cached")
        for name in step.finished:
            yield Event(step.end_s, "Finished", name, "length")
