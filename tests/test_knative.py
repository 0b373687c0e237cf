"""Knative's autoscaler beyond upstream's cases: the burst, the way to zero, annotations, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission
from mlinfra.autoscaling import knative


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 5000), st.integers(0, 50)), min_size=1, max_size=40))
def test_in_panic_the_count_never_falls(steps: list[tuple[float, float, int]]) -> None:
    spec, state, last = knative.Decider(10, 14), knative.State(), 0
    for tick, (stable, panic, ready) in enumerate(steps):
        said = knative.scale(spec, state, tick * 2.0, ready, stable, panic)
        if state.panic_since_s is not None and said.state.panic_since_s is not None:
            assert said.desired >= last
        state, last = said.state, said.desired


@given(st.floats(0, 5000), st.integers(1, 100))
def test_rates_bound_every_tick(value: float, ready: int) -> None:
    spec = knative.Decider(10, 14, max_scale_up_rate=3, max_scale_down_rate=2)
    said = knative.scale(spec, knative.State(), 0.0, ready, value, value)
    assert ready // 2 <= said.desired <= 3 * ready


def test_a_burst_from_zero_is_answered_in_one_tick() -> None:
    """500 in flight at a target of 70 (70 % of 100): 8 pods, by the panic window."""
    scaler = knative.Autoscaler()
    for second in range(6):
        scaler.record(second, 500)
    said = scaler.desired(6, ready_pods=0)
    assert said.desired == 8
    assert said.state.panic_since_s == 6
    assert said.excess_burst_capacity < 0


def test_a_failed_reading_changes_nothing() -> None:
    state = knative.State(3.0, 7)
    said = knative.scale(knative.Decider(10, 14), state, 8.0, None, 1.0, 1.0)
    assert (said.valid, said.desired, said.state) == (False, 0, state)


def test_the_way_to_zero_takes_a_window_and_a_grace_period() -> None:
    """Idle from second 0: one pod for the 60 s window, one more for the 30 s grace, then none."""
    activity, pods = knative.Activity(True, 0.0), {}
    for second in range(0, 120, 2):
        pods[second], activity = knative.to_zero(0, activity, second, knative.Revision())
    assert next(second for second in pods if pods[second] == 0) == 90
    assert knative.to_zero(3, activity, 120, knative.Revision()) == (3, knative.Activity(True, 120))


def test_a_minimum_keeps_a_pod() -> None:
    idle = knative.Activity(False, -1e6)
    assert knative.to_zero(0, idle, 0, knative.Revision(min_scale=2))[0] == 2
    assert knative.to_zero(0, idle, 0, knative.Revision(), knative.Config(enable_scale_to_zero=False))[0] == 1


def test_annotations_are_kebab_case_strings() -> None:
    revision = knative.Revision("rps", target=150, min_scale=0, max_scale=10, scale_down_delay_s=900)
    assert revision.annotations() == {
        "autoscaling.knative.dev/metric": "rps",
        "autoscaling.knative.dev/target": "150",
        "autoscaling.knative.dev/min-scale": "0",
        "autoscaling.knative.dev/max-scale": "10",
        "autoscaling.knative.dev/scale-down-delay": "900s",
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "cpu"}, 'metric: Unsupported value: "cpu": supported values: "concurrency", "rps"'),
        ({"target": 0}, "target: Invalid value: 0: expected 0.01 <= 0 <= inf"),
        ({"target_utilization_percentage": 150}, "target_utilization_percentage: Invalid value: 150: expected 1"),
        ({"window_s": 5}, "window_s: Invalid value: 5: expected 6 <= 5 <= 3600"),
        ({"min_scale": 3, "max_scale": 2}, "max_scale: Invalid value: 2: must be at least min_scale, 3"),
        ({"container_concurrency": -1}, "container_concurrency: Invalid value: -1"),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        knative.Revision(**wrong)


def test_a_negative_sample_is_refused() -> None:
    with pytest.raises(admission.Invalid, match="must be greater than or equal to 0"):
        knative.Autoscaler().record(0, -1)


def test_a_service_that_sleeps_keeps_sleeping() -> None:
    scaler = knative.Autoscaler()
    for second in range(30):
        scaler.record(second, 0)
    assert scaler.desired(30, ready_pods=0).desired == 0


def test_the_pod_retention_holds_where_it_is_longer_than_the_grace_period() -> None:
    idle, longer = knative.Activity(False, 0.0), knative.Config(scale_to_zero_pod_retention_s=100)
    assert [knative.to_zero(0, idle, t, knative.Revision(), longer)[0] for t in (30, 99, 100)] == [1, 1, 0]


def test_the_maximum_cuts_what_the_tick_asks_for() -> None:
    capped = knative.Autoscaler(knative.Revision(max_scale=3))
    capped.record(0, 500)
    assert capped.desired(0, ready_pods=0).desired == 3
