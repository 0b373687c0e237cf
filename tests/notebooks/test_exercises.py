"""Every exercise in its three states: stored unanswered, then one pass of wrong and one of right answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS
from nbclient import NotebookClient

ANSWER = re.compile(r"^answer = \.\.\..*$", re.M)
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.S)
Cells = list[nbformat.NotebookNode]


def exercises(cells: Cells) -> dict[str, tuple[str, nbformat.NotebookNode]]:
    """By the exercise's name: its solution, and the cell that holds the answer."""
    found, solution = {}, ""
    for cell in cells:
        if cell.cell_type == "markdown" and (folded := SOLUTION.search(cell.source)):
            solution = folded[1]
        elif check := re.search(r"^(\w+)\.check\(answer\)$", cell.source, re.M):
            found[check[1]] = solution, cell
            solution = ""
    return found


def answered(path: Path, source: Callable[[str, str], str]) -> dict[str, str]:
    """What each check says once `source(name, solution)` stands in the place of `answer = ...`."""
    notebook = nbformat.read(path, as_version=4)
    for name, (solution, cell) in exercises(notebook.cells).items():
        given = source(name, solution)
        cell.source = cell.source.replace(_dots(cell), given)
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    return {name: cell.outputs[-1].data["text/plain"] for name, (_, cell) in exercises(notebook.cells).items()}


def _dots(cell: nbformat.NotebookNode) -> str:
    found = ANSWER.search(cell.source)
    assert found, cell.id
    return found[0]


def stored(path: Path) -> Cells:
    return list(nbformat.read(path, as_version=4).cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_stored_unanswered_with_a_hint_and_a_solution(path: Path) -> None:
    cells = stored(path)
    checks = [cell for cell in cells if cell.cell_type == "code" and ".check(answer)" in cell.source]
    assert len(exercises(cells)) == len(checks) > 0
    for name, (solution, cell) in exercises(cells).items():
        assert "answer" in solution, name
        assert _dots(cell), name
        assert cell.outputs[0].data["text/plain"].startswith("Not attempted"), name
    questions = [cell.source for cell in cells if cell.cell_type == "markdown" and "### Exercise" in cell.source]
    assert len(questions) == len(checks)
    assert all("<summary>Hint</summary>" in question for question in questions)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_right_answers_are_right(path: Path, record_property: Callable[..., None]) -> None:
    """The folded solution is the answer that is injected: what the reader would open is what is checked."""
    said = answered(path, lambda name, solution: solution)
    assert all(verdict.startswith("Right") for verdict in said.values()), said
    record_property("exercises tried in three states", len(said))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_wrong_answers_are_told_what_is_wrong(path: Path) -> None:
    """Every likely mistake gets its own message, and an answer of another kind gets one too."""
    tries = "assert [{0}.check(a).message for a, _ in {0}.mistakes] == [m for _, m in {0}.mistakes]\n"
    tries += "assert {0}.mistakes and {0}.check('nonsense').outcome == 'Not yet'\nanswer = {0}.mistakes[0][0]"
    said = answered(path, lambda name, solution: tries.format(name))
    assert all(verdict.startswith("Not yet") for verdict in said.values()), said
