"""Requests through a queue and its servers: the FIFO core and the whole closed loop, beside SimPy."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, repeat

from benchmarks.rows import Row, seconds
from builders import scalers, simpy_waits

from mlinfra.autoscaling import loop
from mlinfra.course import data

SERVERS, FEW = 8, 20_000
POD = loop.Service(2.0, 4, cold_start=loop.ColdStart(image_s=20, load_s=10), activator=True)


def rows() -> Iterator[Row]:
    return chain(map(fifo, (2_000, 20_000, 200_000)), hours(), map(million, (10_000, 100_000, 1_000_000)))


def fifo(requests: int) -> Row:
    """The exact queue before eight servers; RuntimeError when a wait differs from SimPy's."""
    chance = random.Random(requests)
    arrivals_s = list(accumulate(chance.expovariate(0.9 * SERVERS) for _ in range(requests)))
    service_s = [chance.expovariate(1.0) for _ in arrivals_s]
    waits, theirs = loop.fifo_waits(arrivals_s, service_s, SERVERS), simpy_waits(arrivals_s, service_s, SERVERS)
    if any(abs(ours - other) > 1e-6 for ours, other in zip(waits, theirs, strict=True)):
        raise RuntimeError(f"{requests} requests: SimPy lets them wait differently")
    took = seconds(lambda: loop.fifo_waits(arrivals_s, service_s, SERVERS), times=5)
    beside = seconds(lambda: simpy_waits(arrivals_s, service_s, SERVERS))
    met = beside >= 40 * took
    return Row("FIFO core", f"{requests:,} requests", requests, took, "SimPy, the same waits", beside, "40 times", met)


def hours() -> Iterator[Row]:
    """The first tenth, the first third and all of the hour of production traffic, through each autoscaler."""
    counts = data.llm_arrivals()
    for name, part in ((name, part) for name in scalers() for part in (10, 3, 1)):
        arrivals_s = loop.spread(counts[: len(counts) // part], data.BIN_S)
        took = seconds(lambda: loop.simulate(arrivals_s, POD, scalers()[name](), 2), times=5)  # noqa: B023
        target = "0.06 s" if part == 1 else ""
        yield loop_row(f"real traffic through {name.upper()}", arrivals_s, took, target, not target or took <= 0.06)


def million(requests: int) -> Row:
    """Even traffic of 10 requests a second through the HPA."""
    arrivals_s = [i / 10 for i in range(requests)]
    took = seconds(lambda: loop.simulate(arrivals_s, POD, scalers()["hpa"](), 2))
    target = "1.5 s" if requests == 1_000_000 else ""
    return loop_row("the loop with an HPA", arrivals_s, took, target, not target or took <= 1.5)


def loop_row(what: str, arrivals_s: Sequence[float], took: float, target: str, met: bool) -> Row:
    """Beside it SimPy with a fleet that stays as it is: queue and servers only, from the first requests."""
    few = arrivals_s[:FEW]
    fleet = seconds(lambda: simpy_waits(list(few), list(repeat(POD.service_s, len(few))), 20 * POD.concurrency))
    beside = fleet * len(arrivals_s) / len(few)
    size = f"{len(arrivals_s):,} requests"
    return Row(what, size, len(arrivals_s), took, "SimPy, queue and a fixed fleet only", beside, target, met)
