"""Rules of compiled pipelines, and of what a run or a schedule is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlinfra.admission.pods import toleration
from mlinfra.admission.rules import Check, Field, Problem, circle, labels

# ----------------------------------------------------------------------------------------------- compiled pipelines


def compiled_pipeline(noun: Field) -> Iterator[Problem]:
    """What KFP's compiler writes without a word, and what never runs or fails in the middle of a run."""
    ir, platform = noun["ir"], noun["platform"].value
    if not isinstance(ir.value, Mapping) or "pipelineInfo" not in ir.value:
        yield Problem("pipelineInfo", "Required value: the file is no compiled pipeline of KFP's SDK")
    else:
        yield from [*_circles(ir.value), *_names(ir.value), *_placement(platform)]


def dags(ir: Mapping[str, Any]) -> dict[str, Any]:
    """The DAG of the pipeline and those of its groups, by name."""
    groups = {name: component["dag"] for name, component in ir["components"].items() if "dag" in component}
    return {"root": ir["root"]["dag"], **groups}


def _circles(ir: Mapping[str, Any]) -> Iterator[Problem]:
    """No task waits for itself, directly or through others."""
    for dag in dags(ir).values():
        if waiting := circle({name: task.get("dependentTasks", ()) for name, task in dag["tasks"].items()}):
            yield Problem("tasks", f"{' waits for '.join(waiting)}: a circle never starts")


def _names(ir: Mapping[str, Any]) -> Iterator[Problem]:
    """Tasks are told apart by name, and drivers are called after them."""
    names = [name for dag in dags(ir).values() for name in dag["tasks"]]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield Problem("tasks", f'Duplicate value: "{name}"; pipelines within pipelines are not read')
        if name.endswith("-driver") and name.removesuffix("-driver") in names:
            yield Problem("tasks", f'"{name}" is the name of the driver of another task')


def _placement(platform: Mapping[str, Any]) -> Iterator[Problem]:
    """KFP takes any toleration and selector; the API server refuses a bad one in the middle of the run."""
    executors = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    for label, settings in executors.items():
        for i, item in enumerate(settings.get("tolerations", ())):
            yield from toleration(Field(_as_in_a_pod(item), f"{label}.tolerations[{i}]"))
        selector = settings.get("nodeSelector", {}).get("labels", {})
        yield from labels(Field(dict(selector), f"{label}.nodeSelector"))


def _as_in_a_pod(item: Mapping[str, Any]) -> dict[str, Any]:
    """The toleration with its seconds as a number; the file has them as text."""
    seconds = {"tolerationSeconds": int(item["tolerationSeconds"])} if "tolerationSeconds" in item else {}
    return {**item, **seconds}


# ------------------------------------------------------------------------------------------------------------- runs


def run_arguments(parameters: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """Arguments of a run are parameters of the pipeline, of the types of their defaults."""
    for name, value in arguments.items():
        if name not in parameters:
            yield Problem(f"arguments[{name}]", f"no such parameter; there are {', '.join(parameters) or 'none'}")
        elif parameters[name] is not None and type(value) is not type(parameters[name]):
            kind = type(parameters[name]).__name__
            yield Problem(f"arguments[{name}]", f"{value!r}: must be of type {kind}")
    for name, default in parameters.items():
        if default is None and name not in arguments:
            yield Problem(f"arguments[{name}]", "Required value: the parameter has no default")


def returned_values(tasks: Sequence[Any], values: Mapping[Any, Any]) -> Iterator[Problem]:
    """A simulated run is told what tasks return to others; artifacts it makes itself. Loops it does not know."""
    artifacts = {task.name: task.artifacts() for task in tasks}
    for task in tasks:
        if task.loops:
            yield Problem(f"tasks[{task.name}]", "is in a loop, which this model of the cache leaves out")
        for name, source in task.sources.items():
            returned = source.task in artifacts and source.name not in artifacts[source.task]
            if returned and source not in values:
                yield Problem(f"values[{source}]", f"must say what {task.name} gets as {name}")


def local_tasks(tasks: Sequence[Any]) -> Iterator[Problem]:
    """What KFP's local runner says of commands."""
    for task in tasks:
        if "kfp.dsl.executor_main" not in " ".join(task.container.get("command", ())):
            why = "The SubprocessRunner only supports running Lightweight Python Components: a command needs its image"
            yield Problem(f"tasks[{task.name}]", why)


def without_loops(tasks: Mapping[str, Any]) -> Iterator[Problem]:
    """The translation to Argo leaves loops out."""
    for name, task in tasks.items():
        if "parameterIterator" in task or "artifactIterator" in task:
            yield Problem(f"tasks[{name}]", "is a loop, which this translation leaves out")


# ----------------------------------------------------------------------------------------------------------- timing

MOST_CHECKPOINTS = 100_000


def schedulable(steps: Sequence[Any], gpus: float = math.inf, parallelism: float = 1) -> Iterator[Problem]:
    """Names are told apart and exist, every step fits, and none waits for itself: else some never start."""
    names = [step.name for step in steps]
    if not parallelism >= 1:
        yield Problem("parallelism", f"{parallelism}: must be greater than or equal to 1")
    for i, step in enumerate(steps):
        if step.name in names[:i]:
            yield Problem(f"steps[{i}].name", f'Duplicate value: "{step.name}"')
        if not step.gpus <= gpus:
            yield Problem(f"steps[{step.name}].gpus", f"{step.gpus}: must be at most the {gpus:g} that there are")
        for name in step.after:
            if name not in names:
                yield Problem(f"steps[{step.name}].after", f"step '{name}' does not exist")
    if waiting := circle({step.name: step.after for step in steps}):
        yield Problem("steps", f"{' waits for '.join(waiting)}: a circle never starts")


def preemptible(noun: Field) -> Iterator[Problem]:
    if noun["checkpoint_every_s"].value * MOST_CHECKPOINTS < noun["work_s"].value:
        yield noun["checkpoint_every_s"].invalid(f"is too short for {noun['work_s'].value:g} s of work")


RULES: dict[str, Check] = {"KubeflowPipeline": compiled_pipeline, "Preemptible": preemptible}
