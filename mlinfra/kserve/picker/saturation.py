"""Saturation: how full the pool is, which endpoints are over their limit, and who is refused for it.

Follows llm-d/llm-d-router v0.9.0, `flowcontrol/saturationdetector` and `pkg/epp/requestcontrol/admission.go` without
flow control, which is behind a feature gate and off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlinfra.kserve.picker.endpoint import PoolEndpoint


@dataclass(frozen=True)
class UtilizationDetector:
    """`utilization-detector`, the default: waiting requests and KV cache against their thresholds."""

    plugin: ClassVar[str] = "utilization-detector"
    queue_depth_threshold: int = 5
    kv_cache_util_threshold: float = 0.8
    metrics_staleness_threshold_s: float = 0.2
    headroom: float = 0.0

    def saturation(self, endpoints: Sequence[PoolEndpoint]) -> float:
        """The mean over the endpoints, 1 without any; one with stale metrics counts as full."""
        return sum(map(self._fullness, endpoints)) / len(endpoints) if endpoints else 1.0

    def _fullness(self, endpoint: PoolEndpoint) -> float:
        """The fuller of queue and cache; above 1 when the threshold is exceeded."""
        if self._is_stale(endpoint):
            return 1.0
        queue = endpoint.metrics.waiting / self.queue_depth_threshold
        return max(queue, endpoint.metrics.kv_usage / self.kv_cache_util_threshold)

    def _is_stale(self, endpoint: PoolEndpoint) -> bool:
        return endpoint.scraped is None or endpoint.age_s > self.metrics_staleness_threshold_s

    def filter(self, endpoints: Sequence[PoolEndpoint]) -> list[PoolEndpoint]:
        """Those below both limits with fresh metrics; all, when none is left."""
        return [endpoint for endpoint in endpoints if self._has_room(endpoint)] or list(endpoints)

    def _has_room(self, endpoint: PoolEndpoint) -> bool:
        room = 1 + self.headroom
        queue_is_short = endpoint.metrics.waiting < self.queue_depth_threshold * room
        return not self._is_stale(endpoint) and queue_is_short and self._has_cache(endpoint, room)

    def _has_cache(self, endpoint: PoolEndpoint, room: float) -> bool:
        return endpoint.metrics.kv_usage < self.kv_cache_util_threshold * room


@dataclass(frozen=True)
class ConcurrencyDetector:
    """`concurrency-detector`: the picker's own count of requests in flight; it needs no metrics."""

    plugin: ClassVar[str] = "concurrency-detector"
    max_concurrency: int = 100
    headroom: float = 0.0

    def saturation(self, endpoints: Sequence[PoolEndpoint]) -> float:
        """Requests in flight over what all endpoints may have; 1 without any."""
        capacity = self.max_concurrency * len(endpoints)
        return sum(endpoint.in_flight for endpoint in endpoints) / capacity if capacity else 1.0

    def filter(self, endpoints: Sequence[PoolEndpoint]) -> list[PoolEndpoint]:
        """Those below the limit, perhaps none."""
        limit = int(self.max_concurrency * (1 + self.headroom))
        return [endpoint for endpoint in endpoints if endpoint.in_flight < limit]


SaturationDetector = UtilizationDetector | ConcurrencyDetector


def admitted(priority: int, saturation: float) -> bool:
    """Only a request of negative priority ("sheddable") is refused, with 429, and only when the pool is saturated."""
    return priority >= 0 or saturation < 1
