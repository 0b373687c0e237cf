"""What holds a recommendation back: stabilization windows, scaling policies, minimum and maximum.

Follows `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.37 (master of August 2026).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlinfra.autoscaling.hpa.spec import Behavior, ScalingPolicy, ScalingRules


class Stamped(NamedTuple):
    """A replica count, or a change of it, and when it was noted."""

    value: int
    at_s: float


Log = tuple[Stamped, ...]


@dataclass(frozen=True)
class ScaleHistory:
    """What the controller remembers of one HPA between passes."""

    recommendations: Log | None = None  # None before the first pass
    scale_up_events: Log = ()
    scale_down_events: Log = ()
    scaled_to_zero: bool | None = None  # the ScaledToZero condition; None: not in the status


class Stabilized(NamedTuple):
    """The count that recent recommendations allow, the log with the new one, and the reason if they held it."""

    replicas: int
    log: Log
    reason: str


def stabilize_recommendation(log: Log, desired: int, now_s: float, window_s: float) -> Stabilized:
    """Without `behavior`: the highest recommendation of the window, which may exceed the current count."""
    oldest_s = now_s - window_s if window_s else math.inf  # without a window none counts
    recent = [old.value for old in log if old.at_s >= oldest_s]  # `>=` here and `>` with `behavior`, as upstream
    log = store(log, Stamped(desired, now_s), window_s)
    return Stabilized(max([desired, *recent]), log, "ScaleDownStabilized")


def stabilize_recommendation_with_behaviors(
    log: Log, current: int, desired: int, now_s: float, up_window_s: float, down_window_s: float
) -> Stabilized:
    """With `behavior`: the current count, raised to the lowest recommendation of the up window if it is below that,
    lowered to the highest of the down window if it is above that."""
    up_recommendation = min([desired, *values_within(log, up_window_s, now_s)])
    down_recommendation = max([desired, *values_within(log, down_window_s, now_s)])
    replicas = current
    if replicas < up_recommendation:
        replicas = up_recommendation
    if replicas > down_recommendation:
        replicas = down_recommendation
    reason = "ScaleUpStabilized" if desired >= current else "ScaleDownStabilized"
    log = store(log, Stamped(desired, now_s), max(up_window_s, down_window_s))
    return Stabilized(replicas, log, reason)


def values_within(log: Log, period_s: float, now_s: float) -> list[int]:
    """The values noted less than `period_s` ago."""
    return [entry.value for entry in log if entry.at_s > now_s - period_s]


def store(log: Log, entry: Stamped, period_s: float) -> Log:
    """The log with the entry in place of the last expired one (then out of order, as upstream), or else at the end."""
    expired = [i for i, old in enumerate(log) if old.at_s < entry.at_s - period_s]
    if not expired:
        return (*log, entry)
    slot = expired[-1]
    return (*log[:slot], entry, *log[slot + 1 :])


class Limited(NamedTuple):
    """The count that policies, minimum and maximum allow, and the reason of ScalingLimited."""

    replicas: int
    reason: str


def convert_desired_replicas_with_rules(current: int, desired: int, low: int, high: int) -> Limited:
    """Without `behavior`: from min to max, and at most the larger of 4 and twice the current count."""
    if desired < low:
        return Limited(low, "TooFewReplicas")
    return limit_scale_up(desired, max(2 * current, 4), high)


def convert_desired_replicas_with_behavior_rate(
    current: int, desired: int, low: int, high: int, behavior: Behavior, history: ScaleHistory, now_s: float
) -> Limited:
    """With `behavior`: the policies, then max when raising, min when lowering. Where the policies allow not even the
    current count, it stays; an unchanged count is not checked."""
    if desired > current:
        rate_limit = calculate_scale_up_limit_with_scaling_rules(current, history, behavior.scale_up, now_s)
        return limit_scale_up(desired, max(rate_limit, current), high)
    if desired < current:
        rate_limit = calculate_scale_down_limit_with_behaviors(current, history, behavior.scale_down, now_s)
        return limit_scale_down(desired, min(rate_limit, current), low)
    return Limited(desired, "DesiredWithinRange")


def limit_scale_up(desired: int, rate_limit: int, max_replicas: int) -> Limited:
    """The desired count, or the lower of the rate limit and the maximum."""
    if desired <= min(rate_limit, max_replicas):
        return Limited(desired, "DesiredWithinRange")
    if rate_limit < max_replicas:
        return Limited(rate_limit, "ScaleUpLimit")
    return Limited(max_replicas, "TooManyReplicas")


def limit_scale_down(desired: int, rate_limit: int, min_replicas: int) -> Limited:
    """The desired count, or the higher of the rate limit and the minimum."""
    if desired >= max(rate_limit, min_replicas):
        return Limited(desired, "DesiredWithinRange")
    if rate_limit > min_replicas:
        return Limited(rate_limit, "ScaleDownLimit")
    return Limited(min_replicas, "TooFewReplicas")


def calculate_scale_up_limit_with_scaling_rules(
    current: int, history: ScaleHistory, rules: ScalingRules, now_s: float
) -> int:
    """The highest count that the scale-up policies allow now; `Min` takes the smallest change."""
    if rules.select_policy == "Disabled":
        return current
    policies = rules.policies or ()  # `Behavior` has filled in the API's default
    limits = [scale_up_limit(policy, current, history, now_s) for policy in policies]
    return min(limits) if rules.select_policy == "Min" else max(limits)


def scale_up_limit(policy: ScalingPolicy, current: int, history: ScaleHistory, now_s: float) -> int:
    """The highest count that one policy allows; a percentage is rounded up."""
    period_start = period_start_replicas(policy.period_seconds, current, history, now_s)
    if policy.type == "Pods":
        return period_start + policy.value
    return math.ceil(period_start * (1 + policy.value / 100))


def calculate_scale_down_limit_with_behaviors(
    current: int, history: ScaleHistory, rules: ScalingRules, now_s: float
) -> int:
    """The lowest count that the scale-down policies allow now; `Min` takes the smallest change."""
    if rules.select_policy == "Disabled":
        return current
    policies = rules.policies or ()  # `Behavior` has filled in the API's default
    limits = [scale_down_limit(policy, current, history, now_s) for policy in policies]
    return max(limits) if rules.select_policy == "Min" else min(limits)


def scale_down_limit(policy: ScalingPolicy, current: int, history: ScaleHistory, now_s: float) -> int:
    """The lowest count that one policy allows; a percentage is cut to a whole number."""
    period_start = period_start_replicas(policy.period_seconds, current, history, now_s)
    if policy.type == "Pods":
        return period_start - policy.value
    return math.trunc(period_start * (1 - policy.value / 100))


def period_start_replicas(period_s: float, current: int, history: ScaleHistory, now_s: float) -> int:
    """The count at the start of the period, before what was added and removed in it."""
    added = sum(values_within(history.scale_up_events, period_s, now_s))
    removed = sum(values_within(history.scale_down_events, period_s, now_s))
    return current - added + removed


def store_scale_event(history: ScaleHistory, change: int, behavior: Behavior, now_s: float) -> ScaleHistory:
    """The history with a change of replicas among the events of its direction."""
    event = Stamped(abs(change), now_s)
    if change > 0:
        events = store(history.scale_up_events, event, longest_policy_period_s(behavior.scale_up))
        return replace(history, scale_up_events=events)
    events = store(history.scale_down_events, event, longest_policy_period_s(behavior.scale_down))
    return replace(history, scale_down_events=events)


def longest_policy_period_s(rules: ScalingRules) -> int:
    """The longest period of the policies: older events no longer count."""
    return max(policy.period_seconds for policy in rules.policies or ())
