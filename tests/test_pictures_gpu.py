"""Pictures of notebook 04: their sentences and boxes say what the simulator decided."""

from __future__ import annotations

import re

import pytest

from mlinfra.course import clusters
from mlinfra.course.pictures import gpu as pictures
from mlinfra.gpu import mig, profile
from mlinfra.gpu.placement import Mark, PlacementRun


def test_the_way_to_a_gpu_names_every_step() -> None:
    figure = pictures.way_to_a_gpu()
    assert [int(number) for number in re.findall(r"(?:^|; )(\d) ", figure.description)] == list(range(1, 9))
    assert all(box in figure.svg for box in ("device plugin", "kubelet", "API server", "kube-scheduler", "Allocate"))


def test_the_cycle_has_upstreams_extension_points() -> None:
    svg = pictures.scheduling_cycle().svg
    points = ("PreFilter", "Filter", "PostFilter", "Score", "Reserve", "Permit", "PreBind", "Bind")
    assert all(f">{point}<" in svg for point in points)


@pytest.mark.parametrize(("asked", "spread", "packed"), [(1, 6, 6), (2, 6, 6), (3, 0, 6), (7, 0, 0)])
def test_stranded_gpus_are_struck_out(asked: int, spread: int, packed: int) -> None:
    by_name = {
        "spread": clusters.scheduled(clusters.SMALL_JOBS, clusters.EQUAL_NODES),
        "packed": clusters.scheduled(clusters.SMALL_JOBS, clusters.EQUAL_NODES, profile.packing()),
    }
    figure = pictures.stranded(by_name, asked)
    assert figure.description.endswith(f"can use: {spread} when spread, {packed} when packed.")
    assert figure.svg.count("m0 -24l-") == 12 - spread - packed


@pytest.mark.parametrize(("gpus", "pod_by_pod", "gangs"), [(7, 0, 0), (10, 0, 1), (14, 0, 1), (15, 1, 1), (16, 2, 2)])
def test_gangs_and_pods_one_by_one(gpus: int, pod_by_pod: int, gangs: int) -> None:
    complete = re.findall(r"(\d) of 2 jobs complete", pictures.gangs(gpus).description)
    assert [int(count) for count in complete] == [pod_by_pod, gangs]


def test_a_colour_is_a_profile_and_a_box_an_instance() -> None:
    layout = mig.in_order("A100-40GB", ["3g", "2g", "1g", "1g"])
    figure = pictures.memory_slices({"large first": layout})
    fills = dict(
        zip(re.findall(r">(\dg)</text>", figure.svg), re.findall(r'fill="(#\w+)" stroke', figure.svg), strict=True)
    )
    assert figure.description == "4 instances large first."
    assert len(re.findall(r">\dg</text>", figure.svg)) == 4
    assert len(set(fills.values())) == 3


def test_two_orders_count_their_instances() -> None:
    assert (
        pictures.two_orders(2, 1, 1).description
        == "Requested: 2 x 1g, 1 x 2g, 1 x 3g. 3 instances small first, 4 instances best."
    )
    assert pictures.two_orders(0, 0, 0).description.endswith("0 instances small first, 0 instances best.")


def test_the_race_shows_the_last_fifth() -> None:
    run = PlacementRun(marks=[Mark(percent, percent * 0.9, percent / 2) for percent in range(10, 101, 10)])
    assert pictures.race({"FGD": run, "Random": run}, ("FGD", "Random")).description == (
        "Free at the end: FGD 10.0 %, Random 10.0 %."
    )
