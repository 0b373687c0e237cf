"""ClusterQueue, LocalQueue and ResourceFlavor of Kueue 0.19: `pkg/webhooks/clusterqueue_webhook.go` and the schemas."""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    a_map,
    below,
    dns_subdomain,
    labels,
    one_of,
    quantity_check,
    select,
)
from mlinfra.quantity import quantity

API_VERSION = "kueue.x-k8s.io/v1beta2"


def _group(group: Field) -> Iterator[Problem]:
    """Each flavor has the covered resources, in their order."""
    covered = group["coveredResources"].value or []
    if not isinstance(covered, list):
        yield group["coveredResources"].invalid("must be a list")
        return
    for flavor in group["flavors"].each():
        given = list(flavor["resources"].each())
        if len(given) != len(covered):
            yield group["flavors"].invalid("flavors must have the same number of resources as the coveredResources")
        for resource, name in zip(given, covered, strict=False):
            if resource["name"].value != name:
                yield resource["name"].invalid("must match the name in coveredResources")


def _limits(spec: Field) -> Iterator[Problem]:
    """Who is in no cohort neither borrows nor lends, and nobody lends more than is there."""
    for resource in select(spec, _RESOURCE):
        for limit in (resource["borrowingLimit"], resource["lendingLimit"]):
            if limit.value is not None and not spec["cohortName"].value:
                yield limit.invalid("must be nil when cohort is empty")
        lent, nominal = resource["lendingLimit"], resource["nominalQuota"]
        if lent.value is not None and quantity(lent.value) > quantity(nominal.value):
            yield lent.invalid("must be less than or equal to the nominalQuota")


_RESOURCE = "resourceGroups[].flavors[].resources[]"
CLUSTER_QUEUE: Rules = [
    ("cohortName", dns_subdomain),
    ("queueingStrategy", one_of("BestEffortFIFO", "StrictFIFO")),
    ("preemption.reclaimWithinCohort", one_of("Any", "LowerPriority", "Never")),
    ("preemption.withinClusterQueue", one_of("LowerOrNewerEqualPriority", "LowerPriority", "Never")),
    ("resourceGroups[].coveredResources", Needed()),
    ("resourceGroups[].flavors", Needed()),
    ("resourceGroups[].flavors[].name", Needed(), dns_subdomain),
    (f"{_RESOURCE}.name", Needed()),
    (f"{_RESOURCE}.nominalQuota", Needed(), quantity_check()),
    (f"{_RESOURCE}.borrowingLimit", quantity_check()),
    (f"{_RESOURCE}.lendingLimit", quantity_check()),
    ("stopPolicy", one_of("Hold", "HoldAndDrain", "None")),
]
CLUSTER_QUEUE_KIND = CustomKind(
    API_VERSION,
    "ClusterQueue",
    below("spec", CLUSTER_QUEUE),
    [("spec.resourceGroups[]", _group), ("spec", _limits)],
    "clusterqueue",
)
LOCAL_QUEUE_KIND = CustomKind(
    API_VERSION,
    "LocalQueue",
    [("spec.clusterQueue", Needed(), dns_subdomain)],
    [],
    "localqueue",
)
FLAVOR_KIND = CustomKind(
    API_VERSION,
    "ResourceFlavor",
    [("spec.nodeLabels", a_map, labels)],
    [],
    "resourceflavor",
)
KINDS = {kind.kind: kind for kind in (CLUSTER_QUEUE_KIND, LOCAL_QUEUE_KIND, FLAVOR_KIND)}
