"""The computations of notebook 02's cards: Ray Serve."""

from __future__ import annotations

import math

from mlinfra.course import measured, ray_loads
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


def largest_batch() -> Numbers:
    """The smallest power of 2 as the largest batch for 1,000 requests per second at 80 %, float32 on one H100."""
    rows = {row["batch"]: row for row in measured.bert_batches(dtype="float32")}
    times_s = {batch: row["p50_ms"] / 1000 for batch, row in rows.items()}
    at_most = {batch: round(batch / seconds) for batch, seconds in times_s.items()}
    needed = round(1000 / 0.8)

    def simulated(largest: int, per_s: int = 1000) -> router.RouterSimulation:
        batching = router.Batching(largest, when_free=True)
        model = router.Stage("m", lambda size, _: times_s[1 << (size - 1).bit_length()], 1, 10**9, batching=batching)
        return router.simulate([model], ray_loads.poisson(per_s, 4000))

    quiet = simulated(32, per_s=100).batches["m"]
    named = {
        "at_most": at_most,
        "needed": needed,
        "busy_at_4": 100 * 1000 / at_most[4],
        "tails": {largest: 1000 * (simulated(largest).latency_s(0.99) or math.inf) for largest in (4, 8, 32)},
        "quiet_batch": sum(quiet) / len(quiet),
        "growth": 100 * (at_most[32] / at_most[8] - 1),
        "slower": times_s[32] / times_s[8],
        "dial": {batch: row["utilization_percent"] for batch, row in rows.items()},
        "watts": {batch: row["power_w"] for batch, row in rows.items()},
        "bfloat16_times": 1000 * times_s[8] / {row["batch"]: row["p50_ms"] for row in measured.bert_batches()}[8],
    }
    return Numbers(min(batch for batch, per_s in at_most.items() if per_s >= needed), named)


def rayservice_upgrade() -> Numbers:
    """GPUs at the peak of an upgrade that starts a second cluster of eight."""
    workers = 8
    new_cluster_peak = 2 * workers
    up_s = {"Serve": 30, "Ray autoscaler and pod": 30, "node": 210}
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
