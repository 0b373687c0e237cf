"""The computations of notebook 02's cards: Ray Serve."""

from __future__ import annotations

import math

from mlinfra.interview.computations.computed import Numbers
from mlinfra.ray_serve import autoscaling, router


def ray_request() -> Numbers:
    """Requests of 30 at once that are refused, with two replicas of 5 and 8 places in the queue."""

    def refused(max_queued_requests: int) -> int:
        model = router.Stage("model", router.takes(0.1), 2, 5, max_queued_requests=max_queued_requests)
        return router.simulate([model], [0.0] * 30).dropped

    limited = refused(8)
    return Numbers(limited, {"unlimited": refused(-1), "limited": limited})


def ray_targets() -> Numbers:
    """Replicas that Serve asks for, when 46 requests are ongoing and the target is 2."""

    def replicas(upscaling_factor: float | None) -> int:
        config = autoscaling.AutoscalingConfig(1, 100, 2, upscaling_factor=upscaling_factor)
        return autoscaling.apply_scaling_factors(config, autoscaling.desired_replicas(config, 5, 46), 5)

    without_factor = replicas(None)
    named = {
        "without_factor": without_factor,
        "with_factor": replicas(0.5),
        "small_burst": (46 * 10 + 5 * 20) / 30,
    }
    return Numbers(without_factor, named)


def three_stages() -> Numbers:
    """Replicas of the second stage for 400 requests per second at 70 %."""
    times_s = {"first": 0.006, "second": 0.050, "ingress": 0.004}
    erlangs = {stage: 400 * seconds for stage, seconds in times_s.items()}
    sized = {stage: math.ceil(work / 0.7) for stage, work in erlangs.items()}
    in_ingress = 400 * sum(times_s.values())
    named = {
        "erlangs": erlangs,
        "sized": sized,
        "in_ingress": in_ingress,
        "accepted": sized["ingress"] * 5,
        "ingress_by_places": math.ceil(in_ingress / 0.7 / 5),
    }
    return Numbers(sized["second"], named)


def dynamic_batching() -> Numbers:
    """Requests per second of full batches of 16; a batch of b takes 8 + 1.5 b ms."""

    def p99_ms(wait_s: float, max_ongoing_requests: int = 1000, per_s: int = 400) -> float:
        batching = router.Batching(16, wait_s)
        model = router.Stage("m", router.linear(0.008, 0.0015), 1, max_ongoing_requests, batching=batching)
        arrivals_s = [i / per_s for i in range(1200)]
        return 1000 * (router.simulate([model], arrivals_s).latency_s(0.99) or math.inf)

    at_most = {batch: round(batch / (0.008 + 0.0015 * batch)) for batch in (1, 8, 16, 32)}
    named = {
        "at_most": at_most,
        "tails": {wait_ms: p99_ms(wait_ms / 1000) for wait_ms in (5, 10, 20, 40)},
        "default_limit": p99_ms(0.02, max_ongoing_requests=5),
    }
    return Numbers(at_most[16], named)


def rayservice_upgrade() -> Numbers:
    """GPUs at the peak of an upgrade that starts a second cluster of eight."""
    workers = 8
    new_cluster_peak = 2 * workers
    up_s = {"Serve": 30, "Ray autoscaler and pod": 30, "node": 180}
    named = {
        "new_cluster_peak": new_cluster_peak,
        "incremental_peak": workers + math.ceil(workers * 20 / 100),
        "until_more": sum(up_s.values()),
    }
    return Numbers(new_cluster_peak, named)


def which_server() -> Numbers:
    """Milliseconds that two more hops of 4 ms each way add to a request."""
    added_ms = 2 * 4 * 2
    return Numbers(added_ms, {"added_ms": added_ms, "between_services": 50 * added_ms / 1000})
