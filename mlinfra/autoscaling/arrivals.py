"""When requests arrive: from counts by bin, or from a rate; in seconds and in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from mlinfra.admission import Field, Invalid, refuse
from mlinfra.admission.rules import real


def spread(counts: Sequence[int], bin_s: float, seed: int = 0) -> list[float]:
    """Arrival times from counts by bin: evenly in each bin, moved by a seeded offset of less than one gap."""
    chance, times = random.Random(seed), []
    for i, count in enumerate(counts):
        gap_s = bin_s / count if count else 0.0
        offset_s = chance.random() * gap_s
        times += [i * bin_s + offset_s + k * gap_s for k in range(count)]
    return times


def poisson(rate_per_s: Callable[[float], float], highest_per_s: float, until_s: float, seed: int = 0) -> list[float]:
    """Arrivals of a Poisson process with that rate curve, by thinning one of the highest rate."""
    refuse("poisson", [*real(0)(Field(highest_per_s, "highest_per_s")), *real(0)(Field(until_s, "until_s"))])
    chance, now_s, times = random.Random(seed), 0.0, []
    while highest_per_s and (now_s := now_s + chance.expovariate(highest_per_s)) < until_s:
        rate = rate_per_s(now_s)
        if rate > highest_per_s:
            above = Field(rate, f"rate_per_s({now_s:.1f})").invalid(f"must be at most {highest_per_s:g}")
            raise Invalid("poisson", [above])
        if chance.random() * highest_per_s < rate:
            times.append(now_s)
    return times


def check_arrivals(arrivals_s: Sequence[float]) -> None:
    """Invalid unless the times are finite and in order."""
    for i, (before, after) in enumerate(pairwise(arrivals_s), 1):
        if not before <= after:
            unsorted = Field(after, f"arrivals_s[{i}]").invalid(f"must not be before arrivals_s[{i - 1}], {before:g}")
            raise Invalid("arrivals", [unsorted])
    for i in {0, len(arrivals_s) - 1} if arrivals_s else ():
        refuse("arrivals", real()(Field(arrivals_s[i], f"arrivals_s[{i}]")))
