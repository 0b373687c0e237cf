"""What the reader does: commit to a guess, then compare."""

from __future__ import annotations

from types import EllipsisType

Number = int | float


def reveal(guess: Number | EllipsisType, answer: Number, what: str) -> str:
    """The answer next to the reader's guess; `...` stands for none."""
    if guess is ...:
        return f"{answer} {what}. (No guess yet: replace the dots above by a number, and run both cells.)"
    if guess == answer:
        return f"{answer} {what}, as you said."
    return f"{answer} {what}; you said {guess}."
