"""Runs every check and ends with one summary: `make test`.

Parts that compute follow one another; beside them run the parts that mostly wait, for a browser or for Ray.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "build" / "reports"
TIMES = REPORTS / "seconds.json"


@dataclass
class Part:
    """One check: its command, and after the run its outcome and what it counted."""

    name: str
    command: list[str]
    passed: bool = False
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Run the command, and print what it printed once it ends."""
        print(f"=== started: {self.name}", flush=True)
        report = REPORTS / f"{re.sub(r'[ ,;]+', '_', self.name)}.xml"
        report.unlink(missing_ok=True)
        reporting = [f"--junit-xml={report}"] if "pytest" in self.command else []
        started = time.monotonic()
        RUNNING[self.name] = started
        command = [sys.executable, "-m", *self.command, *reporting]
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.seconds, self.passed = time.monotonic() - RUNNING.pop(self.name), done.returncode == 0
        if reporting:
            self.counts, self.notes = _read(report) if report.exists() else (Counter(failed=1), [])
        else:
            self.counts = Counter(passed=self.passed, failed=not self.passed)
        print(f"\n=== {self.name}, {self.seconds:.0f} s\n{done.stdout}", flush=True)


RUNNING: dict[str, float] = {}
"""Parts under way, and when each began."""


def show_progress(stop: threading.Event) -> None:
    """On a terminal, what is running and for how long."""
    while sys.stdout.isatty() and not stop.wait(1):
        parts = [f"{name} {time.monotonic() - began:.0f} s" for name, began in RUNNING.copy().items()]
        print(f"\r\033[K{'; '.join(parts)}", end="", flush=True)


def pytest_part(name: str, *arguments: str) -> Part:
    return Part(name, ["pytest", "-q", *arguments])


TWO = ("-n", "2")
SITE = ("tests/browser/test_site.py", "tests/browser/test_site_pages.py")
BY_FILE = (*TWO, "--dist", "loadfile")
"""Two processes; by file, so that the cells of a notebook stay in one, in their order."""

COMPUTING = [
    Part("style", ["ruff", "check", "."]),
    Part("format", ["ruff", "format", "--check", "."]),
    Part("types", ["mypy"]),
    pytest_part("unit, property and conformance tests", *TWO, "tests"),
    pytest_part("notebooks compared cell by cell, and corrupted", *BY_FILE, "--nbval", "--corrupted", "notebooks"),
    pytest_part("notebooks answered; long trials; commands of the README", *TWO, "-m", "slow", "tests"),
]
WAITING = [
    pytest_part("notebooks in the browser", "-rs", "tests/browser/test_lab.py"),
    pytest_part(
        "the site, without installation", "-rs", "tests/browser/test_site.py", "tests/browser/test_site_pages.py"
    ),
    pytest_part("engines for real", "-rs", "tests/engines"),
]
PARTS = COMPUTING + WAITING


def run_one_by_one(parts: list[Part]) -> None:
    for part in parts:
        part.run()


def _read(report: Path) -> tuple[Counter[str], list[str]]:
    """Outcomes of a pytest run, cases and cells among them, what tests recorded, and why something was skipped."""
    counts, notes = Counter[str](), []
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = next((o for o in ("failure", "error", "skipped") if case.find(o) is not None), "passed")
        counts["failed" if outcome in ("failure", "error") else outcome] += 1
        counts.update(_special(case) if outcome == "passed" else ())
        for noted in case.iter("property"):
            name, value = noted.get("name", ""), noted.get("value", "")
            if name.startswith("hypothesis-statistics"):
                continue
            counts[name] += int(value) if value.isdigit() else 0
            notes += [] if value.isdigit() else [f"{name} {value}"]
        notes += [f"skipped: {reason.get('message')}" for reason in case.iter("skipped")]
    return counts, list(dict.fromkeys(notes))


def _special(case: ElementTree.Element) -> list[str]:
    name, place = case.get("name", ""), case.get("classname", "")
    if name.startswith("test_agrees_with_upstream[") and "manifest_semantics.json" in name:
        return ["API server verdicts agreed"]
    if name.startswith("test_agrees_with_upstream["):
        return ["conformance cases agreed"]
    return ["cells compared"] if place.endswith(".ipynb") else []


def main() -> int:
    REPORTS.mkdir(parents=True, exist_ok=True)
    started, finished = time.monotonic(), threading.Event()
    with ThreadPoolExecutor() as pool:
        pool.submit(show_progress, finished)
        for lane in [pool.submit(run_one_by_one, parts) for parts in (COMPUTING, WAITING)]:
            lane.result()
        finished.set()
    whole_s = time.monotonic() - started
    TIMES.write_text(
        json.dumps({"whole": round(whole_s, 1), **{part.name: round(part.seconds, 1) for part in PARTS}}, indent=1)
        + "\n",
        "utf-8",
    )
    total = sum((part.counts for part in PARTS), Counter[str]())
    print("\n=== summary")
    for part in PARTS:
        print(f"{'ok    ' if part.passed else 'FAILED'} {part.seconds:6.1f} s  {part.name}")
        counted = [
            f"{n} {what}" for what, n in part.counts.items() if n and what not in ("passed", "failed", "skipped")
        ]
        print("".join(f"{'':18}{line}\n" for line in counted + part.notes), end="")
    print(f"\nin all {whole_s:.0f} s, the computing parts beside the waiting ones")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return int(not all(part.passed for part in PARTS))


if __name__ == "__main__":
    sys.exit(main())
