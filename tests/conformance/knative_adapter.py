"""Translates the conformance cases of Knative's autoscaler into calls of `mlinfra.autoscaling.knative`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from mlinfra.autoscaling import knative

Case = dict[str, Any]

FIELDS = {
    "config",
    "container_concurrency",
    "granularity_s",
    "initial",
    "initial_ready_pods",
    "initial_scale_annotation",
    "kind",
    "metric",
    "ops",
    "panic_window_percentage_annotation",
    "spec",
    "steps",
    "target_annotation",
    "utilization_annotation_percent",
    "window_annotation_s",
    "window_s",
}


def decider(given: Case) -> knative.Decider:
    return knative.Decider(**{name: value for name, value in given.items() if name != "scaling_metric"})


READ_BY = {
    "initial_scale": ("allow_zero_initial_scale", "initial_scale"),
    "panic_window": ("stable_window_s", "panic_window_percentage"),
    "metric_target": (
        "container_concurrency_target_fraction",
        "container_concurrency_target_default",
        "rps_target_default",
        "target_utilization",
    ),
}


def config(case: Case) -> knative.Config:
    """What the function reads; upstream's tests leave the rest at Go's zeros, which config.go would refuse."""
    return knative.Config(**{name: case["config"][name] for name in READ_BY[case["kind"]] if name in case["config"]})


def trace(case: Case) -> list[Case]:
    """Every step's answer, in the words of its expectation."""
    spec, initial = decider(case["spec"]), case["initial"]
    delay_window = () if spec.scale_down_delay_s else None
    state = knative.State(initial["panic_since_s"], initial["max_panic_pods"], delay_window)
    answers = []
    for step in case["steps"]:
        spec = decider(step["spec_update"]) if "spec_update" in step else spec
        values = step["ready_pods"], step["stable_value"], step["panic_value"]
        tick = knative.scale(spec, state, step["t_s"], *values)
        state = tick.state
        answers.append(
            {
                "valid": tick.valid,
                "desired": tick.desired,
                "excess_burst_capacity": tick.excess_burst_capacity,
                "panicking": state.panic_time_s is not None,
                "max_panic_pods": state.max_panic_pods,
            }
        )
    return answers


def same_step(ours: Case, wanted: Case) -> bool:
    """Burst capacity may differ by one, as the format says."""
    near = abs(ours["excess_burst_capacity"] - wanted.get("excess_burst_capacity", ours["excess_burst_capacity"])) <= 1
    return near and all(ours[name] == value for name, value in wanted.items() if name != "excess_burst_capacity")


def window_average(case: Case) -> bool:
    window, agreed = knative.Window(case["window_s"], case["granularity_s"]), []
    for op in case["ops"]:
        if "record_at_s" in op:
            window.record(op["record_at_s"], op["value"])
        else:
            agreed.append(abs(window.average(op["average_at_s"]) - op["expected"]) <= 2e-6)
    return bool(agreed) and all(agreed)


def start_state(case: Case) -> Case:
    state = knative.State.at_start(case["initial_ready_pods"], knative.Decider(1, 1))
    return {"panicking": state.panic_time_s is not None, "max_panic_pods": state.max_panic_pods}


def panic_window(case: Case) -> Case:
    percentage = case["panic_window_percentage_annotation"]
    revision = knative.Revision(window_s=case["window_annotation_s"], panic_window_percentage=percentage)
    ours = config(case)
    stable = ours.stable_window_s if revision.window_s is None else revision.window_s
    return {"stable_window_s": stable, "panic_window_s": knative.panic_window_s(revision, ours)}


def metric_target(case: Case) -> Case:
    revision = knative.Revision(
        case["metric"], case["container_concurrency"], case["target_annotation"], case["utilization_annotation_percent"]
    )
    target, total = knative.metric_target(revision, config(case))
    return {"target": float(target), "total": float(total)}


def initial_scale(case: Case) -> Case:
    revision = knative.Revision(initial_scale=case["initial_scale_annotation"])
    return {"initial_scale": knative.initial_scale(revision, config(case))}


def expectation(case: Case) -> Case:
    if case["kind"] in ("scale_trace", "window_average"):
        return {"every comparison": True}
    wanted = dict(case["expected"])
    return {name: float(v) for name, v in wanted.items()} if case["kind"] == "metric_target" else wanted


def answer(case: Case) -> Case:
    kind = case["kind"]
    if kind == "scale_trace":
        pairs = zip(trace(case), (step["expected"] for step in case["steps"]), strict=True)
        return {"every comparison": all(same_step(*pair) for pair in pairs)}
    if kind == "window_average":
        return {"every comparison": window_average(case)}
    if kind == "config_defaults":
        return {name: value for name, value in asdict(knative.Config()).items() if name in case["expected"]}
    answers = {
        "start_state": start_state,
        "panic_window": panic_window,
        "metric_target": metric_target,
        "initial_scale": initial_scale,
    }
    if kind not in answers:
        pytest.fail(f"unknown kind {kind!r}")
    return answers[kind](case)
