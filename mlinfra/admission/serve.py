"""Serve's config file: what Ray 2.60 refuses, drops without a word, or fails with at deployment.

`python/ray/serve/schema.py` ignores unknown keys and leaves some values to the deployment itself. Options of one
deployment are in `serve_deployment`, arguments of Ray Serve LLM's builder in `serve_llm`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from mlinfra.admission.rules import ApiWarning, Field, Problem, select
from mlinfra.admission.serve_deployment import deployment_problems, dropped_keys, old_names, refused_by, without_code
from mlinfra.manifest import Manifest

NOT_CHECKED = 'not checked here: Ray\'s own schema does that, and Ray is not installed: pip install "ray[serve]"'


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

    from mlinfra.admission import serve_llm

    whole_file = Field(config)
    problems = [*refused_by(ServeDeploySchema, Field(_without_code(config))), *_unknown_keys(whole_file)]
    for application in whole_file["applications"].each():
        problems += serve_llm.problems(application)
    return problems or list(_late(whole_file))


def _without_code(config: Manifest) -> Manifest:
    """The file without the names of code in the options of its deployments."""
    applications = config.get("applications")
    if not isinstance(applications, list):
        return config
    return {**config, "applications": [_with_plain_options(application) for application in applications]}


def _with_plain_options(application: Any) -> Any:
    deployments = Field(application)["deployments"].value
    if not isinstance(deployments, list):
        return application
    plain = [without_code(options) if isinstance(options, Mapping) else options for options in deployments]
    return {**application, "deployments": plain}


def deprecations(config: Manifest) -> Iterator[ApiWarning]:
    """Names of old that Ray still reads, with the new ones; and what a language model's scaling leaves out."""
    from mlinfra.admission import serve_llm

    for scaling in select(Field(config), "applications[].deployments[].autoscaling_config"):
        yield from old_names(scaling)
    for application in Field(config)["applications"].each():
        yield from serve_llm.warnings(application)


def _unknown_keys(whole_file: Field) -> Iterator[Problem]:
    """Keys that the schema would drop, with today's name where there is one."""
    from ray.serve.config import AutoscalingConfig, RequestRouterConfig
    from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

    places: list[tuple[Field, Any]] = [(whole_file, ServeDeploySchema)]
    places += [(whole_file["http_options"], HTTPOptionsSchema)]
    for application in whole_file["applications"].each():
        places.append((application, ServeApplicationSchema))
        for deployment in application["deployments"].each():
            places += [(deployment, DeploymentSchema), (deployment["autoscaling_config"], AutoscalingConfig)]
            places += [(deployment["request_router_config"], RequestRouterConfig)]
    for place, schema in places:
        yield from dropped_keys(place, schema)


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
            scaling = Field(without_code(deployment.value), deployment.path)["autoscaling_config"]
            if scaling.value is not None:  # a plain map to the schema of the file
                yield from refused_by(AutoscalingConfig, scaling)
