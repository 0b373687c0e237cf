"""Which pods count for a metric, and what they request.

Follows `groupPods` and `calculateRequests` in `pkg/controller/podautoscaler/replica_calculator.go` of Kubernetes
1.37 (master of August 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mlinfra.autoscaling.hpa.observation import ControllerFlags, ObservedPod, Sample
from mlinfra.quantity import milli_value


class MetricError(Exception):
    """A metric that gives no proposal in this pass."""


class PodGroups(NamedTuple):
    """How many pods count as they are, and the names of those that do not."""

    ready_pod_count: int  # upstream's word; whether a pod is ready is asked for cpu only
    unready: set[str]  # pending, or for cpu still starting: their samples are left out
    missing: set[str]  # silent: without a sample
    ignored: set[str]  # deleted, succeeded or failed: left out altogether


def group_pods(
    pods: Iterable[ObservedPod], samples: Mapping[str, Sample], resource: str, now_s: float, flags: ControllerFlags
) -> PodGroups:
    """The pods as ready, unready, missing a metric, or ignored."""
    groups: dict[str, set[str]] = {"ready": set(), "unready": set(), "missing": set(), "ignored": set()}
    for pod in pods:
        groups[group_of(pod, samples, resource, now_s, flags)].add(pod.name)
    return PodGroups(len(groups["ready"]), groups["unready"], groups["missing"], groups["ignored"])


def group_of(
    pod: ObservedPod, samples: Mapping[str, Sample], resource: str, now_s: float, flags: ControllerFlags
) -> str:
    """A pod's group; the first rule that fits wins."""
    if pod.deleted or pod.phase in ("Succeeded", "Failed"):
        return "ignored"
    if pod.phase == "Pending":
        return "unready"
    if pod.name not in samples:
        return "missing"
    if resource == "cpu" and starting(pod, samples[pod.name], now_s, flags):
        return "unready"
    return "ready"


def starting(pod: ObservedPod, sample: Sample, now_s: float, flags: ControllerFlags) -> bool:
    """Whether the pod's cpu usage is still that of its start, which says nothing about load."""
    if pod.ready is None or pod.start_time_s is None:
        return True
    if now_s < pod.start_time_s + flags.cpu_initialization_period_s:
        return not pod.ready or sample.timestamp_s < pod.ready_transition_s + sample.window_s
    return not pod.ready and pod.ready_transition_s < pod.start_time_s + flags.initial_readiness_delay_s


def calculate_requests(
    pods: Iterable[ObservedPod], resource: str, container: str = "", pod_level: bool = True
) -> dict[str, int]:
    """Milli of the resource that each pod requests; MetricError when one of them does not say."""
    requests = {}
    for pod in pods:
        whole_pod = pod_level and pod.requests and not container
        requests[pod.name] = pod_request(pod, resource) if whole_pod else container_requests(pod, resource, container)
    return requests


def pod_request(pod: ObservedPod, resource: str) -> int:
    """The pod's own request; for what it does not name, the sum of the containers that do."""
    if pod.requests and resource in pod.requests:
        return milli_value(pod.requests[resource])
    requests = [milli_value(c.requests[resource]) for c in pod.containers if resource in c.requests]
    if not requests:
        raise MetricError(f"missing pod-level request for {resource} in Pod {pod.name}")
    return sum(requests)


def container_requests(pod: ObservedPod, resource: str, container: str) -> int:
    """The request of this container, or of all of them with the sidecars."""
    sidecars = [c for c in pod.init_containers if c.restart_policy == "Always"]
    containers = [c for c in (*pod.containers, *sidecars) if container in ("", c.name)]
    if container and not containers:
        raise MetricError(f"container {container} not found in Pod {pod.name}")
    for c in containers:
        if resource not in c.requests:
            raise MetricError(f"missing request for {resource} in container {c.name} of Pod {pod.name}")
    return sum(milli_value(c.requests[resource]) for c in containers)
