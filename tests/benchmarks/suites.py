"""The checks themselves: the six notebooks compared cell by cell, and the last `make test`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.rows import Row, seconds
from summary import ROOT, TIMES


def rows() -> Iterator[Row]:
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "notebooks"]
    took = seconds(lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL))
    yield Row("pytest --nbval", "six notebooks, one process", 6, took, target="60 s", met=took <= 60)
    if TIMES.exists():
        took = json.loads(TIMES.read_text("utf-8"))["whole"]
        yield Row("make test", "the last time", 1, took, target="600 s", met=took <= 600)
