"""Notebook 2: a deployment to write, an old file, three stages, a batch, an autoscaler, a RayService, a router."""

from __future__ import annotations

from typing import Any

from mlinfra.admission import validate
from mlinfra.course import ray_loads
from mlinfra.course.exercises.ray_guard import guard as guard
from mlinfra.course.exercises.ray_llm import imbalanced_threshold as imbalanced_threshold
from mlinfra.manifest import Manifest
from mlinfra.ray_serve import AutoscalingConfig, Deployment
from mlinfra.ray_serve.router import simulate
from mlinfra.study import Exercise

# ------------------------------------------------------------------------------------------- a deployment of old


OLD_SCALING = {"min_replicas": 1, "max_replicas": 10, "target_num_ongoing_requests_per_replica": 10}
OLD = {"name": "Encoder", "num_replicas": 4, "max_concurrent_queries": 100, "autoscaling_config": OLD_SCALING}
NEW_SCALING = {"min_replicas": 1, "max_replicas": 10, "target_ongoing_requests": 10}
NEW = {"name": "Encoder", "max_ongoing_requests": 100, "autoscaling_config": NEW_SCALING}


def deployed(entry: Manifest) -> Any:
    """What Ray makes of an entry of the file: its bounds, target and limit, or the refusals."""
    problems = validate({"applications": [{"import_path": "module:app", "deployments": [entry]}]})
    if problems:
        return [str(problem) for problem in problems]
    deployment = Deployment.of(entry)
    scaling = deployment.autoscaling_config
    assert scaling
    return scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests, deployment.max_ongoing_requests


old_names = Exercise(
    "old-names",
    right=NEW,
    mistakes=[
        (OLD, "That is the old entry. `validate` names what is wrong with it."),
        (NEW | {"num_replicas": 4}, "A fixed count and autoscaling exclude each other: take `num_replicas` out."),
        (
            {"name": "Encoder", "max_ongoing_requests": 100, "autoscaling_config": OLD_SCALING},
            "The target still has its old name, so Ray drops it and uses its default, 2.",
        ),
        (
            {
                "name": "Encoder",
                "max_ongoing_requests": 100,
                "autoscaling_config": {"min_replicas": 1, "max_replicas": 10},
            },
            "Accepted, but the target is gone: Ray uses its default, 2, which is five times as many replicas.",
        ),
    ],
    praise="Accepted, and it says what the old one meant.",
    effect=deployed,
)

# ------------------------------------------------------------------------------------------------- three stages


SLO_MS, MOST_REPLICAS = 150, 42


def sized(replicas: dict[str, int]) -> str:
    """What becomes of 450 requests per second: met, or what is short or too much."""
    preprocessors, encoders, ingress = (replicas[name] for name in ("preprocessor", "encoder", "ingress"))
    if preprocessors + encoders + ingress > MOST_REPLICAS:
        return "too many"
    stages = ray_loads.three_stages(ingress, preprocessors=preprocessors, encoders=encoders)
    outcome = simulate(stages, ray_loads.poisson(450, 4_500))
    if 1_000 * (outcome.latency_s(0.99) or 0.0) <= SLO_MS:
        return "met"
    return "ingress" if 5 * ingress < 450 * 0.055 else "encoder"


three_stages = Exercise(
    "three-stages",
    right={"preprocessor": 4, "encoder": 26, "ingress": 8},
    mistakes=[
        (
            {"preprocessor": 4, "encoder": 26, "ingress": 4},
            "A queue forms in front of the ingress: count the requests that it holds, not its own work.",
        ),
        (
            {"preprocessor": 4, "encoder": 18, "ingress": 8},
            "The encoders are too busy. Rate times time is the number of them that work; leave 30 % free.",
        ),
        ({"preprocessor": 10, "encoder": 60, "ingress": 20}, f"The promise is kept, with more than {MOST_REPLICAS}."),
    ],
    praise="The promise is kept, and no stage has much more than it needs.",
    effect=sized,
)

# ------------------------------------------------------------------------------------------------------- batches


BATCH_SLO_MS = 20


def batching(options: dict[str, float]) -> str:
    """What becomes of 1,200 requests per second: kept, or which option is wrong."""
    largest, places = int(options["max_batch_size"]), int(options["max_ongoing_requests"])
    wait_s = options["batch_wait_timeout_s"]
    if 1_000 * (ray_loads.batched(1_200, wait_s, largest, places).latency_s(0.99) or 0.0) <= BATCH_SLO_MS:
        return "kept"
    if places < 2 * largest:
        return "no room for two batches"
    return "too long" if wait_s > 0.008 else "too short"


batch_options = Exercise(
    "batch-options",
    right={"max_batch_size": 16, "batch_wait_timeout_s": 0.006, "max_ongoing_requests": 32},
    mistakes=[
        (
            {"max_batch_size": 16, "batch_wait_timeout_s": 0.006, "max_ongoing_requests": 5},
            "A replica needs room for the batch at work and for the next one that forms: raise `max_ongoing_requests`.",
        ),
        (
            {"max_batch_size": 16, "batch_wait_timeout_s": 0.002, "max_ongoing_requests": 32},
            "The batches are too small for the rate, so they queue: a longer wait, or a larger batch.",
        ),
        (
            {"max_batch_size": 16, "batch_wait_timeout_s": 0.02, "max_ongoing_requests": 32},
            "The batches are large enough. The wait itself breaks the promise: a shorter one.",
        ),
    ],
    praise="Batches form, they do not queue, and nobody waits longer than promised.",
    effect=batching,
)

# ---------------------------------------------------------------------------------------------------- autoscaling


def scaled(config: dict[str, Any]) -> str:
    """What becomes of the wave: met, or slow, costly or both."""
    entry = {"name": "Encoder", "autoscaling_config": config}
    if validate({"applications": [{"import_path": "module:app", "deployments": [entry]}]}):
        return "refused"
    outcome = ray_loads.wave(AutoscalingConfig.of(config))
    slow, costly = (outcome.latency_s(0.99) or 0.0) > 2, outcome.replica_s / 3600 > 1.3
    return {(False, False): "met", (True, True): "slow and costly", (True, False): "slow"}.get((slow, costly), "costly")


autoscaler = Exercise(
    "autoscaler",
    right={"min_replicas": 6, "max_replicas": 12, "target_ongoing_requests": 1},
    mistakes=[
        (
            {"min_replicas": 1, "max_replicas": 12, "target_num_ongoing_requests_per_replica": 1},
            "Serve does not take this map as you mean it. `validate` says why.",
        ),
        (
            {"min_replicas": 1, "max_replicas": 12},
            "Slow and costly: the replicas come after the queue has built up, and stay for 600 s.",
        ),
        (
            {
                "min_replicas": 1,
                "max_replicas": 12,
                "target_ongoing_requests": 1,
                "upscale_delay_s": 0,
                "downscale_delay_s": 60,
            },
            "Cheap, but slow: even without a delay a replica needs 20 s to start. Have more of them before the wave.",
        ),
        (
            {"min_replicas": 10, "max_replicas": 12, "target_ongoing_requests": 1},
            "Fast, but costly. The wave needs 5 replicas at work: 25 requests per second of 200 ms.",
        ),
    ],
    praise="The headroom meets the rise. No autoscaler is faster than its replicas start.",
    effect=scaled,
)

# ------------------------------------------------------------------------------------------------------ RayService


serve_config = Exercise(
    "serve-config",
    right=1,
    mistakes=[
        (4, "KubeRay's field is a string; any string will do for the first three."),
        (0, "Serve reads the text in the end. What does every config file need?"),
        (2, "The webhook checks the object's name, and the controller the cluster's fields. Neither reads the text."),
    ],
    praise="Serve alone, and only once the cluster is up.",
)
