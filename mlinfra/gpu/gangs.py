"""Gangs as kube-scheduler 1.37 has them: a PodGroup is placed with at least `min_count` pods, and may preempt.

After KEP-4671 (gang scheduling) and KEP-5710 (workload-aware preemption), both beta in 1.37 behind the feature gate
GenericWorkload, which is off by default. The whole cluster is one domain. Not modelled: topology constraints (alpha),
groups of groups, a single pod as preemptor that honours `disruption_mode`. Reasons are in our own words where the
event's are not known. The manifests are those of scheduling.k8s.io/v1beta1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from mlinfra.admission import AtLeastOne, check
from mlinfra.admission.rules import dns_subdomain, one_of
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import find_nodes_that_pass_filters, num_feasible_nodes_to_find, refusal
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.preemption import Budgets, violating
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.gpu.scoring import prioritize_nodes
from mlinfra.manifest import Manifest

SINGLE, ALL = "single", "all"
API_VERSION = "scheduling.k8s.io/v1beta1"
TEMPLATE = "workers"
WAITING = "waiting for minCount pods from a gang to appear in scheduling queue"


@dataclass(frozen=True)
class PodGroup:
    """Pods that start together or not at all. With the disruption mode `all` they are also evicted together.

    The priority of the group counts, not that of its pods. Pods beyond `min_count` are placed where there is room.
    """

    name: Annotated[str, dns_subdomain]
    pods: tuple[GPURequest, ...]
    min_count: AtLeastOne
    priority_class: PriorityClass | None = None
    disruption_mode: Annotated[str, one_of(SINGLE, ALL)] = SINGLE

    def __post_init__(self) -> None:
        check(self)

    @property
    def priority(self) -> int:
        return self.priority_class.value if self.priority_class else 0

    @property
    def preempts(self) -> bool:
        return self.priority_class is None or self.priority_class.preemption_policy != "Never"

    def manifest(self) -> Manifest:
        """The group as its controller makes it from the template of its Workload; each of its pods names it."""
        spec = {"workloadRef": {"workloadName": self.name, "templateName": TEMPLATE}} | self._spec()
        return {"apiVersion": API_VERSION, "kind": "PodGroup", "metadata": {"name": self.name}, "spec": spec}

    def workload(self, controller: str = "Job", api_group: str = "batch") -> Manifest:
        """The Workload of a controller of the same name: a template for such groups."""
        spec: Manifest = {
            "controllerRef": {"apiGroup": api_group, "kind": controller, "name": self.name},
            "podGroupTemplates": [{"name": TEMPLATE} | self._spec()],
        }
        return {"apiVersion": API_VERSION, "kind": "Workload", "metadata": {"name": self.name}, "spec": spec}

    def member(self, pod: Manifest) -> Manifest:
        """A pod's manifest as that of a member."""
        return {**pod, "spec": pod["spec"] | {"schedulingGroup": {"podGroupName": self.name}}}

    def _spec(self) -> Manifest:
        spec: Manifest = {
            "schedulingPolicy": {"gang": {"minCount": self.min_count}},
            "disruptionMode": {self.disruption_mode: {}},
        }
        return spec | ({"priorityClassName": self.priority_class.name} if self.priority_class else {})


def gang(request: GPURequest, disruption_mode: str = SINGLE) -> PodGroup:
    """A request's pods as a group that needs all of them."""
    return PodGroup(request.name, request.pods(), request.gang_size, request.priority_class, disruption_mode)


class PreemptionUnit(NamedTuple):
    """What is evicted as one: a pod, or all pods of a group whose mode is `all`."""

    name: str
    priority: int
    pods: tuple[BoundPod, ...]
    is_group: bool = False

    def importance(self) -> tuple[int, bool, int, float]:
        """Sorts the most important first: priority, groups before pods, larger groups, then the earlier start."""
        start_s = min(pod.start_s for pod in self.pods)
        return -self.priority, not self.is_group, -len(self.pods), start_s


class GroupPreemption(NamedTuple):
    """Where the pods of a group go, and who has to leave for them, the most important first."""

    placements: tuple[BoundPod, ...]
    victims: tuple[PreemptionUnit, ...]
    budget_violations: int

    @property
    def evicted(self) -> tuple[BoundPod, ...]:
        return tuple(pod for unit in self.victims for pod in unit.pods)


# --------------------------------------------------------------------------------------------- the pod-group cycle


def schedule_pod_group(
    group: PodGroup, infos: Iterable[NodeInfo], profile: Profile = DEFAULT_PROFILE, now_s: float = 0.0
) -> tuple[BoundPod, ...] | str:
    """All pods are tried on one snapshot: those that found a node, or why fewer than `min_count` did. Binds nothing."""
    if len(group.pods) < group.min_count:
        return WAITING
    nodes = {info.node.name: info.copy() for info in infos}
    placements: list[BoundPod] = []
    for tried, pod in enumerate(group.pods, start=1):
        if placement := _place(pod, nodes, profile, now_s):
            placements.append(placement)
        remaining = len(group.pods) - tried
        if len(placements) + remaining < group.min_count:
            found = f"{len(placements)} scheduled, {remaining} remaining"
            return f"minCount ({group.min_count}) cannot be satisfied: {found}"
    return tuple(placements)


def _place(pod: GPURequest, nodes: Mapping[str, NodeInfo], profile: Profile, now_s: float) -> BoundPod | None:
    """Filter, score, and reserve the first node with the most points; None without one."""
    enough = num_feasible_nodes_to_find(len(nodes), profile.percentage_of_nodes_to_score)
    feasible = find_nodes_that_pass_filters(pod, list(nodes.values()), 0, enough).feasible
    if not feasible:
        return None
    points = prioritize_nodes(pod, feasible, profile.plugins)
    placement = BoundPod(pod, max(points, key=lambda node: sum(points[node].values())), now_s)
    nodes[placement.node].add(placement)
    return placement


# ------------------------------------------------------------------------------------- workload-aware preemption


def preempt(
    group: PodGroup,
    infos: Sequence[NodeInfo],
    running: Iterable[PodGroup] = (),
    budgets: Budgets = (),
    profile: Profile = DEFAULT_PROFILE,
    now_s: float = 0.0,
) -> GroupPreemption | str:
    """Remove all that is less important, place the group once, then give back whoever still fits beside it.

    `running` are the groups to which the pods on the nodes belong. The reason where preemption does not help.
    """
    if not group.preempts:
        return "preemption: not eligible due to preemptionPolicy=Never."
    units = [unit for unit in preemption_units(infos, running) if unit.priority < group.priority]
    if not units:
        return "preemption: no preemption victims found for incoming pod group"
    nodes = {info.node.name: info.copy() for info in infos}
    for unit in units:
        for pod in unit.pods:
            nodes[pod.node].remove(pod.request.name)
    placements = schedule_pod_group(group, nodes.values(), profile, now_s)
    if isinstance(placements, str):
        return placements
    for placement in placements:
        nodes[placement.node].add(placement)
    violators = violating_units(units, budgets)
    victims = [unit for unit in reprieve_order(units, violators) if not reprieve(unit, nodes)]
    victims.sort(key=PreemptionUnit.importance)
    return GroupPreemption(placements, tuple(victims), sum(unit.name in violators for unit in victims))


def preemption_units(infos: Iterable[NodeInfo], running: Iterable[PodGroup]) -> list[PreemptionUnit]:
    """The pods on the nodes as they are evicted: with the priority of their group, and all of it where it says so."""
    bound = {name: pod for info in infos for name, pod in info.pods.items()}
    units = []
    for group in running:
        members = tuple(bound.pop(pod.name) for pod in group.pods if pod.name in bound)
        if members and group.disruption_mode == ALL:
            units.append(PreemptionUnit(group.name, group.priority, members, is_group=True))
        else:
            units += [PreemptionUnit(pod.request.name, group.priority, (pod,)) for pod in members]
    return units + [PreemptionUnit(name, pod.request.priority, (pod,)) for name, pod in bound.items()]


def violating_units(units: Iterable[PreemptionUnit], budgets: Budgets) -> set[str]:
    """The units with a pod whose eviction breaks a budget, if all leave in the order of their importance."""
    ordered = sorted(units, key=PreemptionUnit.importance)
    breaking = {pod.request.name for pod in violating([pod for unit in ordered for pod in unit.pods], budgets)}
    return {unit.name for unit in ordered if any(pod.request.name in breaking for pod in unit.pods)}


def reprieve_order(units: Iterable[PreemptionUnit], violators: set[str]) -> list[PreemptionUnit]:
    """First those that break a budget, then the others, each the most important first."""
    return sorted(units, key=lambda unit: (unit.name not in violators, unit.importance()))


def reprieve(unit: PreemptionUnit, nodes: Mapping[str, NodeInfo]) -> bool:
    """Put a unit back if each of its pods fits where it was; whether it did."""
    returned: list[BoundPod] = []
    for pod in unit.pods:
        if refusal(pod.request, nodes[pod.node]):
            for other in returned:
                nodes[other.node].remove(other.request.name)
            return False
        nodes[pod.node].add(pod)
        returned.append(pod)
    return True
