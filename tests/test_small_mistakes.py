"""Tests that kill the mutants which the rooms' own tests let live; the head of each group says where it belongs."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from test_hpa import autoscaler, observe
from test_keda import LOAD, scaled
from test_kserve_canary import ROLLOUT

from mlinfra import admission
from mlinfra.admission import validate
from mlinfra.autoscaling import hpa, keda, knative, loop, vpa
from mlinfra.course import steps
from mlinfra.helm.bill import HOURS_PER_MONTH, Bill, Line
from mlinfra.helm.upgrade import History
from mlinfra.kserve import canary
from mlinfra.pipelines.cache import Cache
from mlinfra.pipelines.execution import Step, longest_path_first
from mlinfra.ray_serve.router import Outcome, Replica, Stage, shorter_of_two, simulate, takes

# --------------------------------------------------------------------------------------- autoscaling: tests/test_hpa.py


def test_a_failing_metric_does_not_block_a_pass_that_keeps_the_count() -> None:
    """`computeReplicasForMetrics` gives up only where the valid proposals are below the current count."""
    scaler = autoscaler(metrics=(hpa.Resource("cpu", hpa.Utilization(60)), hpa.Pods("rps", hpa.AverageValue(10))))
    seen = observe(4, 4 * 5 * 60)
    decision = hpa.reconcile(scaler, hpa.Observation(4, seen.pods, (*seen.readings, None)), hpa.History(), 0)
    assert decision.scaling_active is not None
    assert (decision.desired, decision.scaling_active.status, decision.scaling_active.reason) == (
        4,
        True,
        "ValidMetricFound",
    )


# -------------------------------------------------------------------------------------- autoscaling: tests/test_keda.py


def test_cpu_and_memory_together_cannot_wake_from_zero_either() -> None:
    memory = keda.Trigger("memory", threshold=60, metric_type="Utilization")
    with pytest.raises(admission.Invalid, match="only cpu/memory triggers"):
        scaled(triggers=(LOAD, memory))


def test_the_minimum_may_equal_the_maximum() -> None:
    """`CheckReplicaCountBoundsAreValid`: less than or equal."""
    assert scaled(min_replica_count=5, max_replica_count=5).hpa().min_replicas == 5


def test_a_maximum_that_is_not_given_is_100() -> None:
    for low, problems in ((100, 0), (101, 1)):
        obj = scaled(min_replica_count=1).manifest()
        obj["spec"]["minReplicaCount"] = low
        del obj["spec"]["maxReplicaCount"]
        assert len(validate(obj)) == problems


def test_before_the_first_activity_the_initial_cooldown_must_be_over() -> None:
    """Creation plus the cooldown must lie before now."""
    for age_s, after in ((60, 4), (60.1, 0)):
        seen = keda.Status(4, False, created_age_s=age_s)
        assert keda.request_scale(scaled(initial_cooldown_period=60), seen) == after


# ----------------------------------------------------------------------------------- autoscaling: tests/test_knative.py


def test_the_deciders_defaults_are_the_clusters() -> None:
    """config-autoscaler: 70 % of 100 requests, burst 211, panic at 200 %, up 1000-fold, down by half, 60 s."""
    assert knative.decider(knative.Revision()) == knative.Decider(70, 100)
    assert knative.Decider(70, 100) == knative.Decider(70, 100, 211, 2, 1000, 2, 60, 0, 0, True)


def test_a_revision_that_starts_with_a_pod_counts_its_window_from_second_zero() -> None:
    """60 s of the stable window and 30 s of grace."""
    scaler, pods = knative.Autoscaler(ready_pods=1), {}
    for second in range(100):
        scaler.record(second, 0)
        if second % 2 == 0:
            pods[second] = scaler.desired(second, ready_pods=1).desired
    assert next(second for second in pods if pods[second] == 0) == 90


def test_scales_are_int32() -> None:
    """`strconv.ParseInt(v, 10, 32)`."""
    assert knative.Revision(max_scale=2**31 - 1).max_scale == 2**31 - 1
    with pytest.raises(admission.Invalid, match="max_scale: Invalid value: 2147483648"):
        knative.Revision(max_scale=2**31)


def test_the_rate_down_divides_as_a_double_does() -> None:
    """math.Floor(11 / 1.1) is 10; whole division of the doubles would give 9."""
    spec = knative.Decider(10, 14, max_scale_down_rate=1.1)
    assert knative.scale(spec, knative.State(), 0.0, 11, 1.0, 1.0).desired == 10


# --------------------------------------------------------------------------------------- autoscaling: tests/test_vpa.py


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
    container = vpa.Container(vpa.Aggregate())
    assert [container.add_cpu(milli, at_s) for at_s, milli in enumerate((0, -1, 0))] == [True, False, True]
    assert [container.add_memory(used, at_s) for at_s, used in enumerate((0, -1, 0))] == [True, False, True]


# ----------------------------------------------------------------------------------- autoscaling: tests/test_loop.py


def test_what_is_not_said_of_a_service_costs_nothing_and_a_gpu_costs_what_it_does_on_the_bill() -> None:
    assert loop.ColdStart().total_s == 0
    assert loop.Service(1.0).dollars_per_gpu_hour == Line("serving", 1).dollars_per_gpu_hour == 3


def test_an_hpa_in_the_loop_reads_exact_thousandths() -> None:
    """6 in flight at 3 a pod are 2 pods; a little more would be 3."""
    goal = (hpa.External("in_flight", hpa.AverageValue(3)),)
    scaler = loop.ByHPA(autoscaler(metrics=goal), lambda seen: seen.in_flight)
    assert scaler.decide(0.0, loop.Snapshot(0.0, 1, 6, 0, 0.0, 1.0), 1) == 2


def test_an_hpa_on_cpu_in_the_loop() -> None:
    """Pods request one core: 4 busy cores in 4 pods are 100 %, twice the target."""
    by_cpu = autoscaler(metrics=(hpa.Resource("cpu", hpa.Utilization(50)),))
    scaler = loop.ByHPA(by_cpu, lambda seen: seen.busy * seen.ready)
    assert scaler.decide(0.0, loop.Snapshot(0.0, 4, 0, 4, 0.0, 1.0), 4) == 8


# ---------------------------------------------------------------------------------- kserve: tests/test_kserve_canary.py


def exact_tail(limit: float, bad: int, requests: int) -> float:
    return math.fsum(
        math.comb(requests, k) * limit**k * (1 - limit) ** (requests - k) for k in range(bad, requests + 1)
    )


@pytest.mark.parametrize(("limit", "requests"), [(0.01, 100), (0.2, 50), (0.5, 30), (0.9, 200)])
def test_the_fewest_that_break_a_limit(limit: float, requests: int) -> None:
    counts = range(requests + 1)
    fewest = next(n for n in counts if n > limit * requests and exact_tail(limit, n, requests) < canary.DOUBT)
    assert [canary.breaks(limit, n, requests) for n in counts] == [n >= fewest for n in counts]


def test_how_far_a_skewed_arm_moves_the_boundary() -> None:
    """Cornish and Fisher: skewness / 6 x (z^2 - 1), with skewness = third moment / variance^1.5, here 1 / 2."""
    found = canary.Evidence(0.0, variance=4.0, third_moment=4.0)
    assert found.limit(5) == pytest.approx(2.040 + 0.5 / 6 * (2.040**2 - 1))


def test_what_never_fails_has_no_errors() -> None:
    assert canary.bad(1000, 0.0, random.Random(1)) == 0


def test_stages_need_not_be_held() -> None:
    assert replace(ROLLOUT, hold_s=0).hold_s == 0


# ---------------------------------------------------------------------------------- ray_serve: tests/test_ray_router.py


def test_called_stages_follow_one_another() -> None:
    """1 s in the first, 2 s in the second, then half a second of its own."""
    stages = [Stage("a", takes(1.0)), Stage("b", takes(2.0)), Stage("front", takes(0.5), calls=("a", "b"))]
    assert simulate(stages, [0.0]).times_s == {"a": [1.0], "b": [2.0], "front": [3.5]}


def test_two_are_drawn_and_not_three() -> None:
    """Of three the longest queue never wins, and the second wins whenever the shortest is not drawn."""
    draw, replicas = random.Random(0), [Replica(ongoing) for ongoing in range(3)]
    assert {shorter_of_two(replicas, draw).ongoing for _ in range(100)} == {0, 1}


def test_percentiles_of_a_stage_are_nearest_ranks() -> None:
    times = Outcome({"s": [4.0, 1.0, 3.0, 2.0]})
    assert [times.percentile_s("s", p) for p in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1.0, 1.0, 2.0, 3.0, 4.0]


# ------------------------------------------------------------------------------------- helm: tests/test_helm_upgrade.py


def test_a_rollback_without_a_number_goes_to_the_one_before_the_newest() -> None:
    """`helm rollback RELEASE`: of three revisions the second."""
    history = History("bert")
    for replicas in (1, 2, 3):
        history = history.upgrade([{"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replicas": replicas}}])
    newest = history.rollback().revisions[-1]
    assert (newest.description, newest.objects[0]["spec"]["replicas"]) == ("Rollback to 2", 2)


def test_a_month_has_720_hours_and_no_bill_is_infinite() -> None:
    assert HOURS_PER_MONTH == 30 * 24
    for wrong in (math.inf, math.nan, -1):
        with pytest.raises(admission.Invalid, match="must be 0 or more"):
            Line("training", wrong)
    assert Line("idle", 0).dollars == 0
    assert Bill((Line("serving", 1, 3.0),), 3).dollars_per_million == 1e6


# ------------------------------------------------------------------------- pipelines: tests/test_pipelines_execution.py


def test_of_several_ways_to_the_end_the_longest_counts() -> None:
    """`fork` has 1 + 9 before it, `lone` 5."""
    forked = [Step("lone", 5), Step("fork", 1), Step("short", 1, ("fork",)), Step("long", 9, ("fork",))]
    assert [step.name for step in longest_path_first(forked)] == ["fork", "long", "lone", "short"]


# ----------------------------------------------------------------------------- pipelines: tests/test_pipelines_local.py


def test_no_two_artifacts_share_an_id() -> None:
    """Five from the first run; the second finds what `prepare` put out, and makes three more."""
    cache, course = Cache(), steps.pipeline()
    cache.run(course)
    cache.run(course, {"epochs": 3})
    ids = [number for made in cache.executions.values() for number in made.values()]
    assert sorted(ids) == list(range(1, 9))
