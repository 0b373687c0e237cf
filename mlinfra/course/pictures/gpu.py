"""The pictures of notebook 04: pure functions of what the simulator decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from mlinfra import study
from mlinfra.course import clusters
from mlinfra.gpu import GPUScheduler, mig
from mlinfra.gpu.cluster import NodeInfo

if TYPE_CHECKING:
    from mlinfra.gpu.placement import PlacementRun

# ------------------------------------------------------------------------------------------------------------ diagrams


def way_to_a_gpu() -> study.Figure:
    """From the driver on a node to the device in a container, in numbered steps."""
    plugin, kubelet, api, scheduler = "device plugin", "kubelet", "API server", "kube-scheduler"
    return study.diagram(
        "How a pod gets a GPU",
        "1 the device plugin registers with the kubelet over a socket; 2 it lists its healthy devices (ListAndWatch); "
        "3 the kubelet reports nvidia.com/gpu: 8 in the node's status; 4 a user creates a pod; 5 kube-scheduler binds "
        "it to a node; 6 the kubelet sees the pod; 7 it asks the plugin for devices (Allocate); 8 the runtime starts "
        "the container with them.",
        {
            "you": ["kubectl"],
            "control plane": [api, scheduler],
            "node": [kubelet, "container runtime"],
            "its pods": [plugin, "container"],
        },
        [
            study.Arrow("kubectl", api, "4 create pod"),
            study.Arrow(scheduler, api, "5 bind"),
            study.Arrow(kubelet, api, "3 status, 6 watch", dashed=True),
            study.Arrow(plugin, kubelet, "1 register, 2 devices", dashed=True),
            study.Arrow(kubelet, plugin, "7 Allocate"),
            study.Arrow(kubelet, "container runtime", "8 start"),
            study.Arrow("container runtime", "container"),
        ],
    )


def scheduling_cycle() -> study.Figure:
    """The extension points of kube-scheduler, from the queue to the binding."""
    steps = ["PreFilter", "Filter", "Score", "Reserve", "Permit"]
    return study.diagram(
        "kube-scheduler's cycle for one pod",
        "A pod leaves the queue by priority. The scheduling cycle runs PreFilter, Filter, Score, Reserve and Permit "
        "for one pod at a time; the binding cycle, PreBind and Bind, runs beside it. If no node passes the filters, "
        "PostFilter tries preemption and the pod returns to the queue.",
        {
            "queue": ["queue"],
            "scheduling": steps,
            "no node fits": ["PostFilter"],
            "binding": ["PreBind", "Bind"],
        },
        [
            study.Arrow("queue", "PreFilter"),
            *(study.Arrow(one, other) for one, other in pairwise(steps)),
            study.Arrow("Filter", "PostFilter", "none"),
            study.Arrow("PostFilter", "queue", "again", dashed=True),
            study.Arrow("Permit", "PreBind"),
            study.Arrow("PreBind", "Bind"),
        ],
    )


# ----------------------------------------------------------------------------------------------------- GPUs of nodes


def stranded(cluster_by_name: Mapping[str, GPUScheduler], asked: int) -> study.Figure:
    """The GPUs of each node; free ones that a pod of `asked` GPUs cannot use are struck out."""
    rows: list[study.Boxes] = []
    usable = {}
    for name, cluster in cluster_by_name.items():
        usable[name] = sum(i.free_gpus for i in cluster.nodes.values() if i.free_gpus >= asked)
        rows += [study.Boxes(name), *(_free_or_not(info, asked) for info in cluster.nodes.values())]
    infos = [info for cluster in cluster_by_name.values() for info in cluster.nodes.values()]
    allocated = 1 - sum(info.free_gpus for info in infos) / sum(info.node.gpu_count for info in infos)
    usable_words = ", ".join(f"{gpus} when {name}" for name, gpus in usable.items())
    return study.grid(
        f"{allocated:.0%} of the GPUs are allocated; the next pod requests {asked}",
        f"Free GPUs that a pod of {asked} GPUs can use: {usable_words}.",
        *rows,
    )


def _free_or_not(info: NodeInfo, asked: int) -> study.Boxes:
    out_of_reach = info.free_gpus < asked
    cells = [study.Cell(_number(pod), fill=0) if pod else study.Cell(struck=out_of_reach) for pod in info.gpus()]
    note = ", stranded" if out_of_reach and info.free_gpus else ""
    return study.Boxes(info.node.name, cells, f"{info.free_gpus} free{note}")


def _number(pod: str) -> str:
    return pod.rpartition("-")[2]


def gangs(gpus: int) -> study.Figure:
    """Two jobs of eight pods on a cluster of that size, placed pod by pod and in gangs."""
    rows, sentences = [], []
    for name, cluster in (("pod by pod", clusters.pod_by_pod(gpus)), ("in gangs", clusters.in_gangs(gpus))):
        pods = clusters.pods_of(cluster)
        complete = sum(count == 8 for count in pods.values())
        sentences.append(
            f"{name}: {pods['alpha']} pods of alpha, {pods['beta']} of beta, {complete} of 2 jobs complete"
        )
        rows += [study.Boxes(f"{name}: {complete} of 2 jobs can work"), *map(_alpha_or_beta, cluster.nodes.values())]
    return study.grid(f"Two jobs of 8 pods on {gpus} GPUs (a alpha, b beta)", "; ".join(sentences) + ".", *rows)


def _alpha_or_beta(info: NodeInfo) -> study.Boxes:
    cells = [study.Cell(pod[0], fill="ab".index(pod[0])) if pod else study.Cell() for pod in info.gpus()]
    return study.Boxes(info.node.name, cells, f"{info.free_gpus} free")


# ----------------------------------------------------------------------------------------------------------------- MIG

COLOURS = {"1g": 0, "2g": 1, "3g": 2, "4g": 3, "7g": 4}


def memory_slices(layouts: Mapping[str, mig.Layout], gpu: str = "A100-40GB", requested: str = "") -> study.Figure:
    """One box an instance, as wide as its memory slices; the colour is the profile."""
    counts = ", ".join(f"{len(layout)} instances {name}" for name, layout in layouts.items())
    rows = {name: [_instance(gpu, each) for each in sorted(layout)] for name, layout in layouts.items()}
    title = f"The 8 memory slices of an {gpu.partition('-')[0]}"
    return study.timeline(title, f"{requested}{counts}.", rows, x_label="memory slices", end=8)


def _instance(gpu: str, instance: mig.Instance) -> study.Span:
    size = mig.profiles(gpu)[instance.key].memory_slices
    return study.Span(instance.start, instance.start + size, instance.key, COLOURS[instance.key])


def two_orders(ones: int, twos: int, threes: int) -> study.Figure:
    """What the driver makes of requests from small to large, and the layout with the most compute slices."""
    keys = ["1g"] * ones + ["2g"] * twos + ["3g"] * threes
    layouts = {"small first": mig.in_order("A100-40GB", keys), "best": mig.best_packing("A100-40GB", keys)}
    return memory_slices(layouts, requested=f"Requested: {ones} x 1g, {twos} x 2g, {threes} x 3g. ")


# ------------------------------------------------------------------------------------------------------- fragmentation


def race(runs: Mapping[str, PlacementRun], names: Sequence[str]) -> study.Figure:
    """How many GPUs stay free once nearly all are requested, and how much of what is free is fragmented."""
    ends = ", ".join(f"{name} {100 - runs[name].marks[-1].allocated:.1f} %" for name in names)
    late = {name: [mark for mark in runs[name].marks if mark.arrived >= 80] for name in names}
    return study.steps(
        "The last fifth of the openb cluster",
        f"Free at the end: {ends}.",
        study.Row(
            "free, % of the GPUs", {n: [(m.arrived, 100 - m.allocated) for m in late[n]] for n in names}, steps=False
        ),
        study.Row(
            "F, % of what is free", {n: [(m.arrived, m.fragmented) for m in late[n]] for n in names}, steps=False
        ),
        x_label="requested, % of the GPUs",
    )
