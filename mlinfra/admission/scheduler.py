"""KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1, as far as this course writes one.

`pkg/scheduler/apis/config/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mlinfra.admission.custom import CustomKind, fields
from mlinfra.admission.rules import Check, Field, Needed, Problem, Rules, between, one_of

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


KIND = CustomKind(
    "kubescheduler.config.k8s.io/v1",
    "KubeSchedulerConfiguration",
    [
        ("profiles", Needed()),
        ("profiles[].schedulerName",),
        ("profiles[].percentageOfNodesToScore", between(0, 100)),
        ("profiles[].plugins.score.disabled[].name", Needed()),
        ("profiles[].plugins.score.enabled[].name", Needed()),
        ("profiles[].plugins.score.enabled[].weight",),
        ("profiles[].pluginConfig[].name", one_of("NodeResourcesFit")),
        *fields("", "parallelism leaderElection clientConnection percentageOfNodesToScore extenders"),
        *fields("profiles[].pluginConfig[].args", "apiVersion kind ignoredResources ignoredResourceGroups"),
        *[(f"profiles[].pluginConfig[].args.{path}", *checks) for path, *checks in STRATEGY],
    ],
    [],
    name=None,
)
KINDS = {KIND.kind: KIND}
