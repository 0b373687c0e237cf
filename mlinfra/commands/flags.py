"""What several commands are asked alike: the traffic, the service that answers it, and what is then assumed."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mlinfra import traffic
from mlinfra.autoscaling import loop
from mlinfra.commands.report import UsageError

MOST_REPLICAS = 10_000
LONGEST_S = 60 * 86_400.0


def number(low: float, above: bool = False, high: float = 1e9) -> Callable[[str], float]:
    """The value of a flag: a finite number from `low`, or above it, to `high`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f"{text}: must be a number {'above' if above else 'from'} {low:g}")
        return value

    return read


def count(low: int, high: int = MOST_REPLICAS) -> Callable[[str], int]:
    """The value of a flag: a whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not text.isascii() or not low <= int(text[:20]) <= high:
            raise argparse.ArgumentTypeError(f"{text}: must be a whole number from {low} to {high:,}")
        return int(text)

    return read


def pair(text: str) -> tuple[str, str]:
    """The value of a flag: NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text}: must be NAME=VALUE")
    return name, value


def add_traffic_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--traffic", required=True, metavar="FILE", help="CSV, or Prometheus' answer to query_range")
    parser.add_argument("--as", dest="kind", default="", choices=traffic.KINDS, help="what its values are (guessed)")
    parser.add_argument("--series", default="", help="a part of the name of the series that is meant")


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--service-time", type=number(0, above=True), default=0.1, metavar="S", help="seconds a request takes (0.1)")
    add("--concurrency", type=count(1), default=1, help="requests that a replica serves at a time (1)")
    add("--start-up", type=number(0), default=60.0, metavar="S", help="seconds until a new replica serves (60)")
    add("--timeout", type=number(0), default=math.inf, metavar="S", help="seconds a request waits (no limit)")
    add("--price", type=number(0), default=3.0, help="dollars for an hour of a replica (3)")


def read_traffic(arguments: argparse.Namespace) -> traffic.RequestCounts:
    """The requests of the file; UsageError in one sentence."""
    path = arguments.traffic
    try:
        counts = traffic.load(sys.stdin.buffer if path == "-" else path, arguments.kind, arguments.series)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if counts.duration_s > LONGEST_S:
        raise UsageError(f"{path}: spans {duration(counts.duration_s)}: at most {duration(LONGEST_S)} are replayed")
    return counts


def service_of(arguments: argparse.Namespace) -> loop.Service:
    """A replica as the flags have it; requests wait where there is none."""
    return loop.Service(
        arguments.service_time,
        arguments.concurrency,
        timeout_s=arguments.timeout,
        cold_start=loop.ColdStart(load_s=arguments.start_up),
        dollars_per_gpu_hour=arguments.price,
        activator=True,
    )


def traffic_words(counts: traffic.RequestCounts, arguments: argparse.Namespace) -> str:
    """What was read, and below it what was guessed."""
    most = max(counts.rates_per_s())
    mean = counts.requests / counts.duration_s
    head = f"{arguments.traffic}: {counts.requests:,} requests in {duration(counts.duration_s)}"
    text = f"{head} from {counts.start.isoformat()}, {mean:.3g} a second on average and {most:.3g} at most"
    return "\n".join([text, *(f"  - {note}" for note in counts.notes)])


UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def duration(whole_s: float) -> str:
    """Two units at most: 2 h 5 min."""
    for unit, size_s, smaller, smaller_s in UNITS:
        if whole_s >= size_s:
            rest = int(whole_s % size_s / smaller_s)
            return f"{whole_s // size_s:.0f} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole_s:g} s"


def assumptions(arguments: argparse.Namespace) -> list[str]:
    """A sentence for each thing that the traffic does not tell, with the flag that changes it."""
    endless = math.isinf(arguments.timeout)
    limit = "no request gives up" if endless else f"a request gives up after {arguments.timeout:g} s"
    return [
        f"a request takes {arguments.service_time:g} s (--service-time)",
        f"a replica serves {arguments.concurrency} at a time (--concurrency)",
        f"a new replica serves after {arguments.start_up:g} s, and a node for it is there (--start-up)",
        f"{limit} (--timeout)",
        f"a replica costs {arguments.price:g} dollars an hour (--price)",
        "requests are spread evenly within a bin of the traffic, and wait in one queue",
    ]


@dataclass
class WorkProgress:
    """A line on a terminal that says how far the work is, once it has taken two seconds."""

    whole: float
    what: str
    next_s: float = field(default_factory=lambda: time.monotonic() + 2)
    shown: bool = False

    def __call__(self, done: float) -> None:
        if not sys.stderr.isatty() or time.monotonic() < self.next_s:
            return
        print(f"\r{done:,.0f} of {self.whole:,.0f} {self.what}", end="", file=sys.stderr, flush=True)
        self.next_s, self.shown = time.monotonic() + 0.2, True

    def end(self) -> None:
        """The line goes away."""
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
