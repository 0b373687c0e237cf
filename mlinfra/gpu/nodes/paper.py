"""What cluster-autoscaler would do for the pods that wait in a cluster as it was read: pass after pass, on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from mlinfra.admission import Field, refuse
from mlinfra.admission.nouns.gpu import twice
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.node import GPUNode
from mlinfra.gpu.nodes.pool import POOL, NodePool
from mlinfra.gpu.nodes.scale_up import PoolSize, scale_up
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.manifest import Manifest

POOL_LABELS = (
    POOL,
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
)
"""By which of its labels a node belongs to a pool: ours, and those of the clouds."""


def pool_of(node: GPUNode, names: Iterable[str]) -> str:
    """The pool that one of its labels names, "" where none does."""
    known = {node.labels.get(label) for label in POOL_LABELS}
    return next((name for name in names if name in known), "")


def scale_up_for(
    scheduler: GPUScheduler,
    manifests: Iterable[Manifest],
    flags: AutoscalerFlags = DEFAULT_FLAGS,
    of_daemonsets: Collection[str] = (),
) -> list[str]:
    """A line for each waiting pod: the pool that grows for it, or why none does.

    Of a pool those nodes are known that carry its label, or the cloud's. Pods that await evaluation are helped by the
    next pass. No node comes for expendable pods and those of DaemonSets, and nothing is said of them.
    """
    pools = [NodePool.of(manifest) for manifest in manifests]
    refuse("pools", [] if pools else [Field(None, "NodePool").required("the file has none")])
    names = [pool.name for pool in pools]
    refuse("pools", twice("NodePool", names))
    nodes = [info.node for info in scheduler.nodes.values()]
    sizes = Counter(pool_of(node, names) for node in nodes)
    waiting = {
        pod.name: pod
        for request in scheduler.pending
        for pod in request.pods()
        if pod.priority >= flags.expendable_pods_priority_cutoff and pod.name not in of_daemonsets
    }
    lines: list[str] = []
    while waiting:
        outcome = scale_up(list(waiting.values()), sizes_of(pools, sizes), nodes, flags)
        lines += [f"{event.reason} {event.about}: {event.message}" for event in outcome.events(0.0)]
        if not outcome.sizes:
            break
        for name, (old, new, _) in outcome.sizes.items():
            sizes[name] = new
            nodes += [pool.template for pool in pools if pool.name == name] * (new - old)
        for name in outcome.triggered:
            del waiting[name]
    return lines


def sizes_of(pools: Sequence[NodePool], sizes: Counter[str]) -> list[PoolSize]:
    return [PoolSize(pool, sizes[pool.name]) for pool in pools]
