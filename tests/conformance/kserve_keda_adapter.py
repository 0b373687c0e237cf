"""Translates the cases of `kserve_keda.json` into calls of `mlinfra.autoscaling.keda` and `mlinfra.kserve`."""

from __future__ import annotations

from typing import Any

import pytest

from mlinfra.admission.rules import Invalid
from mlinfra.autoscaling import keda
from mlinfra.kserve import reconcile
from mlinfra.manifest import ObjectReference

Case = dict[str, Any]

FIELDS = {
    "activation_threshold",
    "active",
    "annotations",
    "auto_scaling_metrics",
    "canary_traffic_percent",
    "cooldown_period_s",
    "created_age_s",
    "current_replicas",
    "error",
    "fallback_replicas",
    "force_activation",
    "idle_replica_count",
    "initial_cooldown_period_s",
    "kind",
    "last_active_age_s",
    "latest_rolled_out_revision",
    "max_replica_count",
    "max_replicas",
    "min_replica_count",
    "min_replicas",
    "pause_scale_in",
    "pause_scale_out",
    "paused",
    "scale_metric",
    "scale_target",
    "value",
}
NOT_MODELLED = ("paused", "pause_scale_in", "pause_scale_out", "force_activation", "fallback_replicas")

QUEUE = (keda.Trigger("rabbitmq", {"queueName": "work"}, 30),)
TARGET = ObjectReference("Deployment", "bert")


def scaled_object(**given: Any) -> keda.ScaledObject:
    """What is None in a case is left to our default."""
    return keda.ScaledObject("bert", TARGET, QUEUE, **{name: v for name, v in given.items() if v is not None})


def request_scale(case: Case) -> Case:
    assert not any(case[name] for name in NOT_MODELLED), "a case for something that the module says it leaves out"
    scaled = scaled_object(
        min_replica_count=case["min_replica_count"],
        idle_replica_count=case["idle_replica_count"],
        cooldown_period=case["cooldown_period_s"],
        initial_cooldown_period=case["initial_cooldown_period_s"],
    )
    seen = keda.Status(
        case["current_replicas"], case["active"], case["error"], case["last_active_age_s"], case["created_age_s"]
    )
    return {"replicas": keda.request_scale(scaled, seen)}


def bounds(case: Case) -> Case:
    names = ("min_replica_count", "max_replica_count", "idle_replica_count")
    try:
        made = scaled_object(**{name: case[name] for name in names}).hpa()
    except Invalid:
        return {"valid": False, "hpa_min": max(1, case[names[0]] or 0), "hpa_max": case[names[1]] or 100}
    return {"valid": True, "hpa_min": made.min_replicas, "hpa_max": made.max_replicas}


def activation(case: Case) -> Case:
    threshold = case["activation_threshold"]
    trigger = keda.Trigger("cron") if threshold is None else keda.Trigger("cron", activation_threshold=threshold)
    return {"active": trigger.active(case["value"])}


TARGETS = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}


def component(case: Case) -> Case:
    """The fields of a predictor; what is None in a case is not given."""
    names = {
        "minReplicas": "min_replicas",
        "maxReplicas": "max_replicas",
        "scaleTarget": "scale_target",
        "scaleMetric": "scale_metric",
    }
    given = {field: case[name] for field, name in names.items() if case[name] is not None}
    metrics = case.get("auto_scaling_metrics")
    return given if metrics is None else given | {"autoScaling": {"metrics": [resource_metric(m) for m in metrics]}}


def resource_metric(given: Case) -> Case:
    kind, value = given.get("target_type"), given.get("value")
    target = ({"type": kind} if kind else {}) | ({} if value is None else {TARGETS[kind or "Utilization"]: value})
    return {"type": "Resource", "resource": {"name": given["resource"], "target": target}}


def in_short(metric: Case) -> Case:
    target = metric["resource"]["target"]
    return {
        "resource": metric["resource"]["name"],
        "target_type": target["type"],
        "value": target[TARGETS[target["type"]]],
    }


def kserve_hpa(case: Case) -> Case:
    spec = reconcile.hpa("bert-predictor", component(case))["spec"]
    return {
        "min_replicas": spec["minReplicas"],
        "max_replicas": spec["maxReplicas"],
        "metrics": [in_short(metric) for metric in spec["metrics"]],
        "behavior": spec["behavior"],
    }


def kserve_annotations(case: Case) -> Case:
    return reconcile.revision_annotations(component(case), case["annotations"])


def kserve_traffic(case: Case) -> Case:
    names = {"latestRevision": "latest", "revisionName": "revision"}
    targets = reconcile.traffic(case["canary_traffic_percent"], case["latest_rolled_out_revision"] or "")
    said = [
        {names.get(field, field): value for field, value in target.items() if value is not False} for target in targets
    ]
    return {"traffic": said}


KINDS = {
    "keda_request_scale": request_scale,
    "keda_bounds": bounds,
    "keda_activation": activation,
    "kserve_hpa": kserve_hpa,
    "kserve_knative_annotations": kserve_annotations,
    "kserve_canary_traffic": kserve_traffic,
}


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    if case["kind"] not in KINDS:
        pytest.fail(f"unknown kind {case['kind']!r}")
    return KINDS[case["kind"]](case)
