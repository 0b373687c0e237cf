"""ScaledObject, keda.sh/v1alpha1: KEDA 2.20.2, `apis/keda/v1alpha1/scaledobject_types.go` and its webhook."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import Field, Needed, Problem, Rules, one_of, whole

RESOURCE_TRIGGERS = ("cpu", "memory")


def _replica_bounds(spec: Field) -> Iterator[Problem]:
    """`CheckReplicaCountBoundsAreValid`, and the webhook's rule for cpu and memory.

    A minimum of 0 that is given counts as the 1 that the HPA gets; one that is not given as 0.
    """
    low, high, idle = (spec[name] for name in ("minReplicaCount", "maxReplicaCount", "idleReplicaCount"))
    least = 0 if low.value is None else low.value or 1
    most = high.value or 100
    if least > most:
        yield low.invalid(f"MinReplicaCount={least} must be less than MaxReplicaCount={most}")
    if idle.value is not None and idle.value >= least:
        yield idle.invalid(f"IdleReplicaCount={idle.value} must be less than MinReplicaCount={least}")
    kinds = {trigger["type"].value for trigger in spec["triggers"].each()}
    if not low.value and kinds and kinds <= set(RESOURCE_TRIGGERS):
        yield low.invalid(
            "scaled object has only cpu/memory triggers, which cannot scale from zero: must be at least 1"
        )


def _target(trigger: Field) -> Iterator[Problem]:
    """`GetMetricTargetType` and `cpu_memory_scaler.go`: the target's type, and that a utilization is a whole number."""
    kind, value = trigger["metricType"], trigger["metadata"]["value"]
    if trigger["type"].value not in RESOURCE_TRIGGERS:
        if kind.value == "Utilization":
            why = "metric type is unsupported for external metrics, allowed values are 'Value' or 'AverageValue'"
            yield kind.invalid(f"'Utilization' {why}")
    elif kind.value == "Value":
        yield kind.invalid("unsupported metric type, allowed values are 'Utilization' or 'AverageValue'")
    elif kind.value == "Utilization" and not re.fullmatch("[0-9]+", str(value.value)):
        yield value.invalid("must be a whole number of percent")


RULES: Rules = [
    ("spec.scaleTargetRef.name", Needed()),
    ("spec.triggers", Needed("at least one trigger")),
    ("spec.triggers[].type", Needed()),
    ("spec.triggers[].metricType", one_of("AverageValue", "Utilization", "Value")),
    ("spec.(minReplicaCount|idleReplicaCount|cooldownPeriod|initialCooldownPeriod)", whole(0)),
    ("spec.(maxReplicaCount|pollingInterval)", whole(1)),
]
KIND = CustomKind(
    "keda.sh/v1alpha1", "ScaledObject", RULES, [("spec", _replica_bounds), ("spec.triggers[]", _target)], "scaledobject"
)
KINDS = {KIND.kind: KIND}
