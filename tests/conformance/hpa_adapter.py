"""Translates the conformance cases of the HPA into calls of `mlinfra.autoscaling.hpa`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from mlinfra.autoscaling import hpa
from mlinfra.autoscaling.hpa import behavior as behavior_rules
from mlinfra.autoscaling.hpa import controller
from mlinfra.manifest import ObjectReference

Case = dict[str, Any]

FIELDS = {
    "behavior",
    "change",
    "container",
    "cpu_init_s",
    "current",
    "current_replicas",
    "desired",
    "direction",
    "downscale_stabilization_s",
    "events",
    "initial_readiness_delay_s",
    "kind",
    "max",
    "max_replicas",
    "metrics",
    "min",
    "min_replicas",
    "period_s",
    "pod_level_resources_gate",
    "pods",
    "recommendations",
    "requests",
    "resource",
    "rules",
    "scale_down_events",
    "scale_down_window_s",
    "scale_to_zero_gate",
    "scale_up_events",
    "scale_up_window_s",
    "scaled_to_zero_condition",
    "series_milli",
    "spec_replicas",
    "status_replicas",
    "target",
    "tolerance",
    "usage_milli",
}

INGRESS = ObjectReference("Ingress", "main-route", "networking.k8s.io/v1")


class Unchecked(hpa.HorizontalPodAutoscaler):
    """Upstream's controller tests hand the controller objects that the API server would refuse."""

    def __post_init__(self) -> None:
        pass


class FailingMetric(hpa.Metric):
    """A metric that cannot be computed; its target is the condition's reason."""

    @property
    def failure(self) -> str:
        return self.name


def milli(amount: int | None) -> str:
    return f"{amount}m"


def container(given: Case, resource: str) -> hpa.ContainerRequests:
    requests = {} if given["request"] is None else {resource: milli(given["request"])}
    return hpa.ContainerRequests(given["name"], requests, given.get("restart_policy"))


def pod(given: Case, resource: str) -> hpa.ObservedPod:
    level = given.get("pod_level_request")
    return hpa.ObservedPod(
        given["name"],
        tuple(container(c, resource) for c in given["containers"]),
        tuple(container(c, resource) for c in given.get("init_containers", ())),
        None if level is None else {resource: milli(level)},
        given["phase"],
        given["ready"],
        given["deleted"],
        None if given["start_age_s"] is None else -given["start_age_s"],
        -(given["ready_transition_age_s"] or 0),
    )


def pods(case: Case, resource: str) -> tuple[hpa.ObservedPod, ...]:
    return tuple(pod(p, resource) for p in case.get("pods", ()))


def samples(given: dict[str, Case]) -> dict[str, hpa.Sample]:
    return {name: hpa.Sample(m["value"], -m["age_s"], m["window_s"]) for name, m in given.items()}


UPSTREAM_FLAGS = {"tolerance": {"scale_down": 0.1, "scale_up": 0.1}, "downscale_stabilization_s": 300}
"""What cases repeat of the controller's defaults; there our own defaults must hold, or the cases could not fail."""


def departs(case: Case, name: str) -> bool:
    return name in case and case[name] != UPSTREAM_FLAGS[name]


def flags(case: Case) -> hpa.ControllerFlags:
    ours = hpa.ControllerFlags(
        cpu_initialization_period_s=case.get("cpu_init_s", 300),
        initial_readiness_delay_s=case.get("initial_readiness_delay_s", 30),
        hpa_scale_to_zero=case.get("scale_to_zero_gate", True),
        pod_level_resources=case.get("pod_level_resources_gate", True),
    )
    if departs(case, "tolerance"):
        ours = replace(ours, tolerance=case["tolerance"]["scale_up"])
    if departs(case, "downscale_stabilization_s"):
        ours = replace(ours, downscale_stabilization_s=case["downscale_stabilization_s"])
    return ours


def view(case: Case) -> hpa.View:
    ours = flags(case)
    given = (
        case["tolerance"] if departs(case, "tolerance") else {"scale_down": ours.tolerance, "scale_up": ours.tolerance}
    )
    return hpa.View(
        case.get("current_replicas", 0),
        case["status_replicas"] if "status_replicas" in case else case.get("current_replicas", 0),
        pods(case, case.get("resource", "")),
        0.0,
        hpa.Tolerances(**given),
        ours,
    )


def metric(case: Case) -> hpa.Metric:
    kind = case["kind"]
    if kind == "failing":
        return FailingMetric(case["error"], hpa.Value(1))
    if kind == "resource_utilization":
        percent = hpa.Utilization(case["target"])
        if case.get("container") is None:
            return hpa.Resource(case["resource"], percent)
        return hpa.ContainerResource(case["resource"], percent, case["container"])
    goal = (hpa.AverageValue if kind.endswith("average_value") else hpa.Value)(milli(case["target"]))
    if kind == "pods_average_value":
        return hpa.Resource(case["resource"], goal) if case.get("resource") else hpa.Pods("qps", goal)
    if kind.startswith("object"):
        return hpa.Object("qps", goal, described_object=INGRESS)
    return hpa.External("qps", goal)


def reading(case: Case) -> hpa.Reading:
    if "metrics" in case:
        return samples(case["metrics"])
    for name in ("series_milli", "series", "usage_milli", "usage"):
        if name in case:
            return cast(hpa.Reading, case[name])
    return None


def proposal(case: Case) -> Case:
    try:
        said = hpa.compute_replicas_for_metric(metric(case), reading(case), view(case))
    except hpa.MetricError as error:
        return {"error_contains": str(error)}
    observed = {"utilization_percent": said.usage.observed, "raw_average_milli": said.usage.average_milli}
    return {"replicas": said.replicas, "usage_milli": said.usage.observed, **observed}


def group_pods(case: Case) -> Case:
    resource = case["resource"]
    groups = hpa.group_pods(pods(case, resource), samples(case["metrics"]), resource, 0, flags(case))
    named = {name: sorted(getattr(groups, name)) for name in ("unready", "missing", "ignored")}
    return {"ready_count": groups.ready_pod_count, **named}


def calculate_requests(case: Case) -> Case:
    resource = case.get("resource", "cpu")
    try:
        requests = hpa.calculate_requests(
            pods(case, resource), resource, case["container"] or "", case["pod_level_resources_gate"]
        )
    except hpa.MetricError as error:
        return {"error_contains": str(error)}
    return {"requests": requests}


def utilization_ratio(case: Case) -> Case:
    try:
        usage = hpa.utilization_ratio(case["metrics"], case["requests"], case["target"])
    except hpa.MetricError as error:
        return {"error_contains": str(error)}
    return {"ratio": usage.ratio, "utilization_percent": usage.observed, "raw_average_milli": usage.average_milli}


def usage_ratio(case: Case) -> Case:
    usage = hpa.usage_ratio(case["metrics"], case["target"])
    return {"ratio": usage.ratio, "usage_milli": usage.observed}


def rules(given: Case | None) -> hpa.ScalingRules:
    if given is None:
        return hpa.ScalingRules()
    policies = given.get("policies")
    return hpa.ScalingRules(
        None if policies is None else tuple(hpa.ScalingPolicy(p["type"], p["value"], p["period_s"]) for p in policies),
        given.get("select_policy"),
        given.get("stabilization_window_s"),
        given.get("tolerance"),
    )


def behavior(given: Case | None) -> hpa.Behavior | None:
    return None if given is None else hpa.Behavior(rules(given["scale_up"]), rules(given["scale_down"]))


def log(entries: list[Case] | None, field: str) -> hpa.Log:
    return tuple(hpa.Stamped(e[field], -e["age_s"]) for e in entries or ())


def limited(outcome: hpa.Limited) -> Case:
    return {"replicas": outcome.replicas, "condition": outcome.reason}


def convert_legacy(case: Case) -> Case:
    return limited(
        behavior_rules.convert_desired_replicas_with_rules(case["current"], case["desired"], case["min"], case["max"])
    )


def convert_with_behavior(case: Case) -> Case:
    memory = hpa.ScaleHistory(None, log(case["scale_up_events"], "change"), log(case["scale_down_events"], "change"))
    full = behavior(case["behavior"])
    assert full is not None
    bounds = case["current"], case["desired"], case["min"], case["max"]
    return limited(behavior_rules.convert_desired_replicas_with_behavior_rate(*bounds, full, memory, 0))


def scale_limit(case: Case) -> Case:
    by_kind = {
        "scale_up_limit": behavior_rules.calculate_scale_up_limit_with_scaling_rules,
        "scale_down_limit": behavior_rules.calculate_scale_down_limit_with_behaviors,
    }
    memory = hpa.ScaleHistory(
        None, log(case.get("scale_up_events"), "change"), log(case.get("scale_down_events"), "change")
    )
    return {"limit": by_kind[case["kind"]](case["current"], memory, rules(case["rules"]), 0)}


def stabilize_legacy(case: Case) -> Case:
    stabilized = behavior_rules.stabilize_recommendation(
        log(case["recommendations"], "value"), case["desired"], 0, case["downscale_stabilization_s"]
    )
    return {"replicas": stabilized.replicas, "log_length": len(stabilized.log)}


def stabilize_with_behavior(case: Case) -> Case:
    windows = case["scale_up_window_s"], case["scale_down_window_s"]
    stabilized = behavior_rules.stabilize_recommendation_with_behaviors(
        log(case["recommendations"], "value"), case["current"], case["desired"], 0, *windows
    )
    return {"replicas": stabilized.replicas, "recommendations_after": [r.value for r in stabilized.log]}


def store_scale_event(case: Case) -> Case:
    events = log(case["events"], "change")
    before = sum(behavior_rules.values_within(events, case["period_s"], 0))
    if case["rules"] is None:
        decision = hpa.Decision(0, 1, 1 + case["change"], hpa.ScaleHistory(None, events))
        quiet = Unchecked("legacy", INGRESS, 10)
        after, longest = controller.record_rescale(quiet, decision, hpa.ControllerFlags()).history.scale_up_events, 0
    else:
        full = hpa.Behavior(rules(case["rules"]))
        after = behavior_rules.store_scale_event(
            hpa.ScaleHistory(None, events), case["change"], full, 0
        ).scale_up_events
        longest = max(p["period_s"] for p in case["rules"]["policies"])
    outdated = [i for i, event in enumerate(after) if event.at_s < -longest] if longest else []
    values = [event.value for event in after]
    return {"change_in_period_before": before, "events_after": values, "outdated_after": outdated}


def default_rules(case: Case) -> Case:
    defaults = {"scale_up": hpa.DEFAULT_SCALE_UP, "scale_down": hpa.DEFAULT_SCALE_DOWN}
    full = rules(case["rules"]).or_default(defaults[case["direction"]])
    policies = [{"type": p.type, "value": p.value, "period_s": p.period_seconds} for p in full.policies or ()]
    window = full.stabilization_window_seconds
    return {"policies": policies, "select_policy": full.select_policy, "stabilization_window_s": window}


def reconcile(case: Case) -> Case:
    """The whole pass; each metric of a case brings the pods that it saw."""
    metrics = tuple(metric(m | {"resource": m.get("resource", "")}) for m in case["metrics"])
    autoscaler = Unchecked(
        "test-hpa", INGRESS, case["max_replicas"], case["min_replicas"], metrics, behavior(case["behavior"])
    )
    seen = hpa.Observation(
        case["spec_replicas"],
        controller_pods(case),
        tuple(None if m["kind"] == "failing" else reading(m) for m in case["metrics"]),
        case["status_replicas"],
    )
    memory = hpa.ScaleHistory(
        None if case["recommendations"] is None else log(case["recommendations"], "value"),
        log(case.get("scale_up_events"), "change"),
        log(case.get("scale_down_events"), "change"),
        case["scaled_to_zero_condition"],
    )
    return outcome(hpa.reconcile(autoscaler, seen, memory, 0, flags(case)), metrics)


def controller_pods(case: Case) -> tuple[hpa.ObservedPod, ...]:
    """Pods of a pass: the metrics' lists differ only in which request they mention."""
    merged: dict[str, hpa.ObservedPod] = {}
    for m in case["metrics"]:
        for p in pods(m, m.get("resource", "")):
            if p.name not in merged or m.get("resource"):
                merged[p.name] = p
    return tuple(merged.values())


def outcome(decision: hpa.Decision, metrics: tuple[hpa.Metric, ...]) -> Case:
    return {
        "desired": decision.desired,
        "scaling_limited": decision.scaling_limited and decision.scaling_limited.reason,
        "scaling_active": decision.scaling_active and decision.scaling_active.reason,
        "able_to_scale": decision.able_to_scale.reason,
        "observed": [p.usage.observed if isinstance(p, hpa.Proposal) else None for p in decision.proposals],
        "error": decision.failure and decision.failure.reason,
        "scaled_to_zero_condition": decision.history.scaled_to_zero,
    }


KINDS: dict[str | None, Callable[[Case], Case]] = {
    **dict.fromkeys(
        (
            "resource_utilization",
            "pods_average_value",
            "object_value",
            "external_value",
            "object_average_value",
            "external_average_value",
        ),
        proposal,
    ),
    "per_pod_usage": lambda case: {"usage_milli": hpa.per_pod_usage(case["usage_milli"], case["status_replicas"])},
    "group_pods": group_pods,
    "calculate_requests": calculate_requests,
    "utilization_ratio": utilization_ratio,
    "usage_ratio": usage_ratio,
    "convert_legacy": convert_legacy,
    "convert_with_behavior": convert_with_behavior,
    "scale_up_limit": scale_limit,
    "scale_down_limit": scale_limit,
    "stabilize_legacy": stabilize_legacy,
    "stabilize_with_behavior": stabilize_with_behavior,
    "store_scale_event": store_scale_event,
    "default_rules": default_rules,
    None: reconcile,
}


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    """What we compute for a case, in the case's own words."""
    kind = case.get("kind")
    if kind not in KINDS:
        pytest.fail(f"unknown kind {kind!r}")
    return KINDS[kind](case)
