"""Where the pods of one job go: Kueue's topology-aware scheduling, on blocks, racks and hosts.

Follows Kueue @ff69552e (after 0.19.2), `pkg/cache/scheduler/tas_flavor_snapshot.go`. Not modelled: leaders, slices of
several layers, preferred node affinity, balanced placement (alpha), the replacement of a failed node. Taints and node
selectors are not read: give the nodes that the flavor selects and that the pods tolerate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from mlinfra.admission import Count, accepted, check
from mlinfra.admission.rules import dns_subdomain
from mlinfra.gpu.cluster import not_found
from mlinfra.gpu.nodes import HOSTNAME, Amounts, GPUNode
from mlinfra.manifest import Manifest

GATE = "kueue.x-k8s.io/topology"
"""The scheduling gate that holds the pods until their node selectors are known."""

REQUIRED, PREFERRED, UNCONSTRAINED = (
    f"kueue.x-k8s.io/podset-{mode}-topology" for mode in ("required", "preferred", "unconstrained")
)
SLICE_LEVEL, SLICE_SIZE = "kueue.x-k8s.io/podset-slice-required-topology", "kueue.x-k8s.io/podset-slice-size"
UNLIMITED = 2**31 - 1
Values = tuple[str, ...]
"""A domain's labels from the highest level down, such as ("block-1", "rack-2")."""


@dataclass(frozen=True)
class Topology:
    """The levels of a data center from the highest down, each the label of a node."""

    name: Annotated[str, dns_subdomain]
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> Topology:
        obj = accepted("Topology", manifest)
        return cls(obj["metadata"]["name"], tuple(level["nodeLabel"] for level in obj["spec"]["levels"]))

    def manifest(self) -> Manifest:
        head = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Topology", "metadata": {"name": self.name}}
        return {**head, "spec": {"levels": [{"nodeLabel": level} for level in self.levels]}}

    @property
    def ends_in_hosts(self) -> bool:
        return self.levels[-1] == HOSTNAME


@dataclass(frozen=True)
class PodSetTopologyRequest:
    """What a job asks of the topology, as the annotations of its pod template say it; the modes exclude each other.

    With slices each `slice_size` pods stay in one domain of `slice_level`. Slices alone leave the rest unconstrained.
    """

    required: str | None = None
    preferred: str | None = None
    unconstrained: bool = False
    slice_level: str | None = None
    slice_size: Count = 0  # 0: not given

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> PodSetTopologyRequest:
        size: Any = annotations.get(SLICE_SIZE, "0")
        return cls(
            annotations.get(REQUIRED),
            annotations.get(PREFERRED),
            annotations.get(UNCONSTRAINED) == "true",
            annotations.get(SLICE_LEVEL),
            int(size) if size.isdecimal() else size,
        )

    def annotations(self) -> dict[str, str]:
        """The annotations of the pod template."""
        modes = {REQUIRED: self.required, PREFERRED: self.preferred, SLICE_LEVEL: self.slice_level}
        written = {name: level for name, level in modes.items() if level is not None}
        if self.unconstrained:
            written[UNCONSTRAINED] = "true"
        return written | ({SLICE_SIZE: str(self.slice_size)} if self.slice_size else {})

    @property
    def pods_a_slice(self) -> int:
        """Without slices each pod is one."""
        return self.slice_size or 1

    @property
    def spreads(self) -> bool:
        """Whether the pods may go anywhere."""
        return self.unconstrained or not (self.required or self.preferred)


@dataclass(frozen=True)
class PodSet:
    """Equal pods of one job; `requests` are those of one pod, cpu in milli, memory in bytes, the rest in pieces."""

    count: Count
    requests: Amounts
    topology: PodSetTopologyRequest = field(default_factory=PodSetTopologyRequest)

    def __post_init__(self) -> None:
        check(self)

    @property
    def requests_of_a_pod(self) -> dict[str, int]:
        """With the place that every pod takes among the node's pods."""
        return {**self.requests, "pods": self.requests.get("pods", 0) + 1}

    @property
    def slice_count(self) -> int:
        """Whole slices only: pods that are left over stay without a place, as upstream has it."""
        return self.count // self.topology.pods_a_slice


@dataclass(frozen=True)
class TopologyAssignment:
    """How many pods go to each domain of these levels, in the order of domains; or the reason why they cannot."""

    levels: Values = ()
    domains: tuple[tuple[Values, int], ...] = ()
    reason: str = ""

    @property
    def pods(self) -> int:
        return sum(pods for _, pods in self.domains)

    def node_selectors(self) -> list[dict[str, str]]:
        """One for each pod, which Kueue writes into it before it removes the gate."""
        return [dict(zip(self.levels, values, strict=True)) for values, pods in self.domains for _ in range(pods)]

    def why(self) -> str:
        """The domains and their pods, one in a line, or the reason."""
        return self.reason or "\n".join(f"{'/'.join(values)}: {pods}" for values, pods in self.domains)


@dataclass
class Domain:
    """A block, a rack, a host. Its counts say at first what fits, and after it was chosen what is assigned to it."""

    values: Values
    children: list[Domain] = field(default_factory=list)
    pod_count: int = 0
    slice_count: int = 0


class TASFlavorSnapshot:
    """The free capacity of the domains of one flavor.

    Cordoned nodes and nodes without all of the labels are left out. `profile_mixed` is the feature gate
    TASProfileMixed, on since 0.15: unconstrained pods take the domains with the least free capacity; without it, the
    best fit.
    """

    def __init__(
        self,
        topology: Topology,
        nodes: Iterable[GPUNode],
        usage: Mapping[Values, Amounts] | None = None,
        profile_mixed: bool = True,
    ) -> None:
        self.topology, self.profile_mixed = topology, profile_mixed
        self.free: dict[Values, Counter[str]] = {}
        for node in nodes:
            if not node.unschedulable and all(level in node.all_labels for level in topology.levels):
                values = tuple(node.all_labels[level] for level in topology.levels)
                self.free.setdefault(values, Counter()).update(node.allocatable)
        for values, amounts in (usage or {}).items():
            if values not in self.free:
                raise not_found("topology domain", "/".join(values))
            self.free[values].subtract(amounts)

    def with_assignment(self, pod_set: PodSet, assignment: TopologyAssignment) -> TASFlavorSnapshot:
        """The same domains after the pods have taken their places."""
        after = TASFlavorSnapshot(self.topology, [], profile_mixed=self.profile_mixed)
        after.free = {values: Counter(amounts) for values, amounts in self.free.items()}
        pods = dict(assignment.domains)
        for values, free in after.free.items():
            count = pods.get(values[-len(assignment.levels) :], 0)
            free.subtract({name: count * amount for name, amount in pod_set.requests_of_a_pod.items()})
        return after


# --------------------------------------------------------------------------------------------------- the algorithm


def find_topology_assignment(snapshot: TASFlavorSnapshot, pod_set: PodSet) -> TopologyAssignment:
    """The pods by domain: count what fits, find the level where it fits, then go down to as few domains as possible."""
    levels = snapshot.topology.levels
    if reason := what_is_missing(levels, pod_set.topology):
        return TopologyAssignment(reason=reason)
    slice_level = levels.index(pod_set.topology.slice_level or levels[-1])
    search = TopologySearch(snapshot, pod_set, slice_level)
    fit = find_level_with_fit_domains(search, levels.index(requested_level(levels, pod_set.topology)))
    if isinstance(fit, str):
        return TopologyAssignment(reason=fit)
    level, domains = fit
    domains = update_counts_to_minimum(search, domains, pod_set.slice_count, pod_set.topology.pods_a_slice)
    for _ in range(level, slice_level):
        domains = choose_among_all_children(search, domains)
    for _ in range(max(level, slice_level), len(levels) - 1):
        domains = [child for domain in domains for child in choose_children_for_pods(search, domain)]
    return build_assignment(snapshot.topology, domains)


def what_is_missing(levels: Sequence[str], request: PodSetTopologyRequest) -> str:
    """Why the request cannot be met on these levels, in upstream's words; empty when it can."""
    wanted, of_slices = requested_level(levels, request), request.slice_level or levels[-1]
    if request.slice_level and not request.slice_size:
        return "slice topology requested, but slice size not provided"
    if wanted not in levels:
        return f"no requested topology level: {wanted}"
    if of_slices not in levels:
        return f"no requested topology level for slices: {of_slices}"
    if levels.index(wanted) > levels.index(of_slices):
        return f"podset slice topology {of_slices} is above the podset topology {wanted}"
    return ""


def requested_level(levels: Sequence[str], request: PodSetTopologyRequest) -> str:
    """The level of the annotation; the highest for slices alone, and the lowest for pods that may go anywhere."""
    return request.required or request.preferred or levels[0 if request.slice_level else -1]


class TopologySearch:
    """Phase 1: how many pods and whole slices fit into each domain, from the free capacity of the lowest ones up."""

    def __init__(self, snapshot: TASFlavorSnapshot, pod_set: PodSet, slice_level: int) -> None:
        self.pod_set, self.topology = pod_set, snapshot.topology
        self.request, self.slice_level = pod_set.topology, slice_level
        self.best_fit = not (pod_set.topology.spreads and snapshot.profile_mixed)
        self.excluded: Counter[str] = Counter()
        self.levels: list[dict[Values, Domain]] = [{} for _ in snapshot.topology.levels]
        for values, free in snapshot.free.items():
            self._add(values).pod_count = self._fitting(free)
        for domain in self.levels[0].values():
            self._fill_in_counts(domain)

    def _add(self, values: Values) -> Domain:
        """The domain of the lowest level, under domains of all higher ones."""
        for depth, domains in enumerate(self.levels):
            path = values[: depth + 1]
            if path not in domains:
                domains[path] = Domain(path)
                if depth:
                    self.levels[depth - 1][path[:-1]].children.append(domains[path])
        return self.levels[-1][values]

    def _fitting(self, free: Amounts) -> int:
        """The pods that fit; a domain without room for one is excluded by its scarcest resource, ties by name."""
        requests = self.pod_set.requests_of_a_pod
        pods, scarcest = min(
            (max(0, free.get(name, 0) // amount) if amount else UNLIMITED, name) for name, amount in requests.items()
        )
        if not pods:
            self.excluded[scarcest] += 1
        return pods

    def _fill_in_counts(self, domain: Domain) -> None:
        """Pods add up from below; slices are cut at their level, and add up above it."""
        for child in domain.children:
            self._fill_in_counts(child)
        if domain.children:
            domain.pod_count = sum(child.pod_count for child in domain.children)
            domain.slice_count = sum(child.slice_count for child in domain.children)
        if len(domain.values) - 1 == self.slice_level:
            domain.slice_count = domain.pod_count // self.request.pods_a_slice

    def sorted_domains(self, domains: Iterable[Domain]) -> list[Domain]:
        """The most slices first, or under the other profile the fewest; then the fewest pods; then by name."""
        sign = -1 if self.best_fit else 1
        return sorted(domains, key=lambda domain: (sign * domain.slice_count, domain.pod_count, domain.values))


def find_level_with_fit_domains(search: TopologySearch, level: int) -> tuple[int, list[Domain]] | str:
    """Phase 2a: one domain with room for all, at this level or, where it is only preferred, above; else several.

    The reason when one is required and none is large enough, or when all of them together are too small.
    """
    domains, slices = search.sorted_domains(search.levels[level].values()), search.pod_set.slice_count
    if not domains:
        return f"no topology domains at level: {search.topology.levels[level]}"
    large_enough = [domain for domain in domains if domain.slice_count >= slices]
    if large_enough:
        return level, [find_best_fit_domain(large_enough, slices)]
    if search.request.required:
        return not_fit_message(search, domains[0].slice_count)
    if level > 0 and not search.request.spreads:
        return find_level_with_fit_domains(search, level - 1)
    return several_domains(search, level, domains)


def several_domains(search: TopologySearch, level: int, domains: Sequence[Domain]) -> tuple[int, list[Domain]] | str:
    """One after the other until there is room for all."""
    chosen = list(portions(search, domains, search.pod_set.slice_count))
    fitting = sum(slices for _, slices in chosen)
    if fitting < search.pod_set.slice_count:
        return not_fit_message(search, fitting)
    return level, [domain for domain, _ in chosen]


def portions(search: TopologySearch, domains: Sequence[Domain], slices: int) -> Iterator[tuple[Domain, int]]:
    """The domains in turn with the slices that each takes; a best fit puts the last ones into the tightest domain."""
    for i, domain in enumerate(domains):
        if slices <= 0:
            return
        if search.best_fit and domain.slice_count >= slices:
            domain = find_best_fit_domain(domains[i:], slices)
        yield domain, min(domain.slice_count, slices)
        slices -= domain.slice_count


def find_best_fit_domain(domains: Sequence[Domain], slices: int) -> Domain:
    """The first of those that have the fewest slices and still enough."""
    return min((domain for domain in domains if domain.slice_count >= slices), key=lambda domain: domain.slice_count)


def update_counts_to_minimum(
    search: TopologySearch, domains: Sequence[Domain], slices: int, slice_size: int
) -> list[Domain]:
    """Phase 2b: the domains that are needed for so many slices, each with what is assigned to it."""
    chosen = list(portions(search, domains, slices))
    for domain, portion in chosen:
        domain.slice_count, domain.pod_count = portion, portion * slice_size
    return [domain for domain, _ in chosen]


def choose_among_all_children(search: TopologySearch, parents: Iterable[Domain]) -> list[Domain]:
    """Above the level of slices: the fewest children of all chosen domains together, whatever each parent was given."""
    children = search.sorted_domains(child for parent in parents for child in parent.children)
    return update_counts_to_minimum(search, children, search.pod_set.slice_count, search.request.pods_a_slice)


def choose_children_for_pods(search: TopologySearch, parent: Domain) -> list[Domain]:
    """From the level of slices down: the fewest children for the pods of this parent, one by one."""
    children = search.sorted_domains(parent.children)
    for child in children:
        child.slice_count = child.pod_count
    return update_counts_to_minimum(search, children, parent.pod_count, 1)


def build_assignment(topology: Topology, domains: Iterable[Domain]) -> TopologyAssignment:
    """In the order of the whole paths; a host is named alone."""
    first = len(topology.levels) - 1 if topology.ends_in_hosts else 0
    taken = sorted((domain.values, domain.pod_count) for domain in domains if domain.pod_count)
    return TopologyAssignment(topology.levels[first:], tuple((values[first:], pods) for values, pods in taken))


def not_fit_message(search: TopologySearch, fitting: int) -> str:
    """Upstream's words: how much of the request fits, and what excludes domains altogether."""
    slices, unit = search.pod_set.slice_count, "pod" if search.request.pods_a_slice == 1 else "slice"
    fits = f"allows to fit only {fitting} out of" if fitting else "doesn't allow to fit any of"
    message = f'topology "{search.topology.name}" {fits} {slices} {unit}(s)'
    if not search.excluded:
        return message
    reasons = ", ".join(sorted(f'resource "{name}": {count}' for name, count in search.excluded.items()))
    return f"{message}. Total nodes: {len(search.levels[-1])}; excluded: {reasons}"
