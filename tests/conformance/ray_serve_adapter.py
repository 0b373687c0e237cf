"""Translates the cases of `ray_serve.json` into calls of `mlinfra.ray_serve.autoscaling`."""

from __future__ import annotations

from typing import Any

import pytest

from mlinfra.admission.rules import Invalid
from mlinfra.ray_serve import autoscaling
from mlinfra.ray_serve.autoscaling import AutoscalingConfig

Case = dict[str, Any]

FIELDS = {
    "config",
    "current",
    "desired",
    "downscaling_factor",
    "function",
    "kind",
    "kwargs",
    "max",
    "min",
    "now_s",
    "replicas",
    "series",
    "steps",
    "upscaling_factor",
}


def policy_trace(case: Case) -> Case:
    config, waiting = AutoscalingConfig(**case["config"]), autoscaling.Waiting()
    decisions, bounded = [], []
    for step in case["steps"]:
        seen = (step["t_s"], step["running"], step["target"], step["total_requests"])
        decision, waiting = autoscaling.decide(config, waiting, *seen)
        decisions.append(decision)
        bounded.append(config.bounded(decision) if "expected_bounded" in step else None)
    return {"decisions": decisions, "bounded": bounded}


def scaling_factor(case: Case) -> Case:
    factors = {name: case[name] for name in ("upscaling_factor", "downscaling_factor")}
    return {
        "replicas": autoscaling.apply_scaling_factors(AutoscalingConfig(**factors), case["desired"], case["current"])
    }


def bounds(case: Case) -> Case:
    config = AutoscalingConfig(case["min"], case["max"])
    return {"replicas": config.bounded(case["replicas"])}


def aggregate(case: Case) -> Case:
    series = [[(time_s, value) for time_s, value in source] for source in case["series"]]
    return {"total": autoscaling.total_requests(series, case["now_s"], case["function"])}


def config_defaults(_: Case) -> Case:
    return vars(AutoscalingConfig())


def config_valid(case: Case) -> Case:
    try:
        AutoscalingConfig(**case["kwargs"])
    except Invalid:
        return {"valid": False}
    return {"valid": True}


KINDS = {
    "policy_trace": policy_trace,
    "scaling_factor": scaling_factor,
    "bounds": bounds,
    "aggregate": aggregate,
    "config_defaults": config_defaults,
    "config_valid": config_valid,
}


def expectation(case: Case) -> Case:
    if case["kind"] != "policy_trace":
        return dict(case["expected"])
    steps = case["steps"]
    return {
        "decisions": [step["expected"] for step in steps],
        "bounded": [step.get("expected_bounded") for step in steps],
    }


def answer(case: Case) -> Case:
    if case["kind"] not in KINDS:
        pytest.fail(f"unknown kind {case['kind']!r}")
    return KINDS[case["kind"]](case)
