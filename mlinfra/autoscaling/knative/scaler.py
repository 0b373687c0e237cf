"""What becomes of the tick's answer: minimum, maximum, and the way to zero and back.

Follows `pkg/reconciler/autoscaling/kpa/scaler.go` of knative/serving v1.23.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from mlinfra.admission import Count, Field, check, refuse
from mlinfra.admission.rules import real
from mlinfra.autoscaling.knative.autoscaler import Scale, State, scale
from mlinfra.autoscaling.knative.bucketing import Window
from mlinfra.autoscaling.knative.config import Config, Revision
from mlinfra.autoscaling.knative.decider import decider, either, panic_window_s


@dataclass(frozen=True)
class Activity:
    """Where a revision is on the way to zero: since when active, or since when the activator stands in for it."""

    active: bool = True
    since_s: float = 0.0


@dataclass
class KPA:
    """The KPA of one revision as a loop sees it, started over so many pods: record every second, ask every two."""

    revision: Revision = field(default_factory=Revision)
    config: Config = field(default_factory=Config)
    ready_pods: Count = 0

    def __post_init__(self) -> None:
        check(self)
        self.spec = decider(self.revision, self.config)
        self.stable = Window(self.spec.stable_window_s)
        self.panic = Window(panic_window_s(self.revision, self.config))
        self.state = State.at_start(self.ready_pods, self.spec)
        self.activity = Activity() if self.ready_pods else Activity(False, -math.inf)

    def record(self, now_s: float, value: float) -> None:
        """Note the sum over all pods (and the activator) for this second."""
        refuse("sample", real(0)(Field(value, "value")))
        self.stable.record(now_s, value)
        self.panic.record(now_s, value)

    def desired(self, now_s: float, ready_pods: int) -> Scale:
        """The tick's answer within minimum and maximum, and on the way to zero."""
        tick = scale(self.spec, self.state, now_s, ready_pods, self.stable.average(now_s), self.panic.average(now_s))
        self.state = tick.state
        low, high = scale_bounds(self.revision, self.config)
        pods = apply_bounds(low, high, tick.desired)
        pods, self.activity = handle_scale_to_zero(pods, self.activity, now_s, self.revision, self.config)
        return replace(tick, desired=pods)


def scale_bounds(revision: Revision, config: Config) -> tuple[int, int]:
    """Minimum and maximum; 0 is no maximum. An annotation of 0 counts: it overrides the cluster's."""
    return either(revision.min_scale, config.min_scale), either(revision.max_scale, config.max_scale)


def apply_bounds(low: int, high: int, pods: int) -> int:
    """The count within the bounds."""
    if pods < low:
        return low
    return min(pods, high) if high else pods


def handle_scale_to_zero(
    desired: int, activity: Activity, now_s: float, revision: Revision, config: Config
) -> tuple[int, Activity]:
    """Pods to run when none is desired: one until the revision has been active for a stable window
    and while the activator takes over (the grace period, or the pod retention where longer), then none."""
    if desired > 0:
        return desired, activity if activity.active else Activity(True, now_s)
    if not config.enable_scale_to_zero:
        return 1, activity
    waited_s = now_s - activity.since_s
    if activity.active:
        stable_s = either(revision.window_s, config.stable_window_s)
        return 1, activity if waited_s < stable_s else Activity(False, now_s)
    retention_s = either(revision.scale_to_zero_pod_retention_s, config.scale_to_zero_pod_retention_s)
    return (0 if waited_s >= max(config.scale_to_zero_grace_s, retention_s) else 1), activity
