"""Notebook 05 on nodes: the race with nodes, a Monday morning with headroom bought in different ways, spot nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mlinfra.autoscaling import loop
from mlinfra.course import gpu_terminal, race, service_nodes
from mlinfra.gpu.nodes.fleet import FleetSimulation
from mlinfra.gpu.nodes.live import SpotMarket
from mlinfra.simulation import Event
from mlinfra.tables import columns


def on_nodes(trace: str, gpus: int = 1) -> dict[str, loop.LoopSimulation]:
    """The five autoscalers of the race on the same hour, on nodes with so many GPUs."""
    return race.race(trace, lambda: service_nodes.fleet(gpus))


def on_waves(**fleet: Any) -> loop.LoopSimulation:
    """The HPA on requests in flight on the hour with waves, on nodes such as `placeholders=8`."""
    arrivals_s, nodes = race.arrivals_s("code"), service_nodes.fleet(**fleet)
    return loop.simulate(arrivals_s, race.SERVICE, race.by_queue(), race.AT_START, nodes=nodes)


def fleet_of(run: loop.LoopSimulation) -> FleetSimulation:
    """The nodes of a run."""
    assert isinstance(run.nodes, FleetSimulation)
    return run.nodes


def node_hours(run: loop.LoopSimulation) -> float:
    return sum(fleet_of(run).node_hours.values())


def start_parts() -> dict[str, tuple[float, float]]:
    """Seconds of each part of a start: on a new node, and on a node that has a free GPU and the image."""
    boot, start = service_nodes.pool().boot, race.COLD_START
    return {
        "the machine boots": (boot.node_s, 0),
        "driver and device plugin": (boot.gpu_s, 0),
        "image": (boot.image_s, 0),
        "weights, loading, warm-up": (start.on_node_s, start.on_node_s),
    }


def starts_table() -> str:
    """The parts, and their sum."""
    parts = start_parts()
    rows = [("", "new node", "free GPU"), *((name, f"{new:g} s", f"{free:g} s") for name, (new, free) in parts.items())]
    new_s, free_s = (sum(column) for column in zip(*parts.values(), strict=True))
    return "\n".join(columns([*rows, ("together", f"{new_s:g} s", f"{free_s:g} s")]))


def table(results: Mapping[str, loop.LoopSimulation]) -> str:
    """Latency, answers in time, and what was used and paid, one a line; the cost of pods is that without nodes."""
    lines = [f"{'':15} p99 s  within {race.SLO_S} s  errors  GPU hours of pods  node hours  dollars"]
    for name, run in results.items():
        late = f"{run.latency_s(0.99):5.1f}  {run.attained(race.SLO_S):10.1%}  {run.errors:6}"
        lines.append(f"{name:15} {late}  {run.gpu_hours:17.1f}  {node_hours(run):10.1f}  {run.dollars:7.2f}")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------- Monday at nine

QUIET_PER_S, BUSY_PER_S = 2.0, 30.0
RISE_FROM_S, RISE_S, BUSY_S, FALL_S, END_S = 7200.0, 720.0, 1200.0, 600.0, 14400.0
QUIET = 2
"""Replicas that the quiet hours need."""


def monday_per_s(now_s: float) -> float:
    """Requests a second: quiet for two hours, then a steady rise, twenty busy minutes, and quiet again."""
    risen = min(1.0, max(0.0, (now_s - RISE_FROM_S) / RISE_S))
    fallen = min(1.0, max(0.0, (now_s - RISE_FROM_S - RISE_S - BUSY_S) / FALL_S))
    return QUIET_PER_S + (BUSY_PER_S - QUIET_PER_S) * (risen - fallen)


@lru_cache(maxsize=1)
def monday_s() -> tuple[float, ...]:
    """When the requests of a Monday from seven to eleven arrive."""
    return tuple(loop.poisson(monday_per_s, BUSY_PER_S, END_S, seed=1))


def on_monday(least: int = QUIET, target: str = race.TARGET, **fleet: Any) -> loop.LoopSimulation:
    """The HPA on requests in flight, with this minimum and target, and nodes such as `placeholders=4`."""
    nodes = service_nodes.fleet(**fleet)
    return loop.simulate(monday_s(), race.SERVICE, race.by_queue(least=least, target=target), least, END_S, nodes=nodes)


def placeholders_needed() -> float:
    """GPUs that must stand ready for the replicas that are created while the next node boots."""
    ramp_per_s2 = (BUSY_PER_S - QUIET_PER_S) / RISE_S
    return race.headroom(ramp_per_s2, service_nodes.pool().ready_s, signal_s=0, per_replica=2)


def bought() -> dict[str, loop.LoopSimulation]:
    """The same Monday with headroom bought in different ways."""
    return {
        "none": on_monday(),
        "minReplicas 8": on_monday(least=8),
        "minReplicas 14": on_monday(least=14),
        "2 placeholders": on_monday(placeholders=2),
        "4 placeholders": on_monday(placeholders=4),
        "target 1.4": on_monday(target="1.4"),
    }


# ----------------------------------------------------------------------------------------------------- the keyboard


def first_eviction(run: loop.LoopSimulation) -> Event:
    """The first placeholder that has to go when the requests rise."""
    return next(event for event in run.events if event.reason == "Preempted" and event.at_s >= RISE_FROM_S)


def pod_events() -> str:
    """What `kubectl get events` then says of the replica that needs a GPU, and of the placeholder that had it."""
    run = on_monday(placeholders=4)
    evicted = first_eviction(run)
    both, reasons = (evicted.about, evicted.message.split()[3]), ("FailedScheduling", "Scheduled", "TriggeredScaleUp")
    events = {
        (event.about, event.reason): event
        for event in run.events
        if event == evicted or (event.at_s == evicted.at_s and event.about in both and event.reason in reasons)
    }
    return gpu_terminal.get_events(events.values(), evicted.at_s + 30)


def watched_nodes() -> str:
    """The lines of `kubectl get nodes -w` after that: the nodes that are there, then those that come for it."""
    run, boot_s = on_monday(placeholders=4), service_nodes.pool().boot.node_s
    now_s = first_eviction(run).at_s
    machines = sorted(fleet_of(run).machines, key=lambda machine: (machine[0].created_s, machine[0].name))
    since_s = {m.name: m.created_s + boot_s if m.created_s else 0.0 for m, gone_s in machines if gone_s > now_s}
    standing = [(name, gpu_terminal.age(now_s - at_s)) for name, at_s in since_s.items() if at_s < now_s]
    arriving = [(m.name, gpu_terminal.age(0)) for m, _ in machines if m.created_s == now_s]
    rows = [(name, "Ready", "<none>", since, "v1.37.0") for name, since in standing + arriving]
    return "\n".join(columns([("NAME", "STATUS", "ROLES", "AGE", "VERSION"), *rows]))


# ------------------------------------------------------------------------------------------------------ spot nodes


def on_spot(per_hour: float, notice_s: float, grace_s: float, service_s: float = 2.0) -> loop.LoopSimulation:
    """The waves on spot nodes with seven replicas at least; or long requests, 0.8 a second for an hour."""
    service = replace(race.SERVICE, service_s=service_s)
    nodes = service_nodes.fleet(spot=SpotMarket(per_hour, notice_s, seed=1), grace_s=grace_s)
    if service_s == race.SERVICE.service_s:
        arrivals_s, scaler = race.arrivals_s("code"), race.by_queue(least=7, target="6")
    else:
        arrivals_s, scaler = tuple(loop.poisson(lambda now_s: 0.8, 0.8, 3600, seed=1)), race.by_queue(least=10)
    return loop.simulate(arrivals_s, service, scaler, scaler.scaler.min_replicas, nodes=nodes)


def spot_table() -> str:
    """How often nodes go, with how much notice, and what that does to short and to long requests."""
    lines = [" requests  taken an hour  notice  grace  taken  lost  in time  dollars"]
    for service_s, per_hour, notice_s, grace_s in (
        (2, 0, 30, 30),
        (2, 0.5, 30, 30),
        (2, 2, 30, 30),
        (60, 2, 30, 30),
        (60, 2, 120, 30),
        (60, 2, 120, 120),
    ):
        run = on_spot(per_hour, notice_s, grace_s, service_s)
        taken = sum(event.reason == "SpotInterrupted" for event in run.events)
        in_time = run.attained(service_s + race.SLO_S - race.SERVICE.service_s)
        lines.append(
            f"{service_s:7} s  {per_hour:13}  {notice_s:4} s  {grace_s:3} s  {taken:5}  {run.lost:4}  {in_time:7.1%}"
            f"  {run.dollars:7.2f}"
        )
    return "\n".join(lines)
