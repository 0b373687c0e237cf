"""An exercise with its three outcomes: not attempted, not yet, right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mlinfra.study import guess, progress

UNANSWERED = "Replace the dots by your answer and run the cell."


@dataclass(frozen=True)
class Verdict:
    """One of three outcomes, and what to tell the reader."""

    outcome: str
    message: str

    def __str__(self) -> str:
        return f"{self.outcome}. {self.message}".strip()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/markdown": f"**{self.outcome}.** {self.message}".strip()}


NOT_ATTEMPTED, NOT_YET, RIGHT = "Not attempted", "Not yet", "Right"


@dataclass(frozen=True)
class Exercise:
    """A question with its name, its right answer, and the likely mistakes with a word for each.

    An answer is a value, or a function that is compared with the right one on the `cases` (tuples of arguments).
    With an `effect` two functions are the same when what they return has the same effect, such as a server's reply.
    """

    name: str
    right: Any
    mistakes: Sequence[tuple[Any, str]]
    cases: Sequence[tuple[Any, ...]] = ()
    praise: str = ""
    effect: Callable[[Any], Any] | None = None

    def check(self, answer: Any) -> Verdict:
        """Not attempted (`...`), not yet (with the message for a likely mistake), or right; remembered in a copy."""
        if answer is ...:
            return Verdict(NOT_ATTEMPTED, UNANSWERED)
        verdict = self._judged(answer)
        right = verdict.outcome == RIGHT
        unwritten = progress.remember(lambda record, day: progress.with_exercise(record, self.name, right, day))
        return Verdict(verdict.outcome, f"{verdict.message} {unwritten}".strip()) if unwritten else verdict

    def _judged(self, answer: Any) -> Verdict:
        if self.cases and not callable(answer):
            return Verdict(NOT_YET, "The answer is a function: write `def answer(...)` in the place of `answer = ...`.")
        try:
            if self._same(answer, self.right):
                return Verdict(RIGHT, self.praise)
            for mistake, message in self.mistakes:
                if self._same(answer, mistake):
                    return Verdict(NOT_YET, message)
        except Exception as error:
            said = [f"Your answer raised {type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
            return Verdict(NOT_YET, ", ".join(said))
        return Verdict(NOT_YET, self._difference(answer))

    def _same(self, answer: Any, other: Any) -> bool:
        if not self.cases:
            return _equal(self._seen(answer), self._seen(other))
        return all(self._called(answer, case) == self._called(other, case) for case in self.cases)

    def _difference(self, answer: Any) -> str:
        """Where a function differs first, or that the type is wrong; a wrong value is not given away."""
        for case in self.cases:
            if (got := self._called(answer, case)) != (right := self._called(self.right, case)):
                arguments = ", ".join(map(repr, case))
                return f"For ({arguments}) yours gives {got!r}, and {right!r} is right."
        if not self.cases and (told := _other_type(answer, self.right)):
            return told
        return f"{answer!r} is not it. Open a hint, or compute it with the simulator."

    def _called(self, function: Any, case: tuple[Any, ...]) -> Any:
        """What the function gives for its own copy of the case: an answer may change its arguments."""
        try:
            return self._seen(function(*deepcopy(case)))
        except Exception as error:
            error.add_note(f"for ({', '.join(map(repr, case))})")
            raise

    def _seen(self, value: Any) -> Any:
        """What counts of a value: its effect, or the value itself."""
        return value if self.effect is None else self.effect(value)


def _equal(answer: Any, other: Any) -> bool:
    """Equal, and not merely as True equals 1."""
    return isinstance(answer, bool) == isinstance(other, bool) and bool(answer == other)


def _other_type(answer: Any, right: Any) -> str:
    """What to say of an answer of another type than the right one, also whether its value is right."""
    if {type(answer), type(right)} == {list, tuple} and list(answer) == list(right):
        return f"Your values are right, and the answer is a {type(right).__name__}: write {right!r}."
    return guess.other_kind(answer, right) if isinstance(right, int | float | str) else ""
