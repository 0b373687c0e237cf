"""Scores by hand, the plugins' arithmetic at its edges, what a configuration may say, and the index against the loop."""

from __future__ import annotations

import re
from typing import Any

import pytest
from benchmarks.best_fit import SourceLoop
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission
from mlinfra.admission import validate
from mlinfra.gpu import profile
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import refusal
from mlinfra.gpu.index import WholeGPUBestFit
from mlinfra.gpu.nodes import GPU, GPUNode
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.profile import DEFAULT_PROFILE
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.gpu.scoring import (
    BalancedAllocation,
    BestFit,
    LeastAllocated,
    MostAllocated,
    NodeResourcesFit,
    RequestedToCapacityRatio,
    balance,
    broken_linear,
    normalize,
    normalize_reversed,
)

A100, V100 = "NVIDIA-A100-SXM4-80GB", "Tesla-V100-SXM2-32GB"
HALF = {"cpu": 4000, "memory": 100}
NODE = {"cpu": 8000, "memory": 400}


@pytest.mark.parametrize(
    ("strategy", "points"),
    [
        (LeastAllocated(), (50 + 75) // 2),
        (MostAllocated(), (50 + 25) // 2),
        (LeastAllocated({"cpu": 3, "memory": 1}), (3 * 50 + 75) // 4),
        (MostAllocated({GPU: 5}), 0),
        (RequestedToCapacityRatio({"cpu": 1, "memory": 1}, ((0, 0), (100, 10))), 38),
        (RequestedToCapacityRatio({"cpu": 1, "memory": 1}, ((0, 10), (100, 0))), 63),
        (RequestedToCapacityRatio({"cpu": 1, "memory": 1}, ((40, 0), (60, 10))), 50),
    ],
)  # fmt: skip
def test_half_the_cpu_and_a_quarter_of_the_memory(strategy: LeastAllocated, points: int) -> None:
    assert strategy.score(HALF, NODE, HALF) == points


def test_a_node_that_is_more_than_full() -> None:
    over = {"cpu": 9000, "memory": 400}
    assert LeastAllocated().score(over, NODE, over) == 0
    assert MostAllocated().score(over, NODE, over) == 100
    assert RequestedToCapacityRatio({"cpu": 1}, ((0, 0), (100, 10))).score(over, NODE, over) == 100


def test_one_point_counts_and_no_point_does_not() -> None:
    strategy = RequestedToCapacityRatio({"cpu": 1, "memory": 1}, ((0, 0), (100, 10)))
    for cpu, points in ((1, (1 + 21) // 2), (0, 21)):
        used = {"cpu": cpu, "memory": 21}
        assert strategy.score(used, {"cpu": 100, "memory": 100}, used) == points


def test_a_falling_line_is_cut_toward_zero_as_go_does() -> None:
    assert broken_linear([(0, 100), (30, 0)], 10) == 67


def test_pods_that_request_nothing_still_count_in_the_score() -> None:
    """Eight of them, each for 100m: a tenth of the node. The filter takes them for nothing."""
    idle = tuple(BoundPod(GPURequest(f"idle-{i}"), "n") for i in range(8))
    info, pod = NodeInfo(GPUNode("n", cpu=8, memory="1Ti"), idle), GPURequest("p", cpu=0, memory=0)
    assert NodeResourcesFit(LeastAllocated({"cpu": 1})).score(pod, info) == 90
    assert refusal(GPURequest("whole", cpu=8), info) is None


def test_the_default_does_not_see_gpus_and_packing_does() -> None:
    infos = [
        NodeInfo(GPUNode("empty", A100, 8, 80)),
        NodeInfo(GPUNode("half", A100, 8, 80), (BoundPod(GPURequest("a", 4), "half"),)),
    ]
    pod = GPURequest("b", 1)
    assert len({NodeResourcesFit().score(pod, info) for info in infos}) == 1
    packs = NodeResourcesFit(MostAllocated({GPU: 1}))
    assert [packs.score(pod, info) for info in infos] == [100 // 8, 500 // 8]


@pytest.mark.parametrize(
    ("used", "balanced"),
    [((0, 0), 100), ((4000, 200), 100), ((8000, 0), 50), ((16000, 400), 100), ((5440, 0), 65)],
)
def test_the_balance_of_a_node(used: tuple[int, int], balanced: int) -> None:
    """The last is 1 - 0.34 in binary floats: 65.99..., cut to 65 as upstream cuts it."""
    assert balance(dict(zip(("cpu", "memory"), used, strict=True)), NODE) == balanced


def test_balanced_allocation_says_what_the_pod_changes() -> None:
    node = NodeInfo(GPUNode("n", cpu=8, memory=400))
    score = BalancedAllocation().score
    assert score(GPURequest("gpus-only", 4), node) == 0
    assert score(GPURequest("even", cpu=4, memory=200), node) == 75
    assert score(GPURequest("lopsided", cpu=8), node) == 50
    node.add(BoundPod(GPURequest("first", cpu=8), "n"))
    assert score(GPURequest("evens-out", memory=400), node) == 100


@pytest.mark.parametrize(
    ("raw", "points", "reversed_points"),
    [([], [], []), ([3], [100], [0]), ([1, 3], [33, 100], [67, 0]), ([0, 0], [0, 0], [100, 100])],
)
def test_normalizing(raw: list[int], points: list[int], reversed_points: list[int]) -> None:
    assert (normalize(raw), normalize_reversed(raw)) == (points, reversed_points)


# --------------------------------------------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    "made",
    [profile.DEFAULT_PROFILE, profile.packing(), profile.Profile("half", percentage_of_nodes_to_score=50)],
    ids=lambda made: str(made.scheduler_name),
)
def test_a_configuration_that_the_scheduler_would_start_with(made: profile.Profile) -> None:
    assert validate(made.manifest()) == []


def test_packing_says_what_it_does_and_switches_off_what_pulls_the_other_way() -> None:
    (written,) = profile.packing(5).manifest()["profiles"]
    strategy = written["pluginConfig"][0]["args"]["scoringStrategy"]
    assert strategy["type"] == "MostAllocated"
    assert strategy["resources"][0] == {"name": GPU, "weight": 5}
    assert written["plugins"]["score"]["disabled"] == [{"name": "NodeResourcesBalancedAllocation"}]


def test_the_source_notebooks_rule_is_no_plugin_of_upstream() -> None:
    assert [str(each) for each in validate(profile.BEST_FIT.manifest())] == [
        "Warning: profiles[0].plugins.score.enabled[0].name: "
        'kube-scheduler has no plugin "BestFit"; a build of your own may'
    ]


WEIGHTED = profile.Profile("weighted", (NodeResourcesFit(weight=2), BestFit(weight=7)), 40)
CURVE = profile.Profile(
    "curve", (NodeResourcesFit(RequestedToCapacityRatio({GPU: 3}, ((0, 0), (100, 10)))), *DEFAULT_PROFILE.plugins[1:])
)


@pytest.mark.parametrize(
    "made", [DEFAULT_PROFILE, profile.packing(), profile.BEST_FIT, WEIGHTED, CURVE], ids=lambda p: str(p.scheduler_name)
)
def test_a_profile_is_read_back(made: profile.Profile) -> None:
    assert profile.Profile.of(made.manifest()) == made


def test_a_configuration_that_people_have() -> None:
    head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    assert validate(head | {"leaderElection": {"leaderElect": True}}) == []
    assert profile.Profile.of(head) == DEFAULT_PROFILE
    plugins = {
        "multiPoint": {"enabled": [{"name": "NodeAffinity", "weight": 9}]},
        "score": {"disabled": [{"name": "TaintToleration"}]},
    }
    own = {"schedulerName": "own", "plugins": plugins}
    config = head | {"percentageOfNodesToScore": 30, "profiles": [{"schedulerName": "first"}, own]}
    first, second = (profile.Profile.of(config, name) for name in ("", "own"))
    assert (first.scheduler_name, first.plugins) == ("first", DEFAULT_PROFILE.plugins)
    assert {plugin.name: plugin.weight for plugin in second.plugins} == {
        "NodeResourcesFit": 1,
        "NodeResourcesBalancedAllocation": 1,
        "NodeAffinity": 9,
    }
    assert second.percentage_of_nodes_to_score == 30
    with pytest.raises(admission.Invalid, match='schedulerName: Unsupported value: "other"'):
        profile.Profile.of(config, "other")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: MostAllocated({GPU: 101}), "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of nvidia.com/gpu not in valid range (0, 100]"),
        (lambda: RequestedToCapacityRatio({"cpu": 1}), "scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified"),
        (lambda: RequestedToCapacityRatio({"cpu": 1}, ((50, 1), (50, 2))), "shape[1].utilization: Invalid value: 50: values must be sorted in increasing order"),
        (lambda: RequestedToCapacityRatio({"cpu": 1}, ((0, 0), (101, 5))), "shape[1].utilization: Invalid value: 101: not in valid range [0, 100]"),
        (lambda: RequestedToCapacityRatio({"cpu": 1}, ((0, 11),)), "shape[0].score: Invalid value: 11: not in valid range [0, 10]"),
    ],
)  # fmt: skip
def test_a_strategy_that_the_scheduler_would_not_start_with(made: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        made()


@pytest.mark.parametrize(
    "strange",
    [
        {"resources": ["cpu"]},
        {"resources": [{"name": "cpu", "weight": "5"}]},
        {"requestedToCapacityRatio": {"shape": [{"score": 1}, {"utilization": "5"}]}},
    ],
)
def test_a_strange_strategy_has_an_objection_and_no_traceback(strange: dict[str, Any]) -> None:
    args = {"scoringStrategy": {"type": "LeastAllocated", **strange}}
    fit = {"schedulerName": "x", "pluginConfig": [{"name": "NodeResourcesFit", "args": args}]}
    assert validate(profile.packing().manifest() | {"profiles": [fit]})


def test_a_configuration_needs_no_more_than_upstream_does() -> None:
    least = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    fit = {
        "name": "NodeResourcesFit",
        "args": {
            "scoringStrategy": {
                "type": "LeastAllocated",
                "resources": [{"name": "cpu"}, {"name": "memory", "weight": 0}],
            }
        },
    }
    assert validate(least | {"parallelism": 8, "profiles": [{"pluginConfig": [fit]}]}) == []
    assert validate(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"profile": []}, 'profile: strict decoding error: unknown field "profile"'),
        ({"kind": "SchedulerConfiguration"}, 'Warning: kind: not checked here: SchedulerConfiguration in kubescheduler.config.k8s.io/v1; `kubectl apply --dry-run=server` asks a server that has it'),
        ({"profiles": [{"schedulerName": "x", "percentageOfNodesToScore": 101}]}, "profiles[0].percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        ({"percentageOfNodesToScore": -1}, "percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"),
        ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        ({"podMaxBackoffSeconds": 0}, "podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds"),
        ({"profiles": [{}, {"schedulerName": "default-scheduler"}]}, 'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"'),
        ({"profiles": [{"schedulerName": "x"}, {"plugins": {"queueSort": {"enabled": [{"name": "Coscheduling"}]}}}]}, 'profiles[1].plugins.queueSort: Invalid value: {"enabled": [{"name": "Coscheduling"}]}: must be the same for all profiles'),
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(change: dict[str, Any], problem: str) -> None:
    assert [str(p) for p in validate(profile.packing().manifest() | change)] == [problem]


ZONES = {"maxSkew": 3, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
ON_A100 = {"matchExpressions": [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100"]}]}


def with_args(plugin: str, **args: Any) -> dict[str, Any]:
    config = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    return config | {"profiles": [{"pluginConfig": [{"name": plugin, "args": args}]}]}


@pytest.mark.parametrize(
    ("plugin", "args"),
    [
        ("PodTopologySpread", {"defaultingType": "List", "defaultConstraints": [ZONES]}),
        ("NodeAffinity", {"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [ON_A100]}}}),
        ("InterPodAffinity", {"hardPodAffinityWeight": 0, "ignorePreferredTermsOfExistingPods": True}),
        ("DefaultPreemption", {"minCandidateNodesPercentage": 0}),
        ("NodeResourcesBalancedAllocation", {"resources": [{"name": "nvidia.com/gpu", "weight": 1}]}),
        ("VolumeBinding", {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "VolumeBindingArgs", "bindTimeoutSeconds": 60}),
        ("DynamicResources", {"filterTimeout": "10s"}),
        ("Coscheduling", {"permitWaitingTimeSeconds": 10}),
    ],
)  # fmt: skip
def test_arguments_that_the_scheduler_would_start_with(plugin: str, args: dict[str, Any]) -> None:
    """`pkg/scheduler/apis/config/validation/validation_pluginargs.go`."""
    assert validate(with_args(plugin, **args)) == []


@pytest.mark.parametrize(
    ("plugin", "args", "problem"),
    [
        ("PodTopologySpread", {"defaultConstraints": [ZONES]}, 'defaultingType: Invalid value: "System": when .defaultConstraints are not empty'),
        ("PodTopologySpread", {"defaultingType": "List", "defaultConstraints": [ZONES | {"maxSkew": 0}]}, "defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)"),
        ("PodTopologySpread", {"defaultingType": "List", "defaultConstraints": [ZONES | {"labelSelector": {}}]}, "defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"),
        ("PodTopologySpread", {"defaultingType": "List", "defaultConstraints": [ZONES, ZONES]}, 'defaultConstraints[1]: Duplicate value: "{topology.kubernetes.io/zone, ScheduleAnyway}"'),
        ("PodTopologySpread", {"constraints": []}, 'constraints: strict decoding error: unknown field "profiles[0].pluginConfig[0].args.constraints"'),
        ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
        ("NodeResourcesBalancedAllocation", {"resources": [{"name": "cpu", "weight": 2}]}, "resources[0].weight: Invalid value: 2: must be 1"),
        ("NodeResourcesFit", {"scoringStrategy": {"resources": [{"name": "cpu"}]}}, 'scoringStrategy.type: Unsupported value: "": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"'),
        ("NodeResourcesFit", {"scoringStrategy": {"type": "RequestedToCapacityRatio"}}, "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio"),
        ("NodeResourcesFit", {"scoringStrategy": {"type": "MostAllocated", "requestedToCapacityRatio": {"shape": [{"score": 1}]}}}, "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio"),
        ("NodeResourcesFit", {"ignoredResourceGroups": ["example.com/x"]}, "ignoredResourceGroups[0]: Invalid value: \"example.com/x\": resource group name can't contain '/'"),
        ("NodeAffinity", {"addedAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {}}]}}, "addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"),
        ("VolumeBinding", {"bindTimeoutSeconds": -1}, "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value"),
    ],
)  # fmt: skip
def test_arguments_that_the_scheduler_would_not_start_with(plugin: str, args: dict[str, Any], problem: str) -> None:
    assert [str(p) for p in validate(with_args(plugin, **args))] == [f"profiles[0].pluginConfig[0].args.{problem}"]


def test_preemption_looks_at_some_nodes() -> None:
    args = {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0}
    assert len(validate(with_args("DefaultPreemption", **args))) == 2


@pytest.mark.parametrize("entry", [{"name": "TaintToleration"}, {"name": "TaintToleration", "weight": 0}])
@pytest.mark.parametrize("point", ["multiPoint", "score"])
def test_a_plugin_that_is_enabled_without_a_weight_has_1_and_not_its_default(point: str, entry: dict[str, Any]) -> None:
    """`getScoreWeights` of `pkg/scheduler/framework/runtime/framework.go`."""
    config = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    plugins = {point: {"enabled": [entry]}}
    read = profile.Profile.of(config | {"profiles": [{"plugins": plugins}]})
    assert {plugin.name: plugin.weight for plugin in read.plugins}["TaintToleration"] == 1


# ------------------------------------------------------------------------------------------------------ the index


KINDS = st.sampled_from([(A100, 80), (A100, 40), (V100, 32)])
CLUSTERS = st.lists(st.tuples(KINDS, st.integers(1, 16)), min_size=1, max_size=8).map(
    lambda rows: [GPUNode(f"n{i}", kind, gpus, gib) for i, ((kind, gib), gpus) in enumerate(rows)]
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 10), st.sampled_from([0, 16, 40, 80, 99]), st.sampled_from(["", A100, V100]), st.integers(0, 3)
    ),
    max_size=60,
)


@given(CLUSTERS, STEPS)
def test_the_index_places_as_the_loop_does(nodes: list[GPUNode], steps: list[tuple[int, int, str, int]]) -> None:
    """And so does the scheduler with that profile; now and then somebody leaves."""
    index, loop, whole = WholeGPUBestFit(nodes), SourceLoop(nodes), GPUScheduler(nodes, profile.BEST_FIT)
    for i, (gpus, gib, kind, leave) in enumerate(steps):
        request = GPURequest(f"r{i}", gpus, gib, kind)
        placed = index.place(request)
        whole.submit(request)
        assert placed == loop.place(request) == dict(whole.schedule()).get(request.name)
        if placed is None:
            whole.release(request.name)  # who finds no place leaves
        if leave == 0 and loop.placed:
            name = min(loop.placed)
            for side in (index, loop, whole):
                side.release(name)
        assert index.free == loop.free == [info.free_gpus for info in whole.nodes.values()]


def test_the_index_does_not_grow_with_time() -> None:
    index = WholeGPUBestFit([GPUNode("a", A100, 8, 80), GPUNode("b", A100, 8, 80)])
    for _ in range(100):
        index.place(GPURequest("x", 3))
        index.release("x")
    assert sum(len(heap) for shelf in index._shelves.values() for heap in shelf) <= 2 * 9


def test_the_index_keeps_a_required_type_and_its_books() -> None:
    index = WholeGPUBestFit([GPUNode("a", A100, 2, 80), GPUNode("v", V100, 2, 32)])
    assert index.place(GPURequest("x", 1, required_gpu_type=V100)) == "v"
    with pytest.raises(admission.Invalid, match='pods "x" already exists'):
        index.place(GPURequest("x", 1))
    with pytest.raises(admission.Invalid, match='pods "y" not found'):
        index.release("y")
    assert index.free == [2, 1]
    index.release("x")
    assert index.free == [2, 2]


def test_the_source_rule_without_a_preference_is_the_spare_gpus_alone() -> None:
    node = NodeInfo(GPUNode("n", "Tesla-V100-SXM2-32GB", 8, 32))
    assert BestFit().score(GPURequest("p", 1), node) == -70
    assert BestFit().score(GPURequest("p", 1, preferred_gpu_type="Tesla-V100-SXM2-32GB"), node) == 30


def test_ten_spare_gpus_weigh_as_much_as_the_preferred_type() -> None:
    """100 - 10 x 10 beside 0 - 0 x 10: a tie, which goes to the first node."""
    nodes = [GPUNode("wide", "A100", 11, 80), GPUNode("tight", "V100", 1, 32)]
    for order in (nodes, nodes[::-1]):
        assert WholeGPUBestFit(order).place(GPURequest("p", 1, preferred_gpu_type="A100")) == order[0].name


def test_what_a_node_does_not_have_is_not_out_of_balance() -> None:
    assert balance({"cpu": 4000, "memory": 0}, {"cpu": 8000, "memory": 0}) == 100


def test_the_weights_of_the_default_plugins() -> None:
    """`getDefaultPlugins`: TaintToleration 3, NodeAffinity 2, the others 1."""
    assert {plugin.name: plugin.weight for plugin in DEFAULT_PROFILE.plugins} == {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "NodeResourcesFit": 1,
        "NodeResourcesBalancedAllocation": 1,
    }
