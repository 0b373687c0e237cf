"""One step of a server that batches continuously: who gets how many tokens.

Follows vLLM 0.33.0, `v1/core/sched/scheduler.py`, run synchronously: schedule, compute, update. There is no prefill
phase and no decode phase. A request has known tokens (its prompt and what it sampled) and computed ones; a step gives
it tokens until it has caught up, and then it samples one. Speculative decoding, KV connectors, adapters, images and
clients that give up are not modelled.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

from mlinfra.autoscaling.llm.blocks import KVCacheManager
from mlinfra.autoscaling.llm.config import LLMConfig
from mlinfra.autoscaling.llm.requests import LLMRequest, Request


@dataclass
class SchedulerOutput:
    """What a step does. `admitted` has the cached tokens of each new or resumed request.

    `held` says why the head of the waiting queue still waits: preempted, budget, max_num_seqs, chunk or blocks.
    """

    token_budget: int
    num_scheduled_tokens: dict[Request, int] = field(default_factory=dict)
    admitted: dict[Request, int] = field(default_factory=dict)
    preempted: list[Request] = field(default_factory=list)
    held: str = ""

    def add(self, request: Request, tokens: int) -> None:
        self.num_scheduled_tokens[request] = tokens
        self.token_budget -= tokens

    def withdraw(self, request: Request) -> bool:
        """The tokens of a victim go back to the budget; False if it had none in this step."""
        tokens = self.num_scheduled_tokens.pop(request, 0)
        self.token_budget += tokens
        return tokens > 0


class Scheduler:
    """Requests that run, in the order of their admission, and requests that wait."""

    def __init__(self, config: LLMConfig) -> None:
        self.config = config
        self.kv = KVCacheManager(config)
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()
        self.num_requests = 0

    def add_request(self, request: LLMRequest) -> Request:
        """A new request waits behind the others, or, under the policy priority, by its priority and arrival."""
        state = Request(request, self.num_requests, self.config.block_size, self.config.max_model_len)
        self.num_requests += 1
        self._wait(state)
        return state

    def schedule(self) -> SchedulerOutput:
        """One step: running requests first; then waiting ones, but only if nobody was preempted."""
        output = SchedulerOutput(self.config.max_num_batched_tokens)
        most_tokens = self._most_tokens()
        self._schedule_running(output, most_tokens)
        if output.preempted:
            output.held = "preempted"
        else:
            self._schedule_waiting(output, most_tokens)
        for request, tokens in output.num_scheduled_tokens.items():
            request.num_computed_tokens += tokens
        return output

    def _most_tokens(self) -> int:
        """What one request may get in this step: the threshold for long prompts, unless it is the only request."""
        threshold = self.config.long_prefill_token_threshold
        alone = len(self.running) + len(self.waiting) == 1
        return threshold if threshold and not alone else self.config.max_num_batched_tokens

    def _schedule_running(self, output: SchedulerOutput, most_tokens: int) -> None:
        """Each running request gets tokens until the budget is gone; one that finds no block preempts another."""
        index, last_position = 0, self.config.max_model_len - 1
        while index < len(self.running) and output.token_budget > 0:
            request = self.running[index]
            computed = request.num_computed_tokens
            tokens = min(request.num_tokens - computed, most_tokens, output.token_budget, last_position - computed)
            while not self.kv.allocate_slots(request, tokens):
                victim = self._preempt(output)
                if output.withdraw(victim):
                    index -= 1
                if victim is request:
                    break
            else:
                output.add(request, tokens)
                index += 1

    def _preempt(self, output: SchedulerOutput) -> Request:
        """The last of the running requests, or the one of least priority, loses its blocks and waits in front.

        What it sampled is kept. Its tokens are computed again when it is admitted again.
        """
        victim = self.running[-1]
        if self.config.policy == "priority":
            victim = max(self.running, key=urgency)
        self.running.remove(victim)
        self.kv.free(victim)
        victim.num_computed_tokens = 0
        victim.num_preemptions += 1
        output.preempted.append(victim)
        self._wait(victim, in_front=True)
        return victim

    def _wait(self, request: Request, in_front: bool = False) -> None:
        if self.config.policy == "priority":
            insort(self.waiting, request, key=urgency)
        elif in_front:
            self.waiting.appendleft(request)
        else:
            self.waiting.append(request)

    def _schedule_waiting(self, output: SchedulerOutput, most_tokens: int) -> None:
        """Admit from the head of the queue until something is missing; nobody overtakes the head."""
        while self.waiting and not output.held:
            output.held = self.closed(output.token_budget) or self._admit_head(output, most_tokens)

    def closed(self, token_budget: int) -> str:
        """Why nobody at all can be admitted: no budget is left, or the batch is full."""
        if token_budget == 0:
            return "budget"
        return "max_num_seqs" if len(self.running) == self.config.max_num_seqs else ""

    def _admit_head(self, output: SchedulerOutput, most_tokens: int) -> str:
        """The head of the queue starts to run with its cached prefix and a first chunk, or: what it has to wait for."""
        request = self.waiting[0]
        hits = self.kv.get_computed_blocks(request)
        cached_tokens = len(hits) * self.config.block_size
        tokens = min(request.num_tokens - cached_tokens, most_tokens)
        if tokens > output.token_budget and not self.config.enable_chunked_prefill:
            return "chunk"
        tokens = min(tokens, output.token_budget)
        if not self._fits(request, hits, cached_tokens + tokens):
            return "blocks"
        self.kv.allocate_slots(request, tokens, hits)
        self.running.append(self.waiting.popleft())
        request.num_computed_tokens = cached_tokens
        output.admitted[request] = cached_tokens
        output.add(request, tokens)
        return ""

    def _fits(self, request: Request, hits: list[int], chunk_end: int) -> bool:
        """Whether all known tokens fit (`scheduler_reserve_full_isl`), or else the first chunk; the watermark stays
        free if anything runs."""
        needed = request.num_tokens if self.config.scheduler_reserve_full_isl else chunk_end
        return self.kv.fits(request, needed, hits, self.config.watermark_blocks if self.running else 0)

    def update(self, output: SchedulerOutput) -> tuple[list[Request], list[Request]]:
        """Each request that has caught up samples a token; those that are finished free their blocks at once.

        The requests that sampled, and those of them that finished.
        """
        sampled, finished = [], []
        for request in output.num_scheduled_tokens:
            if request.num_computed_tokens == request.num_tokens:
                request.num_tokens += 1
                sampled.append(request)
                if request.num_tokens >= request.max_total_tokens:
                    self.kv.free(request)
                    finished.append(request)
        if finished:
            leaving = set(finished)
            self.running = [request for request in self.running if request not in leaving]
        return sampled, finished


def urgency(request: Request) -> tuple[int, int]:
    """The lower priority goes first, then the earlier arrival."""
    return request.priority, request.number
