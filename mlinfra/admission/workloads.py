"""Deployments, Jobs, disruption budgets, priority classes and resource claims.

From pkg/apis/{apps,batch,policy,resource,scheduling}/validation of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
    labels,
    one_of,
)


def selects_its_pods(spec: Field) -> Iterator[Problem]:
    """The selector exists, is not empty, and matches the labels of the template."""
    selector, found = spec["selector"], spec["template"]["metadata"]["labels"]
    wanted = selector["matchLabels"].value or {}
    if selector.value is None:
        yield selector.required()
    elif not wanted and not selector["matchExpressions"].value:
        yield selector.invalid("empty selector is invalid for deployment")
    if selector.value is None or not _selected(found.value or {}, wanted, selector["matchExpressions"].value or []):
        yield found.invalid("`selector` does not match template `labels`")


def _selected(found: dict[str, str], wanted: dict[str, str], expressions: list[Any]) -> bool:
    """Whether labels match a selector's map and expressions."""
    tests = {
        "In": lambda key, values: found.get(key) in values,
        "NotIn": lambda key, values: found.get(key) not in values,
        "Exists": lambda key, values: key in found,
        "DoesNotExist": lambda key, values: key not in found,
    }
    return all(found.get(key) == value for key, value in wanted.items()) and all(
        tests.get(e.get("operator"), lambda key, values: True)(e.get("key"), e.get("values", ())) for e in expressions
    )


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
        given = template["metadata"][name]
        if given.value is not None:
            yield from rule(Field(given.value, f"{template.path}.{name}"))


DEPLOYMENT: Rules = [
    ("", selects_its_pods),
    ("", rollout),
    ("replicas", not_negative),
    ("minReadySeconds", not_negative),
    ("revisionHistoryLimit", not_negative),
    ("strategy.type", one_of("Recreate", "RollingUpdate")),
    ("strategy.rollingUpdate.maxUnavailable", percent_or_count, at_most_all),
    ("strategy.rollingUpdate.maxSurge", percent_or_count),
    *below("selector", SELECTOR),
    ("template", template_metadata),
    ("template.spec.restartPolicy", one_of("Always")),
    ("template.spec.activeDeadlineSeconds", lambda field: iter([field.forbidden("is not supported in a template")])),
    *below("template.spec", POD),
]


def ends(template: Field) -> Iterator[Problem]:
    """A Job's pods may not run for ever."""
    if template["spec"]["restartPolicy"].value not in ("OnFailure", "Never"):
        yield template["spec"]["restartPolicy"].required('valid values: "OnFailure", "Never"')


JOB: Rules = [
    ("parallelism", not_negative),
    ("completions", not_negative),
    ("backoffLimit", not_negative),
    ("ttlSecondsAfterFinished", not_negative),
    ("activeDeadlineSeconds", not_negative),
    ("completionMode", one_of("Indexed", "NonIndexed")),
    ("template", template_metadata, ends),
    *below("template.spec", POD),
]


def one_budget(spec: Field) -> Iterator[Problem]:
    if spec["minAvailable"].value is not None and spec["maxUnavailable"].value is not None:
        yield spec.invalid("minAvailable and maxUnavailable cannot be both set")


BUDGET: Rules = [
    ("", one_budget),
    ("minAvailable", percent_or_count, at_most_all),
    ("maxUnavailable", percent_or_count, at_most_all),
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


CLAIM: Rules = [
    ("devices.requests[].name", Needed(), dns_label),
    ("devices.requests[]", request_kind),
    ("devices.requests", distinct("name", "name")),
    *[
        row
        for place in ("devices.requests[].exactly", "devices.requests[].firstAvailable[]")
        for row in (
            (f"{place}.deviceClassName", Needed(), dns_subdomain),
            (f"{place}.allocationMode", one_of("All", "ExactCount")),
            (f"{place}.selectors[].cel.expression", Needed()),
            (place, device_count),
        )
    ],
    ("devices.requests[].firstAvailable[].name", Needed(), dns_label),
]
