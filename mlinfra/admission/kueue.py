"""ClusterQueue, Cohort, LocalQueue, ResourceFlavor, Topology of Kueue 0.19: webhooks (`pkg/webhooks`) and schemas."""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.custom import CustomKind, Older
from mlinfra.admission.rules import (
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    dns_subdomain,
    label_key,
    labels,
    quantity_check,
    select,
)
from mlinfra.quantity import quantity

API_VERSION = "kueue.x-k8s.io/v1beta2"


def _older(fields: str) -> dict[str, Older]:
    """The version before, with its own words; the webhooks see it as one of today."""
    return {"kueue.x-k8s.io/v1beta1": Older(fields, "This version is deprecated. Use v1beta2 instead.")}


def _group(group: Field) -> Iterator[Problem]:
    """Each flavor has the covered resources, in their order."""
    covered = group["coveredResources"].value
    for flavor in group["flavors"].each():
        resources = list(flavor["resources"].each())
        if len(resources) != len(covered):
            yield group["flavors"].invalid("flavors must have the same number of resources as the coveredResources")
        for resource, name in zip(resources, covered, strict=False):
            if resource["name"].value != name:
                yield resource["name"].invalid("must match the name in coveredResources")


def _limits_need(what: str, *names: str) -> Check:
    """Without one of these fields nobody is there to borrow from, or to lend to."""

    def check(spec: Field) -> Iterator[Problem]:
        if any(spec[name].value for name in names):
            return
        for limit in select(spec, f"{_RESOURCE}.(borrowingLimit|lendingLimit)"):
            if limit.value is not None:
                yield limit.invalid(f"must be nil when {what} is empty")

    return check


def _lending(resource: Field) -> Iterator[Problem]:
    """A queue lends no more than it has."""
    lent, nominal = resource["lendingLimit"], resource["nominalQuota"]
    if lent.value is not None and quantity(lent.value) > quantity(nominal.value):
        yield lent.invalid("must be less than or equal to the nominalQuota")


_RESOURCE = "resourceGroups[].flavors[].resources[]"
QUOTAS: Rules = [
    ("spec.resourceGroups[].(coveredResources|flavors)", Needed()),
    ("spec.resourceGroups[].flavors[].name", Needed(), dns_subdomain),
    (f"spec.{_RESOURCE}.name", Needed()),
    (f"spec.{_RESOURCE}.(nominalQuota|borrowingLimit|lendingLimit)", quantity_check()),
]
CLUSTER_QUEUE = CustomKind(
    API_VERSION,
    "ClusterQueue",
    [("spec.(cohortName|cohort)", dns_subdomain), *QUOTAS],
    [
        ("spec.resourceGroups[]", _group),
        ("spec", _limits_need("cohort", "cohortName", "cohort")),
        (f"spec.{_RESOURCE}", _lending),
    ],
    "clusterqueue",
    older=_older("clusterqueue_v1beta1"),
)
COHORT = CustomKind(
    API_VERSION,
    "Cohort",
    [("spec.parentName", dns_subdomain), *QUOTAS],
    [("spec.resourceGroups[]", _group), ("spec", _limits_need("parent", "parentName"))],
    "cohort",
    older=_older("cohort"),
)
LOCAL_QUEUE = CustomKind(
    API_VERSION,
    "LocalQueue",
    [("spec.clusterQueue", Needed(), dns_subdomain)],
    [],
    "localqueue",
    older=_older("localqueue"),
)
FLAVOR = CustomKind(
    API_VERSION,
    "ResourceFlavor",
    [("spec.nodeLabels", labels)],
    [],
    "resourceflavor",
    older=_older("resourceflavor"),
)
HOSTNAME = "kubernetes.io/hostname"


def _levels(levels: Field) -> Iterator[Problem]:
    """From 1 to 16, each once, and hosts below everything else."""
    labels_of_nodes = [level["nodeLabel"].value for level in levels.each()]
    if len(labels_of_nodes) > 16:
        yield Problem(levels.path, f"Too many: {len(labels_of_nodes)}: must have at most 16 items")
    if len(set(labels_of_nodes)) < len(labels_of_nodes):
        yield levels.invalid("must be unique")
    if HOSTNAME in labels_of_nodes[:-1]:
        yield levels.invalid(f"the {HOSTNAME} label can only be used at the lowest level of topology")


TOPOLOGY = CustomKind(
    API_VERSION,
    "Topology",
    [("spec.levels", Needed()), ("spec.levels[].nodeLabel", Needed(), label_key)],
    [("spec.levels", _levels)],
    "topology",
    older=_older("topology"),
)
KINDS = {kind.kind: kind for kind in (CLUSTER_QUEUE, COHORT, LOCAL_QUEUE, FLAVOR, TOPOLOGY)}
