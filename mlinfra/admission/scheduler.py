"""KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1, as far as this course writes one.

`pkg/scheduler/apis/config/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import Check, Field, Needed, Problem, Rules, a_map, between, broken, one_of, unknown_field

MAX_SHAPE_SCORE = 10


def _weight(entry: Field) -> Iterator[Problem]:
    """`validateResources`: more than 0, up to 100."""
    weight = entry["weight"]
    if weight.value is not None and (type(weight.value) is not int or not 0 < weight.value <= 100):
        yield weight.invalid(f"resource weight of {entry['name'].value} not in valid range (0, 100]")


def _in_range(most: int) -> Check:
    def check(field: Field) -> Iterator[Problem]:
        if type(field.value) is not int or not 0 <= field.value <= most:
            yield field.invalid(f"not in valid range [0, {most}]")

    return check


def _shape(ratio: Field) -> Iterator[Problem]:
    """`validateFunctionShape`: at least one point, and in order."""
    points = [point["utilization"] for point in ratio["shape"].each()]
    if not points:
        yield ratio["shape"].required("at least one point must be specified")
    for before, after in pairwise(points):
        if all(type(x.value) is int for x in (before, after)) and before.value >= after.value:
            yield after.invalid("values must be sorted in increasing order")
            return


_POINT = "scoringStrategy.requestedToCapacityRatio.shape[]"
STRATEGY: Rules = [
    ("scoringStrategy.type", one_of("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")),
    ("scoringStrategy.resources[].name", Needed()),
    ("scoringStrategy.resources[].weight",),
    ("scoringStrategy.resources[]", _weight),
    (f"{_POINT}.utilization", _in_range(100)),
    (f"{_POINT}.score", _in_range(MAX_SHAPE_SCORE)),
    ("scoringStrategy.requestedToCapacityRatio", _shape),
]


FIT_ARGS = ("apiVersion", "ignoredResourceGroups", "ignoredResources", "kind", "scoringStrategy")


def _fit_args(plugin: Field) -> Iterator[Problem]:
    """The arguments of NodeResourcesFit; those of other plugins are not looked at here."""
    if plugin["name"].value == "NodeResourcesFit":
        for name in plugin["args"].value or {}:
            if name not in FIT_ARGS:
                yield unknown_field(plugin["args"][name].path)
        yield from broken(plugin["args"], STRATEGY)


KIND = CustomKind(
    "kubescheduler.config.k8s.io/v1",
    "KubeSchedulerConfiguration",
    [
        ("profiles[].percentageOfNodesToScore", between(0, 100)),
        ("profiles[].pluginConfig[].args", a_map),
    ],
    [("profiles[].pluginConfig[]", _fit_args)],
    "kubeschedulerconfiguration",
    name=None,
)
KINDS = {KIND.kind: KIND}
