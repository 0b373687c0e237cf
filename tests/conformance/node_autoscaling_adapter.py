"""Translates `node_autoscaling.json` into calls of `mlinfra.gpu.nodes`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.nodes import GPU, GPUNode, expander, scale_down, scale_up
from mlinfra.gpu.nodes.autoscaler import Backoff
from mlinfra.gpu.nodes.drain import PodTraits, pods_to_move
from mlinfra.gpu.nodes.estimate import decreasing, estimate
from mlinfra.gpu.nodes.flags import AutoscalerFlags
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.nodes.snapshot import ClusterSnapshot
from mlinfra.gpu.pods import GPURequest, PriorityClass

Case = dict[str, Any]

FIELDS = {"inputs", "kind"}
GPU_TAINT = Taint("nvidia.com/gpu", "present")
TOLERATION = Toleration("nvidia.com/gpu", "Exists")
MANY = 2**31 - 1


def port(number: int) -> str:
    """A host port as a resource of which each node has one."""
    return f"port.example/{number}"


def node(name: str, size: Mapping[str, Any], ports: Iterable[int] = (), **more: Any) -> GPUNode:
    return GPUNode(
        name,
        cpu=f"{size.get('cpu_m', 0)}m",
        memory=size.get("memory", 0),
        gpu_count=size.get("gpu", 0) or 0,
        max_pods=size.get("pods", MANY) if not isinstance(size.get("pods"), list) else MANY,
        devices={port(number): 1 for number in ports},
        **more,
    )


def pod(name: str, size: Mapping[str, Any]) -> GPURequest:
    priority = size.get("priority", 0)
    return GPURequest(
        name,
        size.get("gpu", 0) or 0,
        cpu=f"{size.get('cpu_m', 0)}m",
        memory=size.get("memory", 0),
        devices={port(size["host_port"]): 1} if size.get("host_port") else {},
        tolerations=(TOLERATION,) if size.get("tolerates_gpu") else (),
        priority_class=PriorityClass(f"p{priority}", priority) if priority else None,
    )


def named(pods: Sequence[Case], prefix: str = "pod") -> list[tuple[str, Case]]:
    return [(each.get("name", f"{prefix}-{i}"), each) for i, each in enumerate(pods)]


def info(name: str, size: Mapping[str, Any], pods: Sequence[Case]) -> NodeInfo:
    bound = tuple(BoundPod(pod(each, of), name) for each, of in named(pods, f"on-{name}"))
    return NodeInfo(node(name, size), bound)


def traits(of: Case) -> PodTraits:
    controller = "DaemonSet" if of.get("daemonset") else of.get("controller", "Job") or ""
    return PodTraits(
        controller,
        of.get("namespace") or "default",
        of.get("safe_to_evict") or "",
        of.get("pdb_allowed"),
        tuple(of.get("local_volumes") or ()),
        tuple(of.get("safe_local_volumes") or ()),
        bool(of.get("mirror")),
        of.get("age_s") or 0,
        of.get("phase") or "Running",
        of.get("restart_policy") or "Always",
        of.get("deleted_s_ago"),
        30 if of.get("grace_s") is None else of["grace_s"],
    )


# ------------------------------------------------------------------------------------------------------------ scale up


def estimated(of: Case) -> Case:
    ports = {group["host_port"] for group in of["groups"] if group.get("host_port")}
    groups = [
        tuple(pod(f"{number}-{i}", group) for i in range(group["count"])) for number, group in enumerate(of["groups"])
    ]
    nodes, placed = estimate(groups, node("template", of["template"], ports), of["max_nodes"])
    return {
        "nodes": nodes,
        "pods": len(placed),
        "scheduled_groups": [int(each.name.partition("-")[0]) for each in placed],
    }


def ordered(of: Case) -> Case:
    groups = [(pod(name, each),) for name, each in named(of["pods"])]
    return {"order": [group[0].name for group in decreasing(groups, node("template", of["template"]))]}


def expanded(of: Case) -> Case:
    options = [
        expander.Option(
            each["group"],
            each["node_count"],
            tuple(pod(name, size) for name, size in named(each["pods"])),
            node("template", of["nodes"].get(each["group"], {})),
        )
        for each in of["options"]
    ]
    configured = of.get("priorities")
    priorities = None if configured is None else {int(number): names for number, names in configured.items()}
    return {"best": [option.pool for option in expander.best_options(of["expander"], options, priorities).best]}


def scaled_up(of: Case) -> Case:
    """Each group is as large as its nodes, the first of which is its template; the test's expander takes one group."""
    nodes = {
        each["name"]: node(each["name"], each, taints=(GPU_TAINT,) if each.get("gpu") else ()) for each in of["nodes"]
    }
    groups: dict[str, list[str]] = {}
    for each in of["nodes"]:
        if each["group"]:
            groups.setdefault(each["group"], []).append(each["name"])
    pools = [
        scale_up.PoolSize(NodePool(name, nodes[members[0]], max_size=1000), len(members))
        for name, members in groups.items()
    ]
    limits = of["options"]
    flags = AutoscalerFlags(
        expander="priority" if of["choose"] else "random",
        priorities={1: [f"^{of['choose']}$"]},
        max_cores=limits.get("max_cores", 0),
        max_memory=limits.get("max_memory", 0),
        max_nodes_total=limits.get("max_nodes", 0),
    )
    pending = [pod(each["name"], each) for each in of["pending"]]
    outcome = scale_up.scale_up(pending, pools, list(nodes.values()), flags)
    grown = outcome.sizes.get(outcome.chosen.pool, (0, 0, 0)) if outcome.chosen else (0, 0, 0)
    return {
        "options": {option.pool: option.nodes for option in outcome.options},
        "group": outcome.chosen.pool if outcome.chosen else None,
        "add": grown[1] - grown[0],
        "triggered": outcome.triggered,
        "remaining": list(outcome.rejected),
        "awaiting": list(outcome.awaiting),
    }


def balanced(of: Case) -> Case:
    pools = [
        scale_up.PoolSize(NodePool(name, GPUNode("n"), max_size=largest), size)
        for name, (size, largest) in of["groups"].items()
    ]
    return {"sizes": {name: new for name, (_, new, _) in scale_up.balanced(pools, of["new_nodes"]).items()}}


def considered(of: Case) -> Case:
    """The pods are as old as they are at time 0."""
    entries = [
        scale_up.PendingPod(GPURequest(each["name"]), -each["age_s"], each.get("annotation") or "")
        for each in of["pods"]
    ]
    old = [entry for entry in entries if not scale_up.is_young(entry, of["delay_s"], 0)]
    return {"considered": [entry.request.name for entry in old]}


def still_pending(of: Case) -> Case:
    snapshot = ClusterSnapshot({"node": info("node", of["node"], of["running"])})
    waiting = scale_up.still_pending([pod(each["name"], each) for each in of["pending"]], snapshot)
    return {"still_pending": [each.name for each in waiting]}


def backed_off(of: Case) -> Case:
    flags = AutoscalerFlags(initial_backoff_s=of["initial_s"], max_backoff_s=of["max_s"], backoff_reset_s=of["reset_s"])
    state, answers = Backoff(), []
    for step in of["steps"]:
        state = state.forgotten(step["at_s"], flags)
        if step["do"] == "fail":
            state = state.failed(step["at_s"], flags)
        else:
            answers.append(state.active(step["at_s"]))
    return {"backed_off": answers}


# ---------------------------------------------------------------------------------------------------------- scale down


def used(of: Case) -> Case:
    node_info = info("node", of["allocatable"], of["pods"])
    of_pods = {name: traits(each) for name, each in named(of["pods"], "on-node")}
    devices = {
        pool: (of.get("dra_allocated", {}).get(pool, 0), count) for pool, count in (of.get("dra_devices") or {}).items()
    }
    flags = AutoscalerFlags(
        ignore_daemonsets_utilization=of["ignore_daemonsets"], ignore_mirror_pods_utilization=of["ignore_mirror"]
    )
    try:
        share, resource = scale_down.utilization(node_info, of_pods, of["gpu_label"], devices, flags)
    except ValueError:
        return {"error": True}
    return {"utilization": share, "resource": resource}


def candidate(of: Case) -> Case:
    given, options = of["node"], of["options"]
    state = scale_down.NodeState(
        "", given["ready"], bool(given.get("being_deleted")), bool(given.get("scale_down_disabled"))
    )
    flags = AutoscalerFlags(
        utilization_threshold=options["threshold"],
        gpu_utilization_threshold=options["gpu_threshold"],
        ignore_daemonsets_utilization=options["ignore_daemonsets"],
        unready_enabled=options["unready_enabled"],
    )
    of_pods = {name: traits(each) for name, each in named(of["pods"], "on-node")}
    reason = scale_down.ineligible(info("node", given["allocatable"], of["pods"]), state, of_pods, flags)
    return {"candidate": not reason, "reason": reason}


def removable(of: Case) -> Case:
    state = scale_down.NodeState("pool", of["ready"], scale_down_disabled=of["scale_down_disabled"])
    flags = AutoscalerFlags(unneeded_s=of["unneeded_time_s"], unready_s=of["unready_time_s"])
    room = scale_down.PoolRoom({"pool": of["target_size"]}, {"pool": of["min_size"]}, {})
    unneeded = [(scale_down.Removal("n", {}), float(of["unneeded_for_s"]))]
    going, reasons = scale_down.removable(unneeded, {"n": state}, room, flags)
    return {"removable": bool(going), "reason": reasons.get("n", "")}


def removable_count(of: Case) -> Case:
    removals = removals_of(of["empty"], of["drain"])
    states = {removal.node: scale_down.NodeState("pool") for removal in removals}
    room = scale_down.PoolRoom(
        {"pool": of["target_size"]}, {"pool": of["min_size"]}, {"pool": of["deletions_in_progress"]}
    )
    going, _ = scale_down.removable([(removal, math.inf) for removal in removals], states, room)
    return counts(going)


def removals_of(empty: int, drain: int) -> list[scale_down.Removal]:
    return [
        *(scale_down.Removal(f"empty-{i}", {}) for i in range(empty)),
        *(scale_down.Removal(f"drain-{i}", {"pod": "elsewhere"}) for i in range(drain)),
    ]


def counts(removals: Sequence[scale_down.Removal]) -> Case:
    empty = sum(removal.empty for removal in removals)
    return {"empty": empty, "drain": len(removals) - empty}


def budgeted(of: Case) -> Case:
    flags = AutoscalerFlags(max_scale_down_parallelism=of["max_parallel"], max_drain_parallelism=of["max_drain"])
    removals = removals_of(of["empty"], of["drain"])
    return counts(scale_down.within_budgets(removals, of["empty_in_progress"], of["drain_in_progress"], flags))


def removal(of: Case) -> Case:
    snapshot = ClusterSnapshot({name: info(name, given, given["pods"]) for name, given in of["nodes"].items()})
    of_pods = {each["name"]: traits(each) for given in of["nodes"].values() for each in given["pods"]}
    outcome = scale_down.simulate_removal(of["node"], snapshot, of_pods)
    return {"removable": not outcome.reason, "moved": list(outcome.moved), "reason": outcome.reason}


def drained(of: Case) -> Case:
    of_pods = {each["name"]: traits(each) for each in of["pods"]}
    moves = pods_to_move(of_pods, of_pods, of["system_pod_timeout_s"])
    return {"moved": moves.moved, "daemonset": moves.daemonset, "blocked": moves.reason, "by": moves.blocked_by}


def gpu_ready(of: Case) -> Case:
    gpus = of["allocatable"].get(GPU, 0)
    return {"ready": scale_down.believed_ready(of["ready"], of["gpu_label"], gpus)}


KINDS: dict[str, Callable[[Case], Case]] = {
    "estimate": estimated,
    "order": ordered,
    "expander": expanded,
    "scale_up": scaled_up,
    "balance": balanced,
    "young_pods": considered,
    "fits_existing": still_pending,
    "backoff": backed_off,
    "utilization": used,
    "scale_down_candidate": candidate,
    "removable": removable,
    "removable_count": removable_count,
    "simulate_removal": removal,
    "scale_down_budget": budgeted,
    "drain": drained,
    "gpu_ready": gpu_ready,
}


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    """Upstream compares utilization within 1 %: an answer that is so close is given as the expected one."""
    got, expected = KINDS[case["kind"]](case["inputs"]), case["expected"].get("utilization")
    if expected is not None and math.isclose(got.get("utilization", math.nan), expected, rel_tol=0.01):
        got["utilization"] = expected
    return got
