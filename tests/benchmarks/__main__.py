"""Every row of the design's table of speeds: a table, build/bench.json, and the picture of the README: `make bench`."""

from __future__ import annotations

import json
from itertools import chain, groupby

from benchmarks import best_fit, fgd, imports, loop, picture, sliders, suites
from summary import ROOT

SUITES = (best_fit, fgd, loop, imports, sliders, suites)


def main() -> None:
    """Growth of cost first; whether each target was met, or the miss by name."""
    rows = list(chain.from_iterable(suite.rows() for suite in SUITES))
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n", "utf-8")
    (ROOT / "build" / "bench.png").write_bytes(picture.growth(rows).png())
    for what, family in groupby(rows, key=lambda row: row.what):
        print(f"\n{what}")
        for row in family:
            verdict = f"target {row.target}: {'met' if row.met else 'MISSED'}" if row.target else ""
            print(f"  {row}  {verdict}".rstrip())


if __name__ == "__main__":
    main()
