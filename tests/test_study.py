"""Figures, panels, exercises, listings and working copies."""

from __future__ import annotations

import io
import logging
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nbclient.exceptions import CellExecutionError
from PIL import Image

from mlinfra import admission, manifest, study
from mlinfra.study import copies, figure, manifests


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


def test_functions_with_the_same_effect_are_the_same() -> None:
    tidy = study.Exercise("tidy", lambda n: [n, 1], [(lambda n: [n], "one is missing")], [(3,), (4,)], effect=sorted)
    assert str(tidy.check(lambda n: [1, n])) == "Right."
    assert "one is missing" in str(tidy.check(lambda n: [n]))
    assert "Your answer raised TypeError" in str(tidy.check(lambda n: n))
    assert "For (3) yours gives [3, 3]" in str(tidy.check(lambda n: [n, n]))


def test_a_tree_joins_each_thing_to_its_owner() -> None:
    drawn = study.tree("t", "d", [(0, "Service", "a"), (1, "Pod", "b"), (2, "Container", "c"), (1, "Pod", "e")])
    root = ElementTree.fromstring(drawn.svg)
    boxes = root.findall("{*}rect")[1:]
    left = [float(box.get("x", 0)) for box in boxes]
    assert left[0] < left[1] < left[2]
    assert left[3] == left[1]
    assert len(root.findall("{*}path")) == 3
    assert [text.text for text in root.findall("{*}text")][1:5] == ["Service", "a", "Pod", "b"]


def test_a_notebook_says_which_engine_is_missing() -> None:
    assert study.needs("json", "ast") == "installed: json, ast"
    with pytest.raises(ModuleNotFoundError, match=r"needs no_such_engine: pip install"):
        study.needs("json", "no_such_engine")


def test_an_engine_is_heard_only_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with study.quiet():
        print("starting")
        logging.getLogger("engine").warning("noise")
        warnings.warn("old", stacklevel=1)
    assert capfd.readouterr() == ("", "")

    def fail() -> None:
        print("one\ntwo")
        raise ValueError("broken")

    with pytest.raises(RuntimeError, match="ValueError: broken\none\ntwo"), study.quiet():
        fail()


def test_a_figure_needs_words() -> None:
    with pytest.raises(ValueError, match="needs a title and a description"):
        study.grid("", "d")
    with pytest.raises(ValueError, match="needs a title and a description"):
        study.steps("t", "", study.Row("y", line(1)))


def draw(cpu: int) -> study.Figure:
    if cpu == 13:
        raise ValueError("13 % is not drawn")
    return study.steps(f"at {cpu}", f"cpu is {cpu}", study.Row("y", line(cpu)))


def test_a_panel_moves_its_sliders_and_moves_them_back() -> None:
    panel = study.panel(draw, cpu=study.Slider("CPU, %", 0, 100, 30))
    assert panel.at(cpu=80).description == "cpu is 80"
    assert panel._figure is not None
    assert panel._figure.description == "cpu is 30"
    assert '<p role="status">cpu is 30</p>' in panel._view.value


def test_a_panel_shows_what_its_callback_raises() -> None:
    panel = study.panel(draw, cpu=study.Slider("CPU, %", 0, 100, 13))
    assert panel._view.value == '<p role="status">This setting has no picture: 13 % is not drawn</p>'
    with pytest.raises(ValueError, match="13 % is not drawn"):
        panel.at(cpu=13)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"gpu": 1}, 'slider "gpu": must be one of cpu'), ({"cpu": 101}, "cpu: 101: must be from 0 to 100")],
)
def test_a_panel_refuses_what_its_sliders_cannot_do(values: dict[str, Any], message: str) -> None:
    panel = study.panel(draw, cpu=study.Slider("CPU, %", 0, 100, 30))
    with pytest.raises(ValueError, match=message):
        panel.at(**values)


def test_a_slider_and_its_twin_carry_the_same_whole_label() -> None:
    for slider in (study.Slider("CPU, %", 0, 100, 30), study.Slider("Tolerance", 0.0, 0.3, 0.1, 0.01)):
        handle, box = slider.widgets(live=True)
        assert handle.description == box.description == slider.label
        assert (handle.min, handle.max, handle.value) == (box.min, box.max, box.value)


def halve(n: int) -> int:
    return n // 2


EXERCISES = [
    (study.Exercise("six", 6, [(4, "that is 4")]), 6, 4, "that is 4", 5, "5 is not it"),
    (
        study.Exercise("halve", halve, [(lambda n: n, "not halved")], cases=[(2,), (9,)]),
        lambda n: n // 2,
        lambda n: n,
        "not halved",
        lambda n: n / 2,
        "For (9) yours gives 4.5, and 4 is right.",
    ),
]


@pytest.mark.parametrize(("exercise", "right", "mistake", "word", "other", "difference"), EXERCISES)
def test_the_three_outcomes(
    exercise: study.Exercise, right: Any, mistake: Any, word: str, other: Any, difference: str
) -> None:
    assert exercise.check(...).outcome == "Not attempted"
    assert exercise.check(right).outcome == "Right"
    assert exercise.check(mistake).message == word
    assert exercise.check(other).outcome == "Not yet"
    assert difference in exercise.check(other).message


def test_an_answer_that_changes_its_arguments_does_not_change_the_cases() -> None:
    held = study.Exercise("held", lambda jobs: jobs["a"], [], cases=[({"a": 1},)])
    for _ in range(2):
        assert held.check(lambda jobs: jobs.pop("a")).outcome == "Right"
    assert held.check(lambda jobs: 0).outcome == "Not yet"


def test_an_answer_that_raises_is_told_so() -> None:
    exercise = study.Exercise("halve", halve, [], cases=[(2,)])
    assert exercise.check(lambda n: n / 0).message == "Your answer raised ZeroDivisionError: division by zero, for (2)"


def test_source_is_of_one_module() -> None:
    assert "def halve" in study.source(halve).text
    with pytest.raises(ValueError, match="must be from one module"):
        study.source(halve, study.steps)


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bert"}}


def test_show_gives_the_verdict_with_the_manifest() -> None:
    assert study.show(ACCOUNT).text == manifest.to_yaml(ACCOUNT)
    wrong = ACCOUNT | {"metadata": {"name": "My"}}
    assert study.show(wrong).text.startswith("# refused: metadata.name: Invalid value")


def stored(path: Path, text: str) -> None:
    outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": text})]
    cell = nbformat.v4.new_code_cell("x", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


def test_working_copies_are_made_once_and_never_overwritten(tmp_path: Path) -> None:
    originals, work = tmp_path / "notebooks", tmp_path / "work"
    originals.mkdir()
    stored(originals / "01.ipynb", "old")
    assert copies.work_on(originals, work) == ["copied 01.ipynb"]
    (work / "01.ipynb").write_text("mine", "utf-8")
    assert copies.work_on(originals, work) == []
    stored(originals / "01.ipynb", "new")
    (line,) = copies.work_on(originals, work)
    assert line == "01.ipynb: yours is kept, and the course's newer one lies beside it: 01-2.ipynb"
    assert (work / "01.ipynb").read_text("utf-8") == "mine"
    assert '"new"' not in (work / "01-2.ipynb").read_text("utf-8"), "without outputs"
    assert copies.work_on(originals, work) == []


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(manifests.FOLDER, str(tmp_path / "manifests"))
    return tmp_path / "manifests"


def test_only_accepted_manifests_are_handed_over(handed_over: Path) -> None:
    study.show(ACCOUNT)
    study.show(ACCOUNT | {"metadata": {"name": "My"}})
    study.show(ACCOUNT)
    study.show(ACCOUNT | {"automountServiceAccountToken": False})
    files = sorted(handed_over.iterdir())
    assert [path.name for path in files] == ["serviceaccount-bert-2.yaml", "serviceaccount-bert.yaml"]
    assert yaml.safe_load(files[1].read_text()) == ACCOUNT


def test_without_a_folder_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(manifests.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    study.show(ACCOUNT)
    assert not list(tmp_path.iterdir())


def test_what_an_engine_wrote_is_handed_over_too_once_it_is_accepted(handed_over: Path) -> None:
    rendered = manifest.to_yaml(ACCOUNT) + "---\n{apiVersion: v1, kind: ConfigMap, metadata: {generateName: bert-}}\n"
    folded = study.show_text("Rendered:", rendered)
    assert "<details><summary>Rendered:</summary>" in folded._repr_mimebundle_()["text/markdown"]
    study.show_text("Compiled:", "pipelineInfo: {name: bert}\n---\nplatforms: {}\n")
    assert sorted(path.name for path in handed_over.iterdir()) == [
        "configmap-bert.yaml",
        "pipeline-bert.yaml",
        "serviceaccount-bert.yaml",
    ]
    compiled = yaml.safe_load_all((handed_over / "pipeline-bert.yaml").read_text())
    assert list(compiled) == [{"pipelineInfo": {"name": "bert"}}, {"platforms": {}}]
    with pytest.raises(admission.Invalid, match="Torn: is invalid"):
        study.show_text("Torn:", rendered.replace("ServiceAccount", "ServiceAcount"))


def notebook(path: Path, *sources: str) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), path)
    return path


def test_a_notebook_hands_over_while_it_runs_and_says_which_engine_is_missing(tmp_path: Path) -> None:
    show = "from mlinfra import manifest, study\nstudy.show(" + repr(ACCOUNT) + ")"
    assert manifests.run(notebook(tmp_path / "01.ipynb", show), tmp_path / "out") == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["serviceaccount-bert.yaml"]
    needy = notebook(tmp_path / "02.ipynb", show, "study.needs('no_such_engine')")
    assert manifests.run(needy, tmp_path / "out").startswith("not run: no_such_engine is not installed. pip install")
    with pytest.raises(CellExecutionError):
        manifests.run(notebook(tmp_path / "03.ipynb", "1 / 0"), tmp_path / "out")


def test_a_call_that_cannot_be_taken_says_in_one_line_what_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manifests.main(["work"]) == copies.main([]) == copies.main(["-x"]) == copies.main(["a", "b"]) == 2
    assert copies.main(["README.md"]) == copies.main(["notebooks"]) == 2
    monkeypatch.chdir(tmp_path)
    assert manifests.main([]) == copies.main(["work"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8
    assert all("python -m mlinfra.study." in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_the_page_beside_the_copies_leads_to_them(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("[1](notebooks/01.ipynb#A) [terms](GLOSSARY.md) [w](https://x.y) [h](#h)")
    assert (
        copies.page(tmp_path, tmp_path / "work") == "[1](01.ipynb#A) [terms](../GLOSSARY.md) [w](https://x.y) [h](#h)"
    )


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
