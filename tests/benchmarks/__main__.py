"""Runs every benchmark, prints a table and writes build/bench.json: `make bench`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import best_fit, fgd

BUILD = Path(__file__).parents[2] / "build"
SUITES = (best_fit, fgd)


def main() -> None:
    rows = [row for suite in SUITES for row in suite.rows()]
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    for row in rows:
        target = f"target {row['target']}: {'met' if row['met'] else 'MISSED'}" if row["target"] else ""
        print(f"{row['what']}, {row['size']}: {row['seconds']} s")
        print(f"    beside {row['beside']}: {row['beside_seconds']} s, {row['ratio']} times as long  {target}")


if __name__ == "__main__":
    main()
