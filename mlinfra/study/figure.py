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

from mlinfra.study.offer import in_browser

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
        """The description, the SVG under a private type, and the PNG that every viewer can show.

        In a browser there is nothing that draws a PNG, and the page shows the SVG itself.
        """
        still = {"text/plain": self.description, MIME: self.svg}
        if in_browser():
            return {**still, "text/html": self.svg}
        return {**still, "image/png": base64.b64encode(self.png()).decode()}

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        bundle = self.bundle()
        return bundle, {"image/png": {"width": WIDTH}} if "image/png" in bundle else {}


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
    """One band of a figure: a y axis, named lines, and level marks such as a target or a limit.

    With `top` the y axis ends there, at the next round number, whatever the values are.
    """

    label: str
    lines: Mapping[str, Points]
    marks: Mapping[str, float] | None = None
    steps: bool = True
    height: int = 130
    top: float | None = None


def steps(
    title: str,
    description: str,
    *rows: Row,
    x_label: str = "minutes",
    x_names: Mapping[float, str] | None = None,
) -> Figure:
    """Bands over one time axis, drawn as steps where a value holds until the next one.

    With `x_names` these stand on the axis, each at its place, instead of round numbers.
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
    body += _x_axis(span, top - 26, x_label, x_names)
    return Figure(svg(top + 22, title, description, "".join(body)), description)


def svg(height: int, title: str, description: str, body: str) -> str:
    if not title or not description:
        raise ValueError("a figure needs a title and a description")
    label = escape(f"{title}. {description}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{label}" font-family="{FONT}" font-size="12" fill="{SOFT}" '
        f'style="max-width:100%;height:auto"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>{body}</svg>'
    )


def _span(rows: Sequence[Row]) -> tuple[float, float]:
    times = [t for row in rows for points in row.lines.values() for t, _ in points]
    return min(times), max(times)


def _x(t: float, span: tuple[float, float]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (t - span[0]) / ((span[1] - span[0]) or 1)


def _band(row: Row, span: tuple[float, float], top: int) -> str:
    """Grid, lines, and above them the names of marks and lines."""
    marks = row.marks or {}
    ticks = axis_ticks(row.top or max(_values(row)), most=5 if row.height > 100 else 2)

    def y(value: float) -> float:
        return top + 18 + (row.height - 18) * (1 - value / ticks[-1])

    parts = [_rule(y(tick), GRID) + text(LEFT - 6, y(tick) + 4, tick_label(tick), anchor="end") for tick in ticks]
    parts += [_rule(y(level), SOFT, "4 3") for level in marks.values()]
    for i, points in enumerate(row.lines.values()):
        parts.append(_path([(_x(t, span), y(v)) for t, v in points], i, row.steps))
    names = _mark_names({name: y(level) for name, level in marks.items()}, top + 10)
    return text(LEFT, top + 10, row.label, colour=INK) + "".join(parts) + names + _legend(row, top + 10)


def _values(row: Row) -> list[float]:
    return [v for points in row.lines.values() for _, v in points] + list((row.marks or {}).values())


def _mark_names(marks: Mapping[str, float], above: float) -> str:
    """Each name above its mark; below it where the legend or another name is too near."""
    parts = []
    for name, y in sorted(marks.items(), key=lambda mark: mark[1]):
        above = y - 4 if y - 4 >= above + 13 else max(y + 12, above + 13)
        parts.append(text(WIDTH - RIGHT, above, name, anchor="end", halo=True))
    return "".join(parts)


def _legend(row: Row, y: int) -> str:
    """A dash and a name for each line, right-aligned, when there is more than one."""
    names = list(row.lines) if len(row.lines) > 1 else []
    parts, x = [], WIDTH - RIGHT - sum(text_width(name) + 46 for name in names) + 14
    for i, name in enumerate(names):
        parts.append(_path([(x, y - 4), (x + 26, y - 4)], i, steps=False))
        parts.append(text(x + 32, y, name, colour=COLOURS[i], halo=True))
        x += text_width(name) + 46
    return "".join(parts)


def _drawable(row: Row) -> None:
    if not row.lines or not all(row.lines.values()) or len(row.lines) > len(DASHES):
        raise ValueError(f'row "{row.label}": must have 1 to {len(DASHES)} lines, each with a point')
    for name, points in row.lines.items():
        finite(f'row "{row.label}", line "{name}"', (n for point in points for n in point))
    finite(f'row "{row.label}", marks', (row.marks or {}).values())
    fits(f'row "{row.label}"', _values(row), row.top)


def finite(what: str, numbers: Iterable[object], low: float = -math.inf) -> None:
    for number in numbers:
        if not isinstance(number, int | float) or not low <= number < math.inf or abs(number) > LARGEST:
            raise ValueError(f"{what}: {number!r}: must be a finite number{'' if low < 0 else ', 0 or more'}")


def fits(what: str, numbers: Iterable[float], top: float | None) -> None:
    """ValueError for a number above the fixed end of its axis, and for an end that is not above 0."""
    if top is None:
        return
    finite(f"{what}, end of the axis", [top])
    if top <= 0:
        raise ValueError(f"{what}, end of the axis: {top!r}: must be above 0")
    for number in numbers:
        if number > top * (1 + 1e-9):
            raise ValueError(f"{what}: {number!r}: must be at most {top!r}, the end of the axis")


def text_width(text: str) -> float:
    """Width of a 12 px text, near enough to place what stands beside it."""
    return sum(4.2 if c in "fijlrt.,:;'|/() " else 10.5 if c in "mwMW%" else 7.4 for c in text)


def _x_axis(span: tuple[float, float], y: int, label: str, names: Mapping[float, str] | None) -> list[str]:
    named = names or {tick: tick_label(tick) for tick in axis_ticks(span[1], most=7)}
    within = {t: name for t, name in named.items() if span[0] <= t <= span[1]}
    numbers = [text(_x(t, span), y + 16, name, anchor="middle") for t, name in within.items()]
    return [*numbers, text((LEFT + WIDTH - RIGHT) / 2, y + 34, label, anchor="middle")]


def axis_ticks(highest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 up to the highest value at least, in `most` steps or fewer."""
    rough = max(highest, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    return [step * i for i in range(max(1, math.ceil(highest / step - 1e-9)) + 1)]


def tick_label(value: float) -> str:
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


HALO = ' stroke="#ffffff" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'


def text(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    colour: str = SOFT,
    halo: bool = False,
) -> str:
    """A line of text; with a halo it stays readable on a line."""
    style = (f' font-size="{size}"' if size != 12 else "") + (f' font-weight="{weight}"' if weight != "normal" else "")
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    fill = f' fill="{colour}"' if colour != SOFT else ""
    return f'<text x="{_short(x)}" y="{_short(y)}"{fill}{place}{style}{HALO * halo}>{escape(text)}</text>'


def _short(number: float) -> str:
    """To a tenth of a pixel, without a zero at the end."""
    return f"{round(number, 1):g}"
