"""What KServe's controller makes of the autoscaler class `keda`: a ScaledObject, which KEDA turns into an HPA.

Follows KServe 0.20: `pkg/controller/v1beta1/inferenceservice/reconcilers/keda/keda_reconciler.go`. Not here: the
installation's own windows of stabilization, and metrics of pods, which a collector of OpenTelemetry brings.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.kserve.reconcile import DEFAULT_CPU_UTILIZATION
from mlinfra.manifest import Manifest

FIELDS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}


def scaled_object(name: str, component: Manifest) -> Manifest:
    """The ScaledObject for a component's Deployment: from one pod on unless told, and a maximum of at least that.

    A minimum of none is passed on, unlike to an HPA.
    """
    low = component.get("minReplicas")
    least = 1 if low is None else low
    auto_scaling = component.get("autoScaling") or {}
    spec = {
        "scaleTargetRef": {"name": name},
        "minReplicaCount": least,
        "maxReplicaCount": max(least, component.get("maxReplicas") or 0),
        "triggers": list(triggers(auto_scaling)),
    }
    if behavior := windows(auto_scaling.get("behavior") or {}):
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": behavior}}
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name}, "spec": spec}


def triggers(auto_scaling: Manifest) -> Iterator[Manifest]:
    """`getKedaMetrics`: one trigger a metric; `scaleMetric` and `scaleTarget` are not read."""
    for metric in auto_scaling.get("metrics") or ():
        if metric["type"] == "Resource":
            yield of_resource(metric["resource"])
        elif metric["type"] == "External":
            yield of_query(metric["external"])


def of_resource(resource: Manifest) -> Manifest:
    """A trigger of cpu or memory; a share that is not given is 80 for cpu."""
    kind, default = resource["target"].get("type", ""), DEFAULT_CPU_UTILIZATION if resource["name"] == "cpu" else 0
    value = resource["target"].get(FIELDS.get(kind, ""))
    if value is None:
        value = default if kind == "Utilization" else 0
    return {"type": resource["name"], "metadata": {"value": str(value)}, "metricType": kind}


def of_query(external: Manifest) -> Manifest:
    """A trigger of a query to a metrics server; a namespace is for Prometheus."""
    metric, target, access = external["metric"], external["target"], external.get("authenticationRef") or {}
    metadata = {
        "serverAddress": metric.get("serverAddress", ""),
        "query": metric.get("query", ""),
        "threshold": str(target.get("value", "0")),
    }
    if metric.get("namespace") and metric["backend"] == "prometheus":
        metadata["namespace"] = metric["namespace"]
    if access.get("authModes"):
        metadata["authModes"] = access["authModes"]
    name = access.get("authenticationRef", {}).get("name")
    reference = {"authenticationRef": {"name": name}} if name else {}
    return {"type": metric["backend"], "metadata": metadata, **reference}


def windows(behavior: Manifest) -> Manifest:
    """Of the behavior only the windows are passed on."""
    name = "stabilizationWindowSeconds"
    rules = {way: (behavior.get(way) or {}).get(name) for way in ("scaleDown", "scaleUp")}
    return {way: {name: seconds} for way, seconds in rules.items() if seconds is not None}
