"""A request's way through Ray Serve, simulated: router, replicas with a limit, batches, stages that call each other.

Follows ray 2.60.0: `_private/request_router/pow_2_router.py` (two replicas at random, the shorter queue wins),
`_private/router.py` (all full: requests wait in the router, the oldest goes first; `max_queued_requests`),
`batching.py` (a batch closes when it is full or its wait is over, and never grows afterwards). Left out: probing and
the age of cached queue lengths (the router knows them), locality, back-off while all are full, and dying replicas.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from mlinfra.admission.rules import Field, Invalid, Problem, real, refuse, whole

MOST = 100_000

ServiceTime = Callable[[int, random.Random], float]
"""Seconds for a batch of a size."""


@dataclass(frozen=True)
class Batching:
    """`@serve.batch`: the largest batch, and how long its first request waits for others (seconds)."""

    max_batch_size: int = 10
    batch_wait_timeout_s: float = 0.01

    def __post_init__(self) -> None:
        wait = Field(self.batch_wait_timeout_s, "batch_wait_timeout_s")
        refuse("batching", [*whole(1)(Field(self.max_batch_size, "max_batch_size")), *real(0)(wait)])


@dataclass(frozen=True)
class Stage:
    """A deployment as the simulation sees it: its replicas, how long one takes, and whom it calls before it works.

    A replica accepts `max_ongoing_requests` and works on `workers` of them at once: 1 where a GPU or a core computes,
    as many as it accepts where it only waits. `service_s` is the time for a batch (of one without batching) by its
    size. A request keeps its place in the caller while the called stages work on it.
    """

    name: str
    service_s: ServiceTime
    replicas: int = 1
    max_ongoing_requests: int = 5
    max_queued_requests: int = -1
    workers: int = 1
    batching: Batching | None = None
    calls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse(f'stage "{self.name}"', _stage_problems(self))


def _stage_problems(stage: Stage) -> Iterator[Problem]:
    for name, most in {"replicas": MOST, "max_ongoing_requests": 2**31 - 1, "workers": 2**31 - 1}.items():
        yield from whole(1, most, "must be greater than 0")(Field(getattr(stage, name), name))
    yield from whole(-1)(Field(stage.max_queued_requests, "max_queued_requests"))
    if stage.max_queued_requests != -1 and stage.max_queued_requests < 1:
        why = "max_queued_requests must be -1 (no limit) or a positive integer."
        yield Field(stage.max_queued_requests, "max_queued_requests").invalid(why)


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


@dataclass
class Outcome:
    """Seconds from the call of a stage to its answer, in the order of the answers, and the calls that were dropped."""

    times_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    batches: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    dropped: int = 0

    def percentile_s(self, stage: str, fraction: float) -> float:
        """The time that this fraction of a stage's calls stayed within; Invalid for a stage that answered none."""
        refuse("percentile", real(0, 1)(Field(fraction, "fraction")))
        times = sorted(self._answered(stage))
        return times[max(0, math.ceil(fraction * len(times)) - 1)]

    def mean_s(self, stage: str) -> float:
        return math.fsum(self._answered(stage)) / len(self._answered(stage))

    def _answered(self, stage: str) -> list[float]:
        if stage not in self.times_s:
            raise Invalid("outcome", [Field(stage, "stage").invalid("answered nothing")])
        return self.times_s[stage]


def simulate(stages: Sequence[Stage], arrivals_s: Sequence[float], seed: int = 0, pick: Pick | None = None) -> Outcome:
    """Requests that arrive at these times at the last stage, the ingress, until all are answered or dropped."""
    refuse("stages", _path_problems(stages))
    refuse(
        "arrivals",
        (problem for i, at_s in enumerate(arrivals_s) for problem in real()(Field(at_s, f"arrivals_s[{i}]"))),
    )
    return _Simulation(stages, random.Random(seed), pick or shorter_of_two).run(arrivals_s)


def _path_problems(stages: Sequence[Stage]) -> Iterator[Problem]:
    """Stages are listed as Serve builds them: who is called comes first."""
    known: list[str] = []
    for stage in stages:
        for name in stage.calls:
            if name not in known:
                yield Problem(f"stages[{stage.name}].calls", f'Invalid value: "{name}": must be a stage listed before')
        if stage.name in known:
            yield Problem("stages", f'Duplicate value: "{stage.name}"')
        known.append(stage.name)
    if not stages:
        yield Problem("stages", "Required value: at least one stage")


# --------------------------------------------------------------------------------------------------- the simulation


@dataclass
class Call:
    """A request at one stage, and whom to tell when it is answered (True) or dropped."""

    at_s: float
    done: Callable[[bool], None]


@dataclass
class Replica:
    """What one replica holds: the requests that it has accepted, and of them those that wait for its workers."""

    ongoing: int = 0
    busy: int = 0
    forming: list[Call] = field(default_factory=list)
    closed: deque[list[Call]] = field(default_factory=deque)


Pick = Callable[[list[Replica], random.Random], Replica]


def shorter_of_two(replicas: list[Replica], draw: random.Random) -> Replica:
    """Power of two choices: of two drawn at random the one with fewer ongoing requests, the first in a tie."""
    return min(draw.sample(replicas, min(2, len(replicas))), key=lambda replica: replica.ongoing)


def any_one(replicas: list[Replica], draw: random.Random) -> Replica:
    """Random choice, for comparison."""
    return draw.choice(replicas)


class _Simulation:
    """One run: the clock, the events, and per stage the replicas and the router's queue."""

    def __init__(self, stages: Sequence[Stage], draw: random.Random, pick: Pick) -> None:
        self.stages, self.ingress = {stage.name: stage for stage in stages}, stages[-1].name
        self.replicas = {stage.name: [Replica() for _ in range(stage.replicas)] for stage in stages}
        self.queues: dict[str, deque[Call]] = {stage.name: deque() for stage in stages}
        self.draw, self.pick, self.outcome, self.now_s = draw, pick, Outcome(), 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order, self.routing = count(), set[str]()

    def run(self, arrivals_s: Sequence[float]) -> Outcome:
        for at_s in arrivals_s:
            self._at(at_s, lambda: self._call(self.ingress, lambda answered: None))
        while self.events:
            self.now_s, _, act = heapq.heappop(self.events)
            act()
        return self.outcome

    def _at(self, time_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time_s, next(self.order), act))

    def _call(self, name: str, done: Callable[[bool], None]) -> None:
        """The router: a replica with room at once, else the queue, unless that is full."""
        stage, queue = self.stages[name], self.queues[name]
        if 0 <= stage.max_queued_requests <= len(queue) and not self._free(name):
            self.outcome.dropped += 1
            done(False)
            return
        queue.append(Call(self.now_s, done))
        self._route(name)

    def _free(self, name: str) -> list[Replica]:
        most = self.stages[name].max_ongoing_requests
        return [replica for replica in self.replicas[name] if replica.ongoing < most]

    def _route(self, name: str) -> None:
        """The oldest request first, as long as there is room."""
        if name in self.routing:  # a request that was dropped on its way: the loop above it goes on
            return
        self.routing.add(name)
        queue = self.queues[name]
        while queue and (free := self._free(name)):
            replica = self.pick(free, self.draw)
            replica.ongoing += 1
            self._ask(name, replica, queue.popleft(), self.stages[name].calls)
        self.routing.remove(name)

    def _ask(self, name: str, replica: Replica, call: Call, rest: tuple[str, ...]) -> None:
        """The called stages one after the other, then the stage's own work."""
        if not rest:
            self._work(name, replica, call)
            return

        def answered(well: bool) -> None:
            if well:
                self._ask(name, replica, call, rest[1:])
            else:
                self._leave(name, replica, call, well=False)

        self._call(rest[0], answered)

    def _work(self, name: str, replica: Replica, call: Call) -> None:
        """Into the batch that is forming; it closes when it is full, or when its first request has waited enough."""
        batching = self.stages[name].batching or Batching(1, 0.0)
        replica.forming.append(call)
        batch = replica.forming
        if len(batch) >= batching.max_batch_size:
            self._close(name, replica, batch)
        elif len(batch) == 1:
            self._at(self.now_s + batching.batch_wait_timeout_s, lambda: self._close(name, replica, batch))

    def _close(self, name: str, replica: Replica, batch: list[Call]) -> None:
        if batch is replica.forming:
            replica.forming = []
            replica.closed.append(batch)
            self._start(name, replica)

    def _start(self, name: str, replica: Replica) -> None:
        while replica.closed and replica.busy < self.stages[name].workers:
            batch = replica.closed.popleft()
            replica.busy += 1
            self.outcome.batches[name].append(len(batch))
            takes_s = self.stages[name].service_s(len(batch), self.draw)
            self._at(self.now_s + takes_s, partial(self._finish, name, replica, batch))

    def _finish(self, name: str, replica: Replica, batch: list[Call]) -> None:
        replica.busy -= 1
        for call in batch:
            self._leave(name, replica, call, well=True)
        self._start(name, replica)

    def _leave(self, name: str, replica: Replica, call: Call, well: bool) -> None:
        """The answer goes to the caller, and the place to the next in the queue."""
        replica.ongoing -= 1
        if well:
            self.outcome.times_s[name].append(self.now_s - call.at_s)
        call.done(well)
        self._route(name)
