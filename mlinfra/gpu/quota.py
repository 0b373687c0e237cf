"""How much a team may use: Kueue's quotas, with what a cohort lends and borrows, and their manifests.

Follows Kueue 0.19, `pkg/cache/scheduler/resource_node.go`: one flavor a queue, cohorts of one level without quota of
their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from mlinfra.admission import accepted, check
from mlinfra.admission.nouns.gpu import one_flavor
from mlinfra.admission.rules import dns_subdomain, whole
from mlinfra.gpu.nodes import Amounts
from mlinfra.manifest import Manifest
from mlinfra.quantity import canonical, quantity

API_VERSION = "kueue.x-k8s.io/v1beta2"
Amount = Annotated[int, whole(0, 2**63 - 1)]


@dataclass(frozen=True)
class Quota:
    """Of one resource: what a queue owns, may borrow on top, and lends of its own (None: without limit)."""

    nominal: Amount
    borrowing_limit: Amount | None = None
    lending_limit: Amount | None = None

    def __post_init__(self) -> None:
        check(self, by_kind=False)

    @classmethod
    def of(cls, manifest: Manifest) -> Quota:
        """The quota of one entry of a flavor's resources."""
        names = ("nominalQuota", "borrowingLimit", "lendingLimit")
        nominal, borrowing, lending = (int(quantity(manifest[name])) if name in manifest else None for name in names)
        return cls(nominal or 0, borrowing, lending)

    @property
    def guaranteed(self) -> int:
        """What stays with the queue even when it is idle."""
        return 0 if self.lending_limit is None else self.nominal - self.lending_limit

    def manifest(self, resource: str) -> Manifest:
        amounts = {
            "nominalQuota": self.nominal,
            "borrowingLimit": self.borrowing_limit,
            "lendingLimit": self.lending_limit,
        }
        written = {name: _written(resource, amount) for name, amount in amounts.items() if amount is not None}
        return {"name": resource, **written}


NO_QUOTA = Quota(0)
NO_LIMIT = 2**63


def _written(resource: str, amount: int) -> str:
    """Memory in the largest unit that is whole: 2**40 bytes are 1Ti."""
    return canonical(f"{amount // 1024}Ki") if resource == "memory" and amount % 1024 == 0 else str(amount)


@dataclass(frozen=True)
class ClusterQueue:
    """The quotas of a team, cpu in cores, memory in bytes; queues of a cohort lend each other what lies idle."""

    name: str
    cohort: str
    quotas: Mapping[str, Quota]
    flavor: str = "default-flavor"
    queueing_strategy: str = "BestEffortFIFO"
    reclaim_within_cohort: str = "Never"

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> ClusterQueue:
        """The queue of a manifest; Invalid for quotas of several flavors, or in parts of a core."""
        obj = accepted("ClusterQueue", manifest, one_flavor)
        spec = obj.get("spec", {})
        flavors = [flavor for group in spec.get("resourceGroups", ()) for flavor in group["flavors"]]
        quotas = {entry["name"]: Quota.of(entry) for flavor in flavors for entry in flavor["resources"]}
        return cls(
            obj["metadata"].get("name", ""),
            spec.get("cohortName", ""),
            quotas,
            flavors[0]["name"] if flavors else "default-flavor",
            spec.get("queueingStrategy", "BestEffortFIFO"),
            spec.get("preemption", {}).get("reclaimWithinCohort", "Never"),
        )

    def shares_cohort_with(self, other: ClusterQueue) -> bool:
        """Whether they lend each other quota: it is lent within a cohort, and within a flavor."""
        return bool(self.cohort) and self.cohort == other.cohort and self.flavor == other.flavor

    def manifest(self) -> Manifest:
        resources = [quota.manifest(resource) for resource, quota in self.quotas.items()]
        group = {"coveredResources": list(self.quotas), "flavors": [{"name": self.flavor, "resources": resources}]}
        spec: Manifest = {
            "namespaceSelector": {},
            "queueingStrategy": self.queueing_strategy,
            "preemption": {"reclaimWithinCohort": self.reclaim_within_cohort},
            "resourceGroups": [group],
        }
        spec |= {"cohortName": self.cohort} if self.cohort else {}
        return {"apiVersion": API_VERSION, "kind": "ClusterQueue", "metadata": {"name": self.name}, "spec": spec}


@dataclass(frozen=True)
class LocalQueue:
    """The queue that users of a namespace name in their jobs."""

    name: str
    namespace: str
    cluster_queue: str

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> LocalQueue:
        obj = accepted("LocalQueue", manifest)
        metadata, spec = obj["metadata"], obj.get("spec", {})
        return cls(metadata.get("name", ""), metadata.get("namespace", "default"), spec.get("clusterQueue", ""))

    def manifest(self) -> Manifest:
        metadata = {"name": self.name, "namespace": self.namespace}
        spec = {"clusterQueue": self.cluster_queue}
        return {"apiVersion": API_VERSION, "kind": "LocalQueue", "metadata": metadata, "spec": spec}


@dataclass(frozen=True)
class ResourceFlavor:
    """Nodes that a quota is for, by their labels."""

    name: str
    node_labels: Mapping[str, str]

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> ResourceFlavor:
        obj = accepted("ResourceFlavor", manifest)
        return cls(obj["metadata"].get("name", ""), obj.get("spec", {}).get("nodeLabels", {}))

    def manifest(self) -> Manifest:
        spec = {"nodeLabels": dict(self.node_labels)}
        return {"apiVersion": API_VERSION, "kind": "ResourceFlavor", "metadata": {"name": self.name}, "spec": spec}


@dataclass(frozen=True)
class Workload:
    """A job in a ClusterQueue (`queue` is its name), with what all of its pods request together."""

    name: Annotated[str, dns_subdomain]
    queue: str
    requests: Amounts
    priority: Annotated[int, whole(-(2**31))] = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass
class FlavorUsage:
    """What every queue uses, by queue and resource; answers what is left for each of them."""

    queues: Mapping[str, ClusterQueue]
    used: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)
        self.used = {name: Counter(self.used.get(name, {})) for name in self.queues}

    def copy(self) -> FlavorUsage:
        return FlavorUsage(self.queues, self.used)

    def without(self, workloads: Iterable[Workload]) -> FlavorUsage:
        rest = self.copy()
        for workload in workloads:
            rest.remove(workload)
        return rest

    def add(self, workload: Workload) -> None:
        self.used[workload.queue].update(workload.requests)

    def remove(self, workload: Workload) -> None:
        self.used[workload.queue].subtract(workload.requests)

    def reserve(self, workload: Workload) -> None:
        """Count as used what its queue may still use for it: of its own, or up to the borrowing limit if it borrows."""
        used = self.used[workload.queue]
        borrows = not self.within_nominal(workload.queue, workload.requests)
        for resource, amount in workload.requests.items():
            quota = self.quota(workload.queue, resource)
            if not borrows:
                most = quota.nominal
            elif quota.borrowing_limit is None:
                most = NO_LIMIT
            else:
                most = quota.nominal + quota.borrowing_limit
            used[resource] += max(0, min(amount, most - used[resource]))

    def available(self, queue: str, resource: str) -> int:
        """What the queue can still take, its own and borrowed; 0 when others hold it all."""
        quota, used = self.quota(queue, resource), self.used[queue][resource]
        own = max(0, quota.guaranteed - used)
        from_pot = max(0, used - quota.guaranteed)
        left_in_pot = self._pot(queue, resource) - self._taken_from_pot(queue, resource)
        if quota.borrowing_limit is not None:
            most_from_pot = quota.nominal - quota.guaranteed + quota.borrowing_limit
            left_in_pot = min(left_in_pot, most_from_pot - from_pot)
        return max(0, own + left_in_pot)

    def potential(self, queue: str, resource: str) -> int:
        """What the queue could take if everyone else were idle."""
        quota = self.quota(queue, resource)
        most = quota.guaranteed + self._pot(queue, resource)
        return most if quota.borrowing_limit is None else min(most, quota.nominal + quota.borrowing_limit)

    def borrowed(self, queue: str, resource: str) -> int:
        return max(0, self.used[queue][resource] - self.quota(queue, resource).nominal)

    def fits(self, workload: Workload) -> bool:
        return all(amount <= self.available(workload.queue, name) for name, amount in workload.requests.items())

    def within_nominal(self, queue: str, requests: Amounts) -> bool:
        """Whether the queue, with these requests added, uses no more than it owns."""
        used = self.used[queue]
        return all(used[name] + amount <= self.quota(queue, name).nominal for name, amount in requests.items())

    def quota(self, queue: str, resource: str) -> Quota:
        return self.queues[queue].quotas.get(resource, NO_QUOTA)

    def _cohort(self, queue: str) -> list[str]:
        """The queue, and those that share its cohort."""
        mine = self.queues[queue]
        return [name for name, other in self.queues.items() if other is mine or other.shares_cohort_with(mine)]

    def _pot(self, queue: str, resource: str) -> int:
        """The cohort's pot: what its queues own and lend, all together."""
        quotas = [self.quota(other, resource) for other in self._cohort(queue)]
        return sum(quota.nominal - quota.guaranteed for quota in quotas)

    def _taken_from_pot(self, queue: str, resource: str) -> int:
        return sum(
            max(0, self.used[other][resource] - self.quota(other, resource).guaranteed) for other in self._cohort(queue)
        )
