"""ScaledObject, keda.sh/v1alpha1: KEDA 2.20.2, `apis/keda/v1alpha1/scaledobject_{types,webhook}.go`.

What the API server says of the HPA that KEDA writes is said of the ScaledObject. What needs other objects is not looked
at: the requests of the target's containers, a second ScaledObject or HPA.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from mlinfra.admission.autoscaler import SCALING_RULES
from mlinfra.admission.custom import CustomKind
from mlinfra.admission.formula import formula_objections
from mlinfra.admission.go_values import int32, number
from mlinfra.admission.rules import (
    ApiWarning,
    Field,
    Needed,
    Problem,
    Rules,
    below,
    dns_subdomain,
    one_of,
    quantity_check,
    whole,
)

RESOURCE_TRIGGERS = ("cpu", "memory")
LONGEST_LABEL = 63


def _replica_bounds(spec: Field) -> Iterator[Problem]:
    """`CheckReplicaCountBoundsAreValid`, and the webhook's rule for cpu and memory.

    A minimum of 0 that is given counts as the 1 that the HPA gets; one that is not given as 0.
    """
    low, high, idle = (spec[name] for name in ("minReplicaCount", "maxReplicaCount", "idleReplicaCount"))
    least = 0 if low.value is None else low.value or 1
    most = 100 if high.value is None else high.value
    if least > most:
        yield low.invalid(f"MinReplicaCount={least} must be less than MaxReplicaCount={most}")
    if idle.value is not None and idle.value >= least:
        yield idle.invalid(f"IdleReplicaCount={idle.value} must be less than MinReplicaCount={least}")
    if not low.value and spec["triggers"].value and not _external_triggers(spec):
        why = "scaledobject has only cpu/memory triggers AND minReplica is 0 (scale to zero doesn't work in this case)"
        yield low.invalid(why)


def _external_triggers(spec: Field) -> list[Field]:
    """The triggers that are neither cpu nor memory."""
    return [trigger for trigger in spec["triggers"].each() if trigger["type"].value not in RESOURCE_TRIGGERS]


# ------------------------------------------------------------------------------------------------------- triggers


def _target(trigger: Field) -> Iterator[Problem]:
    """`GetMetricTargetType` and `cpu_memory_scaler.go`: the target's type, and for cpu and memory its value."""
    kind = trigger["metricType"]
    if trigger["type"].value in RESOURCE_TRIGGERS:
        yield from _resource_target(kind, trigger["metadata"])
    elif kind.value == "Utilization":
        why = "metric type is unsupported for external metrics, allowed values are 'Value' or 'AverageValue'"
        yield kind.invalid(f"'Utilization' {why}")


def _resource_target(kind: Field, metadata: Field) -> Iterator[Problem]:
    """A percentage as a whole number, or a quantity; without a type the scaler is not made."""
    value = metadata["value"]
    if metadata["type"].value:
        why = "The 'type' setting is DEPRECATED and is removed in v2.18 - Use 'metricType' instead."
        yield metadata["type"].invalid(why)
    if not value.value:
        yield value.required('missing required parameter "value" in [triggerMetadata]')
    elif kind.value == "Utilization":
        yield from reads(value, int32)
    elif kind.value == "AverageValue":
        yield from quantity_check(positive=True)(value)
    if kind.value not in ("Utilization", "AverageValue"):
        why = f"unknown metric type: {kind.value or ''}, allowed values are 'Utilization' or 'AverageValue'"
        yield kind.invalid(why) if kind.value else kind.required(why)


def reads(field: Field, parse: Callable[[str], float]) -> Iterator[Problem]:
    """The text is a number to Go; its words where it is not."""
    try:
        parse(field.value)
    except ValueError as error:
        yield field.invalid(str(error))


NOT_CACHED = (*RESOURCE_TRIGGERS, "cron")


def _cached_metrics(trigger: Field) -> Iterator[Problem]:
    """`ValidateTriggers`."""
    kind, cached = trigger["type"].value, trigger["useCachedMetrics"]
    if cached.value and kind in NOT_CACHED:
        yield cached.invalid(f'property "useCachedMetrics" is not supported for "{kind}" scaler')


def _distinct_names(triggers: Field) -> Iterator[Problem]:
    """`ValidateTriggers`: a trigger may be without a name, but no two have the same."""
    names: set[str] = set()
    for trigger in triggers.each():
        name = trigger["name"]
        if name.value in names:
            words = "is defined multiple times in the ScaledObject/ScaledJob, but it must be unique"
            yield name.invalid(f'triggerName "{name.value}" {words}')
        names |= {name.value} if name.value else set()


# ------------------------------------------------------------------------------------- formula, fallback and names


def _uses_modifiers(spec: Field) -> bool:
    """`IsUsingModifiers`: any of their fields is given."""
    return any((spec["advanced"]["scalingModifiers"].value or {}).values())


def _modifiers(spec: Field) -> Iterator[Problem]:
    """`ValidateAndCompileScalingModifiers`: a formula over the names of external triggers, and its target."""
    modifiers = spec["advanced"]["scalingModifiers"]
    formula, target = modifiers["formula"], modifiers["target"]
    if not _uses_modifiers(spec):
        return
    if not formula.value:
        yield formula.required("error ScalingModifiers.Formula is mandatory")
    elif not target.value:
        yield target.required("formula is given but target is empty")
    else:
        names = [trigger["name"].value for trigger in _external_triggers(spec)]
        yield from (formula.invalid(why) for why in formula_objections(formula.value, names))
        yield from formula_target(target)
    if modifiers["activationTarget"].value:
        yield from reads(modifiers["activationTarget"], number)


def formula_target(target: Field) -> Iterator[Problem]:
    words = "error converting target for scalingModifiers (string->float) to valid target"
    objections = list(reads(target, number))
    yield from (Problem(path, f"{message}: {words}") for path, message in objections)
    if not objections and not 0 < number(target.value) < math.inf:
        yield target.invalid(f"{words}: must be greater than 0")


def _fallback(spec: Field) -> Iterator[Problem]:
    """`CheckFallbackValid`, and what the behavior of that name needs."""
    fallback = spec["fallback"]
    if fallback.value is None:
        return
    if not _uses_modifiers(spec) and not _external_triggers(spec):
        rule = "has to have the `AverageValue` type for the fallback to be enabled"
        yield fallback.invalid(f"at least one trigger (that is not cpu or memory) {rule}")
    formula = spec["advanced"]["scalingModifiers"]["formula"].value
    if fallback["behavior"].value == "scalingModifiers" and not formula:
        why = "scalingModifiers fallback behavior requires scalingModifiers.formula to be defined"
        yield fallback["behavior"].invalid(why)


def _names(obj: Field) -> Iterator[Problem]:
    """`verifyName`: the name is a label's value, and so is that of the HPA, which is keda-hpa-NAME by default."""
    name = obj["metadata"]["name"].value or ""
    own = obj["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"]
    hpa_name = own.value or f"keda-hpa-{name}"
    most = f"must be no more than {LONGEST_LABEL} characters"
    if len(name) > LONGEST_LABEL:
        why = f'{most} because it is used as the "scaledobject.keda.sh/name" label value'
        yield obj["metadata"]["name"].invalid(f'scaledobject name "{name}" is {len(name)} characters long; {why}')
    elif len(hpa_name) > LONGEST_LABEL:
        why = f'HPA name "{hpa_name}" derived from scaledobject is {len(hpa_name)} characters long; {most}; '
        why += f"set {own.path} to a shorter name or shorten the scaledobject name"
        yield obj["metadata"]["name"].invalid(why)


# ------------------------------------------------------------------------------------------------------- warnings


NOT_RELEVANT = (
    "{0} is configured but is not relevant. {0} is only relevant when minReplicaCount = 0 or idleReplicaCount = 0"
)


def _without_effect(obj: Field) -> Iterator[ApiWarning]:
    """`verifyScaledObjects`: periods that count only where the workload can sleep."""
    spec = obj["spec"]
    if not spec["minReplicaCount"].value or spec["idleReplicaCount"].value == 0:
        return
    period, cooldown = spec["pollingInterval"], spec["cooldownPeriod"]
    cached = any(trigger["useCachedMetrics"].value for trigger in spec["triggers"].each())
    if period.value is not None and not cached:
        yield ApiWarning(period.path, NOT_RELEVANT.format("PollingInterval") + " or useCachedMetrics is enabled")
    if cooldown.value is not None:
        yield ApiWarning(cooldown.path, NOT_RELEVANT.format("CooldownPeriod"))


_HPA = "spec.advanced.horizontalPodAutoscalerConfig"
RULES: Rules = [
    ("spec.scaleTargetRef.name", Needed()),
    ("spec.triggers", Needed("no triggers defined in the ScaledObject/ScaledJob")),
    ("spec.triggers[].type", Needed()),
    ("spec.triggers[].metricType", one_of("AverageValue", "Utilization", "Value")),
    ("spec.(minReplicaCount|idleReplicaCount|cooldownPeriod|initialCooldownPeriod)", whole(0)),
    ("spec.(maxReplicaCount|pollingInterval)", whole(1)),
    ("spec.fallback.(failureThreshold|replicas)", whole(0)),
    (f"{_HPA}.name", dns_subdomain),
    *below(f"{_HPA}.behavior.(scaleUp|scaleDown)", SCALING_RULES),
]
ACROSS: Rules = [
    ("", _names),
    ("spec", _replica_bounds),
    ("spec", _modifiers),
    ("spec", _fallback),
    ("spec.triggers", _distinct_names),
    ("spec.triggers[]", _target),
    ("spec.triggers[]", _cached_metrics),
]
KIND = CustomKind("keda.sh/v1alpha1", "ScaledObject", RULES, ACROSS, "scaledobject", warn=_without_effect)
KINDS = {KIND.kind: KIND}
