"""HorizontalPodAutoscaler, autoscaling/v2: its manifest, and the decisions of its controller.

Follows `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go` and `pkg/apis/autoscaling/v2/defaults.go`
of Kubernetes 1.37 (master of August 2026). Usage, requests and targets are in thousandths (milli): 500 is half a
core or half a request per second. Times are seconds on any clock that only moves forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import ClassVar, NamedTuple

from mlinfra.admission import check_manifest
from mlinfra.admission.rules import Field, Invalid, check, one_of, quantity_check, whole
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity, canonical, milli_value, quantity

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1
LONG_AGO_S = -1e8
PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


@dataclass(frozen=True)
class Container:
    """A container's name and requests; an init container with restart policy Always is a sidecar."""

    name: str
    requests: Mapping[str, Quantity]
    restart_policy: str | None = None

    def __post_init__(self) -> None:
        _check_requests(f"container {self.name}", self.requests)


def _check_requests(what: str, requests: Mapping[str, Quantity]) -> None:
    _typed(requests, Mapping, "resources.requests", "a map of quantities")
    for request in Field(requests, "resources.requests").each():
        check(what, quantity_check()(request))


def _typed(value: object, kind: type | tuple[type, ...], path: str, wanted: str) -> None:
    if not isinstance(value, kind):
        raise Invalid(path.partition(".")[0], [Field(repr(value), path).invalid(f"must be {wanted}")])


@dataclass(frozen=True)
class Pod:
    """A pod as the controller reads it; `ready` None means that it has no Ready condition yet."""

    name: str
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    requests: Mapping[str, Quantity] | None = None  # pod-level resources, KEP-2837
    phase: str = "Running"
    ready: bool | None = True
    deleted: bool = False
    start_time_s: float | None = LONG_AGO_S
    ready_transition_s: float = LONG_AGO_S

    def __post_init__(self) -> None:
        check(f"pod {self.name}", one_of(*PHASES)(Field(self.phase, "status.phase")))
        _typed(self.containers, tuple, "spec.containers", "a tuple of hpa.Container")
        _typed(self.ready_transition_s, (int, float), "status.conditions[Ready].lastTransitionTime", "seconds")
        if self.requests is not None:
            _check_requests(f"pod {self.name}", self.requests)


@dataclass(frozen=True)
class Sample:
    """One pod's usage in milli, averaged over the `window_s` seconds before `timestamp_s`."""

    milli: int
    timestamp_s: float = 0.0
    window_s: float = 60.0

    def __post_init__(self) -> None:
        if type(self.milli) is not int or abs(self.milli) > MAX_INT64:
            raise Invalid("sample", [Field(self.milli, "milli").invalid("must be an integer of 64 bits")])


Reading = Mapping[str, Sample] | Sequence[int] | int | None
"""A metrics API's answer: a sample per pod, the series of an External metric, an Object's value, or nothing."""


@dataclass(frozen=True)
class Observation:
    """What one pass reads: the scale subresource, the pods behind it, and one reading per metric."""

    spec_replicas: int
    pods: tuple[Pod, ...]
    readings: tuple[Reading, ...]
    status_replicas: int | None = None

    def __post_init__(self) -> None:
        for name, count in (("spec.replicas", self.spec_replicas), ("status.replicas", self.status_replicas)):
            if count is not None:
                check("scale", whole(0)(Field(count, name)))


@dataclass(frozen=True)
class Flags:
    """kube-controller-manager's --horizontal-pod-autoscaler-* flags and feature gates, with their defaults."""

    sync_period_s: int = 15
    tolerance: float = 0.1
    downscale_stabilization_s: int = 300
    cpu_initialization_period_s: float = 300
    initial_readiness_delay_s: float = 30
    hpa_scale_to_zero: bool = True  # on by default since 1.37
    pod_level_resources: bool = True


class Tolerances(NamedTuple):
    """Fractions below and above 1 within which a usage ratio changes nothing."""

    scale_down: float
    scale_up: float

    def hold(self, ratio: float) -> bool:
        return 1 - self.scale_down <= ratio <= 1 + self.scale_up


@dataclass(frozen=True)
class View:
    """All that one metric's proposal depends on, besides its reading."""

    spec_replicas: int
    status_replicas: int
    pods: tuple[Pod, ...]
    now_s: float
    tolerances: Tolerances
    flags: Flags


class MetricError(Exception):
    """A metric that gives no proposal in this pass."""


class Usage(NamedTuple):
    """Ratio of usage to target; what the status reports (percent, or milli per pod); the average in milli."""

    ratio: float
    observed: int
    average_milli: int


def truncated(numerator: int, denominator: int) -> int:
    """Integer division that rounds toward zero, as Go's does."""
    return int(Fraction(numerator, denominator))


def utilization_ratio(usage: Mapping[str, int], requests: Mapping[str, int], target_percent: int) -> Usage:
    """Usage over requests as a whole percent, truncated before it is divided by the target."""
    known = [pod for pod in usage if pod in requests]
    if not sum(requests[pod] for pod in known):
        raise MetricError("no metrics returned matched known pods")
    total = sum(usage[pod] for pod in known)
    utilization = truncated(100 * total, sum(requests[pod] for pod in known))
    return Usage(utilization / target_percent, utilization, truncated(total, len(known)))


def usage_ratio(usage: Mapping[str, int], target_milli: int) -> Usage:
    """Average usage per pod over the target."""
    average = truncated(sum(usage.values()), len(usage))
    return Usage(average / target_milli, average, average)


@dataclass(frozen=True)
class Target:
    """What a metric is held at; the subclasses are the API's three types."""

    amount: Quantity
    field: ClassVar[str]

    def manifest(self) -> Manifest:
        return {"type": type(self).__name__, self.field: _shown(self.amount)}

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


def _shown(amount: Quantity) -> Quantity:
    """Canonical where it is a quantity; validation names the field of one that is not."""
    try:
        return canonical(amount)
    except ValueError:
        return amount


class PodGroups(NamedTuple):
    """How many pods count as they are, and the names of those that do not."""

    ready_count: int
    unready: set[str]
    missing: set[str]
    ignored: set[str]


def group_pods(pods: Iterable[Pod], samples: Mapping[str, Sample], resource: str, view: View) -> PodGroups:
    """Sort pods into ready, unready, missing a metric, and ignored; the first rule that fits wins."""
    groups: dict[str, set[str]] = {"ready": set(), "unready": set(), "missing": set(), "ignored": set()}
    for pod in pods:
        groups[_group(pod, samples, resource, view)].add(pod.name)
    return PodGroups(len(groups["ready"]), groups["unready"], groups["missing"], groups["ignored"])


def _group(pod: Pod, samples: Mapping[str, Sample], resource: str, view: View) -> str:
    if pod.deleted or pod.phase in ("Succeeded", "Failed"):
        return "ignored"
    if pod.phase == "Pending":
        return "unready"
    if pod.name not in samples:
        return "missing"
    if resource == "cpu" and _starting(pod, samples[pod.name], view):
        return "unready"
    return "ready"


def _starting(pod: Pod, sample: Sample, view: View) -> bool:
    """A pod whose cpu says nothing yet: not ready, never was, or its sample reaches back before it was."""
    if pod.ready is None or pod.start_time_s is None:
        return True
    if view.now_s < pod.start_time_s + view.flags.cpu_initialization_period_s:
        return not pod.ready or sample.timestamp_s < pod.ready_transition_s + sample.window_s
    return not pod.ready and pod.ready_transition_s < pod.start_time_s + view.flags.initial_readiness_delay_s


def calculate_requests(
    pods: Iterable[Pod], resource: str, container: str = "", pod_level: bool = True
) -> dict[str, int]:
    """Milli of the resource that each pod requests; MetricError when one of them does not say."""
    return {pod.name: _request(pod, resource, container, pod_level) for pod in pods}


def _request(pod: Pod, resource: str, container: str, pod_level: bool) -> int:
    if pod_level and pod.requests and not container:
        return _pod_level_request(pod, resource)
    sidecars = (c for c in pod.init_containers if c.restart_policy == "Always")
    counted = [c for c in (*pod.containers, *sidecars) if container in ("", c.name)]
    if container and not counted:
        raise MetricError(f"container {container} not found in Pod {pod.name}")
    total = 0
    for c in counted:
        if resource not in c.requests:
            raise MetricError(f"missing request for {resource} in container {c.name} of Pod {pod.name}")
        total += milli_value(c.requests[resource])
    return total


def _pod_level_request(pod: Pod, resource: str) -> int:
    """The pod's own request; for what it does not name, the sum of the containers that do."""
    if pod.requests and resource in pod.requests:
        return milli_value(pod.requests[resource])
    given = [milli_value(c.requests[resource]) for c in pod.containers if resource in c.requests]
    if not given:
        raise MetricError(f"missing pod-level request for {resource} in Pod {pod.name}")
    return sum(given)


class Proposal(NamedTuple):
    """What one metric asks for: its name in the controller's events, replicas, usage, and why."""

    metric: str
    replicas: int
    usage: Usage
    why: str


Counted = tuple[int, Usage, str]


def per_pod_replicas(
    view: View, samples: Mapping[str, Sample], target: Target, resource: str = "", container: str = ""
) -> Counted:
    """Replicas that bring the pods' average back to the target; the usage reported is the first pass's."""
    if not view.pods:
        raise MetricError("no pods returned by selector while calculating replica count")
    groups = group_pods(view.pods, samples, resource, view)
    usage = {pod: s.milli for pod, s in samples.items() if pod not in groups.ignored | groups.unready}
    if not usage:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    expected = _expected_milli(view, target, resource, container)
    first = _measure(usage, expected, target)
    if not groups.missing and not (groups.unready and first.ratio > 1):
        return count_all(view, first, groups.ready_count)
    if first.ratio < 1:
        assumed = max(100, target.amount) if isinstance(target, Utilization) else 100
        usage |= {pod: truncated(expected[pod] * assumed, 100) for pod in groups.missing}
    elif first.ratio > 1:
        usage |= dict.fromkeys(groups.missing | groups.unready, 0)
    return count_filled(view, first, _measure(usage, expected, target).ratio, len(usage))


def _expected_milli(view: View, target: Target, resource: str, container: str) -> dict[str, int]:
    """What each pod uses at 100 %: its request, or the target itself."""
    if isinstance(target, Utilization):
        return calculate_requests(view.pods, resource, container, view.flags.pod_level_resources)
    return {pod.name: target.milli for pod in view.pods}


def _measure(usage: Mapping[str, int], expected: Mapping[str, int], target: Target) -> Usage:
    if isinstance(target, Utilization):
        return utilization_ratio(usage, expected, target.amount)
    return usage_ratio(usage, target.milli)


def count_all(view: View, usage: Usage, pods: int) -> Counted:
    """Every pod counts: the ratio times the ready pods, unless the ratio is within the tolerance."""
    if view.tolerances.hold(usage.ratio):
        return view.spec_replicas, usage, f"ratio {usage.ratio:.3f} is within the tolerance: no change"
    replicas = _ceil(usage.ratio * pods)
    return replicas, usage, f"ratio {usage.ratio:.3f} x {pods} ready pods, rounded up: {replicas}"


def count_filled(view: View, first: Usage, ratio: float, pods: int) -> Counted:
    """Some usage was assumed: follow the new ratio only where it points the same way as the first."""
    now, said = view.spec_replicas, f"ratio {first.ratio:.3f}, {ratio:.3f} with silent and unready pods filled in"
    if view.tolerances.hold(ratio) or (first.ratio - 1) * (ratio - 1) < 0:
        return now, first, f"{said}: no change"
    replicas = _ceil(ratio * pods)
    if (ratio - 1) * (replicas - now) < 0:
        return now, first, f"{said}: {replicas} would go the other way, no change"
    return replicas, first, f"{said} x {pods} pods, rounded up: {replicas}"


def total_replicas(view: View, usage_milli: int, target: Target) -> Counted:
    """Replicas for a total that is not measured per pod (Object and External metrics)."""
    if isinstance(target, AverageValue):
        return _shared_among(view, usage_milli, target.milli)
    usage = Usage(usage_milli / target.milli, usage_milli, usage_milli)
    if view.spec_replicas == 0:
        replicas = _ceil(usage.ratio)
        return replicas, usage, f"from zero: ratio {usage.ratio:.3f} rounded up: {replicas}"
    if view.tolerances.hold(usage.ratio):
        return count_all(view, usage, 0)
    if not view.pods:
        raise MetricError(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    return count_all(view, usage, sum(pod.phase == "Running" and pod.ready is True for pod in view.pods))


def _shared_among(view: View, usage_milli: int, milli: int) -> Counted:
    current = view.status_replicas
    usage = Usage(_ratio(usage_milli, milli * current), (each := per_pod_usage(usage_milli, current)), each)
    if view.tolerances.hold(usage.ratio):
        return current, usage, f"ratio {usage.ratio:.3f} is within the tolerance: no change"
    replicas = _ceil(usage_milli / milli)
    return replicas, usage, f"{_plain(usage_milli)} in all / {_plain(milli)} per pod, rounded up: {replicas}"


def per_pod_usage(usage_milli: int, status_replicas: int) -> int:
    """A total divided by the pods, rounded up; 0 without pods."""
    if float(usage_milli) >= MAX_INT64:  # as a double, which rounds up to it
        return MAX_INT64
    return math.ceil(usage_milli / status_replicas) if status_replicas else 0


def _ratio(numerator: float, denominator: float) -> float:
    """IEEE division: something over nothing is infinite, nothing over nothing is not a number."""
    if denominator:
        return numerator / denominator
    return math.copysign(math.inf, numerator) if numerator else math.nan


def _ceil(replicas: float) -> int:
    return MAX_INT32 if replicas > MAX_INT32 else math.ceil(replicas)


def _plain(milli: int) -> str:
    return canonical(f"{milli}m")


@dataclass(frozen=True)
class Metric:
    """One entry of `metrics`; the subclasses are the API's source types."""

    name: str
    target: Target

    def manifest(self) -> Manifest:
        kind = type(self).__name__
        return {"type": kind, kind[0].lower() + kind[1:]: self.source() | {"target": self.target.manifest()}}

    def source(self) -> Manifest:
        """What names the metric in the manifest."""
        raise NotImplementedError

    def propose(self, reading: Reading, view: View) -> Proposal:
        """Replicas wanted by this metric; MetricError when the reading gives none."""
        raise NotImplementedError

    @property
    def failure(self) -> str:
        """Reason of the condition when the metric gives no proposal."""
        return f"FailedGet{type(self).__name__}Metric"

    def refuse(self, reading: Reading, wanted: str) -> Invalid:
        return Invalid(f"reading of {self.name}", [Field(reading, "reading").invalid(f"must be {wanted}")])

    def samples(self, reading: Reading, api: str) -> Mapping[str, Sample]:
        if not reading:
            raise MetricError(f"no metrics returned from {api} metrics API")
        if not isinstance(reading, Mapping) or not all(isinstance(sample, Sample) for sample in reading.values()):
            raise self.refuse(reading, "a sample for each pod")
        return reading

    def __post_init__(self) -> None:
        _typed(self.target, Target, f"{self.name}.target", "hpa.Utilization, hpa.AverageValue or hpa.Value")


@dataclass(frozen=True)
class Resource(Metric):
    """cpu or memory of whole pods, from the metrics server."""

    container: str = field(default="", init=False, repr=False)

    def source(self) -> Manifest:
        return {"name": self.name}

    def propose(self, reading: Reading, view: View) -> Proposal:
        percent = isinstance(self.target, Utilization)
        try:
            counted = per_pod_replicas(view, self.samples(reading, "resource"), self.target, self.name, self.container)
        except MetricError as error:
            missing = "" if reading else f"unable to get metrics for resource {self.name}: "
            kind = "utilization" if percent else "usage"
            raise MetricError(f"failed to get {self.name} {kind}: {missing}{error}") from None
        what = "container resource" if self.container else "resource"
        name = f"{self.name} {what} utilization (percentage of request)" if percent else f"{self.name} resource"
        return Proposal(name, *counted)


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

    def event_name(self) -> str:
        """Name and selector as Go prints them in the controller's events."""
        pairs = "".join(f"{key}: {label}," for key, label in sorted((self.match_labels or {}).items()))
        chosen = f"MatchLabels:map[string]string{{{pairs}}},MatchExpressions:[]LabelSelectorRequirement{{}},"
        return f"external metric {self.name}({f'&LabelSelector{{{chosen}}}' if self.match_labels else 'nil'})"


@dataclass(frozen=True)
class Pods(CustomMetric):
    """A metric that every pod exports; its target is an AverageValue."""

    def propose(self, reading: Reading, view: View) -> Proposal:
        try:
            samples = self.samples(reading, "custom")
        except MetricError as error:
            raise MetricError(f"unable to get metric {self.name}: {error}") from None
        return Proposal(f"pods metric {self.name}", *per_pod_replicas(view, samples, self.target))


@dataclass(frozen=True)
class Object(CustomMetric):
    """A metric of one other object, an Ingress say; its reading is one amount in milli."""

    described_object: ObjectReference = field(kw_only=True)

    def source(self) -> Manifest:
        return super().source() | {"describedObject": self.described_object.manifest()}

    def propose(self, reading: Reading, view: View) -> Proposal:
        kind = self.described_object.kind
        if reading is None:
            where = f"metric {self.name} on {kind} {self.described_object.name}"
            raise MetricError(f"unable to get {where}: no metrics returned from custom metrics API")
        if type(reading) is not int:
            raise self.refuse(reading, "one whole number of thousandths")
        per_pod = isinstance(self.target, AverageValue)  # upstream calls this one external
        name = self.event_name() if per_pod else f"{kind} metric {self.name}"
        return Proposal(name, *total_replicas(view, reading, self.target))


@dataclass(frozen=True)
class External(CustomMetric):
    """A metric from outside the cluster, a queue's length say; its series are summed."""

    def propose(self, reading: Reading, view: View) -> Proposal:
        if reading is None or (isinstance(reading, Sequence) and not reading):
            raise MetricError(
                f"unable to get external metric {self.name}: no metrics returned from external metrics API"
            )
        if not isinstance(reading, list | tuple) or any(type(series) is not int for series in reading):
            raise self.refuse(reading, "a list of whole thousandths, one a series")
        total = saturated_sum(reading, negative_is_overflow=isinstance(self.target, AverageValue))
        return Proposal(self.event_name(), *total_replicas(view, total, self.target))


def saturated_sum(series: Sequence[int], negative_is_overflow: bool) -> int:
    """The sum, stopped at the largest 64-bit integer; per pod, upstream takes a negative sum for an overflow too."""
    total = 0
    for amount in series:
        total += amount
        if total > MAX_INT64 or (negative_is_overflow and total < 0):
            return MAX_INT64
    return total


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

    def or_default(self, default: ScalingRules) -> ScalingRules:
        """These rules with every part that is None taken from the default."""
        given = {name: part for name, part in vars(self).items() if part is not None}
        return replace(default, **given)

    def manifest(self) -> Manifest:
        parts = {
            "policies": None if self.policies is None else [policy.manifest() for policy in self.policies],
            "selectPolicy": self.select_policy,
            "stabilizationWindowSeconds": self.stabilization_window_seconds,
            "tolerance": None if self.tolerance is None else _shown(self.tolerance),
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
        for name, rules in (("scaleUp", self.scale_up), ("scaleDown", self.scale_down)):
            _typed(rules, ScalingRules, f"behavior.{name}", "hpa.ScalingRules")
            _typed(rules.policies, (tuple, type(None)), f"behavior.{name}.policies", "a tuple of hpa.ScalingPolicy")
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
        _typed(self.scale_target_ref, ObjectReference, "spec.scaleTargetRef", "a manifest.ObjectReference")
        _typed(self.behavior, (Behavior, type(None)), "spec.behavior", "an hpa.Behavior")
        _typed(self.metrics, tuple, "spec.metrics", "a tuple of metrics")
        for i, metric in enumerate(self.metrics):
            if not isinstance(metric, Metric):
                kinds = ["ContainerResource", "External", "Object", "Pods", "Resource"]
                raise Invalid(self.name, [Field(metric, f"spec.metrics[{i}].type").unsupported(kinds)])
        if not self.metrics:
            object.__setattr__(self, "metrics", DEFAULT_METRICS)
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

    def tolerances(self, flags: Flags) -> Tolerances:
        """The flag's tolerance, unless `behavior` sets one for a direction (GA since 1.37)."""
        if self.behavior is None:
            return Tolerances(flags.tolerance, flags.tolerance)
        given = (self.behavior.scale_down.tolerance, self.behavior.scale_up.tolerance)
        return Tolerances(*(flags.tolerance if t is None else float(quantity(t)) for t in given))

    def scales_from_zero(self) -> bool:
        """Only a metric that exists without pods can wake a workload."""
        return any(isinstance(metric, Object | External) for metric in self.metrics)


class Stamped(NamedTuple):
    """A replica count, or a change of it, and when it was noted."""

    value: int
    at_s: float


Log = tuple[Stamped, ...]


@dataclass(frozen=True)
class History:
    """What the controller remembers of one HPA between passes; None means that it has not met it yet."""

    recommendations: Log | None = None
    scale_up_events: Log = ()
    scale_down_events: Log = ()
    scaled_to_zero: bool | None = None  # the ScaledToZero condition


def store(log: Log, entry: Stamped, expired: Callable[[Stamped], bool]) -> Log:
    """The log with the entry in the slot of the last expired one, or at the end."""
    slots = [i for i, old in enumerate(log) if expired(old)]
    return (*log[: slots[-1]], entry, *log[slots[-1] + 1 :]) if slots else (*log, entry)


def stabilize_legacy(log: Log, desired: int, now_s: float, window_s: float) -> tuple[int, Log]:
    """Without `behavior`: the highest recommendation of the window, which may exceed the current count."""

    def expired(old: Stamped) -> bool:
        return old.at_s < now_s - window_s or window_s == 0

    highest = max([desired, *(old.value for old in log if not expired(old))])
    return highest, store(log, Stamped(desired, now_s), expired)


def stabilize(
    log: Log, current: int, desired: int, now_s: float, up_window_s: float, down_window_s: float
) -> tuple[int, Log]:
    """With `behavior`: raise to the lowest of the up window, lower to the highest of the down window."""
    lowest = min([desired, *(old.value for old in log if old.at_s > now_s - up_window_s)])
    highest = max([desired, *(old.value for old in log if old.at_s > now_s - down_window_s)])
    oldest_s = now_s - max(up_window_s, down_window_s)
    return min(max(current, lowest), highest), store(log, Stamped(desired, now_s), lambda old: old.at_s < oldest_s)


def change_within(events: Log, period_s: float, now_s: float) -> int:
    """Replicas added, or removed, by the events younger than the period."""
    return sum(event.value for event in events if event.at_s > now_s - period_s)


def rate_limit(current: int, history: History, rules: ScalingRules, now_s: float, up: bool) -> int:
    """The highest count (lowest, when not `up`) that the policies of one direction allow now."""
    if rules.select_policy == "Disabled":
        return current
    largest_change = max if up else min
    smallest_change = min if up else max
    pick = smallest_change if rules.select_policy == "Min" else largest_change
    return pick(policy_bound(policy, current, history, now_s, up) for policy in rules.policies or ())


def policy_bound(policy: ScalingPolicy, current: int, history: History, now_s: float, up: bool) -> int:
    """The policy's bound, counted from the replicas at the start of its period."""
    added = change_within(history.scale_up_events, policy.period_seconds, now_s)
    removed = change_within(history.scale_down_events, policy.period_seconds, now_s)
    start, change = current - added + removed, policy.value if up else -policy.value
    if policy.type == "Pods":
        return start + change
    return (math.ceil if up else math.trunc)(start * (1 + change / 100))


Limited = tuple[int, str]


def limit_legacy(current: int, desired: int, low: int, high: int) -> Limited:
    """Without `behavior`: from min to max, and at most twice the current count (4 at least)."""
    ramp = max(2 * current, 4)
    if desired < low:
        return low, "TooFewReplicas"
    if desired > min(high, ramp):
        return min(high, ramp), "ScaleUpLimit" if high > ramp else "TooManyReplicas"
    return desired, "DesiredWithinRange"


def limit(
    current: int, desired: int, low: int, high: int, behavior: Behavior, history: History, now_s: float
) -> Limited:
    """With `behavior`: the policies, then max when raising, min when lowering; a spent budget holds."""
    if desired > current:
        ramp = max(current, rate_limit(current, history, behavior.scale_up, now_s, up=True))
        if desired > min(high, ramp):
            return min(high, ramp), "ScaleUpLimit" if high > ramp else "TooManyReplicas"
    if desired < current:
        ramp = min(current, rate_limit(current, history, behavior.scale_down, now_s, up=False))
        if desired < max(low, ramp):
            return max(low, ramp), "ScaleDownLimit" if low < ramp else "TooFewReplicas"
    return desired, "DesiredWithinRange"


class Condition(NamedTuple):
    """A condition of the HPA's status, as `kubectl describe hpa` lists it."""

    type: str
    status: bool
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.type:<15} {self.status!s:<6} {self.reason:<20} {self.message}"


_MESSAGES = {
    "SucceededGetScale": "the HPA controller was able to get the target's current scale",
    "ReadyForNewScale": "recommended size matches current size",
    "ScaleUpStabilized": "recent recommendations were lower than current one, "
    "applying the lowest recent recommendation",
    "ScaleDownStabilized": "recent recommendations were higher than current one, "
    "applying the highest recent recommendation",
    "ScaleUpLimit": "the desired replica count is increasing faster than the maximum scale rate",
    "ScaleDownLimit": "the desired replica count is decreasing faster than the maximum scale rate",
    "TooManyReplicas": "the desired replica count is more than the maximum replica count",
    "TooFewReplicas": "the desired replica count is less than the minimum replica count",
    "DesiredWithinRange": "the desired count is within the acceptable range",
    "ScalingDisabled": "scaling is disabled since the replica count of the target is zero",
}


def _condition(kind: str, status: bool, reason: str) -> Condition:
    return Condition(kind, status, reason, _MESSAGES[reason])


class Failure(NamedTuple):
    """A metric that gave no proposal: the reason of the condition it causes, and its error."""

    reason: str
    error: str


@dataclass(frozen=True)
class Decision:
    """The outcome of one pass: the count to write, and every step that led to it."""

    at_s: float
    current: int
    desired: int
    history: History
    proposals: tuple[Proposal | Failure, ...] = ()
    able_to_scale: Condition = field(default=_condition("AbleToScale", True, "SucceededGetScale"))
    scaling_active: Condition | None = None
    scaling_limited: Condition | None = None
    rescale_reason: str = ""

    @property
    def failure(self) -> Failure | None:
        """The first metric that failed."""
        return next((p for p in self.proposals if isinstance(p, Failure)), None)

    def conditions(self) -> list[Condition]:
        """The status conditions after the pass; a rescale overwrites AbleToScale."""
        able = self.able_to_scale
        if self.desired != self.current:
            message = f"the HPA controller was able to update the target scale to {self.desired}"
            able = Condition("AbleToScale", True, "SucceededRescale", message)
        return [c for c in (able, self.scaling_active, self.scaling_limited) if c]

    def why(self) -> str:
        """The pass in words, from the metrics to the count."""
        lines = [f"t={self.at_s:g} s: {self.current} -> {self.desired} replicas"]
        for p in self.proposals:
            lines.append(f"  {p.metric}: {p.why}" if isinstance(p, Proposal) else f"  {p.reason}: {p.error}")
        lines += [f"  {c}" for c in (self.able_to_scale, self.scaling_active, self.scaling_limited) if c]
        if self.desired != self.current:
            lines.append(f"  SuccessfulRescale: New size: {self.desired}; reason: {self.rescale_reason}")
        return "\n".join(lines)


def reconcile(
    hpa: HorizontalPodAutoscaler, seen: Observation, history: History, now_s: float, flags: Flags = Flags()
) -> Decision:
    """One pass of the controller over one HPA (`reconcileAutoscaler`)."""
    _check_readings(hpa, seen)
    current, low, high = seen.spec_replicas, hpa.min_replicas, hpa.max_replicas
    if history.recommendations is None:
        history = replace(history, recommendations=(Stamped(current, now_s),))
    unchanged = Decision(now_s, current, current, history)
    if current == 0 and not _may_wake(hpa, history, flags):
        return _paused(unchanged, flags)
    if current > high:
        decision = replace(unchanged, desired=high, rescale_reason="Current number of replicas above Spec.MaxReplicas")
    elif 0 < current < low:
        decision = replace(unchanged, desired=low, rescale_reason="Current number of replicas below Spec.MinReplicas")
    else:
        decision = _by_metrics(hpa, seen, unchanged, flags)
    return decision if decision.desired == current else remember(hpa, decision, flags)


def _check_readings(hpa: HorizontalPodAutoscaler, seen: Observation) -> None:
    if len(seen.readings) != len(hpa.metrics):
        count = Field(len(seen.readings), "readings")
        raise Invalid("observation", [count.invalid(f"must be one reading for each of {len(hpa.metrics)} metrics")])


def _may_wake(hpa: HorizontalPodAutoscaler, history: History, flags: Flags) -> bool:
    """At zero, compute only if it was this controller that scaled to zero."""
    asleep = flags.hpa_scale_to_zero and history.scaled_to_zero is True
    return asleep and (hpa.min_replicas != 0 or hpa.scales_from_zero())


def _paused(unchanged: Decision, flags: Flags) -> Decision:
    history = unchanged.history if flags.hpa_scale_to_zero else replace(unchanged.history, scaled_to_zero=None)
    return replace(unchanged, history=history, scaling_active=_condition("ScalingActive", False, "ScalingDisabled"))


def _by_metrics(hpa: HorizontalPodAutoscaler, seen: Observation, unchanged: Decision, flags: Flags) -> Decision:
    """Proposal, stabilization, limits."""
    proposals = propose(hpa, seen, unchanged.at_s, flags)
    valid = [p for p in proposals if isinstance(p, Proposal)]
    best = _largest(valid)
    decision = replace(unchanged, proposals=proposals)
    failure = decision.failure
    if failure and (best is None or best.replicas < decision.current):
        message = f"the HPA was unable to compute the replica count: {failure.error}"
        return replace(decision, scaling_active=Condition("ScalingActive", False, failure.reason, message))
    assert best is not None  # no metric failed, and there is one at least
    message = f"the HPA was able to successfully calculate a replica count from {best.metric}"
    active = Condition("ScalingActive", True, "ValidMetricFound", message)
    return _normalized(
        hpa, replace(decision, scaling_active=active, rescale_reason=_reason(best, decision)), best, flags
    )


def _largest(proposals: list[Proposal]) -> Proposal | None:
    """The largest proposal; of equal ones the first, but any later one replaces a proposal of 0."""
    best = None
    for proposal in proposals:
        if best is None or best.replicas == 0 or proposal.replicas > best.replicas:
            best = proposal
    return best


def propose(
    hpa: HorizontalPodAutoscaler, seen: Observation, now_s: float, flags: Flags
) -> tuple[Proposal | Failure, ...]:
    """What each metric asks for, in the order of the spec."""
    status = seen.spec_replicas if seen.status_replicas is None else seen.status_replicas
    view = View(seen.spec_replicas, status, seen.pods, now_s, hpa.tolerances(flags), flags)
    outcomes: list[Proposal | Failure] = []
    for metric, reading in zip(hpa.metrics, seen.readings, strict=True):
        try:
            outcomes.append(metric.propose(reading, view))
        except MetricError as error:
            outcomes.append(Failure(metric.failure, str(error)))
    return tuple(outcomes)


def _reason(best: Proposal, decision: Decision) -> str:
    if best.replicas > decision.current:
        return f"{best.metric} above target"
    return "All metrics below target" if best.replicas < decision.current else ""


def _normalized(hpa: HorizontalPodAutoscaler, decision: Decision, best: Proposal, flags: Flags) -> Decision:
    now_s, current, desired, history = decision.at_s, decision.current, max(best.replicas, 0), decision.history
    log, low, high = history.recommendations or (), hpa.min_replicas, hpa.max_replicas
    if hpa.behavior is None:
        stable, log = stabilize_legacy(log, desired, now_s, flags.downscale_stabilization_s)
        count, reason = limit_legacy(current, stable, low, high)
        held = "ScaleDownStabilized"
    else:
        up_s, down_s = _windows(hpa.behavior, flags)
        stable, log = stabilize(log, current, desired, now_s, up_s, down_s)
        count, reason = limit(current, stable, low, high, hpa.behavior, history, now_s)
        held = "ScaleUpStabilized" if desired >= current else "ScaleDownStabilized"
    raised = current == 0 and count < low  # waking up goes to the minimum at least
    if raised and not decision.rescale_reason:
        decision = replace(decision, rescale_reason="Current number of replicas below Spec.MinReplicas")
    return replace(
        decision,
        desired=low if raised else count,
        history=replace(history, recommendations=log),
        able_to_scale=_condition("AbleToScale", True, "ReadyForNewScale" if stable == desired else held),
        scaling_limited=_condition("ScalingLimited", count != stable, reason),
    )


def _windows(behavior: Behavior, flags: Flags) -> tuple[float, float]:
    up_s, down_s = (rules.stabilization_window_seconds for rules in (behavior.scale_up, behavior.scale_down))
    return up_s or 0, flags.downscale_stabilization_s if down_s is None else down_s


def remember(hpa: HorizontalPodAutoscaler, decision: Decision, flags: Flags) -> Decision:
    """A rescale leaves its mark: whether it went to zero, and an event that the policies count."""
    to_zero = decision.desired == 0 == hpa.min_replicas and hpa.scales_from_zero()
    history = replace(decision.history, scaled_to_zero=to_zero if flags.hpa_scale_to_zero else None)
    if hpa.behavior is not None:
        history = store_event(history, decision.desired - decision.current, hpa.behavior, decision.at_s)
    return replace(decision, history=history)


def store_event(history: History, change: int, behavior: Behavior, now_s: float) -> History:
    """The history with a change of replicas noted in its direction."""
    rules = behavior.scale_up if change > 0 else behavior.scale_down
    longest_s = max(policy.period_seconds for policy in rules.policies or ())

    def stored(log: Log) -> Log:
        return store(log, Stamped(abs(change), now_s), lambda old: old.at_s < now_s - longest_s)

    if change > 0:
        return replace(history, scale_up_events=stored(history.scale_up_events))
    return replace(history, scale_down_events=stored(history.scale_down_events))


def simulate(
    hpa: HorizontalPodAutoscaler,
    observe: Callable[[float, int], Observation],
    replicas: int,
    duration_s: int,
    flags: Flags = Flags(),
) -> list[Decision]:
    """One decision every sync period from second 0; `observe(now_s, replicas)` plays the cluster."""
    check("simulate", whole(1)(Field(flags.sync_period_s, "flags.sync_period_s")))
    check("simulate", whole(0)(Field(duration_s, "duration_s")))
    history, decisions = History(), []
    for now_s in range(0, duration_s + 1, flags.sync_period_s):
        decision = reconcile(hpa, observe(now_s, replicas), history, now_s, flags)
        replicas, history = decision.desired, decision.history
        decisions.append(decision)
    return decisions


def running_pods(count: int, **requests: Quantity) -> tuple[Pod, ...]:
    """`count` ready pods of one container each, with these requests."""
    containers = (Container("server", requests),)
    return tuple(Pod(f"pod-{i}", containers) for i in range(count))


def evenly(total_milli: int, pods: Sequence[Pod], now_s: float = 0.0) -> dict[str, Sample]:
    """The total shared by the pods, the remainder going to the first ones."""
    each, rest = divmod(total_milli, max(len(pods), 1))
    return {pod.name: Sample(each + (i < rest), now_s) for i, pod in enumerate(pods)}
