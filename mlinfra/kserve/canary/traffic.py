"""Made-up traffic for a rollout: how it ends when the true error rates are known."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from mlinfra.admission import check
from mlinfra.admission.rules import Field, real, refuse
from mlinfra.kserve.canary.rollout import CanaryRollout, Progress
from mlinfra.kserve.canary.sequential import Counts

TrueRate = Annotated[float, real(0, 0.999)]


@dataclass(frozen=True)
class Traffic:
    """Requests per second, and what is true of the two versions; rates are shares of the requests."""

    per_s: Annotated[float, real(0.01)]
    stable_error_rate: TrueRate
    canary_error_rate: TrueRate
    canary_slow_rate: TrueRate = 0.002

    def __post_init__(self) -> None:
        check(self)


def trial(
    rollout: CanaryRollout, traffic: Traffic, seed: int, every_s: float = 60.0
) -> Iterator[tuple[float, Progress]]:
    """A rollout under made-up traffic, looked at every so often: times in seconds and where it stands, to its end."""
    refuse("trial", real(1)(Field(every_s, "every_s")))
    draw, progress, now_s, owed = random.Random(seed), Progress(), 0.0, 0.0
    while not progress.outcome:
        now_s += every_s
        requests = round(traffic.per_s * now_s) - round(traffic.per_s * (now_s - every_s))
        owed += requests * rollout.percent(progress) / 100
        to_canary = min(requests, int(owed))
        owed -= to_canary
        to_stable = requests - to_canary
        stable = Counts(to_stable, bad(to_stable, traffic.stable_error_rate, draw))
        canary_errors = bad(to_canary, traffic.canary_error_rate, draw)
        canary = Counts(to_canary, canary_errors, bad(to_canary, traffic.canary_slow_rate, draw))
        progress = rollout.observe(progress, now_s, stable, canary)
        yield now_s, progress


def bad(requests: int, rate: float, draw: random.Random) -> int:
    """How many of the requests are bad when each is with this probability: jumps from one to the next."""
    if not rate:
        return 0
    count, position, per_jump = -1, 0, 1 / math.log1p(-rate)
    while position <= requests:
        position += 1 + int(math.log(1 - draw.random()) * per_jump)
        count += 1
    return count
