"""One GPU measured and simulated: latency at each arrival rate, a small plot for each largest batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mlinfra.course import predicted
from mlinfra.study import Figure
from mlinfra.study.figure import COLOURS, DASHES, GRID, SOFT, svg, text

LOWEST, HIGHEST = (100, 0.3), (10_000, 3_000)
"""The ends of both axes, requests per second and milliseconds; both are logarithmic."""

LEFT, TOP, WIDTH, HEIGHT, GAP = 56, 74, 138, 220, 12


class Plot(NamedTuple):
    """Where a small plot begins, and its rows: the measurement with the predicted p50 and p99."""

    left: float
    rows: Sequence[predicted.Row]

    def x(self, per_s: float) -> float:
        return self.left + WIDTH * _share(per_s, LOWEST[0], HIGHEST[0])


def _share(value: float, low: float, high: float) -> float:
    """How far along a logarithmic axis."""
    return math.log(value / low) / math.log(high / low)


def _y(ms: float) -> float:
    return TOP + HEIGHT * (1 - _share(ms, LOWEST[1], HIGHEST[1]))


def measured_and_simulated() -> Figure:
    """Measured points and simulated lines, p50 and p99, for batches of up to 1, 4, 16 and 64."""
    table = predicted.open_loop_table()
    limits = sorted({row["largest_batch"] for row, *_ in table})
    plots = [
        Plot(LEFT + i * (WIDTH + GAP), [row for row in table if row[0]["largest_batch"] == largest])
        for i, largest in enumerate(limits)
    ]
    body = [text(LEFT, 20, "One H100: measured (points) and simulated (lines)", size=14, weight="bold"), _legend()]
    body += [_plot(plot, largest) for plot, largest in zip(plots, limits, strict=True)]
    body += [text(LEFT - 6, _y(ms) + 4, f"{ms:,}", anchor="end") for ms in (1, 10, 100, 1_000)]
    body.append(text(358, TOP + HEIGHT + 36, "requests per second", anchor="middle"))
    return Figure(svg(TOP + HEIGHT + 44, "One H100, measured and simulated", _said(plots), "".join(body)), _said(plots))


def _said(plots: Sequence[Plot]) -> str:
    """The highest rate of each plot at which the p99 stayed below 10 ms."""
    last = [max(row["requests_per_s"] for row, _, p99 in plot.rows if p99.measured < 10) for plot in plots]
    limits = [plot.rows[0][0]["largest_batch"] for plot in plots]
    kept = ", ".join(f"{per_s:,} with batches of up to {largest}" for per_s, largest in zip(last, limits, strict=True))
    return f"The measured p99 stays below 10 ms up to these requests per second: {kept}. The simulated one does too."


def _legend() -> str:
    parts = [text(LEFT, 44, "latency, ms")]
    for i, name in enumerate(("p50", "p99")):
        x = 190 + 90 * i
        parts += [_line([(x, 40), (x + 34, 40)], i), _point(x + 17, 40, i), text(x + 42, 44, name, colour=COLOURS[i])]
    parts.append(_rule([(400, 33), (400, 47)], SOFT, "4 3"))
    return "".join([*parts, text(408, 44, "the model's limit")])


def _plot(plot: Plot, largest: int) -> str:
    """Grid, the limit of the simulated server, lines and points."""
    right, bottom = plot.left + WIDTH, TOP + HEIGHT
    parts = [_rule([(plot.left, _y(ms)), (right, _y(ms))], GRID) for ms in (1, 10, 100, 1_000)]
    parts += [_rule([(plot.x(rate), TOP), (plot.x(rate), bottom)], GRID) for rate in (100, 1_000, 10_000)]
    names = ("100", "1,000", "10,000")
    parts += [
        text(plot.x(rate), bottom + 16, name, anchor=anchor, size=10)
        for rate, name, anchor in zip((100, 1_000, 10_000), names, ("start", "middle", "end"), strict=True)
    ]
    limit = predicted.limit_per_s(largest)
    if limit < HIGHEST[0]:
        parts.append(_rule([(plot.x(limit), TOP), (plot.x(limit), bottom)], SOFT, "4 3"))
    title = "batches of 1" if largest == 1 else f"up to {largest}"
    parts.append(text(plot.left + WIDTH / 2, TOP - 6, title, anchor="middle"))
    return "".join([*parts, *_curves(plot)])


def _curves(plot: Plot) -> Iterable[str]:
    for i in (0, 1):
        at = [(plot.x(row["requests_per_s"]), figures[i]) for row, *figures in plot.rows]
        yield _line([(x, _y(figure.predicted)) for x, figure in at], i)
        yield from (_point(x, _y(figure.measured), i) for x, figure in at)


def _line(points: Sequence[tuple[float, float]], i: int) -> str:
    dash = f' stroke-dasharray="{DASHES[i]}"' if DASHES[i] else ""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="1.5"{dash}/>'


def _rule(points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" stroke="{colour}"{dashes}/>'


def _point(x: float, y: float, i: int) -> str:
    """A circle for the p50, a square for the p99."""
    if i == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[i]}"/>'
    return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{COLOURS[i]}"/>'
