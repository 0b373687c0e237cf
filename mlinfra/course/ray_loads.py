"""The services that notebook 2 puts under load: three stages, one replica that batches, replicas that scale."""

from __future__ import annotations

import inspect
from random import Random
from typing import Any, NamedTuple

from mlinfra.autoscaling import loop
from mlinfra.ray_serve import AutoscalingConfig
from mlinfra.ray_serve.autoscaling import RayAutoscaler, Waiting, decide, total_requests
from mlinfra.ray_serve.router import Batching, RouterSimulation, Stage, linear, simulate, takes

WAVE = [5.0] * 2 + [25.0] * 4 + [5.0] * 6
"""Requests per second, minute by minute."""


def poisson(per_s: float, count: int, seed: int = 1) -> list[float]:
    """Arrival times of independent requests, in seconds."""
    draw, now_s, times = Random(seed), 0.0, []
    for _ in range(count):
        now_s += draw.expovariate(per_s)
        times.append(now_s)
    return times


def three_stages(
    ingress: int, places: int = 5, preprocessors: int = 3, encoders: int = 18, encoder_places: int = 5
) -> list[Stage]:
    """The ingress awaits the two others and a lookup of its own; `places` is its max_ongoing_requests."""
    return [
        Stage("preprocessor", takes(0.005), preprocessors),
        Stage("encoder", takes(0.040), encoders, encoder_places),
        Stage("ingress", takes(0.010), ingress, places, workers=places, calls=("preprocessor", "encoder")),
    ]


def batched(
    per_s: float, wait_s: float, max_batch_size: int = 16, max_ongoing_requests: int = 1000, count: int = 1600
) -> RouterSimulation:
    """One replica with `@serve.batch`; its batch of b takes 1.8 + 0.52 b ms."""
    batching = Batching(max_batch_size, wait_s)
    return simulate([batch_server(batching, max_ongoing_requests)], poisson(per_s, count))


def taken_when_free(per_s: float, max_batch_size: int = 16, count: int = 1600) -> RouterSimulation:
    """The same replica with another rule: when it is free it takes all that wait."""
    return simulate([batch_server(Batching(max_batch_size, when_free=True))], poisson(per_s, count))


def batch_server(batching: Batching, max_ongoing_requests: int = 1000) -> Stage:
    """A replica that takes 1.8 + 0.52 b ms: a line through BERT on one H100 in float32, `measured.bert_batches`."""
    return Stage("model", linear(0.0018, 0.00052), 1, max_ongoing_requests, batching=batching)


def wave(config: AutoscalingConfig) -> loop.LoopSimulation:
    """Ray Serve's policy under the wave: a replica does one request at a time in 200 ms, and starts in 20 s."""
    arrivals_s = loop.spread([round(60 * per_s) for per_s in WAVE], 60)
    replica = loop.Service(service_s=0.2, cold_start=loop.ColdStart(image_s=20))
    return loop.simulate(arrivals_s, replica, RayAutoscaler(config), replicas=2)


class BurstSecond(NamedTuple):
    """A second of a run: the ongoing requests in the mean, and the replicas after the decision."""

    mean: float
    replicas: int


def burst(config: AutoscalingConfig, before: float, burst: float, burst_s: int) -> list[BurstSecond]:
    """Forty seconds from the start of a burst of ongoing requests; 20 s of the load before it have been seen."""
    clock, replicas, seen, course = Waiting(), 5, list[tuple[float, float]](), list[BurstSecond]()
    for second in range(-20, 40):
        seen.append((second, burst if 0 <= second < burst_s else before))
        mean = total_requests([seen[-30:]], second)
        decision, clock = decide(config, clock, second, replicas, replicas, mean)
        replicas = config.bounded(decision)
        course.append(BurstSecond(mean, replicas))
    return course[20:]


def defaults() -> dict[str, Any]:
    """What Ray itself uses where nothing is set."""
    from ray import serve
    from ray.serve._private.config import DeploymentConfig
    from ray.serve._private.constants import REPLICA_HEALTH_CHECK_UNHEALTHY_THRESHOLD
    from ray.serve.config import AutoscalingConfig as RaysOwn

    from mlinfra.admission import serve_llm

    batch = inspect.signature(serve.batch).parameters
    deployment, scaling = vars(DeploymentConfig()), vars(RaysOwn())
    return {
        **{name: deployment[name] for name in ("max_ongoing_requests", "max_queued_requests", "health_check_period_s")},
        "failed checks until a replica is replaced": REPLICA_HEALTH_CHECK_UNHEALTHY_THRESHOLD,
        **{name: batch[name].default for name in ("max_batch_size", "batch_wait_timeout_s")},
        **{name: scaling[name] for name in ("min_replicas", "max_replicas", "target_ongoing_requests")},
        **{name: scaling[name] for name in ("look_back_period_s", "upscale_delay_s", "downscale_delay_s")},
        "target_ongoing_requests of a language model": serve_llm.NEVER_REACHED,
    }
