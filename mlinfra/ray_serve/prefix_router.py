"""Ray Serve LLM's PrefixCacheAffinityRouter: the replica that has seen most of the prompt, unless load is uneven.

Follows ray 2.60.0, `python/ray/llm/_internal/serve/routing_policies/prefix_aware`. It reads text and queue lengths and
no metrics of the engine. Eviction from the tree is left out (off by default there), and so are locality, multiplexing,
`max_ongoing_requests` and the age of queue lengths. Where Ray leaves the order open, the first replica is taken.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from mlinfra.admission.picker import open_request, unknown_request


class Prompted(Protocol):
    """A request by its name, with its prompt."""

    @property
    def name(self) -> str: ...

    @property
    def prompt(self) -> str: ...


class Named(Protocol):
    """A replica by its name."""

    @property
    def name(self) -> str: ...


class PromptTree:
    """The prompts that one replica was sent. Ray keeps one tree for all replicas; what it answers is the same."""

    def __init__(self) -> None:
        self._prompts: list[str] = []
        self.characters = 0
        """Of the tree: what prompts share counts once."""

    def matched(self, prompt: str) -> int:
        """Characters of the longest beginning that an earlier prompt has too; a sorted neighbour has it."""
        place = bisect_left(self._prompts, prompt)
        return max(
            (shared_characters(prompt, near) for near in self._prompts[max(0, place - 1) : place + 1]), default=0
        )

    def insert(self, prompt: str) -> None:
        self.characters += len(prompt) - self.matched(prompt)
        insort(self._prompts, prompt)


def shared_characters(one: str, other: str) -> int:
    """The length of the common beginning."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect_left(lengths, True, key=lambda length: not other.startswith(one[:length]))


class PrefixCacheAffinityRouter:
    """Three cases: uneven queues, two choices; a prompt it knows, its replicas; a new one, the smallest trees."""

    def __init__(
        self, draws: random.Random, imbalanced_threshold: float = math.inf, match_rate_threshold: float = 0.1
    ) -> None:
        self.draws = draws
        self.imbalanced_threshold, self.match_rate_threshold = imbalanced_threshold, match_rate_threshold
        self.queues: Counter[str] = Counter()
        self._trees: dict[str, PromptTree] = {}
        self._targets: dict[str, str] = {}

    def pick(self, request: Prompted, endpoints: Sequence[Named]) -> str:
        """The replica with the shortest queue among those that prompt and load leave; it learns the prompt."""
        open_request(request.name, self._targets)
        names = [endpoint.name for endpoint in endpoints]
        target = min(self.candidates(request.prompt, names), key=lambda name: self.queues[name])
        self._tree(target).insert(request.prompt)
        self._targets[request.name] = target
        self.queues[target] += 1
        return target

    def candidates(self, prompt: str, replicas: Sequence[str]) -> list[str]:
        """Two at random when the queues differ by more than the threshold, which is infinite by default."""
        queues = [self.queues[name] for name in replicas]
        if max(queues) - min(queues) > self.imbalanced_threshold:
            return self.draws.sample(list(replicas), min(2, len(replicas)))
        return self._by_prefix(prompt, replicas)

    def _by_prefix(self, prompt: str, replicas: Sequence[str]) -> list[str]:
        """The replicas with the longest match; if it is below a tenth of the prompt, those with the smallest tree."""
        matched = {name: self._tree(name).matched(prompt) for name in replicas}
        longest = max(matched.values())
        if prompt and longest / len(prompt) >= self.match_rate_threshold:
            return [name for name in replicas if matched[name] == longest]
        smallest = min(self._tree(name).characters for name in replicas)
        return [name for name in replicas if self._tree(name).characters == smallest]

    def _tree(self, replica: str) -> PromptTree:
        return self._trees.setdefault(replica, PromptTree())

    def first_token(self, name: str) -> None:
        unknown_request(name, self._targets)

    def finish(self, name: str) -> None:
        """The answer is complete: its replica's queue is shorter by one."""
        unknown_request(name, self._targets)
        self.queues[self._targets.pop(name)] -= 1
