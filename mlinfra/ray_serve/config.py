"""Ray Serve's deployments and applications: the graph, and the config file that deploys it.

The file is checked by Ray's own schema (ray 2.60.0, `python/ray/serve/schema.py`), which ignores unknown keys and
leaves some values to the deployment itself; those are ours to name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

from mlinfra.admission import check, refuse, validate
from mlinfra.admission.rules import decoded
from mlinfra.manifest import Manifest
from mlinfra.ray_serve.autoscaling import AutoscalingConfig


@dataclass(frozen=True)
class Deployment:
    """Options of one deployment, by their names in the config file; what is not given is left to the code.

    `num_replicas` is a count or "auto" (1 to 100, by the load). `user_config` is what `reconfigure` is called with.
    `calls` names the deployments whose handles it gets.
    """

    name: str
    num_replicas: int | str | None = None
    max_ongoing_requests: int | None = None
    max_queued_requests: int | None = None
    ray_actor_options: Mapping[str, Any] = field(default_factory=dict)
    autoscaling_config: AutoscalingConfig | None = None
    calls: tuple[str, ...] = ()
    user_config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest, calls: Sequence[str] = ()) -> Deployment:
        """An entry of the file, where null is a field that is not given; whom it calls stands in the code."""
        manifest = decoded(manifest)
        return cls(
            manifest["name"],
            manifest.get("num_replicas"),
            manifest.get("max_ongoing_requests"),
            manifest.get("max_queued_requests"),
            manifest.get("ray_actor_options", {}),
            AutoscalingConfig.of(manifest["autoscaling_config"]) if "autoscaling_config" in manifest else None,
            tuple(calls),
            manifest.get("user_config"),
        )

    def manifest(self) -> Manifest:
        optional = {
            "num_replicas": self.num_replicas,
            "user_config": self.user_config and dict(self.user_config),
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": self.max_queued_requests,
            "ray_actor_options": dict(self.ray_actor_options) or None,
            "autoscaling_config": self.autoscaling_config and self.autoscaling_config.manifest(),
        }
        return {"name": self.name} | {name: value for name, value in optional.items() if value is not None}


Calls = Mapping[str, Sequence[str]]
"""Whom each deployment calls; a config file does not say it."""


@dataclass(frozen=True)
class Application:
    """Deployments that call each other by handles, from one ingress down; `import_path` names the code.

    The deployments stand in the order in which Serve builds them: who is called comes first, the ingress last. There
    are none where the code is a builder, a function that makes them from `args`.
    """

    name: str
    import_path: str
    deployments: tuple[Deployment, ...] = ()
    route_prefix: str = "/"
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)
        by_name = {deployment.name: deployment for deployment in self.deployments}
        order = TopologicalSorter({name: deployment.calls for name, deployment in by_name.items()}).static_order()
        object.__setattr__(self, "deployments", tuple(by_name[name] for name in order))

    @classmethod
    def of(cls, manifest: Manifest, calls: Calls | None = None) -> Application:
        """An entry of `applications`; without `calls` the last deployment is taken to call the others."""
        refuse("application", validate({"applications": [manifest]}))
        application = decoded(manifest)
        entries = application.get("deployments", [])
        names = [entry["name"] for entry in entries]
        if calls is None:
            calls = dict.fromkeys(names[-1:], names[:-1])
        return cls(
            application.get("name", "default"),
            application["import_path"],
            tuple(Deployment.of(entry, calls.get(entry["name"], ())) for entry in entries),
            application.get("route_prefix", "/"),
            application.get("args", {}),
        )

    def manifest(self) -> Manifest:
        """The entry of the config file."""
        entry: Manifest = {"name": self.name, "route_prefix": self.route_prefix, "import_path": self.import_path}
        if self.args:
            entry["args"] = dict(self.args)
        if self.deployments:
            entry["deployments"] = [deployment.manifest() for deployment in self.deployments]
        return entry

    def config(self, host: str = "127.0.0.1", port: int = 8000) -> Manifest:
        """The config file that `serve deploy` takes."""
        return {"http_options": {"host": host, "port": port}, "applications": [self.manifest()]}

    @property
    def ingress(self) -> str:
        """The deployment that nobody calls; empty where a builder makes the deployments."""
        return self.deployments[-1].name if self.deployments else ""
