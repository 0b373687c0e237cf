"""How long a pipeline takes: steps on limited GPUs, and steps that are preempted. Nothing here asks KFP.

Pods start as kube-scheduler lets them: whoever is ready and fits, in order, and a large pod does not hold up smaller
ones. Times are in seconds. Left out: the start of pods, drivers, queues.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from random import Random
from typing import Annotated

from mlinfra.admission import Count, NotNegative, Problem, check, refuse
from mlinfra.admission.nouns.pipelines import schedulable
from mlinfra.admission.rules import real
from mlinfra.simulation import Event, Simulation


@dataclass(frozen=True)
class Step:
    """A step that takes so many seconds and holds so many GPUs meanwhile."""

    name: str
    duration_s: NotNegative
    after: tuple[str, ...] = ()
    gpus: Count = 0

    def __post_init__(self) -> None:
        check(self)


Spans = Mapping[str, tuple[float, float]]
"""When each step started and ended."""


@dataclass(frozen=True)
class Schedule(Simulation):
    """When each step ran, in the order of starts; a step's latency counts from the time at which it is ready."""

    spans: Spans

    @property
    def makespan_s(self) -> float:
        return max((end_s for _, end_s in self.spans.values()), default=0.0)


def schedule(steps: Sequence[Step], gpus: float = math.inf, parallelism: float = math.inf) -> Schedule:
    """Each step as soon as it is ready and its GPUs are free; among those ready, the first in the list goes first.

    `parallelism` limits the steps at once, whatever they hold. Invalid when some step could never start.
    """
    refuse("steps", schedulable(steps, gpus, parallelism))
    spans: dict[str, tuple[float, float]] = {}
    now_s = 0.0
    while len(spans) < len(steps):
        while step := next_step(steps, spans, now_s, gpus, parallelism):
            spans[step.name] = (now_s, now_s + step.duration_s)
        now_s = min((end_s for _, end_s in spans.values() if end_s > now_s), default=now_s)
    return recorded(steps, spans, gpus, parallelism)


def next_step(steps: Sequence[Step], spans: Spans, now_s: float, gpus: float, parallelism: float) -> Step | None:
    """The first step that is ready and fits beside those that run."""
    running = running_steps(steps, spans, now_s)
    free_gpus = gpus - sum(step.gpus for step in running)
    if len(running) >= parallelism:
        return None
    for step in steps:
        ready = all(name in spans and spans[name][1] <= now_s for name in step.after)
        if step.name not in spans and ready and step.gpus <= free_gpus:
            return step
    return None


def running_steps(steps: Sequence[Step], spans: Spans, now_s: float) -> list[Step]:
    """The steps that have started and not ended."""
    return [step for step in steps if step.name in spans and spans[step.name][0] <= now_s < spans[step.name][1]]


def recorded(steps: Sequence[Step], spans: Spans, gpus: float, parallelism: float) -> Schedule:
    """The schedule with its events, in Argo's words: who waited and why, who ran, who ended."""
    by_name = {step.name: step for step in steps}
    latencies_s, events = [], []
    for name, (start_s, end_s) in spans.items():
        ready_s = max((spans[before][1] for before in by_name[name].after), default=0.0)
        latencies_s.append(end_s - ready_s)
        if start_s > ready_s:
            running = running_steps(steps, spans, ready_s)
            why = _why_pending(by_name[name], running, gpus, parallelism)
            events.append(Event(ready_s, "WorkflowNodePending", name, f"Pending node {name}: {why}"))
        events.append(Event(start_s, "WorkflowNodeRunning", name, f"Running node {name}"))
        events.append(Event(end_s, "WorkflowNodeSucceeded", name, f"Succeeded node {name}"))
    in_time = sorted(events, key=lambda event: event.at_s)  # equal times stay in the order of starts
    return Schedule(spans, latencies_s=latencies_s, events=in_time)


def _why_pending(step: Step, running: Sequence[Step], gpus: float, parallelism: float) -> str:
    names = ", ".join(each.name for each in running)
    if len(running) >= parallelism:
        return f"Max parallelism reached: {names}"
    free_gpus = gpus - sum(each.gpus for each in running)
    return f"Unschedulable: needs {step.gpus} GPUs, {free_gpus:g} of {gpus:g} are free beside {names}"


# ----------------------------------------------------------------------------------------------- bounds and orders


def critical_path(steps: Sequence[Step]) -> list[str]:
    """The chain of steps that takes longest: no number of GPUs makes the pipeline shorter than it."""
    spans, by_name = schedule(steps).spans, {step.name: step for step in steps}

    def latest(names: Sequence[str]) -> list[str]:
        return [max(names, key=lambda name: spans[name][1])] if names else []

    path = latest(list(spans))
    while path and by_name[path[0]].after:
        path = latest(by_name[path[0]].after) + path
    return path


def shortest_s(steps: Sequence[Step], gpus: float) -> float:
    """Seconds that no schedule beats: the critical path, or the GPU work divided by the GPUs."""
    refuse("steps", schedulable(steps, gpus))
    gpu_work_s = sum(step.duration_s * step.gpus for step in steps)
    return max(schedule(steps).makespan_s, gpu_work_s / gpus if gpu_work_s else 0.0)


def longest_path_first(steps: Sequence[Step]) -> list[Step]:
    """The steps ordered by what still hangs on them: the longest way to the end goes first."""
    way_s: dict[str, float] = {}
    for step in reversed(in_order(steps)):
        way_s[step.name] = step.duration_s + max(
            (way_s[other.name] for other in steps if step.name in other.after), default=0.0
        )
    return sorted(steps, key=lambda step: -way_s[step.name])


def downstream(steps: Sequence[Step], edited: Sequence[str]) -> list[str]:
    """The steps that run again after an edit when the cache is right: those edited, and all that stand on them."""
    names = [step.name for step in steps]
    refuse("edited", [Problem("edited", f"step '{name}' does not exist") for name in edited if name not in names])
    again = set(edited)
    for step in in_order(steps):
        if again.intersection(step.after):
            again.add(step.name)
    return [name for name in names if name in again]


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps, each after all that it waits for."""
    refuse("steps", schedulable(steps))
    by_name = {step.name: step for step in steps}
    order = TopologicalSorter({step.name: step.after for step in steps}).static_order()
    return [by_name[name] for name in order]


# ------------------------------------------------------------------------------------------------------ preemption


LIFETIME_S, MOST_ATTEMPTS = 1_000_000 * 3600, 1_000_000


@dataclass(frozen=True)
class Preemptible:
    """A step on nodes that are taken away at a constant rate, memoryless.

    Without `checkpoint_every_s` a preempted step starts from nothing; with it, from the last checkpoint, each of which
    costs `checkpoint_s`, the last one included: it is the result. `restart_s` passes before work goes on.
    """

    work_s: NotNegative
    preemptions_per_h: NotNegative
    checkpoint_every_s: Annotated[float, real(0, infinite=True)] = math.inf
    checkpoint_s: NotNegative = 0.0
    restart_s: NotNegative = 0.0

    def __post_init__(self) -> None:
        check(self)

    def expected_s(self) -> float:
        """The mean time until done: (1/r + restart)(e^(r s) - 1) for a piece of s seconds at rate r."""
        rate = self.preemptions_per_h / 3600
        if rate == 0:
            return sum(self.segments_s())
        try:
            return sum((1 / rate + self.restart_s) * math.expm1(rate * segment_s) for segment_s in self.segments_s())
        except OverflowError:
            return math.inf

    def segments_s(self) -> list[float]:
        """What must pass without a preemption, piece by piece."""
        if math.isinf(self.checkpoint_every_s):
            return [self.work_s]
        if self.checkpoint_every_s >= self.work_s:
            return [self.work_s + self.checkpoint_s]
        full = math.ceil(self.work_s / self.checkpoint_every_s - 1e-9) - 1
        last_s = self.work_s - full * self.checkpoint_every_s
        return [self.checkpoint_every_s + self.checkpoint_s] * full + [last_s + self.checkpoint_s]

    def attempts(self) -> float:
        """The mean number of starts."""
        rate = self.preemptions_per_h / 3600
        try:
            return 1 + sum(math.expm1(rate * segment_s) for segment_s in self.segments_s())
        except OverflowError:
            return math.inf

    def sample_s(self, draw: Random) -> float:
        """One course of events, drawn; Invalid when it would not end in a lifetime."""
        refuse("step", self._endless())
        rate, passed_s = self.preemptions_per_h / 3600, 0.0
        for segment_s in self.segments_s():
            while rate and (until_s := draw.expovariate(rate)) < segment_s:
                passed_s += until_s + self.restart_s
            passed_s += segment_s
        return passed_s

    def _endless(self) -> Iterator[Problem]:
        if self.expected_s() > LIFETIME_S or self.attempts() > MOST_ATTEMPTS:
            yield Problem("preemptions_per_h", f"{self.preemptions_per_h}: the step would never end")


def young_interval_s(checkpoint_s: float, preemptions_per_h: float) -> float:
    """The interval between checkpoints that loses least, nearly (Young 1974): the root of 2 x cost / rate."""
    return math.sqrt(2 * checkpoint_s * 3600 / preemptions_per_h)
