"""A request as a client sends it, its tokens, and what the scheduler knows of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated

from mlinfra.admission import AtLeastOne, NotNegative, check
from mlinfra.admission.nouns.autoscaling import MAX_TOKENS
from mlinfra.admission.rules import whole

Run = tuple[int, int]
"""Consecutive token ids: the first one, and how many."""

OWN_IDS = 2**40
"""Token ids below zero belong to one request each, so many to every request."""


@dataclass(frozen=True)
class LLMRequest:
    """A prompt and how many tokens it asks for; there are no stop tokens.

    The prompt is a number of tokens that no other request shares, or runs of consecutive ids: `((1, 64), (501, 10))`.
    The tokens sampled are consecutive ids from `output_from`, or ids that no other request has. A lower `priority`
    goes first, under that policy.
    """

    name: str
    prompt: int | Sequence[Run]
    max_tokens: AtLeastOne = 16
    arrival_s: NotNegative = 0.0
    priority: Annotated[int, whole(-(2**31))] = 0
    output_from: Annotated[int, whole(0, MAX_TOKENS)] | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def num_prompt_tokens(self) -> int:
        if isinstance(self.prompt, int):
            return self.prompt
        return sum(count for _, count in self.prompt)


class Tokens:
    """The ids of a prompt and of all tokens that will follow it, as runs; the last run has no end."""

    def __init__(self, prompt: Sequence[Run], output_from: int) -> None:
        self.firsts = [first for first, _ in prompt] + [output_from]
        self.starts = list(accumulate((count for _, count in prompt), initial=0))

    @classmethod
    def of(cls, request: LLMRequest, number: int) -> Tokens:
        """Those of the request with this number; what is not given are ids that only this number has."""
        own = -(number + 1) * OWN_IDS
        prompt = [(own, request.prompt)] if isinstance(request.prompt, int) else request.prompt
        own_output = own + request.num_prompt_tokens
        return cls(prompt, own_output if request.output_from is None else request.output_from)

    def runs(self, start: int, stop: int) -> tuple[int, ...]:
        """The ids from one position to another as first, count, first, count ...: equal for equal ids."""
        runs: list[int] = []
        for first, count in self._pieces(start, stop):
            if runs and first == runs[-2] + runs[-1]:
                runs[-1] += count
            else:
                runs += [first, count]
        return tuple(runs)

    def _pieces(self, start: int, stop: int) -> Iterator[Run]:
        run = bisect_right(self.starts, start) - 1
        while start < stop:
            end = self.starts[run + 1] if run + 1 < len(self.starts) else stop
            count = min(end, stop) - start
            yield self.firsts[run] + start - self.starts[run], count
            start, run = start + count, run + 1


class Request:
    """What the scheduler knows: tokens known (prompt and sampled), tokens computed, and the blocks that it holds.

    `number` counts the requests in the order in which they came. `scheduled_step` and `token_steps` are the server's
    notes: the step of the first admission, and the steps that sampled a token, as [first, stop] ranges.
    """

    __slots__ = (
        "block_hashes",
        "block_ids",
        "block_size",
        "max_total_tokens",
        "name",
        "num_cached_blocks",
        "num_cached_tokens",
        "num_computed_tokens",
        "num_preemptions",
        "num_prompt_tokens",
        "num_tokens",
        "number",
        "priority",
        "scheduled_step",
        "token_steps",
        "tokens",
    )

    def __init__(self, request: LLMRequest, number: int, block_size: int, max_model_len: int) -> None:
        self.name, self.number, self.priority = request.name, number, request.priority
        self.tokens, self.block_size = Tokens.of(request, number), block_size
        self.num_prompt_tokens = self.num_tokens = request.num_prompt_tokens
        self.max_total_tokens = min(request.num_prompt_tokens + request.max_tokens, max_model_len)
        self.num_computed_tokens = self.num_preemptions = 0
        self.block_ids: list[int] = []
        self.num_cached_blocks = 0
        self.block_hashes: list[int] = []
        self.num_cached_tokens = 0
        self.scheduled_step: int | None = None
        self.token_steps: list[list[int]] = []

    @property
    def num_output_tokens(self) -> int:
        return self.num_tokens - self.num_prompt_tokens

    @property
    def decodes(self) -> bool:
        """It has sampled before, and only its last token is not computed yet."""
        return self.num_tokens - self.num_computed_tokens == 1 and self.num_tokens > self.num_prompt_tokens

    def block_hash(self, index: int) -> int:
        """The key of one block of tokens: its ids and the key before it, so that it stands for the whole prefix."""
        hashes = self.block_hashes
        while len(hashes) <= index:
            start = len(hashes) * self.block_size
            parent = hashes[-1] if hashes else 0
            hashes.append(hash((parent, *self.tokens.runs(start, start + self.block_size))))
        return hashes[index]
