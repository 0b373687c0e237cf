"""What KFP compiles and runs without a word, and what will happen: a compiled pipeline of SDK 2.17.0, read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlinfra.admission.common import pinned_image
from mlinfra.admission.nouns.pipelines import compiled_pipeline, dags
from mlinfra.admission.rules import ApiWarning, Field, Problem
from mlinfra.manifest import Manifest

PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\]")
EVERYTHING = "{{$}}"
"""The placeholder for all inputs and outputs; the command of a Python function has it."""

HOUR = "3600s"


def pitfalls(ir: Manifest, platform: Manifest | None = None) -> list[Problem]:
    """What the compiler accepts, and what will happen on a cluster; each with the task that it is about."""
    kubernetes = (platform or {}).get("platforms", {}).get("kubernetes", {})
    placements = kubernetes.get("deploymentSpec", {}).get("executors", {})
    problems: list[Problem] = []
    for dag in dags(ir).values():
        for name, task in dag["tasks"].items():
            component = ir["components"][task["componentRef"]["name"]]
            if label := component.get("executorLabel"):
                container = ir["deploymentSpec"]["executors"][label].get("container", {})
                placement = placements.get(label, {})
                problems += _task(f"tasks[{name}]", task, component, container, placement)
    return sorted(problems, key=lambda problem: problem.path)


def verdict(pipeline: Manifest) -> list[Problem | ApiWarning]:
    """What could never run is refused, and pitfalls are warnings; both documents of the file stand in one mapping."""
    try:
        problems = list(compiled_pipeline(Field({"ir": pipeline, "platform": pipeline})))
        return [*problems, *(ApiWarning(*pitfall) for pitfall in pitfalls(pipeline, pipeline))]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [Problem("pipelineInfo", f"the file is no compiled pipeline of KFP's SDK 2: {error!r}")]


def _task(
    path: str, task: Manifest, component: Manifest, container: Manifest, placement: Manifest
) -> Iterator[Problem]:
    yield from pinned_image(Field(container.get("image", ""), f"{path}.image"))
    yield from _installs(path, container)
    yield from _limits(path, container)
    yield from _gpu(path, task, container, placement)
    yield from _placeholders(path, component, container)


def _installs(path: str, container: Manifest) -> Iterator[Problem]:
    if "pip install" in " ".join(container.get("command", ())):
        yield Problem(
            f"{path}.command",
            "installs packages whenever the step starts: it needs a network, and gets the versions of the day",
        )


def _limits(path: str, container: Manifest) -> Iterator[Problem]:
    resources = container.get("resources", {})
    for name, setting in (("resourceCpuLimit", "set_cpu_limit"), ("resourceMemoryLimit", "set_memory_limit")):
        if name not in resources:
            yield Problem(f"{path}.{name}", f"not given: nothing keeps the step to its share ({setting})")


def _gpu(path: str, task: Manifest, container: Manifest, placement: Manifest) -> Iterator[Problem]:
    """A GPU's node is tainted as a rule, costs by the hour, and can be lost."""
    accelerator = container.get("resources", {}).get("accelerator")
    if not accelerator:
        return
    kind = accelerator["resourceType"]
    if not placement.get("tolerations"):
        yield Problem(f"{path}.tolerations", f"not given: {kind} nodes are usually tainted, and the pod waits")
    retry = task.get("retryPolicy")
    if not retry:
        yield Problem(f"{path}.retryPolicy", "not given: one lost node ends the run (set_retry)")
    elif retry.get("backoffMaxDuration") == HOUR:
        why = "an hour, the default: it counts from the first attempt's start, so a longer step is not tried again"
        yield Problem(f"{path}.retryPolicy.backoffMaxDuration", why)


def _placeholders(path: str, component: Manifest, container: Manifest) -> Iterator[Problem]:
    """A name that no argument mentions is not passed at all."""
    arguments = [*container.get("command", ()), *container.get("args", ())]
    if EVERYTHING in arguments:
        return
    mentioned = {match.groups() for argument in arguments for match in PLACEHOLDER.finditer(argument)}
    for side, way, name in sorted(_declared(component) - mentioned):
        end = ".path" if way == "artifacts" else ".output_file" if side == "outputs" else ""
        placeholder = f"{{{{$.{side}.{way}['{name}']{end}}}}}"
        yield Problem(f"{path}.{side}[{name}]", f"never reaches the command: no argument has {placeholder}")


def _declared(component: Manifest) -> set[tuple[str, str, str]]:
    """Side, kind and name of everything that goes in or out."""
    return {
        (side, way, name)
        for side in ("inputs", "outputs")
        for way in ("parameters", "artifacts")
        for name in _definitions(component, side).get(way, {})
    }


def _definitions(component: Manifest, side: str) -> Mapping[str, Any]:
    definitions: Mapping[str, Any] = component.get(f"{side[:-1]}Definitions", {})
    return definitions
