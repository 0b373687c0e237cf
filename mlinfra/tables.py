"""Tables that the package ships as CSV; NOTICE names their sources."""

from __future__ import annotations

import csv
from importlib.resources import files


def table(package: str, name: str) -> list[dict[str, str]]:
    """The rows of a table in the folder `files` of a package, such as `mlinfra.gpu`."""
    with files(package).joinpath("files", f"{name}.csv").open(encoding="utf-8") as rows:
        return list(csv.DictReader(rows))
