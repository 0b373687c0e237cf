"""Figures made of boxes: a grid, a tree, bars and a timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlinfra.study.figure import (
    FILLS,
    GRID,
    INK,
    SOFT,
    WIDTH,
    Figure,
    axis_ticks,
    finite,
    fits,
    svg,
    text,
    text_width,
    tick_label,
)


@dataclass(frozen=True)
class Cell:
    """A box with a short text: filled with a colour by its number, empty without, struck out if out of reach."""

    text: str = ""
    fill: int | None = None
    struck: bool = False


@dataclass(frozen=True)
class Boxes:
    """A row of boxes with a label before and a note behind it; without boxes it is a heading."""

    label: str
    cells: Sequence[Cell] = ()
    note: str = ""


CELL_HEIGHT, ROW_HEIGHT, LABEL_WIDTH, NOTE_WIDTH = 24, 30, 92, 150


def grid(title: str, description: str, *rows: Boxes) -> Figure:
    """Rows of boxes of one size, such as the GPUs of each node."""
    width = min(44, (WIDTH - LABEL_WIDTH - NOTE_WIDTH) // max([1, *(len(row.cells) for row in rows)]))
    body, top = [text(14, 20, title, size=14, weight="bold")], 34
    for row in rows:
        body.append(text(14, top + 17, row.label, colour=SOFT if row.cells else INK))
        body += [_box(cell, LABEL_WIDTH + i * width, top, width) for i, cell in enumerate(row.cells)]
        if row.note:
            body.append(text(LABEL_WIDTH + len(row.cells) * width + 10, top + 17, row.note))
        top += ROW_HEIGHT
    return Figure(svg(top + 6, title, description, "".join(body)), description)


def _box(cell: Cell, x: float, y: float, width: float) -> str:
    fill = "#ffffff" if cell.fill is None else FILLS[cell.fill % len(FILLS)]
    x, width = x + 1, width - 3
    drawn = f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{CELL_HEIGHT}" fill="{fill}" stroke="{SOFT}"/>'
    if cell.struck:
        drawn += (
            f'<path d="M{x:g} {y}l{width:g} {CELL_HEIGHT}m0 -{CELL_HEIGHT}l-{width:g} {CELL_HEIGHT}" stroke="{SOFT}"/>'
        )
    return drawn + (text(x + width / 2, y + 17, cell.text, anchor="middle", colour=INK) if cell.text else "")


def tree(title: str, description: str, rows: Sequence[tuple[int, str, str]]) -> Figure:
    """Depth, kind and name of things, each below what it belongs to."""
    body, tops = [text(14, 20, title, size=14, weight="bold")], dict[int, int]()
    for top, (depth, kind, name) in zip(range(34, 34 + len(rows) * ROW_HEIGHT, ROW_HEIGHT), rows, strict=True):
        x, width, middle = 14 + depth * 34, text_width(kind) + 16, top + CELL_HEIGHT // 2
        if depth:
            body.append(f'<path d="M{x - 18} {tops[depth - 1]}V{middle}H{x}" stroke="{SOFT}" fill="none"/>')
        size, fill = f'width="{width:.1f}" height="{CELL_HEIGHT}"', "#ffffff" if depth else FILLS[0]
        body.append(f'<rect x="{x}" y="{top}" {size} fill="{fill}" stroke="{SOFT}"/>')
        body.append(text(x + 8, top + 17, kind, colour=INK) + text(x + width + 8, top + 17, name))
        tops[depth] = top + CELL_HEIGHT
    return Figure(svg(34 + len(rows) * ROW_HEIGHT + 6, title, description, "".join(body)), description)


def bars(
    title: str, description: str, rows: Mapping[str, Mapping[str, float]], unit: str, top: float | None = None
) -> Figure:
    """One bar a row, made of named parts: a legend above, and in the bar the name where there is room.

    With `top` a bar of that sum is as long as there is room, whatever the values are.
    """
    for label, row in rows.items():
        finite(f'row "{label}"', row.values(), low=0)
    sums = [sum(row.values()) for row in rows.values()]
    fits("a bar", sums, top)
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    scale = (WIDTH - LABEL_WIDTH - NOTE_WIDTH) / (top or max([1e-9, *sums]))
    body, y, x = [text(14, 20, title, size=14, weight="bold")], 58, float(LABEL_WIDTH)
    for i, part in enumerate(parts):
        body.append(f'<rect x="{x:.1f}" y="34" width="12" height="12" fill="{FILLS[i % 5]}" stroke="{SOFT}"/>')
        body.append(text(x + 18, 44, part))
        x += 34 + text_width(part)
    for label, row in rows.items():
        x = LABEL_WIDTH
        body.append(text(14, y + 17, label))
        for part, size in row.items():
            body.append(_part(part, parts.index(part), x, y, size * scale))
            x += size * scale
        body.append(text(x + 10, y + 17, f"{_total(sum(row.values()))} {unit}", colour=INK))
        y += ROW_HEIGHT
    return Figure(svg(y + 6, title, description, "".join(body)), description)


def _total(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _part(name: str, i: int, x: float, y: float, width: float) -> str:
    room = text_width(name) + 6 <= width
    drawn = (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{CELL_HEIGHT}" fill="{FILLS[i % 5]}" stroke="{SOFT}"/>'
    )
    return drawn + (text(x + width / 2, y + 17, name, anchor="middle", colour=INK) if room else "")


@dataclass(frozen=True)
class Span:
    """Something that lasts from a start to an end, with a short text and a colour by its number."""

    start: float
    end: float
    text: str = ""
    fill: int = 0


def timeline(
    title: str,
    description: str,
    rows: Mapping[str, Sequence[Span]],
    x_label: str = "minutes",
    end: float | None = None,
) -> Figure:
    """Rows of bars over one time axis, which starts at 0: a Gantt chart.

    With `end` the axis ends there, at the next round number, whatever the spans are.
    """
    for label, spans in rows.items():
        finite(f'row "{label}"', (n for span in spans for n in (span.start, span.end)), low=0)
        finite(f'row "{label}", end - start', (span.end - span.start for span in spans), low=0)
    ends = [span.end for spans in rows.values() for span in spans]
    fits("the end of a span", ends, end)
    ticks = axis_ticks(end or max([0.0, *ends]), most=8)
    left, right = LABEL_WIDTH + 14, WIDTH - 20

    def x(time: float) -> float:
        return left + (right - left) * time / ticks[-1]

    bottom = 34 + len(rows) * ROW_HEIGHT
    body = [text(14, 20, title, size=14, weight="bold")]
    for tick in ticks:
        body.append(f'<path d="M{x(tick):.1f} 30V{bottom}" stroke="{GRID}"/>')
        body.append(text(x(tick), bottom + 16, tick_label(tick), anchor="middle"))
    for top, (label, spans) in zip(range(34, bottom, ROW_HEIGHT), rows.items(), strict=True):
        body.append(text(14, top + 17, label, colour=INK))
        body += [_part(span.text, span.fill, x(span.start), top, x(span.end) - x(span.start)) for span in spans]
    body.append(text((left + right) / 2, bottom + 34, x_label, anchor="middle"))
    return Figure(svg(bottom + 44, title, description, "".join(body)), description)
