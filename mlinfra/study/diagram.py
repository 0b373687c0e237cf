"""Diagrams of layers, boxes and arrows: who calls whom, and where each of them lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlinfra.study.figure import FILLS, INK, SOFT, WIDTH, Figure, svg, text, text_width


@dataclass(frozen=True)
class Arrow:
    """From one box to another, with a short label; dashed for control or a watch, which is not the request."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False


def diagram(
    title: str,
    description: str,
    layers: Mapping[str, Sequence[str]],
    arrows: Sequence[Arrow],
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Layers from top to bottom with their boxes, arrows between boxes, and frames with a title around groups."""
    names = [name for row in layers.values() for name in row if name]
    for name in [n for arrow in arrows for n in (arrow.start, arrow.end)] + [
        n for row in (groups or {}).values() for n in row
    ]:
        if name not in names:
            raise ValueError(f"box {name!r}: must be one of {', '.join(names)}")
    body, places = [text(14, 20, title, size=14, weight="bold")], {}
    for i, (layer, row) in enumerate(layers.items()):
        y = 40 + 100 * i
        body.append(text(14, y + 24, layer))
        for j, name in enumerate(row):
            x, width = 110 + (WIDTH - 120) * (j + 0.5) / len(row), max(map(text_width, name.split("\n"))) + 20
            places[name] = (x, y)
            box = f'<rect x="{x - width / 2:.1f}" y="{y}" width="{width:.1f}" height="40" fill="{FILLS[i % 5]}"/>'
            body.append(box + text(x, y + 24, name.replace("\n", " "), anchor="middle", colour=INK))
    for arrow in arrows:
        (x1, y1), (x2, y2) = places[arrow.start], places[arrow.end]
        body.append(f'<path d="M{x1:.1f} {y1 + 20}L{x2:.1f} {y2 + 20}" stroke="{SOFT}"/>')
    return Figure(svg(40 + 100 * len(layers), title, description, "".join(body)), description)
