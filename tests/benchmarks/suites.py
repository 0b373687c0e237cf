"""The checks themselves: the six notebooks compared cell by cell, and the parts of the last `make test`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Row, seconds
from summary import BY_FILE, ROOT, TIMES

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def rows() -> Iterator[Row]:
    for paths in (NOTEBOOKS[:1], NOTEBOOKS[:3], NOTEBOOKS):
        took, by_two = seconds(lambda: nbval(paths)), seconds(lambda: nbval(paths, *BY_FILE))  # noqa: B023
        target = "45 s" if paths == NOTEBOOKS else ""
        met = not target or took <= 45
        yield Row("pytest --nbval", f"{len(paths)} notebooks", len(paths), took, "two processes", by_two, target, met)
    if TIMES.exists():
        parts = json.loads(TIMES.read_text("utf-8"))
        took = sum(parts.values())
        yield Row("make test", f"{len(parts)} parts, the last time", len(parts), took, target="720 s", met=took <= 720)


def nbval(paths: list[Path], *more: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", *more, *map(str, paths)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
