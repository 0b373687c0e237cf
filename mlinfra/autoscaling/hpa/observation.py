"""What one pass of the controller reads: pods, metric readings, the scale subresource, and the controller's flags.

Usage and requests are in thousandths (milli): 500 is half a core or half a request per second. Times are seconds
on any clock that only moves forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlinfra.admission.rules import Field, Invalid, Problem, one_of, quantity_check, refuse, whole
from mlinfra.autoscaling.hpa.metrics import Metric
from mlinfra.quantity import Quantity

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
        refuse(f"container {self.name}", request_problems(self.requests))


def request_problems(requests: Mapping[str, Quantity] | None) -> Iterator[Problem]:
    """What is wrong with `resources.requests`."""
    for request in Field(requests, "resources.requests").each():
        yield from quantity_check()(request)


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
        refuse(f"pod {self.name}", one_of(*PHASES)(Field(self.phase, "status.phase")))
        refuse(f"pod {self.name}", request_problems(self.requests))


@dataclass(frozen=True)
class Sample:
    """One pod's usage in milli, averaged over the `window_s` seconds before `timestamp_s`."""

    milli: int
    timestamp_s: float = 0.0
    window_s: float = 60.0

    def __post_init__(self) -> None:
        if abs(self.milli) > MAX_INT64:
            raise Invalid("sample", [Field(self.milli, "milli").invalid("must be an integer of 64 bits")])


Reading = Mapping[str, Sample] | Sequence[int] | int | None
"""A metrics API's answer: a sample per pod, the series of an External metric, an Object's value, or nothing."""


@dataclass(frozen=True)
class Observation:
    """What one pass reads: the scale subresource, the pods behind it, and one reading per metric."""

    spec_replicas: int
    pods: tuple[Pod, ...]
    readings: tuple[Reading, ...]
    status_replicas: int | None = None  # None: the same as spec_replicas

    def __post_init__(self) -> None:
        refuse("scale", whole(0)(Field(self.spec_replicas, "spec.replicas")))
        if self.status_replicas is not None:
            refuse("scale", whole(0)(Field(self.status_replicas, "status.replicas")))


def reading_problems(metrics: Sequence[Metric], readings: Sequence[Reading]) -> Iterator[Problem]:
    """Where there is not one reading for each metric, of the kind that its API gives."""
    if len(readings) != len(metrics):
        yield Field(len(readings), "readings").invalid(f"must be one reading for each of {len(metrics)} metrics")
    for metric, reading in zip(metrics, readings, strict=False):
        if reading is not None and not isinstance(reading, metric.reading_type):
            yield Field(reading, f"{metric.name}.reading").invalid(f"must be {metric.reading_words}")


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

    def __post_init__(self) -> None:
        refuse("flags", whole(1)(Field(self.sync_period_s, "sync_period_s")))


DEFAULT_FLAGS = Flags()


def running_pods(count: int, **requests: Quantity) -> tuple[Pod, ...]:
    """`count` ready pods of one container each, with these requests."""
    containers = (Container("server", requests),)
    return tuple(Pod(f"pod-{i}", containers) for i in range(count))


def evenly(total_milli: int, pods: Sequence[Pod], now_s: float = 0.0) -> dict[str, Sample]:
    """The total shared by the pods, the remainder going to the first ones."""
    share, remainder = divmod(total_milli, max(len(pods), 1))
    return {pod.name: Sample(share + (i < remainder), now_s) for i, pod in enumerate(pods)}
