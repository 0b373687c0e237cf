"""Sections can be run again, in any order: after the whole notebook each gives what it gave before."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS, canonical
from nbclient import NotebookClient
from parts import HEADING, Cells
from waiting import HANG_S

AGAIN = "-again"


def sections(cells: Cells) -> list[Cells]:
    """The cells under each heading of the second level; what comes before the first is the set-up."""
    found: list[Cells] = [[]]
    for cell in cells:
        heading = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        if heading and len(heading[1]) == 2:
            found.append([])
        found[-1].append(cell)
    return found


def outputs(cells: Cells) -> dict[str, str]:
    """By the cell's id, without counts and the ids of widgets."""
    found = {}
    for cell in canonical(nbformat.v4.new_notebook(cells=deepcopy(cells))).cells:
        for output in cell.get("outputs", ()):
            output.pop("execution_count", None)
        found[cell.id.removesuffix(AGAIN)] = json.dumps(cell.get("outputs", ()), sort_keys=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_every_section_gives_the_same_again_after_the_later_ones(path: Path) -> None:
    cells = list(nbformat.read(path, as_version=4).cells)
    first, *others = sections(deepcopy(cells))
    again = [cell for section in (first, *reversed(others)) for cell in section]
    for cell in again:
        cell.id += AGAIN
    twice = nbformat.v4.new_notebook(cells=[*deepcopy(cells), *again])
    NotebookClient(twice, timeout=HANG_S, resources={"metadata": {"path": path.parent}}).execute()
    fresh, stored = outputs(twice.cells[len(cells) :]), outputs(cells)
    assert not [name for name in stored if fresh[name] != stored[name]]
