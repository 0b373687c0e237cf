"""Ways for the arrows of a diagram: up and down between its layers, and along lanes in the gaps between them.

Gap k lies above layer k; the last one lies below the last layer. No two arrows share a vertical line in a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

EDGE = 11  # from a corner of a box to the first place of an arrow
MOST_LANES_TRIED = 6

Interval = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box in its row: the layer from above, and where it lies from left to right."""

    name: str
    layer: int
    left: float
    width: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


@dataclass(frozen=True)
class Leg:
    """The part of a way in one gap: its two verticals, and whether each comes from above the gap."""

    gap: int
    ends: tuple[float, float]
    above: tuple[bool, bool]

    @property
    def straight(self) -> bool:
        return self.ends[0] == self.ends[1]

    @property
    def span(self) -> Interval:
        return min(self.ends), max(self.ends)

    def moved(self, end: int, x: float) -> Leg:
        """The same leg with one of its ends elsewhere."""
        return Leg(self.gap, (x, self.ends[1]) if end == 0 else (self.ends[0], x), self.above)


@dataclass
class Ways:
    """Finds ways; remembers the verticals in each gap, so that the next way takes others."""

    boxes: Mapping[str, Box]
    walls: Sequence[Mapping[int, Sequence[Interval]]]  # where no vertical crosses a layer; the last if need be
    room: Interval
    space: float
    taken: dict[int, list[float]] = field(default_factory=dict)

    def straight(self, start: Box, end: Box, shift: float) -> list[Leg]:
        """One vertical between neighbouring layers, if the boxes lie above each other; else no leg."""
        low, high = max(start.left, end.left) + EDGE, min(start.right, end.right) - EDGE
        if abs(start.layer - end.layer) != 1 or low > high:
            return []
        gap, narrow = max(start.layer, end.layer), min(start, end, key=lambda box: box.width)
        x = self._free([gap], min(max(narrow.middle, low), high) + shift, (low, high), ())
        return [] if x is None else [self._leg(gap, x, x, start.layer < end.layer, start.layer > end.layer)]

    def bent(self, start: Box, end: Box) -> list[Leg]:
        """Down or up over any number of layers, past the boxes between."""
        if start.layer > end.layer:
            return [Leg(leg.gap, leg.ends[::-1], leg.above[::-1]) for leg in reversed(self.bent(end, start))]
        passed = self._corridors(start, end)
        first = self._port(start, start.layer + 1, passed[0] if passed else end.middle)
        last = self._port(end, end.layer, passed[-1] if passed else start.middle)
        xs, gaps = [first, *passed, last], range(start.layer + 1, end.layer + 1)
        return [self._leg(gap, xs[i], xs[i + 1], True, False) for i, gap in enumerate(gaps)]

    def around(self, start: Box, end: Box, under: bool) -> list[Leg]:
        """Within a layer: over the boxes between, or under them."""
        gap = start.layer + under
        ends = self._port(start, gap, end.middle), self._port(end, gap, start.middle)
        return [self._leg(gap, *ends, under, under)]

    def _leg(self, gap: int, x: float, to: float, above: bool, to_above: bool) -> Leg:
        self.taken.setdefault(gap, []).extend({x, to})
        return Leg(gap, (x, to), (above, to_above))

    def _corridors(self, upper: Box, lower: Box) -> list[float]:
        """A place to pass each layer between the two boxes, near the last one."""
        places: list[float] = []
        for layer in range(upper.layer + 1, lower.layer):
            near = places[-1] if places else (upper.middle + lower.middle) / 2
            tried = (self._free([layer, layer + 1], near, self.room, walls.get(layer, ())) for walls in self.walls)
            x = next((x for x in tried if x is not None), None)
            if x is None:
                raise ValueError(f"no way past layer {layer + 1} from {upper.name!r} to {lower.name!r}")
            places.append(x)
        return places

    def _port(self, box: Box, gap: int, towards: float) -> float:
        """A free place on the border of the box, on the side that it goes to."""
        low, high, away = box.left + EDGE, box.right - EDGE, towards - box.middle
        near = box.middle + (high - low) / 2 * away / (abs(away) + 150)
        x = self._free([gap], towards if low <= towards <= high else near, (low, high), ())
        if x is None:
            raise ValueError(f"box {box.name!r}: too many arrows for its width")
        return x

    def _free(self, gaps: Sequence[int], near: float, within: Interval, walls: Sequence[Interval]) -> float | None:
        taken = [x for gap in gaps for x in self.taken.get(gap, ())]
        open_places = [x for x in _outward(near, within) if not any(a < x < b for a, b in walls)]
        for space in (self.space, 11, 8):
            for x in open_places:
                if all(abs(x - other) >= space for other in taken):
                    return x
        return None


def _outward(near: float, within: Interval) -> Iterator[float]:
    """Places from the nearest one on, both ways, the right one first."""
    reach = int(max(abs(near - within[0]), abs(near - within[1])) / 2) + 1
    for step in range(reach + 1):
        for x in (near + 2 * step, near - 2 * step):
            if within[0] <= x <= within[1]:
                yield x


def lanes(legs: Sequence[Leg]) -> list[int]:
    """The lane of each leg that is not straight, counted from above, with few crossings in one gap."""
    orders = permutations(range(len(legs))) if len(legs) <= MOST_LANES_TRIED else [tuple(range(len(legs)))]
    best = min(orders, key=lambda order: sum(_crossings(legs[a], legs[b]) for a, b in combinations(order, 2)))
    found = [0] * len(legs)
    for place, i in enumerate(best):
        over = [found[j] + 1 for j in best[:place] if _meet(legs[i].span, legs[j].span)]
        found[i] = max(over, default=0)
    return found


def _meet(one: Interval, other: Interval) -> bool:
    return one[0] < other[1] + 12 and other[0] < one[1] + 12


def _crossings(upper: Leg, lower: Leg) -> int:
    """How often two legs cross when the first has the higher lane."""
    down = sum(upper.span[0] < x < upper.span[1] for x, above in zip(lower.ends, lower.above, strict=True) if above)
    up = sum(lower.span[0] < x < lower.span[1] for x, above in zip(upper.ends, upper.above, strict=True) if not above)
    return down + up
