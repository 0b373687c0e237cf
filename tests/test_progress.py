"""What is remembered, and where: in a working copy alone, on a ladder of days, and never over a foreign file."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from mlinfra import interview, study
from mlinfra.interview.__main__ import main
from mlinfra.study import progress

CARDS = len(interview.bank())
DAY = date(2026, 11, 27)
COUNT = study.Exercise("how-many", 6, [(4, "that is 4")])
CODE = 'study.reveal(guess_pods, 6, "pods after a minute")', "exercises.how_many.check(answer)"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as `make lab` leaves it, with the kernel in it."""
    (tmp_path / ".copied.json").write_text("{}", "utf-8")
    cells = [{"cell_type": "code", "source": [line]} for line in CODE]
    (tmp_path / "01_kserve.ipynb").write_text(json.dumps({"cells": cells}), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def use_everything() -> list[str]:
    card = interview.card("isvc-path")
    results = [study.reveal(5, 6, "pods after a minute"), COUNT.check(4), card.answer(2, 90), card.answer()]
    return [str(result) for result in results]


def test_elsewhere_nothing_is_written_and_the_outputs_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = use_everything()
    assert list(tmp_path.iterdir()) == []
    assert interview.review("01").text.startswith("This is not a working copy")
    assert "`make lab`" in interview.review("01").text
    (tmp_path / ".copied.json").write_text("{}", "utf-8")
    assert use_everything() == before
    assert (tmp_path / "progress.json").exists()


def test_what_to_review(copy: Path) -> None:
    text = interview.review("01").text
    assert "Guesses" not in text
    assert "- `how-many`" in text
    assert "**Cards not tried yet**\n\n- `isvc-path`" in text
    use_everything()
    text = interview.review("01").text
    assert "- pods after a minute: you said 5, the answer is 6" in text
    assert "- `how-many`" in text
    assert "`isvc-path`" not in text
    assert f"The next card is due on {date.today() + timedelta(days=1)}." in text
    study.reveal(6, 6, "pods after a minute")
    COUNT.check(6)
    COUNT.check(4)
    text = interview.review("01").text
    assert "pods after" not in text
    assert "how-many" not in text
    assert sorted(path.name for path in copy.iterdir()) == [".copied.json", "01_kserve.ipynb", "progress.json"]
    with pytest.raises(ValueError, match="must be one of 01, 02"):
        interview.review("7")


def test_no_guess_and_a_guess_of_another_type_are_not_remembered(copy: Path) -> None:
    study.reveal(..., 6, "pods")
    study.reveal("six", 6, "pods")
    COUNT.check(...)
    interview.card("isvc-path").answer("3")
    assert not (copy / "progress.json").exists()


def test_the_ladder() -> None:
    record, day, waited = progress.empty(), DAY, list[int]()
    for right in (True, True, True, True, True, True, False, True, True):
        record = progress.with_card(record, "a", "1", right, day)
        due = date.fromisoformat(record["cards"]["a"]["due"])
        assert progress.due(record, ["a", "b"], due - timedelta(days=1)) == []
        assert progress.due(record, ["a", "b"], due) == ["a"]
        waited.append((due - day).days)
        day = due
    assert waited == [1, 3, 7, 16, 35, 35, 1, 1, 3]


def test_the_same_card_again_on_the_same_day_does_not_climb() -> None:
    once = progress.with_card(progress.empty(), "a", "1", True, DAY)
    assert progress.with_card(once, "a", "1", True, DAY) == once
    wrong = progress.with_card(once, "a", "2", False, DAY)
    assert progress.with_card(wrong, "a", "1", True, DAY) == wrong


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"guesses": {}}', '{"guesses": {}, "exercises": {}, "cards": {"a": {"due": 3}}}', "\xff"],
)
def test_a_torn_or_foreign_file_is_told_and_kept(copy: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "progress.json"
    path.write_bytes(text.encode("latin-1"))
    for said in [*use_everything()[:3], interview.review("01").text]:
        assert "progress.json cannot be read: it " in said
        assert "nothing is remembered until you move it away." in said
    assert main(["review", str(path)]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert path.read_bytes() == text.encode("latin-1")
    assert [each.name for each in copy.glob("progress*")] == ["progress.json"]


def test_what_was_written_is_read_again(copy: Path) -> None:
    use_everything()
    record = progress.load(copy / "progress.json")
    assert record["cards"]["isvc-path"] == {
        "guess": "2",
        "right": False,
        "on": date.today().isoformat(),
        "rung": 0,
        "due": (date.today() + timedelta(days=1)).isoformat(),
    }
    assert record["guesses"]["pods after a minute"]["guess"] == "5"


def remembered(copy: Path, day: date) -> Path:
    """A file in which two cards were tried on that day."""
    record = progress.with_card(progress.empty(), "isvc-path", "2", False, day)
    progress.save(copy / "progress.json", progress.with_card(record, "headroom", "18", True, day))
    return copy / "progress.json"


def test_without_a_terminal_what_is_due_is_listed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", "nowhere/progress.json"]) == 0
    assert f"Cards that are due: none. Not tried yet: {CARDS} of {CARDS}." in capsys.readouterr().out
    assert main(["review", str(remembered(copy, DAY - timedelta(days=9)))]) == 0
    output = capsys.readouterr().out
    assert "Cards that are due: 2." in output
    assert "  isvc-path: You apply" in output
    assert main(["review", str(remembered(copy, date.today()))]) == 0
    tomorrow = date.today() + timedelta(days=1)
    assert (
        f"due: none. The next one is due on {tomorrow}. Not tried yet: {CARDS - 2} of {CARDS}."
        in capsys.readouterr().out
    )


def test_at_a_terminal_each_card_is_asked(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lines = remembered(copy, DAY - timedelta(days=9)), iter(["three", "-1", "3", ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    assert main(["review", str(path)]) == 0
    output = capsys.readouterr().out
    card = interview.card("isvc-path")
    assert output.index(card.estimate) < output.index("Type a number") < output.index(card.score(3))
    assert f"Due again on {date.today() + timedelta(days=1)}." in output
    assert "Passed over; it stays due." in output
    cards = progress.load(path)["cards"]
    assert cards["isvc-path"]["right"] is True
    assert cards["headroom"]["on"] == (DAY - timedelta(days=9)).isoformat()
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError))
    assert main(["review", str(path)]) == 0
    assert "The rest stays due." in capsys.readouterr().out
