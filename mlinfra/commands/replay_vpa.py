"""`mlinfra replay` of a VerticalPodAutoscaler: what it would recommend while the traffic loads a fixed set of pods."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from mlinfra import traffic
from mlinfra.autoscaling import vpa
from mlinfra.commands.flags import duration, read_traffic, traffic_words
from mlinfra.commands.report import Report, UsageError, bullets, paragraphs, table
from mlinfra.manifest import Manifest, unused_fields
from mlinfra.quantity import canonical
from mlinfra.tables import plural

SAMPLE_S = 60


def run(arguments: argparse.Namespace, objects: Sequence[Manifest]) -> Report:
    """The recommendation for cpu at the end of each eighth of the traffic."""
    if arguments.against or len(objects) != 1:
        raise UsageError(f"{arguments.file}: a VerticalPodAutoscaler is replayed alone")
    (obj,) = objects
    scaler, counts = vpa.VerticalPodAutoscaler.of(obj), read_traffic(arguments)
    pods, container = arguments.replicas or 1, container_of(scaler)
    rows = list(recommendations(scaler, container, counts, arguments.service_time, pods))
    cells = [(duration(at_s), *(canonical(f"{amount}m") for amount in amounts)) for at_s, *amounts in rows]
    assumed = [
        f"a request takes {arguments.service_time:g} s of one core (--service-time)",
        f"{plural(pods, 'pod')} of one container, {container}, share the requests evenly (--replicas)",
        "memory does not follow requests here, and is left out",
    ]
    unused = unused_fields(obj, scaler.manifest())
    text = paragraphs(
        traffic_words(counts, arguments),
        table(HEAD, cells)
        if cells
        else "It recommends nothing: its mode is Off, or the traffic is shorter than a minute.",
        bullets("Assumed:", assumed),
        bullets("Not used:", unused),
    )
    data = {"recommendations": [dict(zip(KEYS, row, strict=True)) for row in rows]}
    return Report(text, data | {"assumed": assumed, "notUsed": unused})


def container_of(scaler: vpa.VerticalPodAutoscaler) -> str:
    """The first container that has a policy of its own, or else some container."""
    names = [policy.container_name for policy in scaler.container_policies if policy.mode != "Off"]
    return next((name for name in names if name != "*"), "server")


HEAD = ("AFTER", "CPU USED", "LOWER BOUND", "TARGET", "UPPER BOUND")
KEYS = ("at_s", "cpuMilli", "lowerBoundMilli", "targetMilli", "upperBoundMilli")
Row = tuple[float, int, int, int, int]


def recommendations(
    scaler: vpa.VerticalPodAutoscaler, container: str, counts: traffic.RequestCounts, cpu_s: float, pods: int
) -> Iterator[Row]:
    """Time, use, lower bound, target and upper bound, in milli cores, from a sample of every pod each minute."""
    state = vpa.AggregateContainerState()
    step = max(1, round(SAMPLE_S / counts.bin_s))
    ends = range(step, len(counts.counts) + 1, step)
    shown = {ends[i * len(ends) // 8 - 1] for i in range(1, 9)} if len(ends) >= 8 else set(ends)
    for end in ends:
        requests = sum(counts.counts[end - step : end])
        used = round(1000 * requests * cpu_s / (step * counts.bin_s) / pods)
        at_s = end * counts.bin_s
        for _ in range(pods):
            state.add_cpu(used, at_s)
        if end in shown:
            for made in scaler.recommendations({container: state}).values():
                yield at_s, used, made.lower_bound.cpu_milli, made.target.cpu_milli, made.upper_bound.cpu_milli
