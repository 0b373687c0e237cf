"""Knative's autoscaler beyond upstream's cases: the burst, the way to zero, annotations, and what is refused."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission, manifest
from mlinfra.autoscaling import knative


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 5000), st.integers(0, 50)), min_size=1, max_size=40))
def test_in_panic_the_count_never_falls(steps: list[tuple[float, float, int]]) -> None:
    spec, state, last = knative.Decider(10, 14), knative.State(), 0
    for n, (stable, panic, ready) in enumerate(steps):
        tick = knative.scale(spec, state, n * 2.0, ready, stable, panic)
        if state.panic_time_s is not None and tick.state.panic_time_s is not None:
            assert tick.desired >= last
        state, last = tick.state, tick.desired


@given(st.floats(0, 5000), st.integers(1, 100))
def test_rates_bound_every_tick(value: float, ready: int) -> None:
    spec = knative.Decider(10, 14, max_scale_up_rate=3, max_scale_down_rate=2)
    tick = knative.scale(spec, knative.State(), 0.0, ready, value, value)
    assert ready // 2 <= tick.desired <= 3 * ready


def test_a_burst_from_zero_is_answered_in_one_tick() -> None:
    """500 in flight at a target of 70 (70 % of 100): 8 pods, by the panic window."""
    scaler = knative.KPA()
    for second in range(6):
        scaler.record(second, 500)
    tick = scaler.desired(6, ready_pods=0)
    assert tick.desired == 8
    assert tick.state.panic_time_s == 6
    assert tick.excess_burst_capacity < 0


@pytest.mark.parametrize(
    ("revision", "target", "total"),
    [
        (knative.Revision(), 70, 100),
        (knative.Revision(target_utilization_percentage=80), 80, 100),
        (knative.Revision(container_concurrency=8, target=20, target_utilization_percentage=50), 4, 8),
        (knative.Revision(metric="rps"), 140, 200),
        (knative.Revision(metric="rps", container_concurrency=8, target=50, target_utilization_percentage=50), 25, 50),
    ],
)
def test_the_target_is_a_share_of_what_a_pod_can_take(revision: knative.Revision, target: float, total: float) -> None:
    """`ResolveMetricTarget` in `pkg/reconciler/autoscaling/resources/target.go`."""
    assert knative.metric_target(revision, knative.Config()) == pytest.approx((target, total))


@pytest.mark.parametrize(("burst", "excess"), [(-1, -1), (0, 0), (211, 3 * 100 - 211 - 50), (0.5, 3 * 100 - 51)])
def test_what_the_pods_could_take_beyond_a_burst(burst: float, excess: float) -> None:
    """Three ready pods of 100 each, 50 in the panic window."""
    spec = knative.Decider(70, 100, target_burst_capacity=burst)
    assert knative.scale(spec, knative.State(), 0.0, 3, 50.0, 50.0).excess_burst_capacity == excess


def test_the_delay_says_that_it_holds_the_count() -> None:
    spec, ticks = knative.Decider(10, 14, scale_down_delay_s=30), []
    state = knative.State.at_start(1, spec)
    for now_s, value in ((0.0, 15.0), (2.0, 5.0)):
        ticks.append(knative.scale(spec, state, now_s, 2, value, value))
        state = ticks[-1].state
    assert [tick.desired for tick in ticks] == [2, 2]
    assert [tick.why for tick in ticks] == [
        "stable window wants 2",
        "stable window wants 1, held at 2 by the scale-down delay",
    ]


def test_a_failed_reading_changes_nothing() -> None:
    state = knative.State(3.0, 7)
    tick = knative.scale(knative.Decider(10, 14), state, 8.0, None, 1.0, 1.0)
    assert (tick.valid, tick.desired, tick.state) == (False, 0, state)


def test_the_way_to_zero_takes_a_window_and_a_grace_period() -> None:
    """Idle from second 0: one pod for the 60 s window, one more for the 30 s grace, then none."""
    activity, pods = knative.Activity(True, 0.0), {}
    for second in range(0, 120, 2):
        pods[second], activity = knative.handle_scale_to_zero(0, activity, second, knative.Revision(), knative.Config())
    assert next(second for second in pods if pods[second] == 0) == 90
    assert knative.handle_scale_to_zero(3, activity, 120, knative.Revision(), knative.Config()) == (
        3,
        knative.Activity(True, 120),
    )


def test_a_minimum_keeps_a_pod() -> None:
    idle = knative.Activity(False, -1e6)
    assert knative.KPA(knative.Revision(min_scale=2)).desired(0, ready_pods=2).desired == 2
    assert (
        knative.handle_scale_to_zero(0, idle, 0, knative.Revision(), knative.Config(enable_scale_to_zero=False))[0] == 1
    )


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
        ({"target": 0}, "autoscaling.knative.dev/target: target 0 should be at least 0.01"),
        ({"target": math.nan}, "target: Invalid value: NaN: must be a number"),
        ({"target_utilization_percentage": 150}, "target-utilization-percentage: expected 1 <= 150 <= 100"),
        ({"panic_threshold_percentage": 100}, "panic-threshold-percentage: expected 110 <= 100 <= 1000"),
        ({"target_burst_capacity": -2}, 'target-burst-capacity: invalid value "-2"'),
        ({"window_s": 5}, "window: expected 6s <= 5s <= 1h0m0s"),
        ({"window_s": 6.5}, "window: must be specified with at most second precision"),
        ({"scale_down_delay_s": 3601}, "scale-down-delay: expected 0s <= 3601s <= 1h0m0s"),
        ({"initial_scale": -1}, 'initial-scale: invalid value "-1"'),
        ({"min_scale": 3, "max_scale": 2}, "max-scale: max-scale=2 is less than min-scale=3"),
        ({"min_scale": 3, "activation_scale": 2}, "activation-scale: min-scale=3 is greater than activation-scale=2"),
        ({"max_scale": 3, "activation_scale": 4}, "activation-scale: max-scale=3 is less than activation-scale=4"),
        ({"activation_scale": 1}, "activation-scale: activation-scale=1 must be greater than 1"),
        ({"container_concurrency": -1}, "container_concurrency: Invalid value: -1"),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        knative.Revision(**wrong)


def test_a_negative_sample_is_refused() -> None:
    with pytest.raises(admission.Invalid, match="must be greater than or equal to 0"):
        knative.KPA().record(0, -1)


def test_a_service_that_sleeps_keeps_sleeping() -> None:
    scaler = knative.KPA()
    for second in range(30):
        scaler.record(second, 0)
    assert scaler.desired(30, ready_pods=0).desired == 0


def test_the_pod_retention_holds_where_it_is_longer_than_the_grace_period() -> None:
    idle, longer = knative.Activity(False, 0.0), knative.Config(scale_to_zero_pod_retention_s=100)
    assert [knative.handle_scale_to_zero(0, idle, t, knative.Revision(), longer)[0] for t in (30, 99, 100)] == [1, 1, 0]


def test_the_maximum_cuts_what_the_tick_asks_for() -> None:
    capped = knative.KPA(knative.Revision(max_scale=3))
    capped.record(0, 500)
    assert capped.desired(0, ready_pods=0).desired == 3


def test_the_deciders_defaults_are_the_clusters() -> None:
    """config-autoscaler: 70 % of 100 requests, burst 211, panic at 200 %, up 1000-fold, down by half, 60 s."""
    assert knative.decider(knative.Revision(), knative.Config()) == knative.Decider(70, 100)
    assert knative.Decider(70, 100) == knative.Decider(70, 100, 211, 2, 1000, 2, 60, 0, 0, True)


def test_a_revision_that_starts_with_a_pod_counts_its_window_from_second_zero() -> None:
    """60 s of the stable window and 30 s of grace."""
    scaler, pods = knative.KPA(ready_pods=1), {}
    for second in range(100):
        scaler.record(second, 0)
        if second % 2 == 0:
            pods[second] = scaler.desired(second, ready_pods=1).desired
    assert next(second for second in pods if pods[second] == 0) == 90


def test_scales_are_int32() -> None:
    """`strconv.ParseInt(v, 10, 32)`."""
    assert knative.Revision(max_scale=2**31 - 1).max_scale == 2**31 - 1
    with pytest.raises(admission.Invalid, match="max-scale: expected 0 <= 2147483648 <= 2147483647"):
        knative.Revision(max_scale=2**31)


def test_the_rate_down_divides_as_a_double_does() -> None:
    """math.Floor(11 / 1.1) is 10; whole division of the doubles would give 9."""
    spec = knative.Decider(10, 14, max_scale_down_rate=1.1)
    assert knative.scale(spec, knative.State(), 0.0, 11, 1.0, 1.0).desired == 10


def test_a_minimum_of_zero_overrides_the_clusters() -> None:
    """`ScaleBounds` asks whether the annotation is there: "0" is."""
    for low, pods in ((None, 1), (0, 0)):
        scaler = knative.KPA(knative.Revision(min_scale=low), knative.Config(min_scale=1), ready_pods=1)
        for second in range(0, 300, 2):
            scaler.record(second, 0)
            last = scaler.desired(second, ready_pods=1).desired
        assert last == pods


def test_a_maximum_beyond_the_clusters_limit_is_refused() -> None:
    limited = knative.Config(max_scale=5, max_scale_limit=10)
    assert knative.KPA(knative.Revision(max_scale=10), limited).config.max_scale_limit == 10
    for high, message in ((11, "expected 1 <= 11 <= 10"), (0, "max-scale=0 (unlimited), must be less than 10")):
        with pytest.raises(admission.Invalid, match=re.escape(message)):
            knative.KPA(knative.Revision(max_scale=high), limited)


scales = st.none() | st.integers(0, 2**31 - 1)
whole_seconds = st.none() | st.integers(6, 3600)
positive = st.none() | st.floats(0.01, 1e9)
revisions = st.builds(
    knative.Revision,
    st.sampled_from(["concurrency", "rps"]),
    st.integers(0, 1000),
    target=positive,
    target_utilization_percentage=st.none() | st.floats(1, 100),
    window_s=whole_seconds,
    panic_window_percentage=st.none() | st.floats(1, 100),
    panic_threshold_percentage=st.none() | st.floats(110, 1000),
    initial_scale=scales,
    max_scale=scales,
    target_burst_capacity=st.sampled_from([None, -1, 0, 0.5, 211]),
    scale_down_delay_s=whole_seconds,
    scale_to_zero_pod_retention_s=st.none() | st.floats(0.001, 3600),
)


@given(revisions)
def test_annotations_are_read_as_they_are_written(revision: knative.Revision) -> None:
    annotations = revision.annotations()
    assert all(isinstance(text, str) for text in annotations.values())
    assert knative.Revision.of(annotations, revision.container_concurrency) == revision


def test_annotations_of_old_are_read_and_others_left_alone() -> None:
    """camelCase yields to kebab-case; `activation-scale` never had another spelling."""
    group = "autoscaling.knative.dev"
    old = {
        f"{group}/minScale": "2",
        f"{group}/maxScale": "9",
        f"{group}/max-scale": "5",
        "sidecar.istio.io/inject": "true",
    }
    assert knative.Revision.of(old | {f"{group}/activationScale": "x"}) == knative.Revision(min_scale=2, max_scale=5)
    assert knative.Revision.of({f"{group}/window": "1m30s"}).window_s == 90


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("window", "60", 'window: invalid value "60"'),
        ("window", "5s", "window: expected 6s <= 5s <= 1h0m0s"),
        ("target", "70%", 'target: invalid value "70%"'),
        ("min-scale", "1.5", 'min-scale: invalid value "1.5"'),
        ("minScale", "-1", "minScale: expected 0 <= -1 <= 2147483647"),
        ("class", "vpa.autoscaling.knative.dev", 'class: invalid value "vpa.autoscaling.knative.dev"'),
        ("metric", "cpu", 'metric: invalid value "cpu"'),
        (
            "target",
            70,
            "target: json: cannot unmarshal into Go struct field ObjectMeta.metadata.annotations of type string: quote it",
        ),
    ],
)
def test_annotations_are_refused_in_knatives_words(name: str, text: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        knative.Revision.of({f"autoscaling.knative.dev/{name}": text})


configs = st.builds(
    knative.Config,
    st.booleans(),
    st.floats(0.01, 1),
    st.floats(1, 1e6),
    rps_target_default=st.floats(0.01, 1e6),
    target_burst_capacity=st.sampled_from([-1, 0, 211, 1e7]),
    activator_capacity=st.floats(1, 1e6),
    min_scale=st.integers(0, 5),
    max_scale=st.sampled_from([0, 5, 2**31 - 1]),
    max_scale_up_rate=st.floats(1.001, 1e6),
    max_scale_down_rate=st.floats(1.001, 1e6),
    stable_window_s=st.integers(6, 3600),
    panic_window_percentage=st.floats(1, 100),
    panic_threshold_percentage=st.floats(0, 1000),
    scale_to_zero_grace_s=st.integers(1, 3600),
    scale_down_delay_s=st.integers(0, 100_000),
)


@given(configs)
def test_the_config_map_is_read_as_it_is_written(config: knative.Config) -> None:
    assert knative.Config.of(config.manifest()) == config
    assert admission.validate(config.manifest()) == []


def config_map(**data: str) -> manifest.Manifest:
    """As `kubectl get -o yaml` shows it."""
    metadata = {"name": "config-autoscaler", "namespace": "knative-serving", "uid": "1", "annotations": {"a": "b"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {key.replace("_", "-"): text for key, text in data.items()},
    }


def test_the_percentage_is_one_or_a_fraction() -> None:
    for text in ("70", "70.0", "0.7"):
        config = knative.Config.of(config_map(container_concurrency_target_percentage=text) | {"immutable": False})
        assert config == knative.Config()
    assert knative.Config.of({**config_map(), "data": {"_example": "stable-window: 1s"}}) == knative.Config()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        (
            "stable_window",
            "60",
            'data.stable-window: failed to parse data: failed to parse "stable-window": time: missing unit in duration "60"',
        ),
        ("stable_window", "1d", 'time: unknown unit "d" in duration "1d"'),
        ("stable_window", "soon", 'time: invalid duration "soon"'),
        ("stable_window", "5s", "stable-window = 5s, must be in [6s; 1h0m0s] range"),
        ("stable_window", "6500ms", "stable-window = 6.5s, must be specified with at most second precision"),
        ("max_scale_up_rate", "1", "max-scale-up-rate = 1, must be greater than 1.0"),
        ("max_scale_up_rate", "fast", 'strconv.ParseFloat: parsing "fast": invalid syntax'),
        ("max_scale_up_rate", "NaN", "max_scale_up_rate: Invalid value: NaN: must be a number"),
        ("max_scale_down_rate", "0.5", "max-scale-down-rate = 0.5, must be greater than 1.0"),
        ("enable_scale_to_zero", "yes", 'strconv.ParseBool: parsing "yes": invalid syntax'),
        ("scale_to_zero_grace_period", "0s", "scale-to-zero-grace-period must be positive, was: 0s"),
        ("scale_down_delay", "-90s", "scale-down-delay cannot be negative, was: -1m30s"),
        (
            "target_burst_capacity",
            "-2",
            "target-burst-capacity must be either non-negative or -1 (for unlimited), was: -2.000000",
        ),
        (
            "container_concurrency_target_percentage",
            "0",
            "container-concurrency-target-percentage = 0.000000 is outside of valid range of (0, 100]",
        ),
        (
            "container_concurrency_target_default",
            "0.001",
            "yield target concurrency of 0.0007, can't be less than 0.01",
        ),
        ("requests_per_second_target_default", "0", "requests-per-second-target-default must be at least 0.01, was: 0"),
        ("activator_capacity", "0", "activator-capacity = 0, must be at least 1"),
        ("panic_window_percentage", "101", "panic-window-percentage = 101, must be in [1, 100] interval"),
        (
            "initial_scale",
            "0",
            "initial-scale = 0, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)",
        ),
        ("min_scale", "-1", "min-scale = -1, must be at least 0"),
        ("max_scale", "-1", "max-scale = -1, must be in [0, max-scale-limit(0)] range"),
        ("max_scale", "3000000000", 'strconv.ParseInt: parsing "3000000000": value out of range'),
        ("max_scale_limit", "5", "max-scale = 0, must be in [1, max-scale-limit(5)] range"),
    ],
)
def test_the_config_map_is_refused_in_knatives_words(key: str, text: str, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        knative.Config.of(config_map(**{key: text}))


def test_only_knatives_own_config_map_is_looked_at() -> None:
    wrong = config_map(stable_window="1s")
    assert [problem.path for problem in admission.validate(wrong)] == ["data.stable-window"]
    for metadata in (
        {"name": "config-autoscaler", "namespace": "default"},
        {"name": "config-other", "namespace": "knative-serving"},
    ):
        assert admission.validate(wrong | {"metadata": metadata}) == []
    with pytest.raises(admission.Invalid, match='Unsupported value: "Deployment"'):
        knative.Config.of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}})


def test_a_revisions_own_threshold_and_retention_count() -> None:
    own = knative.Revision(panic_threshold_percentage=300, scale_to_zero_pod_retention_s=100)
    assert knative.decider(own, knative.Config()).panic_threshold == 3
    idle = knative.Activity(False, 0.0)
    assert [knative.handle_scale_to_zero(0, idle, t, own, knative.Config())[0] for t in (30, 99, 100)] == [1, 1, 0]


def test_the_target_fraction_may_be_less_than_a_hundredth() -> None:
    """`validate` of config.go: (0, 1], as long as the target is 0.01 or more."""
    small = knative.Config(container_concurrency_target_fraction=0.005)
    assert knative.Config.of(small.manifest()) == small
    assert knative.metric_target(knative.Revision(), small) == (0.5, 100)
    for fraction in (0, 0.00005, 70):  # in Python it is a fraction, in the ConfigMap a percentage above 1
        with pytest.raises(admission.Invalid, match=r"container.concurrency.target"):
            knative.Config(container_concurrency_target_fraction=fraction)
