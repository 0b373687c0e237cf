"""The canary's test: two error rates compared in five looks, and limits that are not to be breached.

A look is one comparison of all that has been answered so far, after each fifth of the largest sample.
The pooled two-proportion z-test, stage by stage, with O'Brien and Fleming's boundaries for five looks (Jennison and
Turnbull, "Group Sequential Methods", 2000, tables 2.3 and 2.4): 5 % significance on two sides, of which a rollback
uses one, and 80 % power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from mlinfra.admission.nouns.kserve import rate_problems
from mlinfra.admission.rules import Field, between, refuse

LOOKS, SIGNIFICANCE, POWER = 5, 0.05, 0.80
BOUNDARY, INFLATION = 2.040, 1.028
DOUBT = 1e-4
"""A limit is breached when a version exactly at it would produce this many bad requests, or more, less often."""


@dataclass(frozen=True)
class Counts:
    """Requests that one version answered, how many failed, and how many took longer than the rollout's `p99_ms`."""

    requests: int = 0
    errors: int = 0
    slow: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.requests + other.requests, self.errors + other.errors, self.slow + other.slow)


Stage = tuple[Counts, Counts]
"""What the stable version and the canary answered side by side."""


# ------------------------------------------------------------------------------------------------------ the sample


@cache
def sample_size(base_rate: float, bad_rate: float) -> int:
    """Requests that each of two equal arms needs to tell the rates apart in one look at the end."""
    return math.ceil(exact_sample_size(base_rate, bad_rate))


@cache
def largest_sample(base_rate: float, bad_rate: float) -> int:
    """The same with five looks: what an equal arm has at the last of them."""
    return math.ceil(exact_sample_size(base_rate, bad_rate) * INFLATION)


def exact_sample_size(base_rate: float, bad_rate: float) -> float:
    """The sample at which the difference is as large as the margins against a false alarm and against a miss."""
    refuse("rates", rate_problems(base_rate, bad_rate))
    mean_rate = (base_rate + bad_rate) / 2
    spread_if_equal = math.sqrt(2 * mean_rate * (1 - mean_rate))
    spread_if_different = math.sqrt(base_rate * (1 - base_rate) + bad_rate * (1 - bad_rate))
    against_false_alarm = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) * spread_if_equal
    against_miss = NormalDist().inv_cdf(POWER) * spread_if_different
    return ((against_false_alarm + against_miss) / (bad_rate - base_rate)) ** 2


def effective_sample(stages: Sequence[Stage]) -> float:
    """The size of two equal arms that would tell as much: 1,000 beside 9,000 are worth 1,800 each."""
    return sum(2 * stable.requests * canary_share(stable, canary) for stable, canary in stages)


def canary_share(stable: Counts, canary: Counts) -> float:
    """The part of the requests that the canary answered."""
    return canary.requests / max(1, stable.requests + canary.requests)


# ------------------------------------------------------------------------------------------------- the two versions


@cache
def boundary(look: int) -> float:
    """The z from which a look (1 to 5) rolls back: hard to reach at first, close to one single test at the end."""
    refuse("boundary", between(1, LOOKS)(Field(look, "look")))
    return BOUNDARY * math.sqrt(LOOKS / look)


@dataclass(frozen=True)
class Evidence:
    """The canary's errors beyond its share of all errors, and the second and third moment of that by chance alone."""

    surplus: float = 0.0
    variance: float = 0.0
    third_moment: float = 0.0

    def __add__(self, other: Evidence) -> Evidence:
        variance = self.variance + other.variance
        return Evidence(self.surplus + other.surplus, variance, self.third_moment + other.third_moment)

    @property
    def z(self) -> float:
        """The pooled two-proportion z, positive when the canary fails more often."""
        return self.surplus / math.sqrt(self.variance) if self.variance else 0.0

    @property
    def skewness(self) -> float:
        """Positive when chance gives the canary a large surplus more often than an equally large deficit."""
        return self.third_moment / self.variance**1.5 if self.variance else 0.0

    def adjusted_boundary(self, look: int) -> float:
        """The look's boundary, moved up for a small arm, whose errors are skewed (Cornish and Fisher)."""
        z = boundary(look)
        return z + max(0.0, self.skewness) / 6 * (z * z - 1)


def evidence(stages: Sequence[Stage]) -> Evidence:
    """Summed over stages, each compared within itself: a rate that drifts between stages does not mislead."""
    total = Evidence()
    for stable, canary in stages:
        total += stage_evidence(stable, canary)
    return total


def stage_evidence(stable: Counts, canary: Counts) -> Evidence:
    """The evidence of one stage; by chance each of its errors is the canary's with the probability of its share."""
    share = canary_share(stable, canary)
    errors = stable.errors + canary.errors
    error_rate = errors / max(1, stable.requests + canary.requests)
    variance = errors * (1 - error_rate) * share * (1 - share)
    third_moment = variance * (1 - 2 * share)
    return Evidence(canary.errors - errors * share, variance, third_moment)


# ------------------------------------------------------------------------------------------------------- the limits


def breaks(limit: float, bad: int, requests: int) -> bool:
    """Whether this many bad requests breach the limit, a rate between 0 and 1."""
    return bad > limit * requests and binomial_tail(limit, bad, requests) < DOUBT


def binomial_tail(rate: float, bad: int, requests: int) -> float:
    """The chance of so many bad requests or more, each bad at this rate; `bad` is above the mean, so terms fall."""
    term = binomial_probability(rate, bad, requests)
    tail = term
    for count in range(bad, requests):
        term *= rate / (1 - rate) * (requests - count) / (count + 1)
        tail += term
        if term <= tail * 1e-9:
            break
    return tail


def binomial_probability(rate: float, bad: int, requests: int) -> float:
    """The chance of exactly so many bad requests; by logarithms, because the factorials are too large."""
    ways = math.lgamma(requests + 1) - math.lgamma(bad + 1) - math.lgamma(requests - bad + 1)
    return math.exp(ways + bad * math.log(rate) + (requests - bad) * math.log1p(-rate))
