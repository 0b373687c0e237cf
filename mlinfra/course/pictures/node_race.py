"""Pictures of notebook 05 with nodes: what serves, and what is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlinfra import study
from mlinfra.autoscaling import loop
from mlinfra.course import data, node_race
from mlinfra.study import Figure, Row

STEP_S = 30
Points = list[tuple[float, float]]


def paid(run: loop.LoopSimulation) -> Points:
    """The nodes that are paid for, by minutes."""
    fleet = node_race.fleet_of(run)
    points = [(moment.at_s / 60, float(moment.nodes)) for moment in fleet.timeline]
    return [*points, (fleet.until_s / 60, points[-1][1])]


def serving(run: loop.LoopSimulation) -> Points:
    return [(t / 60, float(ready)) for t, _, ready, _ in run.timeline[::STEP_S]]


def rows(results: Mapping[str, loop.LoopSimulation], names: Iterable[str], top: float) -> Sequence[Row]:
    """One for each of these runs: the nodes above the replicas that serve."""
    lines = {
        name: {"nodes paid for": paid(results[name]), "replicas that serve": serving(results[name])} for name in names
    }
    return [Row(name, each, top=top, height=80) for name, each in lines.items()]


def of_race(results: Mapping[str, loop.LoopSimulation], trace: str, names: Iterable[str]) -> Figure:
    """The rate of the hour, and below it nodes and replicas, one row for each of these autoscalers."""
    counts = data.llm_arrivals(trace)
    times = range(0, len(counts) * data.BIN_S, STEP_S)
    rate = [(t / 60, data.rate_per_s(counts, t, window_s=STEP_S)) for t in times]
    hours = "; ".join(
        f"{name} {node_race.node_hours(run):.1f} node hours for {run.gpu_hours:.1f} GPU hours of pods"
        for name, run in results.items()
    )
    return study.steps(
        f"Nodes and replicas, trace {trace}",
        f"{hours}.",
        Row("requests per second", {"rate": rate}, height=70),
        *rows(results, names, 20),
    )


def of_monday(results: Mapping[str, loop.LoopSimulation], names: Iterable[str]) -> Figure:
    """The rise on Monday, and below it nodes and replicas with headroom bought in these ways."""
    rate = [(t / 60, node_race.monday_per_s(t)) for t in range(0, int(node_race.END_S) + 1, 2 * STEP_S)]
    late = "; ".join(
        f"{name} {run.attained(5):.1%} within 5 s for {run.dollars:.0f} dollars" for name, run in results.items()
    )
    return study.steps(
        "Headroom on a Monday morning",
        f"{late}.",
        Row("requests per second", {"rate": rate}, top=30, height=70),
        *rows(results, names, 30),
    )
