"""Whole notebooks again: re-executed to the same bytes, and every stored output corrupted and caught."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS, dumps, execute

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
Cell = nbformat.NotebookNode


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_runs_again_to_identical_bytes(path: Path) -> None:
    assert dumps(execute(path)) == path.read_text("utf-8")


def corrupt_values(cell: Cell) -> bool:
    """Of a picture its PNG alone, which nbval by itself does not compare; elsewhere every stream and value."""
    for output in cell.outputs:
        if output.output_type == "stream":
            output.text = _altered(output.text)
        data = output.get("data", {})
        for mime in ["image/png"] if "image/png" in data else data:
            data[mime] = _altered(data[mime])
    return bool(cell.outputs)


def _altered(text: str) -> str:
    """One character of the middle exchanged for another, of base64 too."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


def corrupt_structure(cell: Cell) -> bool:
    """A picture loses its PNG, another cell its last output, and a cell without outputs gains one."""
    pictures = [output for output in cell.outputs if output.get("data", {}).pop("image/png", None)]
    if not cell.outputs:
        cell.outputs.append(nbformat.v4.new_output("display_data", data={"image/png": "aGk="}))
    elif not pictures:
        cell.outputs.pop()
    return True


CORRUPTIONS: list[Callable[[Cell], bool]] = [corrupt_values, corrupt_structure]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corruption: str(corruption.__name__))
def test_every_corruption_is_caught(corrupt: Callable[[Cell], bool], record_property: Callable[..., None]) -> None:
    """One copy of each notebook with all its cells corrupted; a cell that still passes has survived."""
    folder = ROOT / "build" / "corrupted" / corrupt.__name__
    folder.mkdir(parents=True, exist_ok=True)
    corrupted = {cell for path in NOTEBOOKS for cell in _write_corrupted(path, folder, corrupt)}
    failed = _failed_cells(folder)
    record_property("outputs corrupted and caught", len(corrupted & failed))
    assert corrupted
    assert not corrupted - failed


def _write_corrupted(path: Path, folder: Path, corrupt: Callable[[Cell], bool]) -> set[tuple[str, int]]:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    hit = {(path.name, i) for i, cell in enumerate(code) if corrupt(cell)}
    nbformat.write(notebook, folder / path.name)
    return hit


def _failed_cells(folder: Path) -> set[tuple[str, int]]:
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "--color=no", "-rf", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)
    failed = re.findall(r"^FAILED \S*?([^/\s]+\.ipynb)::Cell (\d+)", done.stdout, re.M)
    return {(name, int(number)) for name, number in failed}
