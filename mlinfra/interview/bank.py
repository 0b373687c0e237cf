"""The interview bank: one file of questions, seen as cards. A number in an answer is computed, never typed."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from functools import cached_property, lru_cache, partial
from importlib.resources import files
from string import Formatter
from types import EllipsisType
from typing import Any

import yaml

from mlinfra.interview.computations import COMPUTATIONS, Numbers
from mlinfra.study import Listing, Text, progress
from mlinfra.study.guess import kind, other_kind, same, shown
from mlinfra.study.text import folded

RUBRIC = (
    "nothing",
    "names the mechanism",
    "the mechanism right, in order",
    "and the number (a count exactly, an estimate within a factor of 2), and one real trade-off",
    "and the failure mode, how to observe it, and what would change the decision",
)
Guess = float | EllipsisType
NO_NUMBER = "Commit to a number first: replace the dots by your guess and how sure you are, and run the cell."


@dataclass(frozen=True, repr=False)
class Card:
    """One question; `points`, `mistake` and `follow_ups` may name in braces what its computation names.

    The computation is the function in `computations/` that is named after the id. A question of design has a
    constraint that is `moved` while you answer. The number of an `exact` card is a count, not an estimate.
    """

    id: str
    area: str
    level: str
    prompt: str
    estimate: str
    unit: str
    points: tuple[str, ...]
    mistake: str
    follow_ups: tuple[str, str]
    source: str
    as_of: str
    moved: str = ""
    exact: bool = False

    def __post_init__(self) -> None:
        if self.id not in COMPUTATIONS:
            raise ValueError(f"{self.id}: must have a computation, a function of that name in interview/computations")

    def __repr__(self) -> str:
        return f"{self.id}: {self.prompt}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return self.question()._repr_mimebundle_()

    def question(self) -> Text:
        """The prompt, and the number to commit to."""
        sure = f"And how sure are you that it is {self.tolerance}, from 50 to 100 %?"
        return Text(f"**{self.prompt}**\n\nYour number: {self.estimate} {sure}")

    def computation(self) -> Listing:
        """The source of the function that computes the numbers, folded, so that it does not tell."""
        function = COMPUTATIONS[self.id]
        return Listing(
            f"The computation, from {function.__module__}", "python", inspect.getsource(function), folded=True
        )

    def numbers(self) -> dict[str, Any]:
        """The numbers that the prose fills in, by their names."""
        return dict(self._computed.named)

    def truth(self) -> float:
        """The number asked for."""
        return float(self._computed.answer)

    @cached_property
    def _computed(self) -> Numbers:
        """An answer needs them a dozen times, and some computations take a second."""
        return COMPUTATIONS[self.id]()

    @property
    def tolerance(self) -> str:
        """How near a number must be to be right."""
        return "exactly right" if self.exact else "within a factor of 2"

    def answer(self, guess: Any = ..., confidence: Any = ...) -> Text:
        """The score of the guess, and folded below it the points of a strong answer; without a guess all is folded."""
        if guess is ...:
            return Text(f"{NO_NUMBER}\n\n{folded('The number and a strong answer', self._told(self.known()))}")
        if wrong_type := other_kind(guess, self.truth()):
            return Text(f"{wrong_type}\n\n{folded('The number and a strong answer', self._told(self.known()))}")
        score = self.score(guess, confidence)
        unwritten = progress.remember(partial(self.remembered, guess))
        said = "\n\n".join(filter(None, [score, unwritten]))
        return Text(f"{said}\n\n{folded('A strong answer contains', self._told())}")

    def _told(self, *first: str) -> str:
        """Everything that a strong answer contains, and the rubric."""
        points = "\n".join(f"{i}. {point}" for i, point in enumerate(self.strong_answer(), 1))
        rubric = "\n".join(f"- {score}: {what}" for score, what in enumerate(RUBRIC))
        mistake, follow_ups = f"**The tempting mistake.** {self.slip()}", f"**Then they ask.** {self.then()}"
        source = f"Source: {self.source}, as of {self.as_of}."
        return "\n\n".join([*first, points, mistake, follow_ups, f"**Score yourself.**\n\n{rubric}", source])

    def remembered(self, guess: float, record: progress.Record, day: date) -> progress.Record:
        """The record with this try at the card."""
        return progress.with_card(record, self.id, shown(guess), self.right(guess), day)

    def strong_answer(self) -> tuple[str, ...]:
        """The points with their numbers filled in."""
        return tuple(_filled(point, self.numbers()) for point in self.points)

    def slip(self) -> str:
        """The tempting mistake, with its numbers filled in."""
        return _filled(self.mistake, self.numbers())

    def then(self) -> str:
        """The two questions that follow."""
        return _filled(" ".join(self.follow_ups), self.numbers())

    def known(self) -> str:
        """The computed number in a sentence."""
        return f"It is {self.truth():,g} {self.unit}."

    def off(self, guess: Guess) -> float:
        """How many doublings lie between the guess and the computed number; infinity for none."""
        return math.inf if isinstance(guess, EllipsisType) or not guess else abs(math.log2(guess / self.truth()))

    def right(self, guess: Guess) -> bool:
        """A count is right when it is exact, an estimate when it is within a factor of 2."""
        return not isinstance(guess, EllipsisType) and (
            same(guess, self.truth()) if self.exact else self.off(guess) <= 1
        )

    def score(self, guess: Guess, confidence: Guess = ...) -> str:
        """The guess beside the computed number: exact or not, or the factor between them."""
        sure = _sure(confidence)
        if isinstance(guess, EllipsisType):
            return f"{self.known()} (You gave no number.)"
        if kind(guess) != "a number" or not 0 <= guess < math.inf:
            raise ValueError(f"guess: {guess!r}: must be a number, 0 or greater")
        return f"{self.known()} You said {guess:,g}: {self._verdict(guess)}{sure}."

    def _verdict(self, guess: float) -> str:
        """How near the guess is."""
        if self.exact:
            return "exactly right" if self.right(guess) else "not right, for this number must be exact"
        off = self.off(guess)
        if off <= 1:
            return "excellent" if off <= 0.3 else "within a factor of 2"
        return f"off by a factor of {2**off:,.1f}" if off < math.inf else "not it"


def _sure(confidence: Any) -> str:
    """How sure the reader was; empty for `...`, and ValueError for what is no percentage from 50 to 100."""
    if confidence is ...:
        return ""
    if kind(confidence) != "a number" or not 50 <= confidence <= 100:
        raise ValueError(f"confidence: {confidence!r}: must be from 50 to 100, in percent")
    return f", and you were {confidence:g} % sure"


class _Prose(Formatter):
    """Numbers as prose writes them: 33 %, and a list without its brackets."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, list):
            return ", ".join(str(item) for item in value)
        return re.sub(r"\s*%", " %", str(format(value, format_spec)))


def _filled(text: str, numbers: Mapping[str, Any]) -> str:
    return _Prose().vformat(text, (), numbers)


@lru_cache(maxsize=1)
def bank() -> dict[str, Card]:
    """Every card by its id, in the order of the file."""
    return _cards(files("mlinfra").joinpath("questions.yaml").read_text("utf-8"))


def _cards(text: str) -> dict[str, Card]:
    """The cards of the file's text; ValueError names the row that is torn, and what is wrong with it."""
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"questions.yaml: must be YAML: {error}") from error
    if not isinstance(rows, list):
        raise ValueError("questions.yaml: must be a list of questions")
    cards: dict[str, Card] = {}
    for number, row in enumerate(rows, 1):
        if wrong := _torn(row):
            raise ValueError(f"questions.yaml: question {number}: {wrong}")
        if row["id"] in cards:
            raise ValueError(f"questions.yaml: question {number}: id: there are two of {row['id']!r}")
        cards[row["id"]] = Card(**row | {"points": tuple(row["points"]), "follow_ups": tuple(row["follow_ups"])})
    return cards


def _torn(row: object) -> str:
    """The first thing that is wrong with a row; empty when it is whole."""
    if not isinstance(row, dict):
        return "must be a map"
    for known in fields(Card):
        value, lists = row.get(known.name), known.name in ("points", "follow_ups")
        if known.name not in row and known.name not in ("moved", "exact"):
            return f"{known.name}: is missing"
        if known.name == "exact" and not isinstance(row.get("exact", False), bool):
            return "exact: must be true or false"
        if known.name in row and known.name != "exact" and not (_texts(value) if lists else isinstance(value, str)):
            return f"{known.name}: must be {'a list of texts' if lists else 'a text'}"
    unknown = row.keys() - {known.name for known in fields(Card)}
    return f"{min(map(str, unknown))}: unknown field" if unknown else ""


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def card(name: str) -> Card:
    """The card of that id; ValueError names the ids there are."""
    if not isinstance(name, str) or name not in bank():
        raise ValueError(f"card: {name!r}: must be one of {', '.join(bank())}")
    return bank()[name]
