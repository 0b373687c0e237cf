"""A canary that decides: traffic in stages, a sequential test on errors, limits on errors and p99, and rollback.

KServe splits the traffic and decides nothing; this is the controller beside it. The test is the pooled two-proportion
z-test, stage by stage, with O'Brien and Fleming's boundaries for five looks (Jennison and Turnbull, "Group Sequential
Methods", 2000, tables 2.3 and 2.4): 5 % significance on two sides, of which a rollback uses one, and 80 % power.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

from mlinfra.admission.rules import Field, Needed, Problem, Rules, between, broken, real, refuse
from mlinfra.kserve.service import Canary, Container, InferenceService, Model
from mlinfra.manifest import Manifest

LOOKS, SIGNIFICANCE, POWER = 5, 0.05, 0.80
BOUNDARY, INFLATION = 2.040, 1.028
DOUBT = 1e-4
"""A limit counts as broken when so many bad requests would come less often than this at the limit itself."""


@dataclass(frozen=True)
class Counts:
    """Requests that one version answered, how many failed, and how many took longer than the p99 limit."""

    requests: int = 0
    errors: int = 0
    slow: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.requests + other.requests, self.errors + other.errors, self.slow + other.slow)


Stage = tuple[Counts, Counts]
"""What the stable version and the canary answered side by side."""


@cache
def sample_size(base_rate: float, bad_rate: float) -> int:
    """Requests that each of two equal arms needs to tell the rates apart in one look at the end."""
    refuse("sample", _rate_problems(base_rate, bad_rate))
    return math.ceil(_sample_size(base_rate, bad_rate))


def _sample_size(base_rate: float, bad_rate: float) -> float:
    mean = (base_rate + bad_rate) / 2
    by_chance = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) * math.sqrt(2 * mean * (1 - mean))
    spread = math.sqrt(base_rate * (1 - base_rate) + bad_rate * (1 - bad_rate))
    return ((by_chance + NormalDist().inv_cdf(POWER) * spread) / (bad_rate - base_rate)) ** 2


def _rate_problems(base_rate: float, bad_rate: float) -> Iterator[Problem]:
    yield from (*real(0, 1)(Field(base_rate, "base_rate")), *real(0, 1)(Field(bad_rate, "bad_rate")))
    if base_rate == bad_rate:
        yield Field(bad_rate, "bad_rate").invalid("must differ from base_rate: no sample tells equal rates apart")


@cache
def largest_sample(base_rate: float, bad_rate: float) -> int:
    """The same with five looks: what an equal arm has at the last of them."""
    refuse("sample", _rate_problems(base_rate, bad_rate))
    return math.ceil(_sample_size(base_rate, bad_rate) * INFLATION)


@cache
def boundary(look: int) -> float:
    """The z from which a look (1 to 5) rolls back: hard to reach at first, close to one single test at the end."""
    refuse("boundary", between(1, LOOKS)(Field(look, "look")))
    return BOUNDARY * math.sqrt(LOOKS / look)


def effective_sample(stages: Sequence[Stage]) -> float:
    """The size of two equal arms that would tell as much: 1,000 beside 9,000 are worth 1,800 each."""
    return sum(2 * stable.requests * _share(stable, canary) for stable, canary in stages)


def _share(stable: Counts, canary: Counts) -> float:
    return canary.requests / max(1, stable.requests + canary.requests)


class Evidence(NamedTuple):
    """The canary's errors beyond its share of all errors, and what chance alone makes of that number."""

    surplus: float
    variance: float
    third_moment: float

    @property
    def z(self) -> float:
        """The pooled two-proportion z, positive when the canary fails more often."""
        return self.surplus / math.sqrt(self.variance) if self.variance else 0.0

    def limit(self, look: int) -> float:
        """The look's boundary, moved up for a small arm: rare errors are skewed (Cornish and Fisher)."""
        at = boundary(look)
        skewness = self.third_moment / self.variance**1.5 if self.variance else 0.0
        return at + max(0.0, skewness) / 6 * (at * at - 1)


def evidence(stages: Sequence[Stage]) -> Evidence:
    """Summed over stages, each compared within itself: a rate that drifts between stages does not mislead."""
    return Evidence(*map(sum, zip(*(_evidence(*stage) for stage in stages), strict=True)))


def _evidence(stable: Counts, canary: Counts) -> Evidence:
    share, errors = _share(stable, canary), stable.errors + canary.errors
    rate = errors / max(1, stable.requests + canary.requests)
    variance = errors * (1 - rate) * share * (1 - share)
    return Evidence(canary.errors - errors * share, variance, variance * (1 - 2 * share))


def breaks(limit: float, bad: int, requests: int) -> bool:
    """Whether so many bad requests put the rate above the limit beyond doubt (the exact binomial tail)."""
    if bad <= limit * requests:
        return False
    odds, log_choose = limit / (1 - limit), math.lgamma(requests + 1) - math.lgamma(bad + 1)
    log_choose -= math.lgamma(requests - bad + 1)
    term = math.exp(log_choose + bad * math.log(limit) + (requests - bad) * math.log1p(-limit))
    tail = term
    for count in range(bad, requests):
        term *= odds * (requests - count) / (count + 1)
        tail += term
        if term <= tail * 1e-9:
            break
    return tail < DOUBT


@dataclass(frozen=True)
class Decision:
    """An entry of the history: when, at which share of traffic, what was done and why."""

    at_s: float
    percent: int
    action: str
    reason: str

    def __str__(self) -> str:
        return f"{self.at_s / 60:6.1f} min  {self.percent:3} %  {self.action}: {self.reason}"


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands; the last of `stages` is running until there is an outcome."""

    stages: tuple[Stage, ...] = ((Counts(), Counts()),)
    since_s: float = 0.0
    last_s: float = 0.0
    looks: int = 0
    outcome: str = ""
    history: tuple[Decision, ...] = ()


PROMOTED, ROLLED_BACK = "promoted", "rolled back"


@dataclass(frozen=True)
class CanaryRollout:
    """A new model for a service, in stages of traffic (percent), each held for `hold_s` at least.

    A canary with `error_rate` instead of `base_error_rate` is caught with 80 % probability while its share is at most
    a half; one that is as good as what runs is rolled back in 2.5 % of the rollouts. An error rate above `error_rate`,
    or a p99 above `p99_ms`, beyond doubt ends the rollout at once, also after the last look.
    """

    service: InferenceService
    model: Model | Container
    version: str
    stages: tuple[int, ...] = (10, 25, 50, 75, 100)
    hold_s: float = 900.0
    base_error_rate: float = 0.005
    error_rate: float = 0.01
    p99_ms: int = 500

    def __post_init__(self) -> None:
        refuse("rollout", _problems(self))
        self.manifests()

    # ------------------------------------------------------------------------------------------- manifests

    def stage_manifest(self, percent: int) -> Manifest:
        """The InferenceService while the canary has this share of the traffic."""
        if self.service.mode == "Knative":
            predictor = replace(self.service.predictor, model=self.model, canary_traffic_percent=percent)
            return replace(self.service, predictor=predictor).manifest()
        canary = replace(
            self.service.predictor,
            model=self.model,
            name=self.version,
            min_replicas=None,  # a canary has fixed replicas: its share of the stable predictor's
            max_replicas=None,
            scale_metric=None,
            scale_target=None,
        )
        return replace(self.service, canary=(Canary(percent, canary),)).manifest()

    def promotion(self) -> Manifest:
        """The new model is the model: the percentage goes, or the canary's name becomes the predictor's."""
        name = "" if self.service.mode == "Knative" else self.version
        predictor = replace(self.service.predictor, model=self.model, name=name, canary_traffic_percent=None)
        return replace(self.service, predictor=predictor, canary=()).manifest()

    def rollback(self) -> Manifest:
        """The old revision has all the traffic at once (Knative), or the canary's entry is gone."""
        return self.stage_manifest(0) if self.service.mode == "Knative" else self.service.manifest()

    def manifests(self) -> dict[str, Manifest]:
        """Every manifest that the rollout may apply, by what it is for."""
        staged = {f"{percent} %": self.stage_manifest(percent) for percent in self.stages}
        return staged | {"promotion": self.promotion(), "rollback": self.rollback()}

    # ------------------------------------------------------------------------------------------- decisions

    def percent(self, progress: Progress) -> int:
        """The canary's share of the traffic."""
        ended = {PROMOTED: 100, ROLLED_BACK: 0}
        return ended.get(progress.outcome, self.stages[len(progress.stages) - 1])

    def observe(self, progress: Progress, now_s: float, stable: Counts, canary: Counts) -> Progress:
        """The rollout after what both versions answered since the last time; one that has ended stays as it is.

        `now_s` counts from its start. Invalid for counts that cannot be, and for a time that goes back.
        """
        refuse("observation", _observation_problems(progress, now_s, stable, canary))
        if progress.outcome:
            return progress
        progress = replace(progress, last_s=now_s)
        *before, (stable_so_far, canary_so_far) = progress.stages
        seen = replace(progress, stages=(*before, (stable_so_far + stable, canary_so_far + canary)))
        if reason := self._broken_limit(seen.stages[-1][1]):
            return self._decide(seen, now_s, "roll back", reason, outcome=ROLLED_BACK)
        seen = self._look(seen, now_s)
        return seen if seen.outcome else self._advance(seen, now_s)

    def _broken_limit(self, canary: Counts) -> str:
        """Limits on the running stage, which may be the first to put this load on the canary."""
        if breaks(self.error_rate, canary.errors, canary.requests):
            limit = f"{100 * self.error_rate:.1f} %"
            return f"{canary.errors} errors in {canary.requests} requests, more than {limit} beyond doubt"
        if breaks(0.01, canary.slow, canary.requests):
            return (
                f"{canary.slow} of {canary.requests} requests above {self.p99_ms} ms, so p99 is above it beyond doubt"
            )
        return ""

    def _look(self, progress: Progress, now_s: float) -> Progress:
        """The looks that have come due by the size of the sample; of several at once only the last is taken."""
        share = effective_sample(progress.stages) / largest_sample(self.base_error_rate, self.error_rate)
        due = min(LOOKS, math.floor(share * LOOKS))
        if due <= progress.looks:
            return progress
        found = evidence(progress.stages)
        worse = found.z >= (limit := found.limit(due))
        reason = f"look {due} of {LOOKS}: z = {found.z:.2f}, {'at or above' if worse else 'below'} {limit:.2f}"
        seen = replace(progress, looks=due)
        if worse:
            return self._decide(seen, now_s, "roll back", reason, outcome=ROLLED_BACK)
        return self._decide(seen, now_s, "go on", reason)

    def _advance(self, progress: Progress, now_s: float) -> Progress:
        """The next stage, once this one was held and has its part of the looks behind it."""
        early = now_s - progress.since_s < self.hold_s or not progress.stages[-1][1].requests
        if early or progress.looks < self._looks_needed(len(progress.stages)):
            return progress
        if len(progress.stages) == len(self.stages):
            return self._decide(progress, now_s, "promote", f"{progress.looks} looks passed", outcome=PROMOTED)
        percent = self.stages[len(progress.stages)]
        seen = self._decide(progress, now_s, "advance", f"to {percent} %, {progress.looks} looks passed")
        return replace(seen, stages=(*seen.stages, (Counts(), Counts())), since_s=now_s)

    def _looks_needed(self, stage: int) -> int:
        """Looks before a stage (from 1) may end: evidence grows with exposure, and 100 % needs all of them."""
        shared = sum(percent < 100 for percent in self.stages)
        return min(LOOKS, math.ceil(LOOKS * stage / shared)) if shared else 0

    def _decide(self, progress: Progress, now_s: float, action: str, reason: str, outcome: str = "") -> Progress:
        decision = Decision(now_s, self.percent(progress), action, reason)
        return replace(progress, outcome=outcome, history=(*progress.history, decision))


def _problems(rollout: CanaryRollout) -> Iterator[Problem]:
    stages = list(rollout.stages)
    if len(stages) < 2 or stages != sorted(set(stages)) or stages[0] < 1 or stages[-1] != 100:
        yield Field(stages, "stages").invalid("must increase, from 1 at least to 100, with a stage below 100")
    if not 0 <= rollout.hold_s < math.inf:
        yield Field(rollout.hold_s, "hold_s").invalid("must be greater than or equal to 0")
    if not 0 < rollout.base_error_rate < rollout.error_rate < 1:
        yield Field(rollout.error_rate, "error_rate").invalid(
            f"must be greater than base_error_rate ({rollout.base_error_rate:g}), and both between 0 and 1"
        )
    if rollout.model == rollout.service.predictor.model:
        yield Field(rollout.version, "model").invalid("must differ from the model that runs")
    if rollout.service.mode == "Standard":
        yield from _standard_problems(rollout)


def _standard_problems(rollout: CanaryRollout) -> Iterator[Problem]:
    """What the promotion, or the way of the traffic, would refuse in Standard mode."""
    before, after = rollout.service.predictor.model, rollout.model
    if isinstance(before, Model) and isinstance(after, Model) and before.storage_uri == after.storage_uri:
        yield Problem("model", "predictor.name change requires a model change (e.g. storageUri)")
    if rollout.service.canary:
        yield Problem("service.canary", "must be empty: the service has a canary already")
    if rollout.service.transformer:
        yield Problem(
            "service.transformer", "must be empty: a transformer calls one predictor, so a canary gets nothing"
        )


def _observation_problems(progress: Progress, now_s: float, stable: Counts, canary: Counts) -> Iterator[Problem]:
    yield from real(progress.last_s)(Field(now_s, "now_s"))
    for name, counts in {"stable": stable, "canary": canary}.items():
        if not all(type(count) is int for count in vars(counts).values()):
            yield Problem(name, f"Invalid value: {counts}: must be whole numbers")
        elif not 0 <= min(counts.errors, counts.slow) <= max(counts.errors, counts.slow) <= counts.requests:
            yield Problem(name, f"Invalid value: {counts}: errors and slow ones must be from 0 to the requests")


# -------------------------------------------------------------------------------------------------- made-up traffic


RATE = real(0, 0.999)
TRAFFIC: Rules = [
    ("per_s", Needed(), real(0.01)),
    ("stable_error_rate", Needed(), RATE),
    ("canary_error_rate", Needed(), RATE),
    ("canary_slow_rate", Needed(), RATE),
]


@dataclass(frozen=True)
class Traffic:
    """Requests per second, and what is true of the two versions; rates are shares of the requests."""

    per_s: float
    stable_error_rate: float
    canary_error_rate: float
    canary_slow_rate: float = 0.002

    def __post_init__(self) -> None:
        refuse("traffic", broken(Field(vars(self)), TRAFFIC))


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
        stable = Counts(requests - to_canary, bad(requests - to_canary, traffic.stable_error_rate, draw))
        canary = Counts(
            to_canary,
            bad(to_canary, traffic.canary_error_rate, draw),
            bad(to_canary, traffic.canary_slow_rate, draw),
        )
        progress = rollout.observe(progress, now_s, stable, canary)
        yield now_s, progress


def bad(requests: int, rate: float, draw: random.Random) -> int:
    """How many of the requests are bad when each is with this probability: jumps from one to the next."""
    if not rate:
        return 0
    count, at, per_jump = -1, 0, 1 / math.log1p(-rate)
    while at <= requests:
        at += 1 + int(math.log(1 - draw.random()) * per_jump)
        count += 1
    return count
