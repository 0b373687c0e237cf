"""Where everything in a diagram lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlinfra.study.diagram_boxes import MARGIN, Arrow, Frame, label_width, widest
from mlinfra.study.diagram_routes import Box, Interval, Leg, Ways, lanes
from mlinfra.study.figure import WIDTH

LINE, GAP = 14, 20
Point = tuple[float, float]


class Plan:
    """Where everything lies; a plan with more room is higher and keeps arrows further apart."""

    def __init__(
        self,
        layers: Mapping[str, Sequence[str]],
        boxes: Mapping[str, Box],
        frames: Sequence[Frame],
        arrows: Sequence[Arrow],
        space: float,
        step: float,
    ) -> None:
        self.boxes, self.frames, self.arrows, self.space, self.step = boxes, frames, arrows, space, step
        self.layers, self.left = list(layers), label_width(layers) + 8
        self.legs = self._legs()
        self._untangle()
        self.bent = self._bent()
        self.lanes = {gap: lanes(legs) for gap, legs in self.bent.items()}
        self.tops: list[float] = []
        self.bottoms: list[float] = []
        self.bands: list[tuple[float, float]] = []
        self.gaps: list[tuple[float, float]] = []
        self._rows(layers)

    def _legs(self) -> dict[int, list[Leg]]:
        """The legs of each arrow by its number: straight ones first, then the long ones."""
        ways = Ways(
            self.boxes, (self._walls(False), self._walls(True)), (self.left + 8, WIDTH - MARGIN - 6), self.space
        )
        for frame in self.frames:
            for gap in frame.layers[1:]:
                ways.taken.setdefault(gap, []).extend((frame.left, frame.right))
        found: dict[int, list[Leg]] = {}
        pairs = [(self.boxes[arrow.start], self.boxes[arrow.end]) for arrow in self.arrows]
        for i, (start, end) in enumerate(pairs):
            if self._beside(start, end):
                found[i] = []
            elif legs := ways.straight(start, end, self._shift(i)):
                found[i] = legs
        far = {i: (start.layer - end.layer, start.middle - end.middle) for i, (start, end) in enumerate(pairs)}
        for i in sorted(far.keys() - found, key=lambda i: (-abs(far[i][0]), abs(far[i][1]), i)):
            start, end = pairs[i]
            found[i] = (
                ways.around(start, end, self._under(start, end)) if start.layer == end.layer else ways.bent(start, end)
            )
        return found

    def _untangle(self) -> None:
        """Bent legs leave one side of a box in the order of where they go."""
        sides: dict[tuple[str, int, bool], list[tuple[int, int, int]]] = {}
        for i, legs in self.legs.items():
            for name, at, end in ((self.arrows[i].start, 0, 0), (self.arrows[i].end, -1, 1)):
                if legs and not legs[at].straight:
                    sides.setdefault((name, legs[at].gap, legs[at].above[end]), []).append((i, at, end))
        for ports in sides.values():
            xs = sorted(self.legs[i][at].ends[end] for i, at, end in ports)
            goals = sorted(ports, key=lambda port: self.legs[port[0]][port[1]].ends[1 - port[2]])
            for x, (i, at, end) in zip(xs, goals, strict=True):
                self.legs[i][at] = self.legs[i][at].moved(end, x)

    def _walls(self, through: bool) -> dict[int, list[Interval]]:
        """Where no arrow crosses a layer: at boxes, and at frames or only at their edges."""
        walls: dict[int, list[Interval]] = {}
        for box in self.boxes.values():
            walls.setdefault(box.layer, []).append((box.left - 10, box.right + 10))
        for frame in self.frames:
            for layer in frame.layers:
                edges = [(frame.left - 8, frame.left + 8), (frame.right - 8, frame.right + 8)]
                walls.setdefault(layer, []).extend(edges if through else [(frame.left - 8, frame.right + 8)])
        return walls

    def _alike(self, i: int) -> list[int]:
        ends = {self.arrows[i].start, self.arrows[i].end}
        return [j for j, arrow in enumerate(self.arrows) if {arrow.start, arrow.end} == ends]

    def _shift(self, i: int) -> float:
        """How far an arrow lies from the middle when several join the same two boxes."""
        alike = self._alike(i)
        return (alike.index(i) - (len(alike) - 1) / 2) * max(18, self.space)

    def _beside(self, start: Box, end: Box) -> bool:
        """Whether an arrow goes straight to the side: no box between, and room for its label."""
        if start.layer != end.layer:
            return False
        left, right = sorted((start, end), key=lambda box: box.left)
        between = [b for b in self.boxes.values() if b.layer == left.layer and left.right < b.left < right.left]
        labels = [widest(a.label) for a in self.arrows if {a.start, a.end} == {start.name, end.name}]
        edges = [12 + 8 * frame.depth for frame in self.frames if (left in frame.boxes) != (right in frame.boxes)]
        return not between and max(labels) + 14 + 0.6 * sum(edges) <= right.left - left.right

    def _under(self, start: Box, end: Box) -> bool:
        """Whether a way within a layer runs below it: outside of the picture's rows, else to the left."""
        outer = {0: False, max(box.layer for box in self.boxes.values()): True}
        return outer.get(start.layer, start.left > end.left)

    def _bent(self) -> dict[int, list[Leg]]:
        bent: dict[int, list[Leg]] = {}
        for leg in (leg for i in sorted(self.legs) for leg in self.legs[i] if not leg.straight):
            bent.setdefault(leg.gap, []).append(leg)
        return bent

    def _rows(self, layers: Mapping[str, Sequence[str]]) -> None:
        """Heights from above: a gap with its lanes, then a band with its boxes."""
        y = 32.0
        for number, row in enumerate(layers.values()):
            before, behind = self._padding(number)
            high = LINE * max([1, *(name.count("\n") + 1 for name in row)]) + 16
            self.gaps.append((y, y + self._gap(number, len(layers))))
            top = self.gaps[-1][1]
            self.tops.append(top + before)
            self.bottoms.append(top + before + high)
            y = top + before + high + behind
            self.bands.append((top, y))
        self.gaps.append((y, y + self._gap(len(layers), len(layers))))

    def _padding(self, layer: int) -> tuple[int, int]:
        """Above and below the boxes of a layer: for the titles of frames, and for their borders."""
        first = [frame.depth for frame in self.frames if frame.layers[0] == layer]
        last = [frame.depth for frame in self.frames if frame.layers[-1] == layer]
        return 12 + 19 * max(first, default=0), 12 + 6 * max(last, default=0)

    def _gap(self, gap: int, last: int) -> float:
        """High enough for the lanes in a gap and the labels on them."""
        bent = max(self.lanes.get(gap, [-1])) + 1
        lines = [self.arrows[i].label.count("\n") + 1 for i in self.legs if any(leg.gap == gap for leg in self.legs[i])]
        step = 10 + LINE * max(lines, default=0) + self.step
        return bent * step + (GAP if 0 < gap < last else 4 if bent == 0 else 12)

    def points(self, i: int) -> list[Point]:
        """The corners of an arrow, from the border of its first box to that of the other."""
        start, end = self.boxes[self.arrows[i].start], self.boxes[self.arrows[i].end]
        if not self.legs[i]:
            return self._sideways(i, start, end)
        corners: list[Point] = []
        for leg in self.legs[i]:
            ends = [self.bottoms[leg.gap - 1] if above else self.tops[leg.gap] for above in leg.above]
            y = ends[0] if leg.straight else self._lane(leg)
            corners += [(leg.ends[0], ends[0]), (leg.ends[0], y), (leg.ends[1], y), (leg.ends[1], ends[1])]
        return _corners(corners)

    def _sideways(self, i: int, start: Box, end: Box) -> list[Point]:
        y = (self.tops[start.layer] + self.bottoms[start.layer]) / 2 + self._shift(i) * 0.8
        right = start.left < end.left
        return [(start.right if right else start.left, y), (end.left if right else end.right, y)]

    def _lane(self, leg: Leg) -> float:
        (top, bottom), used = self.gaps[leg.gap], self.lanes[leg.gap]
        lane = used[self.bent[leg.gap].index(leg)]
        return top + (bottom - top) * (lane + 1) / (max(used) + 2)


def _corners(points: Sequence[Point]) -> list[Point]:
    """Without points between two others on one line."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and any(kept[-2][axis] == kept[-1][axis] == point[axis] for axis in (0, 1)):
            kept.pop()
        kept.append(point)
    return kept
