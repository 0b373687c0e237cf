"""KEDA's ScaledObject, keda.sh/v1alpha1: activation between 0 and 1, and the HPA that it creates for the rest.

Follows KEDA 2.20.2: `pkg/scaling/executor/scale_scaledobjects.go`, `apis/keda/v1alpha1/scaledobject_types.go`,
`controllers/keda/hpa.go`. Not modelled: pausing by annotation (holds or fixes the count), forced activation
(counts as an active trigger), and `fallback` (a fixed count while a trigger fails). A formula of scalingModifiers is
checked, and not computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mlinfra.admission import Field, Finite, Problem, accepted, check
from mlinfra.admission.go_values import go_number, number
from mlinfra.admission.keda import RESOURCE_TRIGGERS, reads
from mlinfra.autoscaling import hpa
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity


class TargetFields(NamedTuple):
    """The entries of a trigger's metadata that hold its target and its activation, and the target without one."""

    target: str = "threshold"
    activation: str = "activationThreshold"
    default: str = ""


LAG = TargetFields("lagThreshold", "activationLagThreshold", "10")
QUEUE_LENGTH = TargetFields("queueLength", "activationQueueLength", "5")
TARGET_FIELDS = {
    "apache-kafka": LAG,
    "aws-sqs-queue": QUEUE_LENGTH,
    "azure-queue": QUEUE_LENGTH,
    "azure-servicebus": TargetFields("messageCount", "activationMessageCount", "5"),
    "cpu": TargetFields("value", ""),
    "cron": TargetFields("", "", "1"),
    "gcp-pubsub": TargetFields("value", "activationValue", "10"),
    "kafka": LAG,
    "memory": TargetFields("value", ""),
    "nats-jetstream": LAG,
    "rabbitmq": TargetFields("value", "activationValue"),
    "redis": TargetFields("listLength", "activationListLength", "5"),
}
"""Of the scalers that do not say `threshold` (`pkg/scalers/*_scaler.go`). A cron trigger's value is its desiredReplicas
for a target of 1."""


def fields_of(kind: str) -> TargetFields:
    return TARGET_FIELDS.get(kind, TargetFields())


@dataclass(frozen=True)
class Trigger:
    """A source of load; `threshold` is the HPA's target, above `activation_threshold` the trigger is active."""

    type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    threshold: Quantity = 1
    activation_threshold: Finite = 0.0
    metric_type: str = "AverageValue"
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", plain(self.threshold))
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> Trigger:
        """The trigger, its target and activation taken out of the metadata."""
        kind, metadata = manifest["type"], manifest["metadata"]
        fields = fields_of(kind)
        return cls(
            kind,
            {name: text for name, text in metadata.items() if name not in (fields.target, fields.activation)},
            metadata.get(fields.target, fields.default),
            float(metadata.get(fields.activation, 0)),
            manifest.get("metricType", "AverageValue"),
            manifest.get("name", ""),
        )

    def manifest(self) -> Manifest:
        fields, metadata = fields_of(self.type), dict(self.metadata)
        if fields.target:
            metadata[fields.target] = str(self.threshold)
        if fields.activation:
            metadata[fields.activation] = go_number(self.activation_threshold)
        name = {"name": self.name} if self.name else {}
        return {"type": self.type, **name, "metricType": self.metric_type, "metadata": metadata}

    def active(self, value: float) -> bool:
        """Whether the value wakes the workload: strictly above the activation threshold."""
        return value > self.activation_threshold

    def metric(self, index: int) -> hpa.Metric:
        """The metric of the HPA that KEDA writes for this trigger."""
        if self.type not in RESOURCE_TRIGGERS:
            goal = hpa.Value(self.threshold) if self.metric_type == "Value" else hpa.AverageValue(self.threshold)
            return hpa.External(f"s{index}-{self.type}", goal)
        percent = self.metric_type == "Utilization"
        target = hpa.Utilization(int(self.threshold)) if percent else hpa.AverageValue(self.threshold)
        if "containerName" in self.metadata:
            return hpa.ContainerResource(self.type, target, self.metadata["containerName"])
        return hpa.Resource(self.type, target)


def plain(threshold: Quantity) -> Quantity:
    """A whole number as one, anything else as text: in a manifest 8 and "8" are the same."""
    text = str(threshold)
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else text


@dataclass(frozen=True)
class ScalingModifiers:
    """One metric in place of those of the external triggers, by a formula over their names; it is not computed here."""

    formula: str
    target: Quantity
    activation_target: Finite = 0.0
    metric_type: str = "AverageValue"

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", plain(self.target))
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> ScalingModifiers:
        return cls(
            manifest["formula"],
            manifest["target"],
            float(manifest.get("activationTarget") or 0),
            manifest.get("metricType", "AverageValue"),
        )

    def manifest(self) -> Manifest:
        targets = {"target": str(self.target), "activationTarget": go_number(self.activation_target)}
        return {"formula": self.formula, **targets, "metricType": self.metric_type}

    def metric(self) -> hpa.Metric:
        """The metric of the HPA, of which the formula's result is the value; the target is cut to milli."""
        target = f"{int(float(self.target) * 1000)}m"
        goal = hpa.Value(target) if self.metric_type == "Value" else hpa.AverageValue(target)
        return hpa.External("composite-metric", goal)


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
    scaling_modifiers: ScalingModifiers | None = None

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> ScaledObject:
        """The object of a manifest; Invalid when it would be refused, or a trigger names its target otherwise."""
        obj = accepted("ScaledObject", manifest, trigger_problems)
        spec = obj["spec"]
        advanced = spec.get("advanced", {})
        behavior = advanced.get("horizontalPodAutoscalerConfig", {}).get("behavior")
        modifiers = advanced.get("scalingModifiers")
        return cls(
            obj["metadata"].get("name", ""),
            ObjectReference.of({"apiVersion": "apps/v1", "kind": "Deployment"} | spec["scaleTargetRef"]),
            tuple(Trigger.of(trigger) for trigger in spec["triggers"]),
            spec.get("minReplicaCount", 0),
            spec.get("maxReplicaCount", 100),
            spec.get("idleReplicaCount"),
            spec.get("pollingInterval", 30),
            spec.get("cooldownPeriod", 300),
            spec.get("initialCooldownPeriod", 0),
            None if behavior is None else hpa.Behavior.of(behavior),
            ScalingModifiers.of(modifiers) if modifiers else None,
        )

    def manifest(self) -> Manifest:
        spec: Manifest = {
            "scaleTargetRef": self.scale_target_ref.manifest(),
            "minReplicaCount": self.min_replica_count,
            "maxReplicaCount": self.max_replica_count,
            **self.periods(),
            "triggers": [trigger.manifest() for trigger in self.triggers],
        }
        if self.idle_replica_count is not None:
            spec["idleReplicaCount"] = self.idle_replica_count
        if self.behavior is not None or self.scaling_modifiers is not None:
            spec["advanced"] = self.advanced()
        head = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject"}
        return {**head, "metadata": {"name": self.name}, "spec": spec}

    def advanced(self) -> Manifest:
        """What stands below `advanced`."""
        behavior, modifiers = self.behavior, self.scaling_modifiers
        return {
            **({"horizontalPodAutoscalerConfig": {"behavior": behavior.manifest()}} if behavior else {}),
            **({"scalingModifiers": modifiers.manifest()} if modifiers else {}),
        }

    def periods(self) -> dict[str, int]:
        """The periods of KEDA's own loop; where there is always a replica, only those that are not as by default."""
        counts = self.min_replica_count == 0 or self.idle_replica_count == 0
        periods = {
            "pollingInterval": (self.polling_interval, 30),
            "cooldownPeriod": (self.cooldown_period, 300),
            "initialCooldownPeriod": (self.initial_cooldown_period, 0),
        }
        return {name: period for name, (period, default) in periods.items() if counts or period != default}

    def metrics(self) -> tuple[hpa.Metric, ...]:
        """The triggers' metrics; with a formula those of cpu and memory of whole pods, and its own."""
        metrics = tuple(trigger.metric(i) for i, trigger in enumerate(self.triggers))
        if self.scaling_modifiers is None:
            return metrics
        return *(metric for metric in metrics if type(metric) is hpa.Resource), self.scaling_modifiers.metric()

    def active(self, values: Sequence[float]) -> bool:
        """Whether the values of the metrics wake the workload: the formula's, or else that of any external trigger.

        Where all triggers are cpu or memory it is always awake (`pkg/scaling/scale_handler.go`).
        """
        if self.scaling_modifiers is not None:
            return values[-1] > self.scaling_modifiers.activation_target
        pairs = zip(self.triggers, values, strict=True)
        external = [trigger.active(value) for trigger, value in pairs if trigger.type not in RESOURCE_TRIGGERS]
        return not external or any(external)

    def hpa(self) -> hpa.HorizontalPodAutoscaler:
        """The HPA that KEDA creates: it never goes below one pod, the step to zero is KEDA's own."""
        return hpa.HorizontalPodAutoscaler(
            f"keda-hpa-{self.name}",
            self.scale_target_ref,
            self.max_replica_count,
            max(1, self.min_replica_count),
            self.metrics(),
            self.behavior,
        )


def trigger_problems(obj: Field) -> Iterator[Problem]:
    """An activation that is no number, and a target that stands under a name that only this scaler gives it."""
    for trigger in obj["spec"]["triggers"].each():
        kind = trigger["type"].value
        fields = fields_of(kind)
        if trigger["metadata"][fields.target].value is None and not fields.default:
            yield trigger["type"].forbidden(f"{kind}: not read here: only triggers whose target is {fields.target}")
        activation = trigger["metadata"][fields.activation]
        yield from () if activation.value is None else reads(activation, number)


@dataclass(frozen=True)
class Status:
    """What a poll reads: the count, whether a trigger is active or failed, and since when none was active."""

    replicas: int
    active: bool
    error: bool = False
    last_active_age_s: float | None = None
    created_age_s: float = math.inf


def request_scale(scaled: ScaledObject, status: Status) -> int:
    """Replicas after one poll (`RequestScale`), as far as KEDA itself decides; from 1 to the maximum the HPA does."""
    replicas, low, idle = status.replicas, scaled.min_replica_count, scaled.idle_replica_count
    if status.active:
        asleep = replicas == 0 or (idle is not None and replicas < low)
        return scale_from_zero_or_idle(scaled) if asleep else replicas
    if status.error:
        return replicas
    if (idle is not None and replicas > idle) or (low == 0 and replicas > 0):
        return scale_to_zero_or_idle(scaled, status)
    return max(replicas, low) if idle is None else replicas


def scale_from_zero_or_idle(scaled: ScaledObject) -> int:
    """The minimum, and one replica at least."""
    return max(1, scaled.min_replica_count)


def scale_to_zero_or_idle(scaled: ScaledObject, status: Status) -> int:
    """The idle count, or zero, once the cooldown is over; until then the count stays."""
    if not cooldown_is_over(scaled, status):
        return status.replicas
    return scaled.idle_replica_count or 0


def cooldown_is_over(scaled: ScaledObject, status: Status) -> bool:
    """After the last activity the cooldown counts; before the first, the initial one since creation."""
    if status.last_active_age_s is None:
        return status.created_age_s > scaled.initial_cooldown_period
    return status.last_active_age_s > scaled.cooldown_period
