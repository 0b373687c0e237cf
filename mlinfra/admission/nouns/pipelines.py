"""Rules of components, pipelines and comparisons, by class; and of what a run or a schedule is given."""

from __future__ import annotations

import json
import keyword
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlinfra.admission.pods import toleration
from mlinfra.admission.rules import Check, Field, Problem, circle, dns_label, labels

Tasks = Mapping[str, Any]

# ------------------------------------------------------------------------------------------------------- components

ARTIFACTS = ["Artifact", "ClassificationMetrics", "Dataset", "HTML", "Markdown", "Metrics", "Model"]
PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\]")


def component(noun: Field) -> Iterator[Problem]:
    """A function with its annotations, or a command that gets everything that is declared."""
    if bool(noun["function"].value) == bool(noun["command"].value):
        yield Problem("function", "must be given, or else a command; one of the two")
    elif not noun["function"].value:
        yield from _kinds(noun)
        yield from _placeholders(noun)
    elif noun["args"].value or noun["inputs"].value or noun["outputs"].value:
        yield Problem("function", "its annotations name inputs and outputs; nothing else may")


def _kinds(noun: Field) -> Iterator[Problem]:
    for side in ("inputs", "outputs"):
        for kind in noun[side].each():
            if isinstance(kind.value, str) and kind.value not in ARTIFACTS:
                yield kind.unsupported(ARTIFACTS)


def _placeholders(noun: Field) -> Iterator[Problem]:
    """A name that no argument mentions is not passed at all, and KFP does not mind."""
    arguments = [*noun["command"].value, *noun["args"].value]
    mentioned = {match.groups() for argument in arguments for match in PLACEHOLDER.finditer(argument)}
    declared = {
        (side, "artifacts" if isinstance(kind, str) else "parameters", name)
        for side in ("inputs", "outputs")
        for name, kind in noun[side].value.items()
    }
    for side, way, name in sorted(declared - mentioned):
        end = ".path" if way == "artifacts" else ".output_file" if side == "outputs" else ""
        placeholder = f"{{{{$.{side}.{way}['{name}']{end}}}}}"
        yield Problem(f"{side}[{name}]", f"never reaches the command: no argument has {placeholder}")
    for side, way, name in sorted(mentioned - declared):
        yield Problem("args", f"{{{{$.{side}.{way}['{name}']}}}}: no such {way[:-1]} among the {side}")


# -------------------------------------------------------------------------------------------------------- pipelines


def pipeline(noun: Field) -> Iterator[Problem]:
    """Every objection of the first group that has any: a later group relies on what an earlier one allows."""
    tasks, on_exit, parameters = noun["tasks"].value, noun["on_exit"].value, noun["parameters"].value
    by_name = {task.name: task for task in tasks}
    every_task = [*tasks, *([on_exit] if on_exit else [])]
    yield from (
        [*_parameters(parameters), *_names(noun["name"], every_task)]
        or [*_references(every_task, by_name, parameters), *_circles(tasks), *_placement(every_task)]
        or [*_branches(by_name), *_exit_task(on_exit)]
    )


def comparison(noun: Field) -> Iterator[Problem]:
    """KFP writes the right side into an expression: it has no infinity, and text has no quotes."""
    right = noun["right"]
    if not _is_json(right.value) or (isinstance(right.value, str) and set(right.value) & set("'\"\\")):
        yield right.invalid("must be finite, and text without quotes")


def _parameters(parameters: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in parameters.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            yield Problem(f"parameters[{name}]", "must be a name that Python takes for an argument")
        elif not _is_json(value):
            yield Problem(f"parameters[{name}]", f"{value!r}: must be what JSON can say")


def _is_json(value: object) -> bool:
    """Whether KFP can write the value: JSON has no NaN and no infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


RESERVED = re.compile(r"(condition|exit-handler)-\d+")
"""KFP gives these names to the groups that it makes, and lets a task of the same name vanish."""


def _names(name: Field, tasks: Sequence[Any]) -> Iterator[Problem]:
    """Names are labels, which the SDK would rename without a word; the pipeline's name begins those of its pods."""
    yield from dns_label(name) if name.value else [name.required()]
    if not tasks:
        yield Field((), "tasks").required("a pipeline has at least one task")
    names = [task.name for task in tasks]
    for i, task in enumerate(names):
        yield from _task_name(Field(task, f"tasks[{i}].name"), names[:i], names)


def _task_name(name: Field, earlier: list[str], names: list[str]) -> Iterator[Problem]:
    yield from dns_label(name)
    if not name.value:
        yield name.required()
    elif name.value[0].isdigit():
        yield name.invalid("must begin with a letter: Argo makes a template of it")
    elif name.value in earlier:
        yield Problem(name.path, f'Duplicate value: "{name.value}"')
    elif RESERVED.fullmatch(name.value):
        yield name.invalid("is a name that KFP gives to a group of tasks")
    elif name.value.endswith("-driver") and name.value.removesuffix("-driver") in names:
        yield name.invalid("is the name of the driver of another task")


def _references(every_task: Sequence[Any], tasks: Tasks, parameters: Mapping[str, Any]) -> Iterator[Problem]:
    """Every name that a task mentions exists."""
    for task in every_task:
        mentions = {f"arguments[{name}]": argument for name, argument in task.arguments.items()}
        mentions |= {"when": task.when.left} if task.when else {}
        for place, argument in mentions.items():
            yield from _reference(f"tasks[{task.name}].{place}", argument, tasks, parameters)
        for name in task.after:
            if name not in tasks:
                yield Problem(f"tasks[{task.name}].after", missing("task", name, tasks))


def _reference(path: str, argument: Any, tasks: Tasks, parameters: Mapping[str, Any]) -> Iterator[Problem]:
    """The parameter, the task or the output that an argument names exists; a plain value names nothing."""
    if not hasattr(argument, "task"):
        if hasattr(argument, "name") and argument.name not in parameters:
            yield Problem(path, missing("parameter", argument.name, parameters))
    elif argument.task not in tasks:
        yield Problem(path, missing("task", argument.task, tasks))
    elif argument.name not in (outputs := tasks[argument.task].component.output_types):
        yield Problem(path, f"{argument.task}: " + missing("output", argument.name, outputs))


def missing(what: str, name: str, available: Mapping[str, Any]) -> str:
    return f"{what} '{name}' does not exist. Available: {', '.join(available) or 'none'}"


def _circles(tasks: Sequence[Any]) -> Iterator[Problem]:
    """No task waits for itself, directly or through others."""
    if waiting := circle({task.name: task.upstream() for task in tasks}):
        yield Problem("tasks", f"{' waits for '.join(waiting)}: a circle never starts")


def _placement(tasks: Sequence[Any]) -> Iterator[Problem]:
    """KFP takes any toleration and selector; the API server refuses a bad one in the middle of the run."""
    for task in tasks:
        for i, item in enumerate(task.tolerations):
            yield from toleration(Field(dict(item), f"tasks[{task.name}].tolerations[{i}]"))
        yield from labels(Field(dict(task.node_selector), f"tasks[{task.name}].node_selector"))


UNCOMMON = (
    "A downstream task cannot depend on an upstream task within a dsl.If context unless the downstream is within that "
    "context too."
)


def _branches(tasks: Tasks) -> Iterator[Problem]:
    """What a branch puts out exists in that branch alone, and only parameters can be compared."""
    for task in tasks.values():
        for name in sorted(task.upstream()):
            if tasks[name].when not in (None, task.when):
                yield Problem(f"tasks[{task.name}]", f"{UNCOMMON} Found task {task.name} which depends on {name}.")
        left: Any = task.when.left if task.when else None
        if hasattr(left, "task") and "system." in tasks[left.task].component.output_types[left.name]:
            why = f"{left.task}: '{left.name}' is an artifact; only parameters compare"
            yield Problem(f"tasks[{task.name}].when", why)


def _exit_task(on_exit: Any) -> Iterator[Problem]:
    """The exit task runs whatever happened, so it depends on no task that may not have run."""
    if on_exit and on_exit.upstream():
        yield Problem(f"tasks[{on_exit.name}]", "the exit task cannot depend on any other task")
    if on_exit and on_exit.when:
        yield Problem(f"tasks[{on_exit.name}].when", "the exit task runs always")


# ------------------------------------------------------------------------------------------------------------- runs


def run_arguments(parameters: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """Arguments of a run are parameters of the pipeline, of their types."""
    for name, value in arguments.items():
        if name not in parameters:
            yield Problem(f"arguments[{name}]", f"no such parameter; there are {', '.join(parameters) or 'none'}")
        elif type(value) is not type(parameters[name]):
            kind = type(parameters[name]).__name__
            yield Problem(f"arguments[{name}]", f"{value!r}: must be of type {kind}")


def returned_values(tasks: Sequence[Any], values: Mapping[Any, Any]) -> Iterator[Problem]:
    """A simulated run is told what tasks return to others; artifacts it makes itself."""
    artifacts = {task.name: task.component.artifacts() for task in tasks}
    for task in tasks:
        for name, argument in task.arguments.items():
            returned = hasattr(argument, "task") and argument.name not in artifacts[argument.task]
            if returned and argument not in values:
                yield Problem(f"values[{argument}]", f"must say what {task.name} gets as {name}")


def local_tasks(tasks: Sequence[Any]) -> Iterator[Problem]:
    """What KFP's local runner says of commands."""
    for task in tasks:
        if not task.component.function:
            why = "The SubprocessRunner only supports running Lightweight Python Components: a command needs its image"
            yield Problem(f"tasks[{task.name}].component", why)


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


RULES: dict[str, Check] = {
    "Component": component,
    "If": comparison,
    "Pipeline": pipeline,
    "Preemptible": preemptible,
}
