"""Rules of deployments, applications and autoscaling, by class, and of what the router's simulation is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mlinfra.admission.rules import Check, Field, Needed, Problem, Rules, circle
from mlinfra.admission.serve_deployment import deployment_problems


def _autoscaling_config(config: Field) -> Iterator[Problem]:
    """The comparisons of Ray's own config, in its words."""
    low, first, high = (config[name].value for name in ("min_replicas", "initial_replicas", "max_replicas"))
    if high < low:
        yield Problem("max_replicas", f"max_replicas ({high}) must be greater than or equal to min_replicas ({low})!")
    if first is not None and first < low:
        why = f"min_replicas ({low}) must be less than or equal to initial_replicas ({first})!"
        yield Problem("initial_replicas", why)
    if first is not None and first > high:
        why = f"max_replicas ({high}) must be greater than or equal to initial_replicas ({first})!"
        yield Problem("initial_replicas", why)


def _deployment(deployment: Field) -> Iterator[Problem]:
    """As in the config file, whose names are those of the fields."""
    config = deployment["autoscaling_config"].value
    yield from deployment_problems(Field(deployment.value | {"autoscaling_config": config and vars(config)}))


def _application(application: Field) -> Iterator[Problem]:
    """The graph of calls has one ingress and no circle; with arguments the code may make the deployments itself."""
    deployments = application["deployments"].value
    names = [deployment.name for deployment in deployments]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("deployments", f'Duplicate value: "{name}"')
    for deployment in deployments:
        for name in deployment.calls:
            if name not in names:
                why = f"Deployment '{name}' does not exist. Available: {', '.join(names)}"
                yield Problem(f"deployments[{deployment.name}].calls", why)
    called = {name for deployment in deployments for name in deployment.calls}
    roots = [name for name in names if name not in called]
    if callers := circle({deployment.name: deployment.calls for deployment in deployments}):
        yield Problem("deployments", f"{' calls '.join(callers)}: a handle cannot be bound in a circle")
    elif len(roots) != 1 and (deployments or not application["args"].value):
        yield Problem("deployments", f"must have one ingress that nobody calls, not {', '.join(roots) or 'none'}")


def simulation_problems(stages: Sequence[Any], arrivals_s: Sequence[float]) -> Iterator[Problem]:
    """Stages are listed as Serve builds them, who is called first; and every arrival has a time."""
    listed: list[str] = []
    for stage in stages:
        for name in stage.calls:
            if name not in listed:
                yield Problem(f"stages[{stage.name}].calls", f'Invalid value: "{name}": must be a stage listed before')
        if stage.name in listed:
            yield Problem("stages", f'Duplicate value: "{stage.name}"')
        listed.append(stage.name)
    if not stages:
        yield Problem("stages", "Required value: at least one stage")
    for i, at_s in enumerate(arrivals_s):
        if not math.isfinite(at_s):
            yield Field(at_s, f"arrivals_s[{i}]").invalid("must be a finite number")


READ: Rules = [
    ("spec", Needed()),
    ("spec.serveConfigV2", Needed()),
    ("spec.rayClusterConfig.headGroupSpec.template.spec.containers[].image", Needed()),
]
"""What we need of a RayService to read it; KubeRay itself finds out when it makes the pods."""

RULES: dict[str, Check] = {
    "Application": _application,
    "AutoscalingConfig": _autoscaling_config,
    "Deployment": _deployment,
}
