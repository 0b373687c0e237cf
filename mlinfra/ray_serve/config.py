"""Ray Serve's deployments and applications: the graph, and the config file that deploys it.

The file is checked by Ray's own schema (ray 2.60.0, `python/ray/serve/schema.py`), which ignores unknown keys and
leaves some values to the deployment itself; those are ours to name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from mlinfra.manifest import Field, Manifest, Problem, check, whole
from mlinfra.ray_serve.autoscaling import AutoscalingConfig

RENAMED = {
    "max_concurrent_queries": "max_ongoing_requests",
    "target_num_ongoing_requests_per_replica": "target_ongoing_requests",
    "smoothing_factor": "upscaling_factor and downscaling_factor",
    "upscale_smoothing_factor": "upscaling_factor",
    "downscale_smoothing_factor": "downscaling_factor",
}
"""Names of old; Ray drops the first two without a word, and still reads the others."""

BOTH = "Manually setting num_replicas is not allowed when autoscaling_config is provided."


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
        check(f'deployment "{self.name}"', deployment_problems(Field(self.manifest())))

    def manifest(self) -> Manifest:
        said = {
            "num_replicas": self.num_replicas,
            "max_ongoing_requests": self.max_ongoing_requests,
            "max_queued_requests": self.max_queued_requests,
            "ray_actor_options": dict(self.ray_actor_options) or None,
            "autoscaling_config": self.autoscaling_config and self.autoscaling_config.manifest(),
        }
        return {"name": self.name} | {name: value for name, value in said.items() if value is not None}


def deployment_problems(deployment: Field) -> Iterator[Problem]:
    """What the schema refuses, and what only the replicas would refuse: they start, and fail."""
    name, replicas = deployment["name"], deployment["num_replicas"]
    if not name.value:
        yield name.required()
    elif "#" in str(name.value):
        yield name.invalid(f"Deployment names must not contain the '#' character. Current name: {name.value}.")
    if replicas.value not in (None, "auto"):
        yield from whole(1)(replicas)
        if deployment["autoscaling_config"].value is not None:
            yield Problem(replicas.path, BOTH)
    yield from _limits(deployment)
    yield from _actor(deployment["ray_actor_options"])


def _limits(deployment: Field) -> Iterator[Problem]:
    ongoing, queued = deployment["max_ongoing_requests"], deployment["max_queued_requests"]
    target = deployment["autoscaling_config"]["target_ongoing_requests"]
    if ongoing.value is not None:
        yield from whole(1)(ongoing)
    if queued.value not in (None, -1):
        yield from whole(1, why="max_queued_requests must be -1 (no limit) or a positive integer.")(queued)
    counted = ongoing.value is None or type(ongoing.value) is int
    if (
        counted
        and isinstance(target.value, int | float)
        and target.value > (5 if ongoing.value is None else ongoing.value)
    ):
        why = (
            "Autoscaling will never happen, because 'max_ongoing_requests' is less than 'target_ongoing_requests' now."
        )
        yield target.invalid(why)


ACTOR_OPTIONS = (
    "accelerator_type",
    "fallback_strategy",
    "label_selector",
    "memory",
    "num_cpus",
    "num_gpus",
    "resources",
    "runtime_env",
)


def _actor(options: Field) -> Iterator[Problem]:
    """A part of a GPU is bookkeeping and allowed; above one it must be whole, which only Ray's core says."""
    for name in options.value or {}:
        if name not in ACTOR_OPTIONS:
            yield Problem(options.path, f"Specifying '{name}' in ray_actor_options is not allowed.")
    for name in ("num_cpus", "num_gpus"):
        amount = options[name]
        if isinstance(amount.value, int | float) and amount.value < 0:
            yield amount.invalid(f"The quantity of resource {name} cannot be negative")
    gpus = options["num_gpus"]
    if isinstance(gpus.value, float) and gpus.value > 1 and not gpus.value.is_integer():
        yield gpus.invalid("GPU resource quantities >1 must be whole numbers.")


@dataclass(frozen=True)
class Application:
    """Deployments that call each other by handles, from one ingress down; `import_path` names the code."""

    name: str
    import_path: str
    deployments: tuple[Deployment, ...]
    route_prefix: str = "/"
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(f'application "{self.name}"', _graph_problems(self))

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
    try:
        TopologicalSorter({each.name: each.calls for each in application.deployments}).prepare()
    except CycleError as cycle:
        yield Problem("deployments", f"{' calls '.join(reversed(cycle.args[1]))}: a handle cannot be bound in a circle")
    else:
        if len(roots := _roots(application)) != 1:
            yield Problem("deployments", f"must have one ingress that nobody calls, not {', '.join(roots) or 'none'}")


# ----------------------------------------------------------------------------------------------- a given config file


def validate(config: Manifest) -> list[Problem]:
    """Why Serve would refuse the config file, or ignore a part of it; empty when it is fine."""
    unknown = list(_unknown_keys(config))
    refused = list(_by_schema(config))
    return [*refused, *unknown] or list(_late(Field(config)))


def _by_schema(config: Manifest) -> Iterator[Problem]:
    """What Ray's own schema of the file refuses."""
    from ray.serve.schema import ServeDeploySchema

    yield from _refused_by(ServeDeploySchema, Field(config))


def _refused_by(model: Any, given: Field) -> Iterator[Problem]:
    """One problem for each error of one of Ray's pydantic models."""
    from pydantic import ValidationError

    try:
        model.model_validate(given.value)
    except ValidationError as refusal:
        for error in refusal.errors():
            steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
            yield Problem((given.path + steps).lstrip("."), error["msg"])
    except Exception as trouble:  # Ray's validators expect maps of text, and say so in many ways
        yield given.invalid(f"Ray's schema cannot read it: {trouble}")


def _unknown_keys(config: Manifest) -> Iterator[Problem]:
    """Keys that the schema would drop, with today's name where there is one."""
    from ray.serve.config import AutoscalingConfig as RayAutoscalingConfig
    from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

    whole_file = Field(config)
    places: list[tuple[Field, Any]] = [(whole_file, ServeDeploySchema)]
    for application in whole_file["applications"].each():
        places.append((application, ServeApplicationSchema))
        for deployment in application["deployments"].each():
            places += [(deployment, DeploymentSchema), (deployment["autoscaling_config"], RayAutoscalingConfig)]
    for place, schema in places:
        for name in place.value if isinstance(place.value, Mapping) else ():
            if name in RENAMED or name not in schema.model_fields:
                now = f": its name is {RENAMED[name]} now" if name in RENAMED else ""
                yield Problem(place[name].path, f"unknown key, silently dropped{now}")


def _late(config: Field) -> Iterator[Problem]:
    """What the schema lets pass and the deployment fails with."""
    for application in config["applications"].each():
        prefix = application["route_prefix"]
        if isinstance(prefix.value, str) and not prefix.value.startswith("/"):
            yield prefix.invalid(f"Invalid route_prefix '{prefix.value}', must start with a forward slash ('/').")
        elif isinstance(prefix.value, str) and prefix.value != "/" and prefix.value.endswith("/"):
            yield prefix.invalid(f"Invalid route_prefix '{prefix.value}', may not end with a trailing '/'.")
        for deployment in application["deployments"].each():
            yield from deployment_problems(deployment)
            yield from _autoscaling(deployment["autoscaling_config"])


def _autoscaling(config: Field) -> Iterator[Problem]:
    """The schema keeps `autoscaling_config` as a plain map; its own model is asked at deployment."""
    from ray.serve.config import AutoscalingConfig as RayAutoscalingConfig

    if config.value is not None:
        yield from _refused_by(RayAutoscalingConfig, config)
