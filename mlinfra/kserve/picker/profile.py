"""A scheduling profile: filters in order, a weighted sum of scores, and a picker that takes the best.

Follows llm-d/llm-d-router v0.9.0, `pkg/epp/scheduling/scheduler_profile.go` and `plugins/scheduling/{picker,filter}`.
Ties, which upstream breaks at random, go to the first endpoint of the list, or are drawn from the generator you pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Annotated, Any

from mlinfra.admission import check
from mlinfra.admission.rules import real, whole
from mlinfra.kserve.picker.endpoint import InferenceRequest, PoolEndpoint
from mlinfra.kserve.picker.saturation import ConcurrencyDetector, UtilizationDetector
from mlinfra.kserve.picker.scorers import SCORERS
from mlinfra.tables import verdicts

Totals = dict[str, float]
"""The weighted sum of each candidate, by name, in the order of the candidates."""


NO_ENDPOINTS = "no endpoints available for the given request"


class PickFailed(Exception):
    """No endpoint for a request; `code` is the HTTP status that the client gets."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


# ------------------------------------------------------------------------------------------------ filters

DECODE_ROLES = {None, "decode", "prefill-decode", "both", "encode-prefill-decode"}
"""A pod without the label decodes."""

PREFILL_ROLES = {"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"}
ENCODE_ROLES = {"encode", "encode-prefill", "encode-prefill-decode"}

Filter = Callable[[Sequence[PoolEndpoint]], list[PoolEndpoint]]


def by_role(roles: set[str | None] | set[str]) -> Filter:
    """The filter that keeps the endpoints of these roles."""
    return lambda endpoints: [endpoint for endpoint in endpoints if endpoint.role in roles]


FILTERS: dict[str, Filter] = {
    "decode-filter": by_role(DECODE_ROLES),
    "prefill-filter": by_role(PREFILL_ROLES),
    "encode-filter": by_role(ENCODE_ROLES),
    "utilization-detector": UtilizationDetector().filter,
    "concurrency-detector": ConcurrencyDetector().filter,
}

# ------------------------------------------------------------------------------------------------ pickers

Ties = random.Random | None


def max_score_picker(totals: Totals, ties: Ties) -> list[str]:
    """The endpoints by their totals, highest first; equal ones in the order of a shuffle, or of the list."""
    order = list(totals)
    if ties:
        ties.shuffle(order)
    return sorted(order, key=lambda name: -totals[name])


def random_picker(totals: Totals, ties: Ties) -> list[str]:
    """Any order, whatever the totals."""
    return max_score_picker(dict.fromkeys(totals, 0.0), ties)


def weighted_random_picker(totals: Totals, ties: Ties) -> list[str]:
    """An endpoint of twice the total comes first twice as often; one of 0 only when all have 0."""
    if not ties or max(totals.values()) <= 0:
        return random_picker(totals, ties)
    keys = {name: ties.random() ** (1 / total) if total > 0 else 0.0 for name, total in totals.items()}
    return sorted(keys, key=lambda name: -keys[name])


PICKERS: dict[str, Callable[[Totals, Ties], list[str]]] = {
    "max-score-picker": max_score_picker,
    "random-picker": random_picker,
    "weighted-random-picker": weighted_random_picker,
}

# ------------------------------------------------------------------------------------------------ the profile


@dataclass(frozen=True)
class WeightedScorer:
    """A scorer by upstream's name, its weight (weights need not sum to anything) and its parameters."""

    name: str
    weight: Annotated[float, real()] = 1.0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)

    def points(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> list[float]:
        """The weight times the score, which is cut to 0 to 1 before."""
        scores = SCORERS[self.name](request, endpoints, **self.parameters)
        return [self.weight * min(1.0, max(0.0, score)) for score in scores]


@dataclass(frozen=True)
class PickExplanation:
    """Which filter refuses an endpoint, or the points that each scorer gives it."""

    refused: Mapping[str, str]
    points: Mapping[str, Mapping[str, float]]

    def total(self, endpoint: str) -> float:
        """Added one after the other, as upstream adds; `sum` would round in another way."""
        return reduce(add, self.points[endpoint].values(), 0.0)

    def best(self) -> list[str]:
        """The endpoints with the highest total, of which one is picked."""
        highest = max(map(self.total, self.points), default=0.0)
        return [endpoint for endpoint in self.points if self.total(endpoint) == highest]

    def __str__(self) -> str:
        return verdicts(self.points, self.total, self.refused, ".2f")


@dataclass(frozen=True)
class SchedulingProfile:
    """Filters and scorers in their order; of the picker's list the first is sent to, the others are fallbacks."""

    scorers: tuple[WeightedScorer, ...] = ()
    filters: tuple[str, ...] = ()
    picker: str = "max-score-picker"
    max_endpoints: Annotated[int, whole(-(2**31))] = 1

    def __post_init__(self) -> None:
        check(self)

    def run(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint], ties: Ties = None) -> list[str]:
        """The endpoints to send to, the best first: filter, score, pick."""
        candidates = self.candidates(endpoints)
        totals = self.totals(request, candidates)
        return self._pick(totals, ties)

    def candidates(self, endpoints: Sequence[PoolEndpoint]) -> list[PoolEndpoint]:
        """What the filters leave, each of what the one before it left; PickFailed when that is nothing."""
        candidates = list(endpoints)
        for name in self.filters:
            candidates = FILTERS[name](candidates)
        if not candidates:
            raise PickFailed(429, NO_ENDPOINTS)
        return candidates

    def totals(self, request: InferenceRequest, candidates: Sequence[PoolEndpoint]) -> Totals:
        """The weighted sum of each candidate."""
        totals = [0.0] * len(candidates)
        for scorer in self.scorers:
            points = scorer.points(request, candidates)
            totals = [total + more for total, more in zip(totals, points, strict=True)]
        return {candidate.name: total for candidate, total in zip(candidates, totals, strict=True)}

    def _pick(self, totals: Totals, ties: Ties) -> list[str]:
        return PICKERS[self.picker](totals, ties)[: max(1, self.max_endpoints)]

    def explain(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> PickExplanation:
        """The verdict of every filter and scorer on every endpoint."""
        refused = self._refused(endpoints)
        candidates = [endpoint for endpoint in endpoints if endpoint.name not in refused]
        points: dict[str, dict[str, float]] = {candidate.name: {} for candidate in candidates}
        for scorer in self.scorers if candidates else ():
            for candidate, more in zip(candidates, scorer.points(request, candidates), strict=True):
                points[candidate.name][scorer.name] = points[candidate.name].get(scorer.name, 0.0) + more
        return PickExplanation(refused, points)

    def _refused(self, endpoints: Sequence[PoolEndpoint]) -> dict[str, str]:
        """The filter that dropped an endpoint, by endpoint."""
        refused: dict[str, str] = {}
        left = list(endpoints)
        for name in self.filters:
            passed = FILTERS[name](left)
            refused |= {endpoint.name: name for endpoint in left if endpoint not in passed}
            left = passed
        return refused
