"""What `kubectl` and `nvidia-smi` print on a real cluster, filled in from the simulator, shortened."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from mlinfra import tables
from mlinfra.gpu import GPURequest, GPUScheduler
from mlinfra.gpu.cluster import NodeInfo
from mlinfra.gpu.kueue import Kueue
from mlinfra.gpu.mig import Layout, profiles
from mlinfra.gpu.nodes import GPU
from mlinfra.gpu.nodes.fleet import FleetSimulation
from mlinfra.manifest import to_yaml
from mlinfra.quantity import canonical
from mlinfra.simulation import Event

WIDTH = 104
WARNINGS = ("FailedScheduling", "Pending")
PROFILE_IDS = {"1g": 19, "1g.2x": 15, "2g": 14, "3g": 9, "4g": 5, "7g": 0}
"""The numbers by which `nvidia-smi` knows the profiles of an A100 (MIG User Guide, r580)."""


def columns(rows: Iterable[Sequence[str]], gap: int = 2, indent: str = "") -> str:
    """The rows with every column as wide as its longest text; lines that are too long go on in the next one."""
    return "\n".join(_wrapped(indent + line) for line in tables.columns(rows, " " * gap))


def _wrapped(line: str) -> str:
    if len(line) <= WIDTH:
        return line
    return "\n".join(textwrap.wrap(line, WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False))


def age(seconds: float) -> str:
    """As kubectl shows it: seconds up to two minutes, minutes and seconds up to ten, then minutes, then hours."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 2:
        return f"{seconds:.0f}s"
    if minutes >= 180:
        return f"{minutes // 60}h"
    return f"{minutes}m{rest}s" if minutes < 10 and rest else f"{minutes}m"


def _entries(title: str, entries: Sequence[str]) -> list[str]:
    """A title with its first entry beside it, and the others below that, as `kubectl describe` prints labels."""
    first, *others = entries or ["<none>"]
    return [f"{title + ':':20}{first}", *(f"{'':20}{other}" for other in others)]


# ------------------------------------------------------------------------------------------------------------- kubectl


def describe_node(info: NodeInfo) -> str:
    """Labels, taints, what the node has, and what its pods have requested of that."""
    labels = [f"{key}={text}" for key, text in sorted(info.node.all_labels.items())]
    taints = [f"{taint.key}={taint.value}:{taint.effect}" for taint in info.node.taints]
    allocatable = [
        (f"{name}:", amount) for name, amount in sorted(info.node.manifest()["status"]["allocatable"].items())
    ]
    head = ("Resource", "Requests", "Limits")
    rows = [(name, amount, amount) for name, amount in allocated(info).items()]
    return "\n".join(
        [
            *_entries("Name", [info.node.name]),
            *_entries("Labels", labels),
            *_entries("Taints", taints),
            "Allocatable:",
            columns(allocatable, indent="  "),
            "Allocated resources:",
            columns([head, tuple("-" * len(word) for word in head), *rows], indent="  "),
        ]
    )


def allocated(info: NodeInfo) -> dict[str, str]:
    """Requests by resource; cpu and memory with their share of what the node has, cut to whole percent."""
    cpu, memory = info.requested["cpu"], info.requested["memory"]
    written = {
        "cpu": canonical(f"{cpu}m"),
        "memory": canonical(f"{memory // 1024}Ki"),
    }
    shares = {name: 100 * info.requested[name] // info.node.allocatable[name] for name in written}
    amounts = {name: f"{amount} ({shares[name]}%)" for name, amount in written.items()}
    devices = [name for name in info.node.allocatable if name not in ("cpu", "memory", "pods")]
    return amounts | {name: str(info.requested[name]) for name in devices}


def describe_pod(cluster: GPUScheduler, pod: GPURequest, now_s: float = 0.0) -> str:
    """Where the pod is, and its events."""
    nodes = {bound.request.name: bound.node for running in cluster.running.values() for bound in running.pods}
    events = [event for event in cluster.events if event.about == pod.name]
    head = ("Type", "Reason", "Age", "From", "Message")
    rows = [(_kind(e), e.reason, age(now_s - e.at_s), cluster.profile.scheduler_name, e.message) for e in events]
    return "\n".join(
        [
            *_entries("Name", [pod.name]),
            *_entries("Priority", [str(pod.priority)]),
            *_entries("Node", [nodes.get(pod.name, "<none>")]),
            *_entries("Status", ["Running" if pod.name in nodes else "Pending"]),
            "Events:",
            columns([head, tuple("-" * len(word) for word in head), *rows], indent="  "),
        ]
    )


def _kind(event: Event) -> str:
    return "Warning" if event.reason in WARNINGS else "Normal"


def get_events(events: Iterable[Event], now_s: float = 0.0, kind: str = "pod") -> str:
    """The events as `kubectl get events` lists them."""
    head = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")
    rows = [(age(now_s - e.at_s), _kind(e), e.reason, f"{kind}/{e.about}", e.message) for e in events]
    return columns([head, *rows], gap=3)


OF_THE_AUTOSCALER = ("NotTriggerScaleUp", "ScaleDown", "TriggeredScaleUp")


def events_of_pod(events: Iterable[Event], now_s: float = 0.0) -> str:
    """The end of `kubectl describe pod`: who says what."""
    head = ("Type", "Reason", "Age", "From", "Message")
    rows = [
        (_kind(e), e.reason, age(now_s - e.at_s), _sender(e), e.message) for e in sorted(events, key=lambda e: e.at_s)
    ]
    return "Events:\n" + columns([head, tuple("-" * len(word) for word in head), *rows], indent="  ")


def _sender(event: Event) -> str:
    return "cluster-autoscaler" if event.reason in OF_THE_AUTOSCALER else "default-scheduler"


def autoscaler_status(run: FleetSimulation, at_s: float) -> str:
    """The part of cluster-autoscaler's ConfigMap that tells of its pools: YAML since 1.30; times are left out."""
    groups = [_group(run, name, at_s) for name in run.pools]
    return to_yaml({"autoscalerStatus": "Running", "nodeGroups": groups}).rstrip()


def _group(run: FleetSimulation, name: str, at_s: float) -> dict[str, object]:
    """A node that lacks its GPUs has not started; `clusterstate.go` counts so for its first 15 minutes."""
    pool = run.pools[name]
    ages = [at_s - m.created_s for m, gone_s in run.machines if m.pool == name and m.created_s <= at_s < gone_s]
    registered, ready = sum(age >= pool.boot.node_s for age in ages), sum(age >= pool.ready_s for age in ages)
    counts = {"total": registered, "ready": ready, "notStarted": registered - ready}
    health = {
        "status": "Healthy",
        "nodeCounts": {"registered": counts, "longUnregistered": 0, "unregistered": len(ages) - registered},
        "cloudProviderTarget": len(ages),
        "minSize": pool.min_size,
        "maxSize": pool.max_size,
    }
    return {
        "name": name,
        "health": health,
        "scaleUp": {"status": "InProgress" if ready < len(ages) else "NoActivity"},
    }


def get_workloads(teams: Kueue) -> str:
    """Each workload with its queue, the queue that reserved quota for it, and whether it is admitted.

    The local queues are called as their cluster queues here.
    """
    evicted = {event.about for event in teams.events if event.reason == "Preempted"}
    rows = [(name, entry.workload.queue, entry.workload.queue, "True") for name, entry in teams.admitted.items()]
    for queue in teams.usage.queues:
        rows += [(w.name, queue, "", "False" if w.name in evicted else "") for w in teams.pending(queue)]
    return columns([("NAME", "QUEUE", "RESERVED IN", "ADMITTED"), *sorted(rows)], gap=3)


def describe_clusterqueue(teams: Kueue, queue: str, resource: str = GPU) -> str:
    """The part of the status that says what the queue has reserved of a resource, and what of that is borrowed."""
    admitted = [entry for entry in teams.admitted.values() if entry.workload.queue == queue]
    return "\n".join(
        [
            f"Name:  {queue}",
            "Status:",
            f"  Admitted Workloads:  {len(admitted)}",
            "  Flavors Reservation:",
            f"    Name:  {teams.usage.queues[queue].flavor}",
            "    Resources:",
            f"      Borrowed:  {teams.usage.borrowed(queue, resource)}",
            f"      Name:      {resource}",
            f"      Total:     {teams.usage.used[queue][resource]}",
            f"  Pending Workloads:    {len(teams.pending(queue))}",
            f"  Reserving Workloads:  {len(admitted)}",
        ]
    )


# ---------------------------------------------------------------------------------------------------------- nvidia-smi


def mig_instances(gpu: str, layout: Layout) -> str:
    """The instances of GPU 0 as `nvidia-smi mig -lgi` lists them; the driver has its own way to number instances."""
    rule = "+" + "-" * 55 + "+"
    lines = [
        rule,
        "| GPU instances:                                        |",
        "| GPU   Name             Profile  Instance   Placement  |",
        "|                          ID       ID       Start:Size |",
        "|" + "=" * 55 + "|",
    ]
    for number, instance in enumerate(sorted(layout, key=lambda each: each.start), 1):
        profile = profiles(gpu)[instance.key]
        place = f"{instance.start}:{profile.memory_slices}"
        row = f"   0  MIG {profile.name:14} {PROFILE_IDS[instance.key]:>4} {number:>8} {place:>12}"
        lines += [f"|{row:55}|", rule]
    return "\n".join(lines)
