"""VerticalPodAutoscaler, autoscaling.k8s.io/v1: tag vertical-pod-autoscaler-1.7.1."""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import ApiWarning, Field, Needed, Problem, Rules, one_of, quantity_check
from mlinfra.quantity import canonical, quantity

AUTO_IS_DEPRECATED = (
    'deprecated and to be removed: "Auto" means "Recreate" today; say "Recreate" or "InPlaceOrRecreate"'
)


def _bounds(policy: Field) -> Iterator[Problem]:
    """pkg/admission-controller/resource/vpa/handler.go: no minimum above its maximum."""
    low, high = policy["minAllowed"], policy["maxAllowed"]
    for name in set(low.value or {}) & set(high.value or {}):
        if quantity(low[name].value) > quantity(high[name].value):
            yield high[name].invalid(f"must be greater than or equal to minAllowed of {canonical(low[name].value)}")


def _auto(obj: Field) -> Iterator[ApiWarning]:
    mode = obj["spec"]["updatePolicy"]["updateMode"]
    if mode.value == "Auto":
        yield ApiWarning(mode.path, AUTO_IS_DEPRECATED)


_POLICY = "spec.resourcePolicy.containerPolicies[]"

RULES: Rules = [
    ("spec.targetRef.(kind|name)", Needed()),
    (f"{_POLICY}.containerName", Needed()),
    (f"{_POLICY}.(minAllowed|maxAllowed)[]", quantity_check()),
    (f"{_POLICY}.controlledResources[]", one_of("cpu", "memory")),
]
KIND = CustomKind("autoscaling.k8s.io/v1", "VerticalPodAutoscaler", RULES, [(_POLICY, _bounds)], "vpa", warn=_auto)
KINDS = {KIND.kind: KIND}
