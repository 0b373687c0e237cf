"""The tables that ship with the package."""

from __future__ import annotations

import pytest

from mlinfra.course import data


def test_the_hour_has_the_published_counts() -> None:
    conversation, code = data.llm_arrivals(), data.llm_arrivals("code")
    assert (len(conversation), sum(conversation), min(conversation), max(conversation)) == (351, 19_366, 2, 98)
    assert (len(code), sum(code), min(code), max(code)) == (351, 8_819, 0, 327)


@pytest.mark.parametrize("workload", ["second", "chat", ""])
def test_unknown_workload(workload: str) -> None:
    with pytest.raises(ValueError, match='must be "conversation" or "code"'):
        data.llm_arrivals(workload)


def test_rate_looks_back_over_whole_bins() -> None:
    counts = [10, 20, 30, 40]
    assert data.rate_per_s(counts, 9.9) == 0
    assert data.rate_per_s(counts, 10) == 1
    assert data.rate_per_s(counts, 35, window_s=20) == 2.5
