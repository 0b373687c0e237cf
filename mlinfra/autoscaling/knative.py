"""Knative's Pod Autoscaler (KPA): annotations, averaging windows, panic, and the way to zero and back.

Follows knative/serving v1.23.0: `pkg/autoscaler/scaling/autoscaler.go`, `aggregation/bucketing.go`,
`pkg/reconciler/autoscaling/{resources/target.go,kpa/scaler.go}`. Times are seconds, values sums over all pods
(requests in flight, or per second).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mlinfra.admission.rules import Field, Invalid, Needed, Problem, Rules, broken, real, refuse, whole

TICK_S = 2.0
TARGET_MIN = 0.01
BUCKET_S = 1.0


CONFIG: Rules = [
    ("container_concurrency_target_fraction", Needed(), real(0.01, 1)),
    ("container_concurrency_target_default", Needed(), real(0.01)),
    ("target_utilization", Needed(), real(0.01, 1)),
    ("rps_target_default", Needed(), real(0.01)),
    ("target_burst_capacity", Needed(), real(-1)),
    ("activator_capacity", Needed(), real(0)),
    ("initial_scale", Needed(), whole(0)),
    ("min_scale", Needed(), whole(0)),
    ("max_scale", Needed(), whole(0)),
    ("max_scale_up_rate", Needed(), real(0)),
    ("max_scale_down_rate", Needed(), real(0)),
    ("stable_window_s", Needed(), real(6, 3600)),
    ("panic_window_percentage", Needed(), real(1, 100)),
    ("panic_threshold_percentage", Needed(), real(110, 1000)),
    ("scale_to_zero_grace_s", Needed(), real(0)),
    ("scale_to_zero_pod_retention_s", Needed(), real(0)),
    ("scale_down_delay_s", Needed(), real(0, 3600)),
]
"""What the simulation can compute with; the bounds and the words are ours, and `config.go` has its own."""


@dataclass(frozen=True)
class Config:
    """The cluster's `config-autoscaler`, with its defaults."""

    enable_scale_to_zero: bool = True
    container_concurrency_target_fraction: float = 0.7
    container_concurrency_target_default: float = 100
    target_utilization: float = 0.7
    rps_target_default: float = 200
    target_burst_capacity: float = 211
    activator_capacity: float = 100
    allow_zero_initial_scale: bool = False
    initial_scale: int = 1
    min_scale: int = 0
    max_scale: int = 0
    max_scale_up_rate: float = 1000
    max_scale_down_rate: float = 2
    stable_window_s: float = 60
    panic_window_percentage: float = 10
    panic_threshold_percentage: float = 200
    scale_to_zero_grace_s: float = 30
    scale_to_zero_pod_retention_s: float = 0
    scale_down_delay_s: float = 0

    def __post_init__(self) -> None:
        refuse("config-autoscaler", broken(Field(vars(self)), CONFIG))


@dataclass(frozen=True)
class Revision:
    """What one revision asks for, by `containerConcurrency` and annotations; None leaves it to the cluster."""

    metric: str = "concurrency"
    container_concurrency: int = 0
    target: float | None = None
    target_utilization_percentage: float | None = None
    window_s: float | None = None
    panic_window_percentage: float | None = None
    initial_scale: int | None = None
    min_scale: int | None = None
    max_scale: int | None = None
    target_burst_capacity: float | None = None
    scale_down_delay_s: float | None = None
    activation_scale: int | None = None

    def __post_init__(self) -> None:
        refuse("revision", _revision_problems(self))

    def annotations(self) -> dict[str, str]:
        """Annotations of the revision template: kebab-case names, and every value a string."""
        given = {
            "metric": None if self.metric == "concurrency" else self.metric,
            "target": self.target,
            "target-utilization-percentage": self.target_utilization_percentage,
            "window": _duration(self.window_s),
            "panic-window-percentage": self.panic_window_percentage,
            "initial-scale": self.initial_scale,
            "min-scale": self.min_scale,
            "max-scale": self.max_scale,
            "target-burst-capacity": self.target_burst_capacity,
            "scale-down-delay": _duration(self.scale_down_delay_s),
            "activation-scale": self.activation_scale,
        }
        shown = {
            name: value if isinstance(value, str) else f"{value:g}"
            for name, value in given.items()
            if value is not None
        }
        return {f"autoscaling.knative.dev/{name}": value for name, value in shown.items()}


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:g}s"


def _revision_problems(revision: Revision) -> Iterator[Problem]:
    """serving/pkg/apis/autoscaling/annotation_validation.go."""

    def least(name: str, low: float, high: float = math.inf) -> Iterator[Problem]:
        value = getattr(revision, name)
        if value is None:
            return
        whole_ones = ("container_concurrency", "initial_scale", "min_scale", "max_scale", "activation_scale")
        wrong = list(
            whole(-(2**63), 2**63 - 1)(Field(value, name)) if name in whole_ones else real()(Field(value, name))
        )
        yield from wrong
        if not wrong and not low <= value <= high:
            yield Field(value, name).invalid(f"expected {low:g} <= {value:g} <= {high:g}")

    if revision.metric not in ("concurrency", "rps"):
        yield Field(revision.metric, "metric").unsupported(["concurrency", "rps"])
    for name in ("container_concurrency", "initial_scale", "min_scale", "max_scale"):
        yield from least(name, 0, 2**31 - 1)
    yield from least("target", TARGET_MIN)
    yield from least("target_utilization_percentage", 1, 100)
    yield from least("window_s", 6, 3600)
    yield from least("panic_window_percentage", 1, 100)
    yield from least("target_burst_capacity", -1)
    yield from least("scale_down_delay_s", 0, 3600)
    yield from least("activation_scale", 1)
    if revision.max_scale and (revision.min_scale or 0) > revision.max_scale:
        yield Field(revision.max_scale, "max_scale").invalid(f"must be at least min_scale, {revision.min_scale}")


def metric_target(revision: Revision, config: Config = Config()) -> tuple[float, float]:
    """Target and total per pod: what a pod can take, and the share of it that is aimed at."""
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


def panic_window_s(revision: Revision, config: Config = Config()) -> float:
    """Length of the panic window: a share of the stable window, to the second, one at least."""
    stable_s = _given(revision.window_s, config.stable_window_s)
    percentage = _given(revision.panic_window_percentage, config.panic_window_percentage)
    return max(BUCKET_S, math.floor(stable_s * percentage / 100 + 0.5))


def initial_scale(revision: Revision, config: Config = Config()) -> int:
    """Pods that a new revision starts with; 0 only where the cluster allows it."""
    wanted = revision.initial_scale
    if wanted is None or (wanted == 0 and not config.allow_zero_initial_scale):
        return config.initial_scale
    return wanted


class Window:
    """Values by second, averaged over the seconds since the first write, so that a new revision reacts at once."""

    def __init__(self, window_s: float, bucket_s: float = BUCKET_S) -> None:
        self.window_s, self.bucket_s = window_s, bucket_s
        self.count = math.ceil(window_s / bucket_s)
        self.values: dict[int, float] = {}
        self.first = self.last = 0

    def record(self, at_s: float, value: float) -> None:
        """Add to the second's bucket; what is older than the window is ignored, a gap of a window clears all."""
        bucket = math.floor(at_s / self.bucket_s)
        if not self.values or (bucket - self.last) * self.bucket_s >= self.window_s:
            self.values, self.first, self.last = {}, bucket, bucket
        elif bucket * self.bucket_s + self.window_s <= self.last * self.bucket_s:
            return
        for gone in range(self.last - self.count + 1, bucket - self.count + 1):
            self.values.pop(gone, None)
        self.first, self.last = min(self.first, bucket), max(self.last, bucket)
        self.values[bucket] = self.values.get(bucket, 0.0) + value

    def average(self, at_s: float) -> float:
        """Mean over the buckets that can hold something; 0 after a window without writes."""
        idle = max(0, math.floor(at_s / self.bucket_s) - self.last)
        if not self.values or idle * self.bucket_s >= self.window_s:
            return 0.0
        kept = [value for bucket, value in self.values.items() if bucket > self.last + idle - self.count]
        return round(sum(kept) / min(self.last - self.first + 1, self.count - idle), 6)


@dataclass(frozen=True)
class Decider:
    """What the autoscaler of one revision works with; rates and the panic threshold are factors."""

    target_value: float
    total_value: float
    target_burst_capacity: float = 211
    panic_threshold: float = 2
    max_scale_up_rate: float = 1000
    max_scale_down_rate: float = 2
    stable_window_s: float = 60
    scale_down_delay_s: float = 0
    activation_scale: int = 0
    reachable: bool = True


def decider(revision: Revision, config: Config = Config()) -> Decider:
    """The decider of a revision in a cluster."""
    target, total = metric_target(revision, config)
    return Decider(
        target,
        total,
        _given(revision.target_burst_capacity, config.target_burst_capacity),
        config.panic_threshold_percentage / 100,
        config.max_scale_up_rate,
        config.max_scale_down_rate,
        _given(revision.window_s, config.stable_window_s),
        _given(revision.scale_down_delay_s, config.scale_down_delay_s),
        revision.activation_scale or 0,
    )


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


@dataclass(frozen=True)
class State:
    """What is remembered between ticks; `delayed` is None when there never was a scale-down delay."""

    panic_since_s: float | None = None
    max_panic_pods: int = 0
    delayed: tuple[tuple[int, int], ...] | None = None

    @classmethod
    def at_start(cls, ready_pods: int, spec: Decider, now_s: float = 0.0) -> State:
        """A new autoscaler over more than one pod starts in panic, since it has no history to scale down by."""
        return cls(now_s if ready_pods > 1 else None, ready_pods, () if spec.scale_down_delay_s else None)


@dataclass(frozen=True)
class Scale:
    """One tick's answer; `excess_burst_capacity` below 0 puts the activator into the path."""

    valid: bool
    desired: int
    excess_burst_capacity: float
    state: State
    why: str = ""


def scale(
    spec: Decider, state: State, now_s: float, ready_pods: int | None, stable: float | None, panic: float | None
) -> Scale:
    """One tick: the stable want, or in panic the largest want of this panic; None is a reading that failed."""
    if ready_pods is None or stable is None or panic is None:
        return Scale(False, 0, 0, state, "no data")
    ready = max(1, ready_pods)
    wants = [_want(spec, value, ready) for value in (stable, panic)]
    state = _panicked(spec, state, now_s, math.ceil(panic / spec.target_value) / ready)
    desired, why = wants[0], f"stable window wants {wants[0]}"
    if state.panic_since_s is not None:
        desired = max(*wants, state.max_panic_pods)
        state = replace(state, max_panic_pods=desired)
        why = f"in panic: stable wants {wants[0]}, panic {wants[1]}, never below {desired} now"
    if state.delayed is not None and spec.reachable:
        state, desired = _delayed(spec, state, now_s, desired)
    return Scale(True, desired, _excess(spec, ready_pods, panic), state, why)


def _want(spec: Decider, value: float, ready: int) -> int:
    """Pods for the value, no faster than the rates allow."""
    wanted = math.ceil(value / spec.target_value)
    least = math.floor(ready / spec.max_scale_down_rate) if spec.reachable else 0
    clamped = min(max(wanted, least), math.ceil(spec.max_scale_up_rate * ready))
    return max(clamped, spec.activation_scale) if wanted > 0 else clamped


def _panicked(spec: Decider, state: State, now_s: float, over: float) -> State:
    """Panic starts, or starts anew, over the threshold; it ends a whole stable window after the last time."""
    if over >= spec.panic_threshold:
        return replace(state, panic_since_s=now_s)
    if state.panic_since_s is not None and state.panic_since_s + spec.stable_window_s < now_s:
        return replace(state, panic_since_s=None, max_panic_pods=0)
    return state


def _delayed(spec: Decider, state: State, now_s: float, desired: int) -> tuple[State, int]:
    """The highest count of the delay window: this tick's bucket and those before it."""
    bucket, count = math.floor(now_s / TICK_S), math.ceil(spec.scale_down_delay_s / TICK_S)
    noted = (*(state.delayed or ()), (bucket, desired))
    kept = tuple((b, pods) for b, pods in noted if b > bucket - count)
    return replace(state, delayed=kept), max(pods for _, pods in kept)


def _excess(spec: Decider, ready_pods: int, panic: float) -> float:
    if spec.target_burst_capacity < 0:
        return -1
    if spec.target_burst_capacity == 0:
        return 0
    return math.floor(ready_pods * spec.total_value - spec.target_burst_capacity - panic)


@dataclass(frozen=True)
class Activity:
    """Where a revision is on the way to zero: since when active, or since when the activator stands in for it."""

    active: bool = True
    since_s: float = 0.0


def to_zero(
    desired: int, activity: Activity, now_s: float, revision: Revision, config: Config = Config()
) -> tuple[int, Activity]:
    """Pods to run when the autoscaler says 0: one until the revision has been active for a stable window
    and while the activator takes over (the grace period, or the pod retention where longer), then none."""
    if desired > 0:
        return desired, activity if activity.active else Activity(True, now_s)
    if not config.enable_scale_to_zero or (revision.min_scale or config.min_scale) > 0:
        return max(1, revision.min_scale or config.min_scale), activity
    stable_s = _given(revision.window_s, config.stable_window_s)
    if activity.active and now_s - activity.since_s < stable_s:
        return 1, activity
    if activity.active:
        return 1, Activity(False, now_s)
    waited_s = max(config.scale_to_zero_grace_s, config.scale_to_zero_pod_retention_s)
    return (0 if now_s - activity.since_s >= waited_s else 1), activity


@dataclass
class Autoscaler:
    """The KPA of one revision as a loop sees it, started over so many pods: record every second, ask every two."""

    revision: Revision = field(default_factory=Revision)
    config: Config = field(default_factory=Config)
    ready_pods: int = 0

    def __post_init__(self) -> None:
        self.spec = decider(self.revision, self.config)
        self.stable = Window(self.spec.stable_window_s)
        self.panic = Window(panic_window_s(self.revision, self.config))
        self.state = State.at_start(self.ready_pods, self.spec)
        self.activity = Activity() if self.ready_pods else Activity(False, -math.inf)

    def record(self, now_s: float, value: float) -> None:
        """Note the sum over all pods (and the activator) for this second."""
        if value < 0:
            raise Invalid("sample", [Field(value, "value").invalid("must be greater than or equal to 0")])
        self.stable.record(now_s, value)
        self.panic.record(now_s, value)

    def desired(self, now_s: float, ready_pods: int) -> Scale:
        """The tick's answer with minimum, maximum and the way to zero applied."""
        stable, panic = self.stable.average(now_s), self.panic.average(now_s)
        answer = scale(self.spec, self.state, now_s, ready_pods, stable, panic)
        self.state = answer.state
        pods, self.activity = to_zero(answer.desired, self.activity, now_s, self.revision, self.config)
        low = self.revision.min_scale or self.config.min_scale
        high = self.revision.max_scale or self.config.max_scale or pods
        return replace(answer, desired=min(max(pods, low), high))
