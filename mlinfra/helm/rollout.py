"""A Deployment's rolling update, with GPUs that must be free before a pod can start.

Follows Kubernetes 1.37 `pkg/controller/deployment/{rolling,progress}.go` and `util/deployment_util.go`: fenceposts, the
scaling of new and old ReplicaSets, the deadline that stops nothing. Pods that drain count in no ReplicaSet and keep
their GPU until they are gone. Left out: pods that crash, budgets, minReadySeconds; times are seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from mlinfra.admission.rules import Field, Problem, refuse, whole

CountOrShare = int | str


@dataclass(frozen=True)
class Rollout:
    """The replacement of every replica, each of which takes `start_s` to serve and `drain_s` to go.

    `gpus` is all that the service may hold, a GPU per replica; by default there are always some free.
    """

    replicas: int
    max_surge: CountOrShare = "25%"
    max_unavailable: CountOrShare = "25%"
    start_s: float = 172.0
    drain_s: float = 0.0
    gpus: float = math.inf
    progress_deadline_s: float = 600.0

    def __post_init__(self) -> None:
        refuse("rollout", _problems(Field(vars(self))))

    def fenceposts(self) -> tuple[int, int]:
        """Pods above and below the count: shares of surge are rounded up, of unavailability down; never both 0."""
        surge = _count(self.max_surge, self.replicas, math.ceil)
        unavailable = min(_count(self.max_unavailable, self.replicas, math.floor), self.replicas)
        return surge, unavailable or int(surge == 0)

    def run(self) -> Outcome:
        """What happens, until the last old pod is gone or nothing more can."""
        return _Update(self).run()


@dataclass(frozen=True)
class Moment:
    """How many pods are what, from this time on; a pending one has no GPU."""

    at_s: float
    old: int
    new: int
    starting: int
    pending: int
    draining: int

    @property
    def serving(self) -> int:
        return self.old + self.new

    @property
    def gpus(self) -> int:
        return self.serving + self.starting + self.draining


@dataclass(frozen=True)
class Outcome:
    """The moments of a rollout; `done_s` is None when it is stuck, `late_s` when the deadline passed, if it did."""

    moments: tuple[Moment, ...]
    done_s: float | None
    late_s: float | None

    @property
    def peak_gpus(self) -> int:
        return max(moment.gpus for moment in self.moments)

    @property
    def fewest_serving(self) -> int:
        return min(moment.serving for moment in self.moments)

    def gpu_hours(self) -> float:
        """What all pods held, from the start until the last moment."""
        pairs = zip(self.moments, self.moments[1:], strict=False)
        return sum((after.at_s - before.at_s) * before.gpus for before, after in pairs) / 3600


def _problems(given: Field) -> list[Problem]:
    """Kinds and ranges first; then the comparisons, in the API server's words."""
    wrong = list(whole(1)(given["replicas"]))
    wrong += [problem for name in ("max_surge", "max_unavailable") for problem in _count_or_share(given[name])]
    for name in ("start_s", "drain_s", "progress_deadline_s", "gpus"):
        value = given[name].value
        if not isinstance(value, int | float) or not value >= 0 or (value == math.inf and name != "gpus"):
            wrong.append(given[name].invalid("must be a number, 0 or more"))
    return wrong or list(_compared(given))


def _compared(given: Field) -> Iterator[Problem]:
    surge, unavailable = given["max_surge"], given["max_unavailable"]
    if all(_count(side.value, 100, math.ceil) == 0 for side in (surge, unavailable)):
        yield unavailable.invalid("may not be 0 when `maxSurge` is 0")
    if isinstance(unavailable.value, str) and int(unavailable.value[:-1]) > 100:
        yield unavailable.invalid("must not be greater than 100%")
    if given["gpus"].value < given["replicas"].value:
        yield given["gpus"].invalid("must be at least one per replica: the old ones hold them")
    if given["progress_deadline_s"].value == 0:
        yield given["progress_deadline_s"].invalid("must be greater than minReadySeconds")


def _count_or_share(given: Field) -> Iterator[Problem]:
    if isinstance(given.value, str):
        if not re.fullmatch(r"[0-9]+%", given.value):
            yield given.invalid("must be a number of pods, or a percentage such as 25%")
    else:
        yield from whole(0)(given)


def _count(given: CountOrShare, replicas: int, rounded: object) -> int:
    if isinstance(given, int):
        return given
    share = Fraction(int(given.rstrip("%")), 100) * replicas
    return math.ceil(share) if rounded is math.ceil else math.floor(share)


@dataclass
class _Update:
    """The state of one rollout: old pods, new ones by the time at which they serve (None without a GPU)."""

    asked: Rollout
    now_s: float = 0.0
    old: int = 0
    new: list[float | None] = field(default_factory=list)
    draining: list[float] = field(default_factory=list)

    def run(self) -> Outcome:
        self.old = self.asked.replicas
        moments: list[Moment] = []
        progressed_s, late_s = 0.0, None
        while True:
            self._settle()
            moments.append(self._moment())
            if len(moments) > 1 and _progress(moments[-2]) != _progress(moments[-1]):
                progressed_s = self.now_s
            coming = [t for t in [*self.new, *self.draining] if t is not None and t > self.now_s]
            due_s = progressed_s + self.asked.progress_deadline_s
            if self._complete() or not coming:
                break
            if late_s is None and min(coming) > due_s:
                late_s = due_s
            self.now_s = min(coming)
        if self._complete():
            left = [(at_s, sum(other > at_s for other in self.draining)) for at_s in sorted({*self.draining})]
            ends = [Moment(at_s, 0, len(self.new), 0, 0, draining) for at_s, draining in left]
            return Outcome((*moments, *ends), self.now_s, late_s)
        return Outcome(
            tuple(moments), None, progressed_s + self.asked.progress_deadline_s if late_s is None else late_s
        )

    def _complete(self) -> bool:
        return self.old == 0 and self._available() == self.asked.replicas

    def _available(self) -> int:
        return sum(at is not None and at <= self.now_s for at in self.new)

    def _settle(self) -> None:
        """Syncs of the controller and bindings of the scheduler, until neither changes anything."""
        self.draining = [until for until in self.draining if until > self.now_s]
        while self._scale_up() or self._scale_down() or self._bind():
            pass

    def _scale_up(self) -> bool:
        """reconcileNewReplicaSet: as many new pods as the surge leaves room for."""
        surge, _ = self.asked.fenceposts()
        room = self.asked.replicas + surge - self.old - len(self.new)
        more = min(room, self.asked.replicas - len(self.new))
        self.new += [None] * max(0, more)
        return more > 0

    def _scale_down(self) -> bool:
        """reconcileOldReplicaSets: as many old pods go as the new ones that serve make superfluous."""
        _, unavailable = self.asked.fenceposts()
        least = self.asked.replicas - unavailable
        fewer = min(self.old, max(0, self.old + self._available() - least))
        self.old -= fewer
        if self.asked.drain_s:
            self.draining += [self.now_s + self.asked.drain_s] * fewer
        return fewer > 0

    def _bind(self) -> bool:
        """A pending pod takes a GPU that nobody holds."""
        held = self.old + len(self.draining) + sum(at is not None for at in self.new)
        if None not in self.new or held >= self.asked.gpus:
            return False
        self.new[self.new.index(None)] = self.now_s + self.asked.start_s
        return True

    def _moment(self) -> Moment:
        available, pending = self._available(), self.new.count(None)
        starting = len(self.new) - available - pending
        return Moment(self.now_s, self.old, available, starting, pending, len(self.draining))


def _progress(moment: Moment) -> tuple[int, int, int]:
    """What progress.go looks at: fewer old ones, more new ones, more that serve."""
    return moment.old, moment.new + moment.starting + moment.pending, moment.serving
