"""A request's way through Ray Serve, simulated: router, replicas with a limit, batches, stages that call each other.

Follows ray 2.60.0: `_private/request_router/pow_2_router.py` (two replicas at random, the shorter queue wins),
`_private/router.py` (all full: requests wait in the router, the oldest goes first; `max_queued_requests`),
`batching.py` (a batch closes when it is full or its wait is over, and never grows afterwards). Left out: probing and
the age of cached queue lengths (the router knows them), locality, back-off while all are full, and dying replicas.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any

from mlinfra.admission import AtLeastOne, NotNegative, check
from mlinfra.admission.nouns.ray_serve import simulation_problems
from mlinfra.admission.rules import Field, one_of, real, refuse, whole
from mlinfra.admission.serve_deployment import queue_limit
from mlinfra.simulation import Event, Simulation, percentile

ServiceTime = Callable[[int, random.Random], float]
"""Seconds for a batch of a size."""

ABOVE_ZERO = "must be greater than 0"


@dataclass(frozen=True)
class Batching:
    """`@serve.batch`: the largest batch, and how long its first request waits for others (seconds).

    `when_free` is another server's rule: a worker that is free takes all that wait, and nobody waits for company.
    """

    max_batch_size: AtLeastOne = 10
    batch_wait_timeout_s: NotNegative = 0.01
    when_free: bool = False

    def __post_init__(self) -> None:
        check(self)


ONE_BY_ONE = Batching(1, 0.0)


@dataclass(frozen=True)
class Stage:
    """A deployment as the simulation sees it: its replicas, how long one takes, and whom it calls before it works.

    A replica accepts `max_ongoing_requests` and works on `workers` of them at once: 1 where a GPU or a core computes,
    as many as it accepts where it only waits. `service_s` is the time for a batch (of one without batching) by its
    size. A request keeps its place in the caller while the called stages work on it.
    """

    name: str
    service_s: ServiceTime
    replicas: Annotated[int, whole(1, 100_000, ABOVE_ZERO)] = 1
    max_ongoing_requests: Annotated[int, whole(1, why=ABOVE_ZERO)] = 5
    max_queued_requests: Annotated[int, queue_limit] = -1
    workers: Annotated[int, whole(1, why=ABOVE_ZERO)] = 1
    batching: Batching = ONE_BY_ONE
    calls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)


def takes(seconds: float) -> ServiceTime:
    """A service time that is always the same."""
    refuse("service time", real(0)(Field(seconds, "seconds")))
    return lambda size, draw: seconds


def exponential(mean_s: float) -> ServiceTime:
    """A service time that varies as much as its mean."""
    refuse("service time", real(0)(Field(mean_s, "mean_s")))
    return lambda size, draw: mean_s * draw.expovariate(1.0)


def linear(base_s: float, each_s: float) -> ServiceTime:
    """A batch's time: a part for the batch and a part for each request in it."""
    refuse("service time", [*real(0)(Field(base_s, "base_s")), *real(0)(Field(each_s, "each_s"))])
    return lambda size, draw: base_s + each_s * size


@dataclass(frozen=True, kw_only=True)
class RouterSimulation(Simulation):
    """From the call of a stage to its answer, in the order of the answers; `latencies_s` are those of the ingress.

    What was dropped has no latency. The events tell, for each stage, of the first request that waited in the router
    and of the first that was dropped.
    """

    by_stage: Mapping[str, Sequence[float]]
    batches: Mapping[str, Sequence[int]]
    dropped: int

    def latency_s(self, fraction: float, stage: str | None = None) -> float | None:
        """The latency that this share of a stage's answers did not exceed, the ingress's without a stage."""
        if stage is None:
            return super().latency_s(fraction)
        refuse("latency_s", one_of(*self.by_stage)(Field(stage, "stage")))
        return percentile(self.by_stage[stage], fraction)


def simulate(
    stages: Sequence[Stage], arrivals_s: Sequence[float], seed: int = 0, pick: Pick | None = None
) -> RouterSimulation:
    """Requests that arrive at these times at the last stage, the ingress, until all are answered or dropped."""
    refuse("simulation", simulation_problems(stages, arrivals_s))
    return RouterRun(stages, random.Random(seed), pick or shorter_of_two).run(arrivals_s)


# ------------------------------------------------------------------------------------------------ choosing a replica


@dataclass
class RunningReplica:
    """What one replica holds: the requests that it has accepted, and of them those that wait for its workers."""

    ongoing: int = 0
    busy: int = 0
    forming: list[Call] = field(default_factory=list)
    closed: deque[list[Call]] = field(default_factory=deque)


Pick = Callable[[list[RunningReplica], random.Random], RunningReplica]


def shorter_of_two(replicas: list[RunningReplica], draw: random.Random) -> RunningReplica:
    """Power of two choices: draw two replicas at random and take the one with fewer ongoing requests."""
    candidates = draw.sample(replicas, min(2, len(replicas)))
    return min(candidates, key=lambda replica: replica.ongoing)


def any_one(replicas: list[RunningReplica], draw: random.Random) -> RunningReplica:
    """Random choice, for comparison."""
    return draw.choice(replicas)


# --------------------------------------------------------------------------------------------------- the simulation


class Router:
    """A stage while it runs: its replicas, the requests that wait for one of them, and what came of the others."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.replicas = [RunningReplica() for _ in range(stage.replicas)]
        self.pending: deque[Call] = deque()
        self.fulfilling = False
        self.latencies_s: list[float] = []
        self.batches: list[int] = []
        self.dropped, self.first_dropped_s = 0, 0.0
        self.most_pending, self.first_pending_s = 0, 0.0

    def available_replicas(self) -> list[RunningReplica]:
        """Those with room for another request."""
        return [replica for replica in self.replicas if replica.ongoing < self.stage.max_ongoing_requests]

    def queue_is_full(self) -> bool:
        return 0 <= self.stage.max_queued_requests <= len(self.pending)

    def note_pending(self, now_s: float) -> None:
        """Remember the first request that had to wait, and how many waited at most."""
        if not self.most_pending:
            self.first_pending_s = now_s
        self.most_pending = max(self.most_pending, len(self.pending))

    def note_dropped(self, now_s: float) -> None:
        if not self.dropped:
            self.first_dropped_s = now_s
        self.dropped += 1

    def events(self) -> list[Event]:
        """What a reader should know of the stage, if anything happened."""
        name, events = self.stage.name, []
        if self.most_pending:
            message = f"the first to wait for a replica; {self.most_pending} wait at most"
            events.append(Event(self.first_pending_s, "Queued", name, message))
        if self.dropped:
            message = f"the first of {self.dropped}; max_queued_requests is {self.stage.max_queued_requests}"
            events.append(Event(self.first_dropped_s, "Dropped", name, message))
        return events


@dataclass
class Call:
    """A request at one stage: since when, on behalf of which call, on which replica, and whom it has called so far."""

    router: Router
    at_s: float
    caller: Call | None
    replica: RunningReplica = field(init=False)
    answers: int = 0


class RouterRun:
    """One run: the clock, what is due when, and the stages. The steps stand in the order of a request's way."""

    def __init__(self, stages: Sequence[Stage], draw: random.Random, pick: Pick) -> None:
        self.routers = {stage.name: Router(stage) for stage in stages}
        self.ingress = self.routers[stages[-1].name]
        self.draw, self.pick, self.now_s = draw, pick, 0.0
        self.due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.order = count()

    def run(self, arrivals_s: Sequence[float]) -> RouterSimulation:
        """One step after the other, in the order of time; of two at one time the one that was planned first."""
        for at_s in arrivals_s:
            self._at(at_s, self._assign_request, self.ingress, None)
        while self.due:
            self.now_s, _, step, arguments = heapq.heappop(self.due)
            step(*arguments)
        return self._result()

    def _at(self, time_s: float, step: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self.due, (time_s, next(self.order), step, arguments))

    def _assign_request(self, router: Router, caller: Call | None) -> None:
        """Put the request into the router's queue; drop it when the queue is full and no replica has room."""
        if router.queue_is_full() and not router.available_replicas():
            router.note_dropped(self.now_s)
            self._return_to(caller, answered=False)
            return
        router.pending.append(Call(router, self.now_s, caller))
        self._fulfill_pending_requests(router)

    def _fulfill_pending_requests(self, router: Router) -> None:
        """Send the oldest waiting request to a replica, as long as one has room."""
        if router.fulfilling:  # the loop below called us, through a request that was dropped; it goes on
            return
        router.fulfilling = True
        while router.pending and (replicas := router.available_replicas()):
            call = router.pending.popleft()
            call.replica = self.pick(replicas, self.draw)
            call.replica.ongoing += 1
            self._handle_request(call)
        router.fulfilling = False
        if router.pending:
            router.note_pending(self.now_s)

    def _handle_request(self, call: Call) -> None:
        """Call the other stages one after the other, then do this stage's own work."""
        calls = call.router.stage.calls
        if call.answers < len(calls):
            self._assign_request(self.routers[calls[call.answers]], call)
        else:
            self._join_batch(call)

    def _join_batch(self, call: Call) -> None:
        """Join the batch that forms; close it when it is full, or when its first request has waited long enough."""
        batching, batch = call.router.stage.batching, call.replica.forming
        batch.append(call)
        if batching.when_free:
            self._take_waiting(call.router, call.replica)
        elif len(batch) >= batching.max_batch_size:
            self._close_batch(call.router, call.replica, batch)
        elif len(batch) == 1:
            self._at(self.now_s + batching.batch_wait_timeout_s, self._close_batch, call.router, call.replica, batch)

    def _close_batch(self, router: Router, replica: RunningReplica, batch: list[Call]) -> None:
        """Let the batch wait for a worker; it does not grow any more. A full one has closed before its wait is over."""
        if batch is replica.forming:
            replica.forming = []
            replica.closed.append(batch)
            self._start_batches(router, replica)

    def _take_waiting(self, router: Router, replica: RunningReplica) -> None:
        """A free worker takes all that wait, up to the largest batch."""
        while replica.forming and replica.busy < router.stage.workers:
            most = router.stage.batching.max_batch_size
            batch = replica.forming[:most]
            del replica.forming[:most]
            self._start_batch(router, replica, batch)

    def _start_batches(self, router: Router, replica: RunningReplica) -> None:
        """Start the oldest closed batch, as long as a worker is free."""
        while replica.closed and replica.busy < router.stage.workers:
            self._start_batch(router, replica, replica.closed.popleft())

    def _start_batch(self, router: Router, replica: RunningReplica, batch: list[Call]) -> None:
        replica.busy += 1
        router.batches.append(len(batch))
        takes_s = router.stage.service_s(len(batch), self.draw)
        self._at(self.now_s + takes_s, self._finish_batch, router, replica, batch)

    def _finish_batch(self, router: Router, replica: RunningReplica, batch: list[Call]) -> None:
        replica.busy -= 1
        for call in batch:
            self._leave(call, answered=True)
        self._start_batches(router, replica)
        if router.stage.batching.when_free:
            self._take_waiting(router, replica)

    def _leave(self, call: Call, answered: bool) -> None:
        """Give the answer to the caller, and the place to the next request in the queue."""
        call.replica.ongoing -= 1
        if answered:
            call.router.latencies_s.append(self.now_s - call.at_s)
        self._return_to(call.caller, answered)
        self._fulfill_pending_requests(call.router)

    def _return_to(self, caller: Call | None, answered: bool) -> None:
        """Let the calling request go on with its next call, or fail when this one was dropped."""
        if caller is not None and answered:
            caller.answers += 1
            self._handle_request(caller)
        elif caller is not None:
            self._leave(caller, answered=False)

    def _result(self) -> RouterSimulation:
        routers = self.routers.values()
        return RouterSimulation(
            latencies_s=self.ingress.latencies_s,
            events=sorted(event for router in routers for event in router.events()),
            by_stage={router.stage.name: router.latencies_s for router in routers},
            batches={router.stage.name: router.batches for router in routers},
            dropped=sum(router.dropped for router in routers),
        )
