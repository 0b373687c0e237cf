"""A guess beside its answer, and answers of the wrong type: told kindly, never raised."""

from __future__ import annotations

from typing import Any

import pytest

from mlinfra import study

ODDITIES: list[Any] = [float("inf"), float("nan"), None, [5], {}, "", "five", 5j, object, -1]


def test_without_a_guess_the_answer_is_folded() -> None:
    bundle = study.reveal(..., 6, "pods")._repr_mimebundle_()
    assert bundle["text/plain"] == "No guess yet: replace the dots by your guess and run both cells."
    before, _, folded = bundle["text/markdown"].partition("<details><summary>The answer</summary>")
    assert before.strip() == "No guess yet: replace the dots by your guess and run both cells."
    assert folded == "\n\n6 pods.\n\n</details>"


@pytest.mark.parametrize(
    ("guess", "answer", "said"),
    [
        (6, 6, "6 pods, as you said."),
        (6.0, 6, "6 pods, as you said."),
        (5, 6, "6 pods. You said 5, which is 1 too low."),
        (3, 1, "1 pods. You said 3, which is 2 too high."),
        (1000, 2180, "2,180 pods. You said 1,000, which is too low by a factor of 2.2."),
        (0.3, 0.1 + 0.2, "0.3 pods, as you said."),
        (1.4, 1.5, "1.5 pods. You said 1.4, which is 0.1 too low."),
        (0, 20, "20 pods. You said 0, which is 20 too low."),
        (float("inf"), 20, "20 pods. You said inf."),
        (" Path", "path", "path: pods, as you said."),
        ("body", "path", "path: pods. You said body."),
        (True, True, "True: pods, as you said."),
        (True, False, "False: pods. You said True."),
    ],
)
def test_a_guess_beside_its_answer(guess: Any, answer: Any, said: str) -> None:
    assert str(study.reveal(guess, answer, "pods")) == said


@pytest.mark.parametrize(
    ("guess", "answer", "said"),
    [
        ("5", 5, "“5” is text. The answer is a number: write 5 without quotes. Your value is right."),
        ("4", 5, "“4” is text. The answer is a number: write 4 without quotes."),
        ("five", 5, "“five” is text. The answer is a number."),
        (5, "5", '5 is a number. The answer is text: write "5", in quotes. Your value is right.'),
        (True, 1, "True is a truth value. The answer is a number."),
        (1, True, "1 is a number. The answer is True or False."),
        ("True", True, "“True” is text. The answer is True or False: write True without quotes. Your value is right."),
        (None, 5, "None is of the type NoneType. The answer is a number."),
        ([5], 5, "[5] is of the type list. The answer is a number."),
    ],
)
def test_another_type_is_told(guess: Any, answer: Any, said: str) -> None:
    assert str(study.reveal(guess, answer, "pods")) == said
    assert str(study.Exercise("count", answer, []).check(guess)) == f"Not yet. {said}"


@pytest.mark.parametrize("guess", ODDITIES)
@pytest.mark.parametrize("answer", [5, 5.5, True, "text"])
def test_nothing_raises(guess: Any, answer: Any) -> None:
    assert str(study.reveal(guess, answer, "pods"))
    assert study.Exercise("any", answer, [(4, "four")]).check(guess).outcome == "Not yet"


def test_a_mistake_is_named_before_the_type() -> None:
    owner = study.Exercise("owner", "3", [(3, "Right number; give it as text.")])
    assert owner.check(3).message == "Right number; give it as text."
    assert study.Exercise("one", 1, [(2, "two")]).check(1.0).outcome == "Right"
    assert study.Exercise("pair", (1, 2), []).check([1, 2]).message == (
        "Your values are right, and the answer is a tuple: write (1, 2)."
    )
