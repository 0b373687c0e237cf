"""The pod template of a workload, and the selector that finds its pods: pkg/apis/{apps,batch,core}/validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlinfra.admission.rules import Check, Field, Problem, annotation_keys, labels


def selects_its_pods(kind: str) -> Check:
    """The selector exists, is not empty, and matches the labels of the template."""

    def check(spec: Field) -> Iterator[Problem]:
        selector = spec["selector"]
        if selector.value is None:
            yield selector.required()
        elif not selector["matchLabels"].value and not selector["matchExpressions"].value:
            yield selector.invalid(f"empty selector is invalid for {kind}")
        yield from matches_its_pods(spec)

    return check


def matches_its_pods(spec: Field) -> Iterator[Problem]:
    selector, pod_labels = spec["selector"], spec["template"]["metadata"]["labels"]
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


def template_metadata(template: Field) -> Iterator[Problem]:
    """Upstream leaves `metadata` out of these two paths."""
    for name, rule in (("labels", labels), ("annotations", annotation_keys)):
        entries = template["metadata"][name].value
        if entries is not None:
            yield from rule(Field(entries, f"{template.path}.{name}"))
