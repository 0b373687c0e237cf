"""The HPA controller: one pass from an observation to a decision, and a simulation of many passes.

Follows `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.37 (master of August 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from textwrap import fill
from typing import NamedTuple

from mlinfra.admission import refuse
from mlinfra.admission.nouns.autoscaling import misfits
from mlinfra.autoscaling.hpa.behavior import (
    ScaleHistory,
    Stamped,
    convert_desired_replicas_with_behavior_rate,
    convert_desired_replicas_with_rules,
    stabilize_recommendation,
    stabilize_recommendation_with_behaviors,
    store_scale_event,
)
from mlinfra.autoscaling.hpa.observation import DEFAULT_FLAGS, ControllerFlags, Observation
from mlinfra.autoscaling.hpa.replicas import Failure, Proposal, propose
from mlinfra.autoscaling.hpa.spec import HorizontalPodAutoscaler

NO_HISTORY = ScaleHistory()
ABOVE_MAX = "Current number of replicas above Spec.MaxReplicas"
BELOW_MIN = "Current number of replicas below Spec.MinReplicas"
MESSAGES = {
    "SucceededGetScale": "the HPA controller was able to get the target's current scale",
    "ReadyForNewScale": "recommended size matches current size",
    "ScaleUpStabilized": "recent recommendations were lower than current one, "
    "applying the lowest recent recommendation",
    "ScaleDownStabilized": "recent recommendations were higher than current one, "
    "applying the highest recent recommendation",
    "ScaleUpLimit": "the desired replica count is increasing faster than the maximum scale rate",
    "ScaleDownLimit": "the desired replica count is decreasing faster than the maximum scale rate",
    "TooManyReplicas": "the desired replica count is more than the maximum replica count",
    "TooFewReplicas": "the desired replica count is less than the minimum replica count",
    "DesiredWithinRange": "the desired count is within the acceptable range",
    "ScalingDisabled": "scaling is disabled since the replica count of the target is zero",
}


class Condition(NamedTuple):
    """A condition of the HPA's status, as `kubectl describe hpa` lists it."""

    type: str
    status: bool
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.type:<15} {self.status!s:<6} {self.reason:<20} {self.message}"


def condition(kind: str, status: bool, reason: str) -> Condition:
    """The condition with the controller's message for its reason."""
    return Condition(kind, status, reason, MESSAGES[reason])


@dataclass(frozen=True)
class Decision:
    """The outcome of one pass: the count to write, and every step that led to it."""

    at_s: float
    current: int
    desired: int
    history: ScaleHistory
    proposals: tuple[Proposal | Failure, ...] = ()
    able_to_scale: Condition = field(default=condition("AbleToScale", True, "SucceededGetScale"))
    scaling_active: Condition | None = None
    scaling_limited: Condition | None = None
    rescale_reason: str = ""

    @property
    def failure(self) -> Failure | None:
        """The first metric that failed."""
        return next((p for p in self.proposals if isinstance(p, Failure)), None)

    def conditions(self) -> list[Condition]:
        """The status conditions that the pass sets (None: left as it was); a rescale overwrites AbleToScale."""
        able = self.able_to_scale
        if self.desired != self.current:
            message = f"the HPA controller was able to update the target scale to {self.desired}"
            able = Condition("AbleToScale", True, "SucceededRescale", message)
        return [c for c in (able, self.scaling_active, self.scaling_limited) if c]

    def why(self) -> str:
        """The pass in words, from the metrics to the count; a long line goes on below its message."""
        lines = [f"t={self.at_s:g} s: {self.current} -> {self.desired} replicas"]
        for p in self.proposals:
            lines.append(
                wrapped(f"  {p.metric}: {p.why}" if isinstance(p, Proposal) else f"  {p.reason}: {p.error}", 4)
            )
        lines += [wrapped(f"  {c}", 46) for c in (self.able_to_scale, self.scaling_active, self.scaling_limited) if c]
        if self.desired != self.current:
            lines.append(wrapped(f"  SuccessfulRescale: New size: {self.desired}; reason: {self.rescale_reason}", 4))
        return "\n".join(lines)


def wrapped(line: str, indent: int) -> str:
    """The line cut between words where it would not fit on a notebook's page."""
    return fill(line, 100, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def simulate(
    hpa: HorizontalPodAutoscaler,
    observe: Callable[[float, int], Observation],
    replicas: int,
    duration_s: int,
    flags: ControllerFlags = DEFAULT_FLAGS,
) -> list[Decision]:
    """One decision every sync period from second 0; `observe(now_s, replicas)` plays the cluster."""
    history, decisions = ScaleHistory(), []
    for now_s in range(0, duration_s + 1, flags.sync_period_s):
        decision = reconcile(hpa, observe(now_s, replicas), history, now_s, flags)
        replicas, history = decision.desired, decision.history
        decisions.append(decision)
    return decisions


def reconcile(
    hpa: HorizontalPodAutoscaler,
    observation: Observation,
    history: ScaleHistory = NO_HISTORY,
    now_s: float = 0.0,
    flags: ControllerFlags = DEFAULT_FLAGS,
) -> Decision:
    """One pass of the controller over one HPA (`reconcileAutoscaler`)."""
    refuse("reconcile", misfits(hpa, observation))
    decision = record_initial_recommendation(observation, history, now_s)
    if decision.current == 0 and not may_leave_zero(hpa, decision, flags):
        return disable_scaling(decision, flags)
    if decision.current > hpa.max_replicas:
        decision = replace(decision, desired=hpa.max_replicas, rescale_reason=ABOVE_MAX)
    elif 0 < decision.current < hpa.min_replicas:
        decision = replace(decision, desired=hpa.min_replicas, rescale_reason=BELOW_MIN)
    else:
        decision = scale_by_metrics(hpa, observation, decision, flags)
    return record_rescale(hpa, decision, flags)


def record_initial_recommendation(observation: Observation, history: ScaleHistory, now_s: float) -> Decision:
    """No change, for the next steps to revise; the first pass of an HPA notes the current count as a recommendation."""
    current = observation.spec_replicas
    if history.recommendations is None:
        history = replace(history, recommendations=(Stamped(current, now_s),))
    return Decision(now_s, current, current, history)


def may_leave_zero(hpa: HorizontalPodAutoscaler, decision: Decision, flags: ControllerFlags) -> bool:
    """Whether this controller scaled to zero, and the minimum is no longer 0 or a metric can be read at zero pods."""
    by_controller = flags.hpa_scale_to_zero and decision.history.scaled_to_zero is True
    return by_controller and (hpa.min_replicas != 0 or hpa.scales_from_zero())


def disable_scaling(decision: Decision, flags: ControllerFlags) -> Decision:
    """No change: the count is zero, and this controller may not raise it; with the feature off it also forgets that it
    scaled to zero."""
    history = decision.history
    if not flags.hpa_scale_to_zero:
        history = replace(history, scaled_to_zero=None)
    return replace(decision, history=history, scaling_active=condition("ScalingActive", False, "ScalingDisabled"))


def scale_by_metrics(
    hpa: HorizontalPodAutoscaler, observation: Observation, decision: Decision, flags: ControllerFlags
) -> Decision:
    """The largest proposal, stabilized and limited; no change where a failed metric might have asked for more."""
    decision = replace(decision, proposals=propose(hpa, observation, decision.at_s, flags))
    largest = largest_proposal(decision.proposals)
    if largest is None or (decision.failure and largest.replicas < decision.current):
        return deactivate_scaling(decision)
    decision = follow_proposal(largest, decision)
    decision = stabilize(hpa, decision, flags)
    decision = limit(hpa, decision)
    return wake_to_minimum(hpa, decision)


def largest_proposal(proposals: tuple[Proposal | Failure, ...]) -> Proposal | None:
    """The largest proposal; of equal ones the first, but any later one replaces a proposal of 0."""
    largest = None
    for proposal in proposals:
        if isinstance(proposal, Failure):
            continue
        if largest is None or largest.replicas == 0 or proposal.replicas > largest.replicas:
            largest = proposal
    return largest


def deactivate_scaling(decision: Decision) -> Decision:
    """No change, for the reason of the first metric that failed."""
    assert decision.failure is not None  # every metric gives a proposal or a failure, and there is one at least
    message = f"the HPA was unable to compute the replica count: {decision.failure.error}"
    return replace(decision, scaling_active=Condition("ScalingActive", False, decision.failure.reason, message))


def follow_proposal(proposal: Proposal, decision: Decision) -> Decision:
    """The count that the proposal asks for, and the reason of a rescale, which the steps below keep."""
    message = f"the HPA was able to successfully calculate a replica count from {proposal.metric}"
    active = Condition("ScalingActive", True, "ValidMetricFound", message)
    desired, reason = max(proposal.replicas, 0), ""  # a metric may be negative
    if desired > decision.current:
        reason = f"{proposal.metric} above target"
    if desired < decision.current:
        reason = "All metrics below target"
    return replace(decision, desired=desired, scaling_active=active, rescale_reason=reason)


def stabilize(hpa: HorizontalPodAutoscaler, decision: Decision, flags: ControllerFlags) -> Decision:
    """The desired count, held by the recommendations of the stabilization windows."""
    now_s, desired = decision.at_s, decision.desired
    log = decision.history.recommendations or ()  # not None any more: see record_initial_recommendation
    if hpa.behavior is None:
        stabilized = stabilize_recommendation(log, desired, now_s, flags.downscale_stabilization_s)
    else:
        up_s = hpa.behavior.scale_up.window_s(default=0)
        down_s = hpa.behavior.scale_down.window_s(default=flags.downscale_stabilization_s)
        stabilized = stabilize_recommendation_with_behaviors(log, decision.current, desired, now_s, up_s, down_s)
    able = condition("AbleToScale", True, "ReadyForNewScale" if stabilized.replicas == desired else stabilized.reason)
    history = replace(decision.history, recommendations=stabilized.log)
    return replace(decision, desired=stabilized.replicas, history=history, able_to_scale=able)


def limit(hpa: HorizontalPodAutoscaler, decision: Decision) -> Decision:
    """The desired count, held by policies, minimum and maximum."""
    current, desired, low, high = decision.current, decision.desired, hpa.min_replicas, hpa.max_replicas
    if hpa.behavior is None:
        limited = convert_desired_replicas_with_rules(current, desired, low, high)
    else:
        limited = convert_desired_replicas_with_behavior_rate(
            current, desired, low, high, hpa.behavior, decision.history, decision.at_s
        )
    scaling_limited = condition("ScalingLimited", limited.replicas != desired, limited.reason)
    return replace(decision, desired=limited.replicas, scaling_limited=scaling_limited)


def wake_to_minimum(hpa: HorizontalPodAutoscaler, decision: Decision) -> Decision:
    """From zero the count goes to the minimum at least; with `behavior`, raising has not checked it."""
    if decision.current > 0 or decision.desired >= hpa.min_replicas:
        return decision
    return replace(decision, desired=hpa.min_replicas, rescale_reason=decision.rescale_reason or BELOW_MIN)


def record_rescale(hpa: HorizontalPodAutoscaler, decision: Decision, flags: ControllerFlags) -> Decision:
    """The decision with its rescale noted: whether it went to zero, and an event that the policies count."""
    if decision.desired == decision.current:
        return decision
    to_zero = decision.desired == 0 == hpa.min_replicas and hpa.scales_from_zero()
    history = replace(decision.history, scaled_to_zero=to_zero if flags.hpa_scale_to_zero else None)
    if hpa.behavior is not None:
        history = store_scale_event(history, decision.desired - decision.current, hpa.behavior, decision.at_s)
    return replace(decision, history=history)
