"""Run again, in the kernel that has seen the whole notebook: sections in any order, and exercises answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from canonical import NOTEBOOKS, canonical
from nbclient import NotebookClient
from parts import HEADING, Cells
from waiting import HANG_S

AGAIN, ANSWERED = "-again", "-answered"
ANSWER = re.compile(r"^answer = \.\.\..*$", re.M)
SOLUTION = re.compile(r"<summary>Solution</summary>\s*```python\n(.*?)```", re.S)
WRONG = (
    "assert '{0}'.split('.')[-1] == {0}.name.replace('-', '_')\n"
    "assert [{0}.check(a).message for a, _ in {0}.mistakes] == [m for _, m in {0}.mistakes]\n"
    "assert {0}.mistakes and {0}.check('nonsense').outcome == 'Not yet'\n"
    "print({0}.check({0}.mistakes[0][0]))\n"
)
"""Every likely mistake gets its own message, and an answer of another kind gets one too."""


class Exercise(NamedTuple):
    """The folded solution and the cell that holds the answer."""

    solution: str
    cell: nbformat.NotebookNode

    @property
    def dots(self) -> str:
        """The line in which the reader writes."""
        line = ANSWER.search(self.cell.source)
        assert line, self.cell.id
        return line[0]

    def answered(self, name: str) -> nbformat.NotebookNode:
        """The cell with a likely mistake, and then the solution, in the place of `answer = ...`."""
        cell = deepcopy(self.cell)
        cell.id += ANSWERED
        cell.source = cell.source.replace(self.dots, WRONG.format(name) + self.solution)
        return cell


def stored(path: Path) -> Cells:
    return list(nbformat.read(path, as_version=4).cells)


def exercises(cells: Cells) -> dict[str, Exercise]:
    """By name, in the order of the notebook."""
    by_name, solution = {}, ""
    for cell in cells:
        if cell.cell_type == "markdown" and (folded := SOLUTION.search(cell.source)):
            solution = folded[1]
        elif check := re.search(r"^([\w.]+)\.check\(answer\)$", cell.source, re.M):
            by_name[check[1]] = Exercise(solution, cell)
            solution = ""
    return by_name


def sections(cells: Cells) -> list[Cells]:
    """The cells under each heading of the second level; what comes before the first is the set-up."""
    parts: list[Cells] = [[]]
    for cell in cells:
        heading = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        if heading and len(heading[1]) == 2:
            parts.append([])
        parts[-1].append(cell)
    return parts


def sections_again(cells: Cells) -> Cells:
    """Copies of all cells: the set-up, then the last section first."""
    set_up, *others = sections(deepcopy(cells))
    copies = [cell for section in (set_up, *reversed(others)) for cell in section]
    for cell in copies:
        cell.id += AGAIN
    return copies


def executed(path: Path) -> Cells:
    """The cells of the notebook, of its sections again, and of its exercises answered, with their outputs."""
    cells = stored(path)
    answers = [exercise.answered(name) for name, exercise in exercises(cells).items()]
    notebook = nbformat.v4.new_notebook(cells=[*cells, *sections_again(cells), *answers])
    NotebookClient(notebook, timeout=HANG_S, resources={"metadata": {"path": path.parent}}).execute()
    return list(notebook.cells)


def outputs(cells: Cells) -> dict[str, str]:
    """By the cell's id, without counts and the ids of widgets."""
    by_id = {}
    for cell in canonical(nbformat.v4.new_notebook(cells=deepcopy(cells))).cells:
        for output in cell.get("outputs", ()):
            output.pop("execution_count", None)
        by_id[cell.id.removesuffix(AGAIN)] = json.dumps(cell.get("outputs", ()), sort_keys=True)
    return by_id


of_each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))


@of_each_notebook
def test_stored_unanswered_with_a_hint_and_a_solution(path: Path) -> None:
    cells = stored(path)
    checks = [cell for cell in cells if cell.cell_type == "code" and ".check(answer)" in cell.source]
    assert len(exercises(cells)) == len(checks) > 0
    for name, exercise in exercises(cells).items():
        assert "answer" in exercise.solution, name
        assert exercise.dots, name
        assert exercise.cell.outputs[0].data["text/plain"].startswith("Not attempted"), name
    questions = [cell.source for cell in cells if cell.cell_type == "markdown" and "### Exercise" in cell.source]
    assert len(questions) == len(checks)
    assert all("<summary>Hint</summary>" in question for question in questions)


@pytest.mark.slow
@of_each_notebook
def test_sections_give_the_same_again_and_exercises_tell_right_from_wrong(
    path: Path, record_property: Callable[..., None]
) -> None:
    """After the later sections, in one kernel, since executing is what takes long.

    The folded solution is what is checked, as the reader would open it; every likely mistake gets its own message.
    """
    cells = executed(path)
    fresh, known = outputs([cell for cell in cells if cell.id.endswith(AGAIN)]), outputs(stored(path))
    assert not [name for name in known if fresh[name] != known[name]]
    answers = [cell for cell in cells if cell.id.endswith(ANSWERED)]
    for cell in answers:
        assert cell.outputs[0].text.startswith("Not yet"), cell.id
        assert cell.outputs[-1].data["text/plain"].startswith("Right"), cell.id
    assert len(answers) == len(exercises(stored(path)))
    record_property("exercises tried in three states", len(answers))
