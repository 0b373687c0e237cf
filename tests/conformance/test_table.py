"""The README says how many cases agree; it must say what is so."""

from __future__ import annotations

from table import README, renewed


def test_the_readme_is_up_to_date() -> None:
    text = README.read_text("utf-8")
    assert text == renewed(text), "run `make refresh`"
