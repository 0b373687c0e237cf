"""Replicas that start cold, serve on slots, and drain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappush
from typing import Annotated

from mlinfra.admission import AtLeastOne, Field, NotNegative, check, refuse
from mlinfra.admission.nouns.autoscaling import MAX_SLOTS, replica_bounds
from mlinfra.admission.rules import real, whole
from mlinfra.simulation import Event


@dataclass(frozen=True)
class ColdStart:
    """Where the time goes until a new replica serves. On real nodes these give the first two parts."""

    node_s: NotNegative = 0.0
    image_s: NotNegative = 0.0
    weights_s: NotNegative = 0.0
    load_s: NotNegative = 0.0
    warm_up_s: NotNegative = 0.0

    def __post_init__(self) -> None:
        check(self)

    @property
    def total_s(self) -> float:
        return self.node_s + self.image_s + self.on_node_s

    @property
    def on_node_s(self) -> float:
        """What is left when the pod has a node with its image."""
        return self.weights_s + self.load_s + self.warm_up_s


@dataclass(frozen=True)
class Service:
    """What one replica can do: each of its `concurrency` slots serves one request, or a batch of up to `max_batch`.

    A batch of n takes `service_s + (n - 1) * per_item_s`. A request that waited longer than `timeout_s` is an error.
    With an activator the requests wait for the first replica, so there may be none.
    """

    service_s: NotNegative
    concurrency: Annotated[int, whole(1, MAX_SLOTS)] = 1
    max_batch: AtLeastOne = 1
    per_item_s: NotNegative = 0.0
    timeout_s: Annotated[float, real(0, infinite=True)] = math.inf
    cold_start: ColdStart = ColdStart()
    gpus: NotNegative = 1.0
    dollars_per_gpu_hour: NotNegative = 3.0
    activator: bool = False

    def __post_init__(self) -> None:
        check(self)


Slot = tuple[float, int]
"""When the slot is free, and the index of its replica."""


@dataclass
class Replica:
    """One replica: when it was created, when it is ready, and when it has drained."""

    created_s: float
    ready_s: float
    drained_s: float = math.inf


class Fleet:
    """All replicas of a run. The slots of the ready ones are a heap: the first is free first."""

    def __init__(self, service: Service, replicas: int) -> None:
        self.service, self.at_start, self.desired = service, replicas, replicas
        self.replicas = [Replica(0.0, 0.0) for _ in range(replicas)]
        self.slots: list[Slot] = [(0.0, i) for i in range(replicas) for _ in range(service.concurrency)]
        self.alive = list(range(replicas))
        self.starting: list[int] = []
        self.draining: list[float] = []  # when the busy slots of draining replicas finish

    @property
    def ready(self) -> int:
        return len(self.slots) // self.service.concurrency

    def started(self, until_s: float) -> list[int]:
        """Replicas that become ready by that time, the earliest first."""
        if not self.starting:
            return []
        by_ready = sorted(self.starting, key=lambda i: self.replicas[i].ready_s)
        return [i for i in by_ready if self.replicas[i].ready_s <= until_s]

    def add_slots(self, i: int) -> None:
        """A replica that has become ready takes requests."""
        for _ in range(self.service.concurrency):
            heappush(self.slots, (self.replicas[i].ready_s, i))
        self.starting.remove(i)

    def busy_slots(self, now_s: float) -> int:
        return sum(free_s > now_s for free_s, _ in self.slots)

    def draining_slots(self, now_s: float) -> int:
        self.draining = [free_s for free_s in self.draining if free_s > now_s]
        return len(self.draining)

    def scale(self, desired: int, now_s: float) -> None:
        """Start the missing replicas, or drain the surplus: those first that became ready last."""
        if desired == self.desired:
            return
        refuse("decision", replica_bounds(self.service.activator)(Field(desired, "replicas")))
        self.desired = desired
        for _ in range(desired - len(self.alive)):
            self.start(now_s)
        youngest_first = sorted(self.alive, key=lambda i: -self.replicas[i].ready_s)
        for i in youngest_first[: max(0, len(self.alive) - desired)]:
            self.drain(i, now_s)

    def start(self, now_s: float) -> None:
        """A new replica, ready after its cold start."""
        self.alive.append(len(self.replicas))
        self.starting.append(len(self.replicas))
        self.replicas.append(Replica(now_s, now_s + self.service.cold_start.total_s))

    def drain(self, i: int, now_s: float) -> None:
        """The replica takes no new request; it finishes what it serves, and is paid for until then."""
        finish_s = [free_s for free_s, replica in self.slots if replica == i]
        self.replicas[i].drained_s = max([now_s, *finish_s])
        self.draining += finish_s
        self.alive.remove(i)
        if i in self.starting:
            self.starting.remove(i)
        self.slots = [slot for slot in self.slots if slot[1] != i]
        heapify(self.slots)

    def events(self, end_s: float) -> Iterator[Event]:
        """Replicas that became ready (not those that were there at the start), and replicas that were removed."""
        for i, replica in enumerate(self.replicas):
            was_ready = replica.ready_s <= replica.drained_s
            if i >= self.at_start and was_ready and replica.ready_s <= end_s:
                after_s = replica.ready_s - replica.created_s
                yield Event(replica.ready_s, "Ready", f"replica-{i}", f"{after_s:g} s after it was created")
            if replica.drained_s <= end_s:
                why = "drained" if was_ready else "before it was ready"
                yield Event(replica.drained_s, "Removed", f"replica-{i}", why)

    def replica_s(self, end_s: float) -> float:
        """Replica-seconds to pay for until the end."""
        return sum(max(0.0, min(replica.drained_s, end_s) - replica.created_s) for replica in self.replicas)
