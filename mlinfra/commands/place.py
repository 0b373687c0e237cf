"""`mlinfra place`: where the pending pods of a cluster go, or why they do not."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mlinfra.commands.report import FINE, REFUSED, Report, UsageError, bullets, paragraphs, read, table
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import DisruptionBudget
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.manifest import Manifest

EXAMPLE = """example:
  kubectl get nodes,pods,priorityclasses,poddisruptionbudgets -A -o json > cluster.json
  python -m mlinfra place cluster.json new-pods.yaml --profile scheduler.yaml"""
DONE = ("Succeeded", "Failed")
CONSTRAINTS = ("topologySpreadConstraints", "resourceClaims", "schedulingGates")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="nodes and pods, bound and pending; - for standard input"
    )
    parser.add_argument("--profile", metavar="CONFIG.yaml", help="a KubeSchedulerConfiguration (the default profile)")


def run(arguments: argparse.Namespace) -> Report:
    """A line for each pending pod, and an event for each one that does not fit."""
    objects = [obj for path in arguments.files for obj in read(path)]
    pods = [obj for obj in of_kind(objects, "Pod") if obj.get("status", {}).get("phase") not in DONE]
    scheduler = cluster(objects, pods, profile(arguments.profile))
    waiting = pending(pods, scheduler, classes(objects))
    for request in waiting:
        scheduler.submit(request)
    bindings = dict(scheduler.schedule())
    return answer(waiting, bindings, scheduler, left_out(pods))


def of_kind(objects: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [obj for obj in objects if obj.get("kind") == kind]


def profile(path: str | None) -> Profile:
    if path is None:
        return DEFAULT_PROFILE
    configurations = of_kind(read(path), "KubeSchedulerConfiguration")
    if len(configurations) != 1:
        raise UsageError(f"{path}: must hold one KubeSchedulerConfiguration, and holds {len(configurations)}")
    return Profile.of(configurations[0])


def classes(objects: Iterable[Manifest]) -> list[PriorityClass]:
    return [PriorityClass.of(obj) for obj in of_kind(objects, "PriorityClass")]


# -------------------------------------------------------------------------------------------------------- the cluster


def cluster(objects: Sequence[Manifest], pods: Sequence[Manifest], chosen: Profile) -> GPUScheduler:
    """The nodes with the pods that run on them."""
    nodes = [GPUNode.of(obj) for obj in of_kind(objects, "Node")]
    if not nodes:
        raise UsageError("no node in these files: kubectl get nodes,pods -A -o json has them")
    budgets = [budget(obj) for obj in of_kind(objects, "PodDisruptionBudget")]
    scheduler = GPUScheduler(nodes, chosen, budgets=budgets)
    names, requests = Names(), dict[str, GPURequest]()
    for pod in pods:
        if node := pod["spec"].get("nodeName"):
            request = bound_request(pod, requests)
            scheduler.add_bound_pod(replace(request, name=names.of(pod), labels=labels(pod)), node)
    return scheduler


class Names:
    """Names of pods that are unique in the cluster: those of a second namespace carry it."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def of(self, pod: Manifest) -> str:
        name, namespace = pod["metadata"].get("name", ""), pod["metadata"].get("namespace", "default")
        unique = name if name not in self.taken else f"{name}.{namespace}"
        self.taken.add(unique)
        return unique


def labels(pod: Manifest) -> dict[str, str]:
    return dict(pod["metadata"].get("labels", {}))


def bound_request(pod: Manifest, known: dict[str, GPURequest]) -> GPURequest:
    """What a running pod holds; pods of one workload are read once, for the server has accepted them all."""
    spec = pod["spec"]
    kept = {name: spec[name] for name in ("overhead", "priority", "priorityClassName", "resources") if name in spec}
    kept["containers"] = [needs(container) for container in spec["containers"]]
    kept["initContainers"] = [needs(container) for container in spec.get("initContainers", ())]
    key = json.dumps(kept, sort_keys=True)
    if key not in known:
        head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
        known[key] = GPURequest.of({**head, "spec": kept})
    return known[key]


def needs(container: Manifest) -> Manifest:
    return {name: container[name] for name in ("name", "image", "resources", "restartPolicy") if name in container}


def budget(obj: Manifest) -> DisruptionBudget:
    selected = obj["spec"].get("selector", {}).get("matchLabels", {})
    return DisruptionBudget(selected, obj.get("status", {}).get("disruptionsAllowed", 0))


def pending(pods: Sequence[Manifest], scheduler: GPUScheduler, known: Sequence[PriorityClass]) -> list[GPURequest]:
    """The pods without a node, in the order of the files; gated ones are not tried."""
    names = Names()
    names.taken |= set(scheduler.running)
    waiting = [pod for pod in pods if not pod["spec"].get("nodeName") and not pod["spec"].get("schedulingGates")]
    return [replace(GPURequest.of(pod, known), name=names.of(pod)) for pod in waiting]


# --------------------------------------------------------------------------------------------------------- the answer


def left_out(pods: Sequence[Manifest]) -> list[str]:
    """What pending pods ask for and the simulator does not know, with how many of them do."""
    asked = Counter(wish for pod in pods if not pod["spec"].get("nodeName") for wish in unknown_wishes(pod["spec"]))
    return [f"{wish} ({count} pod{'s' * (count > 1)})" for wish, count in asked.items()]


def unknown_wishes(spec: Manifest) -> Iterator[str]:
    yield from (f"spec.{name}" for name in CONSTRAINTS if spec.get(name))
    yield from (
        f"spec.affinity.{name}" for name in ("podAffinity", "podAntiAffinity") if spec.get("affinity", {}).get(name)
    )
    if any("persistentVolumeClaim" in volume for volume in spec.get("volumes", ())):
        yield "spec.volumes[].persistentVolumeClaim"
    if any("hostPort" in port for container in spec["containers"] for port in container.get("ports", ())):
        yield "spec.containers[].ports[].hostPort"


def answer(
    waiting: Sequence[GPURequest], bindings: dict[str, str], scheduler: GPUScheduler, unused: list[str]
) -> Report:
    refusals = {event.about: event.message for event in scheduler.events if event.reason == "FailedScheduling"}
    rows = [(pod.name, bindings.get(pod.name, "<none>"), wants(pod)) for pod in waiting]
    stuck = {name: refusals[name] for name, node, _ in rows if node == "<none>"}
    evicted = [f"{event.about}: {event.message}" for event in scheduler.events if event.reason == "Preempted"]
    counts = (
        f"{len(waiting)} pending: {len(waiting) - len(stuck)} placed, {len(stuck)} not; {len(scheduler.nodes)} nodes."
    )
    text = paragraphs(
        table(["POD", "NODE", "WANTS"], rows) if rows else "",
        bullets("FailedScheduling:", [f"{name}: {message}" for name, message in stuck.items()]),
        bullets("Preempted:", evicted),
        bullets("Not used:", unused),
        counts,
    )
    data: dict[str, Any] = {
        "placed": {pod.name: bindings[pod.name] for pod in waiting if pod.name in bindings},
        "failed": stuck,
        "preempted": evicted,
        "notUsed": unused,
    }
    return Report(text, data, REFUSED if stuck else FINE)


def wants(pod: GPURequest) -> str:
    amounts = {pod.resource: pod.gpu_count or None, **pod.devices, "cpu": pod.cpu, "memory": pod.memory}
    return ", ".join(f"{name} {amount}" for name, amount in amounts.items() if amount is not None)
