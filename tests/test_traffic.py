"""A reader's traffic from CSV and Prometheus: what is read, what is said, what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlinfra import traffic

HEADER = "time,requests\n"


def test_a_count_is_the_requests_of_the_interval_that_begins_at_its_time() -> None:
    read = traffic.loads(HEADER + "2026-03-01T10:00:00+02:00,5\n2026-03-01T10:01:00+02:00,3\n")
    assert (read.counts, read.bin_s, read.requests, read.duration_s) == ((5, 3), 60, 8, 120)
    assert read.start.isoformat() == "2026-03-01T10:00:00+02:00", "the zone is kept"
    assert read.notes == ("its values are read as count: they are whole numbers that rise and fall",)


def test_a_rate_is_requests_a_second_and_fractions_are_carried() -> None:
    read = traffic.loads("0,0.25\n2,0.25\n4,0.25\n6,0.25\n")
    assert (read.counts, read.bin_s) == ((0, 1, 0, 1), 2)
    assert read.rates_per_s() == [0, 0.5, 0, 0.5]
    assert read.notes == ("its values are read as rate: they are not whole",)


def test_a_counter_gives_its_increases_and_starts_again_from_zero() -> None:
    read = traffic.loads("0,100\n10,130\n20,5\n30,25\n", kind="counter")
    assert read.counts == (30, 5, 20)
    assert read.notes == ("counter resets: 1; after each it counts from zero",)


def test_a_gap_has_no_requests_unless_a_counter_counted_through_it() -> None:
    rows = "0,4\n10,4\n40,4\n50,4\n"
    as_count = traffic.loads(rows, kind="count")
    assert as_count.counts == (4, 4, 0, 0, 4, 4)
    assert as_count.notes == ("2 of 6 values are missing and count as no requests",)
    as_counter = traffic.loads("0,0\n10,3\n40,9\n50,12\n", kind="counter")
    assert as_counter.counts == (3, 2, 2, 2, 3)
    assert as_counter.notes == ("gaps: 1; what the counter counted in them is spread evenly",)


def test_times_without_a_zone_are_taken_as_utc_and_said_so() -> None:
    read = traffic.loads("2026-03-01 10:00:00;7\n2026-03-01 10:00:10;7\n")
    assert read.start.isoformat() == "2026-03-01T10:00:00+00:00"
    assert read.notes[0] == "its times have no zone and are taken as UTC"


def test_unix_times_are_seconds_or_milliseconds() -> None:
    seconds, milliseconds = (
        traffic.loads("1772359200,1\n1772359210,0\n"),
        traffic.loads("1772359200000,1\n1772359210000,0\n"),
    )
    assert seconds == milliseconds
    assert seconds.start.isoformat() == "2026-03-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ("time,rps\n0,1\n1,2\n", "rate"),
        ("time,http_requests_total\n0,10\n1,20\n2,20\n", "counter"),
        ("".join(f"{i},{3 * i}\n" for i in range(20)), "counter"),
        ("0,1.5\n1,2\n", "rate"),
        ("0,3\n1,2\n2,3\n", "count"),
    ],
)
def test_what_the_values_are_is_guessed_from_name_and_numbers(rows: str, kind: str) -> None:
    assert traffic.loads(rows).notes[-1].startswith(f"its values are read as {kind}: ")


def matrix(*series: object) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(series)}})


POD_A = {"metric": {"__name__": "reqs_total", "pod": "a"}, "values": [[0, "0"], [30, "60"], [60, "90"]]}
POD_B = {"metric": {"__name__": "reqs_total", "pod": "b"}, "values": [[0, "0"], [30, "10"]]}


def test_prometheus_answers_with_a_matrix() -> None:
    read = traffic.loads(matrix(POD_A))
    assert (read.counts, read.bin_s) == ((60, 30), 30)


def test_one_of_several_series_is_named_by_a_part_of_its_name() -> None:
    assert traffic.loads(matrix(POD_A, POD_B), series='pod="b"').counts == (10,)
    with pytest.raises(ValueError, match=r'^text: holds 2 series, one is needed: .*reqs_total\{pod="a"\}; '):
        traffic.loads(matrix(POD_A, POD_B))
    wide = "time,a,b\n0,1,2\n1,1,3\n2,1,\n3,1,4\n"
    assert traffic.loads(wide, series="b").counts == (2, 3, 0, 4)


HOSTILE = {
    "": "is empty",
    "time,requests\n": "has a header and no values",
    "0,1\n": "has fewer than two values",
    "0,1\n0,2\n": "line 2: has the same time as line 1",
    "10,1\n0,2\n": "line 2: is earlier than line 1: sort the file by time",
    "0,1\n10,-3\n": "line 2: value: -3: must be a finite number, 0 or more",
    "0,1\n10,NaN\n": "line 2: value: NaN: must be a finite number, 0 or more",
    "0,1\n10,many\n": 'line 2: value: "many": must be a number',
    "0,1\nsoon,2\n": 'line 2: time: "soon": must be ISO 8601 or Unix seconds',
    "0,1\n10\n": "line 2: has no value in column 2",
    "0,1\n10,1\n20,1\n23,1\n": "line 4: is less than a step of 10 s after line 3",
    "0,1\n1,1\n99999999999,1\n": "spans 100,000,000,000 steps of 1 s: at most 5,000,000 are read",
    "0,1e9\n1,3\n": "holds 1,000,000,003 requests: at most 20,000,000 are read",
    '{"status": "error", "errorType": "bad_data", "error": "parse error"}': "Prometheus answered bad_data: parse error",
    '{"status": "success", "data": {"resultType": "vector", "result": []}}': "is no matrix of Prometheus",
    '{"status": "success", "data": {"resultType": "matrix", "result": []}}': "has no series",
    '{"status": "success", "data"': "line 1: Expecting ':' delimiter",
    '{"data": {"resultType": "matrix", "result": 5}}': "has no series",
    '{"data": {"resultType": "matrix", "result": [[]]}}': 'result[0]: must have "metric" and "values"',
    '{"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1e300, "1"]]}]}}': 'time: "1e+300": must be ISO 8601',
    '{"data": {"resultType": "matrix", "result": [{"metric": {}, "values": []}]}}': "has fewer than two values",
    "9999-12-31,1\n9999-12-31T01,2\n": "must be a time of our days",
    "0,1\n10," + 200_000 * "1": "is no CSV: field larger than field limit",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_file_gets_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^text: ") as refused:
        traffic.loads(text)
    assert HOSTILE[text] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_and_a_stream_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "traffic.csv"
    path.write_bytes("\ufeffzeit;anfragen\n0;1\n5;2\n".encode("utf-16"))
    assert traffic.load(path).counts == traffic.load(io.StringIO("zeit;anfragen\n0;1\n5;2\n")).counts == (1, 2)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=50))
def test_whole_requests_have_the_sum_of_the_amounts(amounts: list[float]) -> None:
    counts = traffic.whole(amounts)
    assert min(counts) >= 0
    assert abs(sum(counts) - sum(amounts)) < 1.001


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=40), st.sampled_from(["count", "rate"]))
def test_what_is_written_is_read(counts: list[int], kind: str) -> None:
    factor = 1 if kind == "count" else 10
    rows = "".join(f"{1e9 + 10 * i:.0f},{count / factor}\n" for i, count in enumerate(counts))
    assert traffic.loads(rows, kind).counts == tuple(counts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)
CELLS = st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=8), st.datetimes().map(str))


@given(JSON, st.lists(st.tuples(JSON, JSON), max_size=4))
def test_a_random_answer_is_read_or_refused_in_one_sentence(metric: object, values: list[object]) -> None:
    read_or_refused(matrix({"metric": metric, "values": values}))


@example([["", ""]], "")
@example([[" "], [" ", "\t"]], "")
@given(st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=5), st.sampled_from(["", *traffic.KINDS]))
def test_a_random_table_is_read_or_refused_in_one_sentence(rows: list[list[str]], kind: str) -> None:
    read_or_refused("\n".join(",".join(row) for row in rows), kind)


def read_or_refused(text: str, kind: str = "") -> None:
    try:
        counts = traffic.loads(text, kind).counts
    except ValueError as error:
        refusal = str(error)
    else:
        assert counts
        return
    assert refusal.startswith("text: ")
    assert "\n" not in refusal
