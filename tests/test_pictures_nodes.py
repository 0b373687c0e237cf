"""Pictures of notebook 04 about nodes, and what they are drawn from: sentences and boxes say what the simulator decided."""

from __future__ import annotations

import re

import pytest

from mlinfra import validate
from mlinfra.course import clusters, gpu_tables, gpu_terminal, node_pools, racks, slices
from mlinfra.course.pictures import nodes as pictures
from mlinfra.gpu import mig, profile
from mlinfra.gpu.gangs import GroupPreemption
from mlinfra.gpu.nodes.drain import PodTraits, verdict
from mlinfra.gpu.nodes.pool import NodePool


def test_one_pod_pays_for_one_node_with_the_label_and_for_three_without() -> None:
    figure = pictures.boots()
    assert "Nodes: 1 with label and 3 with no label." in figure.description
    assert len(re.findall(r">VM<", figure.svg)) == 4
    assert len(re.findall(r">the pod runs<", figure.svg)) == 2
    assert "starts 5 minutes" in figure.description


def test_least_waste_buys_four_gpus_and_another_expander_one() -> None:
    chosen = {name: node_pools.one_pass([node_pools.BERT], name).chosen for name in ("least-waste", "price")}
    assert {name: option and option.pool for name, option in chosen.items()} == {"least-waste": "t4", "price": "l4"}
    triggered, refused = (node_pools.events_of(pod)[-1] for pod in (node_pools.BERT, node_pools.STRANGER))
    assert triggered.message == "pod triggered scale-up: [{t4 0->1 (max: 10)}]"
    assert refused.message == (
        "pod didn't trigger scale-up: 1 Insufficient nvidia.com/gpu, 3 node(s) had untolerated taint(s)"
    )
    text = gpu_terminal.events_of_pod(node_pools.events_of(node_pools.STRANGER))
    assert "NotTriggerScaleUp  0s   cluster-autoscaler" in text
    assert max(map(len, text.splitlines())) <= gpu_terminal.WIDTH


@pytest.mark.parametrize(
    ("at_s", "unregistered", "not_started", "ready", "status"),
    [(50, 1, 0, 0, "InProgress"), (100, 0, 1, 0, "InProgress"), (250, 0, 0, 1, "NoActivity")],
)
def test_the_status_tells_a_node_without_gpus(
    at_s: float, unregistered: int, not_started: int, ready: int, status: str
) -> None:
    text = gpu_terminal.autoscaler_status(node_pools.one_pod(), at_s)
    counts = (f"unregistered: {unregistered}", f"notStarted: {not_started}", f"ready: {ready}", f"status: {status}")
    assert all(count in text for count in counts)


def test_seven_nodes_have_seven_reasons() -> None:
    outcome = node_pools.seven_nodes()
    reasons = {node: reason.partition(":")[0] for node, reason in sorted(outcome.staying.items())}
    assert reasons == {
        "node-1": "NotUnderutilized",
        "node-2": "NotReplicated",
        "node-3": "NotSafeToEvictAnnotation",
        "node-4": "LocalStorageRequested",
        "node-5": "NotEnoughPdb",
        "node-6": "NoPlaceToMovePods",
    }
    assert "| node-7 | `train-small`, 4 of 8 GPUs | Job | **is removed**: train-small fits on node-2 |" in str(
        gpu_tables.who_stays(outcome)
    )


def test_a_pods_traits_are_read_from_its_manifest() -> None:
    notebook = node_pools.notebook_pod()
    assert validate(notebook) == []
    traits = PodTraits.of(notebook)
    assert (traits.controller, traits.local_volumes, verdict(traits)) == ("", ("scratch",), "NotReplicated")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "ada", "uid": "1", "controller": True}
    notebook["metadata"]["ownerReferences"] = [owner]
    assert verdict(PodTraits.of(notebook)) == "LocalStorageRequested"
    notebook["spec"]["volumes"][0]["emptyDir"] = {"medium": "Memory"}
    assert verdict(PodTraits.of(notebook)) == "move"
    assert verdict(PodTraits.of(notebook, disruptions_allowed=0)) == "NotEnoughPdb"
    assert verdict(PodTraits.of(node_pools.notebook_pod(**{"safe-to-evict": "true"}))) == "move"


def test_packing_lets_a_node_go() -> None:
    by_name = {
        "spread": node_pools.twenty_jobs(profile.DEFAULT_PROFILE),
        "packed": node_pools.twenty_jobs(profile.packing()),
    }
    figure = pictures.twenty_jobs(by_name)
    assert figure.description.endswith("Nodes that stay: 4 when spread, 3 when packed.")
    assert figure.svg.count("NotUnderutilized") == 6
    assert figure.svg.count(">removed<") == 1


def test_a_day_on_six_fleets() -> None:
    """Packing costs less than spreading; only consolidation moves jobs; a fixed fleet is paid for all day."""
    runs = {(way, placing): node_pools.day(way, placing) for way in node_pools.WAYS for placing in node_pools.PROFILES}
    for way in node_pools.WAYS[1:]:
        assert runs[way, "packing"].dollars < runs[way, "spreading"].dollars
    assert all((run.restarts > 0) == (way == "consolidation") for (way, _), run in runs.items())
    fixed = runs["fixed fleet", "packing"]
    assert sum(fixed.node_hours.values()) == pytest.approx(24 * node_pools.MOST_NODES)
    assert len(str(gpu_tables.days()).splitlines()) == 8
    assert f"packing {runs['empty nodes go', 'packing'].dollars:,.0f}" in pictures.nodes_of_a_day().description


def test_a_node_that_stays_longer_costs_more_and_fewer_jobs_wait() -> None:
    soon, late = (node_pools.day("empty nodes go", "packing", minutes) for minutes in (2, 60))
    assert soon.dollars < late.dollars
    waited = [sum(wait > 0 for wait in run.latencies_s) for run in (soon, late)]
    assert waited[0] > waited[1]
    assert f"jobs that waited {waited[1]}" in pictures.day("empty nodes go", "packing", 60).description


def test_half_hours_keep_the_most() -> None:
    assert pictures.half_hours([(0.0, 1.0), (0.1, 5.0), (0.2, 2.0), (1.6, 0.0)])[:4] == [
        (0.0, 5.0),
        (0.5, 2.0),
        (1.5, 2.0),
        (2.0, 0.0),
    ]


def test_required_waits_and_preferred_goes_a_level_up() -> None:
    required, preferred = racks.assigned(4, required=racks.RACK), racks.assigned(4, preferred=racks.RACK)
    assert required.why().startswith('topology "default" allows to fit only 2 out of 4 pod(s).')
    assert racks.hosts_of(preferred) == ["host-5", "host-6", "host-7", "host-8"]
    figure = pictures.data_center({"required rack": required, "preferred rack": preferred})
    assert "preferred rack: host-5, host-6, host-7, host-8." in figure.description
    assert validate(racks.DEFAULT.manifest()) == []


def test_the_slowest_link_sets_the_pace_of_a_ring() -> None:
    assert racks.all_reduce_s(28, 1, 1) == pytest.approx(2 * 7 / 8 * 28 / 450)
    assert racks.all_reduce_s(28, 2, 1) == pytest.approx(2 * 15 / 16 * 28 / 50)
    assert racks.all_reduce_s(28, 4, 2) == pytest.approx(2 * 31 / 32 * 28 / 12.5)


@pytest.mark.parametrize(
    ("keys", "run"), [(["1g", "1g", "2g", "3g"], 4), (["3g", "2g", "1g", "1g"], 3), (["1g", "4g"], 1)]
)
def test_the_order_puzzle_under_dra(keys: list[str], run: int) -> None:
    """What the allocator gives is a layout of the GPU."""
    layout = slices.layout(slices.in_order(keys))
    assert len(layout) == run
    taken = [n for each in layout for n in range(each.start, each.start + _slices(each))]
    assert len(taken) == len(set(taken))


def _slices(instance: mig.Instance) -> int:
    return mig.profiles(slices.GPU_TYPE)[instance.key].memory_slices


def test_the_table_of_devices_shows_their_counters() -> None:
    text = str(gpu_tables.devices(slices.POOL.devices))
    assert "| `gpu-0` | whole GPU | 0, 1, 2, 3, 4, 5, 6, 7 |" in text
    assert "| `gpu-0-mig-3g20gb-9-4` | 3g.20gb | 4, 5, 6, 7 |" in text


def test_a_gang_evicts_as_much_as_the_disruption_mode_says() -> None:
    for mode, pods in (("single", 2), ("all", 6)):
        outcome = clusters.gang_against_gang(mode)
        assert isinstance(outcome, GroupPreemption)
        assert len(outcome.evicted) == pods
    assert list(clusters.gang_arrives(gang_preemption=False).running) == ["nightly"]
    assert list(clusters.gang_arrives(gang_preemption=True).running) == ["alpha"]


def test_the_pools_are_objects() -> None:
    for pool in node_pools.POOLS:
        assert NodePool.of(pool.manifest()) == pool
