"""The closed loop: requests, a queue, replicas that start cold and drain, metrics that lag, an autoscaler, a bill.

Every request is followed exactly. Requests wait in one FIFO queue, as behind an activator or a proxy, for the first
free slot of any ready replica; a slot serves one request, or one batch. Times are seconds.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heapify, heappush, heapreplace
from itertools import pairwise
from typing import Protocol

from mlinfra.admission.rules import Field, Invalid, Needed, Rules, broken, check, real, whole
from mlinfra.autoscaling import hpa, keda, knative

MOST, SHORTEST_SCRAPE_S = 100_000, 0.001


def fifo_waits(arrivals_s: Sequence[float], service_s: Sequence[float], servers: int) -> list[float]:
    """Wait of each request before one of so many equal servers: the exact G/G/c queue in one pass."""
    _check_arrivals(arrivals_s)
    check("queue", whole(1)(Field(servers, "servers")))
    free, waits = [-math.inf] * servers, []
    for arrived, needed in zip(arrivals_s, service_s, strict=True):
        start = free[0] if free[0] > arrived else arrived
        heapreplace(free, start + needed)
        waits.append(start - arrived)
    return waits


def _check_arrivals(arrivals_s: Sequence[float]) -> None:
    for i, (before, after) in enumerate(pairwise(arrivals_s), 1):
        if not before <= after:
            unsorted = Field(after, f"arrivals_s[{i}]").invalid(f"must not be before arrivals_s[{i - 1}], {before:g}")
            raise Invalid("arrivals", [unsorted])
    for i in {0, len(arrivals_s) - 1} if arrivals_s else ():
        check("arrivals", real()(Field(arrivals_s[i], f"arrivals_s[{i}]")))


def spread(counts: Sequence[int], bin_s: float, seed: int = 0) -> list[float]:
    """Arrival times from counts by bin: evenly in each bin, moved by a seeded offset of less than one gap."""
    chance, times = random.Random(seed), []
    for i, count in enumerate(counts):
        gap_s = bin_s / count if count else 0.0
        offset_s = chance.random() * gap_s
        times += [i * bin_s + offset_s + k * gap_s for k in range(count)]
    return times


def poisson(rate_per_s: Callable[[float], float], highest_per_s: float, until_s: float, seed: int = 0) -> list[float]:
    """Arrivals of a Poisson process with that rate curve, by thinning one of the highest rate."""
    check("poisson", [*real(0)(Field(highest_per_s, "highest_per_s")), *real(0)(Field(until_s, "until_s"))])
    chance, now_s, times = random.Random(seed), 0.0, []
    while highest_per_s and (now_s := now_s + chance.expovariate(highest_per_s)) < until_s:
        if (rate := rate_per_s(now_s)) > highest_per_s:
            raise Invalid(
                "poisson", [Field(rate, f"rate_per_s({now_s:.1f})").invalid(f"must be at most {highest_per_s:g}")]
            )
        if chance.random() * highest_per_s < rate:
            times.append(now_s)
    return times


@dataclass(frozen=True)
class ColdStart:
    """Where the time goes until a new replica serves."""

    node_s: float = 0.0
    image_s: float = 0.0
    weights_s: float = 0.0
    load_s: float = 0.0
    warm_up_s: float = 0.0

    def __post_init__(self) -> None:
        check("cold start", (problem for name in vars(self) for problem in real(0)(Field(vars(self))[name])))

    @property
    def total_s(self) -> float:
        return self.node_s + self.image_s + self.weights_s + self.load_s + self.warm_up_s


@dataclass(frozen=True)
class Service:
    """What a replica can do: `concurrency` slots; with `max_batch` above 1 a slot takes what waits, up to so many.

    A batch of n takes `service_s + (n - 1) * per_item_s`. A request that waited longer than `timeout_s` is an error.
    """

    service_s: float
    concurrency: int = 1
    max_batch: int = 1
    per_item_s: float = 0.0
    timeout_s: float = math.inf
    cold_start: ColdStart = ColdStart()
    gpus: float = 1.0
    dollars_per_gpu_hour: float = 3.0
    activator: bool = False

    def __post_init__(self) -> None:
        check("service", broken(Field(vars(self)), SERVICE))


SERVICE: Rules = [
    ("service_s", Needed(), real(0)),
    ("concurrency", Needed(), whole(1, MOST)),
    ("max_batch", Needed(), whole(1)),
    ("per_item_s", Needed(), real(0)),
    ("timeout_s", Needed(), real(0, infinite=True)),
    ("gpus", Needed(), real(0)),
    ("dollars_per_gpu_hour", Needed(), real(0)),
]


@dataclass(frozen=True)
class Snapshot:
    """What a scrape finds: counts at that time, and the rates since the last scrape."""

    at_s: float
    ready: int
    queued: int
    in_service: int
    arrivals_per_s: float
    busy: float  # share of the ready slots

    @property
    def in_flight(self) -> int:
        return self.queued + self.in_service


class Autoscaler(Protocol):
    """Anything that can say how many replicas there should be."""

    interval_s: float

    def decide(self, now_s: float, seen: Snapshot, wanted: int) -> int:
        """Replicas wanted from now on, given the newest snapshot that has come through and the count wanted so far."""
        ...


@dataclass
class Fixed:
    """So many replicas, whatever happens."""

    replicas: int
    interval_s: float = 60.0

    def decide(self, now_s: float, seen: Snapshot, wanted: int) -> int:
        return self.replicas


@dataclass
class ByHPA:
    """An HPA with one External metric that `measure` reads from the snapshot, in milli; or one of cpu utilization."""

    scaler: hpa.HorizontalPodAutoscaler
    measure: Callable[[Snapshot], float]
    flags: hpa.Flags = field(default_factory=hpa.Flags)

    def __post_init__(self) -> None:
        self.interval_s: float = self.flags.sync_period_s
        self.history = hpa.History()

    def decide(self, now_s: float, seen: Snapshot, wanted: int) -> int:
        pods = hpa.running_pods(seen.ready, cpu=1)
        amount_milli = round(1000 * _measured(self.measure, seen))
        per_pod = isinstance(self.scaler.metrics[0], hpa.Resource | hpa.Pods)
        reading: hpa.Reading = hpa.evenly(amount_milli, pods, now_s) if per_pod else [amount_milli]
        observed = hpa.Observation(wanted, pods, (reading,))
        decision = hpa.reconcile(self.scaler, observed, self.history, now_s, self.flags)
        self.history = decision.history
        return decision.desired


def _measured(measure: Callable[[Snapshot], float], seen: Snapshot) -> float:
    value = measure(seen)
    check("measure", real()(Field(value, f"measure at {seen.at_s:g} s")))
    return value


@dataclass
class ByKPA:
    """Knative's autoscaler over the requests in flight: measured every second, asked at every tick."""

    scaler: knative.Autoscaler
    interval_s: float = knative.BUCKET_S

    def __post_init__(self) -> None:
        self.recorded_s, self.ticks = -math.inf, 0

    def decide(self, now_s: float, seen: Snapshot, wanted: int) -> int:
        if seen.at_s > self.recorded_s:
            self.recorded_s = seen.at_s
            self.scaler.record(seen.at_s, seen.in_flight)
        ticks = math.floor(now_s / knative.TICK_S + 1e-9)
        if now_s > 0 and ticks == self.ticks:
            return wanted
        self.ticks = ticks
        return self.scaler.desired(seen.at_s, seen.ready).desired


@dataclass
class ByKEDA:
    """KEDA: its own step between none and some, polled, and the HPA that it writes for the rest."""

    scaled: keda.ScaledObject
    measure: Callable[[Snapshot], float]

    def __post_init__(self) -> None:
        if len(self.scaled.triggers) != 1:
            triggers = Field(len(self.scaled.triggers), "triggers")
            raise Invalid("ByKEDA", [triggers.invalid("must be one trigger: the loop measures one signal")])
        self.hpa = ByHPA(self.scaled.hpa(), self.measure)
        self.interval_s: float = math.gcd(self.scaled.polling_interval, round(self.hpa.interval_s))
        self.last_active_s: float | None = None
        self.poll_s, self.sync_s = 0.0, 0.0  # when each of the two is due next

    def decide(self, now_s: float, seen: Snapshot, wanted: int) -> int:
        active = self.scaled.triggers[0].active(_measured(self.measure, seen))
        self.last_active_s = now_s if active else self.last_active_s
        if now_s >= self.poll_s - 1e-9:
            self.poll_s += self.scaled.polling_interval
            age_s = None if self.last_active_s is None else now_s - self.last_active_s
            wanted = keda.request_scale(self.scaled, keda.Status(wanted, active, False, age_s, now_s))
        if now_s >= self.sync_s - 1e-9:
            self.sync_s += self.hpa.interval_s
            wanted = self.hpa.decide(now_s, seen, wanted) if wanted else 0
        return wanted


@dataclass
class Replica:
    """One replica: when it was asked for, when it serves, and when it was told to drain."""

    asked_s: float
    ready_s: float
    drained_s: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """A run: latency of every request (infinite for an error), and what it took to serve them."""

    latencies_s: list[float]
    waits_s: list[float]
    replica_s: float
    timeline: list[tuple[float, int, int, int]]  # time, wanted, ready, in flight
    service: Service

    @property
    def errors(self) -> int:
        return sum(latency == math.inf for latency in self.latencies_s)

    def percentile_s(self, fraction: float) -> float:
        """Latency that this share of the requests did not exceed (the nearest rank)."""
        check("percentile", real(0, 1)(Field(fraction, "fraction")))
        ranked = sorted(self.latencies_s)
        return ranked[max(0, math.ceil(fraction * len(ranked)) - 1)] if ranked else 0.0

    def attained(self, slo_s: float) -> float:
        """Share of the requests that were answered within the objective."""
        return sum(latency <= slo_s for latency in self.latencies_s) / max(1, len(self.latencies_s))

    @property
    def gpu_hours(self) -> float:
        return self.replica_s * self.service.gpus / 3600

    @property
    def dollars(self) -> float:
        return self.gpu_hours * self.service.dollars_per_gpu_hour

    @property
    def dollars_per_million(self) -> float:
        """Dollars for a million requests that were answered."""
        answered = len(self.latencies_s) - self.errors
        return 1e6 * self.dollars / answered if answered else math.inf

    @property
    def flaps(self) -> int:
        """How often the wanted count turned around."""
        steps = [after - before for (_, before, *_), (_, after, *_) in pairwise(self.timeline) if after != before]
        return sum((a > 0) != (b > 0) for a, b in pairwise(steps))


def run(
    arrivals_s: Sequence[float],
    service: Service,
    scaler: Autoscaler,
    replicas: int = 1,
    until_s: float | None = None,
    scrape_s: float = 1.0,
    lag_s: float = 0.0,
) -> Outcome:
    """The loop over the arrivals: scrape every `scrape_s`, decide every `scaler.interval_s` on what is `lag_s` old.

    It runs until the last arrival, or `until_s`; what waits then is still served, unpaid, by what is there.
    """
    _check_run(arrivals_s, service, replicas, scrape_s, lag_s, until_s)
    end_s = until_s if until_s is not None else (arrivals_s[-1] if arrivals_s else 0.0)
    return _Loop(arrivals_s, service, scaler, replicas).run(end_s, scrape_s, lag_s)


def _check_run(
    arrivals_s: Sequence[float], service: Service, replicas: int, scrape_s: float, lag_s: float, until_s: float | None
) -> None:
    _check_arrivals(arrivals_s)
    check("run", [*real(0)(Field(lag_s, "lag_s")), *real(SHORTEST_SCRAPE_S)(Field(scrape_s, "scrape_s"))])
    check("run", real()(Field(0 if until_s is None else until_s, "until_s")))
    _check_replicas("run", replicas, service)


def _check_replicas(what: str, replicas: int, service: Service) -> None:
    check(what, whole(0, MOST)(Field(replicas, "replicas")))
    if replicas < (0 if service.activator else 1):
        raise Invalid(what, [Field(replicas, "replicas").invalid("must be at least 1 without an activator")])


class _Loop:
    """State of one run. Slots are a heap of the times at which they are free, with the replica that has them."""

    def __init__(self, arrivals_s: Sequence[float], service: Service, scaler: Autoscaler, replicas: int) -> None:
        self.arrivals, self.service, self.scaler = arrivals_s, service, scaler
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.fleet = [Replica(0.0, 0.0) for _ in range(replicas)]
        self.slots = [(0.0, i) for i in range(replicas) for _ in range(service.concurrency)]
        self.pending: list[int] = []
        self.leaving: list[float] = []
        self.wanted = replicas

    def run(self, end_s: float, scrape_s: float, lag_s: float) -> Outcome:
        timeline, seen = [], [self._snapshot(0.0, 0.0)]
        decide_s, now_s, scrapes = 0.0, 0.0, 0
        while now_s <= end_s:
            seen.append(self._snapshot(now_s, scrape_s))
            if now_s >= decide_s - 1e-9:
                late = next(s for s in reversed(seen) if s.at_s <= now_s - lag_s or s is seen[0])
                visible = replace(late, ready=seen[-1].ready) if lag_s else late  # pods are watched, only metrics lag
                self._scale_to(self.scaler.decide(now_s, visible, self.wanted), now_s)
                decide_s += self.scaler.interval_s
                seen = seen[-math.ceil(lag_s / scrape_s) - 2 :]
            timeline.append((now_s, self.wanted, seen[-1].ready, seen[-1].in_flight))
            scrapes += 1
            now_s = scrapes * scrape_s
            self._serve_until(now_s)
        self._finish()
        latencies_s, waits_s = self._since_arrival(self.ends), self._since_arrival(self.starts)
        return Outcome(latencies_s, waits_s, self._replica_s(end_s), timeline, self.service)

    def _serve_until(self, until_s: float) -> None:
        """Start what can start before that time; replicas that become ready in between join at their moment."""
        for i in sorted(self.pending, key=lambda i: self.fleet[i].ready_s):
            if self.fleet[i].ready_s <= until_s:
                self._start_before(self.fleet[i].ready_s)
                for _ in range(self.service.concurrency):
                    heappush(self.slots, (self.fleet[i].ready_s, i))
                self.pending.remove(i)
        self._start_before(until_s)

    def _start_before(self, until_s: float) -> None:
        arrivals, slots, starts, ends = self.arrivals, self.slots, self.starts, self.ends
        service_s, timeout_s, batch = self.service.service_s, self.service.timeout_s, self.service.max_batch
        head, count = len(starts), len(arrivals)
        while slots and head < count:
            free, replica = slots[0]
            arrived = arrivals[head]
            start = arrived if arrived > free else free
            if start >= until_s:
                return
            if start - arrived > timeout_s:
                self._lose(1)
                head += 1
                continue
            taken = 1 if batch == 1 else min(batch, bisect_right(arrivals, start, head) - head)
            end = start + service_s + (taken - 1) * self.service.per_item_s
            heapreplace(slots, (end, replica))
            for _ in range(taken):
                starts.append(start)
                ends.append(end)
            head += taken

    def _give_up(self, now_s: float) -> None:
        """Who waits longer than the timeout leaves the queue, whether or not a slot is free."""
        while (
            len(self.starts) < len(self.arrivals) and self.arrivals[len(self.starts)] + self.service.timeout_s < now_s
        ):
            self._lose(1)

    def _lose(self, requests: int) -> None:
        """So many from the head of the queue are errors: they never start."""
        self.starts += [math.inf] * requests
        self.ends += [math.inf] * requests

    def _snapshot(self, now_s: float, scrape_s: float) -> Snapshot:
        self._give_up(now_s)
        arrived, ready = bisect_right(self.arrivals, now_s), len(self.slots) // self.service.concurrency
        recent = arrived - bisect_right(self.arrivals, now_s - scrape_s)
        busy = sum(free > now_s for free, _ in self.slots)
        self.leaving = [free for free in self.leaving if free > now_s]
        in_service = busy + len(self.leaving) if self.service.max_batch == 1 else self._in_batches(now_s)
        share = busy / len(self.slots) if self.slots else 0.0
        return Snapshot(
            now_s, ready, arrived - len(self.starts), in_service, recent / scrape_s if scrape_s else 0.0, share
        )

    def _in_batches(self, now_s: float) -> int:
        recent = range(
            len(self.ends) - 1, max(-1, len(self.ends) - 1 - self.service.max_batch * (len(self.slots) + 1)), -1
        )
        return sum(now_s < self.ends[i] < math.inf for i in recent)

    def _scale_to(self, wanted: int, now_s: float) -> None:
        _check_replicas("decision", wanted, self.service)
        self.wanted = wanted
        alive = [i for i, replica in enumerate(self.fleet) if replica.drained_s == math.inf]
        for _ in range(wanted - len(alive)):
            self.pending.append(len(self.fleet))
            self.fleet.append(Replica(now_s, now_s + self.service.cold_start.total_s))
        for i in sorted(alive, key=lambda i: -self.fleet[i].ready_s)[: max(0, len(alive) - wanted)]:
            self._drain(i, now_s)

    def _drain(self, i: int, now_s: float) -> None:
        """A replica that leaves takes nothing new; what it serves it finishes, and until then it is paid for."""
        mine = [free for free, replica in self.slots if replica == i]
        self.fleet[i].drained_s = max([now_s, *mine])
        self.leaving += mine
        if i in self.pending:
            self.pending.remove(i)
        self.slots = [slot for slot in self.slots if slot[1] != i]
        heapify(self.slots)

    def _finish(self) -> None:
        """After the last decision: what still waits is served by what is there, or is an error."""
        self._serve_until(math.inf)
        self._lose(len(self.arrivals) - len(self.starts))

    def _since_arrival(self, times_s: list[float]) -> list[float]:
        return [time_s - arrived for time_s, arrived in zip(times_s, self.arrivals, strict=True)]

    def _replica_s(self, end_s: float) -> float:
        return sum(max(0.0, min(replica.drained_s, end_s) - replica.asked_s) for replica in self.fleet)
