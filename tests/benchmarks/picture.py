"""The growth of cost as a picture: seconds against size, both in powers of ten, ours and what stands beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from benchmarks.rows import Row

from mlinfra.study.figure import COLOURS, DASHES, GRID, INK, SOFT, WIDTH, Figure, svg, text

HEIGHT, GAP, LEFT, TOP = 130, 74, 62, 34


def growth(rows: Sequence[Row]) -> Figure:
    """One small chart for each thing that was measured at several sizes beside a peer, two in a line."""
    families = [list(family) for _, family in groupby(rows, key=lambda row: row.what)]
    charts = [family for family in families if len(family) > 2 and family[0].beside and family[-1].amount > 100]
    drawn = [_chart(chart, i) for i, chart in enumerate(charts)]
    said = "; ".join(f"{chart[-1].what}: {chart[-1].ratio:,.0f} times as quick at {chart[-1].size}" for chart in charts)
    title = "Seconds by number of pods, requests or tokens"
    height = TOP + math.ceil(len(charts) / 2) * (HEIGHT + GAP)
    return Figure(svg(height, title, f"{said}.", text(14, 20, title, size=14, weight="bold") + "".join(drawn)), said)


def _chart(rows: Sequence[Row], i: int) -> str:
    width = WIDTH / 2 - LEFT - 20
    x0, y0 = LEFT + i % 2 * WIDTH / 2, TOP + i // 2 * (HEIGHT + GAP) + 44
    sizes = [math.log10(row.amount) for row in rows]
    times = [math.log10(s) for row in rows for s in (row.seconds, row.beside_seconds)]
    low, high = math.floor(min(times)), math.ceil(max(times))

    def x(row: Row) -> float:
        return x0 + width * (math.log10(row.amount) - sizes[0]) / (sizes[-1] - sizes[0])

    def y(value: float) -> float:
        return y0 + HEIGHT * (high - math.log10(value)) / (high - low)

    beside = rows[0].beside.partition(",")[0]
    parts = [text(x0, y0 - 24, rows[0].what, colour=INK), text(x0, y0 - 9, f"dashed: {beside}", colour=COLOURS[1])]
    for power in range(low, high + 1):
        parts.append(f'<path d="M{x0} {y(10.0**power):.1f}h{width}" stroke="{GRID}"/>')
        parts.append(text(x0 - 6, y(10.0**power) + 4, f"{10.0**power:g} s", anchor="end"))
    for line, values in enumerate(([row.seconds for row in rows], [row.beside_seconds for row in rows])):
        points = " ".join(f"{x(row):.1f},{y(value):.1f}" for row, value in zip(rows, values, strict=True))
        dash = f' stroke-dasharray="{DASHES[line]}"'
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[line]}" stroke-width="2"{dash}/>')
    for row, anchor in zip(rows, ("start", "middle", "end"), strict=True):
        parts.append(text(x(row), y0 + HEIGHT + 16, f"{row.amount:,}", anchor=anchor, colour=SOFT))
    return "".join(parts)
