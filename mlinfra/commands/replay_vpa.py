"""`mlinfra replay` of a VerticalPodAutoscaler: what it would recommend while the traffic loads a fixed set of pods."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from mlinfra import traffic
from mlinfra.autoscaling import vpa
from mlinfra.commands.report import Report, bullets, not_used, paragraphs, read, read_one, table
from mlinfra.quantity import canonical

SAMPLE_S = 60


def is_vpa(path: str) -> bool:
    return path != "-" and any(obj.get("kind") == "VerticalPodAutoscaler" for obj in read(path))


def run(arguments: argparse.Namespace) -> Report:
    """The recommendation for cpu at the end of each eighth of the traffic."""
    from mlinfra.commands.replay import duration, read_traffic, traffic_words

    obj = read_one(arguments.file, "VerticalPodAutoscaler")
    scaler, counts = vpa.VerticalPodAutoscaler.of(obj), read_traffic(arguments)
    pods = arguments.replicas or 1
    rows = list(recommendations(scaler, counts, arguments.service_time, pods))
    cells = [
        (duration(at_s), f"{used}m", *(canonical(f"{amount}m") for amount in (low, target, high)))
        for at_s, used, low, target, high in rows
    ]
    head = ["after", "cpu used", "lower bound", "target", "upper bound"]
    assumed = [
        f"a request takes {arguments.service_time:g} s of one core (--service-time)",
        f"{pods} pod{'s' * (pods > 1)} share the requests evenly (--replicas)",
        "memory does not follow requests here, and is left out",
    ]
    unused = not_used(obj, scaler.manifest())
    parts = [traffic_words(counts, arguments), table(head, cells), bullets("Assumed:", assumed)]
    data = {"recommendations": [dict(zip(KEYS, row, strict=True)) for row in rows], "notUsed": unused}
    return Report(paragraphs(*parts, bullets("Not used:", unused)), data)


KEYS = ("at_s", "cpuMilli", "lowerBoundMilli", "targetMilli", "upperBoundMilli")
Row = tuple[float, int, int, int, int]


def recommendations(
    scaler: vpa.VerticalPodAutoscaler, counts: traffic.RequestCounts, cpu_s: float, pods: int
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
            made = scaler.recommendations({"server": state})
            if "server" in made:
                low, target, high = made["server"].lower_bound, made["server"].target, made["server"].upper_bound
                yield at_s, used, low.cpu_milli, target.cpu_milli, high.cpu_milli
