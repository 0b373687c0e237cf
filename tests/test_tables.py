"""Text in columns, tables in Markdown, and the lines that explain a choice."""

from __future__ import annotations

from mlinfra import tables

POINTS = {"pod-1": {"queue": 2.0, "prefix": 0.625}, "a-longer-name": {"queue": 0.0, "prefix": 3.0}}


def total(name: str) -> float:
    return sum(POINTS[name].values())


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    assert tables.columns([("NAME", "AGE"), ("bert", 5)]) == ["NAME   AGE", "bert   5"]


def test_a_table_in_markdown_has_a_line_under_its_head() -> None:
    assert tables.markdown_table(["GPU", "ms"], [["H100", 2.5]]).splitlines() == [
        "| GPU | ms |",
        "| --- | --- |",
        "| H100 | 2.5 |",
    ]


def test_a_verdict_is_a_total_with_its_parts_or_a_reason() -> None:
    refused = {"pod-0": "decode-filter"}
    assert tables.verdicts(POINTS, total, refused, ".2f").splitlines() == [
        "pod-1           2.62  queue 2.00, prefix 0.62",
        "a-longer-name   3.00  queue 0.00, prefix 3.00",
        "pod-0             no  decode-filter",
    ]
    assert tables.verdicts({}, total, {}) == ""


def test_whole_points_are_shown_whole() -> None:
    assert tables.verdicts({"node-1": {"fit": 91}}, lambda name: 91, {}) == "node-1     91  fit 91"
