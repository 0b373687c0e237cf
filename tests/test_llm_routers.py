"""Ray Serve LLM's routers in notebook 2: what the tables say, and the thresholds that the exercise accepts."""

from __future__ import annotations

import pytest

from mlinfra import validate
from mlinfra.course import llm_loads, llm_routers
from mlinfra.course.exercises import ray_llm as exercises


def test_without_a_threshold_a_hot_prompt_goes_to_one_replica() -> None:
    hot = llm_routers.with_prefix_router(llm_loads.HOT)
    assert max(hot.requests_per_replica.values()) == len(hot.requests) == 400
    assert llm_routers.with_prefix_router(llm_loads.HOT, 16).largest_share < 0.3


def test_a_table_has_a_line_for_each_router() -> None:
    lines = llm_routers.thresholds_table([2, 16]).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["ROUTER", "prefix cache, 2", "prefix cache, 16"]
    assert lines[1].endswith("48%")
    assert lines[2].endswith("76%"), "conversations stay with their cache"


def test_queues_of_a_healthy_load_differ() -> None:
    assert llm_routers.differing(2) > 0.8
    assert llm_routers.differing(12) == 0


def test_the_files_with_and_without_typos() -> None:
    assert len(validate(llm_routers.config(llm_routers.WITH_TYPOS))) == 2, "vLLM's own typo is not seen"
    (warning,) = validate(llm_routers.config(llm_routers.WITHOUT_TARGET))
    assert "no load adds a replica" in str(warning)


@pytest.mark.parametrize(("threshold", "outcome"), [(5, "Not yet"), (6, "Right"), (32, "Right"), (40, "Not yet")])
def test_thresholds_that_serve_both_loads(threshold: float, outcome: str) -> None:
    answer = exercises.prefix_router(imbalanced_threshold=threshold)
    assert exercises.imbalanced_threshold.check(answer).outcome == outcome


def test_a_configuration_that_ray_would_refuse_is_explained() -> None:
    verdict = exercises.imbalanced_threshold.check(exercises.prefix_router(imbalance=16))
    assert "unexpected keyword argument 'imbalance'" in verdict.message
