"""The course's application on a real local Ray, in a network namespace that has only loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray_lane

from mlinfra import classifier
from mlinfra.ray_serve.router import Stage, simulate, takes

LANE = Path(__file__).parent / "ray_lane.py"


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
    done = subprocess.run(
        [*command, sys.executable, "-W", "ignore", str(LANE)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def plain() -> list[list[float]]:
    rows = classifier.probabilities(classifier.load(), [classifier.tokens(text) for text in ray_lane.TEXTS])
    return [[round(p, 6) for p in row] for row in rows]


def rounded(answers: list[dict[str, float]]) -> list[list[float]]:
    return [[round(p, 6) for p in answer.values()] for answer in answers]


def test_the_printed_config_runs_and_answers_over_http_as_plain_torch_does(seen: dict[str, Any]) -> None:
    assert rounded([seen["one_by_one"][text] for text in ray_lane.TEXTS]) == plain()


def test_batches_form_and_change_no_answer(seen: dict[str, Any]) -> None:
    assert rounded(seen["batches"]["answers"]) == plain()
    assert max(seen["batches"]["sizes"]) > 1
    assert sum(seen["batches"]["sizes"]) > 4


def test_replicas_follow_the_load_up_and_down(seen: dict[str, Any]) -> None:
    assert seen["autoscaling"]["failed"] == 0


def test_a_killed_replica_costs_no_request_after_a_second_try(seen: dict[str, Any]) -> None:
    assert seen["killed"]["victim is gone"]
    assert seen["killed"]["answered"] > 50
    assert seen["killed"]["failed lost"] == 0


def test_a_lost_node_costs_no_request_after_further_tries(
    seen: dict[str, Any], record_property: Callable[..., None]
) -> None:
    lost = seen["node_lost"]
    assert lost["encoders on the second node"] > 0
    assert lost["answered"] > 50
    assert lost["failed lost"] == 0
    record_property("encoders back on the first node after", f"{lost['back_s']:.0f} s, none of the requests lost")


def test_an_upgrade_in_place_loses_nothing(seen: dict[str, Any]) -> None:
    assert seen["upgraded"]["versions"] == ["v1", "v2"]
    assert seen["upgraded"]["failed lost"] == 0


def simulated(per_s: float) -> dict[str, float]:
    """The three stages without Ray's own time: hops, serialization, the proxy."""
    work = ray_lane.WORK_S
    stages = [
        Stage("Preprocessor", takes(work["Preprocessor"]), max_ongoing_requests=100, workers=100),
        Stage("Encoder", takes(work["Encoder"]), replicas=4, max_ongoing_requests=1),
        Stage("Classifier", takes(work["Classifier"]), 1, 100, workers=100, calls=("Preprocessor", "Encoder")),
    ]
    outcome = simulate(stages, [i / per_s for i in range(200)])
    return {"p50": outcome.percentile_s("Classifier", 0.5), "p99": outcome.percentile_s("Classifier", 0.99)}


@pytest.mark.parametrize("per_s", ray_lane.RATES)
def test_ray_takes_what_the_stages_take_and_its_own_time(
    seen: dict[str, Any], per_s: float, record_property: Callable[..., None]
) -> None:
    """The simulation is a floor: Ray adds three hops and a proxy, some 25 ms on a quiet machine."""
    real, floor = seen["slow_stages"][str(per_s)], simulated(per_s)
    for which in ("p50", "p99"):
        said = f"{1000 * real[which]:.0f} ms on Ray, {1000 * floor[which]:.0f} ms simulated"
        record_property(f"three stages at {per_s:g}/s, {which}", said)
    assert floor["p50"] <= real["p50"] < floor["p50"] + 1.0
