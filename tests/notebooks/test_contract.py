"""What every stored notebook keeps, read from its JSON: facts that nbval does not look at."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS, WIDGET_VIEW, canonical, dumps
from parts import COLLAPSED, HEADING, Part, is_guess, meanings, names, parts, read
from reportlab.pdfbase.ttfonts import TTFontFile

from mlinfra.study import figure

ROOT = Path(__file__).parents[2]
OPT_OUT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.M)
UNSTABLE = re.compile(r"clear_output|update_display|\binteract\w*\(|\bOutput\(|^\s*%+time|\binput\(", re.M)
SVG_TEXT = re.compile(r">([^<]+)</")


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path) if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_is_stored_canonically(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert dumps(canonical(notebook)) == path.read_text("utf-8")
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))
    for cell in code_cells(path):
        counts = [output.execution_count for output in cell.outputs if output.output_type == "execute_result"]
        assert set(counts) <= {cell.execution_count}, cell.id
    names = [cell.id for cell in notebook.cells]
    assert all(re.fullmatch(r"[a-z][a-z0-9-]+", name) for name in names), "cell ids are words"


def test_no_cell_escapes_the_comparison(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.source.strip(), cell.id
        assert set(cell.metadata.get("tags", [])) <= {"raises-exception"}, cell.id
        assert not OPT_OUT.search(cell.source), cell.id
        assert not UNSTABLE.search(cell.source), cell.id
        assert not cell.source.rstrip().endswith(";"), f"{cell.id}: nbval ignores a trailing semicolon"


def test_outputs_are_safe_to_store(path: Path) -> None:
    assert str(ROOT) not in path.read_text("utf-8"), "a path of this machine"
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.get("name") != "stderr", cell.id
            shown = str(output.get("text", "")) + str(output.get("traceback", ""))
            assert not re.search(r"/(home|root|tmp|Users)/|0x[0-9a-f]{6}", shown), cell.id
            assert WIDGET_VIEW not in output.get("data", {}), cell.id
            if "image/png" in output.get("data", {}):
                assert {"text/plain", figure.MIME} <= set(output.data), cell.id


def test_every_letter_of_a_picture_is_in_its_font(path: Path) -> None:
    known = TTFontFile(str(figure.font_folder() / "Vera.ttf")).charToGlyph
    for cell in code_cells(path):
        for output in cell.outputs:
            for text in SVG_TEXT.findall(output.get("data", {}).get(figure.MIME, "")):
                assert not {c for c in text if ord(c) not in known}, f"{cell.id}: {text}"


def test_is_small_enough_to_review(path: Path) -> None:
    assert path.stat().st_size <= 450_000


# ------------------------------------------------------------------------------------------ the shape of a notebook

NAMES = ["01_kserve", "02_ray_serve", "03_kubeflow_pipelines", "04_gpu_scheduling", "05_autoscaling", "06_helm"]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(path: Path) -> list[str]:
    return [cell.source for cell in read(path) if cell.cell_type == "markdown"]


def core(path: Path) -> Part:
    return parts(read(path))[0]


def deep_dives(path: Path) -> list[Part]:
    return [part for part in parts(read(path))[1:] if part.title.startswith("Deep dive")]


def test_there_are_six() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


def test_begins_with_a_promise_and_what_the_reader_will_be_able_to_do(path: Path) -> None:
    title = prose(path)[0]
    assert re.match(rf"# {NAMES.index(path.stem) + 1}\. \w", title)
    assert re.search(r"^\*\*You will .+\*\*$", title, re.M), "one sentence of promise"
    assert re.search(r"^\| section \| minutes \| good for \|$", title, re.M), "core path and deep dives in a table"
    objectives = re.findall(r"^- ", title.partition("you can")[2], re.M)
    assert 3 <= len(objectives) <= 7
    number = NAMES.index(path.stem)
    for other in NAMES[max(0, number - 1) : number] + NAMES[number + 1 : number + 2]:
        assert f"({other}.ipynb)" in title, f"a link to {other}"


def test_ends_with_cards_summary_and_what_to_review(path: Path) -> None:
    headings = [match[2] for text in prose(path) if (match := HEADING.match(text)) and len(match[1]) == 2]
    assert [heading for heading in headings if heading in END] == list(END)
    assert headings[-2:] == list(END[-2:])
    end = "\n".join(prose(path)[-5:])
    assert "**Numbers to know" in end
    assert re.search(r"\*\*What .* leaves? out\.?\*\*", end)
    assert code_cells(path)[-1].source == f'interview.review("{path.stem[:2]}")'


END = ("Interview cards", "Summary", "What to review")
MOST_CORE_CELLS = 60


def test_the_core_path_is_short(path: Path, record_property: Callable[..., None]) -> None:
    """Cells, minutes, words and lines of the core path and of the deep dives are in the summary."""
    deep = Part("deep dives", [cell for part in deep_dives(path) for cell in part.cells])
    for name, part in {"core path": core(path), "deep dives": deep}.items():
        record_property(f"{path.stem}, {name}", figures(part))
    assert len(core(path).code) <= MOST_CORE_CELLS
    assert core(path).minutes() <= 90
    lengths = [len(cell.source.splitlines()) for cell in core(path).code]
    assert max(lengths) <= 15
    assert statistics.median(lengths) <= 3


def figures(part: Part) -> str:
    words = sum(len(cell.source.split()) for cell in part.cells if cell.cell_type == "markdown")
    lines = sum(len(cell.source.splitlines()) for cell in part.code)
    return f"{len(part.code)} code cells, {part.minutes():.0f} minutes, {words} words, {lines} lines"


def test_the_title_says_how_long_it_takes(path: Path) -> None:
    whole = core(path).minutes() + sum(part.minutes() for part in deep_dives(path))
    said = [
        int(number) for number in re.findall(r"[Aa]bout (\d+) minutes .*?(\d+) with the deep dives", prose(path)[0])[0]
    ]
    assert said == [5 * math.ceil(minutes / 5) for minutes in (core(path).minutes(), whole)]


def test_the_readme_has_the_minutes_of_the_title(path: Path) -> None:
    core_minutes, whole = re.findall(r"[Aa]bout (\d+) minutes .*?(\d+) with the deep dives", prose(path)[0])[0]
    row = next(
        line
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if f"]({path.parent.name}/{path.name})" in line
    )
    assert row.endswith(f"| {core_minutes} min | {whole} min |")


def test_what_is_folded_is_a_deep_dive_or_the_cards(path: Path) -> None:
    folded = parts(read(path))[1:]
    assert all(re.match("Deep dive: |Interview cards$", part.title) for part in folded), [part.title for part in folded]
    assert [part.title for part in folded].count("Interview cards") == 1
    cards = next(part for part in folded if part.title == "Interview cards")
    headings = [cell for cell in cards.cells if cell.cell_type == "markdown" and cell.source.startswith("### ")]
    assert len(headings) == sum(".answer(" in cell.source for cell in cards.code) >= 5
    assert all(cell.source.startswith("### Card: ") and cell.metadata.get(COLLAPSED) for cell in headings)


def test_a_name_has_one_meaning(path: Path) -> None:
    """Cells can be run again in any order: no cell reads a name that two others bind."""
    several = {name for name, bound in meanings(code_cells(path)).items() if len(bound) > 1}
    clashes = {cell.id: sorted(names(cell).taken & several) for cell in code_cells(path)}
    assert not {cell: clash for cell, clash in clashes.items() if clash}


def test_the_core_path_needs_no_deep_dive(path: Path) -> None:
    """And a deep dive needs the core path and itself alone."""
    shared = set(meanings(core(path).code))
    for part in parts(read(path)):
        own = set(meanings(part.code))
        missing = {cell.id: sorted(names(cell).taken - own - shared) for cell in part.code}
        assert not {cell: wanting for cell, wanting in missing.items() if wanting}


def test_the_older_notebook_is_named_once_in_the_first(path: Path) -> None:
    mentions = len(re.findall("source notebook", "\n".join(prose(path)), re.I))
    assert mentions == (path.stem == "01_kserve")


def test_teaches_in_the_rhythm_of_the_course(path: Path, record_property: Callable[..., None]) -> None:
    """Guesses, shown source, exercises, panels with their plain twin, cards; the figures are in the summary."""
    source = [cell.source for cell in code_cells(path)]
    panels = [text for text in source if "study.panel(" in text]
    counts = {
        "code cells": len(source),
        "median words of prose": statistics.median(len(text.split()) for text in prose(path)),
        "guesses": sum(map(is_guess, source)),
        "sources shown": sum("study.source(" in text for text in source),
        "exercises": sum(".check(answer)" in text for text in source),
        "cards": sum(text.startswith("interview.card(") and ".answer(" in text for text in source),
        "panels": len(panels),
        "commands": "\n".join(prose(path)).count("At the keyboard"),
    }
    record_property(path.stem, ", ".join(f"{count:g} {what}" for what, count in counts.items()))
    assert 20 <= counts["median words of prose"] <= 75
    assert counts["guesses"] >= 4
    assert counts["sources shown"] >= 3
    assert counts["exercises"] >= 3
    assert counts["commands"] >= 2
    assert 1 <= counts["panels"] <= 4
    assert all(text.count("study.Slider(") <= 3 for text in panels)
    assert sum(bool(re.match(r"\w+\.at\(", text)) for text in source) >= counts["panels"]


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "tests").rglob("*.md")], ids=lambda page: str(page.name))
def test_links_of_pages_lead_somewhere(page: Path) -> None:
    check_links(page.read_text("utf-8"), page.parent)


def test_links_of_notebooks_lead_somewhere(path: Path) -> None:
    check_links("\n".join(prose(path)), path.parent)


def check_links(text: str, folder: Path) -> None:
    """Files that are there, and headings that the notebook has; JupyterLab's anchors are the words with hyphens."""
    for target in LINK.findall(text):
        if re.match(r"https?://|#", target):
            continue
        name, _, anchor = target.partition("#")
        assert (folder / name).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", "\n".join(prose(folder / name)), re.M)
            assert anchor in [heading.replace(" ", "-") for heading in headings], target
