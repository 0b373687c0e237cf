"""The node pools of the course's service, and what a node costs: the one place for these prices, which are examples.

The shapes are Google Cloud's A2 Ultra, which exists with 1, 2, 4 and 8 GPUs. `examples/pools.yaml` has the largest.
"""

from __future__ import annotations

from typing import Any

from mlinfra.admission import accepted
from mlinfra.gpu import GPURequest
from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.nodes.live import PLACEHOLDER, LiveFleet, SpotMarket
from mlinfra.gpu.nodes.pool import BootTime, NodePool
from mlinfra.gpu.pods import PAUSE, PriorityClass
from mlinfra.manifest import Manifest, to_yaml

GPU_DOLLARS, SPOT_DOLLARS = 3.0, 1.0
"""Dollars an hour for each GPU of a node, on demand and as a spot node."""

MOST_GPUS = 96
IMAGE_S = 20.0
TAINT = Taint("nvidia.com/gpu", "present")
TOLERATION = Toleration("nvidia.com/gpu", "Exists")
POD = GPURequest("bert-classifier", 1, cpu="6", memory="48Gi", tolerations=(TOLERATION,))
HALF = "nvidia.com/mig-3g.40gb"
HALF_POD = GPURequest("bert-classifier", 1, cpu="3", memory="24Gi", tolerations=(TOLERATION,), resource=HALF)


def pool(gpus: int = 1, spot: bool = False, halves: bool = False) -> NodePool:
    """Nodes with so many A100, each whole or cut into halves by MIG; a node's price is that of its GPUs."""
    name = f"a100x{gpus}" + ("-spot" if spot else "")
    shape = GPUNode(
        name,
        "NVIDIA-A100-SXM4-80GB",
        0 if halves else gpus,
        80,
        cpu=str(12 * gpus),
        memory=f"{128 * gpus}Gi",
        taints=(TAINT,),
        devices={HALF: 2 * gpus} if halves else {},
    )
    price = gpus * (SPOT_DOLLARS if spot else GPU_DOLLARS)
    return NodePool(name, shape, price, BootTime(image_s=IMAGE_S), max_size=MOST_GPUS // gpus, spot=spot)


def fleet(gpus: int = 1, placeholders: int = 0, spot: SpotMarket | None = None, **more: Any) -> LiveFleet:
    """Nodes for one run of the loop; with a spot market they are spot nodes."""
    return LiveFleet([pool(gpus, spot is not None)], POD, placeholders, spot=spot or SpotMarket(), **more)


def half_fleet() -> LiveFleet:
    """Nodes whose GPU two pods share."""
    return LiveFleet([pool(halves=True)], HALF_POD)


# ------------------------------------------------------------------------------------------------------- placeholders


def placeholder_class() -> Manifest:
    return PLACEHOLDER.manifest()


def placeholder_deployment(replicas: int) -> Manifest:
    """Pods that do nothing, and request what a pod of the service requests."""
    labels = {"app": "placeholder"}
    amounts = {"cpu": POD.cpu, "memory": POD.memory, "nvidia.com/gpu": str(POD.gpu_count)}
    container = {"name": "pause", "image": PAUSE, "resources": {"requests": dict(amounts), "limits": dict(amounts)}}
    spec = {
        "priorityClassName": PLACEHOLDER.name,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [TOLERATION.manifest()],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "placeholder"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def placeholders_yaml(replicas: int) -> str:
    """Both objects as one file."""
    return "---\n".join(map(to_yaml, (placeholder_class(), placeholder_deployment(replicas))))


def read_placeholders(priority_class: Manifest, deployment: Manifest) -> dict[str, Any]:
    """The placeholders of a PriorityClass and a Deployment, as `fleet` takes them; Invalid when one is refused."""
    classes = [PriorityClass.of(priority_class)]
    spec = accepted("Deployment", deployment)["spec"]
    template = {"metadata": {"name": "placeholder", **spec["template"].get("metadata", {})}}
    pod = GPURequest.of({"apiVersion": "v1", "kind": "Pod", **template, "spec": spec["template"]["spec"]}, classes)
    return {"placeholders": spec.get("replicas", 1), "placeholder": pod}
