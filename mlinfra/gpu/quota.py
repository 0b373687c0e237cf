"""How much a team may use: Kueue's quotas, with what a cohort lends and borrows, and their manifests.

Follows Kueue 0.19, `pkg/cache/scheduler/resource_node.go`, `pkg/webhooks/clusterqueue_webhook.go` and the rules of its
v1beta2 schemas: one flavor a queue, cohorts of one level without quota of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlinfra.admission import check_manifest
from mlinfra.admission.rules import (
    Field,
    Needed,
    Rules,
    a,
    a_map,
    broken,
    dns_subdomain,
    refuse,
    whole,
)
from mlinfra.gpu.cluster import Amounts, not_found
from mlinfra.manifest import Manifest
from mlinfra.quantity import canonical

API_VERSION = "kueue.x-k8s.io/v1beta2"
AMOUNT = whole(0, 2**63 - 1)
QUOTA: Rules = [("nominal", Needed(), AMOUNT), ("borrowing_limit", AMOUNT), ("lending_limit", AMOUNT)]
WORKLOAD: Rules = [
    ("name", Needed(), dns_subdomain),
    ("requests", Needed(), a_map),
    ("requests[]", Needed(), AMOUNT),
    ("priority", Needed(), whole(-(2**31))),
]


@dataclass(frozen=True)
class Quota:
    """Of one resource: what a queue owns, may borrow on top, and lends of its own (None: without limit)."""

    nominal: int
    borrowing_limit: int | None = None
    lending_limit: int | None = None

    def __post_init__(self) -> None:
        refuse("quota", broken(Field(vars(self)), QUOTA))

    @property
    def guaranteed(self) -> int:
        """What stays with the queue even when it is idle."""
        return 0 if self.lending_limit is None else self.nominal - self.lending_limit

    def manifest(self, resource: str) -> Manifest:
        limits = {"borrowingLimit": self.borrowing_limit, "lendingLimit": self.lending_limit}
        given = {name: _written(resource, limit) for name, limit in limits.items() if limit is not None}
        return {"name": resource, "nominalQuota": _written(resource, self.nominal), **given}


NONE = Quota(0)


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
        head = f'ClusterQueue.kueue.x-k8s.io "{self.name}"'
        refuse(head, broken(Field(vars(self)), [("quotas", a_map), ("quotas[]", Needed(), a(Quota))]))
        check_manifest(self.manifest())

    def lends_to(self, other: ClusterQueue) -> bool:
        """Quota is lent within a cohort, and within a flavor."""
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


def local_queue(name: str, namespace: str, cluster_queue: str) -> Manifest:
    """The queue that users of a namespace name in their jobs."""
    head = {"apiVersion": API_VERSION, "kind": "LocalQueue", "metadata": {"name": name, "namespace": namespace}}
    return {**head, "spec": {"clusterQueue": cluster_queue}}


def resource_flavor(name: str, node_labels: Mapping[str, str]) -> Manifest:
    """Nodes that a quota is for, by their labels."""
    head = {"apiVersion": API_VERSION, "kind": "ResourceFlavor", "metadata": {"name": name}}
    return {**head, "spec": {"nodeLabels": dict(node_labels)}}


@dataclass(frozen=True)
class Workload:
    """A job in a queue, with what all of its pods request together."""

    name: str
    queue: str
    requests: Amounts
    priority: int = 0

    def __post_init__(self) -> None:
        refuse(f'workload "{self.name}"', broken(Field(vars(self)), WORKLOAD))


@dataclass
class Usage:
    """What the queues of one cohort use; answers what is left for each of them."""

    queues: Mapping[str, ClusterQueue]
    used: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.used:
            self._known(name)
        self.used = {name: Counter(self.used.get(name, {})) for name in self.queues}

    def copy(self) -> Usage:
        return Usage(self.queues, self.used)

    def add(self, workload: Workload) -> None:
        self.used[workload.queue].update(workload.requests)

    def remove(self, workload: Workload) -> None:
        self.used[workload.queue].subtract(workload.requests)

    def without(self, workloads: Iterable[Workload]) -> Usage:
        left = self.copy()
        for workload in workloads:
            left.remove(workload)
        return left

    def reserve(self, workload: Workload) -> None:
        """Keep for the workload what its queue may still use: its own, or with borrowing up to the limit."""
        borrows = not self.within_nominal(workload.queue, workload.requests)
        for resource, n in workload.requests.items():
            quota, used = self._quota(workload.queue, resource), self.used[workload.queue][resource]
            most = quota.nominal + (quota.borrowing_limit or 0) if borrows else quota.nominal
            unlimited = borrows and quota.borrowing_limit is None
            self.used[workload.queue][resource] += n if unlimited else max(0, min(n, most - used))

    def available(self, queue: str, resource: str) -> int:
        """What the queue can still take, its own and borrowed; 0 when others hold it all."""
        quota, used = self._quota(queue, resource), self.used[queue][resource]
        from_pot = max(0, used - quota.guaranteed)
        from_cohort = self._pool(queue, resource) - self._pool_used(queue, resource)
        if quota.borrowing_limit is not None:
            from_cohort = min(from_cohort, quota.nominal - quota.guaranteed - from_pot + quota.borrowing_limit)
        return max(0, max(0, quota.guaranteed - used) + from_cohort)

    def potential(self, queue: str, resource: str) -> int:
        """What the queue could take if everyone else were idle."""
        quota = self._quota(queue, resource)
        most = quota.guaranteed + self._pool(queue, resource)
        return most if quota.borrowing_limit is None else min(most, quota.nominal + quota.borrowing_limit)

    def borrowed(self, queue: str, resource: str) -> int:
        return max(0, self.used[queue][resource] - self._quota(queue, resource).nominal)

    def fits(self, workload: Workload) -> bool:
        return all(n <= self.available(workload.queue, resource) for resource, n in workload.requests.items())

    def within_nominal(self, queue: str, requests: Amounts) -> bool:
        """Whether the queue, with these requests added, uses no more than it owns."""
        return all(self.used[queue][r] + n <= self._quota(queue, r).nominal for r, n in requests.items())

    def _known(self, queue: str) -> None:
        if queue not in self.queues:
            raise not_found("queue", queue)

    def _quota(self, queue: str, resource: str) -> Quota:
        self._known(queue)
        return self.queues[queue].quotas.get(resource, NONE)

    def _cohort(self, queue: str) -> list[str]:
        """The queue, and those with which it shares a pot."""
        mine = self.queues[queue]
        return [name for name, other in self.queues.items() if other is mine or other.lends_to(mine)]

    def _pool(self, queue: str, resource: str) -> int:
        """What all queues of the cohort together put into it."""
        quotas = [self._quota(other, resource) for other in self._cohort(queue)]
        return sum(quota.nominal - quota.guaranteed for quota in quotas)

    def _pool_used(self, queue: str, resource: str) -> int:
        guaranteed = {other: self._quota(other, resource).guaranteed for other in self._cohort(queue)}
        return sum(max(0, self.used[other][resource] - kept) for other, kept in guaranteed.items())
