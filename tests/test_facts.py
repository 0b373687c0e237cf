"""Every sentence that names a release or a month is in the table of facts, and every row of it stands in the text."""

from __future__ import annotations

from datetime import date

import pytest
from facts import Fact, dated_sentences, facts, is_old, month, places

TEXTS = dict(places())
TABLE = [fact for fact in facts() if not fact.place.startswith("card ")]


@pytest.mark.parametrize("fact", TABLE, ids=lambda fact: f"{fact.place}: {fact.words[:40]}")
def test_the_words_of_a_fact_stand_where_the_table_says(fact: Fact) -> None:
    assert fact.words in TEXTS[fact.place]
    assert fact.source


@pytest.mark.parametrize("place", [place for place, text in TEXTS.items() if dated_sentences(text)])
def test_a_sentence_with_a_release_or_a_month_has_its_source_in_the_table(place: str) -> None:
    words = [fact.words for fact in TABLE if fact.place == place]
    for sentence in dated_sentences(TEXTS[place]):
        assert any(each in sentence for each in words), sentence


def test_a_fact_is_old_after_six_months() -> None:
    fact = Fact("README.md", "words", "source", month("August 2026 (KServe 0.20)"))
    assert not is_old(fact, date(2027, 2, 28))
    assert is_old(fact, date(2027, 3, 1))


@pytest.mark.parametrize("text", ["", "2026", "Augst 2026", "26-08"])
def test_a_row_without_a_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must begin with a month"):
        month(text)
