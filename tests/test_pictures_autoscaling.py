"""The pictures of notebook 05 say what the simulators compute, and their axes stay where they are."""

from __future__ import annotations

import re

import pytest

from mlinfra.autoscaling import hpa
from mlinfra.course import data, loads, race
from mlinfra.course.exercises import autoscaling as exercises
from mlinfra.course.pictures import autoscaling as pictures

NUMBERS = re.compile(r">(\d+)<")


def axis(svg: str) -> list[str]:
    return NUMBERS.findall(svg)


def test_the_jump_says_when_the_count_is_highest() -> None:
    run = hpa.simulate(exercises.on_cpu(60), loads.shared(loads.jump(5)), replicas=2, duration_s=1200)
    peak = max(run, key=lambda decision: decision.desired)
    assert f"{peak.desired} replicas at minute {peak.at_s / 60:g}" in pictures.jump(run).description


@pytest.mark.parametrize(("noise", "window"), [(15, 0), (8, 300)])
def test_flapping_counts_changes_on_one_scale(noise: int, window: int) -> None:
    figure = pictures.flapping(noise, window)
    for tolerance in ("0", "0.1"):
        run = loads.noisy_hour(tolerance, window, noise)
        said = f"tolerance {tolerance}: scale events {loads.scale_events(run)}, pod-hours {loads.pod_hours(run):.1f}"
        assert said in figure.description
    assert axis(figure.svg) == axis(pictures.flapping(0, 0).svg)


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
