"""The clusters, jobs and queues of notebook 04, as they are before each lesson starts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from mlinfra.gpu import GPUNode, GPURequest, GPUScheduler, PriorityClass, Taint, gangs
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.kueue import Kueue
from mlinfra.gpu.nodes import GPU
from mlinfra.gpu.preemption import DisruptionBudget
from mlinfra.gpu.profile import BEST_FIT, DEFAULT_PROFILE, Profile
from mlinfra.gpu.quota import ClusterQueue, Quota, Workload
from mlinfra.manifest import Manifest, to_yaml

A100, V100, H100 = "NVIDIA-A100-SXM4-80GB", "Tesla-V100-SXM2-32GB", "NVIDIA-H100-80GB-HBM3"
IMAGE, TRAIN, SERVE = "nvcr.io/nvidia/pytorch:25.01-py3", ("python", "-m", "train"), ("python", "-m", "serve")
TRAINING = PriorityClass("training", 10, description="runs for hours, saves checkpoints")
INFERENCE, BATCH, NOTEBOOK = PriorityClass("inference", 5), PriorityClass("batch", 1), PriorityClass("notebook", 5)
URGENT = PriorityClass("urgent-serving", 1000, description="answers users")
HOUR_S = 3600.0
GIB = 2**30


def node(name: str, gpu_type: str = A100, gpus: int = 8, gib: int = 80) -> GPUNode:
    """A node with 12 cores and 96 GiB for each of its GPUs."""
    return GPUNode(name, gpu_type, gpus, gib, cpu=12 * gpus, memory=f"{96 * gpus}Gi")


def job(name: str, gpus: int, gib: int = 0, prefers: str = "", priority: PriorityClass | None = None) -> GPURequest:
    """A pod that requests 8 cores and 64 GiB with each of its GPUs."""
    return GPURequest(name, gpus, gib, prefers, cpu=8 * gpus, memory=f"{64 * gpus}Gi", priority_class=priority)


THREE_NODES = (node("node-1"), node("node-2"), node("node-3", V100, 4, 32))
THREE_JOBS = (
    job("llm-training", 4, 80, A100, TRAINING),
    job("bert-classifier", 1, 16, priority=INFERENCE),
    job("batch-job", 2, 32, V100, BATCH),
)
EQUAL_NODES = (node("node-1"), node("node-2"), node("node-3"))
SMALL_JOBS = tuple(job(f"job-{i}", 1) for i in range(1, 19))
MIXED_NODES = (
    GPUNode("node-a", H100, 8, 80, cpu=192, taints=(Taint("nvidia.com/gpu", "present"),)),
    GPUNode("node-b", A100, 8, 80),
    GPUNode("node-c", H100, 8, 80),
    GPUNode("node-d", cpu=16),
)


def scheduled(
    jobs: Iterable[GPURequest],
    nodes: Iterable[GPUNode],
    profile: Profile = DEFAULT_PROFILE,
    ties: random.Random | None = None,
) -> GPUScheduler:
    """A cluster on which these jobs were submitted together and tried once."""
    cluster = GPUScheduler(nodes, profile, ties)
    for each in jobs:
        cluster.submit(each)
    cluster.schedule()
    return cluster


def full_cluster(budgets: Sequence[DisruptionBudget] = ()) -> GPUScheduler:
    """24 GPUs in use: `big` and `old` have trained for an hour, `young` and eight notebooks came a minute ago."""
    cluster = GPUScheduler(EQUAL_NODES, BEST_FIT, budgets=budgets)
    first = [GPURequest("big", 8, priority_class=TRAINING), GPURequest("old", 4, priority_class=TRAINING)]
    small = [GPURequest(f"notebook-{i}", 1, priority_class=NOTEBOOK, labels={"app": "notebook"}) for i in range(1, 9)]
    for now_s, jobs in ((0.0, first), (HOUR_S - 60, [GPURequest("young", 4, priority_class=TRAINING), *small])):
        for each in jobs:
            cluster.submit(each)
        cluster.schedule(now_s)
    return cluster


def four_gpu_nodes(gpus: int) -> list[GPUNode]:
    """So many GPUs in nodes of four; the last node has the rest."""
    return [GPUNode(f"node-{i // 4 + 1}", A100, min(4, gpus - i), 80) for i in range(0, gpus, 4)]


def pod_by_pod(gpus: int) -> GPUScheduler:
    """Two jobs of eight pods, whose pods are queued in turn: alpha, beta, alpha, beta."""
    pods = [GPURequest(f"{name}-{i}", 1) for i in range(8) for name in ("alpha", "beta")]
    return scheduled(pods, four_gpu_nodes(gpus), BEST_FIT)


def in_gangs(gpus: int) -> GPUScheduler:
    """The same two jobs, each of them a gang."""
    return scheduled([GPURequest(name, 1, gang_size=8) for name in ("alpha", "beta")], four_gpu_nodes(gpus), BEST_FIT)


NIGHTLY = PriorityClass("nightly", 1)


def a_gang(name: str, size: int, priority: PriorityClass, disruption_mode: str = gangs.ALL) -> gangs.PodGroup:
    """So many pods of one GPU each, which are needed all."""
    return gangs.PodGroup(name, GPURequest(name, 1, gang_size=size).pods(), size, priority, disruption_mode)


def gang_against_gang(disruption_mode: str) -> gangs.GroupPreemption | str:
    """On 8 GPUs six pods of `nightly` run, and a gang of four with a higher priority arrives."""
    nightly = a_gang("nightly", 6, NIGHTLY, disruption_mode)
    running = tuple(BoundPod(pod, "node-1") for pod in nightly.pods)
    return gangs.preempt(a_gang("alpha", 4, TRAINING), [NodeInfo(node("node-1"), running)], [nightly])


def gang_arrives(gang_preemption: bool) -> GPUScheduler:
    """The same in the scheduler's queue."""
    cluster = GPUScheduler([node("node-1")], gang_preemption=gang_preemption)
    for name, size, priority in (("nightly", 6, NIGHTLY), ("alpha", 4, TRAINING)):
        cluster.submit(GPURequest(name, 1, gang_size=size, priority_class=priority))
        cluster.schedule()
    return cluster


def pods_of(cluster: GPUScheduler) -> Counter[str]:
    """Running pods of each job."""
    return Counter(name.split("-")[0] for info in cluster.nodes.values() for name in info.pods)


def team(name: str, gpus: int, borrowing_limit: int | None = None, lending_limit: int | None = None) -> ClusterQueue:
    """A queue of the cohort `ml` that owns so many GPUs, with 12 cores and 96 GiB for each."""
    quotas = {
        "cpu": Quota(12 * gpus),
        "memory": Quota(96 * GIB * gpus),
        GPU: Quota(gpus, borrowing_limit, lending_limit),
    }
    return ClusterQueue(name, "ml", quotas, "a100", reclaim_within_cohort="Any")


def two_teams() -> Kueue:
    """research owns 16 GPUs; serving owns 8, lends at most 6 of them, and borrows nothing."""
    return Kueue([team("research", 16), team("serving", 8, borrowing_limit=0, lending_limit=6)])


def arrive(teams: Kueue, queue: str, gpus: dict[str, int], now_s: float = 0.0) -> None:
    """Workloads come to a queue at once, by name with the GPUs that all of their pods request together."""
    for name, count in gpus.items():
        teams.submit(Workload(name, queue, {GPU: count}))
    teams.schedule(now_s)


def config_map(name: str, scheduler: Manifest) -> Manifest:
    """A scheduler's configuration as the file of a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {"scheduler-config.yaml": to_yaml(scheduler)},
    }
