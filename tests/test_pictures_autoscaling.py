"""The pictures of notebook 05 say what the simulators compute, and their axes stay where they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlinfra import traffic
from mlinfra.autoscaling import hpa
from mlinfra.course import data, dial, loads, measured, predicted, race
from mlinfra.course.exercises import autoscaling as exercises
from mlinfra.course.pictures import autoscaling as pictures

NUMBERS = re.compile(r">(\d+)<")


def axis(svg: str) -> list[str]:
    return NUMBERS.findall(svg)


def test_the_jump_says_when_the_count_is_highest() -> None:
    run = hpa.simulate(exercises.on_cpu(60), loads.shared(loads.jump(5)), replicas=2, duration_s=1200)
    peak = max(run, key=lambda decision: decision.desired)
    assert f"{peak.desired} replicas at minute {peak.at_s / 60:g}" in pictures.jump(run).description


def test_the_hour_says_what_caution_costs() -> None:
    counts = data.llm_arrivals("conversation")
    scaler = race.scaler(hpa.Pods("requests_per_second", hpa.AverageValue("500m")), least=2)
    run = hpa.simulate(scaler, loads.hour_of(counts), replicas=2, duration_s=3480)
    said = pictures.real_hour(run, counts).description
    assert f"{loads.scale_events(run)} changes and {loads.pod_hours(run):.1f} pod-hours; 11.1 if" in said


def test_cpu_leaves_the_queue_of_thirteen_minutes() -> None:
    missing_per_s, seconds = 60 - 2 * 10, 13 * 60
    assert f"on CPU 2 pods, {missing_per_s * seconds:,} requests wait" in pictures.cpu_or_queue().description


def test_the_burst_says_its_latencies() -> None:
    results = race.burst(10)
    said = pictures.burst(results, 10).description
    for name, run in results.items():
        assert f"{name} p50 {run.latency_s(0.5):.1f} s, p99 {run.latency_s(0.99):.1f} s" in said


def test_the_race_draws_the_traffic_first_and_a_row_for_each() -> None:
    results = {"fixed": race.on_code(race.by_queue(least=6), 6)}
    figure = pictures.replicas_under(results, "code")
    assert figure.svg.index("requests per second") < figure.svg.index("fixed, replicas")
    most = max(ready for _, _, ready, _ in results["fixed"].timeline[::30])
    assert f"fixed {most}" in figure.description


def test_tuning_draws_every_setting_of_its_sliders() -> None:
    loosest, tightest = pictures.tuned(8.0, 12, 900), pictures.tuned(1.0, 1, 0)
    assert axis(loosest.svg) == axis(tightest.svg)


def test_the_recommendation_stands_over_the_usage() -> None:
    usual, high = pictures.recommendation(), pictures.recommendation(99, 96)
    assert "Target p90, half-life 24 h: 247m at most" in usual.description
    assert axis(usual.svg) == axis(high.svg)
    assert "usage" in usual.svg


def test_the_spiral_ends_at_the_maximum() -> None:
    evenings = race.spiral()
    assert [pods for pods, _, _ in evenings][-1] == 40
    assert all(percent > 60 for _, _, percent in evenings)
    assert "6, 9, 14" in pictures.spiral(evenings).description


def test_the_loops_are_drawn() -> None:
    svg = pictures.loops().svg
    assert all(name in svg for name in ("HPA controller", "KEDA operator", "queue-proxies"))


def test_the_dial_says_what_the_card_did() -> None:
    rows = {row["batch"]: row for row in measured.bert_batches()}
    table = str(dial.batches_table())
    assert table.count("| bfloat16 |") == len(rows)
    assert "| float32 | 16 | 1,602 |" in table
    assert "| plain PyTorch | 64 | 14,420 |" in table


def test_the_other_card_makes_decoding_faster_and_nothing_else() -> None:
    measured_gains = {each.what: each.measured for each in dial.speed_ups()}
    for what, gain in measured_gains.items():
        assert (1.15 < gain < 1.4) if what.startswith("decoding") else (0.9 < gain < 1.05)


def test_the_roofline_is_right_but_where_neither_memory_nor_arithmetic_is_the_limit() -> None:
    errors = {each.what: abs(each.error) for each in dial.speed_ups()}
    assert errors.pop("BERT, batch 1") > 0.4
    assert max(errors.values()) < 0.11
    assert str(dial.speed_ups_table()).count("%") == len(errors) + 1


@pytest.mark.parametrize("work", pictures.TOKENS_PER_S)
def test_dollars_follow_from_price_and_speed_on_a_fixed_axis(work: str) -> None:
    column, batch, context_tokens = pictures.TOKENS_PER_S[work]
    h100, h200 = (predicted.decoding(card, batch, context_tokens)[column] for card in measured.CARDS)
    even = pictures.dollars(work, 3.0, 3.0 * h200 / h100)
    left, right = re.findall(r"([\d.]+) (?:dollars per million|on the H200)", even.description)
    assert left == right == f"{3e6 / 3600 / h100:.3f}"
    assert f"cheaper below {3 * h200 / h100:.2f} dollars an hour" in even.description
    assert pictures.dollars(work, pictures.DEAREST, pictures.DEAREST).svg, "the longest bar fits"


def test_the_replay_says_what_the_closed_loop_gives() -> None:
    counts = traffic.load(Path(__file__).parents[1] / "examples" / "traffic.csv")
    run = race.on_code(race.by_queue(least=6), 6)
    said = pictures.replayed(run, counts).description
    assert f"{counts.requests:,} requests from 02 March 2026, 08:00" in said
    assert f"p99 {run.latency_s(0.99):.1f} s" in said
