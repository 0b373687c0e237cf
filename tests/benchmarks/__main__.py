"""Every row of the design's table of speeds: a table, build/bench.json, and the picture of the README: `make bench`."""

from __future__ import annotations

import json
from itertools import chain

from benchmarks import batching, best_fit, fgd, imports, loop, picture, sliders, suites, your_own
from benchmarks.rows import Row
from summary import ROOT

SUITES = (best_fit, fgd, loop, batching, your_own, imports, sliders, suites)


def main() -> None:
    """Each row as it is measured, and whether its target was met; then the file and the picture."""
    print("Some five minutes on two quiet cores; everything is measured here and now.")
    rows, what = list[Row](), ""
    for row in chain.from_iterable(suite.rows() for suite in SUITES):
        if row.what != what:
            print(f"\n{row.what}", flush=True)
        verdict = f"target {row.target}: {'met' if row.met else 'MISSED'}" if row.target else ""
        print(f"  {row}  {verdict}".rstrip(), flush=True)
        rows, what = [*rows, row], row.what
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps([row.as_dict() for row in rows], indent=1) + "\n", "utf-8")
    (ROOT / "build" / "bench.png").write_bytes(picture.growth(rows).png())


if __name__ == "__main__":
    main()
