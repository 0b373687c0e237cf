"""KubeRay's RayService, ray.io/v1: a Ray cluster and the Serve config that runs on it.

Follows KubeRay 1.7: `ray-operator/controllers/ray/utils/validation.go`. The webhook looks at the name alone; the rest
is refused by the controller, in an event. `serveConfigV2` is checked by nobody before Serve itself gets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlinfra.admission import Problem, accepted, check, refuse
from mlinfra.admission.nouns.ray_serve import READ
from mlinfra.admission.rules import broken
from mlinfra.manifest import RESTRICTED, Manifest, Resources, to_yaml
from mlinfra.ray_serve.config import Application, Calls

PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080, "serve": 8000}


@dataclass(frozen=True)
class WorkerGroup:
    """Worker pods of one shape, so many at least and at most."""

    name: str
    resources: Resources
    min_replicas: int = 0
    max_replicas: int = 1

    @classmethod
    def of(cls, manifest: Manifest) -> WorkerGroup:
        low, high = manifest.get("minReplicas", 0), manifest.get("maxReplicas", 2**31 - 1)
        return cls(manifest["groupName"], Resources.of(_ray_container(manifest).get("resources", {})), low, high)

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
    upgrade_options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest, calls: Calls | None = None) -> RayService:
        """The object of a manifest with one application, all of whose pods run the head's image."""
        service = accepted("RayService", manifest, lambda obj: broken(obj, READ))
        cluster, strategy = service["spec"]["rayClusterConfig"], service["spec"].get("upgradeStrategy", {})
        head = _ray_container(cluster["headGroupSpec"])
        return cls(
            service["metadata"].get("name", ""),
            Application.of(_only_application(service["spec"]["serveConfigV2"]), calls),
            head["image"],
            Resources.of(head.get("resources", {})),
            tuple(WorkerGroup.of(group) for group in cluster.get("workerGroupSpecs", ())),
            strategy.get("type", "NewCluster"),
            cluster.get("rayVersion", ""),
            strategy.get("clusterUpgradeOptions"),
        )

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
        options = {} if self.upgrade_options is None else {"clusterUpgradeOptions": dict(self.upgrade_options)}
        spec = {
            "serveConfigV2": to_yaml(self.application.config(host="0.0.0.0")),
            "upgradeStrategy": {"type": self.upgrade} | options,
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


def _ray_container(group: Manifest) -> Manifest:
    """Ray runs in the first container of a pod."""
    container: Manifest = group["template"]["spec"]["containers"][0]
    return container


def _only_application(serve_config: str) -> Manifest:
    """The application of a config file that has one; Invalid when it has none, or several."""
    import yaml

    applications = (yaml.safe_load(serve_config) or {}).get("applications", [])
    if len(applications) != 1:
        why = f"applications: must be one, not {len(applications)}"
        refuse("RayService", [Problem("spec.serveConfigV2", why)])
    application: Manifest = applications[0]
    return application
