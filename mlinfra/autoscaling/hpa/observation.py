"""What one pass of the controller reads: pods, metric readings, the scale subresource, and the controller's flags.

Usage and requests are in thousandths (milli): 500 is half a core or half a request per second. Times are seconds
on any clock that only moves forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from mlinfra.admission import AtLeastOne, Count, NotNegative, check
from mlinfra.admission.rules import one_of, whole
from mlinfra.quantity import Quantity

MAX_INT64 = 2**63 - 1
LONG_AGO_S = -1e8
Phase = Annotated[str, one_of("Pending", "Running", "Succeeded", "Failed", "Unknown")]


@dataclass(frozen=True)
class ContainerRequests:
    """A container's name and requests; an init container with restart policy Always is a sidecar."""

    name: str
    requests: Mapping[str, Quantity]
    restart_policy: str | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ObservedPod:
    """A pod as the controller reads it; `ready` None means that it has no Ready condition yet."""

    name: str
    containers: tuple[ContainerRequests, ...] = ()
    init_containers: tuple[ContainerRequests, ...] = ()
    requests: Mapping[str, Quantity] | None = None  # pod-level resources, KEP-2837
    phase: Phase = "Running"
    ready: bool | None = True
    deleted: bool = False
    start_time_s: float | None = LONG_AGO_S
    ready_transition_s: float = LONG_AGO_S

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Sample:
    """One pod's usage in milli, averaged over the `window_s` seconds before `timestamp_s`."""

    milli: Annotated[int, whole(-MAX_INT64, MAX_INT64)]
    timestamp_s: float = 0.0
    window_s: float = 60.0

    def __post_init__(self) -> None:
        check(self)


Reading = Mapping[str, Sample] | Sequence[int] | int | None
"""A metrics API's answer: a sample per pod, the series of an External metric, an Object's value, or nothing."""


@dataclass(frozen=True)
class Observation:
    """What one pass reads: the scale subresource, the pods behind it, and one reading per metric."""

    spec_replicas: Count
    pods: tuple[ObservedPod, ...]
    readings: tuple[Reading, ...]
    status_replicas: Count | None = None  # None: the same as spec_replicas

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ControllerFlags:
    """kube-controller-manager's --horizontal-pod-autoscaler-* flags and feature gates, with their defaults."""

    sync_period_s: AtLeastOne = 15
    tolerance: NotNegative = 0.1
    downscale_stabilization_s: Count = 300
    cpu_initialization_period_s: NotNegative = 300
    initial_readiness_delay_s: NotNegative = 30
    hpa_scale_to_zero: bool = True  # on by default since 1.37
    pod_level_resources: bool = True

    def __post_init__(self) -> None:
        check(self)


DEFAULT_FLAGS = ControllerFlags()


@lru_cache(maxsize=256, typed=True)  # a loop asks for the same pods at every pass
def running_pods(count: int, **requests: Quantity) -> tuple[ObservedPod, ...]:
    """`count` ready pods of one container each, with these requests."""
    containers = (ContainerRequests("server", requests),)
    return tuple(ObservedPod(f"pod-{i}", containers) for i in range(count))


def evenly(total_milli: int, pods: Sequence[ObservedPod], now_s: float = 0.0) -> dict[str, Sample]:
    """The total shared by the pods, the remainder going to the first ones."""
    share, remainder = divmod(total_milli, max(len(pods), 1))
    less = Sample(share, now_s)
    more = Sample(share + 1, now_s) if remainder else less
    return {pod.name: more if i < remainder else less for i, pod in enumerate(pods)}
