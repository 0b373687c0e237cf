"""`mlinfra replay` and `mlinfra tune`: autoscalers on recorded traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from builders import BERT, RAY_SERVICE, autoscaler

from mlinfra.__main__ import main
from mlinfra.autoscaling import hpa, keda
from mlinfra.autoscaling.hpa import HorizontalPodAutoscaler
from mlinfra.manifest import Manifest

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVICE = ("--service-time", "2", "--concurrency", "4", "--start-up", "30")
BURST = "time,requests\n" + "".join(f"{10 * i},{60 if 12 <= i < 36 else 5}\n" for i in range(60))


@pytest.fixture
def burst(tmp_path: Path) -> Path:
    path = tmp_path / "burst.csv"
    path.write_text(BURST)
    return path


def answered(capsys: pytest.CaptureFixture[str], *argv: object) -> Any:
    code = main([*map(str, argv), "--json"])
    output, complaint = capsys.readouterr()
    assert code < 2, complaint
    return json.loads(output)


def written(folder: Path, *objects: Manifest, name: str = "scaler.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump_all(objects), "utf-8")
    return path


# --------------------------------------------------------------------------------------------------------------- replay


def test_replay_follows_every_request_and_counts_what_it_costs(burst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = answered(capsys, "replay", EXAMPLES / "hpa.yaml", "--traffic", burst, *SERVICE)
    (replay,) = answer["replays"]
    assert answer["traffic"]["requests"] == 1620
    assert replay["requests that failed"] == 0
    assert replay["latency p50, s"] == 2
    assert replay["dollars"] == pytest.approx(3 * replay["pod-hours"], abs=0.02)
    assert replay["notUsed"] == []
    assert any("(--start-up)" in line for line in answer["assumed"])


def test_a_fixed_count_costs_what_a_hand_computes(
    tmp_path: Path, burst: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two replicas for ten minutes at 6 dollars an hour."""
    path = written(tmp_path, autoscaler(min_replicas=2, max_replicas=2).manifest())
    (replay,) = answered(capsys, "replay", path, "--traffic", burst, "--price", "6", *SERVICE)["replays"]
    assert (replay["dollars"], replay["scale events"], replay["replicas, mean"]) == (2.0, 0, 2.0)


def test_replay_says_what_mattered_and_why(burst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(EXAMPLES / "hpa.yaml"), "--traffic", str(burst), *SERVICE]) == 0
    text = capsys.readouterr().out
    decisions = text.partition("Decisions that moved most:\n")[2].partition("\n\n")[0].splitlines()
    assert 1 <= len(decisions) <= 5
    assert "pods metric requests_in_flight above target" in text


def test_two_stand_side_by_side_and_in_one_picture(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "out.svg"
    files = (EXAMPLES / "hpa.yaml", "--against", EXAMPLES / "scaledobject.yaml", "--picture", picture)
    answer = answered(capsys, "replay", *files, "--traffic", burst, *SERVICE)
    assert [replay["name"] for replay in answer["replays"]] == ["bert-classifier", "bert-classifier-keda"]
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert "bert-classifier and bert-classifier-keda" in picture.read_text("utf-8")


def test_a_ray_service_is_what_its_configuration_is(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = RAY_SERVICE.manifest()
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    answers = [
        answered(capsys, "replay", path, "--traffic", burst, "--measure", "Encoder=in-flight", *SERVICE)["replays"]
        for path in (written(tmp_path, service), written(tmp_path, config, name="config.yaml"))
    ]
    assert answers[0] == answers[1]
    assert answers[0][0]["name"] == "Encoder"


def test_of_several_deployments_that_scale_one_is_named(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, RAY_SERVICE.manifest())
    assert main(["replay", str(path), "--traffic", str(burst)]) == 2
    assert "has 2: Encoder, Classifier (--measure NAME=in-flight names one)" in capsys.readouterr().err


def test_the_memory_metric_is_left_out_and_that_is_said(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = (hpa.Resource("memory", hpa.Utilization(70)), hpa.Pods("queue_length", hpa.AverageValue(3)))
    path = written(tmp_path, autoscaler(metrics=metrics).manifest())
    assumed = answered(capsys, "replay", path, "--traffic", burst, *SERVICE)["assumed"]
    assert "its metric memory is left out: requests take none here" in assumed
    assert any(line.startswith("metric queue_length reads requests that wait ") for line in assumed)
    path = written(tmp_path, autoscaler(metrics=metrics[:1]).manifest())
    assert main(["replay", str(path), "--traffic", str(burst)]) == 2
    assert "scales on memory alone" in capsys.readouterr().err


def test_a_metric_reads_what_the_flag_says(burst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def events(signal: str) -> int:
        flags = ("--traffic", burst, "--measure", f"requests_in_flight={signal}", *SERVICE)
        return int(answered(capsys, "replay", EXAMPLES / "hpa.yaml", *flags)["replays"][0]["scale events"])

    assert len({events("in-flight"), events("queued"), events("rate"), events("busy")}) > 1


def test_two_triggers_without_names_are_told_apart(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By KEDA's own names of their metrics."""
    triggers = tuple(keda.Trigger("prometheus", {"query": query}, 3) for query in ("kv_usage", "in_flight"))
    path = written(tmp_path, keda.ScaledObject("b", BERT, triggers, max_replica_count=20).manifest())
    chosen = ("--measure", "s0-prometheus=busy", "--measure", "s1-prometheus=in-flight")
    assumed = answered(capsys, "replay", path, "--traffic", burst, *chosen, *SERVICE)["assumed"]
    assert any(line.startswith("metric s0-prometheus reads ") for line in assumed)
    assert any(line.startswith("metric s1-prometheus reads requests in flight") for line in assumed)


def test_a_cron_trigger_is_outside_its_hours_and_the_queue_beside_it_scales(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = {"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "6"}
    queue = keda.Trigger("kafka", {"topic": "prompts"}, 4)
    office = keda.Trigger("cron", hours, name="office")
    both, alone = (
        written(tmp_path, keda.ScaledObject("b", BERT, triggers, max_replica_count=20).manifest(), name=name)
        for triggers, name in (((office, queue), "both.yaml"), ((queue,), "alone.yaml"))
    )
    answer = answered(capsys, "replay", both, "--traffic", burst, *SERVICE)
    assert any(line.startswith("metric office reads nothing: it is always 0") for line in answer["assumed"])
    assert any(line.startswith("a cron trigger is always outside its hours here") for line in answer["assumed"])
    assert any(line.startswith("metric kafka reads requests in flight") for line in answer["assumed"])
    assert answer["replays"] == answered(capsys, "replay", alone, "--traffic", burst, *SERVICE)["replays"]


@pytest.mark.parametrize(
    ("query", "reads"),
    [
        ("sum(vllm:num_requests_waiting)", "requests that wait"),
        ("sum(vllm:num_requests_running)", "requests in flight"),
        ("avg(vllm:kv_cache_usage_perc)", "nothing"),
        ("sum(rate(vllm:request_success_total[1m]))", "requests a second"),
        ("histogram_quantile(0.95, sum(rate(vllm:time_to_first_token_seconds_bucket[1m])) by (le))", "nothing"),
        ("avg(DCGM_FI_DEV_GPU_UTIL)", "busy cores"),
    ],
)
def test_a_query_tells_what_its_trigger_reads(
    query: str, reads: str, burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trigger = keda.Trigger("prometheus", {"query": query}, 3)
    path = written(tmp_path, keda.ScaledObject("b", BERT, (trigger,), 1, 4).manifest())
    assumed = answered(capsys, "replay", path, "--traffic", burst, *SERVICE)["assumed"]
    assert any(line.startswith(f"metric prometheus reads {reads}") for line in assumed)


def test_a_request_that_waits_too_long_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flood.csv").write_text("0,100\n10,100\n20,0\n")
    flags = ("--traffic", tmp_path / "flood.csv", "--service-time", "5", "--timeout", "1")
    (replay,) = answered(capsys, "replay", EXAMPLES / "hpa.yaml", *flags)["replays"]
    assert replay["requests that failed"] > 150


def test_no_requests_at_all_have_no_latency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.csv").write_text("0,0\n10,0\n20,0\n")
    argv = ["replay", str(EXAMPLES / "hpa.yaml"), "--traffic", str(tmp_path / "none.csv")]
    assert main(argv) == 0
    assert "latency p99, s                -" in capsys.readouterr().out


def test_traffic_that_is_too_long_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "year.csv").write_text("2025-01-01,1\n2026-01-01,1\n")
    assert main(["replay", str(EXAMPLES / "hpa.yaml"), "--traffic", str(tmp_path / "year.csv")]) == 2
    assert "spans 730 d: at most 60 d are replayed" in capsys.readouterr().err


def test_too_many_slots_are_refused(tmp_path: Path, burst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, autoscaler(max_replicas=2**31 - 1).manifest())
    assert main(["replay", str(path), "--traffic", str(burst)]) == 2
    assert "at most 1,000,000 requests at a time are simulated" in capsys.readouterr().err


def test_a_vpa_recommends_for_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--traffic", EXAMPLES / "query_range.json", "--service-time", "0.4", "--replicas", "2")
    answer = answered(capsys, "replay", EXAMPLES / "vpa.yaml", *flags)
    rows = answer["recommendations"]
    assert len(rows) == 8
    assert all(row["lowerBoundMilli"] <= row["targetMilli"] <= row["upperBoundMilli"] for row in rows)
    assert {row["upperBoundMilli"] for row in rows} == {4000}, "its policy allows 4 cores"
    assert answer["notUsed"] == []


def test_a_vpa_that_is_off_recommends_nothing(tmp_path: Path, burst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    obj = yaml.safe_load((EXAMPLES / "vpa.yaml").read_text("utf-8"))
    obj["spec"]["resourcePolicy"] = {"containerPolicies": [{"containerName": "*", "mode": "Off"}]}
    assert main(["replay", str(written(tmp_path, obj)), "--traffic", str(burst)]) == 0
    assert "It recommends nothing" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------------------- tune


def test_tune_gives_a_front_and_the_cheapest_manifest(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "front.svg"
    flags = ("--p99", "4s", "--settings", "12", "--jobs", "1", "--picture", picture, "--traffic", burst, *SERVICE)
    answer = answered(capsys, "tune", EXAMPLES / "hpa.yaml", *flags)
    front = [(each["dollars"], each["p99_s"]) for each in answer["front"]]
    assert front == sorted(front)
    assert [p99 for _, p99 in front] == sorted((p99 for _, p99 in front), reverse=True)
    assert answer["chosen"]["p99_s"] <= 4
    chosen = HorizontalPodAutoscaler.of(answer["chosen"]["manifest"])
    assert chosen.min_replicas == answer["chosen"]["setting"]["min_replicas"]
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_the_chosen_manifest_replays_to_the_same_figures(
    burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--p99", "10s", "--settings", "5", "--jobs", "1", "--traffic", burst, *SERVICE)
    chosen = answered(capsys, "tune", EXAMPLES / "hpa.yaml", *flags)["chosen"]
    path = written(tmp_path, chosen["manifest"])
    (replay,) = answered(capsys, "replay", path, "--traffic", burst, *SERVICE)["replays"]
    assert replay["dollars"] == round(chosen["dollars"], 2)
    assert replay["latency p99, s"] == round(chosen["p99_s"], 3)


def test_tune_ends_with_1_when_nothing_is_fast_enough(burst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--p99", "1s", "--settings", "2", "--jobs", "1", "--traffic", str(burst), *SERVICE]
    assert main(["tune", str(EXAMPLES / "hpa.yaml"), *flags]) == 1
    assert "None of them answers 99 of 100 requests within 1 s." in capsys.readouterr().out
