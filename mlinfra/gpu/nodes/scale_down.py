"""How cluster-autoscaler decides to remove nodes: which are little used, whose pods fit elsewhere, and when they go.

Follows Kubernetes 1.37, `simulator/utilization`, `core/scaledown/{eligibility,planner,unneeded,budgets}` and
`simulator/cluster.go`. Pods that would move go to the first node that takes them; upstream first tries the node that it
found last time. Not modelled: minimum limits of the whole cluster, and groups that go as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mlinfra.gpu.cluster import NodeInfo
from mlinfra.gpu.nodes.drain import OF_A_JOB, PodTraits, pods_to_move
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.node import GPU
from mlinfra.gpu.nodes.snapshot import ClusterSnapshot

Traits = Mapping[str, PodTraits]
Devices = Mapping[str, tuple[int, int]]
"""Of each pool of DRA devices on a node: how many are allocated, and how many there are."""

# --------------------------------------------------------------------------------------------------------- utilization


class NodeUtilization(NamedTuple):
    """The share of a node that is requested, and of which resource; ValueError where it cannot be computed."""

    share: float
    resource: str


def utilization(
    info: NodeInfo,
    traits: Traits | None = None,
    gpu_label: bool = False,
    devices: Devices | None = None,
    flags: AutoscalerFlags = DEFAULT_FLAGS,
) -> NodeUtilization:
    """Of a GPU node its GPUs alone, of one with DRA devices the fullest pool, else the larger of cpu and memory.

    A node whose GPUs have not been reported yet is at 0.
    """
    if gpu_label or info.node.allocatable.get(GPU):
        has_gpus = info.node.allocatable.get(GPU)
        return NodeUtilization(_share(info, GPU, traits or {}, flags) if has_gpus else 0.0, GPU)
    if devices:
        fullest = max(devices, key=lambda pool: devices[pool][0] / devices[pool][1])
        return NodeUtilization(devices[fullest][0] / devices[fullest][1], fullest)
    cpu, memory = (_share(info, name, traits or {}, flags) for name in ("cpu", "memory"))
    return NodeUtilization(cpu, "cpu") if cpu > memory else NodeUtilization(memory, "memory")


def _share(info: NodeInfo, name: str, traits: Traits, flags: AutoscalerFlags) -> float:
    """What is requested of a resource by what is allocatable; pods that are left out leave both."""
    allocatable = info.node.allocatable.get(name, 0)
    if not allocatable:
        raise ValueError(f"{name} is 0 at {info.node.name}")
    if not traits:
        return info.requested[name] / allocatable
    requested = left_out = 0
    for pod in info.pods.values():
        amount, of = pod.request.requests.get(name, 0), traits.get(pod.request.name, OF_A_JOB)
        if _ignored(of, flags):
            left_out += amount
        elif not of.long_terminating:
            requested += amount
    return requested / (allocatable - left_out)


def _ignored(pod: PodTraits, flags: AutoscalerFlags) -> bool:
    of_a_daemonset = pod.controller == "DaemonSet" and flags.ignore_daemonsets_utilization
    return of_a_daemonset or (pod.mirror and flags.ignore_mirror_pods_utilization)


# ---------------------------------------------------------------------------------------------------------- candidates


class NodeState(NamedTuple):
    """What the autoscaler knows of a node beside its pods. A GPU node without its GPUs is not `ready`."""

    pool: str = ""
    ready: bool = True
    being_deleted: bool = False
    scale_down_disabled: bool = False
    gpu_label: bool = False


def believed_ready(ready: bool, gpu_label: bool, gpus: int) -> bool:
    """Whether the autoscaler takes a node for ready: one with the GPU label must have its GPUs, else it is coming."""
    return ready and (not gpu_label or gpus > 0)


def ineligible(
    info: NodeInfo, state: NodeState, traits: Traits | None = None, flags: AutoscalerFlags = DEFAULT_FLAGS
) -> str:
    """Why a node is no candidate for removal; empty when it is one."""
    if state.being_deleted:
        return "CurrentlyBeingDeleted"
    if state.scale_down_disabled:
        return "ScaleDownDisabledAnnotation"
    try:
        used = utilization(info, traits, state.gpu_label, flags=flags)
    except ValueError:
        return "UnexpectedError"
    if not state.ready and not flags.unready_enabled:
        return "ScaleDownUnreadyDisabled"
    threshold = flags.gpu_utilization_threshold if used.resource == GPU else flags.utilization_threshold
    return "NotUnderutilized" if used.share > threshold else ""


# --------------------------------------------------------------------------------------------------- simulated removal


class Removal(NamedTuple):
    """Where the pods of a node would go, or why it cannot be removed, and the pod that blocks."""

    node: str
    moved: Mapping[str, str]
    reason: str = ""
    blocked_by: str = ""

    @property
    def empty(self) -> bool:
        return not self.moved


def simulate_removal(
    name: str,
    snapshot: ClusterSnapshot,
    traits: Traits | None = None,
    flags: AutoscalerFlags = DEFAULT_FLAGS,
) -> Removal:
    """Whether all pods of a node find a place elsewhere; if so they stay there for the next node that is tried."""
    info = snapshot.info(name)
    moves = pods_to_move(list(info.pods), traits or {}, flags.system_pod_timeout_s)
    if moves.blocked_by:
        return Removal(name, {}, moves.reason, moves.blocked_by)
    placed = snapshot.place_all([info.pods[pod].request for pod in moves.moved], name)
    if placed is None:
        return Removal(name, {}, "NoPlaceToMovePods")
    snapshot.gone.add(name)
    return Removal(name, placed)


# ------------------------------------------------------------------------------------------------------- who goes when


def too_early(unneeded_for_s: float, state: NodeState, flags: AutoscalerFlags = DEFAULT_FLAGS) -> str:
    """Why an unneeded node stays for now; its time must be over, not just reached."""
    if state.scale_down_disabled:
        return "ScaleDownDisabledAnnotation"
    if state.ready and unneeded_for_s <= flags.unneeded_s:
        return "NotUnneededLongEnough"
    if not state.ready and unneeded_for_s <= flags.unready_s:
        return "NotUnreadyLongEnough"
    return ""


class PoolRoom:
    """How many nodes each pool can lose before it has its minimum; `deleting` are on their way out and still count."""

    def __init__(self, sizes: Mapping[str, int], smallest: Mapping[str, int], deleting: Mapping[str, int]) -> None:
        self._left = {pool: sizes[pool] - deleting.get(pool, 0) - smallest.get(pool, 0) for pool in sizes}

    def take(self, pool: str) -> str:
        """Why the pool keeps a node; empty when it may go, which is counted."""
        if self._left.get(pool, 0) <= 0:
            return "NodeGroupMinSizeReached"
        self._left[pool] -= 1
        return ""


def removable(
    unneeded: Iterable[tuple[Removal, float]],
    states: Mapping[str, NodeState],
    room: PoolRoom,
    flags: AutoscalerFlags = DEFAULT_FLAGS,
) -> tuple[list[Removal], dict[str, str]]:
    """The unneeded nodes (each with its seconds) that may go now, empty ones first, and why the others stay."""
    going, reasons = [], {}
    for removal, for_s in sorted(unneeded, key=lambda entry: not entry[0].empty):
        state = states[removal.node]
        reason = too_early(for_s, state, flags) or room.take(state.pool)
        if reason:
            reasons[removal.node] = reason
        else:
            going.append(removal)
    return going, reasons


def within_budgets(
    removals: Sequence[Removal], empty_in_progress: int, drain_in_progress: int, flags: AutoscalerFlags = DEFAULT_FLAGS
) -> list[Removal]:
    """As many as may go at once, empty ones first; of those to be drained a few."""
    budget = max(0, flags.max_scale_down_parallelism - empty_in_progress - drain_in_progress)
    empty = [removal for removal in removals if removal.empty][:budget]
    drains = max(0, min(budget - len(empty), flags.max_drain_parallelism - drain_in_progress))
    return empty + [removal for removal in removals if not removal.empty][:drains]
