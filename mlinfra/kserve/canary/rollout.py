"""A canary that decides: traffic in stages, a sequential test on errors, limits on errors and p99, and rollback.

KServe splits the traffic and decides nothing; this is the controller beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mlinfra.admission import AtLeastOne, NotNegative, Share, check
from mlinfra.admission.nouns.kserve import observation_problems
from mlinfra.admission.rules import refuse
from mlinfra.kserve.canary.sequential import (
    LOOKS,
    Counts,
    Stage,
    breaks,
    effective_sample,
    evidence,
    largest_sample,
)
from mlinfra.kserve.service import Canary, Container, InferenceService, Model
from mlinfra.manifest import Manifest
from mlinfra.simulation import Event

PROMOTED, ROLLED_BACK = "promoted", "rolled back"
SLOW_SHARE = 0.01
"""A p99 is above its limit when more than this share of the requests is."""


@dataclass(frozen=True)
class CanaryDecision:
    """An entry of the history: when, at which share of traffic, what was done and why."""

    at_s: float
    percent: int
    action: str
    reason: str

    def __str__(self) -> str:
        return f"{self.at_s / 60:6.1f} min  {self.percent:3} %  {self.action}: {self.reason}"


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands: the counts of its stages, of which the last is running until there is an outcome.

    `since_s` is when that one began, `last_s` the last observation.
    """

    counts: tuple[Stage, ...] = ((Counts(), Counts()),)
    since_s: float = 0.0
    last_s: float = 0.0
    looks: int = 0
    outcome: str = ""
    history: tuple[CanaryDecision, ...] = ()

    @property
    def canary(self) -> Counts:
        """What the canary answered in the running stage."""
        return self.counts[-1][1]

    @property
    def events(self) -> tuple[Event, ...]:
        """The history as events."""
        return tuple(Event(entry.at_s, entry.action, f"{entry.percent} %", entry.reason) for entry in self.history)

    def why(self) -> str:
        """The decisions, one in a line."""
        return "\n".join(map(str, self.history))

    def after(self, now_s: float, stable: Counts, canary: Counts) -> Progress:
        """The same with these answers added to the running stage."""
        *earlier, (stable_so_far, canary_so_far) = self.counts
        running = (stable_so_far + stable, canary_so_far + canary)
        return replace(self, last_s=now_s, counts=(*earlier, running))

    def next_stage(self) -> Progress:
        """The same at the beginning of another stage."""
        return replace(self, counts=(*self.counts, (Counts(), Counts())), since_s=self.last_s)


@dataclass(frozen=True)
class CanaryRollout:
    """A new model for a service, in stages of traffic (percent), each held for `hold_s` at least.

    A canary with `error_rate` instead of `base_error_rate` is caught with 80 % probability while its share is at most
    a half; one that is as good as what runs is rolled back by the looks in 2.5 % of the rollouts. A breach of the limit
    for errors (`error_rate`) or for the p99 (`p99_ms`, with which whoever counts the requests compares them) ends the
    rollout at once, also after the last look.
    """

    service: InferenceService
    model: Model | Container
    version: str
    stages: tuple[int, ...] = (10, 25, 50, 75, 100)
    hold_s: NotNegative = 900.0
    base_error_rate: Share = 0.005
    error_rate: Share = 0.01
    p99_ms: AtLeastOne = 500

    def __post_init__(self) -> None:
        check(self)
        self.manifests()  # refuses now what KServe would refuse in the middle of the rollout

    # ------------------------------------------------------------------------------------------- decisions

    def observe(self, progress: Progress, now_s: float, stable: Counts, canary: Counts) -> Progress:
        """The rollout after what both versions answered since the last time; one that has ended stays as it is.

        `now_s` counts from its start. Invalid for counts that cannot be, and for a time that goes back.
        """
        refuse("observation", observation_problems(progress.last_s, now_s, stable, canary))
        if progress.outcome:
            return progress
        progress = self._enforce_limits(progress.after(now_s, stable, canary))
        if not progress.outcome:
            progress = self._look(progress)
        if not progress.outcome:
            progress = self._advance(progress)
        return progress

    def _enforce_limits(self, progress: Progress) -> Progress:
        """Rolled back when the running stage alone breaks a limit: it may be the first with this load on the canary."""
        canary = progress.canary
        if breaks(self.error_rate, canary.errors, canary.requests):
            errors = f"{canary.errors} errors in {canary.requests} requests"
            return self._roll_back(progress, f"{errors} breach the limit of {100 * self.error_rate:.1f} %")
        if breaks(SLOW_SHARE, canary.slow, canary.requests):
            slow = f"{canary.slow} of {canary.requests} requests above {self.p99_ms} ms"
            return self._roll_back(progress, f"{slow} breach the limit of the p99")
        return progress

    def _look(self, progress: Progress) -> Progress:
        """The look that has come due by the size of the sample; of several at once only the last is taken."""
        look = self._looks_due(progress)
        if look <= progress.looks:
            return progress
        progress = replace(progress, looks=look)
        errors = evidence(progress.counts)
        bound = errors.adjusted_boundary(look)
        if errors.z >= bound:
            return self._roll_back(progress, f"look {look} of {LOOKS}: z = {errors.z:.2f}, at or above {bound:.2f}")
        return self._record(progress, "go on", f"look {look} of {LOOKS}: z = {errors.z:.2f}, below {bound:.2f}")

    def _looks_due(self, progress: Progress) -> int:
        """One for each fifth of the largest sample."""
        share = effective_sample(progress.counts) / largest_sample(self.base_error_rate, self.error_rate)
        return min(LOOKS, math.floor(share * LOOKS))

    def _advance(self, progress: Progress) -> Progress:
        """The next stage, or the promotion, once the running stage is done."""
        if not self._stage_is_done(progress):
            return progress
        looks = f"{progress.looks} looks passed"
        if len(progress.counts) == len(self.stages):
            return replace(self._record(progress, "promote", looks), outcome=PROMOTED)
        percent = self.stages[len(progress.counts)]
        return self._record(progress, "advance", f"to {percent} %, {looks}").next_stage()

    def _stage_is_done(self, progress: Progress) -> bool:
        """Held for long enough, with a request on the canary, and with its part of the looks behind it."""
        held = progress.last_s - progress.since_s >= self.hold_s
        answered = progress.canary.requests > 0
        return held and answered and progress.looks >= self._looks_needed(len(progress.counts))

    def _looks_needed(self, stage: int) -> int:
        """Looks before a stage (from 1) may end: 2, 3, 4, 5 and 5 in the default ones, so all of them before 100 %."""
        stages_with_both = sum(percent < 100 for percent in self.stages)
        return min(LOOKS, math.ceil(LOOKS * stage / stages_with_both))

    def _roll_back(self, progress: Progress, reason: str) -> Progress:
        return replace(self._record(progress, "roll back", reason), outcome=ROLLED_BACK)

    def _record(self, progress: Progress, action: str, reason: str) -> Progress:
        decision = CanaryDecision(progress.last_s, self.percent(progress), action, reason)
        return replace(progress, history=(*progress.history, decision))

    def percent(self, progress: Progress) -> int:
        """The canary's share of the traffic."""
        ended = {PROMOTED: 100, ROLLED_BACK: 0}
        return ended.get(progress.outcome, self.stages[len(progress.counts) - 1])

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

    def promotion_manifest(self) -> Manifest:
        """The new model is the model: the percentage goes, or the canary's name becomes the predictor's."""
        name = "" if self.service.mode == "Knative" else self.version
        predictor = replace(self.service.predictor, model=self.model, name=name, canary_traffic_percent=None)
        return replace(self.service, predictor=predictor, canary=()).manifest()

    def rollback_manifest(self) -> Manifest:
        """The old revision has all the traffic at once (Knative), or the canary's entry is gone."""
        return self.stage_manifest(0) if self.service.mode == "Knative" else self.service.manifest()

    def manifests(self) -> dict[str, Manifest]:
        """Every manifest that the rollout may apply, by what it is for."""
        staged = {f"{percent} %": self.stage_manifest(percent) for percent in self.stages}
        return staged | {"promotion": self.promotion_manifest(), "rollback": self.rollback_manifest()}
