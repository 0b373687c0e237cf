"""A reader's own traffic: requests in bins of equal length, from CSV or from an answer of Prometheus.

A value is a `count` of requests in the interval that begins at its time, a `rate` in requests a second over that
interval, or a `counter` that grows and starts again from zero when a process restarts.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

from mlinfra.documents import name_of, parse, read_text

KINDS = ("count", "rate", "counter")
MOST_BINS, MOST_REQUESTS = 5_000_000, 20_000_000
RATE_NAMES = ("rate", "rps", "qps", "per_second", "per second", "/s")
MILLISECONDS = 1e11
"""Unix times from here on are milliseconds: as seconds this is the year 5138."""


NO_ZONE = timezone(timedelta(0), "no zone")


class Point(NamedTuple):
    """A value at a time in Unix seconds, and where it stands in the file."""

    at_s: float
    value: float
    where: str


@dataclass(frozen=True)
class RequestCounts:
    """Whole requests by bin; `notes` say what was guessed, and what was missing."""

    counts: tuple[int, ...]
    bin_s: float
    start: datetime
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return len(self.counts) * self.bin_s

    @property
    def requests(self) -> int:
        return sum(self.counts)

    def rates_per_s(self) -> list[float]:
        return [count / self.bin_s for count in self.counts]


@dataclass(frozen=True)
class Series:
    """One column or one series: its name, its points, and the first time as the file has it, with its zone."""

    name: str
    points: list[Point]
    start: datetime
    notes: tuple[str, ...] = ()


def load(source: str | Path | IO[str] | IO[bytes], kind: str = "", series: str = "") -> RequestCounts:
    """The traffic of a file or stream; the kind of its values is guessed unless given. ValueError in one sentence."""
    name = name_of(source)
    return loads(read_text(source), kind, series, name)


def loads(text: str, kind: str = "", series: str = "", name: str = "text") -> RequestCounts:
    """The traffic of a text; `series` is a part of the name of the one that is meant, where there are several."""
    if kind and kind not in KINDS:
        raise ValueError(f'kind: "{kind}": must be one of {", ".join(KINDS)}')
    if not text.strip():
        raise ValueError(f"{name}: is empty")
    read = _prometheus if text.lstrip().startswith("{") else _csv
    try:
        return binned(_the_one(read(text), series), kind)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _the_one(several: list[Series], part: str) -> Series:
    """The series whose name has this part; without one there may be but one."""
    matching = [each for each in several if part in each.name]
    if len(matching) == 1:
        return matching[0]
    names = "; ".join(each.name for each in (matching or several)[:5])
    what = f'{len(matching)} series match "{part}"' if part else f"holds {len(several)} series"
    raise ValueError(f"{what}, one is needed: name it by a part of its name: {names}")


# ------------------------------------------------------------------------------------------------------------ formats


def _prometheus(text: str) -> list[Series]:
    """The series of an answer to `query_range`."""
    (answer,) = parse(text)
    if answer.get("status") == "error":
        raise ValueError(f"Prometheus answered {answer.get('errorType')}: {answer.get('error')}")
    data = answer.get("data")
    if not isinstance(data, dict) or data.get("resultType") != "matrix":
        raise ValueError("is no matrix of Prometheus: ask /api/v1/query_range for a time range")
    if not isinstance(data.get("result"), list) or not data["result"]:
        raise ValueError("has no series: the query matched nothing in its time range")
    return [_matrix_series(each, i) for i, each in enumerate(data["result"])]


def _matrix_series(result: Any, i: int) -> Series:
    try:
        labels = dict(result["metric"])
        pairs = [(str(at_s), str(value)) for at_s, value in result["values"]]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f'result[{i}]: must have "metric" and "values" of [time, "value"]') from None
    metric = labels.pop("__name__", "")
    name = metric + "{" + ", ".join(f'{key}="{text}"' for key, text in labels.items()) + "}"
    places = [f"result[{i}].values[{k}]" for k in range(len(pairs))]
    points = [
        Point(_time(at_s, where).timestamp(), _number(value, where), where)
        for (at_s, value), where in zip(pairs, places, strict=True)
    ]
    return Series(name, points, _moment(points[0].at_s if points else 0.0))


def _csv(text: str) -> list[Series]:
    """One series for each column after that of the times; empty values are gaps."""
    head = text.lstrip().splitlines()[0]
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"is no CSV: {error}") from None
    stripped = [[cell.strip() for cell in row] for row in rows]
    lines = [(number, row) for number, row in enumerate(stripped, 1) if any(row)]
    if not lines:
        raise ValueError("has empty cells and no values")
    first = lines[0][1]
    names = [f"column {i}" for i in range(1, len(first) + 1)]
    if not _is_time(first[0]):
        names, lines = first, lines[1:]
    if len(names) < 2:
        raise ValueError("line 1: must have two columns, a time and a value")
    if not lines:
        raise ValueError("has a header and no values")
    return [_column(names[i], i, lines) for i in range(1, len(names))]


def _column(name: str, i: int, lines: Sequence[tuple[int, Sequence[str]]]) -> Series:
    points, notes = [], []
    start = _time(lines[0][1][0], f"line {lines[0][0]}")
    for number, row in lines:
        where = f"line {number}"
        if len(row) <= i:
            raise ValueError(f"{where}: has no value in column {i + 1}")
        if row[i]:
            points.append(Point(_time(row[0], where).timestamp(), _number(row[i], where), where))
    if start.tzinfo is NO_ZONE:
        start = start.replace(tzinfo=UTC)
        notes.append("its times have no zone and are taken as UTC")
    return Series(name, points, start, tuple(notes))


def _is_time(text: str) -> bool:
    try:
        _time(text, "")
    except ValueError:
        return False
    return True


def _time(text: str, where: str) -> datetime:
    """A time in ISO 8601, or Unix seconds or milliseconds."""
    try:
        return _moment(float(text))
    except (ValueError, OverflowError, OSError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'{where}: time: "{text[:40]}": must be ISO 8601 or Unix seconds') from None
    if not 1 < moment.year < 9999:  # a zone or an hour more would leave the calendar
        raise ValueError(f'{where}: time: "{text}": must be a time of our days')
    return moment if moment.tzinfo else moment.replace(tzinfo=NO_ZONE)


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix / 1000 if unix >= MILLISECONDS else unix, UTC)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f'{where}: value: "{text[:40]}": must be a number') from None
    if not 0 <= value < math.inf:
        raise ValueError(f"{where}: value: {text}: must be a finite number, 0 or more")
    return value


# --------------------------------------------------------------------------------------------------------------- bins


def binned(series: Series, kind: str = "") -> RequestCounts:
    """The points as whole requests in bins as long as the usual step between them."""
    points, notes = series.points, list(series.notes)
    _check_order(points)
    if not kind:
        kind, why = guessed_kind(series)
        notes.append(f"its values are read as {kind}: {why}")
    step_s = _usual_step_s(points)
    bins = max(1, round((points[-1].at_s - points[0].at_s) / step_s) + (kind != "counter"))
    if bins > MOST_BINS:
        raise ValueError(f"spans {bins:,} steps of {step_s:g} s: at most {MOST_BINS:,} are read")
    if kind == "counter":
        amounts = _increases(points, step_s, bins, notes)
    else:
        amounts = _values(points, step_s, bins, 1 if kind == "count" else step_s, notes)
    if sum(amounts) > MOST_REQUESTS:
        raise ValueError(f"holds {sum(amounts):,.0f} requests: at most {MOST_REQUESTS:,} are read")
    return RequestCounts(tuple(whole(amounts)), step_s, series.start, tuple(notes))


def _check_order(points: Sequence[Point]) -> None:
    if len(points) < 2:
        raise ValueError("has fewer than two values")
    for before, after in pairwise(points):
        if after.at_s == before.at_s:
            raise ValueError(f"{after.where}: has the same time as {before.where}")
        if after.at_s < before.at_s:
            raise ValueError(f"{after.where}: is earlier than {before.where}: sort the file by time")


def guessed_kind(series: Series) -> tuple[str, str]:
    """What the values are, and the reason for the guess."""
    name, values = series.name.lower(), [point.value for point in series.points]
    if any(part in name for part in RATE_NAMES):
        return "rate", f'so its name says, "{series.name}"'
    if any(value != int(value) for value in values):
        return "rate", "they are not whole"
    rises = sum(after > before for before, after in pairwise(values))
    falls = sum(after < before for before, after in pairwise(values))
    if name.partition("{")[0].endswith("_total") or (rises > 10 and falls <= rises / 100):
        return "counter", "they grow"
    return "count", "they are whole numbers that rise and fall"


def _usual_step_s(points: Sequence[Point]) -> float:
    """The most common step, to the millisecond."""
    steps = Counter(round(after.at_s - before.at_s, 3) for before, after in pairwise(points))
    step_s, _ = max(steps.items(), key=lambda item: (item[1], -item[0]))
    return max(step_s, 0.001)


def _values(points: Sequence[Point], step_s: float, bins: int, factor: float, notes: list[str]) -> list[float]:
    """Each value in the bin of its time; a bin without one has no requests."""
    amounts = [0.0] * bins
    owner = [""] * bins
    for point in points:
        i = round((point.at_s - points[0].at_s) / step_s)
        if owner[i]:
            raise ValueError(f"{point.where}: is less than a step of {step_s:g} s after {owner[i]}")
        amounts[i], owner[i] = point.value * factor, point.where
    if missing := owner.count(""):
        notes.append(f"{missing} of {bins} values are missing and count as no requests")
    return amounts


def _increases(points: Sequence[Point], step_s: float, bins: int, notes: list[str]) -> list[float]:
    """What the counter grew by, spread evenly over the bins between two of its values."""
    amounts, resets, wide = [0.0] * bins, 0, 0
    for before, after in pairwise(points):
        resets += after.value < before.value
        increase = after.value - before.value if after.value >= before.value else after.value
        first = min(bins - 1, round((before.at_s - points[0].at_s) / step_s))
        last = max(first + 1, min(bins, round((after.at_s - points[0].at_s) / step_s)))
        wide += last - first > 1
        for i in range(first, last):
            amounts[i] += increase / (last - first)
    if resets:
        notes.append(f"counter resets: {resets}; after each it counts from zero")
    if wide:
        notes.append(f"gaps: {wide}; what the counter counted in them is spread evenly")
    return amounts


def whole(amounts: Sequence[float]) -> list[int]:
    """Whole numbers with the same sum, to less than one: what is cut off is carried to the next."""
    counts, total, counted = [], 0.0, 0
    for amount in amounts:
        total += amount
        counts.append(int(total + 1e-9) - counted)
        counted += counts[-1]
    return counts
