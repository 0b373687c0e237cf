"""Gangs and devices: PodGroup and Workload (scheduling.k8s.io/v1beta1), ResourceSlice and ResourceClaimTemplate.

`pkg/apis/scheduling` and `pkg/apis/resource` of Kubernetes 1.37. A server with the feature gate GenericWorkload off, as
by default, does not serve the first two at all. Fields behind other gates, such as a topology, are checked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission.common import distinct, exactly_one
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    below,
    dns_label,
    dns_subdomain,
    label_key,
    one_of,
    whole,
)
from mlinfra.admission.workloads import CLAIM

MOST_TEMPLATES = 8


def union(*names: str) -> Rules:
    """Exactly one of these members is set."""
    words = ", ".join(f"`{name}`" for name in names)
    return [("", exactly_one(list(names), f"must specify one of: {words}", f"must specify exactly one of: {words}"))]


def one_constraint(constraints: Field) -> Iterator[Problem]:
    """One topology key a group, as of 1.37."""
    topology = constraints["topology"]
    if len(topology.value or ()) > 1:
        yield Problem(topology.path, f"Too many: {len(topology.value)}: must have at most 1 item")


GROUP: Rules = [
    *below("schedulingPolicy", union("basic", "gang")),
    ("schedulingPolicy.gang.minCount", whole(1, why="must be greater than or equal to 1")),
    *below("disruptionMode", union("single", "all")),
    ("priorityClassName", dns_subdomain),
    ("preemptionPolicy", one_of("Never", "PreemptLowerPriority")),
    ("schedulingConstraints", one_constraint),
    ("schedulingConstraints.topology[].key", Needed(), label_key),
]
POD_GROUP: Rules = [
    *GROUP,
    ("workloadRef.workloadName", Needed(), dns_subdomain),
    ("workloadRef.templateName", Needed(), dns_label),
]


def some_templates(spec: Field) -> Iterator[Problem]:
    """From one to eight."""
    templates = spec["podGroupTemplates"]
    if templates.value == []:
        yield templates.required("must have at least one item")
    if len(templates.value or ()) > MOST_TEMPLATES:
        yield Problem(templates.path, f"Too many: {len(templates.value)}: must have at most {MOST_TEMPLATES} items")


WORKLOAD: Rules = [
    *union("podGroupTemplates", "compositePodGroupTemplates"),
    ("", some_templates),
    ("podGroupTemplates[].name", Needed(), dns_label),
    ("podGroupTemplates", distinct("name", "name")),
    *below("podGroupTemplates[]", GROUP),
    ("controllerRef.(kind|name)", Needed()),
]

# ----------------------------------------------------------------------------------------------------------- devices

PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def one_place(spec: Field) -> Iterator[Problem]:
    """The slice says in one way for which nodes it is."""
    places = [f"`{place}`" for place in PLACES if spec[place].value]
    need = f"exactly one of {', '.join(f'`{place}`' for place in PLACES)} is required"
    if not places:
        yield spec.required(need)
    elif len(places) > 1:
        yield Field(f"{{{', '.join(places)}}}", spec.path).invalid(f"{need}, but multiple fields are set")


def devices_or_counters(spec: Field) -> Iterator[Problem]:
    """Since 1.35 the counters that devices share stand in slices of their own."""
    if spec["devices"].value and spec["sharedCounters"].value:
        yield spec.invalid("only one of `sharedCounters` or `devices` is allowed")


SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)


def one_value(attribute: Field) -> Iterator[Problem]:
    """An attribute has one value, and a version is one of semver."""
    if len(attribute.value) != 1:
        yield attribute.invalid("exactly one value must be specified")
    version = attribute["version"]
    if version.value is not None and not SEMVER.fullmatch(version.value):
        yield version.invalid("must be a string compatible with semver.org spec 2.0.0")


SLICE: Rules = [
    ("devices[].attributes[]", one_value),
    ("driver", Needed(), dns_subdomain),
    ("pool.name", Needed()),
    ("pool.generation", whole(0)),
    ("pool.resourceSliceCount", whole(1, why="must be greater than zero")),
    ("", one_place),
    ("", devices_or_counters),
    ("devices[].name", Needed(), dns_label),
    ("devices", distinct("name", "name")),
    ("devices[].consumesCounters[].counterSet", Needed(), dns_label),
    ("devices[].taints[].key", Needed(), label_key),
    ("sharedCounters[].name", Needed(), dns_label),
    ("sharedCounters", distinct("name", "name")),
]
CLAIM_TEMPLATE: Rules = below("spec", CLAIM)
