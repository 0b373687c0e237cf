"""The VPA beyond upstream's cases: invariants of the histogram, policies, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from builders import BERT
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission, manifest
from mlinfra.admission import validate
from mlinfra.autoscaling import vpa

samples = st.lists(st.tuples(st.floats(0.001, 900), st.floats(0.1, 10), st.integers(0, 30 * vpa.DAY_S)), min_size=1)


@given(samples, st.floats(0, 1), st.floats(0, 1))
def test_percentiles_rise_and_stay_in_the_buckets(given: list[tuple[float, float, int]], p: float, q: float) -> None:
    histogram = vpa.Histogram(vpa.CPU_BUCKETS)
    for value, weight, at_s in given:
        histogram.add(value, weight, at_s)
    low, high = histogram.percentile(min(p, q)), histogram.percentile(max(p, q))
    assert 0 < low <= high <= vpa.CPU_BUCKETS.start(vpa.CPU_BUCKETS.count - 1)


@given(samples)
def test_what_is_added_and_taken_back_leaves_nothing(given: list[tuple[float, float, int]]) -> None:
    histogram = vpa.Histogram(vpa.CPU_BUCKETS, half_life_s=None)
    for value, weight, at_s in given:
        histogram.add(value, weight, at_s)
    for value, weight, at_s in given:
        histogram.subtract(value, weight, at_s)
    assert histogram.percentile(0.9) == 0.0


@given(st.floats(0.02, 900))
def test_a_value_lies_in_its_bucket(value: float) -> None:
    bucket = vpa.CPU_BUCKETS.find(value)
    assert vpa.CPU_BUCKETS.start(bucket) <= value * (1 + 1e-9)
    assert value <= vpa.CPU_BUCKETS.start(bucket + 1) * (1 + 1e-9)


def steady(days: int, milli: int = 400) -> vpa.AggregateContainerState:
    usage = vpa.AggregateContainerState()
    container = vpa.ContainerState(usage)
    for minute in range(days * 1440):
        container.add_cpu(milli, minute * 60.0)
    return usage


def test_bounds_close_in_on_the_target_as_history_grows() -> None:
    widths = [vpa.recommend(steady(days)).upper_bound.cpu_milli for days in (1, 2, 8)]
    assert widths == sorted(widths, reverse=True)
    target = vpa.recommend(steady(8)).target.cpu_milli
    assert vpa.recommend(steady(8)).lower_bound.cpu_milli <= target <= widths[-1]
    assert 400 * 1.15 <= target <= 400 * 1.05 * 1.15  # the end of a 5 % bucket, and the margin


def test_without_history_everything_is_possible() -> None:
    nothing = vpa.recommend(vpa.AggregateContainerState())
    assert nothing.target == nothing.lower_bound == vpa.Amounts(25, 250 * 2**20)
    assert nothing.upper_bound == vpa.Amounts(vpa.MAX_AMOUNT, vpa.MAX_AMOUNT)


def test_an_aggregate_without_samples_is_forgotten() -> None:
    usage = steady(1)
    assert not usage.expired(usage.last_s + 8 * vpa.DAY_S - 1)
    assert usage.expired(usage.last_s + 8 * vpa.DAY_S)


def test_a_policy_clamps_and_hides() -> None:
    policy = vpa.ContainerPolicy("*", {"memory": "1Gi"}, {"cpu": "100m"}, controlled_resources=("memory",))
    clamped = policy.clamp(vpa.recommend(steady(8)))
    assert clamped.target == vpa.Amounts(100, 2**30)
    assert policy.controlled(clamped.target) == {"memory": "1073741824"}  # decimal, as the real one reports it


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"update_mode": "Sometimes"}, 'Unsupported value: "Sometimes": supported values: "Auto", "InPlace"'),
        ({"name": "My"}, "metadata.name"),
        (
            {"container_policies": (vpa.ContainerPolicy(min_allowed={"cpu": 2}, max_allowed={"cpu": 1}),)},
            'maxAllowed.cpu: Invalid value: "1": max resource for cpu is lower than min of "2"',
        ),
        ({"container_policies": (vpa.ContainerPolicy(max_allowed={"memory": "4GB"}),)}, "quantities must match"),
        ({"container_policies": (vpa.ContainerPolicy(controlled_resources=("gpu",)),)}, 'Unsupported value: "gpu"'),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    parts: dict[str, Any] = {"name": "bert", "target_ref": BERT}
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        vpa.VerticalPodAutoscaler(**parts | wrong)


def test_a_minimum_may_equal_its_maximum() -> None:
    fixed = vpa.ContainerPolicy(min_allowed={"cpu": 1}, max_allowed={"cpu": "1000m"})
    assert validate(vpa.VerticalPodAutoscaler("bert", BERT, container_policies=(fixed,)).manifest()) == []


def test_the_reference_is_the_half_life_nearest_to_the_first_sample() -> None:
    """`Round(halfLife)`: 0.7 days round up to one, and the sample weighs 2^-0.3."""
    histogram = vpa.Histogram(vpa.CPU_BUCKETS)
    histogram.add(1.0, 1.0, 0.7 * vpa.DAY_S)
    assert histogram.reference_s == vpa.DAY_S
    assert histogram.total == pytest.approx(2**-0.3)


def test_a_policy_without_bounds_changes_nothing() -> None:
    for amounts in (vpa.Amounts(0, 0), vpa.Amounts(25, 2**28), vpa.Amounts(vpa.MAX_AMOUNT, vpa.MAX_AMOUNT)):
        wanted = vpa.Recommendation(amounts, amounts, amounts, 1.0)
        assert vpa.ContainerPolicy().clamp(wanted) == wanted


def test_a_sample_of_nothing_counts() -> None:
    """`isValid`: usage of zero is usage; only a negative one is refused."""
    container = vpa.ContainerState(vpa.AggregateContainerState())
    assert [container.add_cpu(milli, at_s) for at_s, milli in enumerate((0, -1, 0))] == [True, False, True]
    assert [container.add_memory(used, at_s) for at_s, used in enumerate((0, -1, 0))] == [True, False, True]


policies = st.builds(
    vpa.ContainerPolicy,
    st.sampled_from(["*", "server"]),
    st.fixed_dictionaries(
        {}, optional={"cpu": st.sampled_from([1, "500m", 0.5]), "memory": st.sampled_from([1, "1Gi"])}
    ),
    controlled_resources=st.sampled_from([("cpu",), ("memory",), ("cpu", "memory")]),
    controlled_values=st.sampled_from(["RequestsAndLimits", "RequestsOnly"]),
    mode=st.sampled_from(["Auto", "Off"]),
)


@given(st.sampled_from(["Off", "Initial", "Recreate"]), st.lists(policies, max_size=2).map(tuple))
def test_a_manifest_is_read_as_it_is_written(mode: str, containers: tuple[vpa.ContainerPolicy, ...]) -> None:
    scaler = vpa.VerticalPodAutoscaler("bert", BERT, mode, containers)
    assert vpa.VerticalPodAutoscaler.of(scaler.manifest()) == scaler


def test_what_kubectl_shows_is_read_and_the_defaults_filled_in() -> None:
    stored = {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": {"name": "bert", "uid": "1", "creationTimestamp": "2026-08-01T00:00:00Z"},
        "spec": {
            "targetRef": BERT.manifest(),
            "updatePolicy": None,
            "resourcePolicy": {"containerPolicies": [{"containerName": "*"}]},
        },
        "status": {"conditions": []},
    }
    assert vpa.VerticalPodAutoscaler.of(stored) == vpa.VerticalPodAutoscaler(
        "bert", BERT, container_policies=(vpa.ContainerPolicy(),)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2"}, "is invalid"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "spec": None}, 'Unsupported value: "ConfigMap"'),
        (
            {"spec": {"targetRef": BERT.manifest(), "updatePolicy": {"updateMode": "Sometimes"}}},
            'Unsupported value: "Sometimes"',
        ),
        ({"spec": {"targetRef": BERT.manifest(), "updatePolicies": {}}}, 'unknown field "spec.updatePolicies"'),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(change: manifest.Manifest, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        vpa.VerticalPodAutoscaler.of(vpa.VerticalPodAutoscaler("bert", BERT).manifest() | change)


def test_in_mode_off_nothing_is_set() -> None:
    assert vpa.ContainerPolicy("sidecar", mode="Off").controlled(vpa.Amounts(100, 2**30)) == {}
    with pytest.raises(admission.Invalid, match='Unsupported value: "Sometimes": supported values: "Auto", "Off"'):
        vpa.VerticalPodAutoscaler("bert", BERT, container_policies=(vpa.ContainerPolicy(mode="Sometimes"),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_cpu_percentile": 1.5},
        {"upper_bound_memory_percentile": -0.1},
        {"histogram_half_life_s": 0},
        {"oom_bump_up_ratio": 0.9},
    ],
)
def test_flags_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(admission.Invalid, match=next(iter(wrong))):
        vpa.RecommenderFlags(**wrong)


def test_each_resource_has_percentiles_of_its_own() -> None:
    """`CreatePodResourceRecommender`: target-cpu-percentile, target-memory-percentile and those of the bounds."""
    flags = vpa.RecommenderFlags(target_memory_percentile=0.99, lower_bound_cpu_percentile=0.9)
    ours, default = (vpa.AggregateContainerState(each) for each in (flags, vpa.RecommenderFlags()))
    for usage in (ours, default):
        for minute in range(100):
            usage.add_cpu(100 + 10 * minute, minute * 60.0)
            usage.add_peak((100 + 10 * minute) * 2**20, minute * 60.0)
    target, before = vpa.recommend(ours).target, vpa.recommend(default).target
    assert (target.cpu_milli, target.memory_bytes > before.memory_bytes) == (before.cpu_milli, True)
    low, low_before = vpa.recommend(ours).lower_bound, vpa.recommend(default).lower_bound
    assert (low.cpu_milli > low_before.cpu_milli, low.memory_bytes) == (True, low_before.memory_bytes)


def stored(policy: manifest.Manifest | None = None, **spec: Any) -> manifest.Manifest:
    """An object as somebody writes it, with one policy for the container `a`."""
    policies = {"resourcePolicy": {"containerPolicies": [{"containerName": "a", **policy}]}} if policy else {}
    head = {"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "metadata": {"name": "bert"}}
    return {**head, "spec": {"targetRef": BERT.manifest(), **policies, **spec}}


@pytest.mark.parametrize(
    ("obj", "path", "words"),
    [
        (stored(updatePolicy={"minReplicas": 1}), "updateMode", "updateMode is required if UpdatePolicy is used"),
        (stored(updatePolicy={"updateMode": "Off", "minReplicas": 0}), "minReplicas", "minReplicas has to be positive"),
        (stored(recommenders=[{"name": "a"}, {"name": "b"}]), "spec.recommenders", "Too many: 2: must have at most 1"),
        (stored({"minAllowed": {"cpu": "0.5m"}}), "minAllowed.cpu", "must be a whole number of milli CPUs"),
        (stored({"maxAllowed": {"memory": "500m"}}), "maxAllowed.memory", "must be a whole number of bytes"),
        (
            stored({"mode": "Off", "controlledValues": "RequestsAndLimits"}),
            "controlledValues",
            "Forbidden: controlledValues shouldn't be specified if container scaling mode is off",
        ),
        (stored({"mode": False}), "mode", "quote it"),
        (stored({"oomBumpUpRatio": "0.9"}), "oomBumpUpRatio", "must be greater than or equal to 1.0"),
        (stored({"oomMinBumpUp": "lots"}), "oomMinBumpUp", "quantit"),
        (stored({"memoryAggregationIntervalCount": 0}), "memoryAggregationIntervalCount", "greater than or equal to 1"),
        (stored(startupBoost={"cpu": {"type": "Factor"}}), "startupBoost.cpu", "factor is required when type is Factor"),
        (
            stored({"startupBoost": {"cpu": {"type": "Factor", "factor": 2, "quantity": 1}}}),
            "startupBoost.cpu",
            "quantity is required when type is Quantity and forbidden otherwise",
        ),
    ],
)  # fmt: skip
def test_the_webhooks_rules(obj: manifest.Manifest, path: str, words: str) -> None:
    """`validation.go` of the admission controller, and the expressions of the CRD."""
    (problem,) = validate(obj)
    assert isinstance(problem, admission.Problem)
    assert problem.path.endswith(path)
    assert words in problem.message


@pytest.mark.parametrize(
    ("obj", "gate"),
    [
        (stored({"oomBumpUpRatio": "1.5"}), "PerVPAConfig"),
        (stored(updatePolicy={"updateMode": "Off", "evictAfterOOMSeconds": 5}), "PerVPAConfig"),
        (stored(startupBoost={"cpu": {"type": "Factor", "factor": 2}}), "CPUStartupBoost"),
        (stored(updatePolicy={"updateMode": "InPlace"}), "InPlace"),
    ],
)
def test_what_a_feature_gate_decides_is_a_warning(obj: manifest.Manifest, gate: str) -> None:
    (warning,) = validate(obj)
    assert isinstance(warning, admission.ApiWarning)
    assert f"with feature gate {gate} off, as by default, the webhook says: " in warning.message


def test_a_policy_in_mode_off_is_one_that_the_webhook_takes() -> None:
    off = vpa.VerticalPodAutoscaler("bert", BERT, container_policies=(vpa.ContainerPolicy("a", mode="Off"),))
    assert validate(off.manifest()) == []
    assert vpa.VerticalPodAutoscaler.of(off.manifest()) == off


def test_a_container_in_mode_off_has_no_recommendation_and_no_share_of_the_minimum() -> None:
    """`routines/vpa.go`; a policy of the container's own name comes before that of "*"."""
    policies = (vpa.ContainerPolicy("*", {"cpu": "100m"}), vpa.ContainerPolicy("sidecar", mode="Off"))
    usage = {name: vpa.AggregateContainerState() for name in ("server", "sidecar")}
    scaler = vpa.VerticalPodAutoscaler("bert", BERT, container_policies=policies)
    assert {name: each.target for name, each in scaler.recommendations(usage).items()} == {
        "server": vpa.Amounts(100, 250 * 2**20)
    }
    both = vpa.VerticalPodAutoscaler("bert", BERT).recommendations(usage)
    assert [each.target for each in both.values()] == [vpa.Amounts(12, 125 * 2**20)] * 2
