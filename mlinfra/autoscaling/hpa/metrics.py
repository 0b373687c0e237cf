"""What an HPA scales on: the API's source types and targets, with their names in the controller's events and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity, milli_value, shown


@dataclass(frozen=True, eq=False)
class Target:
    """What a metric is held at; the subclasses are the API's three types. 8 and "8" are equal amounts."""

    amount: Quantity
    field: ClassVar[str]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and self.manifest() == other.manifest()

    def __hash__(self) -> int:
        return hash(repr(self.manifest()))

    @staticmethod
    def of(manifest: Manifest) -> Target:
        """The target by the field that is given; of two, by the one that `type` names."""
        kinds = [kind for kind in (Utilization, AverageValue, Value) if kind.field in manifest]
        kinds.sort(key=lambda kind: kind.__name__ != manifest["type"])
        return kinds[0](manifest[kinds[0].field])

    def manifest(self) -> Manifest:
        return {"type": type(self).__name__, self.field: shown(self.amount)}

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


@dataclass(frozen=True)
class Metric:
    """One entry of `metrics`; the subclasses are the API's source types."""

    name: str
    target: Target
    api: ClassVar[str] = "custom"
    reading_type: ClassVar[type] = Mapping
    reading_words: ClassVar[str] = "a sample for each pod"

    @staticmethod
    def of(manifest: Manifest) -> Metric:
        kind = manifest["type"]
        source = manifest[kind[0].lower() + kind[1:]]
        target = Target.of(source["target"])
        if kind == "Resource":
            return Resource(source["name"], target)
        if kind == "ContainerResource":
            return ContainerResource(source["name"], target, source["container"])
        name, labels = source["metric"]["name"], source["metric"].get("selector", {}).get("matchLabels")
        if kind == "Object":
            return Object(name, target, labels, described_object=ObjectReference.of(source["describedObject"]))
        return External(name, target, labels) if kind == "External" else Pods(name, target, labels)

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
        source = "container resource" if self.container else "resource"
        return f"{self.name} {source} utilization (percentage of request)"

    def error_name(self) -> str:
        return f"metrics for resource {self.name}"

    def error_prefix(self) -> str:
        measure = "utilization" if isinstance(self.target, Utilization) else "usage"
        return f"failed to get {self.name} {measure}: "


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
