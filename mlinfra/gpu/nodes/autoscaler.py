"""cluster-autoscaler, one pass at a time: what it sees, what it remembers, and what it does.

Follows Kubernetes 1.37, `core/static_autoscaler.go`. `reconcile` takes a view of the cluster and the memory of the
passes before, and gives what is to be done and the memory for the next. Not modelled: the check of the whole cluster's
health, pools below their minimum, a failed deletion, and taints that keep a node from pods while it starts or leaves.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NamedTuple

from mlinfra.gpu.cluster import NodeInfo
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.node import GPUNode
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.nodes.scale_down import (
    NodeState,
    PoolRoom,
    Removal,
    Traits,
    believed_ready,
    ineligible,
    removable,
    simulate_removal,
    within_budgets,
)
from mlinfra.gpu.nodes.scale_up import PendingPod, PoolSize, ScaleUp, pods_to_help, scale_up
from mlinfra.gpu.nodes.snapshot import ClusterSnapshot, FeasibleNodes

NEVER = -math.inf


class Machine(NamedTuple):
    """A node of a pool, from the moment it was asked for; `deleting` is how it leaves, if it does.

    That is "empty" or "drain", as the autoscaler deletes it, or "spot", when the cloud takes it back.
    """

    name: str
    pool: str
    created_s: float
    deleting: str = ""


@dataclass(frozen=True)
class ClusterView:
    """What a pass looks at: the pools and their machines, the nodes that have registered, and the pods that wait.

    What it remembers saves work when it is kept from pass to pass: `verdicts` says why nodes are no candidates for
    removal (without those that have changed since), `complete` names the nodes that have all that they will have.
    """

    pools: Mapping[str, NodePool]
    machines: Mapping[str, Machine]
    infos: Mapping[str, NodeInfo]
    pending: Sequence[PendingPod] = ()
    traits: Traits = field(default_factory=dict)
    scale_down_disabled: frozenset[str] = frozenset()
    expendable: frozenset[str] = frozenset()
    feasible: FeasibleNodes | None = None
    verdicts: dict[str, str] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)

    def state(self, name: str) -> NodeState:
        machine, gpus = self.machines[name], self.infos[name].node.gpu_count
        pool = self.pools[machine.pool]
        wants_gpus = pool.gpu_label and pool.shape.gpu_count > 0
        ready = believed_ready(True, wants_gpus, gpus)
        return NodeState(pool.name, ready, bool(machine.deleting), name in self.scale_down_disabled, wants_gpus)


class Backoff(NamedTuple):
    """How long a pool is left alone after nodes that did not come."""

    duration_s: float = 0.0
    until_s: float = NEVER
    last_failure_s: float = NEVER

    def failed(self, now_s: float, flags: AutoscalerFlags) -> Backoff:
        """After one more failure: twice as long as last time; a failure while backed off starts over."""
        again = self.duration_s > 0 and self.until_s < now_s
        duration_s = min(2 * self.duration_s, flags.max_backoff_s) if again else flags.initial_backoff_s
        return Backoff(duration_s, now_s + duration_s, now_s)

    def active(self, now_s: float) -> bool:
        return self.until_s > now_s

    def forgotten(self, now_s: float, flags: AutoscalerFlags) -> Backoff:
        """Without a failure for long, the next one starts from the beginning."""
        return Backoff() if self.last_failure_s + flags.backoff_reset_s < now_s else self


@dataclass(frozen=True)
class AutoscalerMemory:
    """What is kept between passes: since when nodes are unneeded, and which are not looked at again before a time."""

    unneeded_since: Mapping[str, float] = field(default_factory=dict)
    unremovable: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    backoff: Mapping[str, Backoff] = field(default_factory=dict)
    last_scale_up_s: float = NEVER
    last_delete_s: float = NEVER

    def in_cooldown(self, now_s: float, flags: AutoscalerFlags) -> bool:
        return (
            self.last_scale_up_s + flags.delay_after_add_s > now_s
            or self.last_delete_s + flags.delay_after_delete_s > now_s
        )

    def wake_s(self, now_s: float, flags: AutoscalerFlags) -> float:
        """When the next pass may decide otherwise although nothing has happened in the cluster."""
        times = [
            self.last_scale_up_s + flags.delay_after_add_s,
            self.last_delete_s + flags.delay_after_delete_s,
            *(since + limit for since in self.unneeded_since.values() for limit in (flags.unneeded_s, flags.unready_s)),
            *(until for until, _ in self.unremovable.values()),
            *(backoff.until_s for backoff in self.backoff.values()),
        ]
        return min((time_s for time_s in times if time_s >= now_s), default=math.inf)


@dataclass(frozen=True)
class AutoscalerPass:
    """What one pass does: machines that it gives up, pools that grow, nodes that go; and why the others stay."""

    memory: AutoscalerMemory
    overdue: Sequence[str] = ()
    growth: ScaleUp = field(default_factory=ScaleUp)
    removals: Sequence[Removal] = ()
    staying: Mapping[str, str] = field(default_factory=dict)

    def why(self) -> str:
        """The decision to grow, then a line for each node that goes, and for each that stays."""
        lines = [f"{name}: was not there in time" for name in self.overdue]
        lines += [self.growth.why()] if self.growth != ScaleUp() else []
        for removal in self.removals:
            moves = ", ".join(f"{pod} to {node}" for pod, node in removal.moved.items())
            lines.append(f"{removal.node}: is removed" + (f"; {moves}" if moves else ", empty"))
        return "\n".join([*lines, *(f"{name}: stays, {reason}" for name, reason in self.staying.items())])


def reconcile(
    cluster: ClusterView,
    memory: AutoscalerMemory,
    now_s: float,
    flags: AutoscalerFlags = DEFAULT_FLAGS,
    ties: random.Random | None = None,
) -> AutoscalerPass:
    """Give up machines that did not come, add nodes for pods that fit nowhere, remove nodes that nobody needs."""
    overdue = overdue_machines(cluster, now_s, flags)
    memory = with_backoff(memory, cluster, overdue, now_s, flags)
    snapshot = snapshot_of(cluster, overdue)
    pods = pods_to_help(cluster.pending, snapshot, flags, now_s)
    growth = scale_up(pods, *pools_and_nodes(cluster, overdue, memory, now_s), flags, ties) if pods else ScaleUp()
    if growth.sizes:
        memory = replace(memory, last_scale_up_s=now_s)
    if not flags.scale_down_enabled:
        return AutoscalerPass(memory, overdue, growth)
    unneeded, memory, reasons = unneeded_nodes(cluster, snapshot, memory, now_s, flags)
    if memory.in_cooldown(now_s, flags):
        return AutoscalerPass(memory, overdue, growth, (), reasons)
    removals, too_early = nodes_to_delete(unneeded, cluster, memory, now_s, flags)
    return AutoscalerPass(forgetting(memory, removals, now_s), overdue, growth, removals, reasons | too_early)


# ------------------------------------------------------------------------------------------- machines on their way


def overdue_machines(cluster: ClusterView, now_s: float, flags: AutoscalerFlags) -> list[str]:
    """Those that were asked for too long ago and have not registered."""
    booting = [machine for machine in cluster.machines.values() if not machine.deleting]
    return [
        machine.name
        for machine in booting
        if machine.name not in cluster.infos and now_s - machine.created_s > flags.max_node_provision_s
    ]


def with_backoff(
    memory: AutoscalerMemory, cluster: ClusterView, overdue: Sequence[str], now_s: float, flags: AutoscalerFlags
) -> AutoscalerMemory:
    """Pools whose machines did not come are left alone for a while."""
    backoff = {pool: of_pool.forgotten(now_s, flags) for pool, of_pool in memory.backoff.items()}
    for name in overdue:
        pool = cluster.machines[name].pool
        backoff[pool] = backoff.get(pool, Backoff()).failed(now_s, flags)
    return replace(memory, backoff=backoff) if backoff else memory


def snapshot_of(cluster: ClusterView, overdue: Sequence[str]) -> ClusterSnapshot:
    """The nodes that are there, and complete ones in the place of those that boot or still lack their GPUs."""
    snapshot = ClusterSnapshot(cluster.infos, cluster.feasible)
    for name, machine in cluster.machines.items():
        if name in cluster.complete or machine.deleting or name in overdue:
            continue
        if name in cluster.infos and cluster.state(name).ready:
            cluster.complete.add(name)
        else:
            pods = tuple(cluster.infos[name].pods.values()) if name in cluster.infos else ()
            snapshot.add_node(name, NodeInfo(cluster.pools[machine.pool].template, pods))
    if cluster.expendable:
        drop_expendable(snapshot, cluster.expendable)
    return snapshot


def drop_expendable(snapshot: ClusterSnapshot, expendable: frozenset[str]) -> None:
    """Pods below the cutoff count for nothing: they take no room and keep no node."""
    for name, info in snapshot.real.items():
        for pod in expendable & info.pods.keys():
            snapshot.take(pod, name)


def pools_and_nodes(
    cluster: ClusterView, overdue: Sequence[str], memory: AutoscalerMemory, now_s: float
) -> tuple[list[PoolSize], list[GPUNode]]:
    """Each pool with its target size, and a node for each machine; those that are leaving count until they are gone."""
    pools = [machine.pool for name, machine in cluster.machines.items() if name not in overdue]
    counts = Counter(pools)
    sizes = [
        PoolSize(pool, counts[name], memory.backoff.get(name, Backoff()).active(now_s))
        for name, pool in cluster.pools.items()
    ]
    return sizes, [cluster.pools[name].template for name in pools]


# -------------------------------------------------------------------------------------------------- nodes that may go


def unneeded_nodes(
    cluster: ClusterView, snapshot: ClusterSnapshot, memory: AutoscalerMemory, now_s: float, flags: AutoscalerFlags
) -> tuple[list[Removal], AutoscalerMemory, dict[str, str]]:
    """The nodes that can go together, the memory with the times since when, and why the others cannot.

    Nodes that were unneeded before are tried first, then empty ones; what fails is not tried again for a while.
    """
    blocked = {name: entry for name, entry in memory.unremovable.items() if entry[0] > now_s}
    reasons = {name: reason for name, (_, reason) in blocked.items()}
    limit = len(memory.unneeded_since) + 2 * flags.max_scale_down_parallelism
    unneeded: list[Removal] = []
    for name in candidates(cluster, snapshot, memory, reasons, flags):
        if len(unneeded) == limit:
            break
        removal = simulate_removal(name, snapshot, cluster.traits, flags)
        if removal.reason:
            reasons[name] = f"{removal.reason}: {removal.blocked_by}".rstrip(": ")
            blocked[name] = now_s + flags.unremovable_recheck_s, reasons[name]
        else:
            unneeded.append(removal)
    since = {removal.node: memory.unneeded_since.get(removal.node, now_s) for removal in unneeded}
    return unneeded, replace(memory, unneeded_since=since, unremovable=blocked), reasons


def candidates(
    cluster: ClusterView,
    snapshot: ClusterSnapshot,
    memory: AutoscalerMemory,
    reasons: dict[str, str],
    flags: AutoscalerFlags,
) -> list[str]:
    """The nodes that are little used and that their pools can lose; why another is none is added to the reasons."""
    verdicts = verdicts_of(cluster, snapshot, flags)
    sizes = Counter(map(attrgetter("pool"), cluster.machines.values()))
    at_minimum = {name for name, pool in cluster.pools.items() if sizes[name] <= pool.min_size}
    reasons.update({name: verdict for name, verdict in verdicts.items() if verdict and name not in reasons})
    little_used = [name for name in cluster.infos if name not in reasons]
    if at_minimum:
        needed = {name for name in little_used if cluster.machines[name].pool in at_minimum}
        reasons.update(dict.fromkeys(needed, "NodeGroupMinSizeReached"))
        little_used = [name for name in little_used if name not in needed]
    return sorted(little_used, key=lambda name: (name not in memory.unneeded_since, bool(snapshot.info(name).pods)))


def verdicts_of(cluster: ClusterView, snapshot: ClusterSnapshot, flags: AutoscalerFlags) -> dict[str, str]:
    """Why each node is no candidate; what is known of one is still true when nothing was placed on it here."""
    placed_here = {name: "" for name in (*snapshot.changed, *snapshot.extra) if name in cluster.infos}
    unknown = [name for name in cluster.infos if name not in cluster.verdicts and name not in placed_here]
    for verdicts, names in ((cluster.verdicts, unknown), (placed_here, list(placed_here))):
        for name in names:
            verdicts[name] = ineligible(snapshot.info(name), cluster.state(name), cluster.traits, flags)
    return cluster.verdicts | placed_here


def nodes_to_delete(
    unneeded: Sequence[Removal], cluster: ClusterView, memory: AutoscalerMemory, now_s: float, flags: AutoscalerFlags
) -> tuple[list[Removal], dict[str, str]]:
    """Those that were unneeded long enough, within the minimum of their pools and the budgets; why others wait."""
    if not unneeded:
        return [], {}
    leaving = Counter(machine.pool for machine in cluster.machines.values() if machine.deleting)
    sizes = Counter(map(attrgetter("pool"), cluster.machines.values()))
    room = PoolRoom(sizes, {name: pool.min_size for name, pool in cluster.pools.items()}, leaving)
    states = {removal.node: cluster.state(removal.node) for removal in unneeded}
    timed = [(removal, now_s - memory.unneeded_since[removal.node]) for removal in unneeded]
    going, reasons = removable(timed, states, room, flags)
    ways = Counter(map(attrgetter("deleting"), cluster.machines.values()))
    return within_budgets(going, ways["empty"], ways["drain"], flags), reasons


def forgetting(memory: AutoscalerMemory, removals: Sequence[Removal], now_s: float) -> AutoscalerMemory:
    """The nodes that go are no longer unneeded."""
    if not removals:
        return memory
    gone = {removal.node for removal in removals}
    since = {name: time_s for name, time_s in memory.unneeded_since.items() if name not in gone}
    return replace(memory, unneeded_since=since, last_delete_s=now_s)
