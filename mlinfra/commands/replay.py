"""`mlinfra replay`: what an autoscaler would have done on recorded traffic, what it would have cost, and why."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mlinfra import traffic
from mlinfra.autoscaling import loop
from mlinfra.commands.report import Report, UsageError, bullets, paragraphs, table
from mlinfra.commands.scalers import Candidate, read_candidate
from mlinfra.simulation import percentile

EXAMPLE = """example:
  python -m mlinfra replay hpa.yaml --traffic requests.csv --service-time 0.2 --concurrency 4 --start-up 90
  python -m mlinfra replay hpa.yaml --against keda.yaml --traffic query_range.json --picture replay.svg"""
MOST_DECISIONS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="SCALER.yaml", help="an HPA, a VPA, a ScaledObject, or Ray Serve's configuration"
    )
    parser.add_argument("--against", metavar="OTHER.yaml", help="another one, side by side")
    parser.add_argument("--picture", metavar="OUT.svg", help="traffic, replicas and latency over time")
    add_traffic_arguments(parser)
    add_service_arguments(parser)


def add_traffic_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--traffic", required=True, metavar="FILE", help="CSV, or Prometheus' answer to query_range")
    parser.add_argument("--as", dest="kind", default="", choices=traffic.KINDS, help="what its values are (guessed)")
    parser.add_argument("--series", default="", help="a part of the name of the series that is meant")
    parser.add_argument("--measure", action="append", default=[], metavar="NAME=SIGNAL", help="what a metric reads")


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service-time", type=float, default=0.1, metavar="S", help="seconds a request takes (0.1)")
    parser.add_argument("--concurrency", type=int, default=1, help="requests that a replica serves at a time (1)")
    parser.add_argument("--start-up", type=float, default=60.0, metavar="S", help="seconds until a replica serves (60)")
    parser.add_argument(
        "--timeout", type=float, default=math.inf, metavar="S", help="seconds a request waits (no limit)"
    )
    parser.add_argument("--price", type=float, default=3.0, help="dollars for an hour of a replica (3)")
    parser.add_argument("--replicas", type=int, help="replicas at the start (the minimum)")


def run(arguments: argparse.Namespace) -> Report:
    """The result of one autoscaler, or of two side by side."""
    from mlinfra.commands import replay_vpa

    if replay_vpa.is_vpa(arguments.file):
        return replay_vpa.run(arguments)
    counts = read_traffic(arguments)
    files = [path for path in (arguments.file, arguments.against) if path]
    replays = [replayed(read_candidate(path, arguments.measure), counts, arguments) for path in files]
    if arguments.picture:
        draw(replays, counts, Path(arguments.picture))
    return Report(as_text(replays, counts, arguments), as_data(replays, counts))


def read_traffic(arguments: argparse.Namespace) -> traffic.RequestCounts:
    try:
        return traffic.load(arguments.traffic, arguments.kind, arguments.series)
    except OSError as error:
        raise UsageError(f"{arguments.traffic}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def service_of(arguments: argparse.Namespace) -> loop.Service:
    return loop.Service(
        arguments.service_time,
        arguments.concurrency,
        timeout_s=arguments.timeout,
        cold_start=loop.ColdStart(load_s=arguments.start_up),
        dollars_per_gpu_hour=arguments.price,
        activator=True,
    )


# --------------------------------------------------------------------------------------------------------- the replay


@dataclass(frozen=True)
class Change:
    """A decision for another count: what the autoscaler saw, and its own reasons where it gives any."""

    at_s: float
    before: int
    after: int
    seen: loop.Snapshot
    why: str


@dataclass
class Witness:
    """An autoscaler whose changes are noted down."""

    candidate: Candidate
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interval_s = self.candidate.scaler.interval_s

    def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
        desired = self.candidate.scaler.decide(now_s, snapshot, replicas)
        if desired != replicas:
            self.changes.append(Change(now_s, replicas, desired, snapshot, self.reason(now_s)))
        return desired

    def reason(self, now_s: float) -> str:
        """What the HPA says of this pass, if it made one."""
        scaler = self.candidate.scaler
        by_hpa = getattr(scaler, "hpa", scaler)
        decision = getattr(by_hpa, "decision", None)
        return decision.rescale_reason if decision and decision.at_s == now_s else ""


@dataclass(frozen=True)
class Replay:
    candidate: Candidate
    run: loop.LoopSimulation
    changes: Sequence[Change]


def replayed(candidate: Candidate, counts: traffic.RequestCounts, arguments: argparse.Namespace) -> Replay:
    """The closed loop over the whole traffic, with a witness of the autoscaler's changes."""
    witness = Witness(candidate)
    replicas = candidate.low if arguments.replicas is None else arguments.replicas
    arrivals_s = loop.spread(counts.counts, counts.bin_s)
    run = loop.simulate(arrivals_s, service_of(arguments), witness, replicas, until_s=counts.duration_s)
    return Replay(candidate, run, witness.changes)


def decisions_that_mattered(replay: Replay) -> list[Change]:
    """The changes that moved most replica-hours until the next one, in the order of time."""
    ends_s = [change.at_s for change in replay.changes[1:]] + [replay.run.timeline[-1][0]]
    moved = {
        change.at_s: abs(change.after - change.before) * (end_s - change.at_s)
        for change, end_s in zip(replay.changes, ends_s, strict=True)
    }
    largest = sorted(replay.changes, key=lambda change: -moved[change.at_s])[:MOST_DECISIONS]
    return sorted(largest, key=lambda change: change.at_s)


# --------------------------------------------------------------------------------------------------------- the answer


def figures(replay: Replay) -> dict[str, Any]:
    """The result in numbers, by what they are called."""
    run = replay.run
    counts = [desired for _, desired, _, _ in run.timeline]
    answered = sorted(latency for latency in run.latencies_s if latency < math.inf)
    return {
        "replicas, mean": round(run.replica_s / max(run.timeline[-1][0], 1e-9), 2),
        "replicas, least and most": f"{min(counts)} and {max(counts)}",
        "pod-hours": round(run.replica_s / 3600, 2),
        "dollars": round(run.dollars, 2),
        "scale events": len(replay.changes),
        "turns (up to down, or back)": run.flaps,
        "latency p50, s": seconds(percentile(answered, 0.5)),
        "latency p99, s": seconds(percentile(answered, 0.99)),
        "longest latency, s": seconds(max(answered, default=None)),
        "requests that failed": run.errors,
    }


def seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_text(replays: Sequence[Replay], counts: traffic.RequestCounts, arguments: argparse.Namespace) -> str:
    columns = [figures(replay) for replay in replays]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    parts = [traffic_words(counts, arguments), table(["", *(replay.candidate.name for replay in replays)], rows)]
    for replay in replays:
        name = f" of {replay.candidate.name}" if len(replays) > 1 else ""
        lines = [words(change, counts) for change in decisions_that_mattered(replay)]
        parts.append(bullets(f"Decisions{name} that moved most:", lines))
    parts.append(bullets("Assumed:", [*assumptions(arguments), *unique(r.candidate.assumed for r in replays)]))
    parts.append(bullets("Not used:", unique(replay.candidate.not_used for replay in replays)))
    return paragraphs(*parts)


def traffic_words(counts: traffic.RequestCounts, arguments: argparse.Namespace) -> str:
    most = max(counts.rates_per_s())
    mean = counts.requests / counts.duration_s
    head = f"{arguments.traffic}: {counts.requests:,} requests in {duration(counts.duration_s)}"
    text = f"{head} from {counts.start.isoformat()}, {mean:.3g} a second on average and {most:.3g} at most"
    return "\n".join([text, *(f"  - {note}" for note in counts.notes)])


def duration(whole_s: float) -> str:
    """Two units at most: 2 h 5 min."""
    for name, size_s, below in (("d", 86_400, "h"), ("h", 3_600, "min"), ("min", 60, "s")):
        if whole_s >= size_s:
            small = {"h": 3_600, "min": 60, "s": 1}[below]
            rest = int(whole_s % size_s / small)
            return f"{whole_s // size_s:.0f} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole_s:g} s"


def words(change: Change, counts: traffic.RequestCounts) -> str:
    seen = change.seen
    situation = f"{seen.arrivals_per_s:.3g} requests a second, {seen.in_flight} in flight, {seen.ready} ready"
    why = f"; {change.why}" if change.why else ""
    return f"{clock(change.at_s, counts)}  {change.before} -> {change.after}  ({situation}{why})"


def clock(at_s: float, counts: traffic.RequestCounts) -> str:
    from datetime import timedelta

    return (counts.start + timedelta(seconds=at_s)).isoformat(sep=" ", timespec="seconds")


def assumptions(arguments: argparse.Namespace) -> list[str]:
    limit = (
        "no request gives up" if math.isinf(arguments.timeout) else f"a request gives up after {arguments.timeout:g} s"
    )
    return [
        f"a request takes {arguments.service_time:g} s (--service-time)",
        f"a replica serves {arguments.concurrency} at a time (--concurrency)",
        f"a new replica serves after {arguments.start_up:g} s, and a node for it is there (--start-up)",
        f"{limit} (--timeout)",
        f"a replica costs {arguments.price:g} dollars an hour (--price)",
        "requests are spread evenly within a bin of the traffic, and wait in one queue",
    ]


def unique(several: Any) -> list[str]:
    return list(dict.fromkeys(line for lines in several for line in lines))


def as_data(replays: Sequence[Replay], counts: traffic.RequestCounts) -> dict[str, Any]:
    return {
        "traffic": {
            "start": counts.start.isoformat(),
            "bin_s": counts.bin_s,
            "requests": counts.requests,
            "notes": list(counts.notes),
        },
        "replays": [
            {
                "name": replay.candidate.name,
                **figures(replay),
                "changes": [[change.at_s, change.before, change.after] for change in replay.changes],
            }
            for replay in replays
        ],
    }


# -------------------------------------------------------------------------------------------------------- the picture


def draw(replays: Sequence[Replay], counts: traffic.RequestCounts, path: Path) -> None:
    """Traffic, replicas and the worst latency, each in some hundred steps."""
    from mlinfra.study import Row, steps

    hours = counts.duration_s / 3600
    rates = [(i * counts.bin_s / 3600, rate) for i, rate in enumerate(counts.rates_per_s())]
    rows = [Row("requests a second", {"traffic": highest(rates, hours)})]
    for replay in replays:
        desired = [(at_s / 3600, float(wanted)) for at_s, wanted, _, _ in replay.run.timeline]
        ready = [(at_s / 3600, float(there)) for at_s, _, there, _ in replay.run.timeline]
        name = replay.candidate.name
        rows.append(Row(f"replicas, {name}", {"desired": highest(desired, hours), "ready": highest(ready, hours)}))
    rows.append(Row("longest latency, s", {r.candidate.name: highest(latencies(r, counts), hours) for r in replays}))
    names = " and ".join(replay.candidate.name for replay in replays)
    figure = steps(f"{names} on recorded traffic", traffic_sentence(counts), *rows, x_label="hours")
    path.write_text(figure.svg, "utf-8")


def traffic_sentence(counts: traffic.RequestCounts) -> str:
    return (
        f"{counts.requests:,} requests in {duration(counts.duration_s)}, the replicas for them, and how long they took."
    )


def latencies(replay: Replay, counts: traffic.RequestCounts) -> Iterator[tuple[float, float]]:
    arrivals_s = loop.spread(counts.counts, counts.bin_s)
    for at_s, latency in zip(arrivals_s, replay.run.latencies_s, strict=True):
        yield at_s / 3600, latency if latency < math.inf else 0.0


def highest(points: Any, hours: float, most: int = 300) -> list[tuple[float, float]]:
    """The highest value of each of some hundred stretches; points that repeat their neighbour are left out."""
    tops: dict[int, float] = {}
    for at_h, value in points:
        stretch = int(at_h / hours * most)
        tops[stretch] = max(tops.get(stretch, 0.0), value)
    line = [(stretch * hours / most, value) for stretch, value in tops.items()]
    kept = [line[0], *(after for before, after in pairwise(line) if after[1] != before[1]), line[-1]]
    return list(dict.fromkeys(kept))
