"""Nodes and pods by the thousand: the scheduling cycle beside the plain one, and a day of a fleet."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from benchmarks.rows import Row, seconds

from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.nodes.fleet import PodArrival
from mlinfra.gpu.nodes.loop import DAY_S, simulate
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.profile import packing
from mlinfra.gpu.scheduler import GPUScheduler

GPUS = ((1, 2, 4, 8), (50, 20, 15, 15))
FEW = 100
TAINT, TOLERATION = Taint("nvidia.com/gpu", "present"), Toleration("nvidia.com/gpu", "Exists")


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


def pools_of(nodes: int) -> list[NodePool]:
    a100 = GPUNode("n", "A100", 8, 80, taints=(TAINT,))
    l4 = GPUNode("n", "L4", 1, 24, cpu="8", memory="32Gi", taints=(TAINT,))
    shares = (("a100", a100, 32.77, 0.7), ("l4", l4, 0.8, 0.3))
    return [NodePool(name, shape, price, max_size=round(share * nodes)) for name, shape, price, share in shares]


def arrivals_of_a_day(pods: int) -> list[PodArrival]:
    """Three hours in the mean, at times that follow a sine over the day."""
    chance, arrivals = random.Random(pods), list[PodArrival]()
    while len(arrivals) < pods:
        at_s = DAY_S * chance.random()
        if chance.random() < 0.55 + 0.45 * math.sin(2 * math.pi * (at_s / DAY_S - 0.3)):
            (gpus,) = chance.choices(*GPUS)
            name = f"p{len(arrivals)}"
            request = GPURequest(name, gpus, cpu=str(2 * gpus), memory=f"{8 * gpus}Gi", tolerations=(TOLERATION,))
            arrivals.append(PodArrival(round(at_s), request, round(chance.expovariate(1 / 10_800))))
    return sorted(arrivals, key=lambda arrival: arrival.at_s)
