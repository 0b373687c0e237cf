"""The computations of notebook 04's cards: GPU scheduling."""

from __future__ import annotations

import math
from collections import Counter

from mlinfra.course import measured, node_pools, predicted, racks, shared_gpu
from mlinfra.gpu import GPUNode, GPURequest, GPUScheduler, mig, profile, sharing
from mlinfra.gpu.nodes.drain import PodTraits
from mlinfra.interview.computations.computed import Numbers


def pod_gets_gpu() -> Numbers:
    """Nodes of three kinds where a pod may run that asks for one nvidia.com/gpu and no type."""
    memory_gib = {"Tesla-T4": 15, "NVIDIA-A100-SXM4-40GB": 40, "NVIDIA-A100-SXM4-80GB": 80}
    scheduler = GPUScheduler(GPUNode(product.lower(), product, 1, gib) for product, gib in memory_gib.items())
    by_count = len(scheduler.explain(GPURequest("any", 1)).points)
    with_40_gib = len(scheduler.explain(GPURequest("large", 1, gpu_memory_gib=40)).points)
    return Numbers(by_count, {"by_count": by_count, "with_40_gib": with_40_gib})


def fragmentation() -> Numbers:
    """Free GPUs of the emptiest of four nodes after 24 jobs of one GPU were packed."""

    def emptiest_after(scoring: profile.Profile) -> int:
        scheduler = GPUScheduler((GPUNode(f"node-{i}", "A100", 8, 80) for i in range(4)), scoring)
        for i in range(24):
            scheduler.submit(GPURequest(f"job-{i}", 1, cpu=8, memory="64Gi"))
        scheduler.schedule()
        return max(node.free_gpus for node in scheduler.nodes.values())

    after_packing = emptiest_after(profile.packing())
    after_spreading = emptiest_after(profile.DEFAULT_PROFILE)
    return Numbers(after_packing, {"after_packing": after_packing, "after_spreading": after_spreading})


def gang_deadlock() -> Numbers:
    """GPUs that each of two jobs of 8 workers holds on 12 GPUs, when pods are placed one by one."""

    def cluster() -> GPUScheduler:
        return GPUScheduler(GPUNode(f"node-{i}", "A100", 4, 80) for i in range(3))

    def newly_bound(scheduler: GPUScheduler) -> dict[str, int]:
        return dict(Counter(pod.split("-")[0] for pod, _ in scheduler.schedule()))

    one_by_one, gangs = cluster(), cluster()
    for worker in range(8):
        for job in ("alpha", "beta"):
            one_by_one.submit(GPURequest(f"{job}-{worker}", 1))
    for job in ("alpha", "beta"):
        gangs.submit(GPURequest(job, 1, gang_size=8))
    each_holds, first_to_run = newly_bound(one_by_one), newly_bound(gangs)
    gangs.release("alpha")
    named = {"each_holds": each_holds, "first_to_run": first_to_run, "then_runs": newly_bound(gangs)}
    return Numbers(each_holds["alpha"], named)


def fair_share() -> Numbers:
    """Tasks of team A under dominant resource fairness: the next task goes to the smaller dominant share."""
    capacity = {"gpu": 64, "cpu": 1024}
    task = {"A": {"gpu": 1, "cpu": 32}, "B": {"gpu": 4, "cpu": 16}}
    tasks = {"A": 0, "B": 0}

    def dominant_share(team: str) -> float:
        return max(tasks[team] * task[team][resource] / capacity[resource] for resource in capacity)

    def free(resource: str) -> int:
        return capacity[resource] - sum(tasks[team] * task[team][resource] for team in tasks)

    while fitting := [team for team in tasks if all(task[team][resource] <= free(resource) for resource in capacity)]:
        tasks[min(fitting, key=dominant_share)] += 1
    named = {
        "tasks": tasks,
        "share_a": dominant_share("A"),
        "share_b": dominant_share("B"),
        "free_cpus": free("cpu"),
    }
    return Numbers(tasks["A"], named)


def slow_network() -> Numbers:
    """Seconds of one ring all-reduce of 140 GB over NICs of 50 GB/s."""
    ranks, gradients_gb, compute_s = 8, 140, 1.5
    sent_gb = 2 * (ranks - 1) / ranks * gradients_gb
    inside_s, across_s = sent_gb / 450, sent_gb / 50
    named = {
        "sent_gb": sent_gb,
        "inside_s": inside_s,
        "across_s": across_s,
        "compute_s": compute_s,
        "slowdown": (compute_s + across_s) / (compute_s + inside_s),
    }
    return Numbers(round(across_s, 1), named)


def sharing_a_gpu() -> Numbers:
    """Pods that a node of 8 GPUs takes with 10 time-slicing replicas of each."""
    node_takes = sum(sharing.Sharing("timeSlicing", 10).devices(8).values())
    isolating = sharing.which(lambda technique: technique.faults_stay_inside)
    context_mib = measured.cold_start()[0]["context_mib"]
    named = {
        "node_takes": node_takes,
        "promised_gib": sharing.Sharing("mps", 10).memory_gib(80),
        "smallest_gib": mig.profiles("A100-80GB")["1g"].memory_gib,
        "survives_as": isolating[0].upper(),
        "context_mib": context_mib,
        "contexts_gib": 10 * context_mib / 1024,
        "eight_in_turns": shared_gpu.throughput("time-slicing", 8, 1),
        "eight_under_mps": shared_gpu.throughput("mps", 8, 1),
        "beside_in_turns": predicted.beside_a_neighbour("time-slicing", 256).measured,
        "beside_under_mps": predicted.beside_a_neighbour("mps", 256).measured,
    }
    return Numbers(node_takes, named)


def pack_mig() -> Numbers:
    """Ways to cut an A100 so that no further instance fits."""
    puzzle = ["1g", "1g", "2g", "3g"]
    ways = len(mig.maximal_layouts("A100-40GB"))
    largest_first = sorted(puzzle, reverse=True)
    named = {
        "as_asked": [instance.key for instance in mig.in_order("A100-40GB", puzzle)],
        "from_large_to_small": [instance.key for instance in mig.in_order("A100-40GB", largest_first)],
        "best_of_all": len(mig.best_packing("A100-40GB", puzzle)),
        "ways": ways,
        "h200_counts": [mig.profiles("H200-141GB")[key].max_count for key in ("1g", "1g.2x", "2g", "3g")],
    }
    return Numbers(ways, named)


def goodput() -> Numbers:
    """Minutes between checkpoints of 3 minutes that lose the least on 1,024 GPUs (Young)."""
    between_failures_h = 50_000 / 1024
    every_min = math.sqrt(2 * 3 * between_failures_h * 60)
    state_gb = 70 * 16
    named = {
        "between_failures_h": between_failures_h,
        "every_min": every_min,
        "overhead": 3 / every_min + every_min / 2 / (between_failures_h * 60),
        "state_gb": state_gb,
        "shard_gb": state_gb / 1024,
        "write_s": 70 * 14 / 20,
    }
    return Numbers(round(every_min), named)


def busy_but_slow() -> Numbers:
    """Milliseconds of one decode step, which reads a GPU's part of the weights once."""
    peak_tflops, bandwidth_tb_s = 989, 3.35
    ridge = peak_tflops / bandwidth_tb_s
    weights_gb = 70 * 2 / 8
    at_least_ms = weights_gb / (bandwidth_tb_s * 1000) * 1000
    named = {"ridge": ridge, "share_of_peak": 1 / ridge, "weights_gb": weights_gb, "at_least_ms": at_least_ms}
    return Numbers(round(at_least_ms, 1), named)


def node_autoscaler() -> Numbers:
    """Nodes of four that cluster-autoscaler keeps for 20 pods of one GPU, five on each node."""

    def nodes_left(scoring: profile.Profile) -> int:
        cluster = node_pools.twenty_jobs(scoring)
        return len(cluster.nodes) - len(node_pools.pass_after_ten_minutes(cluster).removals)

    left = nodes_left(profile.DEFAULT_PROFILE)
    named = {"left": left, "packed": nodes_left(profile.packing()), "share": 5 / 8, "enough": math.ceil(20 / 8)}
    return Numbers(left, named)


def stuck_node() -> Numbers:
    """Nodes of six that can go: all pods fit elsewhere and none objects."""
    cases = {
        "a": (4, PodTraits()),
        "b": (1, PodTraits(controller="")),
        "c": (1, PodTraits("ReplicaSet", disruptions_allowed=0)),
        "d": (0, PodTraits("DaemonSet")),
        "e": (1, PodTraits("ReplicaSet", local_volumes=("cache",))),
        "f": (5, PodTraits()),
    }
    cluster = GPUScheduler(node_pools.A100.node(name) for name in cases)
    pods = {name: node_pools.training(f"pod-{name}", gpus) for name, (gpus, _) in cases.items()}
    for name, pod in pods.items():
        cluster.add_bound_pod(pod, name)
    traits = {f"pod-{name}": each for name, (_, each) in cases.items()}
    staying, gone = node_pools.pass_after_ten_minutes(cluster, traits).staying, list[str]()
    while removals := node_pools.pass_after_ten_minutes(cluster, traits).removals:
        for removal in removals:
            for pod_name, node in removal.moved.items():
                cluster.release(pod_name)
                cluster.add_bound_pod(pods[removal.node], node)
            cluster.remove_node(removal.node)
            gone.append(removal.node.upper())
    reasons = ", ".join(f"{node.upper()} {why.partition(':')[0]}" for node, why in sorted(staying.items()))
    return Numbers(len(gone), {"gone": " and ".join(sorted(gone)), "reasons": reasons})


def node_boot() -> Numbers:
    """Seconds from pending to the first answer of an 8B model on a new node."""
    decision_s, vm_s, driver_s, load_s = 5, 90, 120, 40
    image_s, weights_s = 15 / 0.25, 16 / 1.0
    node_s, warm_s = decision_s + vm_s + driver_s, weights_s + load_s
    named = {
        "total_s": node_s + image_s + warm_s,
        "node_s": node_s,
        "weights_s": weights_s,
        "baked_s": decision_s + vm_s + warm_s,
        "headroom_s": image_s + warm_s,
        "warm_s": warm_s,
    }
    return Numbers(named["total_s"], named)


def spot_serving() -> Numbers:
    """Spot replicas of which at least 12 serve 99.9 % of the time, if each is away 6 minutes in 20 hours."""
    needed, away = 12, 0.1 / 20.1

    def short(replicas: int) -> float:
        """The share of time in which fewer than the needed ones serve."""
        serving = range(needed)
        return sum(math.comb(replicas, n) * (1 - away) ** n * away ** (replicas - n) for n in serving)

    replicas = next(n for n in range(needed, 2 * needed) if short(n) <= 0.001)
    named = {
        "away": away,
        "without": short(needed),
        "replicas": replicas,
        "short": short(replicas),
        "spot": replicas * 1,
        "on_demand": needed * 3,
    }
    return Numbers(replicas, named)


def racks_for_training() -> Numbers:
    """Seconds of one ring all-reduce of 14 GB over 64 GPUs, across racks."""
    inside_s, across_s = (racks.all_reduce_s(14, hosts=8, racks=count) for count in (1, 2))
    named = {"inside_s": inside_s, "across_s": across_s, "slowdown": (1.0 + across_s) / (1.0 + inside_s)}
    return Numbers(round(across_s, 1), named)
