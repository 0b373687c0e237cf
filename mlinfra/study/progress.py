"""What the reader did, remembered beside the notebooks of a working copy; elsewhere nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

LEDGER, FILE = ".copied.json", "progress.json"
DAYS = (1, 3, 7, 16, 35)
"""A Leitner ladder: days until a card is due again, after one right answer, two, and so on."""

FIELDS = {
    "guesses": {"guess": str, "answer": str, "right": bool, "on": str},
    "exercises": {"right": bool, "on": str},
    "cards": {"guess": str, "right": bool, "on": str, "rung": int, "due": str},
}
"""What is remembered: of a guess by its `what`, of an exercise by its name, of a card by its id."""

Record = dict[str, dict[str, dict[str, Any]]]


def empty() -> Record:
    """Nothing remembered yet."""
    return {part: {} for part in FIELDS}


def with_guess(record: Record, what: str, guess: str, answer: str, right: bool, day: date) -> Record:
    """The record with the latest guess at this number."""
    return _with(record, "guesses", what, {"guess": guess, "answer": answer, "right": right, "on": day.isoformat()})


def with_exercise(record: Record, name: str, right: bool, day: date) -> Record:
    """The record with the exercise; one that was right once stays right."""
    right = right or record["exercises"].get(name, {}).get("right", False)
    return _with(record, "exercises", name, {"right": right, "on": day.isoformat()})


def with_card(record: Record, name: str, guess: str, right: bool, day: date) -> Record:
    """The record with the card one rung up; wrong goes back to the first, and before the due date nothing climbs."""
    before = record["cards"].get(name)
    if right and before and day.isoformat() < before["due"]:
        return record
    rung = min(before["rung"] + 1 if right and before and before["right"] else 0, len(DAYS) - 1)
    due = day + timedelta(days=DAYS[rung])
    entry = {"guess": guess, "right": right, "on": day.isoformat(), "rung": rung, "due": due.isoformat()}
    return _with(record, "cards", name, entry)


def due(record: Record, names: Iterable[str], day: date) -> list[str]:
    """The cards of these names that are due on this day, in their order; a card never tried is not due."""
    cards = record["cards"]
    return [name for name in names if name in cards and cards[name]["due"] <= day.isoformat()]


def next_due(record: Record, names: Iterable[str]) -> str:
    """The day on which the first of these cards is due; empty when none was tried."""
    cards = record["cards"]
    return min((cards[name]["due"] for name in names if name in cards), default="")


def _with(record: Record, part: str, key: str, entry: dict[str, Any]) -> Record:
    return {**record, part: {**record[part], key: entry}}


# ------------------------------------------------------------------------------------------------------------- the edge


def place() -> Path | None:
    """The file of the kernel's folder, which is a working copy when the ledger of copies lies there."""
    return Path.cwd() / FILE if Path(LEDGER).is_file() else None


def load(path: Path) -> Record:
    """What the file remembers; ValueError when it is torn, or is not this course's."""
    try:
        record = json.loads(path.read_text("utf-8")) if path.exists() else empty()
    except ValueError as error:
        raise ValueError(_refused(path, "it is torn")) from error
    if not _whole(record):
        raise ValueError(_refused(path, "it was not written by this course"))
    return dict(record)


def _refused(path: Path, why: str) -> str:
    return f"{path} cannot be read: {why}. It is left as it is, and nothing is remembered until you move it away."


def _whole(record: object) -> bool:
    """Every part and every field is there, of its type, and the days are days."""
    return isinstance(record, dict) and record.keys() == FIELDS.keys() and all(_part(record[p], p) for p in FIELDS)


def _part(entries: object, part: str) -> bool:
    return isinstance(entries, dict) and all(_entry(entry, FIELDS[part]) for entry in entries.values())


def _entry(entry: object, types: dict[str, type]) -> bool:
    if not isinstance(entry, dict) or {key: type(value) for key, value in entry.items()} != types:
        return False
    return entry.get("rung", 0) in range(len(DAYS)) and all(_day(entry[key]) for key in ("on", "due") if key in entry)


def _day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def save(path: Path, record: Record) -> None:
    """The whole file at once: a reader sees the old one or the new one."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def remember(change: Callable[[Record, date], Record], path: Path | None = None) -> str:
    """Change the record on today's date; empty, or a sentence that says why nothing is remembered."""
    path = path or place()
    try:
        if path is not None:
            save(path, change(load(path), date.today()))
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}. Nothing is remembered."
    except ValueError as error:
        return str(error)
    return ""
