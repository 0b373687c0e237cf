"""Diagrams of layers, boxes and arrows: who calls whom, and where each of them lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from mlinfra.study.diagram_boxes import MARGIN, Arrow, Frame, boxes, frames, widest
from mlinfra.study.diagram_labels import LINE, Point, Rect, beside, free, segments
from mlinfra.study.diagram_plan import Plan
from mlinfra.study.diagram_routes import Box
from mlinfra.study.figure import COLOURS, FILLS, INK, SOFT, WIDTH, Figure, svg, text, text_width

BANDS = ("#eef7fd", "#fdf5e6", "#ebf8f4", "#fdfbe3", "#faf1f6")  # the fills, much lighter
BOLD = 1.12  # how much wider a bold text is
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
    _known(layers, arrows, groups or {})
    found = boxes(layers, arrows, groups or {})
    plan, labels = _planned(layers, found, frames(groups or {}, found), arrows)
    bottom = plan.gaps[-1][1] + 4
    parts = [text(14, 20, title, size=14, weight="bold"), *_bands(plan), *_frames(plan), *_boxes(plan)]
    parts += [_line(plan.points(i), arrow.dashed) for i, arrow in enumerate(arrows)]
    parts += [_text(place, a.label, a.dashed) for place, a in zip(labels, arrows, strict=True) if place and a.label]
    legend = _legend(arrows, bottom)
    return Figure(svg(round(bottom + (22 if legend else 2)), title, description, "".join(parts) + legend), description)


def _planned(
    layers: Mapping[str, Sequence[str]], boxes: Mapping[str, Box], frames: Sequence[Frame], arrows: Sequence[Arrow]
) -> tuple[Plan, list[Rect | None]]:
    """The first plan with room for every label, and their places; each plan is roomier than the one before."""
    crowded: list[str] = []
    for space, step in product((14, 20, 28), (0, 6, 14)):
        plan = Plan(layers, boxes, frames, arrows, space, step)
        labels = _labels(plan)
        if None not in labels:
            return plan, labels
        crowded = [arrow.label for arrow, label in zip(arrows, labels, strict=True) if label is None]
    raise ValueError(f"no room for the labels {crowded}: make them shorter, or break them by \\n")


def _known(layers: Mapping[str, Sequence[str]], arrows: Sequence[Arrow], groups: Mapping[str, Sequence[str]]) -> None:
    """ValueError for a box that is there twice, and for arrows and groups of what is not there."""
    names = [name for row in layers.values() for name in row if name]
    if not names or not all(groups.values()):
        raise ValueError("a diagram needs a box, and so does each of its groups")
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
    """A place for the label of each arrow, if there is one; those with few places come first."""
    lines = [segments(plan.points(i)) for i in range(len(plan.arrows))]
    solid = [Rect(b.left, plan.tops[b.layer], b.right, plan.bottoms[b.layer]) for b in plan.boxes.values()]
    solid += [part for frame in plan.frames for part in (*_border(plan, frame), _title(plan, frame))]
    solid += [_name(plan, i, name) for i, name in enumerate(plan.layers)]
    room = Rect(MARGIN, 30, WIDTH - MARGIN, plan.gaps[-1][1] + 4)
    inside, others = [], []
    for i, arrow in enumerate(plan.arrows):
        places = list(beside(lines[i], widest(arrow.label), LINE * (arrow.label.count("\n") + 1)))
        inside.append(places)
        others.append([part for j, other in enumerate(lines) if j != i for part in other])
    found: dict[int, Rect | None] = {}
    for i in sorted(range(len(lines)), key=lambda i: (len(inside[i]), i)):
        if plan.arrows[i].label:
            far = [*solid, *filter(None, found.values()), *others[i]]
            found[i] = free(inside[i], lines[i], far, room, (16, 9, 4))
    return [found.get(i, Rect(0, 0, 0, 0)) for i in range(len(lines))]


def _frame(plan: Plan, frame: Frame) -> Rect:
    top, bottom = plan.tops[frame.layers[0]], plan.bottoms[frame.layers[-1]]
    return Rect(frame.left, top - 4 - 19 * frame.depth, frame.right, bottom + 2 + 6 * frame.depth)


def _border(plan: Plan, frame: Frame) -> list[Rect]:
    r = _frame(plan, frame)
    corners: list[Point] = [(r.left, r.top), (r.right, r.top), (r.right, r.bottom), (r.left, r.bottom), (r.left, r.top)]
    return segments(corners)


def _title(plan: Plan, frame: Frame) -> Rect:
    """Where the title of a frame stands: at its left end, or as near to it as no arrow runs through it."""
    r, lines = _frame(plan, frame), [part for i in range(len(plan.arrows)) for part in segments(plan.points(i))]
    width = text_width(frame.title) * BOLD
    steps = range(int(max(0, r.right - r.left - width - 16)) // 4 + 1)
    places = [Rect(r.left + 8 + 4 * i, r.top + 3, r.left + 8 + 4 * i + width, r.top + 18) for i in steps]
    return free(places, (), lines, r, (5,)) or places[0]


def _name(plan: Plan, layer: int, name: str) -> Rect:
    """Where the name of a layer stands, at the left of its band."""
    middle, high = (plan.tops[layer] + plan.bottoms[layer]) / 2, LINE * (name.count("\n") + 1)
    left = MARGIN + 10
    return Rect(left, middle - high / 2, left + widest(name) * BOLD, middle + high / 2)


def _bands(plan: Plan) -> list[str]:
    parts = []
    for i, (name, (top, bottom)) in enumerate(zip(plan.layers, plan.bands, strict=True)):
        size = f'width="{WIDTH - 2 * MARGIN}" height="{bottom - top:.1f}"'
        parts.append(f'<rect x="{MARGIN}" y="{top:.1f}" {size} rx="8" fill="{BANDS[i % len(BANDS)]}"/>')
        place = _name(plan, i, name)
        for j, line in enumerate(name.split("\n")):
            parts.append(text(place.left, place.top + 11 + LINE * j, line, weight="bold"))
    return parts


def _frames(plan: Plan) -> list[str]:
    parts = []
    for frame in plan.frames:
        r = _frame(plan, frame)
        size = f'width="{r.right - r.left:.1f}" height="{r.bottom - r.top:.1f}" rx="8"'
        parts.append(f'<rect x="{r.left:.1f}" y="{r.top:.1f}" {size} fill="#ffffff" stroke="{SOFT}"/>')
        title = _title(plan, frame)
        parts.append(text(title.left, title.top + 11, frame.title, weight="bold"))
    return parts


def _boxes(plan: Plan) -> list[str]:
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
