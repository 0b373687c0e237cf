"""Which nodes a pod may go to: kube-scheduler's filters, in its order and words, and how many nodes it looks at.

Follows Kubernetes 1.37, `pkg/scheduler/schedule_one.go`, `pkg/scheduler/framework/{types.go,plugins}`. Not modelled:
volumes, ports, inter-pod affinity and topology spread, which these pods do not use, and `nodeName`. Eviction frees no
devices for a claim, as long as the feature gate DRAPreemption (KEP-5690) is off, which it is by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mlinfra.gpu.affinity import Taint
from mlinfra.gpu.cluster import NodeInfo
from mlinfra.gpu.pods import GPURequest


class Refusal(NamedTuple):
    """Why a node is filtered out; `resolvable` when evicting pods could change that."""

    reasons: tuple[str, ...]
    resolvable: bool = False


CORDON = Taint("node.kubernetes.io/unschedulable", effect="NoSchedule")


def node_unschedulable(pod: GPURequest, info: NodeInfo) -> Refusal | None:
    """A cordoned node takes only pods that tolerate its taint."""
    if info.node.unschedulable and not pod.tolerates(CORDON):
        return Refusal(("node(s) were unschedulable",))
    return None


def taint_toleration(pod: GPURequest, info: NodeInfo) -> Refusal | None:
    """Taints that keep pods out must be tolerated. Up to Kubernetes 1.34 the reason named the taint."""
    for taint in info.node.taints:
        if taint.effect != "PreferNoSchedule" and not pod.tolerates(taint):
            return Refusal(("node(s) had untolerated taint(s)",))
    return None


def node_affinity(pod: GPURequest, info: NodeInfo) -> Refusal | None:
    """The labels must be those that the pod selects and requires."""
    if pod.accepts(info.node.selectable):
        return None
    return Refusal(("node(s) didn't match Pod's node affinity/selector",))


def node_resources_fit(pod: GPURequest, info: NodeInfo) -> Refusal | None:
    """Every request must fit into what is left; one that is larger than the whole node cannot be resolved."""
    allocatable = info.node.allocatable
    reasons, resolvable = [], True
    if len(info.pods) >= allocatable["pods"]:
        reasons.append("Too many pods")
    for name, amount in pod.requests.items():
        if amount > allocatable.get(name, 0) - info.requested[name]:
            reasons.append(f"Insufficient {name}")
            resolvable = resolvable and amount <= allocatable.get(name, 0)
    return Refusal(tuple(reasons), resolvable) if reasons else None


def dynamic_resources(pod: GPURequest, info: NodeInfo) -> Refusal | None:
    """The devices of the node must satisfy all claims of the pod together."""
    if pod.claims and not (info.devices and info.devices.fits(pod)):
        return Refusal(("cannot allocate all claims",), resolvable=True)
    return None


Filter = Callable[[GPURequest, NodeInfo], Refusal | None]
OF_THE_NODE: tuple[Filter, ...] = (node_unschedulable, taint_toleration, node_affinity)
"""Filters that do not look at the pods of a node, and so say the same until the node itself is another."""
OF_ITS_PODS: tuple[Filter, ...] = (node_resources_fit, dynamic_resources)
FILTERS = (*OF_THE_NODE, *OF_ITS_PODS)


def refusal(pod: GPURequest, info: NodeInfo, filters: tuple[Filter, ...] = FILTERS) -> Refusal | None:
    """The first plugin's refusal of the node; the plugins after it do not run."""
    for plugin in filters:
        if verdict := plugin(pod, info):
            return verdict
    return None


def num_feasible_nodes_to_find(nodes: int, percentage: int = 0) -> int:
    """How many feasible nodes are enough: all of fewer than 100, else `percentage` of them, but at least 100.

    By default the percentage is 50 less 1 for every 125 nodes, and at least 5.
    """
    if nodes < 100:
        return nodes
    adaptive = max(5, 50 - nodes // 125)
    return max(100, nodes * (percentage or adaptive) // 100)


class Search(NamedTuple):
    """The nodes that fit, and why the others do not."""

    feasible: list[NodeInfo]
    refused: dict[str, Refusal]

    @property
    def processed_nodes(self) -> int:
        return len(self.feasible) + len(self.refused)

    def fit_error(self) -> str:
        """The event's text: how many nodes gave each reason."""
        return unavailable(len(self.refused), (reason for r in self.refused.values() for reason in r.reasons))


def find_nodes_that_pass_filters(pod: GPURequest, infos: Sequence[NodeInfo], start: int, enough: int) -> Search:
    """Filter the nodes from `start` on, in a circle, until `enough` of them fit."""
    search = Search([], {})
    for info in [*infos[start:], *infos[:start]]:
        if len(search.feasible) == enough:
            break
        if verdict := refusal(pod, info):
            search.refused[info.node.name] = verdict
        else:
            search.feasible.append(info)
    return search


def unavailable(nodes: int, reasons: Iterable[str]) -> str:
    """Upstream's FitError: how many nodes gave each reason, sorted as text."""
    counted = sorted(f"{n} {reason}" for reason, n in Counter(reasons).items())
    return f"0/{nodes} nodes are available: {', '.join(counted)}." if nodes else "no nodes available to schedule pods"
