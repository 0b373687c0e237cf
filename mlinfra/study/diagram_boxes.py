"""Where the boxes of a diagram lie from left to right, and the frames around some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlinfra.study.diagram_routes import Box, Interval
from mlinfra.study.figure import WIDTH, text_width

MARGIN, NEAREST, SMALLEST = 10, 24, 72


@dataclass(frozen=True)
class Arrow:
    """From one box to another, with a short label; dashed for control or a watch, which is not the request."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Frame:
    """The border of a group: its boxes, and how many frames deep it is, itself included."""

    title: str
    boxes: Sequence[Box]
    depth: int

    @property
    def left(self) -> float:
        return min(box.left for box in self.boxes) - 4 - 8 * self.depth

    @property
    def right(self) -> float:
        return max(box.right for box in self.boxes) + 4 + 8 * self.depth

    @property
    def layers(self) -> range:
        layers = [box.layer for box in self.boxes]
        return range(min(layers), max(layers) + 1)


def widest(name: str) -> float:
    return max(map(text_width, name.split("\n")))


def label_width(layers: Mapping[str, Sequence[str]]) -> float:
    return max(map(widest, layers)) * 1.12 + 12


def boxes(
    layers: Mapping[str, Sequence[str]], arrows: Sequence[Arrow], groups: Mapping[str, Sequence[str]]
) -> dict[str, Box]:
    """The boxes of each layer, evenly spread; with room for the labels of arrows between neighbours if there is."""
    found: dict[str, Box] = {}
    for number, (layer, row) in enumerate(layers.items()):
        room = label_width(layers) + 24, WIDTH - MARGIN - 14.0
        own = [max(SMALLEST, widest(name) + 22, 40 + 16 * _busiest(name, layers, arrows)) for name in row]
        labelled = [_between(a, b, arrows, groups) for a, b in pairwise(row)]
        plain = [_between(a, b, (), groups) for a, b in pairwise(row)]
        for widths, least in (([max(own)] * len(own), labelled), (own, labelled), (own, plain)):
            lefts = _spread(widths, least, room)
            if lefts is not None:
                found |= {n: Box(n, number, x, w) for n, x, w in zip(row, lefts, widths, strict=True) if n}
                break
        else:
            raise ValueError(f"layer {layer!r}: {len(row)} boxes are too wide for one row: break their texts by \\n")
    return found


def _busiest(name: str, layers: Mapping[str, Sequence[str]], arrows: Sequence[Arrow]) -> int:
    """How many arrows one side of a box may have."""
    rows = {box: number for number, row in enumerate(layers.values()) for box in row}
    others = [rows[a.end if a.start == name else a.start] for a in arrows if name in (a.start, a.end)]
    above, below = (sum(sign * (row - rows[name]) < 0 for row in others) for sign in (1, -1))
    return max(above, below) + others.count(rows[name])


def _between(left: str, right: str, arrows: Sequence[Arrow], groups: Mapping[str, Sequence[str]]) -> float:
    """The least distance of two neighbours: for frames between them, and for the labels of their arrows."""
    edges = sum(
        12 + 8 * _depth(title, groups) for title, names in groups.items() if (left in names) != (right in names)
    )
    labels = [widest(arrow.label) for arrow in arrows if {arrow.start, arrow.end} == {left, right}]
    return max(NEAREST, edges, edges * 0.6 + max(labels, default=-28) + 28)


def _spread(widths: Sequence[float], least: Sequence[float], room: Interval) -> list[float] | None:
    """Left ends: in columns of one width where that is possible, else with the same more between all."""
    column = (room[1] - room[0]) / max(1, len(widths))
    lefts = [room[0] + column * (i + 0.5) - width / 2 for i, width in enumerate(widths)]
    ends = [room[0], *(left + width for left, width in zip(lefts, widths, strict=True))]
    if all(left - end >= need for left, end, need in zip(lefts, ends[:-1], [0, *least], strict=True)):
        return lefts
    more = (room[1] - room[0] - sum(widths) - sum(least)) / (len(widths) + 1)
    if more < 0:
        return None
    starts = [sum(widths[:i]) + sum(least[:i]) + more * (i + 1) for i in range(len(widths))]
    return [room[0] + start for start in starts]


def _depth(title: str, groups: Mapping[str, Sequence[str]]) -> int:
    inner = [name for name, names in groups.items() if name != title and set(names) < set(groups[title])]
    return 1 + max((_depth(name, groups) for name in inner), default=0)


def frames(groups: Mapping[str, Sequence[str]], boxes: Mapping[str, Box]) -> list[Frame]:
    """The frames, the outer ones first; ValueError for a group with a stranger in its frame."""
    found = [Frame(title, [boxes[name] for name in names], _depth(title, groups)) for title, names in groups.items()]
    for frame in found:
        for box in boxes.values():
            inside = box.layer in frame.layers and box.left < frame.right and box.right > frame.left
            if inside and box not in frame.boxes:
                raise ValueError(f"group {frame.title!r}: {box.name!r} lies in its frame: put its boxes side by side")
    return sorted(found, key=lambda frame: -frame.depth)
