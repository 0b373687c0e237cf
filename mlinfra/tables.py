"""Tables that the package ships as CSV (NOTICE names their sources), and text in columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
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
