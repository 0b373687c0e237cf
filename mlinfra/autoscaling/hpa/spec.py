"""HorizontalPodAutoscaler, autoscaling/v2: the manifest, with the defaults of `pkg/apis/autoscaling/v2/defaults.go`.

What the API server refuses stands in `mlinfra.kinds`; the constructor of the object asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mlinfra.admission import check_manifest
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity, canonical, milli_value, quantity


@dataclass(frozen=True)
class Target:
    """What a metric is held at; the subclasses are the API's three types."""

    amount: Quantity
    field: ClassVar[str]

    def manifest(self) -> Manifest:
        return {"type": type(self).__name__, self.field: canonical_or_raw(self.amount)}

    @property
    def milli(self) -> int:
        return milli_value(self.amount)


class Utilization(Target):
    """A percentage of what the pods request."""

    amount: int
    field = "averageUtilization"

    def manifest(self) -> Manifest:
        return {"type": "Utilization", self.field: self.amount}


class AverageValue(Target):
    """An amount per pod."""

    field = "averageValue"


class Value(Target):
    """An amount in all, however many pods there are."""

    field = "value"


def canonical_or_raw(amount: Quantity) -> Quantity:
    """Canonical where it is a quantity; validation names the field of one that is not."""
    try:
        return canonical(amount)
    except ValueError:
        return amount


@dataclass(frozen=True)
class Metric:
    """One entry of `metrics`; the subclasses are the API's source types."""

    name: str
    target: Target
    api: ClassVar[str] = "custom"
    reading_type: ClassVar[type] = Mapping
    reading_words: ClassVar[str] = "a sample for each pod"

    def manifest(self) -> Manifest:
        kind = type(self).__name__
        return {"type": kind, kind[0].lower() + kind[1:]: self.source() | {"target": self.target.manifest()}}

    def source(self) -> Manifest:
        """What names the metric in the manifest."""
        raise NotImplementedError

    def event_name(self) -> str:
        """The metric in the controller's events."""
        return f"{type(self).__name__.lower()} metric {self.name}"

    def error_name(self) -> str:
        """The metric in the controller's errors."""
        return f"metric {self.name}"

    def error_prefix(self) -> str:
        """How the controller's errors about this metric begin."""
        return ""

    @property
    def failure(self) -> str:
        """Reason of the condition when the metric gives no proposal."""
        return f"FailedGet{type(self).__name__}Metric"


@dataclass(frozen=True)
class Resource(Metric):
    """cpu or memory of whole pods, from the metrics server."""

    container: str = field(default="", init=False, repr=False)
    api = "resource"

    def source(self) -> Manifest:
        return {"name": self.name}

    def event_name(self) -> str:
        if not isinstance(self.target, Utilization):
            return f"{self.name} resource"
        return f"{self.name} {'container ' * bool(self.container)}resource utilization (percentage of request)"

    def error_name(self) -> str:
        return f"metrics for resource {self.name}"

    def error_prefix(self) -> str:
        return f"failed to get {self.name} {'utilization' if isinstance(self.target, Utilization) else 'usage'}: "


@dataclass(frozen=True)
class ContainerResource(Resource):
    """cpu or memory of one container of each pod (GA since 1.30)."""

    container: str = ""

    def source(self) -> Manifest:
        return {"name": self.name, "container": self.container}


@dataclass(frozen=True)
class CustomMetric(Metric):
    """A metric with a name of the user's own, and labels to select its series."""

    match_labels: Mapping[str, str] | None = None

    def source(self) -> Manifest:
        selector = {"selector": {"matchLabels": dict(self.match_labels)}} if self.match_labels else {}
        return {"metric": {"name": self.name} | selector}

    def external_name(self) -> str:
        """The metric with its selector as Go prints it."""
        if not self.match_labels:
            return f"external metric {self.name}(nil)"
        labels = "".join(f"{key}: {label}," for key, label in sorted(self.match_labels.items()))
        selector = f"MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{}},"
        return f"external metric {self.name}(&LabelSelector{{{selector}}})"


class Pods(CustomMetric):
    """A metric that every pod exports; its target is an AverageValue."""


@dataclass(frozen=True)
class Object(CustomMetric):
    """A metric of one other object, an Ingress say; its reading is one amount in milli."""

    described_object: ObjectReference = field(kw_only=True)
    reading_type = int
    reading_words = "one whole number of thousandths"

    def source(self) -> Manifest:
        return super().source() | {"describedObject": self.described_object.manifest()}

    def event_name(self) -> str:
        if isinstance(self.target, AverageValue):  # upstream calls this one external
            return self.external_name()
        return f"{self.described_object.kind} metric {self.name}"

    def error_name(self) -> str:
        return f"metric {self.name} on {self.described_object.kind} {self.described_object.name}"


class External(CustomMetric):
    """A metric from outside the cluster, a queue's length say; its series are summed."""

    api = "external"
    reading_type = Sequence
    reading_words = "a list of whole thousandths, one a series"

    def event_name(self) -> str:
        return self.external_name()

    def error_name(self) -> str:
        return f"external metric {self.name}"


@dataclass(frozen=True)
class ScalingPolicy:
    """At most `value` pods or percent of change within any `period_seconds`."""

    type: str
    value: int
    period_seconds: int

    def manifest(self) -> Manifest:
        return {"type": self.type, "value": self.value, "periodSeconds": self.period_seconds}


@dataclass(frozen=True)
class ScalingRules:
    """One direction of `behavior`; None leaves a part to the API's default."""

    policies: tuple[ScalingPolicy, ...] | None = None
    select_policy: str | None = None
    stabilization_window_seconds: int | None = None
    tolerance: Quantity | None = None

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
            "tolerance": None if self.tolerance is None else canonical_or_raw(self.tolerance),
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
        check_manifest(self.manifest())

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
