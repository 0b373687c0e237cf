"""Tables that the package ships as CSV (NOTICE names their sources); text in columns, tables in Markdown, counts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files


def table(package: str, name: str) -> list[dict[str, str]]:
    """The rows of a table in the folder `files` of a package, such as `mlinfra.gpu`."""
    with files(package).joinpath("files", f"{name}.csv").open(encoding="utf-8") as rows:
        return list(csv.DictReader(rows))


def columns(rows: Iterable[Sequence[object]], between: str = "   ") -> list[str]:
    """A line a row, with every column as wide as its longest cell, as kubectl prints them."""
    cells = [list(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = [map(str.ljust, row, widths) for row in cells]
    return [between.join(row).rstrip() for row in padded]


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """The rows below their head, as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def verdicts(
    points: Mapping[str, Mapping[str, float]],
    total: Callable[[str], float],
    refused: Mapping[str, str],
    number: str = "",
) -> str:
    """A line a candidate: its total and the points that it is the sum of, or why it is refused."""
    lines = {name: f"   no  {why}" for name, why in refused.items()}
    for name, parts in points.items():
        shown = ", ".join(f"{part} {more:{number}}" for part, more in parts.items())
        lines[name] = f"{total(name):5{number}}  {shown}"
    width = max(map(len, lines), default=0)
    return "\n".join(f"{name:{width}}  {lines[name]}" for name in [*points, *refused])


def plural(count: int, noun: str) -> str:
    """The count with its noun, in the plural unless there is one."""
    return f"{count:,} {noun if count == 1 else plural_of(noun)}"


def plural_of(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
