"""The course's application on a real local Ray, in a network namespace that has only loopback."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray_lane
import waiting

from mlinfra.course import classifier, commands
from mlinfra.ray_serve.router import Stage, simulate, takes

LANE = Path(__file__).parent / "ray_lane.py"
HANG_S = str(round(waiting.HANG_S))
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(map(str, (LANE.parent, LANE.parents[1], LANE.parents[2]))),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": str(round(1000 * waiting.HANG_S)),
    "RAY_health_check_failure_threshold": "5",
    "RAY_worker_register_timeout_seconds": HANG_S,
    "RAY_raylet_start_wait_time_s": HANG_S,
    "RAY_gcs_server_request_timeout_seconds": HANG_S,
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": HANG_S,
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": HANG_S,
}
"""A lost node, which answers no health check, is noticed soon; what is only slow is left alone."""


def namespace() -> list[str]:
    """The command that opens a network namespace, for root or for a user; empty where neither is allowed."""
    for flags in ("-n", "-rn"):
        command = [shutil.which("unshare") or "unshare", flags]
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            return []
    return []


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What one run of the lane saw; Ray and its processes have ended with it."""
    command = namespace()
    if not command:
        pytest.skip("no network namespace here (unshare -n, unshare -rn); Ray would open ports on every interface")
    lane = [*command, sys.executable, "-W", "ignore", str(LANE)]
    done = subprocess.run(lane, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def plain() -> list[dict[str, Any]]:
    """The answers of the model without Ray."""
    rows = classifier.probabilities(classifier.load(), [classifier.tokens(text) for text in ray_lane.TEXTS])
    return [{"label": classifier.LABELS[row.index(max(row))], "probability": round(max(row), 3)} for row in rows]


def test_the_printed_config_runs_and_answers_over_http_as_plain_torch_does(seen: dict[str, Any]) -> None:
    assert seen["one_by_one"]["answers"] == plain()


def test_auto_is_one_to_a_hundred_replicas_by_the_load(seen: dict[str, Any]) -> None:
    assert seen["one_by_one"]["auto"] == {"min_replicas": 1, "max_replicas": 100, "target_ongoing_requests": 2.0}


@pytest.mark.parametrize("command", ["status", "config"])
def test_the_notebook_prints_what_the_command_line_prints(seen: dict[str, Any], command: str) -> None:
    assert stable(seen["one_by_one"][command]) == stable(commands.printed(f"serve {command}"))


def stable(printed: str) -> str:
    """Without what differs from run to run: the node's id and the time."""
    return re.sub(r"[0-9a-f]{56}|\d{10}\.\d+", "", printed)


def test_fastapi_refuses_a_message_without_a_text(seen: dict[str, Any]) -> None:
    assert seen["refused"]["status"] == 422
    assert seen["refused"]["body"]["detail"][0]["msg"] == "Field required"


def test_a_stream_comes_in_chunks_over_http_and_over_a_handle(seen: dict[str, Any]) -> None:
    assert seen["streamed"] == {"lines": plain(), "encoding": "chunked", "by handle": plain()}


def test_batches_form_and_change_no_answer(seen: dict[str, Any]) -> None:
    assert seen["batches"]["answers"] == [plain()[i % 3] for i in range(16)]
    assert max(seen["batches"]["sizes"]) > 1


def test_a_new_user_config_reaches_the_replica_that_runs(seen: dict[str, Any]) -> None:
    assert seen["reconfigured"]["same replica"]


def test_a_replica_whose_health_check_fails_is_replaced(seen: dict[str, Any]) -> None:
    assert all(map(math.isfinite, seen["healed"]["vector"]))


def test_replicas_follow_the_load_up_and_down_and_no_request_fails(seen: dict[str, Any]) -> None:
    assert seen["autoscaling"]["failed while scaling"] == 0


def test_a_killed_replica_costs_no_request_after_further_tries(
    seen: dict[str, Any], record_property: Callable[..., None]
) -> None:
    assert seen["autoscaling"]["the killed one is gone"]
    assert seen["autoscaling"]["answered"] >= 20
    record_property("a replica killed under load", tries(seen["autoscaling"]))


def test_a_lost_node_costs_no_request_after_further_tries(
    seen: dict[str, Any], record_property: Callable[..., None]
) -> None:
    assert len(seen["node_lost"]["encoders by node"]) == 2
    assert seen["node_lost"]["answered"] >= 40
    record_property("a node lost under load", tries(seen["node_lost"]))


def test_tuning_gives_the_same_on_a_cluster_of_two_nodes(seen: dict[str, Any]) -> None:
    assert seen["tuned"]["workers"] == 6
    assert len(seen["tuned"]["on Ray"]) == 100
    assert seen["tuned"]["on Ray"] == seen["tuned"]["alone"]


def test_an_upgrade_in_place_loses_nothing(seen: dict[str, Any], record_property: Callable[..., None]) -> None:
    assert seen["upgraded"]["versions"] == ["v1", "v2"]
    assert seen["upgraded"]["answered"] >= 20
    record_property("an upgrade in place under load", tries(seen["upgraded"]))


def tries(outcome: dict[str, int]) -> str:
    return f"{outcome['answered']} requests, all answered, after {outcome['most tries']} tries at most"


def simulated(per_s: float) -> dict[str, float]:
    """The three stages without Ray's own time: hops, serialization, the proxy."""
    work = ray_lane.WORK_S
    stages = [
        Stage("Preprocessor", takes(work["Preprocessor"]), max_ongoing_requests=100, workers=100),
        Stage("Encoder", takes(work["Encoder"]), replicas=6, max_ongoing_requests=1),
        Stage("Classifier", takes(work["Classifier"]), 1, 100, workers=100, calls=("Preprocessor", "Encoder")),
    ]
    answered = simulate(stages, [i / per_s for i in range(200)])
    return {"p50": answered.latency_s(0.5) or math.nan, "p99": answered.latency_s(0.99) or math.nan}


def test_three_slow_stages_on_ray_stand_beside_the_simulation(
    seen: dict[str, Any], record_property: Callable[..., None]
) -> None:
    """Recorded, not asserted: Ray adds three hops and a proxy, some 25 ms on a quiet machine."""
    assert set(seen["slow_stages"]) == {str(per_s) for per_s in ray_lane.RATES}
    for per_s in ray_lane.RATES:
        real, floor = seen["slow_stages"][str(per_s)], simulated(per_s)
        for which in ("p50", "p99"):
            figures = f"{1000 * real[which]:.0f} ms on Ray, {1000 * floor[which]:.0f} ms simulated"
            record_property(f"three stages at {per_s:g}/s, {which}", figures)
