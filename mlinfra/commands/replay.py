"""`mlinfra replay`: what an autoscaler would have done on recorded traffic, what it would have cost, and why."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any

from mlinfra import traffic
from mlinfra.autoscaling import loop
from mlinfra.commands import replay_vpa
from mlinfra.commands.flags import (
    WorkProgress,
    add_service_arguments,
    add_traffic_arguments,
    assumptions,
    count,
    duration,
    read_traffic,
    service_of,
    traffic_words,
)
from mlinfra.commands.report import Report, bullets, of_kind, paragraphs, read, table, write
from mlinfra.commands.scalers import Candidate, add_measure_argument, candidate_of
from mlinfra.manifest import Manifest
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
    add_measure_argument(parser)
    add_service_arguments(parser)
    parser.add_argument("--replicas", type=count(0), help="replicas at the start (the minimum)")


def run(arguments: argparse.Namespace) -> Report:
    """The result of one autoscaler, or of two side by side."""
    objects = {path: read(path) for path in (arguments.file, arguments.against) if path}
    if of_kind(objects[arguments.file], "VerticalPodAutoscaler"):
        return replay_vpa.run(arguments, objects[arguments.file])
    counts = read_traffic(arguments)
    replays = [replayed(path, objects[path], counts, arguments) for path in objects]
    if arguments.picture:
        write(arguments.picture, picture(replays, counts))
    return Report(as_text(replays, counts, arguments), as_data(replays, counts, arguments))


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
    progress: WorkProgress
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interval_s = self.candidate.scaler.interval_s

    def decide(self, now_s: float, snapshot: loop.Snapshot, replicas: int) -> int:
        self.progress(now_s)
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


def replayed(
    path: str, objects: Sequence[Manifest], counts: traffic.RequestCounts, arguments: argparse.Namespace
) -> Replay:
    """The closed loop over the whole traffic, with a witness of the autoscaler's changes."""
    candidate = candidate_of(path, objects, arguments.measure, arguments.concurrency)
    witness = Witness(candidate, WorkProgress(counts.duration_s, "seconds of the traffic"))
    replicas = candidate.low if arguments.replicas is None else arguments.replicas
    arrivals_s = loop.spread(counts.counts, counts.bin_s)
    run = loop.simulate(arrivals_s, service_of(arguments), witness, replicas, until_s=counts.duration_s)
    witness.progress.end()
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
        "longest latency, s": seconds(answered[-1] if answered else None),
        "requests that failed": len(run.latencies_s) - len(answered),
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
    parts.append(bullets("Assumed:", all_assumed(replays, arguments)))
    parts.append(bullets("Not used:", unique(replay.candidate.not_used for replay in replays)))
    return paragraphs(*parts)


def words(change: Change, counts: traffic.RequestCounts) -> str:
    seen = change.seen
    situation = f"{seen.arrivals_per_s:.3g} requests a second, {seen.in_flight} in flight, {seen.ready} ready"
    why = f"; {change.why}" if change.why else ""
    return f"{clock(change.at_s, counts)}  {change.before} -> {change.after}  ({situation}{why})"


def clock(at_s: float, counts: traffic.RequestCounts) -> str:
    return (counts.start + timedelta(seconds=at_s)).isoformat(sep=" ", timespec="seconds")


def all_assumed(replays: Sequence[Replay], arguments: argparse.Namespace) -> list[str]:
    return [*assumptions(arguments), *unique(replay.candidate.assumed for replay in replays)]


def unique(several: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(line for lines in several for line in lines))


def as_data(replays: Sequence[Replay], counts: traffic.RequestCounts, arguments: argparse.Namespace) -> dict[str, Any]:
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
                "notUsed": list(replay.candidate.not_used),
            }
            for replay in replays
        ],
        "assumed": all_assumed(replays, arguments),
    }


# -------------------------------------------------------------------------------------------------------- the picture


def picture(replays: Sequence[Replay], counts: traffic.RequestCounts) -> str:
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
    return figure.svg


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
