"""Views of the bank, all made of the same cards: nothing is written twice, and every number is computed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from random import Random

from mlinfra.interview.bank import RUBRIC, Card, Guess, bank, card
from mlinfra.study import Text

PARTS = (
    (("recall", "understand"), 5),
    (("apply",), 10),
    (("apply",), 10),
    (("diagnose",), 10),
    (("design",), 10),
)
"""A mock interview: levels and minutes of each part, 45 in all."""

CHAINS = {
    "capacity": ("concurrency-knobs", "fits-and-users", "llm-signal", "headroom", "slo-and-cost"),
    "placement": ("pod-gets-gpu", "pack-mig", "fragmentation", "gang-deadlock", "goodput"),
    "release": ("chart-rejected", "canary-by-hand", "rayservice-upgrade", "release-without-failures"),
    "pipeline": ("compiled-pipeline", "stale-retrain", "spot-or-not", "pipeline-release"),
}
"""Questions on one scenario, of rising level."""


def chain(name: str) -> list[Card]:
    """The cards of a chain, in order; ValueError names the chains there are."""
    if not isinstance(name, str) or name not in CHAINS:
        raise ValueError(f"chain: {name!r}: must be one of {', '.join(CHAINS)}")
    return [card(each) for each in CHAINS[name]]


def chain_questions(name: str) -> Text:
    """The questions of a chain, each with the number to commit to."""
    asked = [f"## {number}. {each.level}\n\n{each.question().text}" for number, each in enumerate(chain(name), 1)]
    return Text("\n\n".join([f"# One scenario: {name}", *asked]) + "\n")


def chain_answers(name: str) -> Text:
    """What strong answers to a chain contain, and the rubric."""
    return _answers(chain(name))


def _answers(cards: Sequence[Card]) -> Text:
    parts = ["# Strong answers"]
    for number, each in enumerate(cards, 1):
        points = "\n".join(f"- {point}" for point in each.strong_answer())
        parts.append(f"## {number}. {each.prompt}\n\n{each.known()}\n\n{points}")
        parts.append(f"The mistake: {each.slip()}\n\nThen they ask: {each.then()}")
    rubric = "\n".join(f"- {score}: {what}" for score, what in enumerate(RUBRIC))
    return Text("\n\n".join([*parts, f"## Score yourself\n\n{rubric}"]) + "\n")


# ----------------------------------------------------------------------------------------------------------- the mock


@dataclass(frozen=True)
class Mock:
    """Five questions with their minutes; you keep the clock."""

    parts: tuple[tuple[Card, int], ...]

    def questions(self) -> Text:
        """What the interviewer reads out, with the time at which each part begins."""
        said, begins = ["# A mock interview, 45 minutes"], 0
        for number, (asked, minutes) in enumerate(self.parts, 1):
            said.append(f"## {number}. From minute {begins}, {minutes} minutes: {asked.area}, {asked.level}")
            said.append(asked.question().text)
            if asked.moved:
                said.append(f"After five minutes: {asked.moved}")
            begins += minutes
        return Text("\n\n".join(said) + "\n")

    def answers(self) -> Text:
        """What strong answers contain, and the rubric."""
        return _answers([asked for asked, _ in self.parts])


def mock(seed: int) -> Mock:
    """A mock interview; the same seed gives the same questions, none of them twice."""
    if type(seed) is not int:
        raise ValueError(f"seed: {seed!r}: must be an integer")
    draw, parts = Random(seed), list[tuple[Card, int]]()
    for levels, minutes in PARTS:
        taken = [asked for asked, _ in parts]
        parts.append(
            (draw.choice([each for each in bank().values() if each.level in levels and each not in taken]), minutes)
        )
    return Mock(tuple(parts))


@dataclass(frozen=True)
class Attempt:
    """How one question went: the rubric's score, your number (`...` for none), and how sure you were, in percent."""

    card: Card
    score: int
    guess: Guess
    confidence: float

    def __post_init__(self) -> None:
        if not isinstance(self.card, Card):
            raise ValueError(f"card: {self.card!r}: must be a card, such as card({next(iter(bank()))!r})")
        if self.score not in range(len(RUBRIC)):
            raise ValueError(f"score: {self.score!r}: must be from 0 to {len(RUBRIC) - 1}")
        if not isinstance(self.confidence, int | float):
            raise ValueError(f"confidence: {self.confidence!r}: must be from 50 to 100, in percent")
        self.card.score(self.guess, self.confidence)  # which refuses a guess or a confidence that is none

    @property
    def right(self) -> bool:
        """A count that is exact, an estimate within a factor of 2."""
        return self.card.right(self.guess)


@dataclass(frozen=True)
class Result:
    """Points of the rubric, and how the confidence compares with the numbers that were right."""

    attempts: tuple[Attempt, ...]

    @property
    def points(self) -> int:
        return sum(attempt.score for attempt in self.attempts)

    @property
    def right(self) -> float:
        """Share of the numbers that were right."""
        return sum(attempt.right for attempt in self.attempts) / len(self.attempts)

    @property
    def sure(self) -> float:
        """Mean confidence, as a share."""
        return sum(attempt.confidence for attempt in self.attempts) / len(self.attempts) / 100

    @property
    def brier(self) -> float:
        """Mean square of confidence less outcome: 0 is perfect, 0.25 is what "50 %" to everything earns."""
        return sum((a.confidence / 100 - a.right) ** 2 for a in self.attempts) / len(self.attempts)

    def __str__(self) -> str:
        off = self.sure - self.right
        habit = "well calibrated" if abs(off) <= 0.15 else "too sure" if off > 0 else "not sure enough"
        return (
            f"{self.points} of {(len(RUBRIC) - 1) * len(self.attempts)} points; "
            f"{100 * self.right:.0f} % of the numbers right, {100 * self.sure:.0f} % sure on average: "
            f"{habit} (Brier score {self.brier:.2f})"
        )


def result(attempts: Sequence[Attempt]) -> Result:
    """The result of a mock interview; ValueError when nothing was answered."""
    if not attempts:
        raise ValueError("attempts: must be at least one")
    if wrong := [each for each in attempts if not isinstance(each, Attempt)]:
        raise ValueError(f"attempts: {wrong[0]!r}: must be an Attempt")
    return Result(tuple(attempts))


# ----------------------------------------------------------------------------------------------- paper and flash cards


def sheet() -> str:
    """All questions as one page of HTML to print: the questions first, then the answers."""
    rows = list(bank().values())
    asked = "".join(map(_asked, rows))
    told = "".join(_answer(number, each) for number, each in enumerate(rows, 1))
    rubric = "".join(f"<li>{escape(what)}</li>" for what in RUBRIC)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Interview questions</title><style>'
        "body{font:11pt/1.4 sans-serif;max-width:46em;margin:auto}li{break-inside:avoid;margin:.4em 0}"
        "section{break-inside:avoid}h1{break-before:page}h1:first-of-type{break-before:auto}</style>"
        f"<h1>{len(rows)} questions</h1><ol>{asked}</ol><h1>Strong answers</h1>{told}"
        f'<h1>The rubric</h1><ol start="0">{rubric}</ol></html>\n'
    )


def _asked(each: Card) -> str:
    estimate = f"<i>{escape(each.estimate)} ({each.tolerance})</i>"
    return f"<li><b>{escape(each.area)}</b> {escape(each.prompt)} {estimate}</li>"


def _answer(number: int, each: Card) -> str:
    points = "".join(f"<li>{escape(point)}</li>" for point in each.strong_answer())
    end = f"{escape(each.source)}, as of {escape(each.as_of)}"
    told = f"<p>{escape(each.known())}</p><ul>{points}</ul><p>The mistake: {escape(each.slip())}</p>"
    return f"<section><h2>{number}. {escape(each.prompt)}</h2>{told}<p><small>{end}</small></p></section>"


def flash_cards() -> str:
    """A CSV file that Anki imports: of each question the points, and the number by itself."""
    file = io.StringIO()
    file.write("#separator:Comma\n#html:true\n#notetype:Basic\n#columns:Front,Back,Tags\n#tags column:3\n")
    rows = csv.writer(file, lineterminator="\n")
    for each in bank().values():
        points = "".join(f"<li>{escape(point)}</li>" for point in each.strong_answer())
        tag = each.area.lower().replace(" ", "-")
        rows.writerow([escape(each.prompt), f"<ul>{points}</ul>", f"{tag} points"])
        number = f"{each.truth():g} {escape(each.unit)}"
        asked = f"{escape(each.prompt)}<br><br>{escape(each.estimate)} ({each.tolerance})"
        rows.writerow([asked, number, f"{tag} number"])
    return file.getvalue()
