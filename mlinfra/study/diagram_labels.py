"""Places for labels beside their lines, where they lie over nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
LINE = 14


@dataclass(frozen=True)
class Rect:
    """A rectangle; a line is one without a width or a height."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Rect, distance: float) -> bool:
        apart_x = max(other.left - self.right, self.left - other.right)
        apart_y = max(other.top - self.bottom, self.top - other.bottom)
        return max(apart_x, apart_y) < distance

    def within(self, other: Rect) -> bool:
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


def segments(points: Sequence[Point]) -> list[Rect]:
    """The straight parts of a line with corners."""
    return [Rect(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b), (c, d) in pairwise(points)]


def beside(parts: Sequence[Rect], width: float, height: float) -> Iterator[Rect]:
    """Places for a label along a line, the middle of its longest flat part first, then beside the upright ones."""
    flat = sorted((p for p in parts if p.top == p.bottom), key=lambda p: p.left - p.right)
    upright = sorted((p for p in parts if p.top != p.bottom), key=lambda p: p.top - p.bottom)
    for part in flat:
        for x in _outward((part.left + part.right) / 2, (part.right - part.left) / 2 + width / 4):
            yield Rect(x - width / 2, part.top - height - 2, x + width / 2, part.top - 2)
            yield Rect(x - width / 2, part.top + 3, x + width / 2, part.top + 3 + height)
    for part in upright:
        for y in _outward((part.top + part.bottom) / 2, (part.bottom - part.top) / 2 - height / 2):
            yield Rect(part.left + 6, y - height / 2, part.left + 6 + width, y + height / 2)
            yield Rect(part.left - 6 - width, y - height / 2, part.left - 6, y + height / 2)


def _outward(middle: float, reach: float) -> Iterator[float]:
    for step in range(int(max(0.0, reach) / 3) + 1):
        yield from {middle + 3 * step: 0, middle - 3 * step: 0}


def free(
    places: Sequence[Rect], near: Sequence[Rect], far: Sequence[Rect], room: Rect, distances: Sequence[float]
) -> Rect | None:
    """The first place that keeps the first distance from all but its own line; else the next distance."""
    inside = [rect for rect in places if rect.within(room) and not any(rect.meets(other, 1) for other in near)]
    for distance in distances:
        for rect in inside:
            if not any(rect.meets(other, distance) for other in far):
                return rect
    return None
