"""KEDA beyond upstream's cases: the HPA it writes, sleep and wake, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission, manifest
from mlinfra.admission import validate
from mlinfra.autoscaling import hpa, keda

BERT = manifest.ObjectReference("Deployment", "bert-classifier")
RATE = keda.Trigger("prometheus", {"query": "sum(rate(http_requests_total[1m]))"}, 100, 1)
LOAD = keda.Trigger("cpu", threshold=60, metric_type="Utilization")


def scaled(**given: Any) -> keda.ScaledObject:
    parts: dict[str, Any] = {"name": "bert", "scale_target_ref": BERT, "triggers": (RATE,)}
    return keda.ScaledObject(**parts | given)


def test_the_hpa_that_keda_writes() -> None:
    made = scaled(triggers=(RATE, LOAD), max_replica_count=20, behavior=hpa.Behavior()).hpa()
    assert (made.name, made.min_replicas, made.max_replicas) == ("keda-hpa-bert", 1, 20)
    assert made.metrics == (
        hpa.External("s0-prometheus", hpa.AverageValue(100)),
        hpa.Resource("cpu", hpa.Utilization(60)),
    )
    assert admission.validate(made.manifest()) == []


def test_values_in_the_manifest_are_strings() -> None:
    (trigger,) = scaled().manifest()["spec"]["triggers"]
    assert trigger["metadata"]["threshold"] == "100"
    assert trigger["metadata"]["activationThreshold"] == "1"


def test_asleep_until_above_the_activation_threshold() -> None:
    assert [RATE.active(value) for value in (0, 1, 1.1)] == [False, False, True]
    assert keda.request_scale(scaled(), keda.Status(0, active=True)) == 1
    assert keda.request_scale(scaled(min_replica_count=3), keda.Status(0, active=True)) == 3


@given(st.integers(0, 50), st.integers(0, 5), st.floats(0, 1000))
def test_idle_goes_to_zero_only_without_a_minimum_and_after_the_cooldown(replicas: int, low: int, age_s: float) -> None:
    after = keda.request_scale(scaled(min_replica_count=low), keda.Status(replicas, False, last_active_age_s=age_s))
    if low == 0 and age_s > 300:
        assert after == 0
    else:
        assert after == max(replicas, low)


def test_idle_replicas() -> None:
    idle = scaled(min_replica_count=5, idle_replica_count=1)
    assert keda.request_scale(idle, keda.Status(7, active=False)) == 1
    assert keda.request_scale(idle, keda.Status(1, active=False)) == 1
    assert keda.request_scale(idle, keda.Status(1, active=True)) == 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"min_replica_count": 5, "max_replica_count": 2},
            "spec.minReplicaCount: Invalid value: 5: MinReplicaCount=5 must be",
        ),
        ({"min_replica_count": 2, "idle_replica_count": 2}, "IdleReplicaCount=2 must be less than MinReplicaCount=2"),
        ({"triggers": ()}, "spec.triggers: Required value"),
        ({"triggers": (LOAD,)}, "only cpu/memory triggers"),
        ({"triggers": (keda.Trigger("kafka", metric_type="Average"),)}, 'metricType: Unsupported value: "Average"'),
        ({"polling_interval": 0}, "spec.pollingInterval: Invalid value: 0: must be greater than or equal to 1"),
        ({"cooldown_period": -1}, "spec.cooldownPeriod: Invalid value: -1"),
        ({"name": "My"}, "metadata.name"),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        scaled(**wrong)


def test_the_cooldown_must_be_over() -> None:
    for age_s, after in ((300, 4), (300.1, 0)):
        assert keda.request_scale(scaled(), keda.Status(4, False, last_active_age_s=age_s)) == after


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
