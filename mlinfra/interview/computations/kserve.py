"""The computations of notebook 01's cards: KServe."""

from __future__ import annotations

import math
import random

from mlinfra.autoscaling.llm.config import GPU_MEMORY_UTILIZATION, kv_bytes_per_token
from mlinfra.interview.computations.computed import Numbers
from mlinfra.kserve import InferenceService, Model, Predictor, canary, reconcile
from mlinfra.manifest import Resources


def isvc_path() -> Numbers:
    """Containers in a pod of the predictor, in each deployment mode."""
    size = Resources({"cpu": 1, "memory": "2Gi"}, {"cpu": 1, "memory": "2Gi"})
    predictor = Predictor(model=Model("sklearn", "s3://models/iris", size))
    services = {mode: InferenceService("iris", predictor, mode=mode).manifest() for mode in ("Knative", "Standard")}
    in_a_pod = {mode: len(reconcile.containers(service)) for mode, service in services.items()}
    return Numbers(in_a_pod["Knative"], {"in_a_pod": in_a_pod})


def canary_by_hand() -> Numbers:
    """Minutes until a canary of 5 % can tell an error rate of 1 % from 0.5 %, at 100 requests per second."""
    a_side = canary.sample_size(0.005, 0.01)
    canary_per_s = 0.05 * 100
    equal_arms_per_request = canary.effective_sample([(canary.Counts(95), canary.Counts(5))]) / 100
    minutes_to_worth = a_side / (equal_arms_per_request * 100) / 60
    named = {
        "a_side": a_side,
        "minutes_to_equal": a_side / canary_per_s / 60,
        "minutes_to_worth": minutes_to_worth,
        "hours_of_one_percent": a_side / (0.01 * 20) / 3600,
    }
    return Numbers(round(minutes_to_worth, 1), named)


def cold_start_70b() -> Numbers:
    """Seconds from a free node to the first answer: image, weights, load, warm-up."""
    from_nothing = {"image": 12 / 1, "weights": 140 / 2, "load": 30, "warm-up": 60}
    first_answer_s = sum(from_nothing.values())
    herd_gb, registry_gb_per_s = 20 * 12, 10 / 8
    named = {
        "from_nothing": from_nothing,
        "first_answer_s": first_answer_s,
        "all_cached_s": from_nothing["load"] + from_nothing["warm-up"],
        "waiting": 20 * first_answer_s,
        "herd_s": herd_gb / registry_gb_per_s,
    }
    return Numbers(first_answer_s, named)


def concurrency_knobs() -> Numbers:
    """Replicas for 200 requests per second of 0.35 s, 8 at a time on a replica, at 70 % utilization."""
    in_flight = 200 * 0.35
    limit, target_utilization = 8, 0.7
    aimed_at = limit * target_utilization
    replicas_at_70 = math.ceil(in_flight / aimed_at)
    queue_of_a_pod = limit + 10 * limit
    named = {
        "in_flight": in_flight,
        "full_replicas": math.ceil(in_flight / limit),
        "replicas_at_70": replicas_at_70,
        "aimed_at": aimed_at,
        "twice_off": aimed_at * target_utilization,
        "queue_of_a_pod": queue_of_a_pod,
        "last_waits_s": queue_of_a_pod / limit * 0.35,
    }
    return Numbers(replicas_at_70, named)


def beyond_isvc() -> Numbers:
    """Milliseconds of prefill that a cached system prompt of 2,048 tokens saves."""
    prefill_flop = 2 * 70e9 * 2048
    flop_per_s = 8 * 989e12 * 0.45
    saved_ms = prefill_flop / flop_per_s * 1000
    return Numbers(round(saved_ms, 1), {"saved_ms": saved_ms, "busy_at_10_per_s": 10 * saved_ms / 1000})


def many_small_models() -> Numbers:
    """GPUs for 200 models of 6 GB, packed by memory."""
    per_card = math.floor(80 * 0.85 / 6)
    packed_gpus = math.ceil(200 / per_card)
    slices_per_card = 7
    named = {
        "per_card": per_card,
        "packed_gpus": packed_gpus,
        "mig_gpus": math.ceil(200 / slices_per_card),
        "reload_s": 6 / 2,
    }
    return Numbers(packed_gpus, named)


def fits_and_users() -> Numbers:
    """Sequences of 4,096 tokens whose KV cache fits beside a 70B model on two H200."""
    kv_bytes = kv_bytes_per_token(layers=80, kv_heads=8, head_size=128)  # a token's keys and values

    def room_gb(memory_gb: float, weights_gb: float, utilization: float = 0.9) -> float:
        return utilization * memory_gb - weights_gb

    def sequences(cache_gb: float, tokens: int) -> int:
        return math.floor(cache_gb * 1e9 / (kv_bytes * tokens))

    cache_gb = room_gb(2 * 141, 140)
    on_two_h200 = sequences(cache_gb, 4096)
    named = {
        "kv_bytes": kv_bytes,
        "on_two_h200": on_two_h200,
        "cache_gb": cache_gb,
        "at_92": sequences(room_gb(2 * 141, 140, GPU_MEMORY_UTILIZATION), 4096),
        "on_eight_h100": sequences(room_gb(8 * 80, 140), 4096),
        "fp8_on_one": sequences(room_gb(141, 70), 8192),
        "step_ms": (140 + cache_gb) / (2 * 4800) * 1000,
    }
    return Numbers(on_two_h200, named)


def zero_downtime() -> Numbers:
    """Replicas of four that are ready at the worst moment of a rolling update."""
    surge, unavailable = math.ceil(4 * 0.25), math.floor(4 * 0.25)
    ready_at_worst = 4 - unavailable

    def false_alarms(looks: int, trials: int = 20000, z: float = 1.96) -> float:
        """The share of canaries without a fault that one of several looks condemns."""
        generator, alarms = random.Random(0), 0
        for _ in range(trials):
            total = 0.0
            for look in range(1, looks + 1):
                total += generator.gauss(0, 1)
                if abs(total) >= z * look**0.5:
                    alarms += 1
                    break
        return alarms / trials

    named = {
        "surge": surge,
        "unavailable": unavailable,
        "ready_at_worst": ready_at_worst,
        "five_looks": false_alarms(5),
        "lost_without_drain": 8 * (5 + 30),
        "shadow_gpus": 4 * (1 + 1.0),
    }
    return Numbers(ready_at_worst, named)


def multi_region() -> Numbers:
    """Replicas that three regions run in normal times, so that two can carry everything."""

    def replicas(regions: int, lost: int = 1) -> int:
        per_region_per_s = 3000 / (regions - lost)
        return regions * math.ceil(per_region_per_s / (10 * 0.7))

    with_failover = {regions: replicas(regions) for regions in (2, 3, 4)}
    detect_s = {"load balancer, 5 s x 2": 10, "Global Accelerator, 30 s x 3": 90}
    fiber_km = {"Virginia-Dublin": 5462, "Virginia-Tokyo": 10872}
    named = {
        "without_failover": replicas(3, lost=0),
        "with_failover": with_failover,
        "detect_s": detect_s,
        "lost_requests": {way: round(3000 / 3 * seconds) for way, seconds in detect_s.items()},
        "floor_ms": {route: km / 100 for route, km in fiber_km.items()},  # there and back at 200 km a millisecond
        "copy_s": 140 * 8 / 10,
        "overload": 0.7 * 3 / 2,
    }
    return Numbers(with_failover[3], named)
