"""Tuning: the space, the front, and results that depend neither on workers nor on their order."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from builders import autoscaler
from hypothesis import given
from hypothesis import strategies as st

from mlinfra.autoscaling import hpa, loop, tune
from mlinfra.quantity import quantity


def in_flight(snapshot: loop.Snapshot) -> float:
    return snapshot.in_flight


METRIC = hpa.Pods("in_flight", hpa.AverageValue(3))
SCALER = autoscaler(metrics=(METRIC,), min_replicas=2, max_replicas=8)
SERVICE = loop.Service(2.0, 4, cold_start=loop.ColdStart(load_s=30), activator=True)
COUNTS = tuple(60 if 12 <= i < 36 else 5 for i in range(60))
TRIAL = tune.Trial(SCALER, COUNTS, 10.0, SERVICE, (in_flight,))
SETTINGS = tune.around(SCALER).settings(12, seed=1)


def test_a_small_space_is_a_grid_and_a_large_one_a_sample_without_repeats() -> None:
    space = tune.Space((50, 100), (0,), (0, 300), (100,), (100,), (1,), (10,))
    assert len(space.settings(4)) == len(set(space.settings(100))) == 4
    large = tune.Space().settings(500, seed=3)
    assert len(set(large)) == 500
    assert large == tune.Space().settings(500, seed=3)
    assert large != tune.Space().settings(500, seed=4)


@given(st.integers(0, 50), st.integers(1, 200))
def test_the_space_about_an_hpa_holds_its_bounds_and_is_never_refused(low: int, high: int) -> None:
    scaler = autoscaler(
        metrics=(hpa.External("queue", hpa.AverageValue(3)),), min_replicas=min(low, high), max_replicas=high
    )
    space = tune.around(scaler)
    assert max(1, min(low, high)) in space.min_replicas
    assert high in space.max_replicas
    for setting in space.settings(5):
        tune.applied(scaler, setting)


@pytest.mark.parametrize(
    ("target", "percent", "scaled"),
    [
        (hpa.Utilization(60), 50, hpa.Utilization(30)),
        (hpa.Utilization(1), 50, hpa.Utilization(1)),
        (hpa.AverageValue("3"), 50, hpa.AverageValue("1500m")),
        (hpa.AverageValue("1m"), 50, hpa.AverageValue("1m")),
    ],
)
def test_a_target_is_scaled_and_never_nothing(target: hpa.Target, percent: int, scaled: hpa.Target) -> None:
    metric = hpa.Resource("cpu", target) if isinstance(target, hpa.Utilization) else hpa.Pods("m", target)
    setting = SETTINGS[0]._replace(target_percent=percent)
    (tuned,) = tune.applied(autoscaler(metrics=(metric,)), setting).metrics
    assert quantity(tuned.target.amount) == quantity(scaled.amount) > Fraction(0)


def test_results_depend_on_neither_workers_nor_order() -> None:
    alone = tune.tune(TRIAL, SETTINGS, jobs=1)
    assert tune.tune(TRIAL, SETTINGS, jobs=2) == alone
    assert tune.tune(TRIAL, SETTINGS[::-1], jobs=1) == alone[::-1]
    assert alone == [tune.tried(TRIAL, setting) for setting in SETTINGS]


@pytest.mark.parametrize("backend", ["multiprocessing", "threading"])  # Ray's is made of the first
def test_the_backend_changes_nothing(backend: str) -> None:
    import joblib

    with joblib.parallel_config(backend=backend):
        assert tune.tune(TRIAL, SETTINGS, jobs=2) == tune.tune(TRIAL, SETTINGS, jobs=1)


def interrupting(after: int) -> tuple[Callable[[int], None], list[int]]:
    """Progress that is interrupted when so many settings are done."""
    seen = list[int]()

    def progress(done: int) -> None:
        seen.append(done)
        if done == after:
            raise KeyboardInterrupt

    return progress, seen


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_work_keeps_what_is_done(jobs: int) -> None:
    progress, seen = interrupting(3)
    outcomes = tune.tune(TRIAL, SETTINGS, jobs, progress)
    assert seen == [1, 2, 3]
    assert len(outcomes) == 3
    assert all(outcome == tune.tried(TRIAL, outcome.setting) for outcome in outcomes)


def test_without_joblib_it_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "joblib", None)
    assert len(tune.tune(TRIAL, SETTINGS[:2], jobs=2)) == 2


OUTCOMES = st.lists(
    st.builds(
        lambda dollars, p99_s, i: tune.Outcome(SETTINGS[i], tune.Figures(float(dollars), float(p99_s), 1.0, 0)),
        st.integers(0, 5), st.integers(0, 5), st.integers(0, 11),
    )
)  # fmt: skip


def beats(one: tune.Figures, other: tune.Figures) -> bool:
    """As good in both, and better in one."""
    pair, another = (one.dollars, one.p99_s), (other.dollars, other.p99_s)
    return pair != another and pair[0] <= another[0] and pair[1] <= another[1]


@given(OUTCOMES)
def test_the_front_is_what_nothing_beats(outcomes: list[tune.Outcome]) -> None:
    front = {(each.figures.dollars, each.figures.p99_s) for each in tune.pareto_front(outcomes)}
    assert front == {
        (each.figures.dollars, each.figures.p99_s)
        for each in outcomes
        if not any(beats(other.figures, each.figures) for other in outcomes)
    }


@given(OUTCOMES, st.integers(0, 5))
def test_the_cheapest_keeps_the_latency(outcomes: list[tune.Outcome], limit_s: int) -> None:
    best = tune.cheapest(outcomes, limit_s)
    good = [each.figures.dollars for each in outcomes if each.figures.p99_s <= limit_s]
    assert (best.figures.dollars if best else None) == min(good, default=None)
