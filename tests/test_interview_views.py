"""The bank's views: a fair mock, honest calibration, and paper and flash cards that say what the cards say."""

from __future__ import annotations

import csv
import re
from collections import Counter
from html import unescape
from pathlib import Path

import pytest

from mlinfra import interview
from mlinfra.interview.__main__ import main

BANK = interview.bank()


def test_the_bank_is_complete() -> None:
    """40 questions in six areas, the source notebook's three answers, one of which is on that list, two on what was
    measured, eight on language models, and five on nodes."""
    assert len(BANK) == 57
    assert {"multi-region", "fragmentation", "zero-downtime"} <= BANK.keys()
    assert Counter(card.area for card in BANK.values()) == {
        "KServe": 17,
        "Ray Serve": 7,
        "Kubeflow Pipelines": 6,
        "GPU scheduling": 14,
        "Autoscaling": 8,
        "Helm": 5,
    }
    assert {card.level for card in BANK.values()} <= {"recall", "understand", "apply", "diagnose", "evaluate", "design"}
    assert all(bool(card.moved) == (card.level == "design") for card in BANK.values())


@pytest.mark.parametrize("seed", range(0, 200, 7))
def test_a_mock_is_45_minutes_of_five_different_questions(seed: int) -> None:
    drawn = interview.mock(seed)
    assert [minutes for _, minutes in drawn.parts] == [5, 10, 10, 10, 10]
    levels = [card.level for card, _ in drawn.parts]
    assert levels[0] in ("recall", "understand")
    assert levels[1:] == ["apply", "apply", "diagnose", "design"]
    assert len({card.id for card, _ in drawn.parts}) == 5
    assert drawn == interview.mock(seed)


def test_other_seeds_draw_other_questions() -> None:
    seen = {card.id for seed in range(100) for card, _ in interview.mock(seed).parts}
    levels = ("recall", "understand", "apply", "diagnose", "design")
    assert seen == {card.id for card in BANK.values() if card.level in levels}


def test_the_questions_do_not_give_the_answers_away() -> None:
    drawn = interview.mock(3)
    asked, told = drawn.questions().text, drawn.answers().text
    for card, _ in drawn.parts:
        assert card.prompt in asked
        assert card.estimate in asked
        assert not any(point in asked for point in card.strong_answer())
        assert all(point in told for point in card.strong_answer())
        assert card.slip() in told
    assert "From minute 35, 10 minutes" in asked
    assert f"After five minutes: {drawn.parts[4][0].moved}" in asked


def attempts(*outcomes: tuple[int, float, float]) -> list[interview.Attempt]:
    """Attempts at estimates with that score, that factor off the truth, and that confidence."""
    cards = [card for card in BANK.values() if not card.exact]
    return [
        interview.Attempt(card, score, card.truth() * off, confidence)
        for card, (score, off, confidence) in zip(cards, outcomes, strict=False)
    ]


def test_points_and_calibration_by_hand() -> None:
    done = interview.result(attempts((4, 1.0, 90), (2, 2.5, 90), (3, 0.6, 80), (0, 0.1, 60)))
    assert done.points == 9
    assert done.right == 0.5
    assert done.sure == pytest.approx(0.8)
    assert done.brier == pytest.approx((0.01 + 0.81 + 0.04 + 0.36) / 4)
    assert "9 of 16 points; 50 % of the numbers right" in str(done)
    assert "too sure" in str(done)
    assert "not sure enough" in str(interview.result(attempts((4, 1, 60), (4, 1, 60))))
    assert "well calibrated" in str(interview.result(attempts((4, 1, 90), (4, 1, 90))))


def test_an_attempt_that_is_none() -> None:
    card = BANK["gpu-slots"]
    with pytest.raises(ValueError, match="score: 5: must be from 0 to 4"):
        interview.Attempt(card, 5, 100, 80)
    with pytest.raises(ValueError, match="guess: -1: must be a number, 0 or greater"):
        interview.Attempt(card, 4, -1, 80)
    with pytest.raises(ValueError, match="confidence: 20"):
        interview.Attempt(card, 4, 100, 20)
    with pytest.raises(ValueError, match="confidence: 20"):
        interview.Attempt(card, 4, ..., 20)
    with pytest.raises(ValueError, match="must be at least one"):
        interview.result([])
    with pytest.raises(ValueError, match="attempts: 3: must be an Attempt"):
        interview.result([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="card: 'gpu-slots': must be a card"):
        interview.Attempt("gpu-slots", 4, 155, 80)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be one of"):
        interview.card(["gpu-slots"])  # type: ignore[arg-type]


def test_a_count_is_right_when_it_is_exact() -> None:
    card = BANK["zero-downtime"]
    assert interview.Attempt(card, 3, 3.0, 90).right
    assert not interview.Attempt(card, 3, 4, 90).right
    assert "exactly right, from 50 to 100 %" in card.question().text
    assert "within a factor of 2, from 50 to 100 %" in BANK["llm-signal"].question().text
    assert f"{card.estimate} (exactly right)" in unescape(interview.sheet())
    assert f"{card.estimate} (exactly right)" in unescape(interview.flash_cards())


@pytest.mark.parametrize("name", interview.CHAINS)
def test_a_chain_is_of_cards_that_there_are(name: str) -> None:
    assert [card.id for card in interview.chain(name)] == list(interview.CHAINS[name])
    with pytest.raises(ValueError, match="must be one of capacity, placement"):
        interview.chain("latency")


def test_the_sheet_has_every_question_and_every_point() -> None:
    plain = unescape(re.sub(r"<[^>]+>", "", interview.sheet()))
    for card in BANK.values():
        assert plain.count(card.prompt) == 2, "once asked, once answered"
        assert all(point in plain for point in (*card.strong_answer(), card.estimate, card.slip(), card.source))
    assert "http" not in re.sub(r"<p>.*?</p>|<li>.*?</li>", "", interview.sheet()), "it loads nothing"


def test_the_flash_cards_can_be_read_again() -> None:
    lines = interview.flash_cards().splitlines()
    head = dict(line[1:].split(":", 1) for line in lines if line.startswith("#"))
    assert head == {
        "separator": "Comma",
        "html": "true",
        "notetype": "Basic",
        "columns": "Front,Back,Tags",
        "tags column": "3",
    }
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 2 * len(BANK)
    for card, (points, number) in zip(BANK.values(), zip(rows[::2], rows[1::2], strict=True), strict=True):
        assert unescape(points[0]) == card.prompt
        assert [unescape(p) for p in re.findall("<li>(.*?)</li>", points[1])] == list(card.strong_answer())
        assert number[1] == f"{card.truth():g} {card.unit}"
        assert card.estimate in unescape(number[0])


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mock", "3"]) == 0
    assert capsys.readouterr().out == interview.mock(3).questions().text + "\n"
    assert main(["answers", "3"]) == main(["chain", "release"]) == main(["chain", "release", "answers"]) == 0
    output = capsys.readouterr().out
    for card in interview.chain("release"):
        assert card.estimate in output
        assert all(point in output for point in card.strong_answer())
    assert main(["write", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "sheet.html").read_text("utf-8") == interview.sheet()
    assert (tmp_path / "out" / "flashcards.csv").read_text("utf-8") == interview.flash_cards()


@pytest.mark.parametrize(
    ("arguments", "possible"),
    [
        ([], "one of mock SEED, answers SEED, chain NAME, review, write FOLDER"),
        (["mock", "x"], "mock and a seed"),
        (["answers"], "answers and a seed"),
        (["chain", "releas"], "capacity, placement, release, pipeline"),
        (["chain", "release", "answer"], "after it `answers`"),
        (["review", "."], "review, and after it a file"),
        (["write", "README.md"], "write and a folder"),
    ],
)
def test_wrong_arguments_get_one_line_that_says_what_is_possible(
    arguments: list[str], possible: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert possible in output.err
    assert output.err.count("\n") == 1
