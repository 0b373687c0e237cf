"""Ray Serve's policy, beside Ray's own functions at random and by hand; the config's refusals in Ray's words."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlinfra.admission.rules import Invalid
from mlinfra.autoscaling import loop
from mlinfra.ray_serve import autoscaling
from mlinfra.ray_serve.autoscaling import AutoscalingConfig, RayAutoscaler, Waiting


def settings(draw: random.Random) -> dict[str, Any]:
    return {
        "min_replicas": draw.randint(0, 3),
        "max_replicas": draw.randint(3, 20),
        "target_ongoing_requests": draw.choice([1, 2, 3.5, 10, 0.5]),
        "upscale_delay_s": draw.choice([0, 1, 30]),
        "downscale_delay_s": draw.choice([0, 2, 600]),
        "downscale_to_zero_delay_s": draw.choice([None, 0, 5]),
        "upscaling_factor": draw.choice([None, 0.5, 2.0, 10.0]),
        "downscaling_factor": draw.choice([None, 0.5, 0.1]),
    }


def steps(draw: random.Random) -> Iterator[tuple[float, float]]:
    now_s = 1000.0
    for _ in range(40):
        now_s += draw.choice([0.1, 1, 10, 300])
        yield now_s, draw.choice([0, 0, draw.randint(0, 60), draw.random() * 30])


@pytest.mark.parametrize("seed", range(40))
def test_decides_as_rays_own_policy(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve import autoscaling_policy as upstream
    from ray.serve.config import AutoscalingConfig as RayConfig

    draw = random.Random(seed)
    given_settings = settings(draw)
    theirs, ours = RayConfig(**given_settings), AutoscalingConfig(**given_settings)
    policy = upstream._apply_autoscaling_config(upstream._core_replica_queue_length_policy)
    state: dict[str, Any] = {}
    waiting, running = Waiting(), draw.randint(0, 8)
    target = running
    for now_s, requests in steps(draw):
        monkeypatch.setattr("ray.serve.autoscaling_policy.time.time", lambda now_s=now_s: now_s)
        context: Any = SimpleNamespace(
            current_num_replicas=running,
            target_num_replicas=target,
            total_num_requests=requests,
            config=theirs,
            policy_state=state,
        )
        expected, state = policy(context)
        decision, waiting = autoscaling.decide(ours, waiting, now_s, running, target, requests)
        assert decision == expected
        target = ours.bounded(decision)
        running = target if draw.random() < 0.7 else max(0, running + draw.choice([-1, 1]))


@pytest.mark.parametrize("function", ["mean", "max", "min"])
def test_aggregates_as_rays_own_merge(function: str) -> None:
    np = pytest.importorskip("numpy")
    from ray.serve._private.autoscaling_metrics_merge import merge_and_aggregate_arrays

    draw = random.Random(5)
    for _ in range(400):
        series = [_source(draw) for _ in range(draw.randint(0, 4))]
        times, values = (np.array([point[i] for source in series for point in source]) for i in (0, 1))
        offsets = np.cumsum([0, *map(len, series)])
        now_s = draw.random() * 12
        expected = merge_and_aggregate_arrays(times, values, offsets, now_s, function)
        assert math.isclose(autoscaling.total_requests(series, now_s, function), expected, abs_tol=1e-9)


def test_handles_and_replicas_that_have_nothing_to_do_add_up_to_nothing() -> None:
    assert autoscaling.total_requests([[(1.0, 0.0)], [(2.0, 0.0), (3.0, 0.0)]], 10.0) == 0.0


def test_the_last_value_holds_until_now_even_for_less_than_a_millisecond() -> None:
    assert math.isclose(autoscaling.total_requests([[(0.0, 0.0), (1.0, 10.0)]], 1.0005), 0.005 / 1.0005)


def _source(draw: random.Random) -> list[tuple[float, float]]:
    time_s, points = draw.random() * 3, []
    for _ in range(draw.randint(0, 6)):
        time_s += draw.choice([0.001, 0.004, 0.3, 1.0])
        points.append((time_s, float(draw.randint(0, 5))))
    return points


def test_the_order_of_the_floats_counts() -> None:
    assert (
        autoscaling.apply_scaling_factors(
            AutoscalingConfig(1, 99, 1), autoscaling.desired_replicas(AutoscalingConfig(1, 99, 1), 7, 29), 7
        )
        == 30
    )


def test_a_burst_shorter_than_the_delay_changes_nothing() -> None:
    config, waiting = AutoscalingConfig(1, 100, 2), Waiting()
    for second in range(25):
        decision, waiting = autoscaling.decide(config, waiting, second, 5, 5, 46)
        assert decision == 5
    decision, waiting = autoscaling.decide(config, waiting, 25.0, 5, 5, 10)
    assert waiting == Waiting(), "one quiet moment starts the clock again"


def test_zero_only_from_one_and_with_its_own_delay() -> None:
    config = AutoscalingConfig(0, 5, 1, downscale_delay_s=10, downscale_to_zero_delay_s=60)
    decision, waiting = autoscaling.decide(config, Waiting("down", 0.0), 10.0, 5, 5, 0)
    assert decision == 1
    _, waiting = autoscaling.decide(config, waiting, 11.0, 1, 1, 0)
    assert autoscaling.decide(config, waiting, 70.0, 1, 1, 0)[0] == 1
    assert autoscaling.decide(config, waiting, 71.0, 1, 1, 0)[0] == 0


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 500), st.floats(0, 100))
def test_bounds_hold(running: int, target: int, requests: float, now_s: float) -> None:
    config = AutoscalingConfig(2, 9, 3, upscale_delay_s=0, downscale_delay_s=0)
    assert 2 <= config.bounded(autoscaling.decide(config, Waiting(), now_s, running, target, requests)[0]) <= 9


REFUSED: list[dict[str, Any]] = [
    {"min_replicas": 3, "max_replicas": 2},
    {"min_replicas": -1},
    {"max_replicas": 0},
    {"initial_replicas": 5},
    {"min_replicas": 1, "max_replicas": 4, "initial_replicas": 0},
    {"target_ongoing_requests": 0},
    {"upscaling_factor": 0},
    {"upscale_delay_s": -1},
    {"downscale_to_zero_delay_s": -0.5},
    {"look_back_period_s": 0},
    {"aggregation_function": "median"},
]


@pytest.mark.parametrize("given_settings", REFUSED, ids=str)
def test_refuses_what_rays_own_config_refuses(given_settings: dict[str, Any]) -> None:
    from ray.serve.config import AutoscalingConfig as RayConfig

    with pytest.raises(Invalid) as ours:
        AutoscalingConfig(**given_settings)
    with pytest.raises(ValidationError) as theirs:
        RayConfig(**given_settings)
    said = theirs.value.errors()[0]["msg"].removeprefix("Value error, ")
    if given_settings.get("aggregation_function") is None:
        assert said in str(ours.value)


def test_in_the_closed_loop_it_follows_the_load_and_keeps_its_bounds() -> None:
    config = AutoscalingConfig(1, 6, 1, upscale_delay_s=5, downscale_delay_s=20, look_back_period_s=10)
    arrivals_s = [0.1 * i for i in range(600)] + [60 + 0.04 * i for i in range(1500)] + [120 + i for i in range(60)]
    slow = loop.Service(service_s=0.2, concurrency=1, cold_start=loop.ColdStart(image_s=1))
    outcome = loop.simulate(arrivals_s, slow, RayAutoscaler(config), replicas=2)
    wanted = [count for _, count, _, _ in outcome.timeline]
    assert max(wanted) == 6
    assert min(wanted) >= 1
    assert wanted[-1] < 6
