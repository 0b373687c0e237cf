"""ScaledObject, keda.sh/v1alpha1: KEDA 2.20.2, `apis/keda/v1alpha1/scaledobject_types.go` and its webhook."""

from __future__ import annotations

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


RULES: Rules = [
    ("spec.scaleTargetRef.name", Needed()),
    ("spec.triggers", Needed("at least one trigger")),
    ("spec.triggers[].type", Needed()),
    ("spec.triggers[].metricType", one_of("AverageValue", "Utilization", "Value")),
    ("spec.(minReplicaCount|idleReplicaCount|cooldownPeriod|initialCooldownPeriod)", whole(0)),
    ("spec.(maxReplicaCount|pollingInterval)", whole(1)),
]
KIND = CustomKind("keda.sh/v1alpha1", "ScaledObject", RULES, [("spec", _replica_bounds)], "scaledobject")
KINDS = {KIND.kind: KIND}
