"""One FIFO queue, as before an activator or a proxy: the request at its head takes the first free slot."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from heapq import heapreplace

from mlinfra.admission import Field, refuse
from mlinfra.admission.rules import whole
from mlinfra.autoscaling.arrivals import check_arrivals
from mlinfra.autoscaling.replicas import Service, Slot


def fifo_waits(arrivals_s: Sequence[float], service_s: Sequence[float], servers: int) -> list[float]:
    """Wait of each request before one of so many equal servers: the exact G/G/c queue in one pass."""
    check_arrivals(arrivals_s)
    refuse("queue", whole(1)(Field(servers, "servers")))
    free, waits = [-math.inf] * servers, []
    for arrival_s, duration_s in zip(arrivals_s, service_s, strict=True):
        start_s = free[0] if free[0] > arrival_s else arrival_s
        heapreplace(free, start_s + duration_s)
        waits.append(start_s - arrival_s)
    return waits


class Queue:
    """Requests in the order of their arrival, with the start and the end of each one that has left the queue."""

    def __init__(self, arrivals_s: Sequence[float], service: Service) -> None:
        self.arrivals_s, self.service = arrivals_s, service
        self.starts_s: list[float] = []
        self.ends_s: list[float] = []

    def serve(self, slots: list[Slot], until_s: float) -> None:
        """The head of the queue takes the first free slot, again and again, until that time."""
        arrivals_s, starts_s, ends_s = self.arrivals_s, self.starts_s, self.ends_s
        service_s, per_item_s, timeout_s = self.service.service_s, self.service.per_item_s, self.service.timeout_s
        single, head, count = self.service.max_batch == 1, len(starts_s), len(arrivals_s)
        while slots and head < count:
            (free_s, replica), arrival_s = slots[0], arrivals_s[head]
            start_s = arrival_s if arrival_s > free_s else free_s
            if start_s >= until_s:
                return
            if start_s - arrival_s > timeout_s:
                self.fail(1)
                head += 1
                continue
            size = 1 if single else self.batch_size(head, start_s)
            end_s = start_s + service_s + (size - 1) * per_item_s
            heapreplace(slots, (end_s, replica))
            starts_s += [start_s] * size
            ends_s += [end_s] * size
            head += size

    def batch_size(self, head: int, start_s: float) -> int:
        """Requests that the slot takes: those that have arrived, up to the largest batch."""
        return min(self.service.max_batch, bisect_right(self.arrivals_s, start_s, head) - head)

    def time_out(self, now_s: float) -> None:
        """Requests that have waited longer than the timeout leave the queue, whether or not a slot is free."""
        timeout_s, count = self.service.timeout_s, len(self.arrivals_s)
        while len(self.starts_s) < count and self.arrivals_s[len(self.starts_s)] + timeout_s < now_s:
            self.fail(1)

    def fail(self, requests: int) -> None:
        """So many from the head of the queue are errors: they never start."""
        self.starts_s += [math.inf] * requests
        self.ends_s += [math.inf] * requests

    def fail_rest(self) -> None:
        """Nothing will ever serve the requests that still wait."""
        self.fail(len(self.arrivals_s) - len(self.starts_s))

    def lose(self, end_s: float) -> None:
        """Of the requests that would have ended then, the last one is an error: its server is gone before."""
        self.ends_s[max(i for i, end in enumerate(self.ends_s) if end == end_s)] = math.inf

    def arrived(self, now_s: float) -> int:
        """Requests that have arrived so far."""
        return bisect_right(self.arrivals_s, now_s)

    def in_batches(self, now_s: float, slots: int) -> int:
        """Requests in batches that run now, among the last ones that so many slots can hold."""
        newest_s = self.ends_s[-self.service.max_batch * (slots + 1) :]
        return sum(now_s < end_s < math.inf for end_s in newest_s)

    def waits_s(self) -> list[float]:
        return self.since_arrival(self.starts_s)

    def latencies_s(self) -> list[float]:
        return self.since_arrival(self.ends_s)

    def since_arrival(self, times_s: list[float]) -> list[float]:
        return [time_s - arrival_s for time_s, arrival_s in zip(times_s, self.arrivals_s, strict=True)]
