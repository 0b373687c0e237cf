"""The HPA beyond upstream's cases: invariants, clear errors, and the manifest that it writes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from builders import BERT, autoscaler
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission, manifest
from mlinfra.autoscaling import hpa


def observe(replicas: int, total_milli: int) -> hpa.Observation:
    pods = hpa.running_pods(replicas, cpu="500m")
    return hpa.Observation(replicas, pods, (hpa.evenly(total_milli, pods),))


policies = st.builds(hpa.ScalingPolicy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.integers(1, 1800))
rules = st.builds(
    hpa.ScalingRules,
    st.none() | st.lists(policies, min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, "Max", "Min", "Disabled"]),
    st.none() | st.integers(0, 3600),
    st.sampled_from([None, "0", "0.05", "0.5"]),
)
behaviors = st.none() | st.builds(hpa.Behavior, rules, rules)
loads = st.lists(st.integers(0, 30_000), min_size=1, max_size=30)


@given(behaviors, st.integers(1, 5), st.integers(0, 20), st.integers(1, 30), loads)
def test_replicas_stay_in_bounds_whatever_the_load(
    behavior: hpa.Behavior | None, low: int, width: int, start: int, load: list[int]
) -> None:
    """From any start the first pass returns to [min, max]; no later pass leaves it."""
    scaler = autoscaler(min_replicas=low, max_replicas=low + width, behavior=behavior)
    run = hpa.simulate(scaler, lambda t, n: observe(n, load[int(t / 15) % len(load)]), start, 15 * len(load))
    assert all(low <= decision.desired <= low + width for decision in run)


@given(behaviors, loads)
def test_a_pass_changes_nothing_but_its_result(behavior: hpa.Behavior | None, load: list[int]) -> None:
    scaler, history = autoscaler(behavior=behavior), hpa.ScaleHistory()
    first = hpa.reconcile(scaler, observe(4, load[0]), history, 0)
    assert history == hpa.ScaleHistory()
    assert first == hpa.reconcile(scaler, observe(4, load[0]), history, 0)


@given(st.integers(1, 50), st.integers(1, 400), st.integers(1, 200))
def test_whole_fleet_follows_the_formula(pods: int, percent: int, target: int) -> None:
    """All pods ready and reporting, no history: ceil(pods x ratio) outside the tolerance, nothing inside."""
    scaler = autoscaler(max_replicas=10_000, metrics=(hpa.Resource("cpu", hpa.Utilization(target)),))
    seen = observe(pods, pods * 5 * percent)
    proposal = hpa.propose(scaler, seen, 0, hpa.ControllerFlags())[0]
    ratio = percent / target
    assert isinstance(proposal, hpa.Proposal)
    assert proposal.replicas == (pods if 0.9 <= ratio <= 1.1 else math.ceil(ratio * pods))


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=12), st.data())
def test_a_silent_pod_damps_in_both_directions(usage: list[int], data: st.DataObject) -> None:
    """Losing one pod's metric never moves the count further from where it is."""
    pods = hpa.running_pods(len(usage), cpu="500m")
    samples = {pod.name: hpa.Sample(milli) for pod, milli in zip(pods, usage, strict=True)}
    view = hpa.View(len(pods), len(pods), pods, 0, hpa.Tolerances(0.1, 0.1), hpa.ControllerFlags())
    average = hpa.AverageValue("300m")
    silent = data.draw(st.sampled_from(sorted(samples)))
    heard = {name: sample for name, sample in samples.items() if name != silent}
    partial, _, _ = hpa.per_pod_replicas(view, heard, average)
    full, _, _ = hpa.per_pod_replicas(view, heard | {silent: hpa.Sample(300)}, average)
    assert min(len(pods), full) <= partial <= max(len(pods), full)


def test_a_failing_metric_blocks_only_the_way_down() -> None:
    scaler = autoscaler(metrics=(hpa.Resource("cpu", hpa.Utilization(60)), hpa.Pods("rps", hpa.AverageValue(10))))
    for percent, desired in ((90, 6), (20, 4)):
        seen = observe(4, 4 * 5 * percent)
        decision = hpa.reconcile(scaler, hpa.Observation(4, seen.pods, (*seen.readings, None)), hpa.ScaleHistory(), 0)
        assert decision.desired == desired
        assert decision.failure is not None
        assert decision.failure.reason == "FailedGetPodsMetric"
        assert "no metrics returned from custom metrics API" in " ".join(decision.why().split())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hpa.reconcile(autoscaler(), hpa.running_pods(2)), "must be an Observation(spec_replicas, pods, readings)"),  # type: ignore[arg-type]
        (lambda: hpa.simulate(autoscaler(), lambda now_s, replicas: 3, 2, 60), "observation: Invalid value: 3: must be an Observation"),  # type: ignore[arg-type, return-value]
        (lambda: hpa.reconcile(autoscaler().manifest(), observe(2, 500)), "HorizontalPodAutoscaler.of reads a manifest"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_a_pass_cannot_read_is_one_clear_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        call()


def test_a_first_pass_needs_no_history() -> None:
    first = hpa.reconcile(autoscaler(), observe(2, 500))
    assert first == hpa.reconcile(autoscaler(), observe(2, 500), hpa.ScaleHistory(), 0.0)


def test_conditions_read_as_kubectl_describe_shows_them() -> None:
    decision = hpa.reconcile(autoscaler(), observe(4, 4 * 500), hpa.ScaleHistory(), 0)
    assert [(c.type, c.status, c.reason) for c in decision.conditions()] == [
        ("AbleToScale", True, "SucceededRescale"),
        ("ScalingActive", True, "ValidMetricFound"),
        ("ScalingLimited", False, "DesiredWithinRange"),
    ]
    assert "the HPA controller was able to update the target scale to 5" in str(decision.conditions()[0])


@pytest.mark.parametrize(
    ("current", "milli", "desired", "reason"),
    [
        (4, 4 * 1200, 8, "TooManyReplicas"),  # the policies allow 8 as the maximum does: the maximum is named
        (3, 3 * 1200, 7, "ScaleUpLimit"),  # the policies allow 7, the maximum 8
        (4, 4 * 450, 6, "DesiredWithinRange"),
        (4, 4 * 10, 2, "TooFewReplicas"),  # the policy allows 2 as the minimum does
        (6, 6 * 10, 4, "ScaleDownLimit"),
    ],
)
def test_the_condition_names_the_limit_that_held(current: int, milli: int, desired: int, reason: str) -> None:
    """`convertDesiredReplicasWithBehaviorRate` in `horizontal.go`: up to 4 pods more or twice, down by 2 pods here."""
    down = hpa.ScalingRules((hpa.ScalingPolicy("Pods", 2, 60),), None, 0)
    scaler = autoscaler(
        min_replicas=2,
        max_replicas=8,
        metrics=(hpa.Resource("cpu", hpa.Utilization(60)),),
        behavior=hpa.Behavior(scale_down=down),
    )
    decision = hpa.reconcile(scaler, observe(current, milli))
    assert decision.desired == desired
    assert decision.scaling_limited is not None
    assert decision.scaling_limited.reason == reason


def test_at_zero_pods_that_somebody_else_set_scaling_is_inactive() -> None:
    decision = hpa.reconcile(autoscaler(), hpa.Observation(0, (), (None,)))
    assert [(c.type, c.status, c.reason) for c in decision.conditions()][1:] == [
        ("ScalingActive", False, "ScalingDisabled")
    ]


@pytest.mark.parametrize(("duration_s", "passes"), [(60, [0, 15, 30, 45, 60]), (59, [0, 15, 30, 45])])
def test_the_last_pass_is_at_the_end_of_the_simulated_time(duration_s: int, passes: list[int]) -> None:
    run = hpa.simulate(autoscaler(), lambda now_s, replicas: observe(replicas, 500), 2, duration_s)
    assert [decision.at_s for decision in run] == passes


def test_a_fleet_at_its_maximum_or_minimum_still_follows_its_metrics() -> None:
    """Only a count outside [min, max] goes back without a look at them."""
    scaler = autoscaler(min_replicas=2, max_replicas=8, metrics=(hpa.Resource("cpu", hpa.Utilization(60)),))
    assert hpa.reconcile(scaler, observe(8, 8 * 150), hpa.ScaleHistory()).desired == 8  # the window still holds it
    free = hpa.ScaleHistory(recommendations=())
    assert hpa.reconcile(scaler, observe(8, 8 * 150), free).desired == 4
    assert hpa.reconcile(scaler, observe(2, 2 * 600), free).desired == 4


@pytest.mark.parametrize(
    ("queues", "named"), [((4, 4), "first"), ((4, 8), "second"), ((8, 4), "first"), ((0, 0), "second")]
)
def test_of_equal_proposals_the_first_is_named_unless_they_are_zero(queues: tuple[int, int], named: str) -> None:
    """`computeReplicasForMetrics` takes a later one also where the count so far is 0."""
    goals = tuple(hpa.External(name, hpa.AverageValue(4)) for name in ("first", "second"))
    readings = tuple([queue * 1000] for queue in queues)
    pods = hpa.running_pods(2)
    decision = hpa.reconcile(autoscaler(metrics=goals), hpa.Observation(2, pods, readings))
    assert decision.scaling_active is not None
    assert f"external metric {named}(nil)" in decision.scaling_active.message


@pytest.mark.parametrize(
    ("low", "metric", "reading", "desired", "reason"),
    [
        (0, hpa.External("q", hpa.AverageValue(4)), [8000], 2, "ValidMetricFound"),
        (1, hpa.External("q", hpa.AverageValue(4)), [8000], 2, "ValidMetricFound"),
        (2, hpa.Resource("cpu", hpa.Utilization(60)), None, 0, "FailedGetResourceMetric"),  # no pods, no CPU
    ],
)
def test_an_hpa_that_scaled_to_zero_reads_its_metrics_there(
    low: int, metric: hpa.Metric, reading: hpa.Reading, desired: int, reason: str
) -> None:
    flags, history = hpa.ControllerFlags(hpa_scale_to_zero=True), hpa.ScaleHistory(scaled_to_zero=True)
    scaler = autoscaler(min_replicas=low, metrics=(metric,))
    decision = hpa.reconcile(scaler, hpa.Observation(0, (), (reading,)), history, 0, flags)
    assert decision.scaling_active is not None
    assert (decision.desired, decision.scaling_active.reason) == (desired, reason)


def test_a_change_of_one_pod_is_an_event_of_its_direction() -> None:
    """One pod a minute upwards: the second has to wait until the first is a minute old."""
    up = hpa.ScalingRules((hpa.ScalingPolicy("Pods", 1, 60),), None, 0)
    scaler = autoscaler(behavior=hpa.Behavior(scale_up=up))
    run = hpa.simulate(scaler, lambda now_s, replicas: observe(replicas, replicas * 600), 2, 60)
    assert [decision.desired for decision in run] == [3, 3, 3, 3, 4]
    assert hpa.reconcile(scaler, observe(2, 1200)).history.scale_up_events == (hpa.Stamped(1, 0.0),)


def test_defaults_are_those_of_the_api() -> None:
    spec = autoscaler(metrics=(), behavior=hpa.Behavior()).manifest()["spec"]
    assert spec["metrics"][0]["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 80},
    }
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert "stabilizationWindowSeconds" not in spec["behavior"]["scaleDown"]


EVERY_SOURCE = (
    hpa.Resource("cpu", hpa.Utilization(60)),
    hpa.Resource("memory", hpa.AverageValue("2Gi")),
    hpa.ContainerResource("cpu", hpa.Utilization(50), "server"),
    hpa.Pods("requests_per_second", hpa.AverageValue(100), {"verb": "GET"}),
    hpa.Object(
        "hits", hpa.Value("10k"), described_object=manifest.ObjectReference("Ingress", "main", "networking.k8s.io/v1")
    ),
    hpa.External("queue_depth", hpa.AverageValue(30), {"queue": "work"}),
)


def test_the_manifest_says_all_that_the_algorithm_can_do() -> None:
    rules = hpa.ScalingRules((hpa.ScalingPolicy("Percent", 10, 60),), "Min", 120, "0.05")
    full = autoscaler(min_replicas=0, metrics=EVERY_SOURCE, behavior=hpa.Behavior(rules, rules))
    assert admission.validate(full.manifest()) == []
    assert 'averageValue: "100"' in manifest.to_yaml(full.manifest())


labels = st.none() | st.dictionaries(st.sampled_from(["queue", "verb"]), st.sampled_from(["a", "GET"]), min_size=1)
amounts = st.one_of(
    st.integers(1, 10**6), st.integers(1, 10**6).map("{}m".format), st.sampled_from(["2Gi", "1.5", "1e3"])
)
sources = (
    st.builds(hpa.Resource, st.sampled_from(["cpu", "memory"]), st.builds(hpa.Utilization, st.integers(1, 300)))
    | st.builds(hpa.ContainerResource, st.just("cpu"), st.builds(hpa.AverageValue, amounts), st.just("server"))
    | st.builds(hpa.Pods, st.just("rps"), st.builds(hpa.AverageValue, amounts), labels)
    | st.builds(
        hpa.External, st.just("q"), st.builds(hpa.Value, amounts) | st.builds(hpa.AverageValue, amounts), labels
    )
    | st.builds(hpa.Object, st.just("hits"), st.builds(hpa.Value, amounts), labels, described_object=st.just(BERT))
)


@given(st.integers(1, 5), st.integers(0, 20), st.lists(sources, max_size=3).map(tuple), behaviors)
def test_a_manifest_is_read_as_it_is_written(
    low: int, width: int, metrics: tuple[hpa.Metric, ...], behavior: hpa.Behavior | None
) -> None:
    scaler = autoscaler(min_replicas=low, max_replicas=low + width, metrics=metrics, behavior=behavior)
    assert hpa.HorizontalPodAutoscaler.of(scaler.manifest()) == scaler


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Deployment", "apiVersion": "apps/v1"}, 'Unsupported value: "Deployment"'),
        ({"spec": {"maxReplicas": 5, "scaleTargetRef": BERT.manifest(), "minReplica": 1}}, 'unknown field "spec.minReplica"'),
        ({"spec": {"maxReplicas": 5, "scaleTargetRef": BERT.manifest(), "metrics": [{"type": "Custom"}]}}, 'Unsupported value: "Custom"'),
        ({"metadata": {"generateName": "bert-"}}, "metadata.name: Required value"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "spec": None}, 'Unsupported value: "ConfigMap"'),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_refused(change: manifest.Manifest, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        hpa.HorizontalPodAutoscaler.of(autoscaler().manifest() | change)


def test_a_target_with_two_fields_is_read_by_its_type() -> None:
    obj = autoscaler(metrics=EVERY_SOURCE[4:5]).manifest()
    for kind in (hpa.Value, hpa.AverageValue):
        obj["spec"]["metrics"][0]["object"]["target"] = {"type": kind.__name__, "value": "10k", "averageValue": "5"}
        assert type(hpa.HorizontalPodAutoscaler.of(obj).metrics[0].target) is kind


def test_a_selector_by_expression_is_refused_and_a_null_field_is_not_given() -> None:
    obj = autoscaler(metrics=EVERY_SOURCE[3:4]).manifest()
    obj["spec"]["minReplicas"] = None
    obj["metadata"]["labels"] = {"app": "bert"}
    assert hpa.HorizontalPodAutoscaler.of(obj).min_replicas == 1
    obj["spec"]["metrics"][0]["pods"]["metric"]["selector"] = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    with pytest.raises(admission.Invalid, match="only matchLabels are read"):
        hpa.HorizontalPodAutoscaler.of(obj)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_replicas": 1, "min_replicas": 2}, "spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"),
        ({"max_replicas": -1}, "spec.maxReplicas: Invalid value: -1: must be greater than 0"),
        ({"max_replicas": 2.5}, "spec.maxReplicas: Invalid value: 2.5: must be an integer"),
        ({"min_replicas": -1}, "spec.minReplicas: Invalid value: -1: must be greater than or equal to 1"),
        ({"metrics": (hpa.Resource("cpu", hpa.Utilization(0)),)}, "averageUtilization: Invalid value: 0: must be greater than 0"),
        ({"metrics": (hpa.Resource("memory", hpa.AverageValue("4GB")),)}, 'averageValue: Invalid value: "4GB": quantities must match'),
        ({"metrics": (hpa.Pods("rps", hpa.AverageValue(math.nan)),)}, "averageValue: Invalid value: NaN: quantities must match"),
        ({"metrics": (hpa.Pods("rps", hpa.Value(1)),)}, "pods.target.averageValue: Required value"),
        ({"name": ""}, "metadata.name: Required value"),
    ],
)  # fmt: skip
def test_a_bad_object_is_refused_in_the_api_servers_words(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        autoscaler(**wrong)


def reconciled(metric: hpa.Metric, reading: hpa.Reading) -> Callable[[], Any]:
    pods = hpa.running_pods(2, cpu="500m")
    return lambda: hpa.reconcile(
        autoscaler(metrics=(metric,)), hpa.Observation(2, pods, (reading,)), hpa.ScaleHistory(), 0
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hpa.Sample(10**400), "milli: Invalid value: 1000"),
        (lambda: hpa.Sample(2**63), "must be less than or equal to 9223372036854775807"),
        (lambda: hpa.ObservedPod("p", phase="pending"), 'phase: Unsupported value: "pending"'),
        (lambda: hpa.ObservedPod("p", requests={"cpu": "x"}), "requests[cpu]"),
        (
            lambda: autoscaler(behavior=hpa.Behavior(hpa.ScalingRules((hpa.ScalingPolicy("Pods", 0, 15),)))),
            "policies[0].value: Invalid value: 0: must be greater than zero",
        ),
        (
            lambda: hpa.simulate(autoscaler(), lambda t, n: observe(n, 1), 1, 60, hpa.ControllerFlags(sync_period_s=0)),
            "sync_period_s",
        ),
        (lambda: hpa.Observation(-1, (), ()), "spec_replicas: Invalid value: -1: must be greater than or equal to 0"),
        (
            lambda: hpa.ContainerRequests("c", {"memory": "4GB"}),
            'requests[memory]: Invalid value: "4GB": quantities must',
        ),
        (reconciled(EVERY_SOURCE[3], 7), "reading: Invalid value: 7: must be a sample for each pod"),
        (reconciled(EVERY_SOURCE[4], [7]), "reading: Invalid value: [7]: must be one whole number of thousandths"),
        (reconciled(EVERY_SOURCE[5], 7), "reading: Invalid value: 7: must be a list of whole thousandths"),
        (
            lambda: hpa.reconcile(autoscaler(), hpa.Observation(1, (), ()), hpa.ScaleHistory(), 0),
            "readings: Invalid value: 0: must be one reading for each of 1 metrics",
        ),
    ],
)
def test_a_bad_reading_is_one_clear_error(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        call()


def test_a_metric_that_says_nothing_is_a_condition_not_an_error() -> None:
    for metric, words in zip(
        EVERY_SOURCE,
        (
            "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource",
            "failed to get memory usage: unable to get metrics for resource memory",
            "failed to get cpu utilization",
            "unable to get metric requests_per_second: no metrics returned from custom metrics API",
            "unable to get metric hits on Ingress main",
            "unable to get external metric queue_depth",
        ),
        strict=True,
    ):
        decision = reconciled(metric, None)()
        assert decision.desired == 2
        assert decision.scaling_active.status is False
        assert words in decision.scaling_active.message


def recommended(age_s: float) -> hpa.ScaleHistory:
    return hpa.ScaleHistory(recommendations=(hpa.Stamped(9, -age_s),))


def test_the_downscale_window_is_five_minutes() -> None:
    """Without `behavior` a recommendation of exactly 300 s ago still holds, with it no longer."""
    for behavior, held_s, free_s in ((None, 300, 300.1), (hpa.Behavior(), 299.9, 300)):
        scaler = autoscaler(behavior=behavior, min_replicas=1)
        assert hpa.reconcile(scaler, observe(9, 1500), recommended(held_s), 0).desired == 9
        assert hpa.reconcile(scaler, observe(9, 1500), recommended(free_s), 0).desired == 4


@pytest.mark.parametrize(("target", "replicas"), [(50, 3), (100, 2), (150, 2)])
def test_a_missing_pod_uses_all_of_its_request_or_the_target(target: int, replicas: int) -> None:
    """Three of four pods use 10 %, the fourth counts with 100 % or a target above: 32 % of four pods, at 150 % 45 %."""
    pods = hpa.running_pods(4, cpu="500m")
    view = hpa.View(4, 4, pods, 0, hpa.Tolerances(0.1, 0.1), hpa.ControllerFlags())
    metric = hpa.Resource("cpu", hpa.Utilization(target))
    proposal = hpa.compute_replicas_for_metric(metric, hpa.evenly(150, pods[:3]), view)
    assert proposal.replicas == replicas


def test_a_missing_pod_uses_no_more_than_its_request_where_the_target_is_below() -> None:
    """One of four pods uses 5m, the others count with 500m: 75.25 % of 2000m, and a target of 100 % asks for three."""
    pods = hpa.running_pods(4, cpu="500m")
    view = hpa.View(4, 4, pods, 0, hpa.Tolerances(0.0, 0.0), hpa.ControllerFlags())
    metric = hpa.Resource("cpu", hpa.Utilization(100))
    assert hpa.compute_replicas_for_metric(metric, hpa.evenly(5, pods[:1]), view).replicas == 3


def test_for_a_target_in_amounts_a_missing_pod_uses_the_target() -> None:
    """Two of four pods use 150m each, the others count with the target of 300m: 900m are exactly three times 300m."""
    pods = hpa.running_pods(4, cpu="500m")
    view = hpa.View(4, 4, pods, 0, hpa.Tolerances(0.0, 0.0), hpa.ControllerFlags())
    metric = hpa.Resource("cpu", hpa.AverageValue("300m"))
    assert hpa.compute_replicas_for_metric(metric, hpa.evenly(300, pods[:2]), view).replicas == 3


def test_a_sum_of_zero_asks_for_no_pods() -> None:
    decision = reconciled(hpa.External("q", hpa.AverageValue(4)), [0, 0])()
    assert decision.proposals[0].replicas == 0


def test_the_pods_own_request_counts_and_the_containers_for_the_rest() -> None:
    pod = hpa.ObservedPod("p", (hpa.ContainerRequests("c", {"cpu": 1, "memory": "1Gi"}),), requests={"memory": "2Gi"})
    assert hpa.calculate_requests([pod], "memory") == {"p": 2 * 2**30 * 1000}
    assert hpa.calculate_requests([pod], "cpu") == {"p": 1000}
    with pytest.raises(hpa.MetricError, match="missing pod-level request for nvidia"):
        hpa.calculate_requests([pod], "nvidia.com/gpu")


def test_a_negative_external_sum_is_taken_for_an_overflow_per_pod() -> None:
    for series, replicas in (([-5000], 2**31 - 1), ([9000, -5000], 1), ([-5000, 9000], 2**31 - 1)):
        decision = reconciled(hpa.External("q", hpa.AverageValue(4)), series)()
        assert decision.proposals[0].replicas == replicas


@pytest.mark.parametrize("series", [[0], [-5000]])  # upstream raises a negative proposal to 0 before it names a reason
def test_waking_to_the_minimum_says_so(series: list[int]) -> None:
    scaler = autoscaler(min_replicas=2, metrics=(hpa.External("q", hpa.Value(4)),), behavior=hpa.Behavior())
    decision = hpa.reconcile(scaler, hpa.Observation(0, (), (series,)), hpa.ScaleHistory(scaled_to_zero=True), 0)
    assert decision.desired == 2
    assert "reason: Current number of replicas below Spec.MinReplicas" in decision.why()


def test_a_failing_metric_does_not_block_a_pass_that_keeps_the_count() -> None:
    """`computeReplicasForMetrics` gives up only where the valid proposals are below the current count."""
    scaler = autoscaler(metrics=(hpa.Resource("cpu", hpa.Utilization(60)), hpa.Pods("rps", hpa.AverageValue(10))))
    seen = observe(4, 4 * 5 * 60)
    decision = hpa.reconcile(scaler, hpa.Observation(4, seen.pods, (*seen.readings, None)), hpa.ScaleHistory(), 0)
    assert decision.scaling_active is not None
    assert (decision.desired, decision.scaling_active.status, decision.scaling_active.reason) == (
        4,
        True,
        "ValidMetricFound",
    )
