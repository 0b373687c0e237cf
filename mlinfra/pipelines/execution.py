"""How long a pipeline takes: steps on limited GPUs, and steps that are preempted. Nothing here asks KFP.

Pods start as kube-scheduler lets them: whoever is ready and fits, in order, and a large pod does not hold up smaller
ones. Time is in minutes for schedules and in hours for preemptions. Left out: the start of pods, drivers, queues.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from random import Random

from mlinfra.admission.rules import Field, Problem, circle, real, refuse


@dataclass(frozen=True)
class Step:
    """A step that takes so many minutes and holds so many GPUs meanwhile."""

    name: str
    minutes: float
    after: tuple[str, ...] = ()
    gpus: int = 0


@dataclass(frozen=True)
class Schedule:
    """When each step ran, in minutes: (start, end)."""

    spans: Mapping[str, tuple[float, float]]

    @property
    def makespan(self) -> float:
        return max((end for _, end in self.spans.values()), default=0.0)


def schedule(steps: Sequence[Step], gpus: float = math.inf, parallelism: float = math.inf) -> Schedule:
    """Each step as soon as it is ready and its GPUs are free; among those ready, the first in the list goes first.

    `parallelism` limits the steps at once, whatever they hold. Invalid when names, the graph or a need is wrong.
    """
    refuse("steps", _problems(steps, gpus, parallelism))
    spans: dict[str, tuple[float, float]] = {}
    now = 0.0
    while len(spans) < len(steps):
        while step := _next(steps, spans, now, gpus, parallelism):
            spans[step.name] = (now, now + step.minutes)
        now = min((end for _, end in spans.values() if end > now), default=now)
    return Schedule(spans)


def _next(
    steps: Sequence[Step], spans: Mapping[str, tuple[float, float]], now: float, gpus: float, parallelism: float
) -> Step | None:
    """The first step that is ready and fits beside those that run."""
    running = [step for step in steps if step.name in spans and spans[step.name][1] > now]
    free = gpus - sum(step.gpus for step in running)
    for step in steps if len(running) < parallelism else ():
        ready = all(name in spans and spans[name][1] <= now for name in step.after)
        if step.name not in spans and ready and step.gpus <= free:
            return step
    return None


def _problems(steps: Sequence[Step], gpus: float, parallelism: float) -> list[Problem]:
    names = [step.name for step in steps]
    typed = [Field(parallelism, "parallelism"), Field(gpus, "gpus")]
    typed += [Field(vars(step), f"steps[{step.name}]")[name] for step in steps for name in ("minutes", "gpus")]
    if wrong := [problem for field in typed for problem in real(infinite=True)(field)]:
        return wrong
    found = [
        Problem(f"steps[{i}].name", f'Duplicate value: "{name}"') for i, name in enumerate(names) if name in names[:i]
    ]
    if not parallelism >= 1:
        found.append(Problem("parallelism", f"{parallelism}: must be greater than or equal to 1"))
    for step in steps:
        at = f"steps[{step.name}]"
        found += [Problem(f"{at}.after", f"step '{name}' does not exist") for name in step.after if name not in names]
        if not 0 <= step.minutes < math.inf:
            found.append(Problem(f"{at}.minutes", f"{step.minutes}: must be a time, 0 or more"))
        if not 0 <= step.gpus <= gpus:
            found.append(Problem(f"{at}.gpus", f"{step.gpus}: must be from 0 to the {gpus:g} that there are"))
    if waiting := circle({step.name: step.after for step in steps}):
        found.append(Problem("steps", f"{' waits for '.join(waiting)}: a circle never starts"))
    return found


def critical_path(steps: Sequence[Step]) -> list[str]:
    """The chain of steps that takes longest: no number of GPUs makes the pipeline shorter than it."""
    spans, by_name = schedule(steps).spans, {step.name: step for step in steps}
    path = [max(spans, key=lambda name: spans[name][1])] if steps else []
    while before := by_name[path[0]].after if path else ():
        path.insert(0, max(before, key=lambda name: spans[name][1]))
    return path


def shortest(steps: Sequence[Step], gpus: float) -> float:
    """Minutes that no schedule beats: the critical path, or the GPU work divided by the GPUs."""
    refuse("steps", _problems(steps, gpus, math.inf))
    if not any(step.gpus for step in steps):
        return schedule(steps).makespan
    return max(schedule(steps).makespan, sum(step.minutes * step.gpus for step in steps) / gpus)


def longest_path_first(steps: Sequence[Step]) -> list[Step]:
    """The steps ordered by what still hangs on them: the longest way to the end goes first."""
    refuse("steps", _problems(steps, math.inf, math.inf))
    rest: dict[str, float] = {}
    for name in reversed([*TopologicalSorter({step.name: step.after for step in steps}).static_order()]):
        step = next(step for step in steps if step.name == name)
        rest[name] = step.minutes + max((rest[other.name] for other in steps if name in other.after), default=0.0)
    return sorted(steps, key=lambda step: -rest[step.name])


def downstream(steps: Sequence[Step], edited: Sequence[str]) -> list[str]:
    """The steps that run again after an edit when the cache is right: those edited, and all that stand on them."""
    names = [step.name for step in steps]
    refuse("edited", [Problem("edited", f"step '{name}' does not exist") for name in edited if name not in names])
    again = set(edited)
    for step in [step for name in schedule(steps).spans for step in steps if step.name == name]:
        again |= {step.name} if again & set(step.after) else set()
    return [step.name for step in steps if step.name in again]


# ------------------------------------------------------------------------------------------------------ preemption


MOST_CHECKPOINTS, LIFETIME_H = 100_000, 1_000_000
MOST_ATTEMPTS = 1_000_000


@dataclass(frozen=True)
class Preemptible:
    """A step on nodes that are taken away at a constant rate, memoryless; all in hours.

    Without `checkpoint_every_h` a preempted step starts from nothing; with it, from the last checkpoint, each of which
    costs `checkpoint_h`, the last one included: it is the result. `restart_h` passes before work goes on.
    """

    work_h: float
    preemptions_per_h: float
    checkpoint_every_h: float = math.inf
    checkpoint_h: float = 0.0
    restart_h: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            every = name == "checkpoint_every_h"
            if not isinstance(value, int | float) or not (value > 0 if every else 0 <= value < math.inf):
                refuse("step", [Problem(name, f"{value}: must be {'greater than 0' if every else '0 or more'}")])
        if self.work_h / self.checkpoint_every_h > MOST_CHECKPOINTS:
            refuse(
                "step", [Problem("checkpoint_every_h", f"{self.checkpoint_every_h}: is too short for {self.work_h} h")]
            )

    def segments(self) -> list[float]:
        """What must pass without a preemption, piece by piece."""
        if self.checkpoint_every_h >= self.work_h:
            return [self.work_h + (0.0 if math.isinf(self.checkpoint_every_h) else self.checkpoint_h)]
        whole = math.ceil(self.work_h / self.checkpoint_every_h - 1e-9) - 1
        last = self.work_h - whole * self.checkpoint_every_h
        return [self.checkpoint_every_h + self.checkpoint_h] * whole + [last + self.checkpoint_h]

    def expected_h(self) -> float:
        """The mean time until done: (1/r + restart)(e^(r s) - 1) for a piece of s hours at rate r."""
        rate = self.preemptions_per_h
        if rate == 0:
            return sum(self.segments())
        try:
            return sum((1 / rate + self.restart_h) * math.expm1(rate * segment) for segment in self.segments())
        except OverflowError:
            return math.inf

    def attempts(self) -> float:
        """The mean number of starts."""
        try:
            return 1 + sum(math.expm1(self.preemptions_per_h * segment) for segment in self.segments())
        except OverflowError:
            return math.inf

    def sample_h(self, draw: Random) -> float:
        """One course of events, drawn; Invalid when it would not end in a lifetime."""
        if self.expected_h() > LIFETIME_H or self.attempts() > MOST_ATTEMPTS:
            refuse("step", [Problem("preemptions_per_h", f"{self.preemptions_per_h}: the step would never end")])
        passed = 0.0
        for segment in self.segments():
            while self.preemptions_per_h and (until := draw.expovariate(self.preemptions_per_h)) < segment:
                passed += until + self.restart_h
            passed += segment
        return passed


def young_interval_h(checkpoint_h: float, preemptions_per_h: float) -> float:
    """The interval between checkpoints that loses least, nearly (Young 1974): the root of 2 x cost / rate."""
    given = {"checkpoint_h": checkpoint_h, "preemptions_per_h": preemptions_per_h}
    refuse(
        "interval",
        [Problem(name, f"{value}: must be greater than 0") for name, value in given.items() if not value > 0],
    )
    return math.sqrt(2 * checkpoint_h / preemptions_per_h)
