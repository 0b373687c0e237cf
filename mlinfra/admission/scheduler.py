"""KubeSchedulerConfiguration, kubescheduler.config.k8s.io/v1, as far as this course writes one.

`pkg/scheduler/apis/config/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from mlinfra.admission.common import distinct
from mlinfra.admission.custom import CustomKind
from mlinfra.admission.pods import NODE_AFFINITY, spread_once
from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    a_map,
    broken,
    forbidden,
    holds,
    label_key,
    one_of,
    select,
    unknown_field,
)
from mlinfra.admission.schema import decode

MAX_SHAPE_SCORE = 10


def weight(entry: Field) -> Iterator[Problem]:
    """`validateResources`: more than 0, up to 100."""
    number = entry["weight"]
    if number.value is not None and (type(number.value) is not int or not 0 < number.value <= 100):
        yield number.invalid(f"resource weight of {entry['name'].value} not in valid range (0, 100]")


def weight_or_none(entry: Field) -> Iterator[Problem]:
    """In a file 0 is a weight that is not given, which the scheduler takes for 1."""
    if entry["weight"].value != 0:
        yield from weight(entry)


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


STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
STRATEGY: Rules = [
    ("scoringStrategy", a_map),
    ("scoringStrategy.resources", a_list),
    ("scoringStrategy.resources[]", a_map),
    ("scoringStrategy.requestedToCapacityRatio", a_map),
    ("scoringStrategy.requestedToCapacityRatio.shape", a_list),
    (_POINT, a_map),
    ("scoringStrategy.type", one_of(*STRATEGIES)),
    ("scoringStrategy.resources[].name", Needed(), a_string, label_key),
    (f"{_POINT}.utilization", _in_range(100)),
    (f"{_POINT}.score", _in_range(MAX_SHAPE_SCORE)),
    ("scoringStrategy.requestedToCapacityRatio", _shape),
]


def strategy_type(args: Field) -> Iterator[Problem]:
    """A strategy says of which type it is; without one the scheduler has its default."""
    strategy, ratio = args["scoringStrategy"], args["scoringStrategy"]["requestedToCapacityRatio"]
    if strategy.value is None:
        return
    kind = strategy["type"]
    if kind.value in (None, ""):
        yield Field("", kind.path).unsupported(list(STRATEGIES))
    elif kind.value == "RequestedToCapacityRatio" and ratio.value is None:
        yield ratio.required("must be specified when type is RequestedToCapacityRatio")
    elif kind.value != "RequestedToCapacityRatio" and ratio.value is not None:
        yield ratio.forbidden("must be nil when type is not RequestedToCapacityRatio")


def no_slash(field: Field) -> Iterator[Problem]:
    if "/" in field.value:
        yield field.invalid("resource group name can't contain '/'")


FIT: Rules = [
    ("ignoredResources[]", a_string, label_key),
    ("ignoredResourceGroups[]", a_string, no_slash, label_key),
    *STRATEGY,
    ("scoringStrategy.resources[]", weight_or_none),
    ("", strategy_type),
]


# ------------------------------------------------------------------------------------- arguments of the other plugins


def defaulting(args: Field) -> Iterator[Problem]:
    """Constraints of one's own take the place of the system's, and say so."""
    if args["defaultConstraints"].value and args["defaultingType"].value in (None, "", "System"):
        yield Field("System", args["defaultingType"].path).invalid("when .defaultConstraints are not empty")


def some_candidates(args: Field) -> Iterator[Problem]:
    """Preemption looks at some nodes at least: a tenth and 100 where nothing is said."""
    names = ("minCandidateNodesPercentage", "minCandidateNodesAbsolute")
    if all(args[name].value == 0 for name in names):
        for name, other in (names, names[::-1]):
            yield args[name].invalid(f"cannot be zero at the same time as {other}")


def above(low: int, words: str) -> Check:
    return holds(lambda number: type(number) is int and number >= low, words)


def a_boolean(field: Field) -> Iterator[Problem]:
    if not isinstance(field.value, bool):
        yield field.invalid("must be true or false")


def added_affinity(field: Field) -> Iterator[Problem]:
    type_ = {"$ref": "io.k8s.api.core.v1.NodeAffinity"}
    yield from decode(field, type_).problems or broken(field, NODE_AFFINITY)


ARGS: dict[str, Rules] = {
    "DefaultPreemption": [
        ("minCandidateNodesPercentage", _in_range(100)),
        ("minCandidateNodesAbsolute", above(0, "not in valid range [0, inf)")),
        ("", some_candidates),
    ],
    "DynamicResources": [("filterTimeout", a_string), ("bindingTimeout", a_string)],
    "InterPodAffinity": [
        ("hardPodAffinityWeight", _in_range(100)),
        ("ignorePreferredTermsOfExistingPods", a_boolean),
    ],
    "NodeAffinity": [("addedAffinity", a_map, added_affinity)],
    "NodeResourcesBalancedAllocation": [
        ("resources", a_list),
        ("resources[]", a_map),
        ("resources[].name", Needed(), a_string),
        ("resources[].weight", holds(lambda weight: weight in (0, 1), "must be 1")),
        ("resources", distinct("name", "name")),
    ],
    "NodeResourcesFit": FIT,
    "PodTopologySpread": [
        ("defaultConstraints", a_list),
        ("defaultConstraints[]", a_map),
        ("defaultConstraints[].maxSkew", Needed(), above(1, "not in valid range (0, inf)")),
        ("defaultConstraints[].topologyKey", Needed("can not be empty"), a_string, label_key),
        (
            "defaultConstraints[].whenUnsatisfiable",
            Needed("can not be empty"),
            one_of("DoNotSchedule", "ScheduleAnyway"),
        ),
        (
            "defaultConstraints[].labelSelector",
            forbidden("constraint must not define a selector, as they deduced for each pod"),
        ),
        ("defaultConstraints", spread_once),
        ("defaultingType", one_of("List", "System")),
        ("", defaulting),
    ],
    "VolumeBinding": [("bindTimeoutSeconds", above(0, "invalid BindTimeoutSeconds, should not be a negative value"))],
}
"""Arguments of the plugins that have any; what a plugin of one's own takes is not looked at here."""
MORE_ARGS = {
    "NodeResourcesFit": ("ignoredResourceGroups", "ignoredResources", "scoringStrategy"),
    "VolumeBinding": ("shape",),
}


def _plugin_args(plugin: Field) -> Iterator[Problem]:
    """The arguments of upstream's plugins; those of others are not looked at here."""
    name = plugin["name"].value
    if name not in ARGS:
        return
    rows = [str(row[0]).partition(".")[0].partition("[")[0] for row in ARGS[name]]
    for argument in plugin["args"].value or {}:
        if argument not in ("apiVersion", "kind", *rows, *MORE_ARGS.get(name, ())):
            yield unknown_field(plugin["args"][argument].path)
    yield from broken(plugin["args"], ARGS[name])


def one_profile_each(profiles: Field) -> Iterator[Problem]:
    """A pod asks for a scheduler by its name, so each profile has its own; upstream names the first with it."""
    names = [profile["schedulerName"].value or "default-scheduler" for profile in profiles.each()]
    for i, name in enumerate(names):
        if name in names[:i]:
            first = f"{profiles.path}[{names.index(name)}].schedulerName"
            yield Problem(f"{profiles.path}[{i}].schedulerName", f'Duplicate value: "{first}"')


def one_queue_order(profiles: Field) -> Iterator[Problem]:
    """All profiles take pods from one queue."""
    orders = [profile["plugins"]["queueSort"] for profile in profiles.each()]
    for order in orders[1:]:
        if (order.value or {}) != (orders[0].value or {}):
            yield order.invalid("must be the same for all profiles")


def backoff(config: Field) -> Iterator[Problem]:
    """A pod that does not fit is tried again after 1 second, and after 10 at the latest, unless it is said."""
    first, last = config["podInitialBackoffSeconds"], config["podMaxBackoffSeconds"]
    first_s = 1 if first.value is None else first.value
    last_s = 10 if last.value is None else last.value
    if first_s <= 0:
        yield first.invalid("must be greater than 0")
    if last_s < first_s:
        yield Field(last_s, last.path).invalid("must be greater than or equal to PodInitialBackoffSeconds")


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


percentage = holds(lambda percent: 0 <= percent <= 100, "not in valid range [0-100]")

KIND = CustomKind(
    "kubescheduler.config.k8s.io/v1",
    "KubeSchedulerConfiguration",
    [
        ("percentageOfNodesToScore", percentage),
        ("profiles[].percentageOfNodesToScore", percentage),
        ("profiles[].pluginConfig[].args", a_map),
        ("parallelism", above(1, "should be an integer value greater than zero")),
    ],
    [
        ("profiles[].pluginConfig[]", _plugin_args),
        ("profiles[].pluginConfig", distinct("name", "name")),
        ("profiles", one_profile_each),
        ("profiles", one_queue_order),
        ("", backoff),
    ],
    "kubeschedulerconfiguration",
    name=None,
    warn=_foreign,
)
KINDS = {KIND.kind: KIND}
