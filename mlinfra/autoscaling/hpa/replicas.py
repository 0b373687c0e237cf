"""What each metric asks for: which pods count, usage over target, and the replicas that follow.

Follows `pkg/controller/podautoscaler/replica_calculator.go` and the metrics part of `horizontal.go` of
Kubernetes 1.37 (master of August 2026).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from mlinfra.autoscaling.hpa.metrics import (
    AverageValue,
    External,
    Metric,
    Object,
    Pods,
    Resource,
    Target,
    Utilization,
)
from mlinfra.autoscaling.hpa.observation import MAX_INT64, ControllerFlags, Observation, ObservedPod, Reading, Sample
from mlinfra.autoscaling.hpa.pods import MetricError, PodGroups, calculate_requests, group_pods
from mlinfra.autoscaling.hpa.spec import Behavior, HorizontalPodAutoscaler
from mlinfra.quantity import canonical

MAX_INT32 = 2**31 - 1
NO_PODS = "no pods returned by selector while calculating replica count"


class Tolerances(NamedTuple):
    """Fractions below and above 1 within which a usage ratio changes nothing."""

    scale_down: float
    scale_up: float

    def is_within(self, ratio: float) -> bool:
        return 1 - self.scale_down <= ratio <= 1 + self.scale_up


@dataclass(frozen=True)
class View:
    """All that one metric's proposal depends on, besides its reading."""

    spec_replicas: int  # what the target should run: the current count of every rule but one
    status_replicas: int  # the pods that it has, running or not: upstream's count for an average of a total
    pods: tuple[ObservedPod, ...]
    now_s: float
    tolerances: Tolerances
    flags: ControllerFlags


class MetricUsage(NamedTuple):
    """Ratio of usage to target; what the status reports (percent, or milli per pod); the average in milli."""

    ratio: float
    observed: int
    average_milli: int


class Proposal(NamedTuple):
    """What one metric asks for: its name in the controller's events, replicas, usage, and why."""

    metric: str
    replicas: int
    usage: MetricUsage
    why: str


Count = tuple[int, MetricUsage, str]
"""Replicas, the measured usage that the status reports, and why."""


class Failure(NamedTuple):
    """A metric that gave no proposal: the reason of the condition it causes, and its error."""

    reason: str
    error: str


def propose(
    hpa: HorizontalPodAutoscaler, observation: Observation, now_s: float, flags: ControllerFlags
) -> tuple[Proposal | Failure, ...]:
    """What each metric asks for, in the order of the spec."""
    spec_replicas, status_replicas = observation.spec_replicas, observation.status_replicas
    if status_replicas is None:
        status_replicas = spec_replicas
    view = View(spec_replicas, status_replicas, observation.pods, now_s, tolerances(hpa.behavior, flags), flags)
    proposals: list[Proposal | Failure] = []
    for metric, reading in zip(hpa.metrics, observation.readings, strict=True):
        try:
            proposals.append(compute_replicas_for_metric(metric, reading, view))
        except MetricError as error:
            proposals.append(Failure(metric.failure, f"{metric.error_prefix()}{error}"))
    return tuple(proposals)


def tolerances(behavior: Behavior | None, flags: ControllerFlags) -> Tolerances:
    """The flag's tolerance, unless `behavior` sets one for a direction."""
    default = flags.tolerance
    if behavior is None:
        return Tolerances(default, default)
    return Tolerances(behavior.scale_down.tolerance_or(default), behavior.scale_up.tolerance_or(default))


def compute_replicas_for_metric(metric: Metric, reading: Reading, view: View) -> Proposal:
    """What one metric asks for; MetricError when its reading gives no count."""
    match metric, reading:
        case Resource(), Mapping() if reading:
            count = per_pod_replicas(view, reading, metric.target, metric.name, metric.container)
        case Pods(), Mapping() if reading:
            count = per_pod_replicas(view, reading, metric.target)
        case Object(), int():
            count = total_replicas(view, reading, metric.target)
        case External(), Sequence() if reading:
            count = total_replicas(view, sum_of_series(reading, metric.target), metric.target)
        case _:
            raise MetricError(f"unable to get {metric.error_name()}: no metrics returned from {metric.api} metrics API")
    return Proposal(metric.event_name(), *count)


def per_pod_replicas(
    view: View, samples: Mapping[str, Sample], target: Target, resource: str = "", container: str = ""
) -> Count:
    """Replicas that bring the pods' average back to the target; the usage reported is the measured one."""
    if not view.pods:
        raise MetricError(NO_PODS)
    groups = group_pods(view.pods, samples, resource, view.now_s, view.flags)
    measured = measured_usage(samples, groups)
    full = full_usage(view, target, resource, container)
    usage = compare(measured, full, target)
    scale_up_with_unready = groups.unready and usage.ratio > 1
    if not groups.missing and not scale_up_with_unready:
        return count_all(view, usage, groups.ready_pod_count)
    filled = measured | assumed_usage(groups, full, target, usage.ratio)
    return count_filled(view, usage, compare(filled, full, target).ratio, len(filled))


def measured_usage(samples: Mapping[str, Sample], groups: PodGroups) -> dict[str, int]:
    """Milli that each pod uses, without the pods that are ignored or unready."""
    left_out = groups.ignored | groups.unready
    usage = {pod: sample.milli for pod, sample in samples.items() if pod not in left_out}
    if not usage:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return usage


def full_usage(view: View, target: Target, resource: str, container: str) -> dict[str, int]:
    """What each pod uses at 100 %: its request, or the target itself."""
    if isinstance(target, Utilization):
        return calculate_requests(view.pods, resource, container, view.flags.pod_level_resources)
    return {pod.name: target.milli for pod in view.pods}


def compare(usage: Mapping[str, int], full: Mapping[str, int], target: Target) -> MetricUsage:
    """Usage over the target, as a share of the requests or as an average per pod."""
    if isinstance(target, Utilization):
        return utilization_ratio(usage, full, target.amount)
    return usage_ratio(usage, target.milli)


def utilization_ratio(usage: Mapping[str, int], requests: Mapping[str, int], target_percent: int) -> MetricUsage:
    """Usage over requests as a whole percent, truncated before it is divided by the target."""
    pods = [pod for pod in usage if pod in requests]
    requested_milli = sum(requests[pod] for pod in pods)
    if not requested_milli:
        raise MetricError("no metrics returned matched known pods")
    used_milli = sum(usage[pod] for pod in pods)
    percent = truncated(100 * used_milli, requested_milli)
    return MetricUsage(percent / target_percent, percent, truncated(used_milli, len(pods)))


def usage_ratio(usage: Mapping[str, int], target_milli: int) -> MetricUsage:
    """Average usage per pod over the target."""
    average_milli = truncated(sum(usage.values()), len(usage))
    return MetricUsage(average_milli / target_milli, average_milli, average_milli)


def truncated(numerator: int, denominator: int) -> int:
    """Integer division that rounds toward zero, as Go's does."""
    return math.trunc(Fraction(numerator, denominator))


def count_all(view: View, usage: MetricUsage, ready_pods: int) -> Count:
    """No usage was assumed: the ratio times the ready pods, unless the ratio is within the tolerance."""
    if view.tolerances.is_within(usage.ratio):
        return within_tolerance(view.spec_replicas, usage)
    replicas = rounded_up(usage.ratio * ready_pods)
    return replicas, usage, f"ratio {usage.ratio:.3f} x {ready_pods} ready pods, rounded up: {replicas}"


def within_tolerance(replicas: int, usage: MetricUsage) -> Count:
    """The count stays."""
    return replicas, usage, f"ratio {usage.ratio:.3f} is within the tolerance: no change"


def rounded_up(replicas: float) -> int:
    """The next whole number, at most the largest of 32 bits."""
    return MAX_INT32 if replicas > MAX_INT32 else math.ceil(replicas)


def assumed_usage(groups: PodGroups, full: Mapping[str, int], target: Target, ratio: float) -> dict[str, int]:
    """Milli assumed per pod: on the way up 0 for the missing and unready; on the way down, for the missing only, 100 %
    of `full`, or the target percent where that is more; at a ratio of exactly 1 nothing."""
    if ratio > 1:
        return dict.fromkeys(groups.missing | groups.unready, 0)
    if ratio < 1:
        percent = max(100, target.amount) if isinstance(target, Utilization) else 100
        return {pod: truncated(full[pod] * percent, 100) for pod in groups.missing}
    return {}


def count_filled(view: View, usage: MetricUsage, new_ratio: float, pods: int) -> Count:
    """Some usage was assumed: follow the new ratio only where it points the same way as the measured one."""
    current = view.spec_replicas
    steps = f"ratio {usage.ratio:.3f}, {new_ratio:.3f} with silent and unready pods filled in"
    if view.tolerances.is_within(new_ratio) or not same_direction(usage.ratio - 1, new_ratio - 1):
        return current, usage, f"{steps}: no change"
    replicas = rounded_up(new_ratio * pods)
    if not same_direction(new_ratio - 1, replicas - current):
        return current, usage, f"{steps}: {replicas} would go the other way, no change"
    return replicas, usage, f"{steps} x {pods} pods, rounded up: {replicas}"


def same_direction(change: float, other: float) -> bool:
    """False where one change goes up and the other down."""
    return not (change < 0 < other or other < 0 < change)


def sum_of_series(series: Sequence[int], target: Target) -> int:
    """The sum, stopped at the largest 64-bit integer; per pod, upstream takes a negative sum for an overflow too."""
    total = 0
    for amount in series:
        total += amount
        if total > MAX_INT64 or (total < 0 and isinstance(target, AverageValue)):
            return MAX_INT64
    return total


def total_replicas(view: View, usage_milli: int, target: Target) -> Count:
    """Replicas for a total that is not measured per pod."""
    if isinstance(target, AverageValue):
        return average_value_replicas(view, usage_milli, target.milli)
    return value_replicas(view, usage_milli, target.milli)


def value_replicas(view: View, usage_milli: int, target_milli: int) -> Count:
    """The ready pods times the ratio; from zero, the ratio itself."""
    usage = MetricUsage(usage_milli / target_milli, usage_milli, usage_milli)
    if view.spec_replicas == 0:
        replicas = rounded_up(usage.ratio)
        return replicas, usage, f"from zero: ratio {usage.ratio:.3f} rounded up: {replicas}"
    if view.tolerances.is_within(usage.ratio):  # before the pods are counted, which fails without pods
        return within_tolerance(view.spec_replicas, usage)
    return count_all(view, usage, ready_pods_count(view))


def ready_pods_count(view: View) -> int:
    """Pods that run and have the Ready condition, whatever the metric."""
    if not view.pods:
        raise MetricError(f"unable to calculate ready pods: {NO_PODS}")
    return sum(pod.phase == "Running" and pod.ready is True for pod in view.pods)


def average_value_replicas(view: View, usage_milli: int, target_milli: int) -> Count:
    """The total over the target, unless the average over the status replicas is within the tolerance; without any the
    ratio is infinite or not a number, which no tolerance holds."""
    average_milli = per_pod_usage(usage_milli, view.status_replicas)
    usage = MetricUsage(divided(usage_milli, target_milli * view.status_replicas), average_milli, average_milli)
    if view.tolerances.is_within(usage.ratio):
        return within_tolerance(view.status_replicas, usage)
    replicas = rounded_up(usage_milli / target_milli)
    total, target = canonical(f"{usage_milli}m"), canonical(f"{target_milli}m")
    return replicas, usage, f"{total} in all / {target} per pod, rounded up: {replicas}"


def per_pod_usage(usage_milli: int, status_replicas: int) -> int:
    """A total divided by the pods, rounded up; 0 without pods."""
    if float(usage_milli) >= MAX_INT64:  # as a double: the 512 integers below 2**63 round up to it
        return MAX_INT64
    return math.ceil(usage_milli / status_replicas) if status_replicas else 0


def divided(numerator: float, denominator: float) -> float:
    """IEEE division: something over nothing is infinite, nothing over nothing is not a number."""
    if denominator:
        return numerator / denominator
    return math.copysign(math.inf, numerator) if numerator else math.nan
