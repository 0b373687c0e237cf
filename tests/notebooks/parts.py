"""The parts of a notebook: core path, deep dives and cards; what each cell names, and how long a part takes to read."""

from __future__ import annotations

import ast
import builtins
import math
import re
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

COLLAPSED = "jp-MarkdownHeadingCollapsed"
HEADING = re.compile(r"(#+) (.+)")
FOLD = re.compile(r"<details>.*?</details>", re.S)
PRINTED_SOURCE = re.compile(r"\AFrom `[\w.]+`:\n\n```python\n(.*)\n```\Z", re.S)

Cell = nbformat.NotebookNode
Cells = list[Cell]


@dataclass
class Part:
    """Cells under one fold: a deep dive, a card; or, without a fold, the core path."""

    title: str
    cells: Cells = field(default_factory=list)

    @property
    def code(self) -> Cells:
        return [cell for cell in self.cells if cell.cell_type == "code"]

    def minutes(self) -> float:
        """An estimate: 180 words or 12 lines of code a minute, and time to guess, to move sliders, to solve."""
        words = sum(len(FOLD.sub("", cell.source).split()) for cell in self.cells if cell.cell_type == "markdown")
        lines = sum(_lines(cell) for cell in self.code)
        tasks = sum(_task_minutes(cell.source) for cell in self.code)
        return words / 180 + lines / 12 + tasks


def _lines(cell: Cell) -> int:
    """Lines of the cell that are not folded, and of the source that it prints unfolded."""
    own = 0 if cell.metadata.get("jupyter", {}).get("source_hidden") else len(cell.source.splitlines())
    markdown = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    printed = [match[1] for text in markdown if (match := PRINTED_SOURCE.match(text))]
    return own + sum(len(text.splitlines()) for text in printed)


def _task_minutes(source: str) -> int:
    if ".check(answer)" in source:
        return 5
    if "study.panel(" in source:
        return 2
    return int(is_guess(source))


def is_guess(source: str) -> bool:
    return re.match(r"guess\w* = \.\.\.", source) is not None


def parts(cells: Cells) -> list[Part]:
    """The core path first, then everything that a collapsed heading folds, up to a heading as high as its own."""
    core = Part("")
    found, depth = [core], 0
    for cell in cells:
        heading = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
        level = len(heading[1]) if heading else math.inf
        if level <= depth:
            depth = 0
        if heading and cell.metadata.get(COLLAPSED) and not depth:
            depth = len(heading[1])
            found.append(Part(heading[2]))
        (found[-1] if depth else core).cells.append(cell)
    return found


def read(path: Path) -> Cells:
    return list(nbformat.read(path, as_version=4).cells)


@dataclass(frozen=True)
class Names:
    """The global names that a cell gives a meaning, and those that it takes from other cells."""

    bound: dict[str, str]
    taken: frozenset[str]


def names(cell: Cell) -> Names:
    """What a name means is the import that binds it, or else the cell."""
    bound: dict[str, str] = {}
    taken: set[str] = set()
    for statement in ast.parse(cell.source).body:
        table = symtable.symtable(ast.unparse(statement), cell.id, "exec")
        assigned = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        taken |= set(_used(table, statement, assigned)) - set(bound)
        meaning = ast.unparse(statement) if isinstance(statement, ast.Import | ast.ImportFrom) else cell.id
        bound |= dict.fromkeys(assigned, meaning)
    later = {name for name in taken if name in bound and name in _used_in_functions(cell)}
    return Names(bound, frozenset(taken - later - set(dir(builtins)) - {"__name__"}))


def _used(table: symtable.SymbolTable, statement: ast.stmt, assigned: set[str]) -> Iterator[str]:
    """Names that a statement reads; a loop or a block binds its own before it reads them."""
    block = not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign)
    for symbol in table.get_symbols():
        if symbol.is_referenced() and not (block and symbol.get_name() in assigned):
            yield symbol.get_name()
        if isinstance(statement, ast.AugAssign) and symbol.is_assigned():
            yield symbol.get_name()
    for inner in table.get_children():
        yield from (name for name in _globals(inner) if not (block and name in assigned))


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.is_referenced():
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _globals(inner)


def _used_in_functions(cell: Cell) -> set[str]:
    """Names that only a function's body reads, when it is called, so that the cell may bind them below it."""
    top = symtable.symtable(cell.source, cell.id, "exec")
    direct = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    functions = [inner for inner in top.get_children() if inner.get_type() == "function"]
    return {name for inner in functions for name in _globals(inner)} - direct


def meanings(cells: Iterable[Cell]) -> dict[str, set[str]]:
    """Every global name with what binds it."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        for name, meaning in names(cell).bound.items():
            found.setdefault(name, set()).add(meaning)
    return found
