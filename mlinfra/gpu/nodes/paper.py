"""What cluster-autoscaler would do for the pods that wait in a cluster as it was read: pass after pass, on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mlinfra.admission import Field, refuse
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.pool import POOL, NodePool
from mlinfra.gpu.nodes.scale_up import PoolSize, scale_up
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.manifest import Manifest


def scale_up_for(
    scheduler: GPUScheduler, manifests: Iterable[Manifest], flags: AutoscalerFlags = DEFAULT_FLAGS
) -> list[str]:
    """A line for each waiting pod: the pool that grows for it, or why none does.

    Of a pool those nodes are known that carry its label. Pods that await evaluation are helped by the next pass.
    """
    pools = [NodePool.of(manifest) for manifest in manifests]
    refuse("pools", [] if pools else [Field(None, "NodePool").required("the file has none")])
    nodes = [info.node for info in scheduler.nodes.values()]
    sizes = Counter(node.labels.get(POOL, "") for node in nodes)
    waiting = {pod.name: pod for request in scheduler.pending for pod in request.pods()}
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
