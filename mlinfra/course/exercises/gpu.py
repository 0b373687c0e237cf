"""The exercises of notebook 04."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mlinfra.course import clusters, node_pools
from mlinfra.gpu import GPUNode, GPURequest, GPUScheduler, PriorityClass, Taint, Toleration, preemption
from mlinfra.gpu.nodes import GPU
from mlinfra.gpu.nodes.drain import PodTraits, verdict
from mlinfra.gpu.nodes.estimate import estimate
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.profile import BEST_FIT, Profile
from mlinfra.gpu.quota import ClusterQueue, FlavorUsage
from mlinfra.gpu.sharing import Sharing
from mlinfra.manifest import Manifest
from mlinfra.study import Exercise

# ------------------------------------------------------------------------------------------------- a packing scheduler


def packing_config(kind: str, *resources: str) -> Manifest:
    """A KubeSchedulerConfiguration with that scoring strategy over these resources."""
    strategy = {"type": kind, "resources": [{"name": name, "weight": 1} for name in resources]}
    fit = {"name": "NodeResourcesFit", "args": {"scoringStrategy": strategy}}
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": [{"schedulerName": "train-packing", "pluginConfig": [fit]}],
    }


def largest_free(configuration: Manifest) -> int:
    """Free GPUs of the emptiest node after 18 pods that request one GPU and nothing else; ties are drawn."""
    pods = [GPURequest(f"job-{i}", 1) for i in range(18)]
    cluster = clusters.scheduled(pods, clusters.EQUAL_NODES, Profile.of(configuration), random.Random(1))
    return max(info.free_gpus for info in cluster.nodes.values())


packing = Exercise(
    "packing",
    right=packing_config("MostAllocated", GPU),
    mistakes=[
        (
            packing_config("LeastAllocated", GPU),
            "It sees the GPUs, and prefers the node with most of them free: spread.",
        ),
        (
            packing_config("MostAllocated", "cpu", "memory"),
            "These pods request neither CPU nor memory, so all nodes tie and chance decides. Name the GPUs.",
        ),
    ],
    praise="Two nodes are full, and the third one has 6 free GPUs.",
    effect=largest_free,
)

# ----------------------------------------------------------------------------------------------------- a pending pod

WANTS = GPURequest("wants-h100", 1, required_gpu_type=clusters.H100, cpu=100, memory="64Gi")


def where_it_runs(answer: GPURequest | Manifest) -> str:
    """The node of the pod, or why it has none; also when it has given up what it needs."""
    pod = GPURequest.of(answer) if isinstance(answer, dict) else answer
    if not isinstance(pod, GPURequest):
        raise TypeError("the answer must be a GPURequest, or a pod's manifest as a dict")
    if pod.required_gpu_type != clusters.H100 or pod.gpu_count != 1:
        return "another GPU"
    if pod.requests.get("cpu", 0) < 100_000:
        return "fewer cores"
    cluster = clusters.scheduled([pod], clusters.MIXED_NODES)
    running = cluster.running.get(pod.name)
    return running.pods[0].node if running else f"pending, {len(pod.tolerations)} tolerations"


tolerant = Exercise(
    "tolerant",
    right=replace(WANTS, tolerations=node_pools.TOLERATES),
    mistakes=[
        (WANTS, "That is the old pod. Which node has an H100 and 192 cores, and what keeps the pod away?"),
        (replace(WANTS, cpu=90), "The pod needs its 100 cores."),
        (replace(WANTS, required_gpu_type=clusters.A100, cpu=90), "The pod needs an H100."),
        (
            replace(WANTS, tolerations=(Toleration("nvidia.com/gpu", "Equal", "true"),)),
            "The taint's value is `present`. `Equal` compares values; `Exists` accepts any.",
        ),
    ],
    praise="It runs on node-a.",
    effect=where_it_runs,
)


def refused_after_toleration() -> int:
    """Nodes with too few GPUs, once the pod tolerates the taint of one of four equal nodes."""
    taint = (Taint("nvidia.com/gpu"),)
    nodes = [GPUNode(f"n{i}", clusters.A100, 8, 80, taints=taint if i == 3 else ()) for i in range(4)]
    five = [GPURequest(f"five-{i}", 5, tolerations=node_pools.TOLERATES) for i in range(4)]
    refused = clusters.scheduled(five, nodes).explain(GPURequest("four", 4, tolerations=node_pools.TOLERATES)).refused
    return sum("Insufficient nvidia.com/gpu" in each.reasons for each in refused.values())


hidden_reason = Exercise(
    "hidden-reason",
    right=refused_after_toleration(),
    mistakes=[
        (3, "That is the old message. The tainted node has three free GPUs, too."),
        (0, "A toleration opens the node; it does not make GPUs."),
        (1, "Nothing changed on the other three."),
    ],
    praise="A message names the first obstacle of each node, not the last.",
)

# -------------------------------------------------------------------------------------------------- preemption, gangs


def evicted_for_four_gpus() -> str:
    """Whom a pod of 4 GPUs evicts from a node with a (4 GPUs), b (2) and c (2)."""
    pods = [
        GPURequest(name, gpus, priority_class=PriorityClass(f"p{value}", value))
        for name, gpus, value in (("a", 4, 2), ("b", 2, 1), ("c", 2, 0))
    ]
    cluster: GPUScheduler = clusters.scheduled(pods, [GPUNode("n", clusters.A100, 8, 80)], BEST_FIT)
    newcomer = GPURequest("new", 4, priority_class=PriorityClass("p5", 5))
    victims = preemption.select_victims(newcomer, cluster.nodes["n"])
    assert isinstance(victims, preemption.Victims)
    return "".join(sorted(pod.request.name for pod in victims.pods))


BACK_FIRST = "`a` is the most important pod, so it is put back first, and it fits."
victims_of = Exercise(
    "victims-of",
    right=evicted_for_four_gpus(),
    mistakes=[
        ("a", f"Evicting `a` alone would be enough. But {BACK_FIRST}"),
        ("ab", BACK_FIRST),
        ("ac", BACK_FIRST),
        ("b", "`b` frees 2 GPUs, and the pod needs 4."),
        ("c", "`c` frees 2 GPUs, and the pod needs 4."),
        ("abc", "That is the first step. Then the pods that still fit are put back."),
    ],
    praise="The most important pods are put back as long as there is room.",
)


def smallest_cluster_that_works() -> int:
    """GPUs with which one of two jobs of eight pods gets all of them, pod by pod."""
    sizes = range(1, 17)
    return next(gpus for gpus in sizes if 8 in clusters.pods_of(clusters.pod_by_pod(gpus)).values())


trap = Exercise(
    "trap",
    right=smallest_cluster_that_works(),
    mistakes=[
        (8, "Eight GPUs hold four pods of each job."),
        (9, "Nine GPUs hold five pods of alpha and four of beta."),
        (16, "With 16 GPUs both jobs run. Fewer are enough for one."),
        (14, "Seven pods of each: each job lacks one."),
        (13, "Seven pods of alpha, six of beta."),
    ],
    praise="One GPU less than both jobs together need.",
)

# ----------------------------------------------------------------------------------------------------------- quota


def what_the_teams_can_get(answer: ClusterQueue | Manifest) -> tuple[int, int]:
    """GPUs that research can get while serving is idle, and that serving can get while research is."""
    queue = ClusterQueue.of(answer) if isinstance(answer, dict) else answer
    if not isinstance(queue, ClusterQueue):
        raise TypeError("the answer must be a ClusterQueue, or its manifest as a dict")
    usage = FlavorUsage({"research": clusters.team("research", 16), queue.name: queue}, {"research": Counter()})
    return usage.available("research", GPU), usage.available(queue.name, GPU)


def serving(borrowing_limit: int | None = None, lending_limit: int | None = None) -> ClusterQueue:
    return clusters.team("serving", 8, borrowing_limit, lending_limit)


two_limits = Exercise(
    "two-limits",
    right=serving(borrowing_limit=4, lending_limit=2),
    mistakes=[
        (serving(), "Without limits each team can get all 24 GPUs."),
        (serving(borrowing_limit=4), "serving can now get 12. But it still lends all of its 8."),
        (serving(lending_limit=2), "It lends 2 now. But it can still borrow all 16."),
        (serving(borrowing_limit=2, lending_limit=4), "The two limits are exchanged: borrow 4, lend 2."),
        (serving(borrowing_limit=12, lending_limit=2), "The borrowing limit counts on top of the 8 that serving owns."),
        (serving(borrowing_limit=4, lending_limit=6), "The lending limit is what it lends, not what it keeps."),
    ],
    praise="serving always has 6 GPUs at once, and takes back the other 2.",
    effect=what_the_teams_can_get,
)

# ----------------------------------------------------------------------------------------------------------- nodes


def what_becomes_of_its_node(pod: Manifest) -> tuple[str, ...]:
    """Whether the pod may be moved; if not, why, and what was tried. A pod that has given up something is another."""
    traits, request = PodTraits.of(pod), GPURequest.of(pod)
    if request.gpu_count != 1 or not pod["spec"].get("volumes"):
        return ("another pod",)
    reason = verdict(traits)
    return ("move",) if reason == "move" else (reason, traits.safe_to_evict, *traits.safe_local_volumes)


may_go = Exercise(
    "may-go",
    right=node_pools.notebook_pod(**{"safe-to-evict": "true"}),
    mistakes=[
        (node_pools.notebook_pod(), "That is the old pod: it has no controller, so nothing would start it again."),
        (
            node_pools.notebook_pod(**{"safe-to-evict-local-volumes": "scratch"}),
            "The volume no longer blocks. But the pod still has no controller: NotReplicated.",
        ),
        (
            node_pools.notebook_pod(**{"safe-to-evict": "false"}),
            "That word pins a pod to its node. And the pod has no controller all the same.",
        ),
        (
            {**node_pools.notebook_pod(), "spec": node_pools.BERT.manifest()["spec"]},
            "The pod keeps its GPU and its scratch volume.",
        ),
    ],
    praise="The annotation says that somebody accepts the loss, and it is looked at before controller and volumes.",
    effect=what_becomes_of_its_node,
)


def batch_pool(**changes: object) -> Manifest:
    """A pool for jobs of one GPU, 8 cores and 64 GiB, eight a node."""
    shape = {"gpuType": clusters.A100, "gpus": 8, "gpuMemoryGiB": 80, "cpu": 64, "memory": "512Gi"}
    spec = {"shape": shape, "minSize": 0, "maxSize": 3} | changes
    return {"apiVersion": "mlinfra.example/v1", "kind": "NodePool", "metadata": {"name": "batch"}, "spec": spec}


def what_the_pool_gives(answer: Manifest) -> tuple[int, int, int]:
    """How many of eight jobs a node takes, and the fewest and the most nodes."""
    pool = NodePool.of(answer)
    jobs = tuple(clusters.job(f"job-{i}", 1) for i in range(8))
    return len(estimate([jobs], pool.template, 1).pods), pool.min_size, pool.max_size


GPU_TAINT = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
SMALL_SHAPE = {"gpuType": clusters.A100, "gpus": 8, "gpuMemoryGiB": 80, "cpu": 32, "memory": "512Gi"}
pool_that_fits = Exercise(
    "pool-that-fits",
    right=batch_pool(),
    mistakes=[
        (batch_pool(taints=GPU_TAINT), "The jobs do not tolerate the taint: NotTriggerScaleUp."),
        (batch_pool(shape=SMALL_SHAPE), "Each job takes 8 cores, so 32 cores hold four jobs, and four GPUs stay free."),
        (batch_pool(minSize=1), "One node is paid for all night: `minSize` is not 0."),
        (batch_pool(maxSize=10), "Three nodes at most: `maxSize`."),
    ],
    praise="Eight jobs a node, nothing at night, three nodes at the peak.",
    effect=what_the_pool_gives,
)

# --------------------------------------------------------------------------------------------------- fragmentation


def fragmentation_milli(free: Sequence[int], typical: Sequence[int]) -> int:
    """F of a node with these free shares, when the typical pods want so much of one GPU, each equally often.

    One node by hand; `mlinfra.gpu.fragmentation` computes the same for whole clusters.
    """
    lost = [sum(share for share in free if share < wanted) for wanted in typical]
    return sum(lost) // len(typical)


hurts = Exercise(
    "hurts",
    right=fragmentation_milli((600, 600), (1000, 500)) - fragmentation_milli((1000, 600), (1000, 500)),
    mistakes=[
        (600, "That is F afterwards. It was 300 before."),
        (-100, "That is the other GPU: 1000 and 200 would be left."),
        (0, "F does change: no GPU is whole any more."),
    ],
    praise="FGD takes the other GPU: there F falls by 100.",
)


# ---------------------------------------------------------------------------------------------------- sharing one card


def technique_and_clients(configuration: Manifest) -> tuple[str, int]:
    """What a device plugin's configuration says of a GPU."""
    shared = Sharing.of(configuration)
    return shared.technique, shared.replicas


eight_services = Exercise(
    "eight-services",
    right=Sharing("mps", 8).manifest(),
    effect=technique_and_clients,
    mistakes=[
        (Sharing("timeSlicing", 8).manifest(), "Eight take turns, and get together what two get: see the table."),
        (
            Sharing("mps", 2).manifest(),
            "The node would advertise two clients for each GPU, and eight services want one.",
        ),
        (Sharing("timeSlicing", 2).manifest(), "Two clients a GPU, in turns. Eight services want their place on one."),
    ],
    praise="Small requests of one owner, side by side. A fault of one would still end all eight.",
)
