"""Several replicas of a language model in one loop: requests arrive, a router picks, servers batch, a scaler decides.

A request has two views: a router reads its text, and a server its tokens. The router hears what the servers reported
at the last scrape, and at once when a request ends. Prefill and decode are not split, so it needs no first tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, Protocol

from mlinfra.admission import Field, refuse
from mlinfra.admission.nouns.autoscaling import replica_bounds
from mlinfra.admission.rules import real
from mlinfra.autoscaling.llm.config import LLMConfig
from mlinfra.autoscaling.llm.requests import LLMRequest
from mlinfra.autoscaling.llm.results import LLMSimulation, ServedRequests
from mlinfra.autoscaling.llm.server import LLMServer
from mlinfra.autoscaling.scalers import Autoscaler, Every, Fixed, Snapshot
from mlinfra.autoscaling.step_time import H100, StepTime
from mlinfra.simulation import Event

SCRAPE_S = 0.05
"""How often the endpoint picker reads every server's metrics."""


class PoolRequest(NamedTuple):
    """One request as the server sees it, in tokens, and as the router sees it, in text."""

    request: LLMRequest
    text: str = ""


class Gauges(NamedTuple):
    """What one scrape of a server finds; zeros before its first step."""

    waiting: int
    running: int
    kv_usage: float
    block_size: int
    num_blocks: int


class ReplicaRouter(Protocol):
    """What the loop asks of a picker: a replica for each request. It is told of replicas, scrapes and ends."""

    def add(self, replica: str) -> None: ...

    def remove(self, replica: str) -> None: ...

    def scrape(self, now_s: float, gauges: Mapping[str, Gauges]) -> None: ...

    def pick(self, name: str, text: str, now_s: float) -> str: ...

    def finish(self, name: str) -> None: ...


@dataclass(frozen=True)
class PoolSnapshot(Snapshot):
    """Over the ready replicas: `queued` is the sum of num_requests_waiting, `kv_usage` the mean of kv_cache_usage_perc.

    `in_flight` counts every request from its arrival to its last token. `busy` is the share of the replicas that hold
    one, which is what GPU utilization shows.
    """

    kv_usage: float = 0.0


def waiting(snapshot: Snapshot) -> float:
    """A measure: waiting requests, summed over the replicas."""
    return snapshot.queued


def in_flight(snapshot: Snapshot) -> float:
    """A measure: requests between their arrival and their last token."""
    return snapshot.in_flight


def kv_usage(snapshot: Snapshot) -> float:
    """A measure: the mean share of the KV blocks in use."""
    return snapshot.kv_usage if isinstance(snapshot, PoolSnapshot) else 0.0


@dataclass
class PoolReplica:
    """A server with its life: created, ready, told to drain, and how many of its steps have been reported."""

    server: LLMServer
    created_s: float
    ready_s: float
    draining_s: float = math.inf
    reported_steps: int = 0
    open: int = 0

    @property
    def drained_s(self) -> float:
        """It serves what it holds before it goes."""
        if self.draining_s == math.inf:
            return math.inf
        last_s = self.server.steps[-1].end_s if self.server.steps else 0.0
        return max(self.draining_s, last_s)

    def gauges(self, now_s: float) -> Gauges:
        config, step = self.server.config, self.server.reported(now_s)
        sizes = config.block_size, config.num_blocks
        if step is None:
            return Gauges(0, 0, 0.0, *sizes)
        return Gauges(step.num_requests_waiting, step.num_requests_running, step.kv_cache_usage_perc, *sizes)


@dataclass(frozen=True, kw_only=True)
class PoolSimulation(ServedRequests):
    """A run of a pool: the requests, where each went, every replica's own run, and what was paid for.

    `timeline` has the time, the desired replicas and the snapshot of every second.
    """

    replica_of: Mapping[str, str]
    replicas: Mapping[str, LLMSimulation]
    timeline: Sequence[tuple[float, int, PoolSnapshot]] = field(repr=False)
    replica_s: float

    @property
    def requests_per_replica(self) -> dict[str, int]:
        sent = Counter(self.replica_of.values())
        return {replica: sent[replica] for replica in self.replicas}

    @property
    def largest_share(self) -> float:
        """Share of the requests that the busiest replica got."""
        return max(self.requests_per_replica.values(), default=0) / max(1, len(self.requests))


class Pool:
    """The replicas of a run, and the router in front of them. Everything is driven by `advance`."""

    def __init__(
        self,
        router: ReplicaRouter,
        replicas: int,
        config: LLMConfig,
        step_time: StepTime,
        scrape_s: float,
        start_s: float,
    ) -> None:
        self.router, self.config, self.step_time = router, config, step_time
        self.scrape_s, self.start_s = scrape_s, start_s
        self.replicas: dict[str, PoolReplica] = {}
        self.replica_of: dict[str, str] = {}
        self.starting: list[str] = []
        self.arrived, self.scrapes = 0, -1
        for _ in range(replicas):
            self._create(0.0, 0.0)
        self._become_ready(0.0)

    def _create(self, now_s: float, ready_s: float) -> None:
        name = f"replica-{len(self.replicas)}"
        self.replicas[name] = PoolReplica(LLMServer(self.config, self.step_time), now_s, ready_s)
        self.starting.append(name)

    def _become_ready(self, now_s: float) -> None:
        for name in [name for name in self.starting if self.replicas[name].ready_s <= now_s]:
            self.starting.remove(name)
            self.router.add(name)

    @property
    def alive(self) -> list[str]:
        """Replicas that start or serve, and do not drain."""
        return [name for name, replica in self.replicas.items() if replica.draining_s == math.inf]

    @property
    def ready(self) -> list[str]:
        return [name for name in self.alive if name not in self.starting]

    def advance(self, now_s: float) -> None:
        """Every server runs until then; the router hears which requests have ended, and the last scrape."""
        for replica in self.replicas.values():
            replica.server.run(now_s)
            for name in self._ended(replica, now_s):
                replica.open -= 1
                self.router.finish(name)
        self._become_ready(now_s)
        if now_s < math.inf:
            self._scrape(now_s)

    def _ended(self, replica: PoolReplica, now_s: float) -> Iterator[str]:
        """Requests whose last step has ended by now, each once."""
        steps = replica.server.steps
        while replica.reported_steps < len(steps) and steps[replica.reported_steps].end_s <= now_s:
            yield from steps[replica.reported_steps].finished
            replica.reported_steps += 1

    def _scrape(self, now_s: float) -> None:
        """Of the scrapes since the last moment only the newest counts: it overwrites the others."""
        due = math.floor(now_s / self.scrape_s + 1e-9)
        if due > self.scrapes:
            self.scrapes, at_s = due, due * self.scrape_s
            self.router.scrape(at_s, {name: self.replicas[name].gauges(at_s) for name in self.ready})

    def send(self, arriving: PoolRequest) -> None:
        """The request goes where the router says, now."""
        request = arriving.request
        name = self.router.pick(request.name, arriving.text, request.arrival_s)
        replica = self.replicas[name]
        replica.server.submit(request, request.arrival_s)
        replica.open += 1
        self.replica_of[request.name] = name
        self.arrived += 1

    def snapshot(self, now_s: float, arrivals_per_s: float) -> PoolSnapshot:
        """What the autoscaler is told."""
        ready = [self.replicas[name] for name in self.ready]
        gauges = [replica.gauges(now_s) for replica in ready]
        queued, opened = sum(each.waiting for each in gauges), sum(replica.open for replica in self.replicas.values())
        busy = sum(replica.open > 0 for replica in ready) / max(1, len(ready))
        usage = sum(each.kv_usage for each in gauges) / max(1, len(ready))
        return PoolSnapshot(now_s, len(ready), queued, opened - queued, arrivals_per_s, busy, usage)

    def scale(self, desired: int, now_s: float) -> None:
        """Start the missing replicas, or drain the surplus: those first that became ready last."""
        refuse("decision", replica_bounds(False)(Field(desired, "replicas")))
        alive = self.alive
        for _ in range(desired - len(alive)):
            self._create(now_s, now_s + self.start_s)
        oldest_first = sorted(alive, key=lambda name: self.replicas[name].ready_s)
        for name in oldest_first[desired:]:
            self._drain(name, now_s)

    def _drain(self, name: str, now_s: float) -> None:
        """It gets no new request."""
        self.replicas[name].draining_s = now_s
        if name in self.starting:
            self.starting.remove(name)
        else:
            self.router.remove(name)

    def replica_s(self, end_s: float) -> float:
        """Replica-seconds to pay for until the end."""
        return sum(max(0.0, min(replica.drained_s, end_s) - replica.created_s) for replica in self.replicas.values())


def simulate_pool(
    requests: Sequence[PoolRequest],
    router: ReplicaRouter,
    replicas: int = 1,
    config: LLMConfig | None = None,
    step_time: StepTime = H100,
    scaler: Autoscaler | None = None,
    start_s: float = 0.0,
    scrape_s: float = SCRAPE_S,
    tick_s: float = 1.0,
) -> PoolSimulation:
    """All requests, in the order of arrival, until the last one has ended.

    The router's metrics are read every `scrape_s`. The scaler sees a snapshot every `tick_s` and decides at its own
    interval, until the last arrival. A new replica is ready `start_s` later.
    """
    refuse("pool", [*real(0.001)(Field(scrape_s, "scrape_s")), *real(0.001)(Field(tick_s, "tick_s"))])
    pool = Pool(router, replicas, config or LLMConfig(), step_time, scrape_s, start_s)
    control = Control(pool, scaler or Fixed(replicas), replicas, tick_s)
    ordered = sorted(requests, key=lambda arriving: arriving.request.arrival_s)
    for arriving in ordered:
        control.run(arriving.request.arrival_s)
        pool.advance(arriving.request.arrival_s)
        pool.send(arriving)
    end_s = ordered[-1].request.arrival_s if ordered else 0.0
    control.run(math.nextafter(end_s, math.inf))
    pool.advance(math.inf)
    return result(ordered, pool, control, end_s)


class Control:
    """The autoscaler's clock: a snapshot each tick, and a decision when one is due."""

    def __init__(self, pool: Pool, scaler: Autoscaler, desired: int, tick_s: float) -> None:
        self.pool, self.scaler, self.desired, self.tick_s = pool, scaler, desired, tick_s
        self.decisions, self.ticks, self.arrived = Every(scaler.interval_s), count(), 0
        self.next_s = next(self.ticks) * tick_s
        self.timeline: list[tuple[float, int, PoolSnapshot]] = []
        self.events: list[Event] = []

    def run(self, until_s: float) -> None:
        """All ticks before that time."""
        while self.next_s < until_s:
            self._tick(self.next_s)
            self.next_s = next(self.ticks) * self.tick_s

    def _tick(self, now_s: float) -> None:
        self.pool.advance(now_s)
        snapshot = self.pool.snapshot(now_s, (self.pool.arrived - self.arrived) / self.tick_s)
        self.arrived = self.pool.arrived
        if self.decisions.due(now_s):
            self._decide(now_s, snapshot)
        self.timeline.append((now_s, self.desired, snapshot))

    def _decide(self, now_s: float, snapshot: PoolSnapshot) -> None:
        desired = self.scaler.decide(now_s, snapshot, self.desired)
        if desired != self.desired:
            message = f"New size: {desired}, from {self.desired}"
            self.events.append(Event(now_s, "SuccessfulRescale", "autoscaler", message))
            self.pool.scale(desired, now_s)
            self.desired = desired


def result(ordered: Sequence[PoolRequest], pool: Pool, control: Control, end_s: float) -> PoolSimulation:
    """What happened, with the requests in the order of arrival."""
    runs = {name: replica.server.result() for name, replica in pool.replicas.items()}
    times = {request.name: request for run in runs.values() for request in run.requests}
    requests = [times[arriving.request.name] for arriving in ordered]
    return PoolSimulation(
        latencies_s=[request.e2e_s for request in requests],
        events=control.events,
        requests=requests,
        replica_of=pool.replica_of,
        replicas=runs,
        timeline=control.timeline,
        replica_s=pool.replica_s(end_s),
    )
