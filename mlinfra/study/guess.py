"""A guess beside the answer: equal, how far off, or of another kind than the answer."""

from __future__ import annotations

import math
from typing import Any

from mlinfra.study import progress
from mlinfra.study.text import Text, folded

Value = int | float | str | bool
NO_GUESS = "No guess yet: replace the dots by your guess and run both cells."
KINDS = {"a number": "a number", "text": "text", "True or False": "a truth value"}


def reveal(guess: Any, answer: Value, what: str) -> Text:
    """The answer beside the reader's guess, which is remembered in a working copy; `...` stands for no guess."""
    answer = plain(answer)
    if guess is ...:
        return Text(f"{NO_GUESS}\n\n{folded('The answer', f'{_named(answer, what)}.')}")
    guess = plain(guess)
    said = _compared(guess, answer, what)
    if other_kind(guess, answer):
        return Text(said)
    entry = what, shown(guess), shown(answer), same(guess, answer)
    unwritten = progress.remember(lambda record, day: progress.with_guess(record, *entry, day))
    return Text(f"{said}\n\n{unwritten}".strip())


def _compared(guess: Value, answer: Value, what: str) -> str:
    """What to say of a guess."""
    if told := other_kind(guess, answer):
        return told
    if same(guess, answer):
        return f"{_named(answer, what)}, as you said."
    return f"{_named(answer, what)}. You said {shown(guess)}{_how_far(guess, answer)}."


def same(guess: Value, answer: Value) -> bool:
    """Equal as displayed; a text in any case and with any space around it."""
    if isinstance(guess, str) and isinstance(answer, str):
        return guess.strip().casefold() == answer.strip().casefold()
    return kind(guess) == kind(answer) and shown(guess) == shown(answer)


def kind(value: object) -> str:
    """What a reader calls the type of a value."""
    if isinstance(value, bool):
        return "True or False"
    return "a number" if isinstance(value, int | float) else "text" if isinstance(value, str) else type(value).__name__


def other_kind(guess: object, answer: object) -> str:
    """What to say of a guess of another kind than the answer, also that its value is right; empty when of the same."""
    given, expected = kind(guess), kind(answer)
    if given == expected:
        return ""
    quoted = f"“{guess}”" if isinstance(guess, str) else f"{guess!r}"
    right = " Your value is right." if _right_but_for_its_kind(guess, answer) else ""
    given = KINDS.get(given, f"of the type {given}")
    return f"{quoted} is {given}. The answer is {expected}{_instead(guess, answer)}.{right}"


def _instead(guess: object, answer: object) -> str:
    """How to write the guess, where quotes are all that is wrong."""
    if isinstance(guess, str) and _read(guess, answer) is not None:
        return f": write {guess.strip()} without quotes"
    return f': write "{guess}", in quotes' if isinstance(answer, str) and isinstance(guess, int | float) else ""


def _read(guess: str, answer: object) -> Value | None:
    """The text as a value of the answer's kind; None when it is none."""
    if isinstance(answer, bool):
        return {"true": True, "false": False}.get(guess.strip().casefold())
    try:
        return float(guess.replace(",", "")) if isinstance(answer, int | float) else None
    except ValueError:
        return None


def _right_but_for_its_kind(guess: object, answer: object) -> bool:
    """The guess is the answer, written as another type: "5" for 5, or 5 for "5"."""
    if isinstance(guess, str):
        value = _read(guess, answer)
        return value is not None and same(value, plain(answer))
    return isinstance(answer, str) and not isinstance(guess, bool) and same(shown(guess), answer)


def plain(value: Any) -> Any:
    """A number of numpy as Python's own; everything else as it is."""
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value


def shown(value: object) -> str:
    """A number as prose writes it, to six digits that count: 1,234.5; everything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or not math.isfinite(value) or value == 0:
        return f"{value:,g}" if isinstance(value, float) else f"{value:,}"
    digits = max(0, 5 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _named(answer: Value, what: str) -> str:
    """5 pods; a text or a truth value stands before a colon."""
    return f"{shown(answer)} {what}" if kind(answer) == "a number" else f"{shown(answer)}: {what}"


def _how_far(guess: Value, answer: Value) -> str:
    """How far a number is off, by a factor when that is large; empty for texts."""
    if isinstance(guess, str | bool) or isinstance(answer, str | bool) or not math.isfinite(guess - answer):
        return ""
    way, low, high = ("low" if guess < answer else "high"), *sorted((guess, answer))
    if low > 0 and high >= 20 and high / low >= 2:
        return f", which is too {way} by a factor of {shown(round(high / low, 1))}"
    return f", which is {shown(high - low)} too {way}"
