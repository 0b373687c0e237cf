"""VerticalPodAutoscaler, autoscaling.k8s.io/v1: tag vertical-pod-autoscaler-1.7.1.

The webhook is `pkg/admission-controller/resource/vpa/validation.go`, where a feature gate that is off
by default decides, its refusal is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    holds,
    one_of,
    quantity_check,
    select,
    whole,
)
from mlinfra.quantity import canonical, quantity

AUTO_IS_DEPRECATED = (
    'deprecated and to be removed: "Auto" means "Recreate" today; say "Recreate" or "InPlaceOrRecreate"'
)


def _bounds(policy: Field) -> Iterator[Problem]:
    """No minimum above its maximum."""
    low, high = policy["minAllowed"], policy["maxAllowed"]
    for name in set(low.value or {}) & set(high.value or {}):
        if quantity(low[name].value) > quantity(high[name].value):
            yield high[name].invalid(f'max resource for {name} is lower than min of "{canonical(low[name].value)}"')


def _off_controls_nothing(policy: Field) -> Iterator[Problem]:
    if (policy["mode"].value, policy["controlledValues"].value) == ("Off", "RequestsAndLimits"):
        why = "controlledValues shouldn't be specified if container scaling mode is off"
        yield policy["controlledValues"].forbidden(why)


def _one_recommender(recommenders: Field) -> Iterator[Problem]:
    count = len(recommenders.value)
    if count > 1:
        yield Problem(recommenders.path, f"Too many: {count}: must have at most 1 item")


def _resolution(per_unit: int, words: str) -> Check:
    """The amount is a whole number of what the recommender counts in."""
    return holds(lambda amount: quantity(amount) * per_unit % 1 == 0, words)


def _startup_boost(cpu: Field) -> Iterator[Problem]:
    """The expressions in the CRD: the type's own field, and no other."""
    for kind, name in (("Factor", "factor"), ("Quantity", "quantity")):
        if (cpu["type"].value == kind) != (cpu[name].value is not None):
            yield cpu.invalid(f"{name} is required when type is {kind} and forbidden otherwise")


def _warnings(obj: Field) -> Iterator[ApiWarning]:
    """A mode of old, and what the webhook refuses unless a feature gate is on."""
    mode = obj["spec"]["updatePolicy"]["updateMode"]
    if mode.value == "Auto":
        yield ApiWarning(mode.path, AUTO_IS_DEPRECATED)
    if mode.value == "InPlace":
        yield _behind_gate(mode, "InPlace", f"in order to use UpdateMode InPlace, {ENABLE.format('InPlace')}")
    for path, gate, words in GATED:
        yield from (_behind_gate(field, gate, words) for field in select(obj, path) if field.value is not None)


def _behind_gate(field: Field, gate: str, words: str) -> ApiWarning:
    return ApiWarning(field.path, f"with feature gate {gate} off, as by default, the webhook says: {words}")


POLICY = "spec.resourcePolicy.containerPolicies[]"
ENABLE = "you must enable feature gate {} in the admission-controller args"
NO_BOOST = f"in order to use startupBoost, {ENABLE.format('CPUStartupBoost')}"
NO_CONFIG = "not supported when feature flag PerVPAConfig is disabled"
GATED = [
    ("spec.startupBoost", "CPUStartupBoost", NO_BOOST),
    (f"{POLICY}.startupBoost", "CPUStartupBoost", NO_BOOST),
    ("spec.updatePolicy.evictAfterOOMSeconds", "PerVPAConfig", NO_CONFIG),
    (f"{POLICY}.(oomBumpUpRatio|oomMinBumpUp)", "PerVPAConfig", NO_CONFIG),
    (f"{POLICY}.(memoryAggregationIntervalSeconds|memoryAggregationIntervalCount)", "PerVPAConfig", NO_CONFIG),
]
"""Fields of alpha features."""


AT_LEAST_ONE = "must be greater than or equal to 1.0"

RULES: Rules = [
    ("spec.targetRef.(kind|name)", Needed()),
    ("spec.updatePolicy.updateMode", Needed("updateMode is required if UpdatePolicy is used")),
    ("spec.updatePolicy.minReplicas", whole(1, why="minReplicas has to be positive")),
    ("spec.updatePolicy.evictAfterOOMSeconds", whole(1)),
    ("spec.recommenders", _one_recommender),
    (f"{POLICY}.containerName", Needed()),
    (f"{POLICY}.(minAllowed|maxAllowed)[]", quantity_check()),
    (f"{POLICY}.controlledResources[]", one_of("cpu", "memory")),
    (f"{POLICY}.oomBumpUpRatio", quantity_check(), holds(lambda ratio: quantity(ratio) >= 1, AT_LEAST_ONE)),
    (f"{POLICY}.oomMinBumpUp", quantity_check()),
    (f"{POLICY}.memoryAggregationIntervalSeconds", whole(1)),
    (f"{POLICY}.memoryAggregationIntervalCount", whole(1, 2**63 - 1)),
]
ACROSS: Rules = [
    (POLICY, _bounds),
    (POLICY, _off_controls_nothing),
    (f"{POLICY}.(minAllowed|maxAllowed).cpu", _resolution(1000, "must be a whole number of milli CPUs")),
    (f"{POLICY}.(minAllowed|maxAllowed).memory", _resolution(1, "must be a whole number of bytes")),
    (f"(spec|{POLICY}).startupBoost.cpu", _startup_boost),
]
KIND = CustomKind("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", RULES, ACROSS, "vpa", warn=_warnings)
KINDS = {KIND.kind: KIND}
