"""KEDA's ScaledObject, keda.sh/v1alpha1: activation between 0 and 1, and the HPA that it creates for the rest.

Follows KEDA 2.20.2: `pkg/scaling/executor/scale_scaledobjects.go`, `apis/keda/v1alpha1/scaledobject_types.go`,
`controllers/keda/hpa.go`. Not modelled: pausing by annotation (holds or fixes the count), forced activation
(counts as an active trigger), and `fallback` (a fixed count while a trigger fails).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlinfra.admission import check_manifest
from mlinfra.admission.keda import RESOURCE_TRIGGERS
from mlinfra.admission.rules import Field, real, refuse
from mlinfra.autoscaling import hpa
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity


@dataclass(frozen=True)
class Trigger:
    """A source of load; `threshold` is the HPA's target, above `activation_threshold` the trigger is active."""

    type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    threshold: Quantity = 1
    activation_threshold: float = 0.0
    metric_type: str = "AverageValue"

    def __post_init__(self) -> None:
        refuse(f'trigger "{self.type}"', real()(Field(self.activation_threshold, "activation_threshold")))

    def manifest(self) -> Manifest:
        if self.type in RESOURCE_TRIGGERS:
            said = {"value": str(self.threshold)}
        else:
            said = {"threshold": str(self.threshold), "activationThreshold": f"{self.activation_threshold:g}"}
        return {"type": self.type, "metricType": self.metric_type, "metadata": {**self.metadata, **said}}

    def active(self, value: float) -> bool:
        """Whether the value wakes the workload: strictly above the activation threshold."""
        return value > self.activation_threshold

    def metric(self, index: int) -> hpa.Metric:
        """The metric of the HPA that KEDA writes for this trigger."""
        if self.type in RESOURCE_TRIGGERS:
            percent = self.metric_type == "Utilization"
            target = hpa.Utilization(int(self.threshold)) if percent else hpa.AverageValue(self.threshold)
            return hpa.Resource(self.type, target)
        goal = hpa.Value(self.threshold) if self.metric_type == "Value" else hpa.AverageValue(self.threshold)
        return hpa.External(f"s{index}-{self.type}", goal)


@dataclass(frozen=True)
class ScaledObject:
    """The object; Invalid when KEDA's admission webhook would refuse it."""

    name: str
    scale_target_ref: ObjectReference
    triggers: tuple[Trigger, ...]
    min_replica_count: int = 0
    max_replica_count: int = 100
    idle_replica_count: int | None = None
    polling_interval: int = 30
    cooldown_period: int = 300
    initial_cooldown_period: int = 0
    behavior: hpa.Behavior | None = None

    def __post_init__(self) -> None:
        check_manifest(self.manifest())

    def manifest(self) -> Manifest:
        spec: Manifest = {
            "scaleTargetRef": self.scale_target_ref.manifest(),
            "minReplicaCount": self.min_replica_count,
            "maxReplicaCount": self.max_replica_count,
            "pollingInterval": self.polling_interval,
            "cooldownPeriod": self.cooldown_period,
            "initialCooldownPeriod": self.initial_cooldown_period,
            "triggers": [trigger.manifest() for trigger in self.triggers],
        }
        if self.idle_replica_count is not None:
            spec["idleReplicaCount"] = self.idle_replica_count
        if self.behavior is not None:
            spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": self.behavior.manifest()}}
        head = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}
        return {**head, "metadata": {"name": self.name}, "spec": spec}

    def hpa(self) -> hpa.HorizontalPodAutoscaler:
        """The HPA that KEDA creates: it never goes below one pod, the step to zero is KEDA's own."""
        return hpa.HorizontalPodAutoscaler(
            f"keda-hpa-{self.name}",
            self.scale_target_ref,
            self.max_replica_count,
            max(1, self.min_replica_count),
            tuple(trigger.metric(i) for i, trigger in enumerate(self.triggers)),
            self.behavior,
        )


@dataclass(frozen=True)
class Status:
    """What a poll finds: the count, whether a trigger is active or failed, and since when the last one was not."""

    replicas: int
    active: bool
    error: bool = False
    last_active_age_s: float | None = None
    created_age_s: float = math.inf


def request_scale(scaled: ScaledObject, seen: Status) -> int:
    """Replicas after one poll, as far as KEDA itself decides; between 1 and the maximum the HPA does."""
    low, idle = scaled.min_replica_count, scaled.idle_replica_count
    if seen.active:
        asleep = seen.replicas == 0 or (idle is not None and seen.replicas < low)
        return max(1, low) if asleep else seen.replicas
    if seen.error:
        return seen.replicas
    if (idle is not None and seen.replicas > idle) or (seen.replicas > 0 and low == 0):
        return (idle or 0) if _cooled_down(scaled, seen) else seen.replicas
    return max(seen.replicas, low) if idle is None else seen.replicas


def _cooled_down(scaled: ScaledObject, seen: Status) -> bool:
    """After the last activity the cooldown counts; before the first, the initial one since creation."""
    if seen.last_active_age_s is None:
        return seen.created_age_s > scaled.initial_cooldown_period
    return seen.last_active_age_s > scaled.cooldown_period
