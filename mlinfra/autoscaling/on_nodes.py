"""Replicas that need a GPU of a node: they start when their pod is placed, and stop when their node goes.

The nodes belong to somebody else: whatever has the methods of `Nodes`. Then `ColdStart.node_s` and `image_s` are what
the nodes give, a replica whose pod finds no GPU waits for one, and the bill is that of the nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mlinfra.autoscaling.queue import Queue
from mlinfra.autoscaling.replicas import Fleet, Replica, Service
from mlinfra.simulation import Event


class PodNews(Protocol):
    """A pod was placed, and its container starts at `time_s`; or it was told to stop, and has until `time_s`."""

    @property
    def at_s(self) -> float: ...
    @property
    def pod(self) -> str: ...
    @property
    def placed(self) -> bool: ...
    @property
    def time_s(self) -> float: ...


class NodeBill(Protocol):
    """The nodes of a run: hours and dollars by pool, and what happened to them."""

    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def node_hours(self) -> Mapping[str, float]: ...
    @property
    def dollars(self) -> float: ...


class Nodes(Protocol):
    """Where pods find GPUs. A pod that has to leave its node is gone, and another one must be added in its place."""

    def begin(self, pods: Sequence[str]) -> None:
        """These pods run from second 0 on, on nodes that are there."""
        ...

    def add(self, pod: str, at_s: float) -> None:
        """The pod is created then, and waits for a GPU."""
        ...

    def remove(self, pod: str, at_s: float) -> None:
        """The pod is gone then, and its GPU is free."""
        ...

    def advance(self, until_s: float) -> Sequence[PodNews]:
        """What becomes of pods at the next moment that concerns any; empty when there is none up to that time."""
        ...

    def bill(self, end_s: float) -> NodeBill:
        """What the nodes cost up to that time."""
        ...


def pod_name(i: int) -> str:
    return f"replica-{i}"


class FleetOnNodes(Fleet):
    """Replicas on nodes. One that has no GPU yet is alive, and not starting; its `ready_s` is infinite."""

    def __init__(self, service: Service, replicas: int, nodes: Nodes) -> None:
        super().__init__(service, replicas)
        self.nodes, self.news = nodes, {pod_name(i): i for i in range(replicas)}
        self.placed_s = dict.fromkeys(range(replicas), 0.0)
        self.busy_until_s: dict[int, list[float]] = {}  # the busy slots of draining replicas
        nodes.begin(list(self.news))

    def start(self, now_s: float) -> None:
        """A new pod that wants a GPU."""
        i = len(self.replicas)
        self.alive.append(i)
        self.replicas.append(Replica(now_s, math.inf))
        self.news[pod_name(i)] = i
        self.nodes.add(pod_name(i), now_s)

    def drain(self, i: int, now_s: float) -> None:
        """The replica finishes what it serves, and then its GPU is free."""
        self.busy_until_s[i] = [free_s for free_s, replica in self.slots if replica == i and free_s > now_s]
        super().drain(i, now_s)
        self.nodes.remove(pod_name(i), self.replicas[i].drained_s)

    def hear(self, news: PodNews, queue: Queue) -> None:
        """A pod has its GPU, or loses it."""
        i = self.news[news.pod]
        if news.placed:
            self.place(i, news)
        else:
            self.stop(i, news, queue)

    def place(self, i: int, news: PodNews) -> None:
        """The container starts when the node has the image, and the replica serves when it has warmed up."""
        self.placed_s[i] = news.at_s
        self.replicas[i].ready_s = news.time_s + self.service.cold_start.on_node_s
        self.starting.append(i)

    def stop(self, i: int, news: PodNews, queue: Queue) -> None:
        """The replica drains and another is created; what it has not finished in time is lost."""
        if i in self.alive:
            self.drain(i, news.at_s)
            self.start(news.at_s)
        for free_s in self.busy_until_s.pop(i, []):
            if free_s > news.time_s:
                queue.lose(free_s)
                self.draining[self.draining.index(free_s)] = news.time_s
        self.replicas[i].drained_s = min(self.replicas[i].drained_s, news.time_s)

    def events(self, end_s: float) -> Iterator[Event]:
        """What happens to replicas, and to nodes."""
        yield from super().events(end_s)
        yield from self.nodes.bill(end_s).events

    def replica_s(self, end_s: float) -> float:
        """Replica-seconds with a GPU until the end."""
        return sum(max(0.0, min(self.replicas[i].drained_s, end_s) - placed_s) for i, placed_s in self.placed_s.items())
