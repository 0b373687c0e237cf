"""The VerticalPodAutoscaler object, and the policy that holds a recommendation in its bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlinfra.admission import accepted, check
from mlinfra.autoscaling.vpa.amounts import MAX_AMOUNT, Amounts
from mlinfra.autoscaling.vpa.recommender import Recommendation, recommend
from mlinfra.autoscaling.vpa.usage import AggregateContainerState
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity, canonical, milli_value, quantity, shown


@dataclass(frozen=True)
class ContainerPolicy:
    """What the VPA may do to one container ("*": to every one that has no policy of its own)."""

    container_name: str = "*"
    min_allowed: Mapping[str, Quantity] = field(default_factory=dict)
    max_allowed: Mapping[str, Quantity] = field(default_factory=dict)
    controlled_resources: tuple[str, ...] = ("cpu", "memory")
    controlled_values: str = "RequestsAndLimits"
    mode: str = "Auto"

    def __post_init__(self) -> None:
        for name in ("min_allowed", "max_allowed"):
            amounts = {resource: shown(amount) for resource, amount in getattr(self, name).items()}
            object.__setattr__(self, name, amounts)

    @classmethod
    def of(cls, manifest: Manifest) -> ContainerPolicy:
        return cls(
            manifest.get("containerName", "*"),
            manifest.get("minAllowed", {}),
            manifest.get("maxAllowed", {}),
            tuple(manifest.get("controlledResources", ("cpu", "memory"))),
            manifest.get("controlledValues", "RequestsAndLimits"),
            manifest.get("mode", "Auto"),
        )

    def manifest(self) -> Manifest:
        bounds = {"minAllowed": self.min_allowed, "maxAllowed": self.max_allowed}
        return {
            "containerName": self.container_name,
            "controlledResources": list(self.controlled_resources),
            **self.controls(),
            **{name: dict(amounts) for name, amounts in bounds.items() if amounts},
        }

    def controls(self) -> dict[str, str]:
        """Mode and controlled values; the webhook takes no RequestsAndLimits, the default, in mode Off."""
        if self.mode == "Auto":
            return {"controlledValues": self.controlled_values}
        values = {} if self.controlled_values == "RequestsAndLimits" else {"controlledValues": self.controlled_values}
        return {"mode": self.mode, **values}

    def clamp(self, recommendation: Recommendation) -> Recommendation:
        """The recommendation within minAllowed and maxAllowed."""
        return Recommendation(
            self.clamp_amounts(recommendation.target),
            self.clamp_amounts(recommendation.lower_bound),
            self.clamp_amounts(recommendation.upper_bound),
            recommendation.confidence,
        )

    def clamp_amounts(self, amounts: Amounts) -> Amounts:
        low, high = parse(self.min_allowed, default=0), parse(self.max_allowed, default=MAX_AMOUNT)
        return amounts.raised_to(low).cut_to(high)

    def controlled(self, amounts: Amounts) -> dict[str, str]:
        """The amounts that this policy lets the VPA set, as quantities; none in mode Off."""
        quantities = {"cpu": canonical(f"{amounts.cpu_milli}m"), "memory": canonical(amounts.memory_bytes)}
        controlled = () if self.mode == "Off" else self.controlled_resources
        return {name: quantities[name] for name in quantities if name in controlled}


def parse(bounds: Mapping[str, Quantity], default: int) -> Amounts:
    """The bounds in milli cores and bytes, rounded up; the default for a resource without a bound."""
    cpu_milli = milli_value(bounds["cpu"]) if "cpu" in bounds else default
    memory_bytes = math.ceil(quantity(bounds["memory"])) if "memory" in bounds else default
    return Amounts(cpu_milli, memory_bytes)


@dataclass(frozen=True)
class VerticalPodAutoscaler:
    """The object; Invalid when it would be refused."""

    name: str
    target_ref: ObjectReference
    update_mode: str = "Recreate"
    container_policies: tuple[ContainerPolicy, ...] = ()

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> VerticalPodAutoscaler:
        """The object of a manifest, without labels and annotations; Invalid when it would be refused."""
        obj = accepted("VerticalPodAutoscaler", manifest)
        spec = obj["spec"]
        return cls(
            obj["metadata"].get("name", ""),
            ObjectReference.of(spec["targetRef"]),
            spec.get("updatePolicy", {}).get("updateMode", "Recreate"),
            tuple(ContainerPolicy.of(policy) for policy in spec.get("resourcePolicy", {}).get("containerPolicies", ())),
        )

    def policy(self, container: str) -> ContainerPolicy:
        """The container's own policy, or else that of "*", or else none (`GetContainerResourcePolicy`)."""
        own = [policy for policy in self.container_policies if policy.container_name == container]
        of_all = [policy for policy in self.container_policies if policy.container_name == "*"]
        return [*own, *reversed(of_all), ContainerPolicy()][0]

    def recommendations(self, usage: Mapping[str, AggregateContainerState]) -> dict[str, Recommendation]:
        """One for each container that is not in mode Off, within its policy; the pod's minimum is divided by those
        alone (`GetContainerNameToAggregateStateMap`)."""
        states = {name: state for name, state in usage.items() if self.policy(name).mode != "Off"}
        return {name: self.policy(name).clamp(recommend(state, len(states))) for name, state in states.items()}

    def manifest(self) -> Manifest:
        spec: Manifest = {"targetRef": self.target_ref.manifest(), "updatePolicy": {"updateMode": self.update_mode}}
        if self.container_policies:
            spec["resourcePolicy"] = {"containerPolicies": [policy.manifest() for policy in self.container_policies]}
        head = {"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler"}
        return {**head, "metadata": {"name": self.name}, "spec": spec}
