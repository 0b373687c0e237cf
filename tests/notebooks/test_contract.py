"""What every stored notebook keeps, read from its JSON: facts that nbval does not look at."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS, WIDGET_VIEW, canonical, dumps
from reportlab.pdfbase.ttfonts import TTFontFile

from mlinfra.study import figure

ROOT = Path(__file__).parents[2]
OPT_OUT = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.M)
UNSTABLE = re.compile(r"clear_output|update_display|\binteract\w*\(|\bOutput\(|^\s*%+time|\binput\(", re.M)
SVG_TEXT = re.compile(r">([^<]+)</")


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


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
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


def test_there_are_six() -> None:
    assert [path.stem for path in NOTEBOOKS] == NAMES


def test_begins_with_a_promise_and_what_the_reader_will_be_able_to_do(path: Path) -> None:
    title = prose(path)[0]
    assert re.match(rf"# {NAMES.index(path.stem) + 1}\. \w", title)
    assert re.search(r"^\*\*You will .+\*\*$", title, re.M), "one sentence of promise"
    assert re.search(r"\bhours?\b|\bminutes\b", title), "how long it takes"
    objectives = re.findall(r"^- ", title.partition("you can")[2], re.M)
    assert 3 <= len(objectives) <= 7
    number = NAMES.index(path.stem)
    for other in NAMES[max(0, number - 1) : number] + NAMES[number + 1 : number + 2]:
        assert f"({other}.ipynb)" in title, f"a link to {other}"


def test_ends_with_summary_numbers_and_what_is_left_out(path: Path) -> None:
    end = "\n".join(prose(path)[-4:])
    assert all(part in end for part in ("## Summary", "**Numbers to know**")) or "Numbers to know" in end
    assert re.search(r"\*\*What .* leaves? out\.?\*\*", end)


def test_teaches_in_the_rhythm_of_the_course(path: Path, record_property: Callable[..., None]) -> None:
    """Guesses, shown source, exercises, panels with their plain twin, cards; the figures are in the summary."""
    source = [cell.source for cell in code_cells(path)]
    shown = [cell for cell in code_cells(path) if not cell.id.startswith("card-") and not cell.metadata.get("jupyter")]
    lengths = sorted(cell.source.count("\n") + 1 for cell in shown)  # cards are the bank's, what is folded is setup
    panels = [text for text in source if "study.panel(" in text]
    found = {
        "code cells": len(source),
        "median lines": statistics.median(lengths),
        "p90 lines": lengths[int(0.9 * len(lengths))],
        "median words of prose": statistics.median(len(text.split()) for text in prose(path)),
        "guesses": sum("guess" in text and "= ..." in text for text in source),
        "sources shown": sum("study.source(" in text for text in source),
        "exercises": sum(".check(answer)" in text for text in source),
        "cards": sum(text.startswith("interview.card(") and ".answer(" in text for text in source),
        "panels": len(panels),
    }
    record_property(path.stem, ", ".join(f"{count:g} {what}" for what, count in found.items()))
    assert found["median lines"] <= 5
    assert found["p90 lines"] <= 25
    assert 20 <= found["median words of prose"] <= 75
    assert found["guesses"] >= 4
    assert found["sources shown"] >= 3
    assert found["exercises"] >= 3
    assert found["cards"] >= 5
    assert 1 <= found["panels"] <= 4
    assert all(text.count("study.Slider(") <= 3 for text in panels)
    assert sum(bool(re.match(r"\w+\.at\(", text)) for text in source) >= found["panels"]


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
