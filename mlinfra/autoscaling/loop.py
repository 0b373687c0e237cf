"""The closed loop: requests arrive and queue, replicas start cold and serve, and an autoscaler decides on metrics.

Every request is followed exactly. Times are seconds. `arrivals`, `queue`, `replicas` and `scalers` are the parts, and
`on_nodes` where replicas need nodes that come and go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise, takewhile

from mlinfra.admission import Field, refuse
from mlinfra.admission.nouns.autoscaling import loop_settings
from mlinfra.autoscaling.arrivals import check_arrivals, poisson, spread
from mlinfra.autoscaling.on_nodes import FleetOnNodes, NodeBill, Nodes
from mlinfra.autoscaling.queue import Queue, fifo_waits
from mlinfra.autoscaling.replicas import ColdStart, Fleet, Service
from mlinfra.autoscaling.scalers import Autoscaler, ByHPA, ByKEDA, ByKPA, Every, Fixed, Measure, Snapshot
from mlinfra.simulation import Event, Simulation

__all__ = [
    "Autoscaler",
    "ByHPA",
    "ByKEDA",
    "ByKPA",
    "ColdStart",
    "Fixed",
    "LoopSimulation",
    "Measure",
    "Nodes",
    "Service",
    "Snapshot",
    "fifo_waits",
    "poisson",
    "simulate",
    "spread",
]

Timeline = list[tuple[float, int, int, int]]
"""Time, desired replicas, ready replicas, requests in flight."""


@dataclass(frozen=True, kw_only=True)
class LoopSimulation(Simulation):
    """A run: latency of every request (infinite for an error), what happened, and what it took to serve them."""

    waits_s: list[float]
    replica_s: float
    timeline: Timeline
    service: Service
    nodes: NodeBill | None = None

    @property
    def errors(self) -> int:
        return sum(latency == math.inf for latency in self.latencies_s)

    @property
    def lost(self) -> int:
        """Requests that were being served when their node went."""
        pairs = zip(self.waits_s, self.latencies_s, strict=True)
        return sum(wait < math.inf == latency for wait, latency in pairs)

    def attained(self, slo_s: float) -> float:
        """Share of the requests that were answered within the objective."""
        return sum(latency <= slo_s for latency in self.latencies_s) / max(1, len(self.latencies_s))

    @property
    def gpu_hours(self) -> float:
        """Hours of GPUs that pods held."""
        return self.replica_s * self.service.gpus / 3600

    @property
    def dollars(self) -> float:
        """What the nodes cost, or, where there are none, the GPU hours."""
        return self.nodes.dollars if self.nodes else self.gpu_hours * self.service.dollars_per_gpu_hour

    @property
    def dollars_per_million(self) -> float:
        """Dollars for a million requests that were answered."""
        answered = len(self.latencies_s) - self.errors
        return 1e6 * self.dollars / answered if answered else math.inf

    @property
    def flaps(self) -> int:
        """How often the desired count turned around."""
        steps = [after - before for (_, before, *_), (_, after, *_) in pairwise(self.timeline) if after != before]
        return sum((a > 0) != (b > 0) for a, b in pairwise(steps))


def simulate(
    arrivals_s: Sequence[float],
    service: Service,
    scaler: Autoscaler,
    replicas: int = 1,
    until_s: float | None = None,
    scrape_s: float = 1.0,
    lag_s: float = 0.0,
    nodes: Nodes | None = None,
) -> LoopSimulation:
    """The loop over the arrivals: scrape every `scrape_s`, decide every `scaler.interval_s` on what is `lag_s` old.

    It runs until the last arrival, or `until_s`. The requests that wait then are still served, by the replicas that
    there are, and nobody pays for that time. With `nodes` each replica needs a GPU of one.
    """
    check_arrivals(arrivals_s)
    settings = {"nodes": nodes, "replicas": replicas, "until_s": until_s, "scrape_s": scrape_s, "lag_s": lag_s}
    refuse("loop", loop_settings(Field({**settings, "service": service, "scaler": scaler})))
    queue, fleet, desired = Queue(arrivals_s, service), fleet_of(service, replicas, nodes), replicas
    decisions, end_s = Every(scaler.interval_s), last_second(arrivals_s, until_s)
    snapshots: list[Snapshot] = []
    timeline: Timeline = []
    for now_s in scrape_times(scrape_s, end_s):
        follow_nodes(queue, fleet, now_s)
        serve(queue, fleet, now_s)
        queue.time_out(now_s)
        snapshots.append(scrape(queue, fleet, now_s, scrape_s))
        if decisions.due(now_s):
            desired = scaler.decide(now_s, delayed(snapshots, lag_s), desired)
            fleet.scale(desired, now_s)
        timeline.append((now_s, desired, snapshots[-1].ready, snapshots[-1].in_flight))
    serve(queue, fleet, math.inf)
    queue.fail_rest()
    return LoopSimulation(
        latencies_s=queue.latencies_s(),
        events=sorted([*rescales(replicas, timeline), *fleet.events(end_s)], key=lambda event: event.at_s),
        waits_s=queue.waits_s(),
        replica_s=fleet.replica_s(end_s),
        timeline=timeline,
        service=service,
        nodes=nodes.bill(end_s) if nodes else None,
    )


def fleet_of(service: Service, replicas: int, nodes: Nodes | None) -> Fleet:
    """Replicas that start where they will, or on nodes."""
    return FleetOnNodes(service, replicas, nodes) if nodes else Fleet(service, replicas)


def last_second(arrivals_s: Sequence[float], until_s: float | None) -> float:
    """When the loop ends: at the given time, or with the last arrival."""
    if until_s is not None:
        return until_s
    return arrivals_s[-1] if arrivals_s else 0.0


def scrape_times(scrape_s: float, end_s: float) -> Iterator[float]:
    """Every scrape from second 0 to the end."""
    return takewhile(lambda now_s: now_s <= end_s, (i * scrape_s for i in count()))


def follow_nodes(queue: Queue, fleet: Fleet, until_s: float) -> None:
    """Pods are placed or must leave; each time the requests before it have been served."""
    while isinstance(fleet, FleetOnNodes) and (changes := fleet.nodes.advance(until_s)):
        serve(queue, fleet, changes[0].at_s)
        for news in changes:
            fleet.hear(news, queue)


def serve(queue: Queue, fleet: Fleet, until_s: float) -> None:
    """Requests go to free slots until that time; the slots of a replica that has started are there from then on."""
    for i in fleet.started(until_s):
        queue.serve(fleet.slots, fleet.replicas[i].ready_s)
        fleet.add_slots(i)
    queue.serve(fleet.slots, until_s)


def scrape(queue: Queue, fleet: Fleet, now_s: float, scrape_s: float) -> Snapshot:
    """The counts of the moment, and the arrivals since the last scrape."""
    arrived, busy = queue.arrived(now_s), fleet.busy_slots(now_s)
    if fleet.service.max_batch == 1:
        in_service = busy + fleet.draining_slots(now_s)
    else:
        in_service = queue.in_batches(now_s, len(fleet.slots))
    arrivals_per_s = (arrived - queue.arrived(now_s - scrape_s)) / scrape_s
    busy_share = busy / len(fleet.slots) if fleet.slots else 0.0
    return Snapshot(now_s, fleet.ready, arrived - len(queue.starts_s), in_service, arrivals_per_s, busy_share)


def delayed(snapshots: list[Snapshot], lag_s: float) -> Snapshot:
    """The newest snapshot that is `lag_s` old, but with the ready count of now: pods are watched, only metrics lag."""
    newest = snapshots[-1]
    if not lag_s:
        return newest
    visible = (snapshot for snapshot in reversed(snapshots) if snapshot.at_s <= newest.at_s - lag_s)
    before_the_first = replace(snapshots[0], arrivals_per_s=0.0)
    return replace(next(visible, before_the_first), ready=newest.ready)


def rescales(replicas: int, timeline: Timeline) -> Iterator[Event]:
    """The autoscaler's changes of the desired count, from the one at the start."""
    before = replicas
    for at_s, desired, _, _ in timeline:
        if desired != before:
            yield Event(at_s, "SuccessfulRescale", "autoscaler", f"New size: {desired}, from {before}")
            before = desired
