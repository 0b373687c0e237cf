"""Figures: steps, grids, trees, bars and timelines."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlinfra import study
from mlinfra.study import figure


def line(*values: float) -> dict[str, list[tuple[float, float]]]:
    return {"value": [(float(t), v) for t, v in enumerate(values)]}


@given(st.lists(st.floats(0, 1e9, allow_subnormal=False), min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_any_figure_is_well_formed_and_says_what_it_shows(values: list[float], title: str) -> None:
    title = "".join(c for c in title if c.isprintable()) or "t"
    drawn = study.steps(title, "says & shows", study.Row("y", line(*values), {"mark": 1}))
    root = ElementTree.fromstring(drawn.svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == f"{title}. says & shows"
    assert "nan" not in drawn.svg


def test_a_picture_is_the_same_every_time_and_as_wide_as_drawn() -> None:
    first, second = (study.steps("t", "d", study.Row("y", line(1, 3, 2))) for _ in range(2))
    assert first.png() == second.png()
    assert Image.open(io.BytesIO(first.png())).width == figure.WIDTH


def hexadecimal(rgb: Any) -> str:
    return f"#{bytes(rgb).hex()}"


def test_a_pixel_has_a_colour_of_the_svg_or_a_tint_of_one() -> None:
    many = {f"line {i}": [(0.0, float(i)), (1.0, float(i))] for i in range(4)}
    rows = [study.Boxes("n", [study.Cell("a", i) for i in range(5)])]
    for drawn in (study.steps("t", "d", study.Row("y", many)), study.grid("t", "d", *rows)):
        colours = Image.open(io.BytesIO(drawn.png())).convert("RGB").getcolors(256)
        assert colours
        shown = {hexadecimal(rgb) for _, rgb in colours}
        named = {text.lower() for text in re.findall("#[0-9a-fA-F]{6}", drawn.svg)}
        assert named <= shown, "each colour of the SVG is in the picture as it is"
        assert shown <= {hexadecimal(rgb) for rgb in figure._tints(drawn.svg)}


def test_lines_differ_in_more_than_colour() -> None:
    many = {f"line {i}": [(0.0, float(i)), (1.0, float(i))] for i in range(4)}
    paths = [p for p in study.steps("t", "d", study.Row("y", many)).svg.split("<path ") if 'stroke-width="2"' in p]
    dashes = {p.partition("stroke-dasharray=")[2].partition("/>")[0] for p in paths}
    assert len(dashes) == 4


def test_a_grid_shows_every_box_with_more_than_its_colour() -> None:
    first = study.Boxes("node-1", [study.Cell("a", 0), study.Cell("b", 1), study.Cell()], "1 free")
    drawn = study.grid("GPUs", "who has what", first, study.Boxes("node-2", [study.Cell(struck=True)]))
    root = ElementTree.fromstring(drawn.svg)
    boxes = [box.get("fill") for box in root.findall("{*}rect")[1:]]
    assert boxes == [figure.FILLS[0], figure.FILLS[1], "#ffffff", "#ffffff"]
    assert [text.text for text in root.findall("{*}text")] == ["GPUs", "node-1", "a", "b", "1 free", "node-2"]
    assert len(root.findall("{*}path")) == 1
    assert Image.open(io.BytesIO(drawn.png())).width == figure.WIDTH


@given(st.integers(1, 40), st.integers(1, 30))
def test_a_grid_stays_inside_the_picture(columns: int, rows: int) -> None:
    drawn = study.grid("t", "d", *(study.Boxes(f"n{i}", [study.Cell(fill=i)] * columns) for i in range(rows)))
    boxes = ElementTree.fromstring(drawn.svg).findall("{*}rect")
    assert max(float(box.get("x", 0)) + float(box.get("width", 0)) for box in boxes) <= figure.WIDTH


def test_bars_add_up_and_name_what_fits() -> None:
    rows = {"before": {"image": 12.0, "weights": 70.0}, "after": {"image": 12.0, "weights": 0.5}}
    drawn = study.bars("Cold start", "what takes how long", rows, "s")
    root = ElementTree.fromstring(drawn.svg)
    parts = [(box.get("fill"), float(box.get("width", 0))) for box in root.findall("{*}rect")[1:]]
    assert [fill for fill, _ in parts] == [figure.FILLS[0], figure.FILLS[1]] * 3, "a legend and two bars"
    assert parts[3][1] / parts[2][1] == pytest.approx(70 / 12, rel=0.01)
    said = [text.text for text in root.findall("{*}text")]
    assert said == ["Cold start", "image", "weights", "before", "image", "weights", "82 s", "after", "image", "12.5 s"]


def test_a_tree_joins_each_thing_to_its_owner() -> None:
    drawn = study.tree("t", "d", [(0, "Service", "a"), (1, "Pod", "b"), (2, "Container", "c"), (1, "Pod", "e")])
    root = ElementTree.fromstring(drawn.svg)
    boxes = root.findall("{*}rect")[1:]
    left = [float(box.get("x", 0)) for box in boxes]
    assert left[0] < left[1] < left[2]
    assert left[3] == left[1]
    assert len(root.findall("{*}path")) == 3
    assert [text.text for text in root.findall("{*}text")][1:5] == ["Service", "a", "Pod", "b"]


def test_a_figure_needs_words() -> None:
    with pytest.raises(ValueError, match="needs a title and a description"):
        study.grid("", "d")
    with pytest.raises(ValueError, match="needs a title and a description"):
        study.steps("t", "", study.Row("y", line(1)))


def test_a_timeline_is_drawn_to_scale() -> None:
    rows = {"prep": [study.Span(0, 20, "20 min")], "train": [study.Span(20, 80, "60 min", 1), study.Span(80, 100)]}
    drawn = study.timeline("Two steps", "what runs when", rows)
    parts = [
        (float(x), float(width))
        for x, width in re.findall(r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="24"', drawn.svg)
    ]
    assert parts[1][1] == pytest.approx(3 * parts[0][1], abs=0.2)
    assert parts[1][0] == pytest.approx(parts[0][0] + parts[0][1], abs=0.2)
    assert study.timeline("Nothing", "yet", {}).svg
    assert study.timeline("Next to nothing", "a", {"prep": [study.Span(0, 1e-141)]}).svg


def test_the_axis_has_the_names_that_are_given() -> None:
    names = {0.0: "one", 1.0: "ten", 9.0: "beyond the points"}
    words = [
        text.text
        for text in ElementTree.fromstring(
            study.steps("t", "d", study.Row("y", line(1, 2)), x_label="size", x_names=names).svg
        ).findall("{*}text")
    ]
    assert words[-3:] == ["one", "ten", "size"]


def test_a_fixed_end_keeps_the_axis_where_it_is() -> None:
    def numbers(drawn: study.Figure) -> list[str | None]:
        return [text.text for text in ElementTree.fromstring(drawn.svg).findall("{*}text")]

    low, high = (study.steps("t", "d", study.Row("y", line(value), top=50)) for value in (1, 50))
    assert numbers(low) == numbers(high)
    early, late = (study.timeline("t", "d", {"a": [study.Span(0, end)]}, end=20) for end in (3, 20))
    assert numbers(early) == numbers(late)


def test_a_bar_is_as_long_as_its_share_of_the_fixed_end() -> None:
    def length(size: float) -> float:
        bars = ElementTree.fromstring(study.bars("t", "d", {"a": {"x": size}}, "s", top=40).svg).findall("{*}rect")
        return float(bars[-1].get("width", 0))

    assert length(40) == pytest.approx(4 * length(10), abs=0.2)
    assert length(40) == figure.WIDTH - 92 - 150, "all the room"


def test_what_is_beyond_the_fixed_end_of_an_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r'row "y": 51\.0: must be at most 50, the end of the axis'):
        study.steps("t", "d", study.Row("y", line(51.0), top=50))
    with pytest.raises(ValueError, match="must be at most 40"):
        study.bars("t", "d", {"a": {"x": 30, "y": 20}}, "s", top=40)
    with pytest.raises(ValueError, match="must be at most 10"):
        study.timeline("t", "d", {"a": [study.Span(0, 11)]}, end=10)
    with pytest.raises(ValueError, match="must be above 0"):
        study.steps("t", "d", study.Row("y", line(0), top=0))


def test_no_line_runs_through_the_name_of_a_mark_or_a_line() -> None:
    two = {"pods": [(0.0, 1.0), (9.0, 8.0)], "wanted": [(0.0, 2.0), (9.0, 8.0)]}
    drawn = study.steps("t", "d", study.Row("y", two, {"limit": 8.0, "target": 7.9})).svg
    names = {text: drawn.index(f">{text}</text>") for text in ("limit", "target", "pods", "wanted")}
    assert min(names.values()) > drawn.rindex('<path d="M56.0')
    assert drawn.count('paint-order="stroke"') == 4
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*paint-order', drawn))
    assert heights[2] - heights[1] >= 12, "the names of marks lie below the legend"
    assert heights[3] - heights[2] >= 12, "and not over each other"
