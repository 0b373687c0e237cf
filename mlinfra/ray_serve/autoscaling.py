"""Ray Serve's replica autoscaling: the mean of the ongoing requests, the replicas for them, and the delays.

Follows ray 2.60.0: `python/ray/serve/autoscaling_policy.py`, `_private/autoscaling_state.py`,
`_private/autoscaling_metrics_merge.py`, `config.py`. Serve asks for replicas; nodes are the Ray autoscaler's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol

from mlinfra.admission.rules import Field, Problem, refuse
from mlinfra.manifest import Manifest

EPSILON_S = 1e-6
Series = Sequence[tuple[float, float]]
"""Times in seconds and values, each of which holds until the next."""


@dataclass(frozen=True)
class AutoscalingConfig:
    """A deployment's `autoscaling_config`; None leaves a factor at 1, and the delay to zero at the other one."""

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 2
    initial_replicas: int | None = None
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    downscale_to_zero_delay_s: float | None = None
    upscaling_factor: float | None = None
    downscaling_factor: float | None = None
    look_back_period_s: float = 30.0
    metrics_interval_s: float = 10.0
    aggregation_function: str = "mean"

    def __post_init__(self) -> None:
        refuse("autoscaling_config", _typed(self))
        refuse("autoscaling_config", _problems(self))

    def manifest(self) -> Manifest:
        """The fields that differ from Serve's defaults, and always the bounds and the target."""
        always = ("min_replicas", "max_replicas", "target_ongoing_requests")
        defaults = vars(type(self)(1, max(1, self.min_replicas)))
        return {name: value for name, value in vars(self).items() if name in always or value != defaults[name]}

    def bounded(self, replicas: int) -> int:
        """The count within minimum and maximum, which Serve applies after everything else."""
        return max(self.min_replicas, min(self.max_replicas, replicas))


def _problems(config: AutoscalingConfig) -> Iterator[Problem]:
    """The types of the pydantic model, in pydantic's words, then its own comparisons."""
    for name in (
        "max_replicas",
        "target_ongoing_requests",
        "upscaling_factor",
        "downscaling_factor",
        "look_back_period_s",
        "metrics_interval_s",
    ):
        yield from _above(config, name, 0, "greater than 0")
    for name in (
        "min_replicas",
        "initial_replicas",
        "upscale_delay_s",
        "downscale_delay_s",
        "downscale_to_zero_delay_s",
    ):
        yield from _above(config, name, -math.ulp(0.0), "greater than or equal to 0")
    low, first, high = config.min_replicas, config.initial_replicas, config.max_replicas
    if high < low:
        yield Problem("max_replicas", f"max_replicas ({high}) must be greater than or equal to min_replicas ({low})!")
    if first is not None and first < low:
        yield Problem(
            "initial_replicas", f"min_replicas ({low}) must be less than or equal to initial_replicas ({first})!"
        )
    if first is not None and first > high:
        yield Problem(
            "initial_replicas", f"max_replicas ({high}) must be greater than or equal to initial_replicas ({first})!"
        )
    if config.aggregation_function not in AGGREGATIONS:
        yield Field(config.aggregation_function, "aggregation_function").unsupported(sorted(AGGREGATIONS))


def _typed(config: AutoscalingConfig) -> Iterator[Problem]:
    """Numbers, and whole ones for counts; None where the field may be left out."""
    for known in fields(config):
        value, counted = getattr(config, known.name), "replicas" in known.name
        if known.name == "aggregation_function" or (value is None and known.default is None):
            continue
        number = isinstance(value, int if counted else int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            yield Field(value, known.name).invalid(f"Input should be a valid {'integer' if counted else 'number'}")


def _above(config: AutoscalingConfig, name: str, low: float, why: str) -> Iterator[Problem]:
    value = getattr(config, name)
    if value is not None and not value > low:
        yield Field(value, name).invalid(f"Input should be {why}")


# ------------------------------------------------------------------------------------------------------- the policy


class Waiting(NamedTuple):
    """A direction that decisions have had (1 up, -1 down, 0 neither), and since when."""

    direction: int = 0
    since_s: float | None = None


def desired_replicas(config: AutoscalingConfig, running: int, total_requests: float) -> float:
    """Replicas at which each would have its target; the order of the floats is Serve's."""
    return running * (total_requests / (config.target_ongoing_requests * running))


def scaled(config: AutoscalingConfig, desired: float, running: int) -> int:
    """The count on the way to the desired one, by the factor of the direction; downwards one at least."""
    if running == 0:
        return math.ceil(desired)
    factor = (config.upscaling_factor if desired > running else config.downscaling_factor) or 1.0
    count = math.ceil(running + factor * (desired - running))
    stuck = math.ceil(desired) < running and count == running
    return count - 1 if stuck else count


def decide(
    config: AutoscalingConfig, waiting: Waiting, now_s: float, running: int, target: int, total_requests: float
) -> tuple[int, Waiting]:
    """The new target before its bounds, and what is being waited for.

    `running` replicas there are, `target` were asked for. From zero the first request acts at once.
    """
    if running == 0 and total_requests > 0:
        return max(math.ceil(config.upscaling_factor or 1.0), target), waiting
    desired = scaled(config, desired_replicas(config, running, total_requests) if running else target, running)
    if running == 0 and desired > 0:
        return desired, waiting
    return _delayed(config, waiting, now_s, target, max(0, desired))


def _delayed(
    config: AutoscalingConfig, waiting: Waiting, now_s: float, target: int, desired: int
) -> tuple[int, Waiting]:
    """Acts once one direction has lasted for its delay; to zero only from one, and with a delay of its own."""
    direction = (desired > target) - (desired < target)
    if direction == 0:
        return target, Waiting()
    since_s = waiting.since_s if waiting.direction == direction and waiting.since_s is not None else now_s
    delay_s = config.upscale_delay_s if direction > 0 else config.downscale_delay_s
    if direction < 0 and target == 1:
        delay_s = delay_s if config.downscale_to_zero_delay_s is None else config.downscale_to_zero_delay_s
    elif direction < 0:
        desired = max(1, desired)
    if now_s - since_s + EPSILON_S >= delay_s:
        return desired, Waiting()
    return target, Waiting(direction, since_s)


# ------------------------------------------------------------------------------------------------------ the metric


def total_requests(series: Sequence[Series], now_s: float, function: str = "mean") -> float:
    """Ongoing requests of a deployment: the sources added up over time, then their mean, maximum or minimum.

    The window opens when every source has reported, and the last value holds until now.
    """
    reported = [source for source in series if source]
    if not reported:
        return 0.0
    total = merged(reported)
    start_s, last_s = total[0][0], total[-1][0]
    aligned_s = max(source[0][0] for source in reported)
    if len(reported) > 1 and aligned_s <= last_s:
        start_s = max(aligned_s, start_s)
    return AGGREGATIONS[function](total, start_s, max(now_s, last_s + 1e-3))


def merged(sources: Sequence[Series]) -> Series:
    """The sum of step functions; of several sources times are rounded to 10 ms, a single one stays as it is."""
    if len(sources) == 1:
        return sources[0]
    changes: dict[float, float] = defaultdict(float)
    for source in sources:
        for (_, before), (time_s, value) in pairwise([(0.0, 0.0), *source]):
            if value != before:
                changes[math.floor(time_s * 100 + 0.5) / 100] += value - before
    times = sorted(changes)
    return list(zip(times, accumulate(changes[time_s] for time_s in times), strict=True)) or [(sources[0][0][0], 0.0)]


def _mean(total: Series, start_s: float, end_s: float) -> float:
    """Time-weighted; a value from before the window still holds at its start."""
    held = 0.0
    for time_s, value in total:
        if time_s <= start_s:
            held = value
    inside = [(start_s, held), *((time_s, value) for time_s, value in total if time_s > start_s), (end_s, 0.0)]
    return math.fsum(value * (until_s - time_s) for (time_s, value), (until_s, _) in pairwise(inside)) / (
        end_s - start_s
    )


def _maximum(total: Series, start_s: float, end_s: float) -> float:
    return max(value for time_s, value in total if time_s >= start_s)


def _minimum(total: Series, start_s: float, end_s: float) -> float:
    return min(value for time_s, value in total if time_s >= start_s)


AGGREGATIONS = {"mean": _mean, "max": _maximum, "min": _minimum}


# ------------------------------------------------------------------------------------------------ in a closed loop


class Seen(Protocol):
    """What a closed loop must tell: when, how many replicas are ready, and the requests in flight."""

    @property
    def at_s(self) -> float: ...

    @property
    def ready(self) -> int: ...

    @property
    def in_flight(self) -> int: ...


@dataclass
class RayAutoscaler:
    """The policy as an autoscaler of `autoscaling.loop`: the metric every second, one source for all replicas."""

    config: AutoscalingConfig
    interval_s: float = 1.0
    waiting: Waiting = field(default_factory=Waiting)
    recorded: list[tuple[float, float]] = field(default_factory=list)

    def decide(self, now_s: float, seen: Seen, wanted: int) -> int:
        self.recorded.append((seen.at_s, seen.in_flight))
        self.recorded = [point for point in self.recorded if point[0] > now_s - self.config.look_back_period_s]
        requests = total_requests([self.recorded], now_s, self.config.aggregation_function)
        decision, self.waiting = decide(self.config, self.waiting, now_s, seen.ready, wanted, requests)
        return self.config.bounded(decision)
