"""Rules of nodes, pods, quotas and sharing, by class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from mlinfra.admission.gpu_config import GPU, shared_by_mps
from mlinfra.admission.pods import toleration
from mlinfra.admission.rules import (
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    broken,
    dns_label,
    label_key,
    label_value,
    labels,
    quantity_check,
    real,
    select,
    whole,
)
from mlinfra.admission.scheduler import STRATEGY, weight
from mlinfra.manifest import Manifest, extended
from mlinfra.quantity import quantity

WHOLE_GPU = 1000


def extended_resource(field: Field) -> Iterator[Problem]:
    if not extended(str(field.value)):
        yield field.invalid("must be an extended resource, such as nvidia.com/gpu")


def devices(field: Field) -> Iterator[Problem]:
    """Extended resources, in whole pieces; the one that is counted elsewhere is not among them."""
    for name in field.value:
        yield from extended_resource(Field(name, field.path))
    for count in field.each():
        yield from whole(0)(count)


def one_count(node: Field) -> Iterator[Problem]:
    if node["gpu_count"].value and GPU in node["devices"].value:
        yield node["devices"].invalid(f"must not have {GPU} beside gpu_count")


TAINT: Rules = [("key", Needed(), label_key), ("value", label_value)]
NODE: Rules = [("gpu_type", label_value), ("labels", labels), ("devices", devices), ("", one_count)]
REQUEST: Rules = [
    ("labels", labels),
    ("node_selector", labels),
    ("preferred_gpu_type", label_value),
    ("required_gpu_type", label_value),
    ("resource", extended_resource),
    ("devices", devices),
    ("claims[]", dns_label),
]


def strategy(noun: Field) -> Iterator[Problem]:
    """As in the arguments of NodeResourcesFit."""
    weights = [{"name": name, "weight": number} for name, number in noun["resources"].value.items()]
    arguments: dict[str, Any] = {"resources": weights}
    if noun["shape"].value is not None:
        shape = [{"utilization": x, "score": y} for x, y in noun["shape"].value]
        arguments["requestedToCapacityRatio"] = {"shape": shape}
    yield from broken(Field({"scoringStrategy": arguments}), [*STRATEGY, ("scoringStrategy.resources[]", weight)])


# ------------------------------------------------------------------------------------------------------------ Kueue


def known_queues(usage: Field) -> Iterator[Problem]:
    for name in usage["used"].value:
        if name not in usage["queues"].value:
            yield Problem("used", f'clusterqueues "{name}" not found')


AMOUNTS: Rules = [("requests[]", whole(0, 2**63 - 1))]


# --------------------------------------------------------------------------------------------------- parts of a GPU


def sharing(noun: Field) -> Iterator[Problem]:
    if noun["technique"].value == "mps":
        yield from shared_by_mps(noun["resource"], noun["replicas"])


def pod_shape(pod: Field) -> Iterator[Problem]:
    """A share is of one GPU; several are asked for whole, and none has no share."""
    gpus, milli = pod["gpus"].value, pod["gpu_milli"]
    if gpus == 1 and not 1 <= milli.value <= WHOLE_GPU:
        yield milli.invalid(f"must be from 1 to {WHOLE_GPU} for 1 GPUs")
    elif gpus != 1 and milli.value != (WHOLE_GPU if gpus else 0):
        yield milli.invalid(f"must be {WHOLE_GPU if gpus else 0} for {gpus} GPUs")


# ----------------------------------------------------------------------------------------------- a run of a fleet


def autoscaler_flags(flags: Field) -> Iterator[Problem]:
    """Priorities are lists of expressions that can be read."""
    for priority, expressions in (flags["priorities"].value or {}).items():
        place = f"priorities[{priority}]"
        if isinstance(expressions, str):
            yield Field(expressions, place).invalid("must be a list of regular expressions over the names of pools")
            continue
        for i, expression in enumerate(expressions):
            try:
                re.compile(expression)
            except re.error as error:
                yield Field(expression, f"{place}[{i}]").invalid(f"is no regular expression: {error}")


def of_one_pool(slices: Iterable[Manifest]) -> Iterator[Problem]:
    """ResourceSlices of one pool of one driver; a cluster has one for each node and driver."""
    ids = sorted({f"{each['spec']['driver']}/{each['spec']['pool']['name']}" for each in slices})
    if len(ids) != 1:
        yield Problem("slices", f"must be those of one pool of one driver, and are of {', '.join(ids) or 'none'}")


def node_loop(given: Field) -> Iterator[Problem]:
    """Each pool and each request once, and a scheduler that has no nodes of its own."""
    names = [arrival.request.name for arrival in given["arrivals"].value]
    yield from twice("pools", [pool.name for pool in given["pools"].value])
    yield from twice("arrivals", names)
    scheduler = given["scheduler"].value
    if scheduler is not None and (scheduler.nodes or scheduler.pending):
        yield given["scheduler"].invalid("must have no nodes and no pods: the pools bring the nodes")


def twice(what: str, names: Iterable[str]) -> Iterator[Problem]:
    """The first name that stands there more than once."""
    again = [name for name, times in Counter(names).items() if times > 1]
    if again:
        yield Problem(what, f"{again[0]}: already exists")


def live_fleet(given: Field) -> Iterator[Problem]:
    """Each pool once, one pod of each name, some placeholders or none, and a grace that ends."""
    yield from twice("pools", [pool.name for pool in given["pools"].value])
    if given["pod"].value.gang_size != 1:
        yield Field(given["pod"].value.gang_size, "pod.gang_size").invalid("must be 1: a replica is one pod")
    yield from broken(given, [("placeholders", whole(0)), ("grace_s", real(0))])


# ------------------------------------------------------------------------------------------------------------ gangs


def pods_of_a_group(group: Field) -> Iterator[Problem]:
    """Single pods, each under a name of its own."""
    names = [pod.name for pod in group["pods"].value]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("pods", f'Duplicate value: "{name}"')
    for i, pod in enumerate(group["pods"].value):
        if pod.gang_size != 1:
            yield Field(pod.gang_size, f"pods[{i}].gang_size").invalid(
                "must be 1: request.pods() are the pods of a gang"
            )


# --------------------------------------------------------------------------------------------------------- topology


def one_mode(request: Field) -> Iterator[Problem]:
    """Kueue's `tas_validation.go`: the annotations exclude each other, and slices have a level."""
    modes = [name for name in ("required", "preferred", "unconstrained") if request[name].value]
    if len(modes) > 1:
        yield request[modes[1]].invalid(f"must not be set beside {modes[0]}")
    if request["slice_size"].value and not request["slice_level"].value:
        yield request["slice_level"].required("slice_size is set")


def amounts_of_a_pod(pod_set: Field) -> Iterator[Problem]:
    for amount in pod_set["requests"].each():
        yield from whole(0, 2**63 - 1)(amount)


# --------------------------------------------------------------------------------------------------------- devices

_PLACE = r"""device\.%s\[['"]([a-z0-9.-]+)['"]\]\.([A-Za-z_][A-Za-z0-9_]*)"""
FROM_DRIVER = re.compile(r"""device\.driver == ['"]([a-z0-9.-]+)['"]""")
EQUALS = re.compile(_PLACE % "attributes" + r""" == ('[^']*'|"[^"]*"|-?[0-9]+|true|false)""")
AT_LEAST = re.compile(_PLACE % "capacity" + r"""\.compareTo\(quantity\(['"]([^'"]+)['"]\)\) >= 0""")
"""The three forms of CEL that are read; in the last two the domain, the name and the value."""


def cel_terms(expressions: Iterable[str]) -> list[str]:
    """What must all hold."""
    return [term.strip() for expression in expressions for term in expression.split("&&")]


def plain_cel(expression: Field) -> Iterator[Problem]:
    for term in cel_terms([expression.value]):
        if not any(form.fullmatch(term) for form in (FROM_DRIVER, EQUALS, AT_LEAST)):
            yield expression.invalid("only a driver, an attribute == a value, and a capacity's compareTo >= 0 are read")


def class_in_plain_words(device_class: Field) -> Iterator[Problem]:
    """A class of one driver's devices."""
    expressions = list(select(device_class, "spec.selectors[].cel.expression"))
    for expression in expressions:
        yield from plain_cel(expression)
    drivers = {m[1] for term in cel_terms([e.value for e in expressions]) if (m := FROM_DRIVER.fullmatch(term))}
    if len(drivers) != 1:
        yield device_class["spec"]["selectors"].forbidden("only classes of one device.driver are read")


def claim_in_plain_words(claim: Field) -> Iterator[Problem]:
    """A claim without what the allocator of this course does not know."""
    devices = claim["spec"]["devices"]
    requests = [*select(devices, "requests[].exactly"), *select(devices, "requests[].firstAvailable[]")]
    for request in requests:
        for selector in select(request, "selectors[].cel.expression"):
            yield from plain_cel(selector)
        for name in ("adminAccess", "capacity"):
            if request[name].value:
                yield request[name].forbidden("not read")
    names = [request["name"].value for request in devices["requests"].each()]
    for constraint in devices["constraints"].each():
        if not constraint["matchAttribute"].value:
            yield constraint.forbidden("only matchAttribute is read")
        elif set(constraint["requests"].value or names) != set(names):
            yield constraint["requests"].forbidden("only constraints on all requests are read")


def pool_of_devices(pool: Field) -> Iterator[Problem]:
    """Each device once, and no counters but those of the pool."""
    names = [device.name for device in pool["devices"].value]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("devices", f'Duplicate value: "{name}"')
    for device in pool["devices"].value:
        for name, counters in device.consumes.items():
            for counter in counters:
                if counter not in pool["counters"].value.get(name, {}):
                    yield Problem("devices", f"{device.name}: counters {name}/{counter} not found in the pool")


def some_requests(noun: Field) -> Iterator[Problem]:
    """At least one, each under a name of its own."""
    names = [request.name for request in noun["requests"].value]
    if not names:
        yield noun["requests"].required()
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("requests", f'Duplicate value: "{name}"')


def counters_of_a_device(device: Field) -> Iterator[Problem]:
    for counters in device["consumes"].each():
        for amount in counters.each():
            yield from whole(0, 2**63 - 1)(amount)
    for amount in device["capacity"].each():
        yield from quantity_check()(amount)


# ------------------------------------------------------------------------------------- what a noun of ours cannot hold

REQUIRED, PREFERRED = (f"{way}DuringSchedulingIgnoredDuringExecution" for way in ("required", "preferred"))


def only_expressions(pod: Field) -> Iterator[Problem]:
    """Affinity by the labels and names of nodes: no empty terms."""
    affinity = pod["spec"]["affinity"]["nodeAffinity"]
    terms = [*select(affinity, f"{REQUIRED}.nodeSelectorTerms[]"), *select(affinity, f"{PREFERRED}[].preference")]
    for term in terms:
        if not term.value or not term.value.keys() <= {"matchExpressions", "matchFields"}:
            yield term.forbidden("only matchExpressions and matchFields are read")


def one_flavor(queue: Field) -> Iterator[Problem]:
    """A queue of one flavor, in whole cores, bytes and pieces."""
    flavors = list(select(queue, "spec.resourceGroups[].flavors[]"))
    for flavor in flavors[1:]:
        yield flavor.forbidden("only one flavor is read")
    for name in ("nominalQuota", "borrowingLimit", "lendingLimit"):
        for amount in select(queue, f"spec.resourceGroups[].flavors[].resources[].{name}"):
            if amount.value is not None and quantity(amount.value).denominator != 1:
                yield amount.invalid("only whole amounts are read")


def one_resource(config: Field) -> Iterator[Problem]:
    """One resource that is shared, by MPS where there is that, which the plugin then takes alone."""
    technique = "mps" if config["sharing"]["mps"].value else "timeSlicing"
    resources = list(select(config, f"sharing.{technique}.resources[]"))
    if not resources:
        yield config["sharing"].required("timeSlicing or mps")
    for resource in resources[1:]:
        yield resource.forbidden("only one resource is read")


def all_gpus_alike(config: Field) -> Iterator[Problem]:
    """Cuts that treat all GPUs of a node in one way."""
    if not config["mig-configs"].value:
        yield config["mig-configs"].required()
    for parts in config["mig-configs"].each():
        first, *others = parts.each()
        if first["devices"].value != "all":
            yield first["devices"].forbidden("only all is read")
        for part in others:
            yield part.forbidden("only one entry is read")


def table(rules: Rules) -> Check:
    return partial(broken, rules=rules)


RULES: Mapping[str, Check] = {
    "AutoscalerFlags": autoscaler_flags,
    "Taint": table(TAINT),
    "Toleration": toleration,
    "GPUNode": table(NODE),
    "GPURequest": table(REQUEST),
    "LeastAllocated": strategy,
    "MostAllocated": strategy,
    "RequestedToCapacityRatio": strategy,
    "Workload": table(AMOUNTS),
    "FlavorUsage": known_queues,
    "Sharing": sharing,
    "PodShape": pod_shape,
    "PodGroup": pods_of_a_group,
    "PodSetTopologyRequest": one_mode,
    "PodSet": amounts_of_a_pod,
    "Device": counters_of_a_device,
    "DevicePool": pool_of_devices,
    "DeviceTaint": table(TAINT),
    "FirstAvailable": some_requests,
    "ResourceClaim": some_requests,
}
