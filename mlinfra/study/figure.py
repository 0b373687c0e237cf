"""Small hand-made SVG figures: the same bytes on every machine, a description always, colour never alone."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape as escaped
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MIME = "application/vnd.mlinfra.svg"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe-Ito, dark enough for lines on white
DASHES = ("", "7 3", "2 3", "9 3 2 3")
FILLS = ("#56B4E9", "#E69F00", "#3DBB94", "#F0E442", "#CC79A7")  # light enough for black text inside
INK, SOFT, GRID = "#111111", "#444444", "#dddddd"
FONT = "Bitstream Vera Sans, DejaVu Sans, Verdana, sans-serif"
WIDTH, LEFT, RIGHT = 660, 56, 14
LARGEST = 1e15
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Points = Sequence[tuple[float, float]]


def escape(text: str) -> str:
    """The text within XML; a character that XML does not have becomes a question mark in a diamond."""
    return escaped(NOT_XML.sub("\ufffd", text))


@dataclass(frozen=True)
class Figure:
    """An SVG with the sentence that says what it shows."""

    svg: str
    description: str

    def png(self) -> bytes:
        """The picture as PNG, drawn with a font that a package ships, so that it is the same everywhere."""
        import resvg_py
        from PIL import Image

        drawn = resvg_py.svg_to_bytes(
            svg_string=self.svg,
            skip_system_fonts=True,
            font_family="Bitstream Vera Sans",
            font_files=[str(font_folder() / name) for name in ("Vera.ttf", "VeraBd.ttf")],
        )
        small = io.BytesIO()
        _reduced(Image.open(io.BytesIO(bytes(drawn))).convert("RGB"), self.svg).save(small, "PNG", optimize=True)
        return small.getvalue()

    def bundle(self) -> dict[str, str]:
        """The description, the SVG under a private type, and the PNG that every viewer can show."""
        return {"text/plain": self.description, MIME: self.svg, "image/png": base64.b64encode(self.png()).decode()}

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        return self.bundle(), {"image/png": {"width": WIDTH}}


def _reduced(picture: Any, svg: str) -> Any:
    """The picture in the colours of its SVG, and their tints on white for the smooth edges of lines and letters."""
    import numpy as np
    from PIL import Image

    palette = np.array(_tints(svg), dtype=np.int64)
    pixels = np.asarray(picture, dtype=np.int64).reshape(-1, 3)
    distinct, index = np.unique(pixels @ (65536, 256, 1), return_inverse=True)
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1)
    nearest = ((colours[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1)
    reduced = Image.fromarray(nearest[index].astype(np.uint8).reshape(picture.height, picture.width))
    reduced.putpalette(palette.astype(np.uint8).tobytes())
    return reduced


def _tints(svg: str) -> list[tuple[int, ...]]:
    """Red, green and blue of white and of each colour of the SVG, full, and at two and at one third on white."""
    named = [tuple(bytes.fromhex(text[1:])) for text in sorted(set(re.findall("#[0-9a-fA-F]{6}", svg)))]
    tints = [tuple(255 - (255 - part) * share // 3 for part in rgb) for rgb in named for share in (3, 2, 1)]
    return list(dict.fromkeys([(255, 255, 255), *named, *tints]))


def font_folder() -> Path:
    """Where reportlab keeps Bitstream Vera; looked up without importing it."""
    spec = find_spec("reportlab")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError('figures need the font that reportlab ships: pip install "mlinfra[notebooks]"')
    return Path(spec.submodule_search_locations[0]) / "fonts"


@dataclass(frozen=True)
class Row:
    """One band of a figure: a y axis, named lines, and level marks such as a target or a limit."""

    label: str
    lines: Mapping[str, Points]
    marks: Mapping[str, float] | None = None
    steps: bool = True
    height: int = 130


def steps(title: str, description: str, *rows: Row, x_label: str = "minutes") -> Figure:
    """Bands over one time axis, drawn as steps where a value holds until the next one.

    ValueError for a line without points, for more than four lines in a row, and for what is not a finite number.
    """
    for row in rows:
        _drawable(row)
    if not rows:
        raise ValueError("a figure needs a row")
    span = _span(rows)
    body, top = [text(LEFT, 20, title, size=14, weight="bold")], 34
    for row in rows:
        body.append(_band(row, span, top))
        top += row.height + 26
    body += _x_axis(span, top - 26, x_label)
    return Figure(svg(top + 22, title, description, "".join(body)), description)


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
        x, width, middle = 14 + depth * 34, _text_width(kind) + 16, top + CELL_HEIGHT // 2
        if depth:
            body.append(f'<path d="M{x - 18} {tops[depth - 1]}V{middle}H{x}" stroke="{SOFT}" fill="none"/>')
        size, fill = f'width="{width:.1f}" height="{CELL_HEIGHT}"', "#ffffff" if depth else FILLS[0]
        body.append(f'<rect x="{x}" y="{top}" {size} fill="{fill}" stroke="{SOFT}"/>')
        body.append(text(x + 8, top + 17, kind, colour=INK) + text(x + width + 8, top + 17, name))
        tops[depth] = top + CELL_HEIGHT
    return Figure(svg(34 + len(rows) * ROW_HEIGHT + 6, title, description, "".join(body)), description)


def bars(title: str, description: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> Figure:
    """One bar a row, made of named parts: a legend above, and in the bar the name where there is room."""
    for label, row in rows.items():
        _finite(f'row "{label}"', row.values(), low=0)
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    scale = (WIDTH - LABEL_WIDTH - NOTE_WIDTH) / max([1e-9, *(sum(row.values()) for row in rows.values())])
    body, top, x = [text(14, 20, title, size=14, weight="bold")], 58, float(LABEL_WIDTH)
    for i, part in enumerate(parts):
        body.append(f'<rect x="{x:.1f}" y="34" width="12" height="12" fill="{FILLS[i % 5]}" stroke="{SOFT}"/>')
        body.append(text(x + 18, 44, part))
        x += 34 + _text_width(part)
    for label, row in rows.items():
        x = LABEL_WIDTH
        body.append(text(14, top + 17, label))
        for part, size in row.items():
            body.append(_part(part, parts.index(part), x, top, size * scale))
            x += size * scale
        body.append(text(x + 10, top + 17, f"{_total(sum(row.values()))} {unit}", colour=INK))
        top += ROW_HEIGHT
    return Figure(svg(top + 6, title, description, "".join(body)), description)


def _total(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _part(name: str, i: int, x: float, y: float, width: float) -> str:
    fits = _text_width(name) + 6 <= width
    drawn = (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{CELL_HEIGHT}" fill="{FILLS[i % 5]}" stroke="{SOFT}"/>'
    )
    return drawn + (text(x + width / 2, y + 17, name, anchor="middle", colour=INK) if fits else "")


@dataclass(frozen=True)
class Span:
    """Something that lasts from a start to an end, with a short text and a colour by its number."""

    start: float
    end: float
    text: str = ""
    fill: int = 0


def timeline(title: str, description: str, rows: Mapping[str, Sequence[Span]], x_label: str = "minutes") -> Figure:
    """Rows of bars over one time axis, which starts at 0: a Gantt chart."""
    for label, spans in rows.items():
        _finite(f'row "{label}"', (n for span in spans for n in (span.start, span.end)), low=0)
        _finite(f'row "{label}", end - start', (span.end - span.start for span in spans), low=0)
    ticks = _ticks(max([0.0, *(span.end for spans in rows.values() for span in spans)]), most=8)
    left, right = LABEL_WIDTH + 14, WIDTH - 20

    def x(time: float) -> float:
        return left + (right - left) * time / ticks[-1]

    bottom = 34 + len(rows) * ROW_HEIGHT
    body = [text(14, 20, title, size=14, weight="bold")]
    for tick in ticks:
        body.append(f'<path d="M{x(tick):.1f} 30V{bottom}" stroke="{GRID}"/>')
        body.append(text(x(tick), bottom + 16, _number(tick), anchor="middle"))
    for top, (label, spans) in zip(range(34, bottom, ROW_HEIGHT), rows.items(), strict=True):
        body.append(text(14, top + 17, label, colour=INK))
        body += [_part(span.text, span.fill, x(span.start), top, x(span.end) - x(span.start)) for span in spans]
    body.append(text((left + right) / 2, bottom + 34, x_label, anchor="middle"))
    return Figure(svg(bottom + 44, title, description, "".join(body)), description)


def svg(height: int, title: str, description: str, body: str) -> str:
    if not title or not description:
        raise ValueError("a figure needs a title and a description")
    label = escape(f"{title}. {description}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{label}" font-family="{FONT}" font-size="12" style="max-width:100%;height:auto">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>{body}</svg>'
    )


def _span(rows: Sequence[Row]) -> tuple[float, float]:
    times = [t for row in rows for points in row.lines.values() for t, _ in points]
    return min(times), max(times)


def _x(t: float, span: tuple[float, float]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (t - span[0]) / ((span[1] - span[0]) or 1)


def _band(row: Row, span: tuple[float, float], top: int) -> str:
    """Grid, marks, lines and legend of one row."""
    marks = row.marks or {}
    highest = max([v for points in row.lines.values() for _, v in points] + list(marks.values()))
    ticks = _ticks(highest, most=5 if row.height > 100 else 2)

    def y(value: float) -> float:
        return top + 18 + (row.height - 18) * (1 - value / ticks[-1])

    parts = [_rule(y(tick), GRID) + text(LEFT - 6, y(tick) + 4, _number(tick), anchor="end") for tick in ticks]
    for name, level in marks.items():
        parts.append(_rule(y(level), SOFT, "4 3") + text(WIDTH - RIGHT, y(level) - 4, name, anchor="end"))
    for i, points in enumerate(row.lines.values()):
        parts.append(_path([(_x(t, span), y(v)) for t, v in points], i, row.steps))
    return text(LEFT, top + 10, row.label, colour=INK) + _legend(row, top + 10) + "".join(parts)


def _legend(row: Row, y: int) -> str:
    """A dash and a name for each line, right-aligned, when there is more than one."""
    names = list(row.lines) if len(row.lines) > 1 else []
    parts, x = [], WIDTH - RIGHT - sum(_text_width(name) + 46 for name in names) + 14
    for i, name in enumerate(names):
        parts.append(_path([(x, y - 4), (x + 26, y - 4)], i, steps=False))
        parts.append(text(x + 32, y, name, colour=COLOURS[i]))
        x += _text_width(name) + 46
    return "".join(parts)


def _drawable(row: Row) -> None:
    if not row.lines or not all(row.lines.values()) or len(row.lines) > len(DASHES):
        raise ValueError(f'row "{row.label}": must have 1 to {len(DASHES)} lines, each with a point')
    for name, points in row.lines.items():
        _finite(f'row "{row.label}", line "{name}"', (n for point in points for n in point))
    _finite(f'row "{row.label}", marks', (row.marks or {}).values())


def _finite(what: str, numbers: Iterable[object], low: float = -math.inf) -> None:
    for number in numbers:
        if not isinstance(number, int | float) or not low <= number < math.inf or abs(number) > LARGEST:
            raise ValueError(f"{what}: {number!r}: must be a finite number{'' if low < 0 else ', 0 or more'}")


def _text_width(text: str) -> float:
    """Width of a 12 px text, near enough to place what stands beside it."""
    return sum(4.2 if c in "fijlrt.,:;'|/() " else 10.5 if c in "mwMW%" else 7.4 for c in text)


def _x_axis(span: tuple[float, float], y: int, label: str) -> list[str]:
    ticks = [t for t in _ticks(span[1], most=7) if span[0] <= t <= span[1]]
    numbers = [text(_x(t, span), y + 16, _number(t), anchor="middle") for t in ticks]
    return [*numbers, text((LEFT + WIDTH - RIGHT) / 2, y + 34, label, anchor="middle")]


def _ticks(highest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 up to the highest value at least, in `most` steps or fewer."""
    rough = max(highest, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [step * i for i in range(max(1, math.ceil(highest / step - 1e-9)) + 1)]


def _number(value: float) -> str:
    return f"{value:g}"


def _path(points: Points, i: int, steps: bool) -> str:
    (x0, y0), *rest = points
    path, held = f"M{x0:.1f} {y0:.1f}", f"{y0:.1f}"
    for x, y in rest:
        if not steps:
            path += f"L{x:.1f} {y:.1f}"
        elif f"{y:.1f}" != held:  # a level is drawn once, however many points it has
            path, held = f"{path}H{x:.1f}V{y:.1f}", f"{y:.1f}"
    if steps:
        path += f"H{points[-1][0]:.1f}"
    dash = f' stroke-dasharray="{DASHES[i]}"' if DASHES[i] else ""
    return f'<path d="{path}" fill="none" stroke="{COLOURS[i]}" stroke-width="2"{dash}/>'


def _rule(y: float, colour: str, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{colour}"{dashes}/>'


def text(
    x: float, y: float, text: str, anchor: str = "start", size: int = 12, weight: str = "normal", colour: str = SOFT
) -> str:
    style = (f' font-size="{size}"' if size != 12 else "") + (f' font-weight="{weight}"' if weight != "normal" else "")
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{place}{style}>{escape(text)}</text>'
