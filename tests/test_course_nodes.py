"""Node pools and prices of the course, the race on nodes, Monday, the bill; and their pictures."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mlinfra import validate
from mlinfra.admission import Invalid
from mlinfra.autoscaling import loop
from mlinfra.commands import flags
from mlinfra.course import costs, gpu_terminal, node_pools, node_race, race, service_nodes
from mlinfra.course.exercises import autoscaling as exercises
from mlinfra.course.pictures import node_race as pictures
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.helm.bill import HOURS_PER_MONTH
from mlinfra.manifest import load, loads

POOLS = Path(__file__).parents[1] / "examples" / "pools.yaml"


# ------------------------------------------------------------------------------------------------------------- prices


def test_the_example_has_the_courses_node_at_its_price() -> None:
    example = NodePool.of(load(POOLS)[0])
    ours = service_nodes.pool(8)
    assert replace(example.shape, name=ours.name) == ours.shape
    assert example.price_per_hour == ours.price_per_hour == 8 * service_nodes.GPU_DOLLARS
    assert (example.boot.node_s, example.boot.gpu_s) == (ours.boot.node_s, ours.boot.gpu_s)


def test_a_gpu_has_one_price_wherever_a_default_has_one() -> None:
    assert f"default={service_nodes.GPU_DOLLARS}" in inspect.getsource(flags)
    assert loop.Service(1.0).dollars_per_gpu_hour == service_nodes.GPU_DOLLARS
    assert node_pools.A100.price_per_hour == node_pools.pools_of(10)[0].price_per_hour == 8 * service_nodes.GPU_DOLLARS
    assert service_nodes.pool(spot=True).price_per_hour == service_nodes.SPOT_DOLLARS


def test_without_nodes_the_image_takes_as_long() -> None:
    assert service_nodes.pool().boot.image_s == race.COLD_START.image_s


def test_placeholders_are_valid_and_like_a_replica() -> None:
    priority_class, deployment = loads(service_nodes.placeholders_yaml(3))
    assert validate(priority_class) == validate(deployment) == []
    fleet = service_nodes.read_placeholders(priority_class, deployment)
    assert fleet["placeholders"] == 3
    assert fleet["placeholder"].requests == service_nodes.POD.requests
    assert fleet["placeholder"].priority == -10
    with pytest.raises(Invalid, match="placeholder"):
        service_nodes.read_placeholders(priority_class | {"metadata": {"name": "other"}}, deployment)


# ---------------------------------------------------------------------------------------------------- the race, Monday


def test_a_race_on_nodes_pays_for_nodes() -> None:
    results = node_race.on_nodes("code")
    for run in results.values():
        assert run.dollars == pytest.approx(node_race.node_hours(run) * service_nodes.GPU_DOLLARS)
        assert run.gpu_hours <= node_race.node_hours(run) + 1e-9
    assert results["KPA"].errors == 0 < race.race("code")["KPA"].errors
    share = results["HPA on queue"].attained(race.SLO_S)
    assert node_race.on_waves(placeholders=8).attained(race.SLO_S) == pytest.approx(share, abs=0.001)
    assert len(node_race.table(results).splitlines()) == 1 + len(results)
    said = pictures.of_race(results, "code", ("KPA",)).description
    assert f"KPA {node_race.node_hours(results['KPA']):.1f} node hours" in said


def test_the_rate_on_monday() -> None:
    assert [node_race.monday_per_s(t) for t in (0, 7200, 7560, 7920, 9120, 9420, 9720, 14400)] == [
        2,
        2,
        16,
        30,
        30,
        16,
        2,
        2,
    ]


def test_the_parts_of_a_start_add_up() -> None:
    assert node_race.starts_table().splitlines()[-1].split() == ["together", "275", "s", "45", "s"]


def test_the_rule_is_what_monday_needs() -> None:
    assert node_race.placeholders_needed() == pytest.approx(28 / 720 * 210 / 2)
    bought = node_race.bought()
    shares = {name: run.attained(race.SLO_S) for name, run in bought.items()}
    assert shares["2 placeholders"] < exercises.MONDAY_SHARE < shares["4 placeholders"]
    assert shares["minReplicas 8"] < shares["none"] + 0.01
    assert bought["target 1.4"].dollars < bought["4 placeholders"].dollars < bought["minReplicas 14"].dollars
    said = pictures.of_monday(bought, ("none", "4 placeholders"))
    assert f"4 placeholders {shares['4 placeholders']:.1%} within 5 s" in said.description
    assert said.svg.count("replicas that serve") == 2


def test_what_kubectl_prints() -> None:
    events = node_race.pod_events().splitlines()
    assert events[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    reasons = [match[1] for line in events[1:] if (match := re.match(r"\S+ +(?:Normal|Warning) +(\w+)", line))]
    assert reasons == ["FailedScheduling", "Preempted", "Scheduled", "FailedScheduling", "TriggeredScaleUp"]
    nodes = node_race.watched_nodes().splitlines()
    assert nodes[0].split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert [line.split()[3] for line in nodes[-4:]] == ["0s"] * 4
    assert [gpu_terminal.age(seconds) for seconds in (0, 119, 150, 300, 660)] == ["0s", "119s", "2m30s", "5m", "11m"]


def test_short_requests_outlive_any_notice_and_long_ones_need_grace() -> None:
    rows = [line.split() for line in node_race.spot_table().splitlines()[1:]]
    lost = [int(row[8]) for row in rows]
    assert lost[:3] == [0, 0, 0]
    assert lost[3] == lost[4] > 0 == lost[5]


# --------------------------------------------------------------------------------------------------------------- bill


def test_the_month_is_its_nodes() -> None:
    hour = costs.serve()
    bill = costs.month(hour)
    assert bill.by_line()["serving"] == pytest.approx(hour.dollars / costs.TRACE_H * HOURS_PER_MONTH)
    assert costs.paid_h(0) == pytest.approx((90 + 120 + 600) / 3600)
    assert bill.by_line()["staging"] == pytest.approx(22 * costs.paid_h(10) * service_nodes.GPU_DOLLARS)
    eight = costs.serve(gpus_a_node=8)
    assert costs.month(eight).by_line()["serving"] == pytest.approx(8 * 3 * HOURS_PER_MONTH, rel=1e-3)


def test_two_halves_share_a_node() -> None:
    halves = costs.serve(at_once=2, share=1 / 2, target=1.4)
    assert halves.gpu_hours <= node_race.node_hours(halves)
    assert halves.replica_s / 3600 > node_race.node_hours(halves), "two pods on a node"
