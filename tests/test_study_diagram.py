"""Diagrams: what lies where, and what is refused."""

from __future__ import annotations

import io
import re
from itertools import combinations
from typing import Any

import pytest
from PIL import Image

from mlinfra import study
from mlinfra.study import figure
from mlinfra.study.diagram import _border, _planned
from mlinfra.study.diagram_boxes import boxes, frames
from mlinfra.study.diagram_labels import Rect, segments
from mlinfra.study.diagram_plan import Plan
from mlinfra.study.diagram_routes import Leg, lanes

A = study.Arrow
REQUEST: dict[str, Any] = {
    "layers": {
        "client": ["client"],
        "edge": ["gateway"],
        "cluster": ["activator", "autoscaler"],
        "node": ["queue-proxy", "model server", "storage-\ninitializer"],
    },
    "arrows": [
        A("client", "gateway", "HTTPS"),
        A("gateway", "client", "answer"),
        A("gateway", "queue-proxy", "pods are there"),
        A("gateway", "activator", "scaled to 0"),
        A("activator", "queue-proxy", "waits, then sends"),
        A("queue-proxy", "model server", ":8080"),
        A("queue-proxy", "autoscaler", "concurrency", dashed=True),
        A("storage-\ninitializer", "queue-proxy", "around"),
    ],
    "groups": {"pod": ["queue-proxy", "model server", "storage-\ninitializer"]},
}
LOOPS: dict[str, Any] = {
    "layers": {"decides": ["HPA", "KPA", "CA"], "holds": ["Deployment", "", "group"], "runs": ["pods", "k", "nodes"]},
    "arrows": [
        A("HPA", "Deployment", "replicas"),
        A("Deployment", "pods", "creates"),
        A("pods", "HPA", "CPU", dashed=True),
        A("k", "KPA", "concurrency", dashed=True),
        A("KPA", "k", "scale"),
        A("CA", "group", "size"),
        A("group", "nodes", "VMs"),
        A("pods", "CA", "Pending", dashed=True),
    ],
    "groups": {"all of it": ["group", "nodes"], "inner": ["nodes"]},
}


def planned(given: dict[str, Any]) -> tuple[Plan, list[Rect | None]]:
    found = boxes(given["layers"], given["arrows"], given["groups"])
    return _planned(given["layers"], found, frames(given["groups"], found), given["arrows"])


def solid(plan: Plan) -> dict[str, Rect]:
    return {b.name: Rect(b.left, plan.tops[b.layer], b.right, plan.bottoms[b.layer]) for b in plan.boxes.values()}


@pytest.mark.parametrize("given", [REQUEST, LOOPS])
def test_an_arrow_touches_no_box_but_its_own_two_and_those_at_their_borders(given: dict[str, Any]) -> None:
    plan, _ = planned(given)
    for i, arrow in enumerate(given["arrows"]):
        for name, box in solid(plan).items():
            ends = name in (arrow.start, arrow.end)
            assert not any(part.meets(box, 0 if ends else 5) for part in segments(plan.points(i))), (arrow, name)
        for name, (x, y) in ((arrow.start, plan.points(i)[0]), (arrow.end, plan.points(i)[-1])):
            assert Rect(x, y, x, y).meets(solid(plan)[name], 0.01)


@pytest.mark.parametrize("given", [REQUEST, LOOPS])
def test_no_two_arrows_lie_over_each_other(given: dict[str, Any]) -> None:
    plan, _ = planned(given)
    for i, j in combinations(range(len(given["arrows"])), 2):
        for one in segments(plan.points(i)):
            for other in segments(plan.points(j)):
                if (one.top == one.bottom) == (other.top == other.bottom):
                    assert not one.meets(other, 5), (given["arrows"][i], given["arrows"][j])


@pytest.mark.parametrize("given", [REQUEST, LOOPS])
def test_a_label_lies_over_no_box_no_line_and_no_other_label(given: dict[str, Any]) -> None:
    plan, labels = planned(given)
    lines = [part for i in range(len(given["arrows"])) for part in segments(plan.points(i))]
    frame_lines = [part for frame in plan.frames for part in _border(plan, frame)]
    placed = [label for label in labels if label]
    for label in placed:
        assert label.left >= 0
        assert label.right <= figure.WIDTH
        assert not any(label.meets(other, 0) for other in [*lines, *frame_lines, *solid(plan).values()])
    assert not any(one.meets(other, 0) for one, other in combinations(placed, 2))


def test_a_diagram_is_the_same_every_time_and_grows_with_its_layers() -> None:
    first, second = (study.diagram("t", "d", **REQUEST) for _ in range(2))
    assert first.png() == second.png()
    small = study.diagram("t", "d", {"a": ["x"]}, [])
    heights = [Image.open(io.BytesIO(drawn.png())).height for drawn in (small, first)]
    assert heights[0] < heights[1]
    assert Image.open(io.BytesIO(first.png())).width == figure.WIDTH


def test_control_differs_in_more_than_colour_and_is_explained() -> None:
    both = study.diagram("t", "d", {"a": ["x", "y"]}, [A("x", "y"), A("y", "x", dashed=True)]).svg
    assert "control or watch" in both
    assert both.count("stroke-dasharray") == 2, "the arrow and its explanation"
    assert "control or watch" not in study.diagram("t", "d", {"a": ["x", "y"]}, [A("x", "y")]).svg


def test_boxes_are_as_wide_as_their_text_and_stay_in_the_picture() -> None:
    drawn = study.diagram("t", "d", {"a": ["short", "a rather long name of a box"]}, []).svg
    found = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="[\d.]+" rx="5"', drawn)
    assert all(float(width) >= figure.text_width("a rather long name of a box") for _, width in found)
    assert max(float(x) + float(width) for x, width in found) <= figure.WIDTH


def test_lanes_are_ordered_so_that_lines_do_not_cross() -> None:
    nested = [Leg(1, (10, 100), (True, False)), Leg(1, (30, 200), (True, False))]
    assert lanes(nested) == [1, 0], "the second turns off above the first, which would meet its end"
    assert lanes([Leg(1, (0, 50), (True, False)), Leg(1, (100, 150), (True, False))]) == [0, 0]


@pytest.mark.parametrize(
    ("layers", "arrows", "groups", "message"),
    [
        ({"a": ["x"]}, [A("x", "z")], {}, r"box 'z': must be one of 'x'"),
        ({"a": ["x"]}, [], {"g": ["z"]}, r"box 'z': must be one of 'x'"),
        ({"a": ["x"], "b": ["x"]}, [], {}, r"box 'x': must be there once"),
        ({"a": ["x"]}, [A("x", "x")], {}, r"arrow from 'x': must go to another box"),
        (
            {"a": ["a long name of a box " * 2] * 1 + [f"another {i} of these names" for i in range(3)]},
            [],
            {},
            "4 boxes are too wide for one row",
        ),
        ({"a": ["x", "y", "z"]}, [], {"g": ["x", "z"]}, r"group 'g': 'y' lies in its frame"),
        ({"a": ["x"], "b": ["y"]}, [A("x", "y", "words " * 30)], {}, "no room for the labels"),
        ({}, [], {}, "needs a box"),
        ({"a": ["x"]}, [], {"g": []}, "needs a box"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(
    layers: dict[str, list[str]], arrows: list[study.Arrow], groups: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        study.diagram("t", "d", layers, arrows, groups)


def test_a_diagram_needs_words() -> None:
    with pytest.raises(ValueError, match="needs a title and a description"):
        study.diagram("t", "", {"a": ["x"]}, [])
