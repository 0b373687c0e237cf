"""Schedules beside a minute-by-minute simulation and the best of all orders; preemptions beside drawn ones."""

from __future__ import annotations

import math
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission.rules import Invalid
from mlinfra.pipelines.execution import (
    Preemptible,
    Schedule,
    Step,
    critical_path,
    downstream,
    longest_path_first,
    schedule,
    shortest,
    young_interval_h,
)

TRAININGS = [
    Step("prep", 20),
    *(Step(f"train-{i}", 60, ("prep",), 1) for i in (1, 2, 3)),
    Step("eval", 10, ("train-1", "train-2", "train-3")),
    Step("deploy", 5, ("eval",)),
]


def test_by_hand() -> None:
    assert schedule(TRAININGS).makespan == 95
    assert schedule(TRAININGS, gpus=2).makespan == 155
    assert schedule(TRAININGS, gpus=1).makespan == schedule(TRAININGS, parallelism=1).makespan == 215
    assert critical_path(TRAININGS) == ["prep", "train-1", "eval", "deploy"]
    assert shortest(TRAININGS, 1) == 180
    assert shortest(TRAININGS, 4) == 95, "the critical path"
    assert shortest([Step("a", 5)], 0) == 5
    assert schedule([]).makespan == 0


@st.composite
def pipelines(draw: st.DrawFn, most: int = 6, gpus: int = 2) -> list[Step]:
    steps: list[Step] = []
    for i in range(draw(st.integers(1, most))):
        after = draw(st.lists(st.sampled_from([step.name for step in steps]), unique=True)) if steps else []
        steps.append(Step(f"s{i}", draw(st.integers(0, 5)), tuple(after), draw(st.integers(0, gpus))))
    return draw(st.permutations(steps))


def minute_by_minute(steps: list[Step], gpus: int) -> Schedule:
    """The same rule, told by a clock; steps of no length end when they start."""
    spans: dict[str, tuple[float, float]] = {}
    for minute in range(10**4):
        for _ in steps:  # what ends within the minute may let others start in it
            for step in steps:
                held = sum(s.gpus for s in steps if s.name in spans and spans[s.name][0] <= minute < spans[s.name][1])
                ready = all(name in spans and spans[name][1] <= minute for name in step.after)
                if step.name not in spans and ready and held + step.gpus <= gpus:
                    spans[step.name] = (minute, minute + step.minutes)
                    break
            else:
                break
        if len(spans) == len(steps):
            return Schedule(spans)
    raise AssertionError("never ends")


@given(pipelines())
def test_as_a_clock_would_do_it(steps: list[Step]) -> None:
    assert schedule(steps, gpus=2) == minute_by_minute(steps, 2)


@given(pipelines(most=8), st.integers(2, 4))
def test_nothing_starts_early_and_no_gpu_is_held_twice(steps: list[Step], gpus: int) -> None:
    spans = schedule(steps, gpus).spans
    for step in steps:
        assert all(spans[step.name][0] >= spans[name][1] for name in step.after)
        moment = spans[step.name][0]
        assert sum(other.gpus for other in steps if spans[other.name][0] <= moment < spans[other.name][1]) <= gpus
    assert schedule(steps, gpus).makespan >= shortest(steps, gpus)
    assert sum(step.minutes for step in steps if step.name in critical_path(steps)) == schedule(steps).makespan


@settings(max_examples=40)
@given(pipelines(most=6, gpus=1), st.integers(1, 3))
def test_within_grahams_bound_of_the_best_order(steps: list[Step], gpus: int) -> None:
    """With one GPU a step at most, the best of all orders is the best schedule there is (for steps that need one)."""
    steps = [Step(step.name, step.minutes, step.after, 1) for step in steps]
    best = min(schedule(list(order), gpus).makespan for order in permutations(steps))
    for order in (steps, longest_path_first(steps)):
        assert best <= schedule(order, gpus).makespan <= (2 - 1 / gpus) * best + 1e-9


def test_the_longest_way_goes_first() -> None:
    steps = [Step("short", 1), Step("long", 2), Step("end", 10, ("long",))]
    assert [step.name for step in longest_path_first(steps)] == ["long", "end", "short"]


def test_what_runs_again_after_an_edit() -> None:
    chain = [Step("a", 10), Step("b", 20, ("a",)), Step("c", 60, ("b",)), Step("d", 10, ("c",)), Step("e", 5, ("d",))]
    assert downstream(chain[::-1], ["d", "e"]) == ["e", "d"]
    assert downstream(TRAININGS, ["train-2"]) == ["train-2", "eval", "deploy"]
    assert downstream(TRAININGS, []) == []


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([Step("a", 1), Step("a", 2)], 'steps[1].name: Duplicate value: "a"'),
        ([Step("a", 1, ("b",))], "steps[a].after: step 'b' does not exist"),
        ([Step("a", 1, ("b",)), Step("b", 1, ("a",))], "a circle never starts"),
        ([Step("a", -1)], "steps[a].minutes: -1: must be a time, 0 or more"),
        ([Step("a", math.nan)], "steps[a].minutes: Invalid value: NaN"),
        ([Step("a", 1, (), 3)], "steps[a].gpus: 3: must be from 0 to the 2 that there are"),
    ],
)
def test_what_cannot_be_scheduled(steps: list[Step], why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        schedule(steps, gpus=2)
    assert why in str(refusal.value)


def test_a_parallelism_of_nothing() -> None:
    for parallelism in (0, 0.5, math.nan):
        with pytest.raises(Invalid, match=r"parallelism: .*must be (a number|greater than or equal to 1)"):
            schedule(TRAININGS, parallelism=parallelism)


def test_names_that_are_not_there() -> None:
    with pytest.raises(Invalid, match="edited: step 'x' does not exist"):
        downstream(TRAININGS, ["x"])
    with pytest.raises(Invalid, match="step 'x' does not exist"):
        longest_path_first([Step("a", 1, ("x",))])
    with pytest.raises(Invalid, match="must be from 0 to the 2"):
        shortest([Step("a", 1, (), 4)], 2)


def test_four_hours_on_spot_nodes() -> None:
    assert round(Preemptible(4, 0.1).expected_h(), 2) == 4.92
    assert round(Preemptible(4, 0.1, 0.5, 1 / 60).expected_h(), 2) == 4.24
    assert Preemptible(4, 0).expected_h() == 4
    assert Preemptible(4, 0, 1, 0.1).expected_h() == pytest.approx(4.4)
    assert Preemptible(4, 0.1, 3).segments() == [3, 1]
    assert Preemptible(4, 0.1, 8, 0.1).segments() == [4.1]


@pytest.mark.parametrize(
    "step", [Preemptible(4, 0.1), Preemptible(4, 0.5, 0.5, 1 / 60), Preemptible(2, 1, 0.75, 0.05, 0.1)]
)
def test_the_formula_is_the_mean_of_what_is_drawn(step: Preemptible) -> None:
    draw = Random(1)
    times = [step.sample_h(draw) for _ in range(20_000)]
    assert sum(times) / len(times) == pytest.approx(step.expected_h(), rel=0.02)


def test_restarts_cost_as_often_as_there_are_any() -> None:
    plain, slow = Preemptible(4, 0.5, 1, 0.05), Preemptible(4, 0.5, 1, 0.05, restart_h=0.2)
    assert slow.expected_h() - plain.expected_h() == pytest.approx(0.2 * (plain.attempts() - 1))


def test_youngs_interval_is_nearly_the_best() -> None:
    def hours(every: float) -> float:
        return Preemptible(40, 0.1, every, 1 / 60).expected_h()

    young = young_interval_h(1 / 60, 0.1)
    assert young == pytest.approx(math.sqrt(2 / 60 / 0.1))
    assert hours(young) <= min(hours(i / 100) for i in range(5, 400)) * 1.002


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((-1, 0.1), "work_h: -1: must be 0 or more"),
        ((4, math.nan), "preemptions_per_h: nan"),
        ((4, 0.1, 0), "checkpoint_every_h: 0: must be greater than 0"),
        ((4, 0.1, 1, math.inf), "checkpoint_h: inf"),
        (("4", 0.1), "work_h: 4"),
        ((1, 0.1, 1e-8), "checkpoint_every_h: 1e-08: is too short"),
    ],
)
def test_what_cannot_be_preempted(arguments: Any, why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Preemptible(*arguments)
    assert why in str(refusal.value)


def test_a_step_that_never_ends() -> None:
    assert Preemptible(1000, 1).expected_h() == math.inf
    with pytest.raises(Invalid, match="preemptions_per_h: 1: the step would never end"):
        Preemptible(100, 1).sample_h(Random(1))


@pytest.mark.parametrize("given", [(0, 1), (1, 0), (-1, 1), (math.nan, 1)])
def test_no_interval_without_a_cost_and_a_rate(given: tuple[float, float]) -> None:
    with pytest.raises(Invalid, match="must be greater than 0"):
        young_interval_h(*given)


def test_pieces_that_divide_the_work_are_not_rounded_up() -> None:
    assert Preemptible(0.3, 0.1, 0.1).segments() == pytest.approx([0.1, 0.1, 0.1])
