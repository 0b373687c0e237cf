"""Ray Serve's replica autoscaling: the config, the policy, the metric that the policy is given, and both in a loop.

Follows ray 2.60.0: `python/ray/serve/autoscaling_policy.py`, `_private/autoscaling_state.py`,
`_private/autoscaling_metrics_merge.py`, `config.py`. Serve asks for replicas; nodes are the Ray autoscaler's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Annotated, NamedTuple, Protocol

from mlinfra.admission import check
from mlinfra.admission.rules import one_of, real, whole
from mlinfra.manifest import Manifest

EPSILON_S = 1e-6
Series = Sequence[tuple[float, float]]
"""Times in seconds and values, each of which holds until the next."""

ABOVE_ZERO, FROM_ZERO = "Input should be greater than 0", "Input should be greater than or equal to 0"
Positive = Annotated[float, real(math.ulp(0.0), why=ABOVE_ZERO)]
Delay = Annotated[float, real(0, why=FROM_ZERO)]
Replicas = Annotated[int, whole(0, why=FROM_ZERO)]


@dataclass(frozen=True)
class AutoscalingConfig:
    """A deployment's `autoscaling_config`; None leaves a factor at 1, and the delay to zero at the other one.

    The policy and the loop here do not read `initial_replicas` and `metrics_interval_s`.
    """

    min_replicas: Replicas = 1
    max_replicas: Annotated[int, whole(1, why=ABOVE_ZERO)] = 1
    target_ongoing_requests: Positive = 2
    initial_replicas: Replicas | None = None
    upscale_delay_s: Delay = 30.0
    downscale_delay_s: Delay = 600.0
    downscale_to_zero_delay_s: Delay | None = None
    upscaling_factor: Positive | None = None
    downscaling_factor: Positive | None = None
    look_back_period_s: Positive = 30.0
    metrics_interval_s: Positive = 10.0
    aggregation_function: Annotated[str, one_of("mean", "max", "min")] = "mean"

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> AutoscalingConfig:
        """The map of a config file, with factors by their names of old too; fields that are not here are left out."""
        names = {option.name for option in fields(cls)}
        both = manifest.get("smoothing_factor")
        factors: Manifest = {
            f"{way}scaling_factor": manifest.get(f"{way}scale_smoothing_factor", both) for way in ("up", "down")
        }
        return cls(**factors | {name: value for name, value in manifest.items() if name in names})

    def manifest(self) -> Manifest:
        """The fields that differ from Serve's defaults, and always the bounds and the target."""
        always = ("min_replicas", "max_replicas", "target_ongoing_requests")
        defaults = {option.name: option.default for option in fields(self)}
        return {name: value for name, value in vars(self).items() if name in always or value != defaults[name]}

    def bounded(self, replicas: int) -> int:
        """The count within minimum and maximum, which Serve applies after everything else."""
        return max(self.min_replicas, min(self.max_replicas, replicas))


# ------------------------------------------------------------------------------------------------------- the policy


class Waiting(NamedTuple):
    """The direction that decisions have had without acting ("up", "down" or neither), and since when."""

    direction: str = ""
    since_s: float = 0.0


def decide(
    config: AutoscalingConfig, waiting: Waiting, now_s: float, running: int, target: int, total_requests: float
) -> tuple[int, Waiting]:
    """The new target, before the bounds, and the delay that is under way.

    `running` is the number of replicas now, `target` what was asked for last, `desired` what the load asks for now.
    """
    if running == 0:
        return cold_start(config, waiting, target, total_requests)
    desired = desired_replicas(config, running, total_requests)
    scaled = apply_scaling_factors(config, desired, running)
    return apply_delay_logic(config, waiting, now_s, target, max(0, scaled))


def cold_start(config: AutoscalingConfig, waiting: Waiting, target: int, total_requests: float) -> tuple[int, Waiting]:
    """From zero replicas: with requests, start at once; without, keep the target. Only a target of zero clears the
    clock."""
    if total_requests > 0:
        return max(math.ceil(config.upscaling_factor or 1.0), target), waiting
    if target > 0:
        return target, waiting
    return 0, Waiting()


def desired_replicas(config: AutoscalingConfig, running: int, total_requests: float) -> float:
    """The number of replicas at which each has its target of requests; the order of operations is Serve's."""
    return running * (total_requests / (config.target_ongoing_requests * running))


def apply_scaling_factors(config: AutoscalingConfig, desired: float, running: int) -> int:
    """The count after one step towards the desired one, scaled by the factor of its direction. A step down that
    rounding would swallow is one replica."""
    if running == 0:  # as upstream; `decide` does not ask then
        return math.ceil(desired)
    factor = config.upscaling_factor if desired > running else config.downscaling_factor
    count = math.ceil(running + (factor or 1.0) * (desired - running))
    stuck = math.ceil(desired) < running and count == running
    return count - 1 if stuck else count


def apply_delay_logic(
    config: AutoscalingConfig, waiting: Waiting, now_s: float, target: int, desired: int
) -> tuple[int, Waiting]:
    """The desired count once its direction has lasted for its delay, the old target until then. The way to zero has
    two steps: first to one, then to zero after a delay of its own."""
    if desired > target:
        return act_after("up", config.upscale_delay_s, waiting, now_s, target, desired)
    if desired < target and target == 1:
        return act_after("down", delay_to_zero_s(config), waiting, now_s, target, desired)
    if desired < target:
        return act_after("down", config.downscale_delay_s, waiting, now_s, target, max(1, desired))
    return target, Waiting()


def delay_to_zero_s(config: AutoscalingConfig) -> float:
    """The delay for the step from one to zero; without one, the delay of all steps down."""
    own_s = config.downscale_to_zero_delay_s
    return config.downscale_delay_s if own_s is None else own_s


def act_after(
    direction: str, delay_s: float, waiting: Waiting, now_s: float, target: int, desired: int
) -> tuple[int, Waiting]:
    """The desired count if its direction has lasted for the delay, else the target. Another direction restarts the
    clock, and acting clears it."""
    since_s = waiting.since_s if waiting.direction == direction else now_s
    if now_s - since_s + EPSILON_S >= delay_s:
        return desired, Waiting()
    return target, Waiting(direction, since_s)


# ------------------------------------------------------------------------------------------------------ the metric


def total_requests(series: Sequence[Series], now_s: float, function: str = "mean") -> float:
    """Ongoing requests of a deployment: the sum of its sources at each time, and of that the mean, maximum or minimum.

    The window opens when every source has reported, at the first value of one alone, and the last value holds until
    now; what is older than the look-back its sources have dropped.
    """
    reported = [source for source in series if source]
    if not reported:
        return 0.0
    total = merged(reported)
    start_s, last_s = total[0][0], total[-1][0]
    all_reported_s = max(source[0][0] for source in reported)
    if len(reported) > 1 and all_reported_s <= last_s:
        start_s = max(all_reported_s, start_s)
    end_s = now_s if now_s > last_s else last_s + 1e-3  # a source's clock may run ahead
    return AGGREGATIONS[function](total, start_s, end_s)


def merged(sources: Sequence[Series]) -> Series:
    """The sum of step functions; of several sources times are rounded to 10 ms, a single one stays as it is."""
    if len(sources) == 1:
        return sources[0]
    changes: dict[float, float] = defaultdict(float)
    for source in sources:
        for (_, before), (time_s, value) in pairwise([(0.0, 0.0), *source]):
            if value != before:
                changes[math.floor(time_s * 100 + 0.5) / 100] += value - before
    total, sums = 0.0, []
    for time_s in sorted(changes):
        total += changes[time_s]
        sums.append((time_s, total))
    return sums or [(sources[0][0][0], 0.0)]


def _mean(total: Series, start_s: float, end_s: float) -> float:
    """Time-weighted; a value from before the window still holds at its start."""
    held = 0.0
    for time_s, value in total:
        if time_s <= start_s:
            held = value
    inside = [point for point in total if point[0] > start_s]
    steps = pairwise([(start_s, held), *inside, (end_s, 0.0)])
    area = math.fsum(value * (until_s - time_s) for (time_s, value), (until_s, _) in steps)
    return area / (end_s - start_s)


def _maximum(total: Series, start_s: float, end_s: float) -> float:
    """Of the values noted in the window; one held from before does not count, as in Serve."""
    return max(value for time_s, value in total if time_s >= start_s)


def _minimum(total: Series, start_s: float, end_s: float) -> float:
    """Of the values noted in the window, as `_maximum`."""
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
    """The policy as an autoscaler of `autoscaling.loop`: the metric every second, one source for all replicas,
    which drops what is older than the look-back."""

    config: AutoscalingConfig
    interval_s: float = 1.0
    waiting: Waiting = field(default_factory=Waiting)
    recorded: list[tuple[float, float]] = field(default_factory=list)

    def decide(self, now_s: float, seen: Seen, target: int) -> int:
        self.recorded.append((seen.at_s, seen.in_flight))
        self.recorded = [point for point in self.recorded if point[0] > now_s - self.config.look_back_period_s]
        requests = total_requests([self.recorded], now_s, self.config.aggregation_function)
        decision, self.waiting = decide(self.config, self.waiting, now_s, seen.ready, target, requests)
        return self.config.bounded(decision)
