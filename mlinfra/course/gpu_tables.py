"""Tables of notebook 04, each from what the simulator or a listing says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlinfra.course import node_pools
from mlinfra.gpu import sharing
from mlinfra.gpu.devices import Device
from mlinfra.gpu.mig import MIGProfile, profiles
from mlinfra.gpu.nodes.autoscaler import AutoscalerPass
from mlinfra.gpu.nodes.fleet import FleetSimulation
from mlinfra.gpu.preemption import Outcome, Victims, cost
from mlinfra.gpu.scheduler import Explanation
from mlinfra.study.text import Text
from mlinfra.tables import markdown_table

if TYPE_CHECKING:
    from mlinfra.gpu.placement import PlacementRun

SHORT = {
    "NodeResourcesFit": "resources fit",
    "NodeResourcesBalancedAllocation": "balance",
    "NodeAffinity": "affinity",
    "TaintToleration": "taints",
}


def scores(explanation: Explanation) -> Text:
    """Points by node and plugin, the weights counted in, and their sum."""
    plugins = list(next(iter(explanation.points.values())))
    rows = [
        [node, *(points[plugin] for plugin in plugins), f"**{explanation.total(node)}**"]
        for node, points in explanation.points.items()
    ]
    return Text(markdown_table(["node", *(SHORT.get(plugin, plugin) for plugin in plugins), "sum"], rows))


def evictions(outcome: Outcome) -> Text:
    """For each node whom the eviction would take, and its five numbers, of which the smallest from the left wins."""
    head = ["node", "victims", "1 budgets broken", "2 highest priority", "3 sum of priorities", "4 number", "5 start"]
    return Text(markdown_table(head, [_eviction(each) for each in outcome.values() if isinstance(each, Victims)]))


def _eviction(victims: Victims) -> list[object]:
    price = cost(victims)
    names = ", ".join(pod.request.name for pod in victims.pods)
    total = f"{price.victims} x 2^31 + {price.sum_of_priorities - price.victims * 2**31}"
    start = f"{-price.minus_earliest_start_s:g} s"
    return [victims.node, names, price.budget_violations, price.highest_priority, total, price.victims, start]


def mig_profiles(gpu: str, keys: Sequence[str] = ("1g", "2g", "3g", "4g", "7g")) -> Text:
    """Size and places of a GPU's profiles, and their share of its multiprocessors."""
    head = ["profile", "compute slices of 7", "memory slices of 8", "may start at slice", "share of multiprocessors"]
    return Text(markdown_table(head, [_profile(profiles(gpu)[key]) for key in keys]))


def _profile(profile: MIGProfile) -> list[object]:
    starts = ", ".join(map(str, profile.starts))
    return [f"`{profile.name}`", profile.compute_slices, profile.memory_slices, starts, share(profile)]


def share(profile: MIGProfile) -> str:
    return "not published" if profile.sm_share is None else f"{profile.sm_share:.1%}"


def multiprocessors(sizes: Iterable[tuple[str, str]]) -> Text:
    """For profiles of several GPUs their multiprocessors, beside the sevenths that the name suggests."""
    head = ["GPU", "profile", "multiprocessors", "share", "sevenths"]
    chosen = [(gpu, profiles(gpu)[key]) for gpu, key in sizes]
    rows = [
        [gpu, p.name, f"{p.sm or '?'} of {p.sm_of_gpu}", share(p), f"{p.compute_slices}/7 = {p.compute_slices / 7:.1%}"]
        for gpu, p in chosen
    ]
    return Text(markdown_table(head, rows))


def who_stays(outcome: AutoscalerPass) -> Text:
    """For each of the seven nodes its pod and what becomes of it."""
    removals = {
        each.node: ", ".join(f"{pod} fits on {node}" for pod, node in each.moved.items()) for each in outcome.removals
    }
    rows = []
    for number, (pod, traits) in enumerate(node_pools.SEVEN_PODS, 1):
        node = f"node-{number}"
        if node in removals:
            verdict = f"**is removed**: {removals[node]}"
        else:
            verdict = f"stays: `{outcome.staying[node].partition(':')[0]}`"
        rows.append([node, f"`{pod.name}`, {pod.gpu_count} of 8 GPUs", traits.controller or "none", verdict])
    return Text(markdown_table(["node", "its pod", "controller", "verdict"], rows))


def days() -> Text:
    """What the day costs on each fleet, and how long its jobs wait."""
    head = [
        "fleet",
        "placement",
        "wait p50",
        "p99",
        "GPUs in use",
        "node hours",
        "dollars",
        "restarts",
        "GPU hours lost",
    ]
    rows = [
        [way, profile, *_day(node_pools.day(way, profile))]
        for way in node_pools.WAYS
        for profile in node_pools.PROFILES
    ]
    return Text(markdown_table(head, rows))


def _day(run: FleetSimulation) -> list[str]:
    waits = [f"{run.latency_s(share):,.0f} s" for share in (0.5, 0.99)]
    hours, lost_h = sum(run.node_hours.values()), run.lost_gpu_s / 3600
    return [
        *waits,
        f"{run.utilization:.0%}",
        f"{hours:,.0f}",
        f"{run.dollars:,.0f}",
        f"{run.restarts}",
        f"{lost_h:,.0f}",
    ]


def devices(published: Iterable[Device]) -> Text:
    """The devices of a slice and their shares of the counters that count memory slices."""
    rows = [[f"`{each.name}`", each.attributes.get("profile", "whole GPU"), _slices(each)] for each in published]
    return Text(markdown_table(["device", "profile", "memory slices"], rows))


def _slices(device: Device) -> str:
    (counters,) = device.consumes.values()
    return ", ".join(name.rpartition("-")[2] for name in counters if name.startswith("memory-slice-"))


def techniques() -> Text:
    """What each way of sharing promises."""
    ways = sharing.TECHNIQUES.values()
    rows: list[list[object]] = [
        ["memory", *(way.memory for way in ways)],
        ["faults", *(way.faults for way in ways)],
        ["compute", *(way.compute for way in ways)],
        ["clients of a GPU, at most", *(way.max_clients or "any number" for way in ways)],
        ["goes together with", *(way.combines_with for way in ways)],
    ]
    return Text(markdown_table(["", "time-slicing", "MPS", "MIG"], rows))


def against_published(runs: Mapping[str, PlacementRun]) -> Text:
    """What each policy allocates of the openb cluster here and in the study."""
    from mlinfra.course.openb import PUBLISHED

    rows = [[name, percent(run.marks[-1].allocated), percent(PUBLISHED[name])] for name, run in runs.items()]
    return Text(markdown_table(["policy", "allocated here", "published (mean of 10 runs)"], rows))


def percent(value: float) -> str:
    return f"{value:.2f} %"
