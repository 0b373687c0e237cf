"""`mlinfra place`: where the pending pods of a cluster go, or why they do not."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlinfra.commands.place_cluster import LoadedCluster, cluster_of
from mlinfra.commands.report import (
    FINE,
    REFUSED,
    Report,
    UsageError,
    bullets,
    of_kind,
    paragraphs,
    read,
    table,
)
from mlinfra.gpu.pod_spec import requests_of
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.manifest import Manifest, extended
from mlinfra.tables import plural

EXAMPLE = """example:
  kubectl get nodes,pods,priorityclasses,poddisruptionbudgets -A -o json > cluster.json
  python -m mlinfra place cluster.json new-pods.yaml --profile scheduler.yaml"""
CONSTRAINTS = ("topologySpreadConstraints", "resourceClaims", "schedulingGroup")
READ = ("cpu", "memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="nodes and pods, bound and pending; - for standard input"
    )
    parser.add_argument("--profile", metavar="CONFIG.yaml", help="a KubeSchedulerConfiguration (the default profile)")
    parser.add_argument("--pools", metavar="POOLS.yaml", help="NodePools: which of them cluster-autoscaler would grow")


def run(arguments: argparse.Namespace) -> Report:
    """A line for each pending pod, and an event for each one that does not fit."""
    objects = [obj for path in arguments.files for obj in read(path)]
    chosen = profile(arguments.profile)
    cluster = cluster_of(objects, chosen)
    for request in cluster.waiting:
        cluster.scheduler.submit(request)
    bindings = dict(cluster.scheduler.schedule())
    answer = answered(cluster, bindings, grown(cluster, arguments.pools))
    return Report(as_text(answer, cluster), as_data(answer, cluster), FINE if answer.all_placed else REFUSED)


def profile(path: str | None) -> Profile:
    """The first profile of the file; kube-scheduler's own without one."""
    if path is None:
        return DEFAULT_PROFILE
    configurations = of_kind(read(path), "KubeSchedulerConfiguration")
    if len(configurations) != 1:
        raise UsageError(f"{path}: must hold one KubeSchedulerConfiguration, and holds {len(configurations)}")
    return Profile.of(configurations[0])


# --------------------------------------------------------------------------------------------------------- the answer


@dataclass(frozen=True)
class Placements:
    """What became of the pending pods: node by name, or the event; and of those that had to go."""

    placed: dict[str, str]
    failed: dict[str, str]
    preempted: list[str]
    refused: dict[str, str]
    not_used: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)

    @property
    def all_placed(self) -> bool:
        return not self.failed and not self.refused


def answered(cluster: LoadedCluster, bindings: dict[str, str], nodes: list[str]) -> Placements:
    events = cluster.scheduler.events
    reasons = {event.about: event.message for event in events if event.reason == "FailedScheduling"}
    names = [request.name for request in cluster.waiting]
    evicted = [(event.about, event.message) for event in events if event.reason == "Preempted"]
    return Placements(
        {name: bindings[name] for name in names if name in bindings},
        {name: reasons[name] for name in names if name not in bindings},
        [f"{name}: {message}; {again(bindings.get(name))}" for name, message in evicted],
        cluster.refused,
        left_out(cluster.accepted),
        nodes,
    )


def grown(cluster: LoadedCluster, path: str | None) -> list[str]:
    """What cluster-autoscaler would do for the pods that wait: a line for each pod that it helps, or does not."""
    if path is None:
        return []
    from mlinfra.gpu.nodes.paper import scale_up_for

    return scale_up_for(cluster.scheduler, of_kind(read(path), "NodePool"), of_daemonsets=cluster.of_daemonsets)


def again(node: str | None) -> str:
    """What becomes of the pod that takes the place of an evicted one."""
    return f"a new one in its place goes to {node}" if node else "a new one in its place waits"


def left_out(pods: Iterable[Manifest]) -> list[str]:
    """What pending pods ask for and the simulator does not know, with how many of them do."""
    asked = Counter(wish for pod in pods for wish in unknown_wishes(pod["spec"]))
    return [f"{wish} ({plural(count, 'pod')})" for wish, count in asked.items()]


def unknown_wishes(spec: Manifest) -> Iterator[str]:
    yield from (f"spec.{name}" for name in CONSTRAINTS if spec.get(name))
    unread = sorted(name for name in requests_of(spec) if name not in READ and not extended(name))
    yield from (f"requests of {name}" for name in unread)
    affinity = spec.get("affinity") or {}
    yield from (f"spec.affinity.{name}" for name in ("podAffinity", "podAntiAffinity") if affinity.get(name))
    if any(volume.get("persistentVolumeClaim") for volume in spec.get("volumes") or ()):
        yield "spec.volumes[].persistentVolumeClaim"
    if any(port.get("hostPort") for container in spec["containers"] for port in container.get("ports") or ()):
        yield "spec.containers[].ports[].hostPort"


def as_text(answer: Placements, cluster: LoadedCluster) -> str:
    rows = [(pod.name, answer.placed.get(pod.name, "<none>"), wants(pod)) for pod in cluster.waiting]
    stuck = len(answer.failed) + len(answer.refused)
    counts = f"{len(rows) + len(answer.refused)} pending: {len(answer.placed)} placed, {stuck} not"
    nodes = f"{plural(len(cluster.scheduler.nodes), 'node')}, {plural(cluster.bound, 'pod')} bound."
    return paragraphs(
        table(["POD", "NODE", "WANTS"], rows) if rows else "",
        bullets("FailedScheduling:", pairs(answer.failed)),
        bullets("Preempted:", answer.preempted),
        bullets("Node autoscaler:", answer.nodes),
        bullets("Refused by the API server, or not read here:", pairs(answer.refused)),
        bullets("Left aside:", cluster.notes),
        bullets("Not used:", answer.not_used),
        f"{counts}; {nodes}",
    )


def pairs(reasons: dict[str, str]) -> Sequence[str]:
    return [f"{name}: {reason}" for name, reason in reasons.items()]


def as_data(answer: Placements, cluster: LoadedCluster) -> dict[str, Any]:
    return {
        "placed": answer.placed,
        "failed": answer.failed,
        "preempted": answer.preempted,
        "nodeAutoscaler": answer.nodes,
        "refused": answer.refused,
        "leftAside": cluster.notes,
        "notUsed": answer.not_used,
    }


def wants(pod: GPURequest) -> str:
    amounts = {pod.resource: pod.gpu_count or None, **pod.devices, "cpu": pod.cpu, "memory": pod.memory}
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items() if amount is not None)
