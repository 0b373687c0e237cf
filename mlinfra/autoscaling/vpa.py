"""VerticalPodAutoscaler, autoscaling.k8s.io/v1: its manifest, and the recommendations of its recommender.

Follows `vertical-pod-autoscaler/pkg/recommender/{util,model,logic}` of tag vertical-pod-autoscaler-1.7.1. CPU is in
milli cores, memory in bytes; times are seconds since a midnight, so that a half-life of a day starts at one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mlinfra.admission import check_manifest
from mlinfra.admission.rules import (
    Field,
    Needed,
    Rules,
    broken,
    check,
    real,
    whole,
)
from mlinfra.manifest import Manifest, ObjectReference
from mlinfra.quantity import Quantity, canonical, milli_value, quantity, shown

DAY_S = 86_400
MAX_AMOUNT = 10**14
MAX_DECAY_EXPONENT = 100


@dataclass(frozen=True)
class Buckets:
    """Where the buckets of a histogram start: each `ratio` times as wide as the last (1.0: all alike)."""

    first_size: float
    largest: float
    ratio: float = 1.05
    epsilon: float = 1e-4

    @property
    def count(self) -> int:
        if self.ratio == 1:
            return math.ceil(self.largest / self.first_size) + 1
        return math.ceil(self._log(self.largest * (self.ratio - 1) / self.first_size + 1)) + 1

    def start(self, bucket: int) -> float:
        if self.ratio == 1:
            return bucket * self.first_size
        return self.first_size * (self.ratio**bucket - 1) / (self.ratio - 1)

    def find(self, value: float) -> int:
        """The bucket of a value; the first and the last take what lies beyond them."""
        if value < self.first_size:
            return 0
        linear = self.ratio == 1
        bucket = value / self.first_size if linear else self._log(value * (self.ratio - 1) / self.first_size + 1)
        return min(int(bucket), self.count - 1)

    def _log(self, value: float) -> float:
        return math.log(value) / math.log(self.ratio)


CPU_BUCKETS = Buckets(0.01, 1000.0)  # cores
MEMORY_BUCKETS = Buckets(1e7, 1e12)  # bytes


class Histogram:
    """Weights by bucket; with a half-life, a sample weighs half as much as one that is a half-life younger."""

    def __init__(self, buckets: Buckets, half_life_s: float | None = DAY_S) -> None:
        self.buckets, self.half_life_s = buckets, half_life_s
        self.weights: dict[int, float] = {}
        self.total = 0.0
        self.reference_s = -math.inf

    def add(self, value: float, weight: float, at_s: float) -> None:
        weight, bucket = weight * self._decay(at_s), self.buckets.find(value)
        self.weights[bucket] = self.weights.get(bucket, 0.0) + weight
        self.total += weight

    def subtract(self, value: float, weight: float, at_s: float) -> None:
        """Take a sample back; what is left below epsilon counts as nothing."""
        weight, bucket = weight * self._decay(at_s), self.buckets.find(value)
        self.weights[bucket] = self._left(self.weights.get(bucket, 0.0) - weight)
        self.total = self._left(self.total - weight)

    def _left(self, weight: float) -> float:
        return weight if weight >= self.buckets.epsilon else 0.0

    def _decay(self, at_s: float) -> float:
        """2^(age of the reference in half-lives): younger samples get larger weights, old ones are never touched."""
        if self.half_life_s is None:
            return 1.0
        if at_s > self.reference_s + self.half_life_s * MAX_DECAY_EXPONENT:
            self._shift(at_s)
        return math.pow(2.0, (at_s - self.reference_s) / self.half_life_s)

    def _shift(self, at_s: float) -> None:
        """Move the reference to the half-life nearest to a time, before the weights outgrow a double."""
        assert self.half_life_s is not None
        reference_s = math.floor(at_s / self.half_life_s + 0.5) * self.half_life_s
        exponent = (self.reference_s - reference_s) / self.half_life_s
        self.weights = {bucket: weight * 2.0**exponent for bucket, weight in self.weights.items()}
        self.total, self.reference_s = self.total * 2.0**exponent, reference_s

    def merge(self, other: Histogram) -> None:
        """Add the other's weights, both counted from the younger reference."""
        if self.half_life_s is not None and self.reference_s != other.reference_s:
            older = min(self, other, key=lambda histogram: histogram.reference_s)
            older._shift(max(self.reference_s, other.reference_s))
        for bucket, weight in other.weights.items():
            self.weights[bucket] = self.weights.get(bucket, 0.0) + weight
        self.total += other.total

    def used(self) -> list[int]:
        """Buckets with a weight of epsilon or more, in order."""
        return sorted(bucket for bucket, weight in self.weights.items() if weight >= self.buckets.epsilon)

    def percentile(self, fraction: float) -> float:
        """End of the bucket where the running weight first reaches the fraction (the last's start); 0 if empty."""
        used = self.used()
        if not used:
            return 0.0
        reached, bucket = 0.0, used[0]
        while bucket < used[-1]:
            reached += self.weights.get(bucket, 0.0)
            if reached >= fraction * self.total:
                break
            bucket += 1
        return self.buckets.start(min(bucket + 1, self.buckets.count - 1))


PERCENTILE = real(0, 1)
FLAGS: Rules = [
    ("target_percentile", Needed(), PERCENTILE),
    ("lower_bound_percentile", Needed(), PERCENTILE),
    ("upper_bound_percentile", Needed(), PERCENTILE),
    ("safety_margin_fraction", Needed(), real(0)),
    ("pod_min_cpu_milli", Needed(), whole(0)),
    ("pod_min_memory_mib", Needed(), whole(0)),
    ("confidence_interval_s", Needed(), real(1)),
    ("histogram_half_life_s", Needed(), real(1)),
    ("memory_aggregation_interval_s", Needed(), real(1)),
    ("memory_aggregation_interval_count", Needed(), whole(1)),
    ("oom_bump_up_ratio", Needed(), real(1)),
    ("oom_min_bump_up_bytes", Needed(), whole(0, 2**63 - 1)),
    ("cpu_sample_weight", Needed(), real(0)),
    ("memory_sample_weight", Needed(), real(0)),
]


@dataclass(frozen=True)
class Flags:
    """Flags of the recommender, with their defaults."""

    target_percentile: float = 0.9
    lower_bound_percentile: float = 0.5
    upper_bound_percentile: float = 0.95
    safety_margin_fraction: float = 0.15
    pod_min_cpu_milli: int = 25
    pod_min_memory_mib: int = 250
    confidence_interval_s: int = DAY_S
    histogram_half_life_s: float = DAY_S
    memory_aggregation_interval_s: int = DAY_S
    memory_aggregation_interval_count: int = 8
    oom_bump_up_ratio: float = 1.2
    oom_min_bump_up_bytes: int = 100 * 2**20
    cpu_sample_weight: float = 0.1
    memory_sample_weight: float = 1.0

    def __post_init__(self) -> None:
        check("flags", broken(Field(vars(self)), FLAGS))


class Aggregate:
    """What is known of one container's usage over all its pods."""

    def __init__(self, flags: Flags = Flags()) -> None:
        self.flags = flags
        self.cpu = Histogram(CPU_BUCKETS, flags.histogram_half_life_s)
        self.memory_peaks = Histogram(MEMORY_BUCKETS, flags.histogram_half_life_s)
        self.cpu_samples = 0
        self.first_s, self.last_s = math.inf, -math.inf

    def add_cpu(self, milli: int, at_s: float) -> None:
        self.cpu.add(milli / 1000, self.flags.cpu_sample_weight, at_s)
        self.cpu_samples += 1
        self.first_s, self.last_s = min(self.first_s, at_s), max(self.last_s, at_s)

    def add_peak(self, peak_bytes: int, at_s: float) -> None:
        self.memory_peaks.add(peak_bytes, self.flags.memory_sample_weight, at_s)

    def subtract_peak(self, peak_bytes: int, at_s: float) -> None:
        self.memory_peaks.subtract(peak_bytes, self.flags.memory_sample_weight, at_s)

    def expired(self, now_s: float) -> bool:
        """Whether the recommender forgets it: no cpu sample for as long as the memory windows reach back."""
        kept_s = self.flags.memory_aggregation_interval_s * self.flags.memory_aggregation_interval_count
        return now_s - self.last_s >= kept_s

    @property
    def confidence(self) -> float:
        """Days of history, or samples at one a minute, whichever is less."""
        if not self.cpu_samples:
            return 0.0
        interval_s = self.flags.confidence_interval_s
        return min((self.last_s - self.first_s) / interval_s, self.cpu_samples / (interval_s / 60))


@dataclass
class Container:
    """One container of one pod: it turns samples into what the aggregate keeps, one memory peak a window."""

    aggregate: Aggregate
    last_cpu_s: float = -math.inf
    last_memory_s: float = -math.inf
    window_end_s: float | None = None
    memory_peak: int = 0
    oom_peak: int = 0

    def add_cpu(self, milli: int, at_s: float) -> bool:
        """False for a sample that is negative, or no later than the last one."""
        if milli < 0 or at_s <= self.last_cpu_s:
            return False
        self.aggregate.add_cpu(milli, at_s)
        self.last_cpu_s = at_s
        return True

    def add_memory(self, used_bytes: int, at_s: float) -> bool:
        """False for a sample that is negative, or earlier than the last one."""
        if used_bytes < 0 or at_s < self.last_memory_s:
            return False
        self._add_memory(used_bytes, at_s, oom=False)
        return True

    def add_oom(self, request_bytes: int, at_s: float) -> bool:
        """An out-of-memory kill counts as the need for more than was used; False when it is too old."""
        flags = self.aggregate.flags
        if self.window_end_s is not None and at_s < self.window_end_s - flags.memory_aggregation_interval_s:
            return False
        used = max(request_bytes, self.memory_peak)  # not the last OOM's: repeats must not run away
        needed = max(used + flags.oom_min_bump_up_bytes, _scaled(used, flags.oom_bump_up_ratio))
        self._add_memory(needed, at_s, oom=True)
        return True

    def _add_memory(self, peak_bytes: int, at_s: float, oom: bool) -> None:
        self.last_memory_s = at_s
        if self.window_end_s is None or at_s >= self.window_end_s:
            self._open_window(at_s)
        else:
            old = max(self.memory_peak, self.oom_peak)
            if old == 0 or peak_bytes <= old:
                return
            self.aggregate.subtract_peak(old, self.window_end_s)
        assert self.window_end_s is not None
        self.aggregate.add_peak(peak_bytes, self.window_end_s)
        if oom:
            self.oom_peak = peak_bytes
        else:
            self.memory_peak = peak_bytes

    def _open_window(self, at_s: float) -> None:
        interval_s, end_s = self.aggregate.flags.memory_aggregation_interval_s, self.window_end_s
        end_s = at_s if end_s is None else end_s
        self.window_end_s = end_s + (at_s - end_s) // interval_s * interval_s + interval_s
        self.memory_peak = self.oom_peak = 0


class Amounts(NamedTuple):
    """Milli cores and bytes."""

    cpu_milli: int
    memory_bytes: int

    def each(self, change: Callable[[int], int]) -> Amounts:
        return Amounts(change(self.cpu_milli), change(self.memory_bytes))


@dataclass(frozen=True)
class Recommendation:
    """What a container should request, and the bounds outside of which the updater acts."""

    target: Amounts
    lower_bound: Amounts
    upper_bound: Amounts
    confidence: float


def _amount(value: float) -> int:
    """Whole units from 0 to the largest amount; not a number counts as 0."""
    return int(min(max(value, 0.0), float(MAX_AMOUNT))) if value == value else 0


def _scaled(amount: int, factor: float) -> int:
    return _amount(amount * factor)


def estimate(usage: Aggregate, fraction: float) -> Amounts:
    """The percentile of the cpu samples and of the memory peaks."""
    return Amounts(_amount(usage.cpu.percentile(fraction) * 1000), _amount(usage.memory_peaks.percentile(fraction)))


def with_margin(base: Amounts, fraction: float) -> Amounts:
    """The amounts and a safety margin on top."""
    return base.each(lambda amount: _amount(amount + _scaled(amount, fraction)))


def with_confidence(base: Amounts, confidence: float, multiplier: float, exponent: float) -> Amounts:
    """The amounts times (1 + multiplier / confidence)^exponent: bounds are wide while little is known."""
    if confidence == 0:
        return base.each(lambda amount: MAX_AMOUNT if exponent > 0 else 0)
    return base.each(lambda amount: _scaled(amount, (1 + multiplier / confidence) ** exponent))


def at_least(base: Amounts, minimum: Amounts) -> Amounts:
    return Amounts(*(max(amount, least) for amount, least in zip(base, minimum, strict=True)))


def pod_minimum(containers: int, flags: Flags) -> Amounts:
    """A container's share of the least that a pod is given."""
    least = Amounts(flags.pod_min_cpu_milli, flags.pod_min_memory_mib * 2**20)
    return least.each(lambda amount: _scaled(amount, 1 / containers))


def recommend(usage: Aggregate, containers: int = 1) -> Recommendation:
    """Percentile, margin, confidence, minimum, in that order, for a container of a pod that has so many."""
    flags, confidence, least = usage.flags, usage.confidence, pod_minimum(containers, usage.flags)

    def bound(fraction: float, multiplier: float, exponent: float) -> Amounts:
        base = with_margin(estimate(usage, fraction), flags.safety_margin_fraction)
        widened = with_confidence(base, confidence, multiplier, exponent) if multiplier else base
        return at_least(widened, least)

    return Recommendation(
        bound(flags.target_percentile, 0.0, 1.0),
        bound(flags.lower_bound_percentile, 0.001, -2.0),
        bound(flags.upper_bound_percentile, 1.0, 1.0),
        confidence,
    )


@dataclass(frozen=True)
class ContainerPolicy:
    """What the VPA may do to one container ("*": to every one that has no policy of its own)."""

    container_name: str = "*"
    min_allowed: Mapping[str, Quantity] = field(default_factory=dict)
    max_allowed: Mapping[str, Quantity] = field(default_factory=dict)
    controlled_resources: tuple[str, ...] = ("cpu", "memory")
    controlled_values: str = "RequestsAndLimits"

    def manifest(self) -> Manifest:
        allowed = {"minAllowed": self.min_allowed, "maxAllowed": self.max_allowed}
        return {
            "containerName": self.container_name,
            "controlledResources": list(self.controlled_resources),
            "controlledValues": self.controlled_values,
            **{name: {r: shown(q) for r, q in bounds.items()} for name, bounds in allowed.items() if bounds},
        }

    def clamp(self, wanted: Recommendation) -> Recommendation:
        """The recommendation within minAllowed and maxAllowed."""

        def within(amounts: Amounts) -> Amounts:
            low = [self._allowed(self.min_allowed, name, 0) for name in ("cpu", "memory")]
            high = [self._allowed(self.max_allowed, name, MAX_AMOUNT) for name in ("cpu", "memory")]
            return Amounts(*(min(max(a, lo), hi) for a, lo, hi in zip(amounts, low, high, strict=True)))

        return Recommendation(
            within(wanted.target), within(wanted.lower_bound), within(wanted.upper_bound), wanted.confidence
        )

    def controlled(self, amounts: Amounts) -> dict[str, str]:
        """The amounts that this policy lets the VPA set, as quantities."""
        shown = {"cpu": canonical(f"{amounts.cpu_milli}m"), "memory": canonical(amounts.memory_bytes)}
        return {name: shown[name] for name in shown if name in self.controlled_resources}

    @staticmethod
    def _allowed(bounds: Mapping[str, Quantity], name: str, default: int) -> int:
        if name not in bounds:
            return default
        return milli_value(bounds[name]) if name == "cpu" else math.ceil(quantity(bounds[name]))


@dataclass(frozen=True)
class VerticalPodAutoscaler:
    """The object; Invalid when it would be refused."""

    name: str
    target_ref: ObjectReference
    update_mode: str = "Recreate"
    container_policies: tuple[ContainerPolicy, ...] = ()

    def __post_init__(self) -> None:
        check_manifest(self.manifest())

    def manifest(self) -> Manifest:
        spec: Manifest = {"targetRef": self.target_ref.manifest(), "updatePolicy": {"updateMode": self.update_mode}}
        if self.container_policies:
            spec["resourcePolicy"] = {"containerPolicies": [policy.manifest() for policy in self.container_policies]}
        head = {"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler"}
        return {**head, "metadata": {"name": self.name}, "spec": spec}
