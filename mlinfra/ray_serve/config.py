"""Ray Serve's deployments and applications: the graph, and the config file that deploys it.

The file is checked by Ray's own schema (ray 2.60.0, `python/ray/serve/schema.py`), which ignores unknown keys and
leaves some values to the deployment itself; those are ours to name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

from mlinfra.admission.rules import Field, Problem, circle, refuse
from mlinfra.admission.serve import deployment_problems
from mlinfra.manifest import Manifest
from mlinfra.ray_serve.autoscaling import AutoscalingConfig


@dataclass(frozen=True)
class Deployment:
    """Options of one deployment, by their names in the config file; what is not given is left to the code.

    `num_replicas` is a count or "auto" (1 to 100, by the load). `calls` names the deployments whose handles it gets.
    """

    name: str
    num_replicas: int | str | None = None
    max_ongoing_requests: int | None = None
    max_queued_requests: int | None = None
    ray_actor_options: Mapping[str, Any] = field(default_factory=dict)
    autoscaling_config: AutoscalingConfig | None = None
    calls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse(f'deployment "{self.name}"', deployment_problems(Field(self.manifest())))

    def manifest(self) -> Manifest:
        said = {
            "num_replicas": self.num_replicas,
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": self.max_queued_requests,
            "ray_actor_options": dict(self.ray_actor_options) or None,
            "autoscaling_config": self.autoscaling_config and self.autoscaling_config.manifest(),
        }
        return {"name": self.name} | {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Application:
    """Deployments that call each other by handles, from one ingress down; `import_path` names the code."""

    name: str
    import_path: str
    deployments: tuple[Deployment, ...]
    route_prefix: str = "/"
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse(f'application "{self.name}"', _graph_problems(self))

    @property
    def ingress(self) -> str:
        """The deployment that nobody calls."""
        return _roots(self)[0]

    def order(self) -> list[str]:
        """The deployments in the order in which Serve builds them: who is called comes first."""
        return list(TopologicalSorter({each.name: each.calls for each in self.deployments}).static_order())

    def config(self, host: str = "127.0.0.1", port: int = 8000) -> Manifest:
        """The config file that `serve deploy` takes; the ingress is the last deployment."""
        by_name = {each.name: each for each in self.deployments}
        application: Manifest = {"name": self.name, "route_prefix": self.route_prefix, "import_path": self.import_path}
        application |= {"args": dict(self.args)} if self.args else {}
        application["deployments"] = [by_name[name].manifest() for name in self.order()]
        return {"http_options": {"host": host, "port": port}, "applications": [application]}


def _roots(application: Application) -> list[str]:
    called = {name for each in application.deployments for name in each.calls}
    return [each.name for each in application.deployments if each.name not in called]


def _graph_problems(application: Application) -> Iterator[Problem]:
    names = [each.name for each in application.deployments]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("deployments", f'Duplicate value: "{twice}"')
    for each in application.deployments:
        for name in each.calls:
            if name not in names:
                known = ", ".join(names)
                yield Problem(
                    f"deployments[{each.name}].calls", f"Deployment '{name}' does not exist. Available: {known}"
                )
    if callers := circle({each.name: each.calls for each in application.deployments}):
        yield Problem("deployments", f"{' calls '.join(callers)}: a handle cannot be bound in a circle")
    elif len(roots := _roots(application)) != 1:
        yield Problem("deployments", f"must have one ingress that nobody calls, not {', '.join(roots) or 'none'}")
