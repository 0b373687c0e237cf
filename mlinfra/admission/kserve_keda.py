"""What KServe's webhook refuses of metrics for KEDA and for the HPA: `validateScaling{Keda,HPA}CompExtension`, 0.20."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from mlinfra.admission.rules import Field, Problem
from mlinfra.quantity import quantity

MEBIBYTE = 2**20
SOURCES = {"Resource": "resource", "External": "external", "PodMetric": "podmetric"}
PERCENT = "the target utilization percentage should be a [1-100] integer"


def component_metrics(component: Field) -> Iterator[Problem]:
    """KEDA reads `autoScaling.metrics` only."""
    if component["scaleMetric"].value is not None:
        yield component["scaleMetric"].invalid("ScaleMetric is not supported for KEDA")
    for metric in component["autoScaling"]["metrics"].each():
        kind = metric["type"].value
        source = metric[SOURCES[kind]]
        if source.value is None:
            name = "PodMetric" if kind == "PodMetric" else kind
            yield source.required(f"metricSpec.{name} is not set for {NAMES[kind]} metric source type")
        elif kind == "Resource":
            yield from _resource(source)
        else:
            yield from _query(source)


NAMES = {"Resource": "resource", "External": "external", "PodMetric": "pod"}


def hpa_source(metric: Field) -> Iterator[Problem]:
    """The HPA of KServe has metrics of resources alone."""
    kind = metric["type"]
    if kind.value != "Resource":
        yield Problem(
            kind.path,
            f"invalid HPA metric source type with value [{kind.value}],valid metric source types are Resource",
        )
    elif metric["resource"].value is None:
        yield metric["resource"].required("metricSpec.Resource is not set for resource metric source type")


def _resource(resource: Field) -> Iterator[Problem]:
    """Of cpu a share of what was asked for, of memory that or an amount."""
    kind, amount = resource["target"]["type"], resource["target"]["averageValue"]
    if resource["name"].value == "cpu" and kind.value != "Utilization":
        yield kind.invalid("the cpu target value type should be Utilization")
    elif resource["name"].value == "memory" and kind.value not in ("AverageValue", "Utilization"):
        yield kind.invalid("the memory target value type should be AverageValue or Utilization")
    elif kind.value == "AverageValue" and amount.value is not None and _size(amount) < MEBIBYTE:
        yield amount.invalid("the memory target value should be greater than 1 MiB")
    else:
        yield from _target(resource["target"])


def _size(amount: Field) -> Fraction:
    try:
        return Fraction(quantity(amount.value))
    except ValueError:
        return Fraction(0)


def _query(source: Field) -> Iterator[Problem]:
    query, target = source["metric"]["query"], source["target"]
    if not query.value:
        yield query.required("the query should not be empty")
    elif target["value"].value is None:
        yield target["value"].required("the target threshold value should not be empty")
    else:
        yield from _target(target)


FIELDS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}


def _target(target: Field) -> Iterator[Problem]:
    """The field that the type names is set."""
    name = FIELDS.get(target["type"].value or "")
    if name and target[name].value is None:
        yield target[name].required(f"the {name[0].upper()}{name[1:]} type should be set")
    elif name == "averageUtilization" and not 1 <= target[name].value <= 100:
        yield target[name].invalid(PERCENT)
