"""Schedules beside a second-by-second simulation and the best of all orders; preemptions beside drawn ones."""

from __future__ import annotations

import math
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission.rules import Invalid
from mlinfra.pipelines.timing import (
    Preemptible,
    Step,
    critical_path,
    downstream,
    longest_path_first,
    schedule,
    shortest_s,
    young_interval_s,
)

TRAININGS = [
    Step("prep", 20),
    *(Step(f"train-{i}", 60, ("prep",), 1) for i in (1, 2, 3)),
    Step("eval", 10, ("train-1", "train-2", "train-3")),
    Step("deploy", 5, ("eval",)),
]


def test_by_hand() -> None:
    assert schedule(TRAININGS).makespan_s == 95
    assert schedule(TRAININGS, gpus=2).makespan_s == 155
    assert schedule(TRAININGS, gpus=1).makespan_s == schedule(TRAININGS, parallelism=1).makespan_s == 215
    assert critical_path(TRAININGS) == ["prep", "train-1", "eval", "deploy"]
    assert shortest_s(TRAININGS, 1) == 180
    assert shortest_s(TRAININGS, 4) == 95, "the critical path"
    assert shortest_s([Step("a", 5)], 0) == 5
    assert schedule([]).makespan_s == 0


def test_why_a_training_waited() -> None:
    two_gpus = schedule(TRAININGS, gpus=2)
    assert two_gpus.why().splitlines()[:6] == [
        "t=0 s  WorkflowNodeRunning  prep: Running node prep",
        "t=20 s  WorkflowNodeSucceeded  prep: Succeeded node prep",
        "t=20 s  WorkflowNodeRunning  train-1: Running node train-1",
        "t=20 s  WorkflowNodeRunning  train-2: Running node train-2",
        "t=20 s  WorkflowNodePending  train-3: "
        "Pending node train-3: Unschedulable: needs 1 GPUs, 0 of 2 are free beside train-1, train-2",
        "t=80 s  WorkflowNodeSucceeded  train-1: Succeeded node train-1",
    ]
    assert list(two_gpus.latencies_s) == [20, 60, 60, 120, 10, 5], "the third training was ready after 20 s as well"
    assert two_gpus.latency_s(1.0) == 120
    one_by_one = [event.message for event in schedule(TRAININGS, parallelism=1).events if "Pending" in event.message]
    assert one_by_one == [f"Pending node train-{i}: Max parallelism reached: train-1" for i in (2, 3)]


@st.composite
def pipelines(draw: st.DrawFn, most: int = 6, gpus: int = 2) -> list[Step]:
    steps: list[Step] = []
    for i in range(draw(st.integers(1, most))):
        after = draw(st.lists(st.sampled_from([step.name for step in steps]), unique=True)) if steps else []
        steps.append(Step(f"s{i}", draw(st.integers(0, 5)), tuple(after), draw(st.integers(0, gpus))))
    return draw(st.permutations(steps))


def second_by_second(steps: list[Step], gpus: int) -> dict[str, tuple[float, float]]:
    """The same rule, told by a clock; steps of no length end when they start."""
    spans: dict[str, tuple[float, float]] = {}
    for second in range(10**4):
        for _ in steps:  # what ends within the second may let others start in it
            for step in steps:
                held = sum(s.gpus for s in steps if s.name in spans and spans[s.name][0] <= second < spans[s.name][1])
                ready = all(name in spans and spans[name][1] <= second for name in step.after)
                if step.name not in spans and ready and held + step.gpus <= gpus:
                    spans[step.name] = (second, second + step.duration_s)
                    break
            else:
                break
        if len(spans) == len(steps):
            return spans
    raise AssertionError("never ends")


@given(pipelines())
def test_as_a_clock_would_do_it(steps: list[Step]) -> None:
    assert schedule(steps, gpus=2).spans == second_by_second(steps, 2)


@given(pipelines(most=8), st.integers(2, 4))
def test_nothing_starts_early_and_no_gpu_is_held_twice(steps: list[Step], gpus: int) -> None:
    spans = schedule(steps, gpus).spans
    for step in steps:
        assert all(spans[step.name][0] >= spans[name][1] for name in step.after)
        moment = spans[step.name][0]
        assert sum(other.gpus for other in steps if spans[other.name][0] <= moment < spans[other.name][1]) <= gpus
    assert shortest_s(steps, gpus) <= schedule(steps, gpus).makespan_s <= sum(step.duration_s for step in steps)
    assert sum(step.duration_s for step in steps if step.name in critical_path(steps)) == schedule(steps).makespan_s


@settings(max_examples=40)
@given(pipelines(most=6, gpus=1), st.integers(1, 3))
def test_within_grahams_bound_of_the_best_order(steps: list[Step], gpus: int) -> None:
    """With one GPU a step at most, the best of all orders is the best schedule there is (for steps that need one)."""
    steps = [Step(step.name, step.duration_s, step.after, 1) for step in steps]
    best = min(schedule(list(order), gpus).makespan_s for order in permutations(steps))
    for order in (steps, longest_path_first(steps)):
        assert best <= schedule(order, gpus).makespan_s <= (2 - 1 / gpus) * best + 1e-9


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
        ([Step("a", 1, (), 3)], "steps[a].gpus: 3: must be at most the 2 that there are"),
    ],
)
def test_what_cannot_be_scheduled(steps: list[Step], why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        schedule(steps, gpus=2)
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("a", -1), "duration_s: Invalid value: -1: must be greater than or equal to 0"),
        (("a", math.nan), "duration_s: Invalid value: NaN"),
        (("a", math.inf), "duration_s: Invalid value: Infinity: must be finite"),
        (("a", 1, (), -1), "gpus: Invalid value: -1"),
    ],
)
def test_what_is_no_step(arguments: Any, why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Step(*arguments)
    assert why in str(refusal.value)


def test_too_little_for_anything_to_start() -> None:
    for parallelism in (0, 0.5, math.nan):
        with pytest.raises(Invalid, match=r"parallelism: .*must be greater than or equal to 1"):
            schedule(TRAININGS, parallelism=parallelism)
    with pytest.raises(Invalid, match="at most the nan"):
        schedule(TRAININGS, gpus=math.nan)


def test_names_that_are_not_there() -> None:
    with pytest.raises(Invalid, match="edited: step 'x' does not exist"):
        downstream(TRAININGS, ["x"])
    with pytest.raises(Invalid, match="step 'x' does not exist"):
        longest_path_first([Step("a", 1, ("x",))])
    with pytest.raises(Invalid, match="must be at most the 2"):
        shortest_s([Step("a", 1, (), 4)], 2)


def test_of_several_ways_to_the_end_the_longest_counts() -> None:
    """`fork` has 1 + 9 before it, `lone` 5."""
    forked = [Step("lone", 5), Step("fork", 1), Step("short", 1, ("fork",)), Step("long", 9, ("fork",))]
    assert [step.name for step in longest_path_first(forked)] == ["fork", "long", "lone", "short"]


@given(pipelines(most=8), st.integers(2, 4))
def test_every_step_has_its_events_in_time(steps: list[Step], gpus: int) -> None:
    plan = schedule(steps, gpus)
    times = {(event.about, event.reason.removeprefix("WorkflowNode")): event.at_s for event in plan.events}
    assert [event.at_s for event in plan.events] == sorted(event.at_s for event in plan.events)
    for (name, (start_s, end_s)), latency_s in zip(plan.spans.items(), plan.latencies_s, strict=True):
        assert (times[name, "Running"], times[name, "Succeeded"]) == (start_s, end_s)
        assert latency_s == end_s - times.get((name, "Pending"), start_s)


HOUR, WORK_S = 3600, 4 * 3600


def test_four_hours_on_spot_nodes() -> None:
    assert round(Preemptible(WORK_S, 0.1).expected_s() / HOUR, 2) == 4.92
    assert round(Preemptible(WORK_S, 0.1, 1800, 60).expected_s() / HOUR, 2) == 4.24
    assert Preemptible(WORK_S, 0).expected_s() == WORK_S
    assert Preemptible(WORK_S, 0, HOUR, 360).expected_s() == pytest.approx(4.4 * HOUR)
    assert Preemptible(WORK_S, 0.1, 3 * HOUR).segments_s() == [3 * HOUR, HOUR]
    assert Preemptible(WORK_S, 0.1, 8 * HOUR, 360).segments_s() == [WORK_S + 360]


@pytest.mark.parametrize(
    "step",
    [
        Preemptible(WORK_S, 0.1),
        Preemptible(WORK_S, 0.5, 1800, 60),
        Preemptible(2 * HOUR, 1, 0.75 * HOUR, 180, restart_s=360),
    ],
)
def test_the_formula_is_the_mean_of_what_is_drawn(step: Preemptible) -> None:
    draw = Random(1)
    times_s = [step.sample_s(draw) for _ in range(20_000)]
    assert sum(times_s) / len(times_s) == pytest.approx(step.expected_s(), rel=0.02)


def test_restarts_cost_as_often_as_there_are_any() -> None:
    plain, slow = Preemptible(WORK_S, 0.5, HOUR, 180), Preemptible(WORK_S, 0.5, HOUR, 180, restart_s=720)
    assert slow.expected_s() - plain.expected_s() == pytest.approx(720 * (plain.attempts() - 1))


def test_youngs_interval_is_nearly_the_best() -> None:
    def expected_s(every_s: float) -> float:
        return Preemptible(10 * WORK_S, 0.1, every_s, 60).expected_s()

    young_s = young_interval_s(60, 0.1)
    assert young_s == pytest.approx(HOUR * math.sqrt(2 / 60 / 0.1))
    assert expected_s(young_s) <= min(expected_s(36.0 * i) for i in range(5, 400)) * 1.002


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((-1, 0.1), "work_s: Invalid value: -1: must be greater than or equal to 0"),
        ((4, math.nan), "preemptions_per_h: Invalid value: NaN"),
        ((4, 0.1, 0), "checkpoint_every_s: Invalid value: 0: is too short for 4 s of work"),
        ((4, 0.1, 1, math.inf), "checkpoint_s: Invalid value: Infinity: must be finite"),
        ((1, 0.1, 1e-8), "checkpoint_every_s: Invalid value: 1e-08: is too short"),
    ],
)
def test_what_cannot_be_preempted(arguments: Any, why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Preemptible(*arguments)
    assert why in str(refusal.value)


def test_a_step_that_never_ends() -> None:
    assert Preemptible(1000 * HOUR, 1).expected_s() == math.inf
    with pytest.raises(Invalid, match="preemptions_per_h: 1: the step would never end"):
        Preemptible(100 * HOUR, 1).sample_s(Random(1))


def test_pieces_that_divide_the_work_are_not_rounded_up() -> None:
    assert Preemptible(0.3, 0.1, 0.1).segments_s() == pytest.approx([0.1, 0.1, 0.1])
