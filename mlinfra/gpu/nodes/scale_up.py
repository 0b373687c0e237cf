"""How cluster-autoscaler decides to add nodes: which pods it helps, what each pool would need, which pool gets them.

Follows Kubernetes 1.37, `core/scaleup/orchestrator/orchestrator.go` and `processors/nodegroupset`. `max_nodes_total`
crops what was estimated; upstream's binary ends the estimate there too. Not modelled: pools that do not exist yet,
ProvisioningRequests (all or nothing), topology spread, host ports, volumes, DaemonSet pods on new nodes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from mlinfra.admission.go_values import seconds
from mlinfra.gpu.cluster import NodeInfo
from mlinfra.gpu.filters import refusal
from mlinfra.gpu.nodes.estimate import PodGroup, equal_pods, estimate
from mlinfra.gpu.nodes.expander import Option, Preference, expand
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.node import GPU, HOSTNAME, GPUNode
from mlinfra.gpu.nodes.pool import CAPACITY, POOL, NodePool
from mlinfra.gpu.nodes.snapshot import ClusterSnapshot
from mlinfra.gpu.pods import GPURequest
from mlinfra.simulation import Event
from mlinfra.tables import plural

BACKED_OFF, MAX_SIZE = "in backoff after failed scale-up", "max node group size reached"
MAX_NODES_TOTAL = "max total nodes in cluster reached"
UNITS = {"cpu": 1000, "memory": 1, GPU: 1}
"""Resources with a limit for the whole cluster, and how many of our units are one of the limit's."""


class PoolSize(NamedTuple):
    """A pool with its target size: the nodes that it has, and those on their way."""

    pool: NodePool
    size: int
    backed_off: bool = False

    @property
    def room(self) -> int:
        return max(0, self.pool.max_size - self.size)


class PendingPod(NamedTuple):
    """A pod that the scheduler could not place; `delay` is its own pod-scale-up-delay, such as "5m"."""

    request: GPURequest
    since_s: float
    delay: str = ""


@dataclass(frozen=True)
class ScaleUp:
    """What was decided: the new size of each pool that grows, and what becomes of each group of pods.

    `rejected` says for each group of pods that no pool takes how many pools gave each reason.
    """

    sizes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    options: Sequence[Option] = ()
    chosen: Option | None = None
    preferences: Sequence[Preference] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    awaiting: Sequence[str] = ()

    @property
    def triggered(self) -> list[str]:
        return [pod.name for pod in self.chosen.pods] if self.chosen and self.sizes else []

    def events(self, now_s: float) -> list[Event]:
        """As upstream's recorder writes them: the pods without a pool have theirs only when no pool grows."""
        if self.sizes:
            grown = " ".join(f"{{{pool} {old}->{new} (max: {top})}}" for pool, (old, new, top) in self.sizes.items())
            return [
                Event(now_s, "TriggeredScaleUp", name, f"pod triggered scale-up: [{grown}]") for name in self.triggered
            ]
        return [
            Event(now_s, "NotTriggerScaleUp", name, f"pod didn't trigger scale-up: {reasons}")
            for name, reasons in self.rejected.items()
        ]

    def why(self) -> str:
        """The options, what the expander said of each, the choice, and the pods that nobody helps."""
        said = {pool: text for preference in self.preferences for pool, text in preference.said.items()}
        lines = [
            f"{option.pool}: {plural(option.nodes, 'node')} for {plural(len(option.pods), 'pod')}; "
            f"{said.get(option.pool, '')}".rstrip("; ")
            for option in self.options
        ]
        if self.chosen:
            lines.append(
                f"{' then '.join(preference.expander for preference in self.preferences)} takes {self.chosen.pool}"
            )
        lines += [f"{pool}: {old} -> {new} nodes (max: {top})" for pool, (old, new, top) in self.sizes.items()]
        lines += [f"{name}: pod didn't trigger scale-up: {reasons}" for name, reasons in self.rejected.items()]
        return "\n".join([*lines, *(f"{name}: awaits evaluation" for name in self.awaiting)])


# ------------------------------------------------------------------------------------------------ whom it would help


def pods_to_help(
    pending: Iterable[PendingPod], snapshot: ClusterSnapshot, flags: AutoscalerFlags, now_s: float
) -> list[GPURequest]:
    """The pending pods without those that are expendable, that fit on a node that is there or coming, or too young."""
    worth = [entry for entry in pending if entry.request.priority >= flags.expendable_pods_priority_cutoff]
    waiting = {pod.name for pod in still_pending([entry.request for entry in worth], snapshot)}
    old = [entry for entry in worth if not is_young(entry, flags.new_pod_scale_up_delay_s, now_s)]
    return [pod for entry in old for pod in entry.request.pods() if pod.name in waiting]


def still_pending(pods: Sequence[GPURequest], snapshot: ClusterSnapshot) -> list[GPURequest]:
    """The pods that fit on none of the nodes, those on their way included; the others take their room, in order."""
    waiting: list[GPURequest] = []
    by_priority = sorted(pods, key=lambda pod: -pod.priority)
    for group in equal_pods(by_priority):
        for i, pod in enumerate(group):
            name = snapshot.first_fit(pod)
            if name is None:
                waiting += group[i:]  # the next ones are equal, and nothing has been given back
                break
            snapshot.place(pod, name)
    return waiting


def is_young(entry: PendingPod, delay_s: float, now_s: float) -> bool:
    """Whether it has not waited longer than the delay; its annotation can only lengthen it, if it can be read."""
    with suppress(ValueError):
        delay_s = max(delay_s, seconds(entry.delay)) if entry.delay else delay_s
    return now_s - entry.since_s <= delay_s


# ------------------------------------------------------------------------------------------------------ the decision


def scale_up(
    pods: Sequence[GPURequest],
    pools: Sequence[PoolSize],
    nodes: Sequence[GPUNode] = (),
    flags: AutoscalerFlags = DEFAULT_FLAGS,
    ties: random.Random | None = None,
) -> ScaleUp:
    """One pass for pods that fit nowhere: at most one pool, with those that are like it, grows."""
    if not pods:
        return ScaleUp()
    if flags.max_nodes_total and len(nodes) >= flags.max_nodes_total:
        return ScaleUp(rejected={pod.name: MAX_NODES_TOTAL for pod in pods})
    groups = equal_pods(pods)
    skipped = skip_reasons(pools, nodes, flags)
    valid = [size for size in pools if size.pool.name not in skipped]
    verdicts = [Verdicts(group, valid, skipped) for group in groups]
    options = [option for size in valid if (option := expansion_option(size, verdicts, valid, flags))]
    rejected = {pod.name: group.reasons() for group in verdicts if not group.pools for pod in group.pods}
    chosen, preferences = expand(options, flags, len(nodes), ties) if options else (None, [])
    if chosen is None or not chosen.nodes:
        return ScaleUp(options=options, preferences=preferences, rejected=rejected)
    new_nodes = cropped(chosen, nodes, flags)
    sizes = balanced(similar_pools(chosen.pool, valid, verdicts, flags), new_nodes)
    awaiting = [pod.name for group in verdicts if group.pools and chosen.pool not in group.pools for pod in group.pods]
    return ScaleUp(sizes, options, chosen, preferences, rejected, awaiting)


def skip_reasons(pools: Iterable[PoolSize], nodes: Sequence[GPUNode], flags: AutoscalerFlags) -> dict[str, str]:
    """Why a pool cannot grow at all."""
    skipped = {}
    for size in pools:
        exceeded = [word for word, allowed in allowed_nodes(size.pool.template, nodes, flags).items() if allowed < 1]
        if size.backed_off:
            skipped[size.pool.name] = BACKED_OFF
        elif not size.room:
            skipped[size.pool.name] = MAX_SIZE
        elif exceeded:
            skipped[size.pool.name] = f"max cluster {', '.join(exceeded)} limit reached"
    return skipped


class Verdicts:
    """A group of equal pods, the pools on whose nodes it fits, and why the others do not take it."""

    def __init__(self, pods: PodGroup, pools: Iterable[PoolSize], skipped: Mapping[str, str]) -> None:
        self.pods = pods
        verdicts = {size.pool.name: refusal(pods[0], NodeInfo(size.pool.template)) for size in pools}
        self.pools = {pool for pool, verdict in verdicts.items() if verdict is None}
        self._reasons = Counter(reason for verdict in verdicts.values() if verdict for reason in verdict.reasons)
        self._reasons.update(skipped.values())

    def reasons(self) -> str:
        """How many pools gave each reason; upstream's order is that of a Go map, ours is sorted."""
        return ", ".join(sorted(f"{pools} {reason}" for reason, pools in self._reasons.items()))


def expansion_option(
    size: PoolSize, verdicts: Iterable[Verdicts], pools: Sequence[PoolSize], flags: AutoscalerFlags
) -> Option | None:
    """The nodes of this pool that its pods would need, up to what it and those like it may have; None for no pods."""
    pool = size.pool
    groups = [group for group in verdicts if pool.name in group.pools]
    room = sum(other.room for other in similar_pools(pool.name, pools, groups, flags))
    limit = min(room, flags.max_nodes_per_scaleup or room)
    nodes, placed = estimate([group.pods for group in groups], pool.template, limit)
    return Option(pool.name, nodes, placed, pool.template, pool.price_per_hour) if nodes else None


def cropped(option: Option, nodes: Sequence[GPUNode], flags: AutoscalerFlags) -> int:
    """How many of the option's nodes the limits of the whole cluster leave."""
    new_nodes = option.nodes
    if flags.max_nodes_total:
        new_nodes = min(new_nodes, flags.max_nodes_total - len(nodes))
    return min([new_nodes, *allowed_nodes(option.template, nodes, flags).values()])


def allowed_nodes(template: GPUNode, nodes: Sequence[GPUNode], flags: AutoscalerFlags) -> dict[str, int]:
    """How many more nodes of a template each limit allows, by the resource that has one."""
    limits = {"cpu": flags.max_cores, "memory": flags.max_memory, GPU: flags.max_gpus}
    wanted = {name: units(template, name) for name, limit in limits.items() if limit}
    return {
        name: (limits[name] - sum(units(node, name) for node in nodes)) // wanted[name]
        for name in wanted
        if wanted[name]
    }


def units(node: GPUNode, name: str) -> int:
    """Whole cores, bytes or GPUs, rounded up."""
    return -(-node.allocatable.get(name, 0) // UNITS[name])


# ----------------------------------------------------------------------------------------------------- similar pools


def similar_pools(
    name: str, pools: Sequence[PoolSize], verdicts: Iterable[Verdicts], flags: AutoscalerFlags
) -> list[PoolSize]:
    """The pool itself and, when balancing is on, those like it that the same groups of pods fit on."""
    (chosen,) = [size for size in pools if size.pool.name == name]
    if not flags.balance_similar_node_groups:
        return [chosen]
    groups = [group for group in verdicts if name in group.pools]
    others = [
        size
        for size in pools
        if size is not chosen
        and are_similar(chosen.pool.template, size.pool.template)
        and all(size.pool.name in group.pools for group in groups)
    ]
    return [chosen, *others]


IGNORED_LABELS = {
    HOSTNAME,
    POOL,
    CAPACITY,
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
}


def are_similar(one: GPUNode, other: GPUNode) -> bool:
    """The same labels but for name, zone and pool; the same amounts, memory within 1.5 %."""
    labels, others = (
        {key: text for key, text in node.all_labels.items() if key not in IGNORED_LABELS} for node in (one, other)
    )
    sizes, of_other = dict(one.allocatable), dict(other.allocatable)
    memory, memory_of_other = sizes.pop("memory"), of_other.pop("memory")
    close = abs(memory - memory_of_other) <= 0.015 * max(memory, memory_of_other)
    return labels == others and sizes == of_other and close


def balanced(pools: Sequence[PoolSize], new_nodes: int) -> dict[str, tuple[int, int, int]]:
    """The old and the new size of each pool that grows, and its maximum: node by node the smallest pool gets one."""
    sizes = {size.pool.name: size.size for size in sorted(pools, key=lambda size: size.size)}
    largest = {size.pool.name: size.pool.max_size for size in pools}
    for _ in range(new_nodes):
        growing = [name for name in sizes if sizes[name] < largest[name]]
        if growing:
            sizes[min(growing, key=sizes.__getitem__)] += 1
    return {
        size.pool.name: (size.size, sizes[size.pool.name], size.pool.max_size)
        for size in pools
        if sizes[size.pool.name] != size.size
    }
