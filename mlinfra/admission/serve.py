"""Serve's config file: what Ray 2.60 refuses, drops without a word, or fails with at deployment.

`python/ray/serve/schema.py` ignores unknown keys and leaves some values to the deployment itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from mlinfra.admission.rules import ApiWarning, Field, Problem, select, whole
from mlinfra.manifest import Manifest

RENAMED = {
    "max_concurrent_queries": "max_ongoing_requests",
    "target_num_ongoing_requests_per_replica": "target_ongoing_requests",
}
"""Names of old that Ray drops without a word."""

DEPRECATED = {
    "metrics_interval_s": "will be replaced by the environment variables "
    "`RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S` and "
    "`RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S`",
    "smoothing_factor": "its name is upscaling_factor and downscaling_factor now",
    "upscale_smoothing_factor": "its name is upscaling_factor now",
    "downscale_smoothing_factor": "its name is downscaling_factor now",
}
"""Names of old in `autoscaling_config` that Ray still reads, the factors where no new one is given."""

NOT_CHECKED = 'not checked here: Ray\'s own schema does that, and Ray is not installed: pip install "ray[serve]"'

BOTH = "Manually setting num_replicas is not allowed when autoscaling_config is provided."


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


def queue_limit(limit: Field) -> Iterator[Problem]:
    """No limit is -1; a limit of 0 is none that Serve knows."""
    if limit.value != -1:
        yield from whole(1, why="max_queued_requests must be -1 (no limit) or a positive integer.")(limit)


def _limits(deployment: Field) -> Iterator[Problem]:
    ongoing, queued = deployment["max_ongoing_requests"], deployment["max_queued_requests"]
    target = deployment["autoscaling_config"]["target_ongoing_requests"]
    if ongoing.value is not None:
        yield from whole(1)(ongoing)
    if queued.value is not None:
        yield from queue_limit(queued)
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


ACTOR_OPTIONS = {"accelerator_type", "fallback_strategy", "label_selector", "memory"}
ACTOR_OPTIONS |= {"num_cpus", "num_gpus", "resources", "runtime_env"}


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


def validate(config: Manifest) -> list[Problem | ApiWarning]:
    """Why Serve would refuse the config file, or ignore a part of it; names that are deprecated are warnings."""
    if not is_ray_here():
        return [ApiWarning("applications", NOT_CHECKED)]
    problems = refusals(config)
    return [*problems] if problems else [*deprecations(config)]


def is_ray_here() -> bool:
    """Whether Ray is installed, whose schema decides."""
    return find_spec("ray") is not None


def refusals(config: Manifest) -> list[Problem]:
    """Why Serve would refuse the config file, or ignore a part of it; empty when it is fine."""
    from ray.serve.schema import ServeDeploySchema

    whole_file = Field(config)
    return [*_refused_by(ServeDeploySchema, whole_file), *_unknown_keys(whole_file)] or list(_late(whole_file))


def deprecations(config: Manifest) -> Iterator[ApiWarning]:
    """Names of old that Ray still reads, with the new ones."""
    for scaling in select(Field(config), "applications[].deployments[].autoscaling_config"):
        for name in scaling.value if isinstance(scaling.value, Mapping) else ():
            if name in DEPRECATED:
                yield ApiWarning(scaling[name].path, f"deprecated: {DEPRECATED[name]}")


def _refused_by(model: Any, config: Field) -> Iterator[Problem]:
    """One problem for each error of one of Ray's pydantic models."""
    from pydantic import ValidationError

    try:
        model.model_validate(config.value)
    except ValidationError as refusal:
        for error in refusal.errors():
            steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
            yield Problem((config.path + steps).lstrip("."), error["msg"])
    except Exception as trouble:  # Ray's validators expect maps of text, and say so in many ways
        yield config.invalid(f"Ray's schema cannot read it: {trouble}")


def _unknown_keys(whole_file: Field) -> Iterator[Problem]:
    """Keys that the schema would drop, with today's name where there is one."""
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

    places: list[tuple[Field, Any]] = [(whole_file, ServeDeploySchema)]
    places += [(whole_file["http_options"], HTTPOptionsSchema)]
    for application in whole_file["applications"].each():
        places.append((application, ServeApplicationSchema))
        for deployment in application["deployments"].each():
            places += [(deployment, DeploymentSchema), (deployment["autoscaling_config"], AutoscalingConfig)]
    for place, schema in places:
        for name in place.value if isinstance(place.value, Mapping) else ():
            if name not in schema.model_fields:
                now = f": its name is {RENAMED[name]} now" if name in RENAMED else ""
                yield Problem(place[name].path, f"unknown key, silently dropped{now}")


def _late(config: Field) -> Iterator[Problem]:
    """What the schema lets pass and the deployment fails with."""
    from ray.serve.config import AutoscalingConfig

    for application in config["applications"].each():
        prefix = application["route_prefix"]
        if isinstance(prefix.value, str) and not prefix.value.startswith("/"):
            yield prefix.invalid(f"Invalid route_prefix '{prefix.value}', must start with a forward slash ('/').")
        elif isinstance(prefix.value, str) and prefix.value != "/" and prefix.value.endswith("/"):
            yield prefix.invalid(f"Invalid route_prefix '{prefix.value}', may not end with a trailing '/'.")
        for deployment in application["deployments"].each():
            yield from deployment_problems(deployment)
            if deployment["autoscaling_config"].value is not None:  # a plain map to the schema of the file
                yield from _refused_by(AutoscalingConfig, deployment["autoscaling_config"])
