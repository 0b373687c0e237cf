"""What kubectl would show: columns, conditions, events and the custom metrics API's answer."""

from __future__ import annotations

import json

from mlinfra.autoscaling import hpa, keda, vpa
from mlinfra.course import autoscaler_status as status
from mlinfra.course import loads, race
from mlinfra.course.exercises.autoscaling import on_cpu


def test_describe_lists_metrics_conditions_and_the_rescale() -> None:
    scaler = on_cpu(60)
    text = status.describe_hpa(scaler, hpa.reconcile(scaler, loads.at_percent(90))).text
    assert "resource cpu on pods  (as a percentage of request):  90% (450m) / 60%\n" in text
    assert "Deployment pods:                                       4 current / 6 desired\n" in text
    assert "  AbleToScale     True    SucceededRescale    the HPA controller was able to update" in text
    assert "  Normal  SuccessfulRescale  horizontal-pod-autoscaler  New size: 6; reason: cpu" in text


def test_describe_tells_of_a_metric_that_failed() -> None:
    metrics = (*on_cpu(60).metrics, hpa.Pods("rps", hpa.AverageValue(100)))
    scaler = hpa.HorizontalPodAutoscaler("bert", race.DEPLOYMENT, 20, 2, metrics)
    seen = loads.at_percent(30)
    silent = hpa.Observation(4, seen.pods, (*seen.readings, None))
    text = status.describe_hpa(scaler, hpa.reconcile(scaler, silent)).text
    assert '"rps" on pods:                                       <unknown> / 100' in text
    assert "ScalingActive  False   FailedGetPodsMetric" in text
    first = "failed to get pods metric value: unable to get metric rps: no metrics returned from custom metrics API"
    assert f"invalid metrics (1 invalid out of 2), first error is: {first}" in text


def test_describe_without_events() -> None:
    scaler = on_cpu(60)
    assert status.describe_hpa(scaler, hpa.reconcile(scaler, loads.at_percent(60))).text.endswith("Events:  <none>")


def test_the_custom_metrics_api_answers_one_value_a_pod() -> None:
    samples = hpa.evenly(1_500, hpa.running_pods(2))
    answer = json.loads(status.custom_metric("rps", samples).text)
    assert answer["kind"] == "MetricValueList"
    assert [item["value"] for item in answer["items"]] == ["750m", "750m"]


def test_a_revision_is_asleep_waking_or_awake() -> None:
    lines = status.get_podautoscalers({"a": (0, 0), "b": (3, 0), "c": (3, 2)}).text.splitlines()
    assert lines[0].split() == ["NAME", "DESIREDSCALE", "ACTUALSCALE", "READY", "REASON"]
    asleep, waking = ["a", "0", "0", "False", "NoTraffic"], ["b", "3", "0", "Unknown", "Queued"]
    assert [line.split() for line in lines[1:]] == [asleep, waking, ["c", "3", "2", "True"]]


def test_a_scaled_object_names_its_target_and_triggers() -> None:
    trigger = keda.Trigger("prometheus", {"serverAddress": "http://prometheus:9090", "query": "q"}, 8)
    scaled = keda.ScaledObject("bert", race.DEPLOYMENT, (trigger,), max_replica_count=20)
    titles, row = status.get_scaledobject(scaled, active=True).text.splitlines()
    assert titles.split()[1:5] == ["SCALETARGETKIND", "SCALETARGETNAME", "MIN", "MAX"]
    assert row.split()[1:5] == ["apps/v1.Deployment", "bert-classifier", "0", "20"]
    assert row.split()[5:] == ["True", "True", "False", "False", "prometheus"]


def test_a_vpa_shows_bounds_and_target() -> None:
    amounts = vpa.Amounts(250, 262_144_000)
    said = vpa.Recommendation(amounts, amounts, amounts, 1.0)
    text = status.describe_vpa(vpa.VerticalPodAutoscaler("bert", race.DEPLOYMENT), {"server": said}).text
    assert (
        "      Container Name:  server\n      Lower Bound:\n        Cpu:     250m\n        Memory:  262144000" in text
    )
