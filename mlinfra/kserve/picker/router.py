"""A picker with its metrics: what a loop over several servers asks to route every request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mlinfra.kserve.picker.endpoint import InferenceRequest, MetricsCache, ServerMetrics
from mlinfra.kserve.picker.simple import Picker


class ScrapedGauges(Protocol):
    """What a server reports at a scrape."""

    @property
    def waiting(self) -> int: ...

    @property
    def running(self) -> int: ...

    @property
    def kv_usage(self) -> float: ...

    @property
    def block_size(self) -> int: ...

    @property
    def num_blocks(self) -> int: ...


class PickerRouter:
    """Routes by any picker. Its endpoints are the replicas that it was told of, with their last scrape."""

    def __init__(self, picker: Picker) -> None:
        self.picker, self.metrics = picker, MetricsCache({})

    def add(self, replica: str) -> None:
        self.metrics.add(replica)

    def remove(self, replica: str) -> None:
        """The replica gets no more requests, and a picker with an index forgets it."""
        self.metrics.remove(replica)
        if forget := getattr(self.picker, "forget", None):
            forget(replica)

    def scrape(self, now_s: float, gauges: Mapping[str, ScrapedGauges]) -> None:
        readings = {name: metrics(reading) for name, reading in gauges.items()}
        self.metrics.scrape(now_s, readings)

    def pick(self, name: str, text: str, now_s: float) -> str:
        return self.picker.pick(InferenceRequest(name, text), self.metrics.endpoints(now_s))

    def finish(self, name: str) -> None:
        self.picker.finish(name)


def metrics(gauges: ScrapedGauges) -> ServerMetrics:
    """The picker's record of a scrape."""
    return ServerMetrics(
        gauges.waiting, gauges.running, gauges.kv_usage, block_size=gauges.block_size, num_blocks=gauges.num_blocks
    )
