"""What the autoscaler of one revision works with: the annotation where there is one, or else the cluster's setting.

Follows knative/serving v1.23.0: `pkg/reconciler/autoscaling/{resources/target.go,kpa/resources/decider.go}`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from mlinfra.autoscaling.knative.bucketing import BUCKET_S
from mlinfra.autoscaling.knative.config import Config, Revision

TARGET_MIN = 0.01
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Decider:
    """What the autoscaler of one revision works with; rates and the panic threshold are factors."""

    target_value: float  # what one pod is aimed at
    total_value: float  # what one pod can take
    target_burst_capacity: float = 211
    panic_threshold: float = 2
    max_scale_up_rate: float = 1000
    max_scale_down_rate: float = 2
    stable_window_s: float = 60
    scale_down_delay_s: float = 0
    activation_scale: int = 0
    reachable: bool = True  # False where no route leads to the revision; `decider` knows no routes


def decider(revision: Revision, config: Config) -> Decider:
    """The decider of a revision in a cluster (`MakeDecider`)."""
    target, total = metric_target(revision, config)
    panic_percentage = either(revision.panic_threshold_percentage, config.panic_threshold_percentage)
    return Decider(
        target,
        total,
        target_burst_capacity=either(revision.target_burst_capacity, config.target_burst_capacity),
        panic_threshold=panic_percentage / 100,
        max_scale_up_rate=config.max_scale_up_rate,
        max_scale_down_rate=config.max_scale_down_rate,
        stable_window_s=either(revision.window_s, config.stable_window_s),
        scale_down_delay_s=either(revision.scale_down_delay_s, config.scale_down_delay_s),
        activation_scale=revision.activation_scale or 0,
    )


def either(annotation: Number | None, default: Number) -> Number:
    """The annotation's value, 0 too; the cluster's where there is no annotation."""
    return default if annotation is None else annotation


def metric_target(revision: Revision, config: Config) -> tuple[float, float]:
    """Target and total per pod: what it is aimed at, and what it can take, of which the target is a share."""
    if revision.metric == "rps":
        total, utilization = config.rps_target_default, config.target_utilization
    else:
        total = revision.container_concurrency or config.container_concurrency_target_default
        utilization = config.container_concurrency_target_fraction
    if revision.target is not None:
        total = revision.target
        if revision.metric == "concurrency" and revision.container_concurrency:
            total = min(total, revision.container_concurrency)
    if revision.target_utilization_percentage is not None:
        utilization = revision.target_utilization_percentage / 100
    return max(TARGET_MIN, total * utilization), total


def panic_window_s(revision: Revision, config: Config) -> float:
    """Length of the panic window: a share of the stable window, to the second, one at least."""
    stable_s = either(revision.window_s, config.stable_window_s)
    percentage = either(revision.panic_window_percentage, config.panic_window_percentage)
    return max(BUCKET_S, math.floor(stable_s * percentage / 100 + 0.5))


def initial_scale(revision: Revision, config: Config) -> int:
    """Pods that a new revision starts with; 0 only where the cluster allows it."""
    if revision.initial_scale == 0 and not config.allow_zero_initial_scale:
        return config.initial_scale
    return either(revision.initial_scale, config.initial_scale)
