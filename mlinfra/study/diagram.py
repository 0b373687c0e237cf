"""Diagrams of layers, boxes and arrows: who calls whom, and where each of them lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlinfra.study.diagram_boxes import MARGIN, Arrow, Frame, boxes, frames, widest
from mlinfra.study.diagram_labels import LINE, Point, Rect, beside, free, segments
from mlinfra.study.diagram_plan import Plan
from mlinfra.study.figure import COLOURS, FILLS, INK, SOFT, WIDTH, Figure, svg, text, text_width

BANDS = ("#eef7fd", "#fdf5e6", "#ebf8f4", "#fdfbe3", "#faf1f6")  # the fills, much lighter
KINDS = {False: "request or data", True: "control or watch"}


def diagram(
    title: str,
    description: str,
    layers: Mapping[str, Sequence[str]],
    arrows: Sequence[Arrow],
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Layers from top to bottom with their boxes, arrows between boxes, and frames with a title around groups.

    A box without text leaves its place free. ValueError for what is not one of the boxes, and for what has no room.
    """
    groups = groups or {}
    _known(layers, arrows, groups)
    found = boxes(layers, arrows, groups)
    framed = frames(groups, found)
    for roomier in range(6):
        plan = Plan(layers, found, framed, arrows, roomier)
        labels = _labels(plan)
        if None not in labels:
            break
    else:
        crowded = [arrow.label for arrow, label in zip(arrows, labels, strict=True) if label is None]
        raise ValueError(f"no room for the labels {crowded}: make them shorter, or break them by \\n")
    bottom = plan.gaps[-1][1] + 4
    parts = [text(14, 20, title, size=14, weight="bold"), *_bands(plan, layers), *_frames(plan), *_boxes(plan, layers)]
    parts += [_line(plan.points(i), arrow.dashed) for i, arrow in enumerate(arrows)]
    parts += [_text(r, a.label, a.dashed) for r, a in zip(labels, arrows, strict=True) if r and a.label]
    legend = _legend(arrows, bottom)
    return Figure(svg(round(bottom + (22 if legend else 2)), title, description, "".join(parts) + legend), description)


def _known(layers: Mapping[str, Sequence[str]], arrows: Sequence[Arrow], groups: Mapping[str, Sequence[str]]) -> None:
    """ValueError for a box that is there twice, and for arrows and groups of what is not there."""
    names = [name for row in layers.values() for name in row if name]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"box {name!r}: must be there once")
    for arrow in arrows:
        if arrow.start == arrow.end:
            raise ValueError(f"arrow from {arrow.start!r}: must go to another box")
    for name in [n for arrow in arrows for n in (arrow.start, arrow.end)] + [n for g in groups.values() for n in g]:
        if name not in names:
            raise ValueError(f"box {name!r}: must be one of {', '.join(map(repr, names))}")


def _labels(plan: Plan) -> list[Rect | None]:
    """A place for the label of each arrow, if there is one; what was placed before is in the way of the next."""
    lines = [segments(plan.points(i)) for i in range(len(plan.arrows))]
    solid = [Rect(b.left, plan.tops[b.layer], b.right, plan.bottoms[b.layer]) for b in plan.boxes.values()]
    solid += [part for frame in plan.frames for part in _border(plan, frame)]
    room, found = Rect(plan.left, 30, WIDTH - MARGIN, plan.gaps[-1][1] + 4), list[Rect | None]()
    for i, arrow in enumerate(plan.arrows):
        if not arrow.label:
            found.append(Rect(0, 0, 0, 0))
            continue
        far = solid + [r for r in found if r] + [part for j, other in enumerate(lines) if j != i for part in other]
        places = beside(lines[i], widest(arrow.label), LINE * (arrow.label.count("\n") + 1))
        found.append(free(places, lines[i], far, room))
    return found


def _frame(plan: Plan, frame: Frame) -> Rect:
    top, bottom = plan.tops[frame.layers[0]], plan.bottoms[frame.layers[-1]]
    return Rect(frame.left, top - 4 - 19 * frame.depth, frame.right, bottom + 2 + 6 * frame.depth)


def _border(plan: Plan, frame: Frame) -> list[Rect]:
    """The four sides of a frame, and its title."""
    r = _frame(plan, frame)
    corners: list[Point] = [(r.left, r.top), (r.right, r.top), (r.right, r.bottom), (r.left, r.bottom), (r.left, r.top)]
    return [*segments(corners), Rect(r.left, r.top, r.left + 12 + text_width(frame.title) * 1.1, r.top + 18)]


def _bands(plan: Plan, layers: Mapping[str, Sequence[str]]) -> list[str]:
    parts = []
    for i, (name, (top, bottom)) in enumerate(zip(layers, plan.bands, strict=True)):
        size = f'width="{WIDTH - 2 * MARGIN}" height="{bottom - top:.1f}"'
        parts.append(f'<rect x="{MARGIN}" y="{top:.1f}" {size} rx="8" fill="{BANDS[i % len(BANDS)]}"/>')
        middle, lines = (plan.tops[i] + plan.bottoms[i]) / 2, name.split("\n")
        for j, line in enumerate(lines):
            y = middle + 4 + LINE * (j - (len(lines) - 1) / 2)
            parts.append(text(MARGIN + 10, y, line, weight="bold"))
    return parts


def _frames(plan: Plan) -> list[str]:
    parts = []
    for frame in plan.frames:
        r = _frame(plan, frame)
        size = f'width="{r.right - r.left:.1f}" height="{r.bottom - r.top:.1f}" rx="8"'
        parts.append(f'<rect x="{r.left:.1f}" y="{r.top:.1f}" {size} fill="#ffffff" stroke="{SOFT}"/>')
        parts.append(text(r.left + 8, r.top + 14, frame.title, weight="bold"))
    return parts


def _boxes(plan: Plan, layers: Mapping[str, Sequence[str]]) -> list[str]:
    parts = []
    for name, box in plan.boxes.items():
        top, bottom, fill = plan.tops[box.layer], plan.bottoms[box.layer], FILLS[box.layer % len(FILLS)]
        size = f'width="{box.width:.1f}" height="{bottom - top:.1f}" rx="5"'
        parts.append(f'<rect x="{box.left:.1f}" y="{top:.1f}" {size} fill="{fill}" stroke="{SOFT}"/>')
        height = LINE * (name.count("\n") + 1) / 2
        middle = (top + bottom) / 2
        parts.append(_text(Rect(box.left, middle - height, box.right, middle + height), name, halo=False))
    return parts


def _text(rect: Rect, words: str, dashed: bool = False, halo: bool = True) -> str:
    """Lines of text in the middle of a rectangle."""
    x, colour = (rect.left + rect.right) / 2, COLOURS[0] if dashed else INK
    lines = enumerate(words.split("\n"))
    return "".join(text(x, rect.top + 11 + LINE * i, line, "middle", colour=colour, halo=halo) for i, line in lines)


def _line(points: Sequence[Point], dashed: bool) -> str:
    """A line with round corners and a head."""
    (x, y), (to_x, to_y) = points[-2:]
    right, down = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
    back = (to_x - 8 * right, to_y - 8 * down)
    path, colour = f"M{points[0][0]:.1f} {points[0][1]:.1f}", COLOURS[0] if dashed else INK
    for before, corner, behind in zip(points, points[1:-1], points[2:], strict=False):
        (a, b), (c, d) = _towards(corner, before), _towards(corner, behind)
        path += f"L{a:.1f} {b:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {c:.1f} {d:.1f}"
    path += f"L{back[0]:.1f} {back[1]:.1f}"
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    head = f"M{to_x:.1f} {to_y:.1f}l{-8 * right - 4 * down} {-8 * down - 4 * right}l{8 * down} {8 * right}z"
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/><path d="{head}" fill="{colour}"/>'
    )


def _towards(point: Point, other: Point) -> Point:
    """Where a round corner begins: up to 6 px from it, at most half of the way to the next."""
    far = abs(other[0] - point[0]) + abs(other[1] - point[1])
    share = min(6, far / 2) / far
    return point[0] + (other[0] - point[0]) * share, point[1] + (other[1] - point[1]) * share


def _legend(arrows: Sequence[Arrow], y: float) -> str:
    """What the two kinds of lines are, when both are there."""
    if len({arrow.dashed for arrow in arrows}) < 2:
        return ""
    parts, x = [], WIDTH - MARGIN - 300.0
    for dashed, name in KINDS.items():
        parts.append(_line([(x, y + 6), (x + 28, y + 6)], dashed) + text(x + 34, y + 10, name))
        x += 160
    return "".join(parts)
