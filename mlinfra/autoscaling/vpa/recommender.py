"""The recommendation: a target, and the bounds outside of which the updater acts (`logic/recommender.go`).

Every amount is made in the same order: a percentile of the usage, the safety margin, for a bound the confidence, and
at last the minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlinfra.autoscaling.vpa.amounts import MAX_AMOUNT, Amounts, scale, truncate
from mlinfra.autoscaling.vpa.usage import AggregateContainerState, RecommenderFlags


@dataclass(frozen=True)
class Recommendation:
    """The request that a container should have, and the bounds outside of which the updater acts."""

    target: Amounts
    lower_bound: Amounts
    upper_bound: Amounts
    confidence: float


def recommend(state: AggregateContainerState, container_count: int = 1) -> Recommendation:
    """One container's recommendation before its policy: no amount below the pod's minimum divided by its containers."""
    minimum = pod_minimum(container_count, state.flags)
    return Recommendation(
        target=target(state).raised_to(minimum),
        lower_bound=lower_bound(state).raised_to(minimum),
        upper_bound=upper_bound(state).raised_to(minimum),
        confidence=state.confidence,
    )


def target(state: AggregateContainerState) -> Amounts:
    """The 90th percentile by default, with the safety margin."""
    flags = state.flags
    amounts = estimate(state, flags.target_cpu_percentile, flags.target_memory_percentile)
    return with_margin(amounts, flags.safety_margin_fraction)


def lower_bound(state: AggregateContainerState) -> Amounts:
    """The median by default, with the safety margin, lowered while the history is short: to 0.6 of it after five
    minutes of samples, to 0.95 after an hour."""
    flags = state.flags
    amounts = estimate(state, flags.lower_bound_cpu_percentile, flags.lower_bound_memory_percentile)
    amounts = with_margin(amounts, flags.safety_margin_fraction)
    return with_confidence(amounts, state.confidence, multiplier=0.001, exponent=-2.0)  # upstream's constants


def upper_bound(state: AggregateContainerState) -> Amounts:
    """The 95th percentile by default, with the safety margin, raised while the history is short: doubled after
    one day."""
    flags = state.flags
    amounts = estimate(state, flags.upper_bound_cpu_percentile, flags.upper_bound_memory_percentile)
    amounts = with_margin(amounts, flags.safety_margin_fraction)
    return with_confidence(amounts, state.confidence, multiplier=1.0, exponent=1.0)  # upstream's constants


def estimate(state: AggregateContainerState, cpu_fraction: float, memory_fraction: float) -> Amounts:
    """The percentile of the cpu samples (cores, to milli cores) and that of the memory peaks (bytes), truncated."""
    cpu_milli = truncate(state.cpu.percentile(cpu_fraction) * 1000)
    return Amounts(cpu_milli, truncate(state.memory_peaks.percentile(memory_fraction)))


def with_margin(amounts: Amounts, fraction: float) -> Amounts:
    """The amounts and a safety margin on top."""
    return amounts.each(lambda amount: truncate(amount + scale(amount, fraction)))


def with_confidence(amounts: Amounts, confidence: float, multiplier: float, exponent: float) -> Amounts:
    """The amounts times (1 + multiplier / confidence)^exponent; at confidence 0 the lower bound is 0, and the upper
    the largest amount."""
    if confidence == 0:
        return amounts.each(lambda amount: MAX_AMOUNT if exponent > 0 else 0)
    factor = (1 + multiplier / confidence) ** exponent
    return amounts.each(lambda amount: scale(amount, factor))


def pod_minimum(container_count: int, flags: RecommenderFlags) -> Amounts:
    """A container's share of the least that a pod is given."""
    minimum = Amounts(flags.pod_min_cpu_milli, flags.pod_min_memory_mib * 2**20)
    return minimum.each(lambda amount: scale(amount, 1 / container_count))
