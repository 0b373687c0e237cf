"""Many settings of one HPA through the closed loop: what each costs, and how long requests then wait.

The work is spread by joblib, over the cores of this machine or over whatever backend the caller has chosen, such as a
Ray cluster. Results depend neither on the number of workers nor on the order in which they finish.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice, product
from typing import NamedTuple

from mlinfra.autoscaling import hpa
from mlinfra.autoscaling.arrivals import spread
from mlinfra.autoscaling.loop import LoopSimulation, simulate
from mlinfra.autoscaling.replicas import Service
from mlinfra.autoscaling.scalers import ByHPA, Measure
from mlinfra.quantity import canonical, quantity


class Setting(NamedTuple):
    """One choice for everything that is tuned; windows and periods are seconds, policies percent of the replicas."""

    target_percent: int  # of the target that the reader has
    up_window_s: int
    down_window_s: int
    up_percent: int  # of the replicas, each 15 s
    down_percent: int  # of the replicas, each 60 s
    min_replicas: int
    max_replicas: int


@dataclass(frozen=True)
class Space:
    """The values that are tried for each part of a setting."""

    target_percent: Sequence[int] = (50, 60, 70, 80, 90, 100, 110, 125, 150)
    up_window_s: Sequence[int] = (0, 15, 30, 60)
    down_window_s: Sequence[int] = (0, 60, 120, 300, 600, 900)
    up_percent: Sequence[int] = (50, 100, 200, 400)
    down_percent: Sequence[int] = (10, 25, 50, 100)
    min_replicas: Sequence[int] = (1, 2, 3, 4)
    max_replicas: Sequence[int] = (10,)

    def settings(self, count: int, seed: int = 0) -> list[Setting]:
        """The whole grid where it is small enough, or else a seeded sample of it without repeats."""
        choices = [getattr(self, name) for name in Setting._fields]
        size = math.prod(map(len, choices))
        if size <= count:
            return [Setting(*values) for values in product(*choices)]
        chance = random.Random(seed)
        return [Setting(*values) for values in islice(_distinct(choices, chance), count)]


def _distinct(choices: list[Sequence[int]], chance: random.Random) -> Iterator[tuple[int, ...]]:
    tried = set()
    while True:
        values = tuple(chance.choice(each) for each in choices)
        if values not in tried:
            tried.add(values)
            yield values


def around(scaler: hpa.HorizontalPodAutoscaler) -> Space:
    """The space about the reader's HPA: its bounds, and some more."""
    low, high = max(1, scaler.min_replicas), scaler.max_replicas
    lows = sorted({min(high, low + step) for step in (0, 1, 2, 4)})
    return Space(min_replicas=lows, max_replicas=sorted({high, math.ceil(high * 1.5)}))


def applied(scaler: hpa.HorizontalPodAutoscaler, setting: Setting) -> hpa.HorizontalPodAutoscaler:
    """The HPA with the setting in place of its own."""
    up = hpa.ScalingRules(
        (hpa.ScalingPolicy("Pods", 4, 15), hpa.ScalingPolicy("Percent", setting.up_percent, 15)),
        "Max",
        setting.up_window_s,
    )
    down = hpa.ScalingRules((hpa.ScalingPolicy("Percent", setting.down_percent, 60),), "Max", setting.down_window_s)
    return replace(
        scaler,
        metrics=tuple(_scaled(metric, setting.target_percent) for metric in scaler.metrics),
        min_replicas=setting.min_replicas,
        max_replicas=setting.max_replicas,
        behavior=hpa.Behavior(up, down),
    )


def _scaled(metric: hpa.Metric, percent: int) -> hpa.Metric:
    """The metric with a target of this percentage of its own, and never nothing."""
    target = metric.target
    if isinstance(target, hpa.Utilization):
        return replace(metric, target=hpa.Utilization(max(1, target.amount * percent // 100)))
    milli = max(1, math.floor(quantity(target.amount) * Fraction(percent, 100) * 1000))
    return replace(metric, target=type(target)(canonical(f"{milli}m")))


@dataclass(frozen=True)
class Trial:
    """What every setting is tried on: the HPA, the requests by bin, the service, and what each metric reads."""

    scaler: hpa.HorizontalPodAutoscaler
    counts: tuple[int, ...]
    bin_s: float
    service: Service
    measures: tuple[Measure, ...]

    def run(self, scaler: hpa.HorizontalPodAutoscaler) -> LoopSimulation:
        """The closed loop, from the minimum on; metrics are read when the HPA decides."""
        arrivals_s, by_hpa = _arrivals_s(self.counts, self.bin_s), ByHPA(scaler, self.measures)
        low = max(1, scaler.min_replicas)
        return simulate(arrivals_s, self.service, by_hpa, low, self.duration_s, scrape_s=by_hpa.interval_s)

    def figures(self, scaler: hpa.HorizontalPodAutoscaler) -> Figures:
        run = self.run(scaler)
        return Figures(run.dollars, run.latency_s(0.99) or 0.0, run.replica_s / self.duration_s, run.flaps)

    @property
    def duration_s(self) -> float:
        return len(self.counts) * self.bin_s


@lru_cache(maxsize=1)  # once a process
def _arrivals_s(counts: tuple[int, ...], bin_s: float) -> list[float]:
    return spread(counts, bin_s)


class Figures(NamedTuple):
    """What a run gives; the latency is infinite where more than one request in a hundred failed."""

    dollars: float
    p99_s: float
    mean_replicas: float
    turns: int


class Outcome(NamedTuple):
    """A setting, and what it gives."""

    setting: Setting
    figures: Figures

    def by_cost(self) -> tuple[float, float, Setting]:
        return self.figures.dollars, self.figures.p99_s, self.setting


def tried(trial: Trial, setting: Setting) -> Outcome:
    """One setting through the loop."""
    return Outcome(setting, trial.figures(applied(trial.scaler, setting)))


ROUND = 16


def tune(
    trial: Trial,
    settings: Sequence[Setting],
    jobs: int = -1,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Outcome]:
    """The outcome of each setting, in their order; after an interruption those that are done.

    `jobs` are processes, -1 one a core; 1 is this process alone, as in a browser or without joblib.
    """
    outcomes: list[Outcome] = []
    try:
        for outcome in _outcomes(trial, settings, jobs):
            outcomes.append(outcome)
            progress(len(outcomes))
    except KeyboardInterrupt:
        pass
    return outcomes


def _outcomes(trial: Trial, settings: Sequence[Setting], jobs: int) -> Iterator[Outcome]:
    """One after the other, or in rounds of a few for each worker: not every backend gives them back as they come."""
    if jobs == 1 or sys.platform == "emscripten" or find_spec("joblib") is None:
        yield from (tried(trial, setting) for setting in settings)
        return
    from joblib import Parallel, delayed, effective_n_jobs

    size = ROUND * effective_n_jobs(jobs)
    with Parallel(n_jobs=jobs) as parallel:
        for start in range(0, len(settings), size):
            yield from parallel(delayed(tried)(trial, setting) for setting in settings[start : start + size])


def pareto_front(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that no other beats in both cost and latency, the cheapest first."""
    front: list[Outcome] = []
    for outcome in sorted(outcomes, key=Outcome.by_cost):
        if not front or outcome.figures.p99_s < front[-1].figures.p99_s:
            front.append(outcome)
    return front


def cheapest(outcomes: Iterable[Outcome], p99_s: float) -> Outcome | None:
    """The cheapest outcome that keeps the latency; None where none does."""
    good = [outcome for outcome in outcomes if outcome.figures.p99_s <= p99_s]
    return min(good, key=Outcome.by_cost, default=None)
