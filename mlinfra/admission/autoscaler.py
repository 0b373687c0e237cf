"""HorizontalPodAutoscaler, autoscaling/v2: pkg/apis/autoscaling/validation of Kubernetes 1.37."""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.common import SELECTOR, path_segment
from mlinfra.admission.rules import Field, Needed, Problem, Rules, below, holds, one_of, quantity_check, select, whole


def replica_range(spec: Field) -> Iterator[Problem]:
    """0 is a minimum only for metrics that exist without pods (HPAScaleToZero, on since 1.37)."""
    low, high = spec["minReplicas"], spec["maxReplicas"]
    from_zero = any(kind.value in ("Object", "External") for kind in select(spec, "metrics[].type"))
    if low.value is not None:
        yield from whole(0 if from_zero else 1)(low)
    if low.value == 0 and not from_zero:
        yield spec["metrics"].forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas"
        )
    if not high.value:
        yield high.required("must be set and greater than 0")
    else:
        yield from whole(1, why="must be greater than 0")(high)
    if type(low.value) is int and type(high.value) is int and high.value < low.value:
        yield high.invalid("must be greater than or equal to `minReplicas`")


SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def metric_source(metric: Field) -> Iterator[Problem]:
    """The source that `type` names is given, and no other."""
    kind = metric["type"]
    if kind.value not in SOURCES:
        yield kind.unsupported(list(SOURCES))
        return
    if metric[SOURCES[kind.value]].value is None:
        yield metric[SOURCES[kind.value]].required("must populate information for the given metric source")
    for other in set(SOURCES.values()) - {SOURCES[kind.value]}:
        if metric[other].value is not None:
            yield metric[other].forbidden("must populate the given metric source only")


def resource_target(target: Field) -> Iterator[Problem]:
    percent, average = target["averageUtilization"], target["averageValue"]
    if percent.value is None and average.value is None:
        yield percent.required("must set either a target raw value or a target utilization")
    if percent.value is not None and average.value is not None:
        yield average.forbidden("may not set both a target raw value and a target utilization")


def total_target(target: Field) -> Iterator[Problem]:
    if target["value"].value is None and target["averageValue"].value is None:
        yield target["averageValue"].required("must set either a target value or averageValue")


def external_target(target: Field) -> Iterator[Problem]:
    yield from total_target(target)
    if target["value"].value is not None and target["averageValue"].value is not None:
        yield target["value"].forbidden("may not set both a target value for metric and a per-pod target")


TARGET_TYPES = ("Utilization", "Value", "AverageValue")
TARGET: Rules = [
    ("type", holds(lambda name: name in TARGET_TYPES, "must be either Utilization, Value, or AverageValue")),
    ("(value|averageValue)", quantity_check(positive=True)),
    ("averageUtilization", whole(1, why="must be greater than 0")),
]


def some_policy(rules: Field) -> Iterator[Problem]:
    if rules["policies"].value == []:
        yield rules["policies"].required("must specify at least one Policy")


SCALING_RULES: Rules = [
    ("stabilizationWindowSeconds", whole(0, 3600, "must be greater than or equal to zero")),
    ("selectPolicy", one_of("Disabled", "Max", "Min")),
    ("tolerance", quantity_check()),
    ("", some_policy),
    ("policies[].type", Needed(), one_of("Percent", "Pods")),
    ("policies[].value", Needed(), whole(1, why="must be greater than zero")),
    ("policies[].periodSeconds", Needed(), whole(1, 1800, why="must be greater than zero")),
]

AUTOSCALER: Rules = [
    ("", replica_range),
    ("scaleTargetRef.(kind|name)", Needed(), path_segment),
    ("metrics[]", metric_source),
    ("metrics[].(resource|containerResource).name", Needed("must specify a resource name")),
    ("metrics[].containerResource.container", Needed("must specify a container")),
    ("metrics[].(pods|object|external).metric.name", Needed("must specify a metric name"), path_segment),
    *below("metrics[].(pods|object|external).metric.selector", SELECTOR),
    ("metrics[].object.describedObject.(kind|name)", Needed(), path_segment),
    *below(f"metrics[].({'|'.join(SOURCES.values())}).target", TARGET),
    ("metrics[].(resource|containerResource).target", resource_target),
    ("metrics[].pods.target.averageValue", Needed("must specify a positive target averageValue")),
    ("metrics[].object.target", total_target),
    ("metrics[].external.target", external_target),
    *below("behavior.(scaleUp|scaleDown)", SCALING_RULES),
]


def cpu_target(spec: Field) -> Iterator[Problem]:
    """The one metric of autoscaling/v1, which the server reads as the first of v2."""
    percent = spec["targetCPUUtilizationPercentage"].value
    if percent is not None:
        target = Field(percent, "spec.metrics[0].resource.target.averageUtilization")
        yield from whole(1, why="must be greater than 0")(target)


AUTOSCALER_V1: Rules = [*AUTOSCALER, ("", cpu_target)]
