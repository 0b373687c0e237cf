"""The scorers of the endpoint picker, by upstream's names: a score from 0 to 1 for every candidate, higher is better.

Follows llm-d/llm-d-router v0.9.0 (the picker of KServe 0.20), `pkg/epp/framework/plugins/scheduling/scorer`. Not here:
session affinity, precise prefix cache, context length, multimodal and latency scorers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlinfra.kserve.picker.endpoint import InferenceRequest, PoolEndpoint

Endpoints = Sequence[PoolEndpoint]
Scores = list[float]

QUEUE_THRESHOLD = 128
TOKENS_THRESHOLD = 128 * 32 * 1024


def queue_scorer(request: InferenceRequest, endpoints: Endpoints) -> Scores:
    """1 for the shortest queue of waiting requests, 0 for the longest, however long they are."""
    return _lowest_is_best([endpoint.metrics.waiting for endpoint in endpoints])


def running_requests_size_scorer(request: InferenceRequest, endpoints: Endpoints) -> Scores:
    """The same, of running requests."""
    return _lowest_is_best([endpoint.metrics.running for endpoint in endpoints])


def _lowest_is_best(counts: list[int]) -> Scores:
    """Between the lowest and the highest count; 1 for all when they are equal."""
    low, high = min(counts), max(counts)
    return [(high - count) / (high - low) if high > low else 1.0 for count in counts]


def kv_cache_utilization_scorer(request: InferenceRequest, endpoints: Endpoints) -> Scores:
    """The free share of the KV cache."""
    return [1 - endpoint.metrics.kv_usage for endpoint in endpoints]


def prefix_cache_scorer(request: InferenceRequest, endpoints: Endpoints) -> Scores:
    """The share of the prompt's blocks that the endpoint is believed to hold."""
    return [e.match_blocks / e.total_blocks if e.total_blocks else 0.0 for e in endpoints]


def no_hit_lru_scorer(request: InferenceRequest, endpoints: Endpoints) -> Scores:
    """A cold request prefers the endpoint whose last one is longest ago; 0.5 for all when any block matches."""
    if any(endpoint.match_blocks for endpoint in endpoints):
        return [0.5] * len(endpoints)
    if len(endpoints) == 1:
        return [1.0]
    return [max(0.0, 1 - rank / (len(endpoints) - 1)) for rank in cold_ranks(endpoints)]


def cold_ranks(endpoints: Endpoints) -> list[int]:
    """The endpoints that never had a cold request come first, in their order; then the others, oldest first."""
    never = [endpoint.name for endpoint in endpoints if endpoint.cold_position is None]
    return [
        never.index(endpoint.name) if endpoint.cold_position is None else len(never) + endpoint.cold_position
        for endpoint in endpoints
    ]


def active_request_scorer(
    request: InferenceRequest, endpoints: Endpoints, idle_threshold: int = 0, max_busy_score: float = 1.0
) -> Scores:
    """1 for an idle endpoint, 0 for the one with most requests in flight, so 0 for all that are equal and busy.

    Before v0.9.0 the picker read a missing `maxBusyScore` as 0: every busy endpoint scored 0.
    """
    idle, best = max(0, idle_threshold), max_busy_score if 0 <= max_busy_score <= 1 else 1.0
    most = max(endpoint.in_flight for endpoint in endpoints)
    return [1.0 if e.in_flight <= idle else (most - e.in_flight) / most * best for e in endpoints]


def load_aware_scorer(request: InferenceRequest, endpoints: Endpoints, threshold: int = QUEUE_THRESHOLD) -> Scores:
    """0.5 for an empty queue, down to 0 at the threshold."""
    most = threshold if threshold > 0 else QUEUE_THRESHOLD
    return [0.5 * (1 - min(endpoint.metrics.waiting, most) / most) for endpoint in endpoints]


def token_load_scorer(
    request: InferenceRequest, endpoints: Endpoints, queue_threshold_tokens: int = TOKENS_THRESHOLD
) -> Scores:
    """1 without tokens in flight, down to 0 at the threshold."""
    most = queue_threshold_tokens if queue_threshold_tokens > 0 else TOKENS_THRESHOLD
    return [1 - min(max(0, endpoint.in_flight_tokens), most) / most for endpoint in endpoints]


def lora_affinity_scorer(request: InferenceRequest, endpoints: Endpoints) -> Scores:
    """1.0 where the adapter is active, 0.8 where another one fits, 0.6 where it waits to be loaded, else 0."""
    return [_adapter_score(request.model, endpoint) for endpoint in endpoints]


def _adapter_score(adapter: str, endpoint: PoolEndpoint) -> float:
    metrics = endpoint.metrics
    if adapter in metrics.active_adapters:
        return 1.0
    if len(metrics.active_adapters) + len(metrics.waiting_adapters) < metrics.max_adapters:
        return 0.8
    return 0.6 if adapter in metrics.waiting_adapters else 0.0


SCORERS: dict[str, Callable[..., Scores]] = {
    "active-request-scorer": active_request_scorer,
    "kv-cache-utilization-scorer": kv_cache_utilization_scorer,
    "load-aware-scorer": load_aware_scorer,
    "lora-affinity-scorer": lora_affinity_scorer,
    "no-hit-lru-scorer": no_hit_lru_scorer,
    "prefix-cache-scorer": prefix_cache_scorer,
    "queue-scorer": queue_scorer,
    "running-requests-size-scorer": running_requests_size_scorer,
    "token-load-scorer": token_load_scorer,
}
