"""What to review: at the end of a notebook, and at a terminal the cards that are due."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

from mlinfra.interview.bank import Card, bank
from mlinfra.study import Text, progress
from mlinfra.study.progress import Record

AREAS = {
    "01": "KServe",
    "02": "Ray Serve",
    "03": "Kubeflow Pipelines",
    "04": "GPU scheduling",
    "05": "Autoscaling",
    "06": "Helm",
}
"""The area of the cards that stand in each notebook."""

NOT_A_COPY = (
    "This is not a working copy, so nothing is remembered here. `make lab` opens copies of your own, which remember "
    "guesses, exercises and cards, and then this cell says what to review."
)
Ask = Callable[[str], str]


def review(notebook: str) -> Text:
    """What to review of a notebook such as "01"; outside a working copy, how to open one."""
    if notebook not in AREAS:
        raise ValueError(f"review: {notebook!r}: must be one of {', '.join(AREAS)}, as text")
    path = progress.place()
    if path is None:
        return Text(NOT_A_COPY)
    try:
        record = progress.load(path)
    except ValueError as error:
        return Text(str(error))
    return Text(what_to_review(record, notebook, _code(path.parent, notebook), date.today()))


def what_to_review(record: Record, notebook: str, code: str, day: date) -> str:
    """Guesses that were off, exercises not yet right, and cards to try, of the notebook with this code."""
    names = [card.id for card in bank().values() if card.area == AREAS[notebook]]
    untried = [name for name in names if name not in record["cards"]]
    parts = {
        "Guesses that were off": _wrong_guesses(record, code),
        "Exercises not yet right": _open_exercises(record, code),
        "Cards that are due": [f"`{name}`" for name in progress.due(record, names, day)],
        "Cards not tried yet": [f"`{name}`" for name in untried],
    }
    lists = [f"**{title}**\n\n" + "\n".join(f"- {row}" for row in rows) for title, rows in parts.items() if rows]
    first = progress.next_due(record, names)
    later = f"The next card is due on {first}." if first > day.isoformat() else ""
    return "\n\n".join([*(lists or ["Nothing to review today."]), *filter(None, [later])])


def _wrong_guesses(record: Record, code: str) -> list[str]:
    """The guesses of the notebook that were off, each with the answer."""
    return [
        f"{what}: you said {entry['guess']}, the answer is {entry['answer']}"
        for what, entry in record["guesses"].items()
        if not entry["right"] and what in code
    ]


def _open_exercises(record: Record, code: str) -> list[str]:
    """The exercises that the notebook checks and that were not right yet, by their names."""
    names = [name.replace("_", "-") for name in re.findall(r"(\w+)\.check\(answer\)", code)]
    done = {name for name, entry in record["exercises"].items() if entry["right"]}
    return [f"`{name}`" for name in dict.fromkeys(names) if name not in done]


def _code(folder: Path, notebook: str) -> str:
    """The code of the reader's copies of the notebook; a file that is no notebook is passed over."""
    texts = []
    for path in sorted(folder.glob(f"{notebook}_*.ipynb")):
        try:
            cells = json.loads(path.read_text("utf-8"))["cells"]
            texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        except (ValueError, KeyError, TypeError):
            continue
    return "\n".join(texts)


# ------------------------------------------------------------------------------------------------------ at a terminal


def at_a_terminal(path: Path) -> int:
    """Ask the due cards one by one; without a terminal list them. 1 when the file cannot be read."""
    try:
        record = progress.load(path)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    day = date.today()
    cards = [bank()[name] for name in progress.due(record, bank(), day)]
    print(summary(record, day))
    if not sys.stdin.isatty():
        print("\n".join(f"  {card.id}: {card.prompt}" for card in cards), end="\n" if cards else "")
        return 0
    try:
        for card in cards:
            _ask(card, path, input)
    except (EOFError, KeyboardInterrupt):
        print("\nThe rest stays due.")
    return 0


def summary(record: Record, day: date) -> str:
    """How many cards are due, when the next one is, and how many were never tried."""
    due = progress.due(record, bank(), day)
    untried = sum(name not in record["cards"] for name in bank())
    first = progress.next_due(record, bank())
    later = f" The next one is due on {first}." if not due and first else ""
    open_them = " Try cards in your copies of the notebooks: make lab." if not record["cards"] else ""
    return f"Cards that are due: {len(due) or 'none'}.{later} Not tried yet: {untried} of {len(bank())}.{open_them}"


def _ask(card: Card, path: Path, ask: Ask) -> None:
    """One card: the question, the reader's number, the answer, and when it is due again."""
    print(f"\n{card.id}\n\n{card.prompt}\n\nYour number: {card.estimate} It must be {card.tolerance}.")
    guess = _number(ask)
    if guess is None:
        print("Passed over; it stays due.")
        return
    print(f"\n{card.score(guess)}\n")
    print("\n".join(f"{i}. {point}" for i, point in enumerate(card.strong_answer(), 1)))
    print(f"\nThe tempting mistake. {card.slip()}\n")
    print(progress.remember(partial(card.remembered, guess), path) or _due_again(card, path))


def _due_again(card: Card, path: Path) -> str:
    return f"Due again on {progress.load(path)['cards'][card.id]['due']}."


def _number(ask: Ask) -> float | None:
    """What the reader types, once it is a number, 0 or greater; None for an empty line."""
    while text := ask("> ").strip().replace(",", ""):
        try:
            if 0 <= (number := float(text)) < float("inf"):
                return number
        except ValueError:
            pass
        print("Type a number, 0 or greater, or nothing to pass the card over.")
    return None
