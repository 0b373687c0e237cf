"""From the objects of a cluster to a scheduler with its nodes, the pods that run there, and those that wait."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlinfra.admission import Invalid, Problem, accepted, refuse
from mlinfra.commands.report import UsageError, of_kind
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import DisruptionBudget
from mlinfra.gpu.profile import Profile
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.manifest import Manifest
from mlinfra.tables import plural

DONE = ("Succeeded", "Failed")
OF_SPEC = ("overhead", "preemptionPolicy", "priority", "priorityClassName", "resourceClaims", "resources")
OF_CONTAINER = ("image", "name", "resources", "restartPolicy")
"""What the scheduler reads of a pod that runs."""


OF_THE_SYSTEM = (
    PriorityClass("system-cluster-critical", 2_000_000_000),
    PriorityClass("system-node-critical", 2_000_001_000),
)
"""Classes that every API server makes when it starts (`pkg/apis/scheduling/helpers.go`)."""


@dataclass(frozen=True)
class LoadedCluster:
    """A scheduler that knows the bound pods, and the accepted pods that it is to place, as it reads them and as they
    came; `notes` say what was left aside."""

    scheduler: GPUScheduler
    bound: int
    waiting: list[GPURequest]
    accepted: list[Manifest]
    refused: dict[str, str]
    notes: list[str]
    of_daemonsets: frozenset[str]


def cluster_of(objects: Sequence[Manifest], profile: Profile) -> LoadedCluster:
    """Nodes, budgets, classes and pods; Invalid when the API server would refuse one that is not pending."""
    nodes = [GPUNode.of(obj) for obj in of_kind(objects, "Node")]
    if not nodes:
        raise UsageError("no node in these files: kubectl get nodes,pods -A -o json has them")
    budgets = [DisruptionBudget.of(obj) for obj in of_kind(objects, "PodDisruptionBudget")]
    scheduler = GPUScheduler(nodes, profile, budgets=budgets)
    classes = [*(PriorityClass.of(obj) for obj in of_kind(objects, "PriorityClass")), *OF_THE_SYSTEM]
    pods = [pod for pod in map(shaped, of_kind(objects, "Pod")) if pod["status"].get("phase") not in DONE]
    names = unique_names(pods)
    lost = bind(pods, names, scheduler, classes)
    waiting, refused = requests_of(tried(pods), names, classes)
    accepted_pods = [pod for pod in tried(pods) if names[full_name(pod)] not in refused]
    notes = [
        *other_workloads(objects),
        *nodes_without_room(nodes),
        *lost,
        *set_aside(pods),
        *of_other_schedulers(accepted_pods, profile),
    ]
    daemons = frozenset(names[full_name(pod)] for pod in accepted_pods if owner(pod) == "DaemonSet")
    return LoadedCluster(scheduler, len(scheduler.running), waiting, accepted_pods, refused, notes, daemons)


def owner(pod: Manifest) -> str:
    """The kind of its controller."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((each.get("kind", "") for each in owners if each.get("controller")), "")


# ----------------------------------------------------------------------------------------------------------- the pods


def shaped(pod: Manifest) -> Manifest:
    """The pod with a map for each of its parts; Invalid, in the server's words, where one is something else."""
    parts = {part: {} if pod.get(part) is None else pod[part] for part in ("metadata", "spec", "status")}
    if not is_shaped(parts):
        accepted("Pod", pod)
        refuse("Pod", [Problem("", "metadata, spec or status: is not as the API server stores it")])
    return {**pod, **parts}


def is_shaped(parts: Mapping[str, Any]) -> bool:
    """Whether names are text, labels a map of text, and containers a list of maps."""
    metadata, spec, status = parts.values()
    if not all(isinstance(part, Mapping) for part in parts.values()):
        return False
    texts = (metadata.get("name"), metadata.get("namespace", ""), spec.get("nodeName") or "", status.get("phase", ""))
    labels = metadata.get("labels") or {}
    lists = (spec.get("containers"), spec.get("initContainers") or [])
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(labels, Mapping)
        and all(isinstance(text, str) for text in labels.values())
        and all(isinstance(each, list) and all(isinstance(one, Mapping) for one in each) for each in lists)
    )


def has_node(pod: Manifest) -> bool:
    return bool(pod["spec"].get("nodeName"))


def is_deleted(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def tried(pods: Iterable[Manifest]) -> list[Manifest]:
    """The pods that the scheduler tries: without a node, not gated and not deleted."""
    return [pod for pod in pods if not has_node(pod) and not pod["spec"].get("schedulingGates") and not is_deleted(pod)]


def full_name(pod: Manifest) -> tuple[str, str]:
    return pod["metadata"].get("namespace") or "default", pod["metadata"]["name"]


def unique_names(pods: Iterable[Manifest]) -> dict[tuple[str, str], str]:
    """The name of each pod, with its namespace where another has the same; Invalid where one stands twice."""
    names, taken = dict[tuple[str, str], str](), set[str]()
    for namespace, name in map(full_name, pods):
        if (namespace, name) in names:
            refuse("Pod", [Problem("metadata.name", f'pods "{name}" already exists in namespace {namespace}')])
        names[namespace, name] = name if name not in taken else f"{name}.{namespace}"
        taken.add(name)
    return names


def bind(
    pods: Iterable[Manifest],
    names: Mapping[tuple[str, str], str],
    scheduler: GPUScheduler,
    classes: Sequence[PriorityClass],
) -> list[str]:
    """The bound pods come onto their nodes; those whose node is not there are named."""
    known, lost = dict[str, GPURequest](), []
    for pod in filter(has_node, pods):
        name, node = names[full_name(pod)], pod["spec"]["nodeName"]
        if node in scheduler.nodes:
            scheduler.add_bound_pod(bound_request(pod, name, known, classes), node)
        else:
            lost.append(f"{name}: is bound to {node}, which is not among these nodes")
    return lost


def bound_request(
    pod: Manifest, name: str, known: dict[str, GPURequest], classes: Sequence[PriorityClass]
) -> GPURequest:
    """What a running pod holds; pods of one workload are read once, for the server has accepted them all."""
    spec, labels = pod["spec"], pod["metadata"].get("labels") or {}
    kept: Manifest = {part: spec[part] for part in OF_SPEC if part in spec}
    for part in ("containers", "initContainers"):
        kept[part] = [{each: one[each] for each in OF_CONTAINER if each in one} for one in spec.get(part) or ()]
    key = json.dumps(kept, sort_keys=True)
    if key not in known:
        head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
        known[key] = GPURequest.of({**head, "spec": kept}, classes)
    return replace(known[key], name=name, labels=dict(labels), claims=(), namespace=full_name(pod)[0])


def requests_of(
    pods: Iterable[Manifest], names: Mapping[tuple[str, str], str], classes: Sequence[PriorityClass]
) -> tuple[list[GPURequest], dict[str, str]]:
    """The pending pods, and why the others of them are refused."""
    requests, refused = [], {}
    for pod in pods:
        name = names[full_name(pod)]
        try:
            requests.append(replace(GPURequest.of(pod, classes), name=name, claims=()))  # no slices are read here
        except Invalid as refusal:
            refused[name] = "; ".join(map(str, refusal.problems))
    return requests, refused


# ------------------------------------------------------------------------------------------------ what is left aside


MAKE_PODS = ("CronJob", "DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet")


def other_workloads(objects: Iterable[Manifest]) -> list[str]:
    """Objects of which a controller makes pods; here only pods are placed."""
    kinds = Counter(obj["kind"] for obj in objects if obj.get("kind") in MAKE_PODS)
    return [f"{plural(n, kind)}: only pods are placed here, not what makes them" for kind, n in sorted(kinds.items())]


def nodes_without_room(nodes: Iterable[GPUNode]) -> list[str]:
    """Nodes that say nothing of what they have."""
    return [f"{node.name}: has no status.allocatable, so nothing fits there" for node in nodes if not node.max_pods]


def set_aside(pods: Iterable[Manifest]) -> list[str]:
    """Pods without a node that the scheduler does not try."""
    waiting = [pod for pod in pods if not has_node(pod)]
    deleted = sum(map(is_deleted, waiting))
    gated = sum(bool(pod["spec"].get("schedulingGates")) and not is_deleted(pod) for pod in waiting)
    notes = {
        f"{plural(gated, 'pod')} with spec.schedulingGates": gated,
        f"{plural(deleted, 'pod')} in deletion": deleted,
    }
    return [note for note, count in notes.items() if count]


def of_other_schedulers(pods: Iterable[Manifest], profile: Profile) -> list[str]:
    """Pods that ask for another scheduler, and are placed by this one all the same."""
    asked = {pod["spec"].get("schedulerName") or "default-scheduler" for pod in pods}
    others = sorted(asked - {profile.scheduler_name})
    return [f"pods ask for the scheduler {name}, and {profile.scheduler_name} places them here" for name in others]
