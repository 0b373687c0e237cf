"""What every stored notebook keeps, read from its JSON: facts that nbval does not look at."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS, WIDGET_VIEW
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
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))
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
    assert path.stat().st_size < 300_000
