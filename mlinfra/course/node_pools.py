"""Notebook 04's pools of nodes, what runs on them, and a day of jobs. Prices and boot times are examples.

The price of an A100 is that of `service_nodes`, as in notebooks 05 and 06.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from mlinfra.course import clusters
from mlinfra.course.service_nodes import GPU_DOLLARS, TAINT, TOLERATION
from mlinfra.gpu import GPUNode, GPURequest, GPUScheduler
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.nodes.autoscaler import AutoscalerMemory, AutoscalerPass, ClusterView, Machine, reconcile
from mlinfra.gpu.nodes.drain import OF_A_JOB, PodTraits
from mlinfra.gpu.nodes.flags import AutoscalerFlags
from mlinfra.gpu.nodes.fleet import FleetSimulation, PodArrival
from mlinfra.gpu.nodes.loop import DAY_S, simulate
from mlinfra.gpu.nodes.pool import BootTime, NodePool
from mlinfra.gpu.nodes.scale_up import PoolSize, ScaleUp, scale_up
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile, packing
from mlinfra.manifest import Manifest
from mlinfra.simulation import Event

TAINTS, TOLERATES = (TAINT,), (TOLERATION,)
ZONE = "topology.kubernetes.io/zone"
A100_NODE = GPUNode("n", clusters.A100, 8, 80, cpu="96", memory="768Gi", taints=TAINTS)
A100 = NodePool("a100", A100_NODE, 8 * GPU_DOLLARS, max_size=4)
L4 = NodePool("l4", GPUNode("n", "NVIDIA-L4", 1, 24, cpu="16", memory="64Gi", taints=TAINTS), 1.15)
T4 = NodePool("t4", GPUNode("n", "Tesla-T4", 4, 15, cpu="8", memory="30Gi", taints=TAINTS), 1.78)
CPU = NodePool("cpu", GPUNode("n", cpu="16", memory="64Gi"), 0.77, BootTime(image_s=30), min_size=1)
POOLS = (CPU, L4, T4, A100)
BERT = GPURequest("bert-classifier", 1, cpu=4, memory="16Gi", tolerations=TOLERATES)
STRANGER = GPURequest("batch-job", 1, cpu=4, memory="16Gi")


# ------------------------------------------------------------------------------------------------------- a node comes


def one_pass(pods: Iterable[GPURequest], expander: str = "least-waste", max_nodes: int = 0) -> ScaleUp:
    """What cluster-autoscaler does for pods that fit on no node; the cpu pool has its one node."""
    pools = [replace(pool, max_size=max_nodes or pool.max_size) for pool in POOLS]
    sizes = [PoolSize(pool, pool.min_size) for pool in pools]
    pending = [pod for request in pods for pod in request.pods()]
    return scale_up(pending, sizes, [CPU.template], AutoscalerFlags(expander=expander))


def events_of(pod: GPURequest) -> list[Event]:
    """What is said of a pod for which the one node of the cpu pool has no room."""
    cluster = clusters.scheduled([pod], [CPU.node("cpu-0")])
    return [*cluster.events, *one_pass([pod]).events(0)]


SHORT_S = 240.0


@lru_cache
def one_pod(gpu_label: bool = True) -> FleetSimulation:
    """The classifier's pod arrives when there is no node, and runs for four minutes; L4 nodes alone."""
    pool = replace(L4, gpu_label=gpu_label)
    return simulate([PodArrival(0, BERT, SHORT_S)], [pool], until_s=3600)


# ------------------------------------------------------------------------------------------------------ a node leaves


def pass_after_ten_minutes(cluster: GPUScheduler, traits: Mapping[str, PodTraits] | None = None) -> AutoscalerPass:
    """The pass that may remove A100 nodes, when nothing has changed since they were first found unneeded."""
    machines = {name: Machine(name, A100.name, 0) for name in cluster.nodes}
    view = ClusterView({A100.name: A100}, machines, cluster.nodes, traits=traits or {})
    first = reconcile(view, AutoscalerMemory(), clusters.HOUR_S)
    return reconcile(view, first.memory, clusters.HOUR_S + 610)


def a100_nodes(count: int) -> list[GPUNode]:
    """The last but one is in zone b, the others in zone a."""
    return [
        replace(A100.node(f"node-{i}"), labels={**A100.template.labels, ZONE: "b" if i == count - 1 else "a"})
        for i in range(1, count + 1)
    ]


def training(name: str, gpus: int, zone: str = "") -> GPURequest:
    return GPURequest(name, gpus, tolerations=TOLERATES, node_selector={ZONE: zone} if zone else {})


SEVEN_PODS = (
    (training("train-large", 5), OF_A_JOB),
    (training("notebook-ada", 1), PodTraits(controller="")),
    (training("train-pinned", 2), PodTraits(safe_to_evict="false")),
    (training("chat", 2), PodTraits("ReplicaSet", local_volumes=("cache",))),
    (training("bert", 2), PodTraits("ReplicaSet", disruptions_allowed=0)),
    (training("eval", 2, zone="b"), OF_A_JOB),
    (training("train-small", 4), OF_A_JOB),
)
"""Pods with a node each, and what the autoscaler reads of them."""


def notebook_pod(**annotations: str) -> Manifest:
    """A notebook that somebody has started by hand: no controller, and a scratch volume on the node's disk."""
    pod = GPURequest("notebook-ada", 1, cpu=4, memory="16Gi", tolerations=TOLERATES).manifest(
        clusters.IMAGE, ("jupyter", "lab")
    )
    (container,) = pod["spec"]["containers"]
    container["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    pod["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    if annotations:
        pod["metadata"]["annotations"] = {f"cluster-autoscaler.kubernetes.io/{k}": v for k, v in annotations.items()}
    return pod


def seven_nodes() -> AutoscalerPass:
    """Which of the seven nodes go, and why the others stay."""
    cluster = GPUScheduler(a100_nodes(len(SEVEN_PODS)))
    for (pod, _), node in zip(SEVEN_PODS, list(cluster.nodes), strict=True):
        cluster.add_bound_pod(pod, node)
    return pass_after_ten_minutes(cluster, {pod.name: traits for pod, traits in SEVEN_PODS})


def twenty_jobs(profile: Profile) -> GPUScheduler:
    """Four nodes of 8 GPUs that run 20 jobs of one GPU each, placed under a profile."""
    jobs = [replace(clusters.job(f"job-{i}", 1), tolerations=TOLERATES) for i in range(20)]
    return clusters.scheduled(jobs, a100_nodes(4), profile)


# -------------------------------------------------------------------------------------------------------------- a day

GPUS = ((1, 2, 4, 8), (50, 20, 15, 15))
"""The sizes of jobs, and how many of a hundred have each."""
MOST_NODES, JOBS = 40, 280
ONLY_EMPTY = AutoscalerFlags(utilization_threshold=0, gpu_utilization_threshold=0)
WAYS = ("fixed fleet", "empty nodes go", "consolidation")
PROFILES = {"spreading": DEFAULT_PROFILE, "packing": packing()}


def pools_of(nodes: int) -> list[NodePool]:
    """Seven of ten nodes have 8 A100, the others one L4."""
    a100 = GPUNode("n", "A100", 8, 80, taints=TAINTS)
    l4 = GPUNode("n", "L4", 1, 24, cpu="8", memory="32Gi", taints=TAINTS)
    shares = (("a100", a100, 8 * GPU_DOLLARS, 0.7), ("l4", l4, 0.8, 0.3))
    return [NodePool(name, shape, price, max_size=round(share * nodes)) for name, shape, price, share in shares]


def arrivals_of_a_day(pods: int) -> list[PodArrival]:
    """Three hours in the mean, at times that follow a sine over the day, from a seed that is their number."""
    chance, arrivals = random.Random(pods), list[PodArrival]()
    while len(arrivals) < pods:
        at_s = DAY_S * chance.random()
        if chance.random() < 0.55 + 0.45 * math.sin(2 * math.pi * (at_s / DAY_S - 0.3)):
            (gpus,) = chance.choices(*GPUS)
            name = f"p{len(arrivals)}"
            request = GPURequest(name, gpus, cpu=str(2 * gpus), memory=f"{8 * gpus}Gi", tolerations=TOLERATES)
            arrivals.append(PodArrival(round(at_s), request, round(chance.expovariate(1 / 10_800))))
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


@lru_cache
def day(way: str, profile: str, unneeded_min: int = 10) -> FleetSimulation:
    """The day's jobs on a fixed fleet for the peak, with nodes that go when they are empty, or with consolidation."""
    pools = pools_of(MOST_NODES)
    if way == "fixed fleet":
        pools = [replace(pool, min_size=pool.max_size) for pool in pools]
    flags = replace(ONLY_EMPTY if way == "empty nodes go" else AutoscalerFlags(), unneeded_s=60.0 * unneeded_min)
    return simulate(arrivals_of_a_day(JOBS), pools, flags, scheduler=BatchScheduler(profile=PROFILES[profile]))


@lru_cache
def demand() -> list[tuple[float, float]]:
    """Hours, and the GPUs of all jobs that would run if each started when it arrives."""
    changes = [(job.at_s, job.request.gpu_count) for job in arrivals_of_a_day(JOBS)]
    changes += [(job.at_s + job.runs_s, -job.request.gpu_count) for job in arrivals_of_a_day(JOBS)]
    gpus, points = 0, [(0.0, 0.0)]
    for at_s, change in sorted(changes):
        gpus += change
        if at_s <= DAY_S:
            points.append((at_s / 3600, float(gpus)))
    return points
