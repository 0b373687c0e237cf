"""The pictures of language models, and the race of pickers behind them: they say what the simulators compute."""

from __future__ import annotations

import pytest

from mlinfra.course import llm_loads, llm_server, measured
from mlinfra.course.exercises import llm as exercises
from mlinfra.course.pictures import llm as pictures
from mlinfra.kserve.picker import kserve_default


def test_the_steps_are_the_measured_ones() -> None:
    both = [
        row["step_ms"]
        for row in measured.llm_mixed_step()
        if (row["decoding_requests"], row["prefill_chunk_tokens"]) == (32, 2048)
    ]
    assert f"both 2,048 + 32: {both[0]:.1f} ms" in pictures.steps().description


def test_the_picker_is_beside_the_path() -> None:
    assert "does not forward the request" in pictures.path().description


def test_the_panel_says_what_the_simulator_computes() -> None:
    said = pictures.stale(60, 4, 50).description
    assert said.count("busiest") == 3
    assert pictures.stale(60, 4, 2000).description != said


def test_the_panel_has_room_at_its_ends() -> None:
    for every_ms in (50, 2000):
        assert "ms" in pictures.stale(100, 2, every_ms).description


def test_a_table_has_a_line_for_each_picker() -> None:
    results = llm_loads.race(exercises.SOME_HOT, ["round robin", "KServe's picker"])
    lines = llm_loads.standings(results).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["PICKER", "round robin", "KServe's picker"]
    assert lines[2].endswith("100%")


@pytest.mark.parametrize(("shared", "best"), [(3, "replica-0"), (2, "replica-1")])
def test_two_thirds_of_the_prompt_outweigh_a_queue(shared: int, best: str) -> None:
    explained = llm_loads.two_replicas(shared, 4, 1)
    assert explained.best() == [best]
    assert explained.points["replica-0"]["prefix-cache-scorer"] == 3 * shared / 4
    assert explained.points == llm_loads.two_replicas(shared, 4, 1000).points


def test_the_exercise_accepts_what_does_both() -> None:
    assert exercises.weighing() == kserve_default().manifest()
    hits = llm_loads.served(exercises.SOME_CHATS, "round robin").prefix_cache_hit_rate
    assert hits == pytest.approx(exercises.ROUND_ROBIN_HITS, abs=0.005)
    for weights in ({"in_flight": 3.0}, {"queue": 9.0}, {"prefix": 1.0, "in_flight": 2.0}):
        assert exercises.spread_the_prompt.check(exercises.weighing(**weights)).outcome == "Right"
    for weights in ({}, {"prefix": 0.0}):
        assert exercises.spread_the_prompt.check(exercises.weighing(**weights)).outcome == "Not yet"


def test_the_knee_names_the_first_rate_above_each_promise() -> None:
    said = pictures.knee(llm_server.knee(rates=(4, 5, 7))).description
    assert said == (
        "p99 is above the promise: the time to first token from 7 requests/s on, the time per token from 5 requests/s on."
    )


def test_a_budget_is_drawn_beside_the_default_on_a_fixed_scale() -> None:
    figure = pictures.stalls(3, 10, "512")
    run = llm_server.chat_with_files(3, 10, 512)
    assert f"yours: mean gap {1000 * pictures.mean_gap_s(run):.0f} ms" in figure.description
    assert f"longest gap {1000 * (run.gap_s(1) or 0):.0f} ms, first token p99" in figure.description
    assert pictures.times(9.9, 1.0) == 9.9
    assert pictures.times(99.0, 1.0) == pictures.TOP_TIMES


def test_the_ends_of_the_sliders_can_be_drawn() -> None:
    for load, long, budget in ((1, 0, "256"), (8, 40, "256")):
        assert "times the promise" in pictures.stalls(load, long, budget).svg
