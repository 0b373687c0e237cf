"""Deployments, Jobs, disruption budgets, priority classes and resource claims.

From pkg/apis/{apps,batch,policy,resource,scheduling}/validation of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlinfra.admission.common import SELECTOR, at_most_all, distinct, no_pods, not_negative, percent_or_count
from mlinfra.admission.pods import POD
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    annotation_keys,
    below,
    dns_label,
    dns_subdomain,
    forbidden,
    labels,
    one_of,
)


def selects_its_pods(spec: Field) -> Iterator[Problem]:
    """The selector exists, is not empty, and matches the labels of the template."""
    selector, pod_labels = spec["selector"], spec["template"]["metadata"]["labels"]
    if selector.value is None:
        yield selector.required()
    elif not selector["matchLabels"].value and not selector["matchExpressions"].value:
        yield selector.invalid("empty selector is invalid for deployment")
    if selector.value is None or not _selects(selector, pod_labels.value or {}):
        yield pod_labels.invalid("`selector` does not match template `labels`")


def _selects(selector: Field, pod_labels: Mapping[str, str]) -> bool:
    """Whether labels match a selector's map and expressions."""
    equal = all(pod_labels.get(key) == value for key, value in (selector["matchLabels"].value or {}).items())
    return equal and all(_expressed(expression, pod_labels) for expression in selector["matchExpressions"].each())


def _expressed(expression: Field, pod_labels: Mapping[str, str]) -> bool:
    """Whether one expression holds; an operator that there is not counts as true, and is refused elsewhere."""
    key, values = expression["key"].value, expression["values"].value or ()
    holds = {
        "In": pod_labels.get(key, "") in values,
        "NotIn": pod_labels.get(key, "") not in values,
        "Exists": key in pod_labels,
        "DoesNotExist": key not in pod_labels,
    }
    return holds.get(expression["operator"].value, True)


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


def template_metadata(template: Field) -> Iterator[Problem]:
    """Upstream leaves `metadata` out of these two paths."""
    for name, rule in (("labels", labels), ("annotations", annotation_keys)):
        entries = template["metadata"][name].value
        if entries is not None:
            yield from rule(Field(entries, f"{template.path}.{name}"))


DEPLOYMENT: Rules = [
    ("", selects_its_pods),
    ("", rollout),
    ("(replicas|minReadySeconds|revisionHistoryLimit)", not_negative),
    ("strategy.type", one_of("Recreate", "RollingUpdate")),
    ("strategy.rollingUpdate.maxUnavailable", percent_or_count, at_most_all),
    ("strategy.rollingUpdate.maxSurge", percent_or_count),
    *below("selector", SELECTOR),
    ("template", template_metadata),
    ("template.spec.restartPolicy", one_of("Always")),
    ("template.spec.activeDeadlineSeconds", forbidden("is not supported in a template")),
    *below("template.spec", POD),
]


def ends(template: Field) -> Iterator[Problem]:
    """A Job's pods may not run for ever."""
    if template["spec"]["restartPolicy"].value not in ("OnFailure", "Never"):
        yield template["spec"]["restartPolicy"].required('valid values: "OnFailure", "Never"')


JOB: Rules = [
    ("(parallelism|completions|backoffLimit|ttlSecondsAfterFinished|activeDeadlineSeconds)", not_negative),
    ("completionMode", one_of("Indexed", "NonIndexed")),
    ("template", template_metadata, ends),
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

CLAIM: Rules = [
    ("devices.requests[].name", Needed(), dns_label),
    ("devices.requests[]", request_kind),
    ("devices.requests", distinct("name", "name")),
    *below("devices.requests[].(exactly|firstAvailable[])", DEVICES),
    ("devices.requests[].firstAvailable[].name", Needed(), dns_label),
]
