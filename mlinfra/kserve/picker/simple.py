"""Pickers to compare with: the same calls, no metrics, no index. They count what they have sent and what has ended."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from mlinfra.admission.picker import open_request, unknown_request
from mlinfra.kserve.picker.endpoint import InferenceRequest, PoolEndpoint, names
from mlinfra.kserve.picker.profile import NO_ENDPOINTS, PickFailed


class Picker(Protocol):
    """What a loop asks of a picker: an endpoint for each request, and word of its first token and its end."""

    def pick(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> str: ...

    def first_token(self, name: str) -> None: ...

    def finish(self, name: str) -> None: ...


class CountingPicker:
    """Counts the requests in flight; how it chooses is the function `choose(names, counts)`."""

    def __init__(self, choose: Callable[[list[str], Counter[str]], str]) -> None:
        self._choose = choose
        self.in_flight: Counter[str] = Counter()
        self._targets: dict[str, str] = {}

    def pick(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> str:
        open_request(request.name, self._targets)
        if not endpoints:
            raise PickFailed(503, NO_ENDPOINTS)
        target = self._choose(names(endpoints), self.in_flight)
        self._targets[request.name] = target
        self.in_flight[target] += 1
        return target

    def first_token(self, name: str) -> None:
        unknown_request(name, self._targets)

    def finish(self, name: str) -> None:
        unknown_request(name, self._targets)
        self.in_flight[self._targets.pop(name)] -= 1


def at_random(draws: random.Random) -> CountingPicker:
    """Any endpoint."""
    return CountingPicker(lambda endpoints, counts: draws.choice(endpoints))


def round_robin() -> CountingPicker:
    """Each in its turn; when the list changes, the one after the last in the new list."""
    turn = iter(range(2**63))
    return CountingPicker(lambda endpoints, counts: endpoints[next(turn) % len(endpoints)])


def least_requests(ties: random.Random | None = None) -> CountingPicker:
    """The endpoint with the fewest requests in flight; of several the first, or one drawn."""

    def choose(endpoints: list[str], counts: Counter[str]) -> str:
        fewest = min(counts[endpoint] for endpoint in endpoints)
        best = [endpoint for endpoint in endpoints if counts[endpoint] == fewest]
        return ties.choice(best) if ties else best[0]

    return CountingPicker(choose)


def two_choices(draws: random.Random) -> CountingPicker:
    """Two endpoints drawn at random, and of them the one with fewer requests in flight."""

    def choose(endpoints: list[str], counts: Counter[str]) -> str:
        drawn = draws.sample(endpoints, min(2, len(endpoints)))
        return min(drawn, key=lambda endpoint: counts[endpoint])

    return CountingPicker(choose)
