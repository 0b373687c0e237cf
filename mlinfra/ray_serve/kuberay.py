"""KubeRay's RayService, ray.io/v1: a Ray cluster and the Serve config that runs on it.

Follows KubeRay 1.7: `ray-operator/controllers/ray/utils/validation.go`. The webhook looks at the name alone; the rest
is refused by the controller, in an event. `serveConfigV2` is checked by nobody before Serve itself gets it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlinfra.admission import check_manifest
from mlinfra.manifest import RESTRICTED, Manifest, Resources, to_yaml
from mlinfra.ray_serve.config import Application

PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080, "serve": 8000}


@dataclass(frozen=True)
class WorkerGroup:
    """Worker pods of one shape, so many at least and at most."""

    name: str
    resources: Resources
    min_replicas: int = 0
    max_replicas: int = 1

    def manifest(self, image: str) -> Manifest:
        return {
            "groupName": self.name,
            "replicas": self.min_replicas,
            "minReplicas": self.min_replicas,
            "maxReplicas": self.max_replicas,
            "rayStartParams": {},
            "template": _pod("ray-worker", image, self.resources, {}),
        }


@dataclass(frozen=True)
class RayService:
    """The object; Invalid when the webhook, the controller or Serve would refuse it. The head runs no replicas."""

    name: str
    application: Application
    image: str
    head: Resources
    workers: tuple[WorkerGroup, ...]
    upgrade: str = "NewCluster"
    ray_version: str = "2.60.0"

    def __post_init__(self) -> None:
        check_manifest(self.manifest())

    def manifest(self) -> Manifest:
        cluster = {
            "rayVersion": self.ray_version,
            "enableInTreeAutoscaling": True,
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0"},
                "template": _pod("ray-head", self.image, self.head, PORTS),
            },
            "workerGroupSpecs": [group.manifest(self.image) for group in self.workers],
        }
        spec = {
            "serveConfigV2": to_yaml(self.application.config(host="0.0.0.0")),
            "upgradeStrategy": {"type": self.upgrade},
            "rayClusterConfig": cluster,
        }
        return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": self.name}, "spec": spec}


def _pod(name: str, image: str, resources: Resources, ports: dict[str, int]) -> Manifest:
    """A template with Ray's container; KubeRay adds the command and the probes."""
    container: Manifest = {
        "name": name,
        "image": image,
        "resources": resources.manifest(),
        "securityContext": RESTRICTED,
    }
    if ports:
        container["ports"] = [{"name": port, "containerPort": number} for port, number in ports.items()]
    return {"spec": {"containers": [container]}}
