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


def recommend(usage: AggregateContainerState, containers: int = 1) -> Recommendation:
    """The recommendation for one of the containers of a pod: every amount at least its share of the pod's minimum."""
    minimum = pod_minimum(containers, usage.flags)
    return Recommendation(
        target=target(usage).raised_to(minimum),
        lower_bound=lower_bound(usage).raised_to(minimum),
        upper_bound=upper_bound(usage).raised_to(minimum),
        confidence=usage.confidence,
    )


def target(usage: AggregateContainerState) -> Amounts:
    """The 90th percentile with the safety margin."""
    amounts = estimate(usage, usage.flags.target_percentile)
    return with_margin(amounts, usage.flags.safety_margin_fraction)


def lower_bound(usage: AggregateContainerState) -> Amounts:
    """The median with the safety margin, lowered a little while the history is short."""
    amounts = estimate(usage, usage.flags.lower_bound_percentile)
    amounts = with_margin(amounts, usage.flags.safety_margin_fraction)
    return with_confidence(amounts, usage.confidence, multiplier=0.001, exponent=-2.0)


def upper_bound(usage: AggregateContainerState) -> Amounts:
    """The 95th percentile with the safety margin, raised a lot while the history is short: doubled after one day."""
    amounts = estimate(usage, usage.flags.upper_bound_percentile)
    amounts = with_margin(amounts, usage.flags.safety_margin_fraction)
    return with_confidence(amounts, usage.confidence, multiplier=1.0, exponent=1.0)


def estimate(usage: AggregateContainerState, fraction: float) -> Amounts:
    """The percentile of the cpu samples and of the memory peaks."""
    cpu_milli = truncate(usage.cpu.percentile(fraction) * 1000)
    return Amounts(cpu_milli, truncate(usage.memory_peaks.percentile(fraction)))


def with_margin(amounts: Amounts, fraction: float) -> Amounts:
    """The amounts and a safety margin on top."""
    return amounts.each(lambda amount: truncate(amount + scale(amount, fraction)))


def with_confidence(amounts: Amounts, confidence: float, multiplier: float, exponent: float) -> Amounts:
    """The amounts times (1 + multiplier / confidence)^exponent; without any history no bound at all."""
    if confidence == 0:
        return amounts.each(lambda amount: MAX_AMOUNT if exponent > 0 else 0)
    factor = (1 + multiplier / confidence) ** exponent
    return amounts.each(lambda amount: scale(amount, factor))


def pod_minimum(containers: int, flags: RecommenderFlags) -> Amounts:
    """A container's share of the least that a pod is given."""
    minimum = Amounts(flags.pod_min_cpu_milli, flags.pod_min_memory_mib * 2**20)
    return minimum.each(lambda amount: scale(amount, 1 / containers))
