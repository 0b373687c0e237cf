"""KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1, as far as this course writes one.

`pkg/scheduler/apis/config/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    a_map,
    between,
    broken,
    label_key,
    one_of,
    select,
    unknown_field,
)

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


def a_list(field: Field) -> Iterator[Problem]:
    if not isinstance(field.value, list):
        yield field.invalid("must be a list")


def a_string(field: Field) -> Iterator[Problem]:
    if not isinstance(field.value, str):
        yield field.invalid("must be a string")


STRATEGY: Rules = [
    ("scoringStrategy", a_map),
    ("scoringStrategy.resources", a_list),
    ("scoringStrategy.resources[]", a_map),
    ("scoringStrategy.requestedToCapacityRatio", a_map),
    ("scoringStrategy.requestedToCapacityRatio.shape", a_list),
    (_POINT, a_map),
    ("scoringStrategy.type", one_of("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")),
    ("scoringStrategy.resources[].name", Needed(), a_string, label_key),
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


PLUGINS = """* DefaultBinder DefaultPreemption DynamicResources GangScheduling ImageLocality InterPodAffinity
    NodeAffinity NodeName NodePorts NodeResourcesBalancedAllocation NodeResourcesFit NodeUnschedulable NodeVolumeLimits
    PodTopologySpread PrioritySort SchedulingGates TaintToleration VolumeBinding VolumeRestrictions
    VolumeZone""".split()  # noqa: SIM905


def _foreign(config: Field) -> Iterator[ApiWarning]:
    """Plugins that a scheduler of one's own must bring along."""
    for plugins in select(config, "profiles[].plugins"):
        for point in plugins.value or {}:
            for name in select(plugins, f"{point}.enabled[].name"):
                if name.value not in PLUGINS:
                    yield ApiWarning(name.path, f'kube-scheduler has no plugin "{name.value}"; a build of your own may')


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
    warn=_foreign,
)
KINDS = {KIND.kind: KIND}
