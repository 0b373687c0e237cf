"""Deployments, StatefulSets, DaemonSets, disruption budgets, priority classes and resource claims.

From pkg/apis/{apps,policy,resource,scheduling}/validation of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.common import SELECTOR, at_most_all, distinct, no_pods, not_negative, percent_or_count
from mlinfra.admission.pods import POD
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    below,
    broken,
    dns_label,
    dns_subdomain,
    forbidden,
    holds,
    one_of,
    select,
)
from mlinfra.admission.templates import selects_its_pods, template_metadata


def rollout(spec: Field) -> Iterator[Problem]:
    """A rolling update may not stand still, and its deadline lies beyond the ready time."""
    strategy, rolling = spec["strategy"], spec["strategy"]["rollingUpdate"]
    if strategy["type"].value == "Recreate" and rolling.value is not None:
        yield rolling.forbidden("may not be specified when strategy `type` is 'Recreate'")
    if no_pods(rolling["maxUnavailable"].value) and no_pods(rolling["maxSurge"].value):
        yield rolling["maxUnavailable"].invalid("may not be 0 when `maxSurge` is 0")
    deadline, ready = spec["progressDeadlineSeconds"], spec["minReadySeconds"].value or 0
    if (600 if deadline.value is None else deadline.value) <= ready or deadline.value == 0:
        yield deadline.invalid("must be greater than minReadySeconds")


def always_running(kind: str) -> Rules:
    """The template of pods that are started again whatever happens."""
    return [
        ("template", template_metadata),
        ("template.spec.restartPolicy", one_of("Always")),
        ("template.spec.activeDeadlineSeconds", forbidden(f"activeDeadlineSeconds in {kind} is not Supported")),
    ]


DEPLOYMENT: Rules = [
    ("", selects_its_pods("deployment")),
    ("", rollout),
    ("(replicas|minReadySeconds|revisionHistoryLimit)", not_negative),
    ("strategy.type", one_of("Recreate", "RollingUpdate")),
    ("strategy.rollingUpdate.maxUnavailable", percent_or_count, at_most_all),
    ("strategy.rollingUpdate.maxSurge", percent_or_count),
    *below("selector", SELECTOR),
    *always_running("ReplicaSet"),
    *below("template.spec", POD),
]


def update_strategy(spec: Field) -> Iterator[Problem]:
    kind, rolling = spec["updateStrategy"]["type"], spec["updateStrategy"]["rollingUpdate"]
    if kind.value not in (None, "", "RollingUpdate", "OnDelete"):
        yield kind.invalid("must be 'RollingUpdate' or 'OnDelete'")
    elif kind.value == "OnDelete" and rolling.value is not None:
        yield rolling.invalid("only allowed for updateStrategy 'RollingUpdate'")


def with_claimed_volumes(spec: Field) -> Iterator[Problem]:
    """The rules of a pod, which has a volume for each claim template."""
    names = [name.value for name in select(spec, "volumeClaimTemplates[].metadata.name")]
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names if name]
    pod = spec["template"]["spec"]
    volumes = [*(pod["volumes"].value or ()), *claimed]
    yield from broken(Field({**(pod.value or {}), "volumes": volumes}, pod.path), POD)


STATEFUL_SET: Rules = [
    ("", selects_its_pods("statefulset")),
    ("(replicas|minReadySeconds|revisionHistoryLimit|updateStrategy.rollingUpdate.partition)", not_negative),
    (
        "podManagementPolicy",
        holds(lambda policy: policy in ("", "OrderedReady", "Parallel"), "must be 'OrderedReady' or 'Parallel'"),
    ),
    ("", update_strategy),
    ("updateStrategy.rollingUpdate.maxUnavailable", percent_or_count, at_most_all),
    ("persistentVolumeClaimRetentionPolicy.(whenDeleted|whenScaled)", one_of("Delete", "Retain")),
    *below("selector", SELECTOR),
    *always_running("StatefulSet"),
    ("", with_claimed_volumes),
]


DAEMON_SET: Rules = [
    ("", selects_its_pods("daemonset")),
    ("(minReadySeconds|revisionHistoryLimit)", not_negative),
    ("updateStrategy.type", one_of("OnDelete", "RollingUpdate")),
    ("updateStrategy.rollingUpdate.(maxUnavailable|maxSurge)", percent_or_count, at_most_all),
    *below("selector", SELECTOR),
    *always_running("DaemonSet"),
    *below("template.spec", POD),
]


def one_budget(spec: Field) -> Iterator[Problem]:
    if spec["minAvailable"].value is not None and spec["maxUnavailable"].value is not None:
        yield spec.invalid("minAvailable and maxUnavailable cannot be both set")


BUDGET: Rules = [
    ("", one_budget),
    ("(minAvailable|maxUnavailable)", percent_or_count, at_most_all),
    ("unhealthyPodEvictionPolicy", one_of("AlwaysAllow", "IfHealthyBudget")),
    *below("selector", SELECTOR),
]


SYSTEM_PRIORITIES = {"system-cluster-critical": 2 * 10**9, "system-node-critical": 2 * 10**9 + 1000}


def user_priority(priority_class: Field) -> Iterator[Problem]:
    """The two classes of the system's own have higher values than a user's may have."""
    name, value = priority_class["metadata"]["name"], priority_class["value"]
    if str(name.value).startswith("system-"):
        if SYSTEM_PRIORITIES.get(name.value) != value.value:
            yield name.forbidden("priority class names with 'system-' prefix are reserved for system use only")
    elif value.value is not None and value.value > 10**9:
        yield value.forbidden("maximum allowed value of a user defined priority is 1000000000")


PRIORITY_CLASS: Rules = [
    ("", user_priority),
    ("preemptionPolicy", one_of("Never", "PreemptLowerPriority")),
]


def request_kind(field: Field) -> Iterator[Problem]:
    if (field["exactly"].value is None) == (field["firstAvailable"].value is None):
        yield field.required("exactly one of `exactly` or `firstAvailable` is required")


def device_count(field: Field) -> Iterator[Problem]:
    mode, count = field["allocationMode"].value or "ExactCount", field["count"]
    if mode == "ExactCount" and count.value is not None and count.value < 0:
        yield count.invalid("must be greater than zero")
    elif mode == "All" and count.value:
        yield count.invalid("must not be specified when allocationMode is 'All'")


DEVICES: Rules = [
    ("deviceClassName", Needed(), dns_subdomain),
    ("allocationMode", one_of("All", "ExactCount")),
    ("selectors[].cel.expression", Needed()),
    ("", device_count),
]


UNKNOWN_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)


def known_requests(devices: Field) -> Iterator[Problem]:
    """Constraints and configurations name requests of the claim, or `request/alternative`."""
    names = set()
    for request in devices["requests"].each():
        name = request["name"].value
        names |= {name, *(f"{name}/{each['name'].value}" for each in request["firstAvailable"].each())}
    for part in ("constraints", "config"):
        for each in devices[part].each():
            for reference in each["requests"].each():
                if reference.value not in names:
                    yield reference.invalid(UNKNOWN_REQUEST)


CLAIM: Rules = [
    ("devices", known_requests),
    ("devices.requests[].name", Needed(), dns_label),
    ("devices.requests[]", request_kind),
    ("devices.requests", distinct("name", "name")),
    *below("devices.requests[].(exactly|firstAvailable[])", DEVICES),
    ("devices.requests[].firstAvailable[].name", Needed(), dns_label),
]
