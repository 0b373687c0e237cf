"""HorizontalPodAutoscaler, autoscaling/v2: the manifest, with the defaults of `pkg/apis/autoscaling/v2/defaults.go`.

What the API server refuses is not written here; the constructor of the object asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlinfra.admission import Field, Problem, accepted, check
from mlinfra.admission.rules import one_of, select
from mlinfra.autoscaling.hpa.metrics import External, Metric, Object, Resource, Utilization
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity, quantity, shown


@dataclass(frozen=True)
class ScalingPolicy:
    """At most `value` pods or percent of change within any `period_seconds`."""

    type: str
    value: int
    period_seconds: int

    @classmethod
    def of(cls, manifest: Manifest) -> ScalingPolicy:
        return cls(manifest["type"], manifest["value"], manifest["periodSeconds"])

    def manifest(self) -> Manifest:
        return {"type": self.type, "value": self.value, "periodSeconds": self.period_seconds}


@dataclass(frozen=True)
class ScalingRules:
    """One direction of `behavior`; None leaves a part to the API's default."""

    policies: tuple[ScalingPolicy, ...] | None = None
    select_policy: str | None = None
    stabilization_window_seconds: int | None = None
    tolerance: Quantity | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", None if self.tolerance is None else shown(self.tolerance))

    @classmethod
    def of(cls, manifest: Manifest) -> ScalingRules:
        policies = tuple(ScalingPolicy.of(policy) for policy in manifest.get("policies", ())) or None
        fields = ("selectPolicy", "stabilizationWindowSeconds", "tolerance")
        return cls(policies, *(manifest.get(name) for name in fields))

    def window_s(self, default: int) -> int:
        """The stabilization window in seconds."""
        return default if self.stabilization_window_seconds is None else self.stabilization_window_seconds

    def tolerance_or(self, default: float) -> float:
        """The tolerance as a fraction (GA since 1.37)."""
        return default if self.tolerance is None else float(quantity(self.tolerance))

    def or_default(self, default: ScalingRules) -> ScalingRules:
        """These rules with every part that is None taken from the default."""
        return replace(default, **{name: part for name, part in vars(self).items() if part is not None})

    def manifest(self) -> Manifest:
        parts = {
            "policies": None if self.policies is None else [policy.manifest() for policy in self.policies],
            "selectPolicy": self.select_policy,
            "stabilizationWindowSeconds": self.stabilization_window_seconds,
            "tolerance": self.tolerance,
        }
        return {name: part for name, part in parts.items() if part is not None}


DEFAULT_METRICS = (Resource("cpu", Utilization(80)),)
DEFAULT_SCALE_UP = ScalingRules((ScalingPolicy("Pods", 4, 15), ScalingPolicy("Percent", 100, 15)), "Max", 0)
DEFAULT_SCALE_DOWN = ScalingRules((ScalingPolicy("Percent", 100, 15),), "Max")


@dataclass(frozen=True)
class Behavior:
    """Rules for each direction, completed by the API's defaults; `Behavior()` is `behavior: {}`."""

    scale_up: ScalingRules = ScalingRules()
    scale_down: ScalingRules = ScalingRules()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_up", self.scale_up.or_default(DEFAULT_SCALE_UP))
        object.__setattr__(self, "scale_down", self.scale_down.or_default(DEFAULT_SCALE_DOWN))

    @classmethod
    def of(cls, manifest: Manifest) -> Behavior:
        return cls(ScalingRules.of(manifest.get("scaleUp", {})), ScalingRules.of(manifest.get("scaleDown", {})))

    def manifest(self) -> Manifest:
        return {"scaleUp": self.scale_up.manifest(), "scaleDown": self.scale_down.manifest()}


@dataclass(frozen=True)
class HorizontalPodAutoscaler:
    """The object; Invalid when the API server would refuse it.

    Without metrics the API's default holds, 80 % of the cpu request. `behavior` None is not `Behavior()`:
    the controller then takes its older path, with other limits.
    """

    name: str
    scale_target_ref: ObjectReference
    max_replicas: int
    min_replicas: int = 1
    metrics: tuple[Metric, ...] = ()
    behavior: Behavior | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", self.metrics or DEFAULT_METRICS)
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> HorizontalPodAutoscaler:
        """The object of a manifest, without labels and annotations; Invalid when the API server would refuse it."""
        obj = accepted("HorizontalPodAutoscaler", manifest, only_v2_and_labels)
        spec = obj["spec"]
        return cls(
            obj["metadata"].get("name", ""),
            ObjectReference.of(spec["scaleTargetRef"]),
            spec["maxReplicas"],
            spec.get("minReplicas", 1),
            tuple(Metric.of(metric) for metric in spec.get("metrics", ())),
            Behavior.of(spec["behavior"]) if "behavior" in spec else None,
        )

    def manifest(self) -> Manifest:
        """The object as the API server stores it, defaults filled in."""
        spec: Manifest = {
            "scaleTargetRef": self.scale_target_ref.manifest(),
            "minReplicas": self.min_replicas,
            "maxReplicas": self.max_replicas,
            "metrics": [metric.manifest() for metric in self.metrics],
        }
        if self.behavior is not None:
            spec["behavior"] = self.behavior.manifest()
        head = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        return {**head, "metadata": {"name": self.name}, "spec": spec}

    def scales_from_zero(self) -> bool:
        """Only a metric that exists without pods can wake a workload."""
        return any(isinstance(metric, Object | External) for metric in self.metrics)


def only_v2_and_labels(obj: Field) -> Iterator[Problem]:
    """What this package cannot hold: the older version, and selectors by expression."""
    yield from one_of("autoscaling/v2")(obj["apiVersion"])
    for source in ("pods", "object", "external"):
        for expressions in select(obj, f"spec.metrics[].{source}.metric.selector.matchExpressions"):
            if expressions.value:
                yield expressions.forbidden("only matchLabels are read")
