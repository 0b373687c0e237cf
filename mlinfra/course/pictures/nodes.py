"""The pictures of notebook 04 that are about nodes: boots, the bill of packing, a day of a fleet, racks."""

from __future__ import annotations

from collections.abc import Mapping

from mlinfra import study
from mlinfra.course import node_pools, racks
from mlinfra.gpu import GPUScheduler
from mlinfra.gpu.nodes.fleet import FleetSimulation
from mlinfra.gpu.nodes.loop import DAY_S
from mlinfra.gpu.topology import TopologyAssignment

VM, DRIVER, IMAGE, RUNS, IDLE = range(5)
Points = list[tuple[float, float]]


def boots() -> study.Figure:
    """The nodes that one pod brings, with the GPU label on the pool and without it."""
    runs = {"label": node_pools.one_pod(), "no label": node_pools.one_pod(gpu_label=False)}
    rows = {
        f"{machine.name}, {name}": _life(run, machine.name, machine.created_s, gone_s)
        for name, run in runs.items()
        for machine, gone_s in sorted(run.machines)
    }
    (wait_s,) = runs["label"].waits_s.values()
    counts = " and ".join(f"{len(run.machines)} with {name}" for name, run in runs.items())
    bill = " and ".join(f"{run.dollars:.2f} dollars with {name}" for name, run in runs.items())
    return study.timeline(
        "What one pod of four minutes pays for: nodes of pool l4",
        f"The pod starts {wait_s / 60:g} minutes after it arrived: the VM boots, driver and device plugin start, the "
        f"image is pulled. Nodes: {counts}. The bill: {bill}.",
        rows,
        end=20,
    )


def _life(run: FleetSimulation, name: str, created_s: float, gone_s: float) -> list[study.Span]:
    """From the request for a node until it is gone, in minutes."""
    boot = run.pools[node_pools.L4.name].boot
    spans = [("VM", boot.node_s, VM), ("driver", boot.gpu_s, DRIVER)]
    if any(event.message.endswith(f"to {name}") for event in run.events):
        (end_s,) = run.finished.values()
        spans += [("pull", boot.image_s, IMAGE), ("the pod runs", end_s - created_s - boot.total_s, RUNS)]
    spans += [("idle", gone_s - created_s - sum(length_s for _, length_s, _ in spans), IDLE)]
    found, start_s = [], created_s
    for text, length_s, fill in spans:
        found.append(study.Span(start_s / 60, (start_s + length_s) / 60, text, fill))
        start_s += length_s
    return found


def twenty_jobs(cluster_by_name: Mapping[str, GPUScheduler]) -> study.Figure:
    """The GPUs of each node that jobs request, and what cluster-autoscaler does with it after ten minutes."""
    rows, paid = [], {}
    for name, cluster in cluster_by_name.items():
        outcome = node_pools.pass_after_ten_minutes(cluster)
        gone = {removal.node for removal in outcome.removals}
        paid[name] = len(cluster.nodes) - len(gone)
        rows.append(study.Boxes(f"{name}: {paid[name]} nodes stay"))
        for node, info in cluster.nodes.items():
            gpus = [study.Cell(fill=0 if gpu < len(info.pods) else None, struck=node in gone) for gpu in range(8)]
            rows.append(study.Boxes(f"node {node[-1]}", gpus, outcome.staying.get(node, "removed")))
    counts = ", ".join(f"{nodes} when {name}" for name, nodes in paid.items())
    description = f"Requested GPUs are filled, removed nodes crossed out. Nodes that stay: {counts}."
    return study.grid("20 jobs of one GPU on four nodes of 8", description, *rows)


# --------------------------------------------------------------------------------------------------------- a day


def nodes_of_a_day() -> study.Figure:
    """The GPUs that the day's jobs want, and the nodes that are paid for."""
    shown = {
        "fixed fleet": node_pools.day("fixed fleet", "packing"),
        "spreading": node_pools.day("empty nodes go", "spreading"),
        "packing": node_pools.day("empty nodes go", "packing"),
    }
    bill = ", ".join(f"{name} {run.dollars:,.0f}" for name, run in shown.items())
    return study.steps(
        "A day of jobs, and the nodes that are paid for (empty nodes go)",
        f"Dollars: {bill}.",
        study.Row("GPUs that jobs want", {"demand": half_hours(node_pools.demand())}, top=200),
        study.Row("nodes", {name: over_the_day(run) for name, run in shown.items()}, top=45, height=170),
        x_label="hours",
    )


def over_the_day(run: FleetSimulation, what: str = "nodes") -> Points:
    """A number of the fleet's timeline, by hours."""
    return half_hours([(moment.at_s / 3600, float(getattr(moment, what))) for moment in run.timeline])


def half_hours(points: Points) -> Points:
    """The most in each half hour of the day."""
    most: Points = []
    last = 0.0
    for start in (n / 2 for n in range(int(DAY_S / 1800))):
        inside = [value for time, value in points if start <= time < start + 0.5]
        if not most or inside or last != most[-1][1]:
            most.append((start, max([last, *inside])))
        last = inside[-1] if inside else last
    return [*most, (DAY_S / 3600, last)]


def day(way: str, profile: str, unneeded: int) -> study.Figure:
    """One fleet over the day: the GPUs wanted and there, and the jobs that wait."""
    run = node_pools.day(way, profile, unneeded)
    median_s, late_s = run.latency_s(0.5), run.latency_s(0.99)
    return study.steps(
        f"{way}, {profile}; an unneeded node goes after {unneeded} minutes",
        f"{run.dollars:,.0f} dollars; jobs that waited {sum(wait > 0 for wait in run.latencies_s)}, wait p50 "
        f"{median_s:,.0f} s, p99 {late_s:,.0f} s; restarts {run.restarts}.",
        study.Row("GPUs", {"wanted": half_hours(node_pools.demand()), "there": over_the_day(run, "gpus")}, top=250),
        study.Row("jobs that wait", {"waiting": over_the_day(run, "waiting")}, top=16, height=90),
        x_label="hours",
    )


# ------------------------------------------------------------------------------------------------------- topology


def data_center(assignments: Mapping[str, TopologyAssignment]) -> study.Figure:
    """Blocks, racks and hosts: which host is busy, and which hosts get a pod in each case."""
    rows: list[study.Boxes] = []
    said = []
    for name, assignment in assignments.items():
        hosts = racks.hosts_of(assignment)
        said.append(f"{name}: {', '.join(hosts) or assignment.reason}")
        rows.append(study.Boxes(f"{name}: {f'{len(hosts)} pods placed' if hosts else 'no pod is placed'}"))
        rows += [_rack(rack, hosts) for rack in dict.fromkeys(rack for _, rack, _ in racks.HOSTS)]
    return study.grid(
        "Two blocks of two racks of two hosts; a pod takes a whole host",
        f"Crossed out, and busy: {racks.BUSY[-1]}. {'; '.join(said)}.",
        *rows,
    )


def _rack(rack: str, hosts: list[str]) -> study.Boxes:
    members = [(block, host) for block, of, host in racks.HOSTS if of == rack]
    cells = [
        study.Cell(host.rpartition("-")[2], fill=0 if host in hosts else None, struck=host == racks.BUSY[-1])
        for _, host in members
    ]
    return study.Boxes(rack, cells, members[0][0])
