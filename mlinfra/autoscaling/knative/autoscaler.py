"""One tick of the autoscaler: the stable and the panic window, the rates, the delay, and the spare capacity.

Follows `pkg/autoscaler/scaling/autoscaler.go` of knative/serving v1.23.0. Times are seconds; a value is a window's
average of the sum over all pods (requests in flight, or requests per second).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mlinfra.autoscaling.knative.decider import Decider

TICK_S = 2.0


@dataclass(frozen=True)
class State:
    """What is remembered between ticks."""

    panic_time_s: float | None = None  # the last tick over the threshold; None: no panic
    max_panic_pods: int = 0  # the most that was wanted in this panic
    delay_window: tuple[tuple[int, int], ...] | None = None  # counts by tick; None: no scale-down delay

    @classmethod
    def at_start(cls, ready_pods: int, spec: Decider, now_s: float = 0.0) -> State:
        """A new autoscaler over more than one pod starts in panic, since it has no history to scale down by."""
        return cls(now_s if ready_pods > 1 else None, ready_pods, () if spec.scale_down_delay_s else None)


@dataclass(frozen=True)
class Scale:
    """One tick's answer, before minimum, maximum and the way to zero (`scaler`)."""

    valid: bool  # False: a reading failed, and `desired` says nothing
    desired: int
    excess_burst_capacity: float  # below 0 the activator comes into the path
    state: State
    why: str = ""


def scale(
    spec: Decider,
    state: State,
    now_s: float,
    ready_pods: int | None,
    stable_value: float | None,
    panic_value: float | None,
) -> Scale:
    """One tick: what the stable window wants, in panic the most that was wanted in it, and with a scale-down delay the
    most of that window; None is a failed reading."""
    if ready_pods is None or stable_value is None or panic_value is None:
        return Scale(False, 0, 0, state, "no data")
    stable_pods = desired_pod_count(spec, stable_value, ready_pods)
    panic_pods = desired_pod_count(spec, panic_value, ready_pods)
    desired, why = stable_pods, f"stable window wants {stable_pods}"
    state = begin_or_end_panic(spec, state, now_s, ready_pods, panic_value)
    if state.panic_time_s is not None:
        desired = max(stable_pods, panic_pods, state.max_panic_pods)
        state = replace(state, max_panic_pods=desired)
        why = f"in panic: stable wants {stable_pods}, panic {panic_pods}, never below {desired} now"
    if state.delay_window is not None and spec.reachable:
        state = record_for_delay(spec, state, now_s, desired)
        delayed = delayed_pod_count(state)
        why += f", held at {delayed} by the scale-down delay" if delayed > desired else ""
        desired = delayed
    return Scale(True, desired, excess_burst_capacity(spec, ready_pods, panic_value), state, why)


def desired_pod_count(spec: Decider, value: float, ready_pods: int) -> int:
    """Pods that share the value at the target, within what the rates allow; where any is wanted, the activation scale
    at least, even beyond the rates."""
    wanted = math.ceil(value / spec.target_value)
    desired = min(max(wanted, max_scale_down(spec, ready_pods)), max_scale_up(spec, ready_pods))
    return max(desired, spec.activation_scale) if wanted > 0 else desired


def max_scale_up(spec: Decider, ready_pods: int) -> int:
    """The most pods that one tick may ask for."""
    return math.ceil(spec.max_scale_up_rate * max(1, ready_pods))


def max_scale_down(spec: Decider, ready_pods: int) -> int:
    """The fewest pods that one tick may ask for (upstream's maxScaleDown); 0 where no route leads to the revision."""
    return math.floor(max(1, ready_pods) / spec.max_scale_down_rate) if spec.reachable else 0


def begin_or_end_panic(spec: Decider, state: State, now_s: float, ready_pods: int, panic_value: float) -> State:
    """Panic begins, or begins anew, over the threshold; it ends a whole stable window after the last tick over it."""
    if is_over_panic_threshold(spec, ready_pods, panic_value):
        return replace(state, panic_time_s=now_s)
    if state.panic_time_s is not None and state.panic_time_s + spec.stable_window_s < now_s:
        return replace(state, panic_time_s=None, max_panic_pods=0)
    return state


def is_over_panic_threshold(spec: Decider, ready_pods: int, panic_value: float) -> bool:
    """Whether the panic window wants twice the ready pods, or whatever the threshold is; no rate limits it here."""
    return math.ceil(panic_value / spec.target_value) / max(1, ready_pods) >= spec.panic_threshold


def record_for_delay(spec: Decider, state: State, now_s: float, desired: int) -> State:
    """The state with this tick's count, without those that are older than the delay."""
    tick, ticks = math.floor(now_s / TICK_S), math.ceil(spec.scale_down_delay_s / TICK_S)
    recent = [(at, pods) for at, pods in state.delay_window or () if at > tick - ticks]
    return replace(state, delay_window=(*recent, (tick, desired)))


def delayed_pod_count(state: State) -> int:
    """The highest count of the delay window."""
    return max(pods for _, pods in state.delay_window or ())


def excess_burst_capacity(spec: Decider, ready_pods: int, panic_value: float) -> float:
    """What the ready pods could take beyond the panic window's load and the burst to be expected; 0 where no burst is
    expected, -1 for an unlimited one."""
    if spec.target_burst_capacity < 0:
        return -1
    if spec.target_burst_capacity == 0:
        return 0
    return math.floor(ready_pods * spec.total_value - spec.target_burst_capacity - panic_value)
