"""Every exercise in its three states: stored unanswered, then a wrong and a right answer in one pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from canonical import NOTEBOOKS
from nbclient import NotebookClient
from waiting import HANG_S

ANSWER = re.compile(r"^answer = \.\.\..*$", re.M)
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.S)
WRONG = (
    "assert '{0}'.split('.')[-1] == {0}.name.replace('-', '_')\n"
    "assert [{0}.check(a).message for a, _ in {0}.mistakes] == [m for _, m in {0}.mistakes]\n"
    "assert {0}.mistakes and {0}.check('nonsense').outcome == 'Not yet'\n"
    "print({0}.check({0}.mistakes[0][0]))\n"
)
"""Every likely mistake gets its own message, and an answer of another kind gets one too."""

Cells = list[nbformat.NotebookNode]


def exercises(cells: Cells) -> dict[str, tuple[str, nbformat.NotebookNode]]:
    """By the exercise's name: its solution, and the cell that holds the answer."""
    found, solution = {}, ""
    for cell in cells:
        if cell.cell_type == "markdown" and (folded := SOLUTION.search(cell.source)):
            solution = folded[1]
        elif check := re.search(r"^([\w.]+)\.check\(answer\)$", cell.source, re.M):
            found[check[1]] = solution, cell
            solution = ""
    return found


def answered(path: Path) -> dict[str, tuple[str, str]]:
    """What each check says of a likely mistake, and then of the folded solution, in the place of `answer = ...`."""
    notebook = nbformat.read(path, as_version=4)
    for name, (solution, cell) in exercises(notebook.cells).items():
        cell.source = cell.source.replace(_dots(cell), WRONG.format(name) + solution)
    NotebookClient(notebook, timeout=HANG_S, resources={"metadata": {"path": path.parent}}).execute()
    return {
        name: (cell.outputs[0].text.strip(), cell.outputs[-1].data["text/plain"])
        for name, (_, cell) in exercises(notebook.cells).items()
    }


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
def test_wrong_answers_are_told_what_is_wrong_and_the_folded_solution_is_right(
    path: Path, record_property: Callable[..., None]
) -> None:
    """What the reader would open is what is checked; every likely mistake gets its own message."""
    verdicts = answered(path)
    for name, (wrong, right) in verdicts.items():
        assert wrong.startswith("Not yet"), name
        assert right.startswith("Right"), name
    record_property("exercises tried in three states", len(verdicts))
