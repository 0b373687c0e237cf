"""A fast way through steps in which every running request decodes one token and nothing else happens.

The results are those of the plain step, to the byte. A step of a stretch only visits the requests that begin a KV
block or fill one in it: with blocks of 16 tokens, one in eight.
"""

from __future__ import annotations

from collections import defaultdict

from mlinfra.autoscaling.llm.requests import Request
from mlinfra.autoscaling.llm.scheduler import Scheduler


class DecodeStretch:
    """The next steps of a scheduler, as long as nobody finishes, nobody can be admitted and no block is missing.

    `steps` is how many there are at most, and `context_tokens` what the first one reads; each one reads `batch` more.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.running = scheduler, scheduler.running
        self.batch = len(self.running)
        self.held = closed(scheduler) if scheduler.waiting else ""
        self.context_tokens = sum(request.num_tokens for request in self.running)
        self.steps = min(request.max_total_tokens - request.num_tokens for request in self.running) - 1
        self.taken = 0
        self.by_position: defaultdict[int, list[Request]] = defaultdict(list)
        for request in self.running:
            self.by_position[request.num_computed_tokens % scheduler.config.block_size].append(request)

    @classmethod
    def of(cls, scheduler: Scheduler) -> DecodeStretch | None:
        """The stretch that begins now, if one does."""
        if not scheduler.running or (scheduler.waiting and not closed(scheduler)):
            return None
        if not all(request.decodes for request in scheduler.running):
            return None
        stretch = cls(scheduler)
        return stretch if stretch.steps > 0 else None

    def take(self) -> bool:
        """The blocks for one more step; False if there are too few, or the stretch is over."""
        block_size, kv = self.scheduler.config.block_size, self.scheduler.kv
        beginning = self.by_position[-self.taken % block_size]
        if self.taken == self.steps or len(beginning) > len(kv.pool.free):
            return False
        for request in beginning:
            request.block_ids.append(kv.pool.get_new_block())
        self.taken += 1
        if kv.enable_caching:
            for request in self.by_position[-self.taken % block_size]:
                kv.cache_blocks(request, request.num_computed_tokens + self.taken)
        return True

    def close(self) -> None:
        """Every request has as many more tokens as steps were taken."""
        for request in self.running:
            request.num_tokens += self.taken
            request.num_computed_tokens += self.taken


def closed(scheduler: Scheduler) -> str:
    """Why nobody can be admitted beside those that decode: the budget or the batch is full. Empty if one could be."""
    return scheduler.closed(scheduler.config.max_num_batched_tokens - len(scheduler.running))
