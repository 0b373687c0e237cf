"""Nodes and pods by the thousand: the scheduling cycle beside the plain one, and a day of a fleet."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from benchmarks.rows import Row, seconds

from mlinfra.course.node_pools import GPUS, arrivals_of_a_day, pools_of
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.nodes.loop import simulate
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.profile import packing
from mlinfra.gpu.scheduler import GPUScheduler

FEW = 100


def rows() -> Iterator[Row]:
    yield from map(cycle, (100, 1_000))
    yield from (day(nodes) for nodes in (100, 1_000))


def mixed(pods: int) -> list[GPURequest]:
    """Pods of four sizes, so that 10,000 of them fill 1,000 nodes of 32 small GPUs."""
    chance = random.Random(pods)
    sizes = chance.choices(*GPUS, k=pods)
    return [GPURequest(f"p{i}", n, cpu=str(n), memory=f"{8 * n}Gi") for i, n in enumerate(sizes)]


def cycle(nodes: int) -> Row:
    """Ten pods a node; beside it the plain cycle, from the first hundred. RuntimeError when the two differ."""
    pods = mixed(10 * nodes)
    fleet = [GPUNode(f"n{i}", "L4", 32, 24) for i in range(nodes)]
    took = seconds(lambda: placed(BatchScheduler(fleet), pods))
    beside = seconds(lambda: placed(GPUScheduler(fleet), pods[:FEW])) * len(pods) / FEW
    if placed(BatchScheduler(fleet), pods[:FEW]) != placed(GPUScheduler(fleet), pods[:FEW]):
        raise RuntimeError(f"{nodes} nodes: the plain cycle decides otherwise")
    target = "5 s" if nodes == 1_000 else ""
    size = f"{len(pods):,} pods on {nodes:,} nodes"
    return Row("kube-scheduler's cycle", size, nodes, took, "the plain cycle", beside, target, not target or took <= 5)


def placed(scheduler: GPUScheduler, pods: Sequence[GPURequest]) -> list[tuple[str, str]]:
    for pod in pods:
        scheduler.submit(pod)
    return scheduler.schedule()


def day(nodes: int) -> Row:
    """A day with a busy afternoon, ten pods a node, on pools that hold so many nodes."""
    arrivals, pools = arrivals_of_a_day(10 * nodes), pools_of(nodes)
    took = seconds(lambda: simulate(arrivals, pools, scheduler=BatchScheduler(profile=packing())))
    target = "10 s" if nodes == 1_000 else ""
    size = f"{len(arrivals):,} pods, {nodes:,} nodes at most"
    return Row("a day of a fleet", size, nodes, took, target=target, met=not target or took <= 10)
