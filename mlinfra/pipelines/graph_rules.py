"""What is refused of a pipeline before KFP sees it: its names, references, circles, placement, branches, exit task."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from mlinfra.admission.pods import toleration
from mlinfra.admission.rules import Field, Problem, circle, dns_label, labels
from mlinfra.pipelines.component import Component
from mlinfra.pipelines.task import PipelineInput, Task, TaskOutput, Value, is_json


class Graph(Protocol):
    """What the rules read of a pipeline."""

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> Sequence[Task]: ...

    @property
    def parameters(self) -> Mapping[str, Value]: ...

    @property
    def on_exit(self) -> Task | None: ...

    def everything(self) -> list[Task]: ...


def graph_problems(pipeline: Graph) -> list[Problem]:
    """Every objection of the first group that has any: a later group relies on what an earlier one allows."""
    return (
        list(shapes(pipeline))
        or [*names(pipeline), *references(pipeline), *circles(pipeline), *placement(pipeline)]
        or [*branches(pipeline), *exit_task(pipeline)]
    )


KINDS = (str, int, float, bool, list, dict)


def shapes(pipeline: Graph) -> Iterator[Problem]:
    """Parameters are JSON under names that Python accepts, and tasks are tasks."""
    for name, value in pipeline.parameters.items():
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            yield Problem(f"parameters[{name}]", "must be a name that Python takes for an argument")
        elif type(value) not in KINDS or not is_json(value):
            kinds = ", ".join(kind.__name__ for kind in KINDS)
            yield Problem(f"parameters[{name}]", f"{value!r}: must be a value of {kinds}")
    if not isinstance(pipeline.tasks, Sequence) or isinstance(pipeline.tasks, str):
        yield Problem("tasks", "must be a sequence of Task")
        return
    for i, task in enumerate(pipeline.everything()):
        if not isinstance(task, Task) or not isinstance(task.component, Component):
            yield Problem(f"tasks[{i}]", "must be a Task with a Component")
        elif not isinstance(task.after, tuple) or not isinstance(task.tolerations, tuple):
            yield Problem(f"tasks[{i}]", "`after` and `tolerations` must be tuples")
        elif any(not isinstance(item, Mapping) for item in task.tolerations):
            yield Problem(f"tasks[{i}].tolerations", "must be maps, as in a pod")


RESERVED = re.compile(r"(condition|exit-handler)-\d+")
"""KFP gives these names to the groups that it makes, and lets a task of the same name vanish."""


def names(pipeline: Graph) -> Iterator[Problem]:
    """Names are labels, which the SDK would rename without a word; the pipeline's name begins those of its pods."""
    yield from dns_label(Field(pipeline.name, "name"))
    task_names = [task.name for task in pipeline.everything()]
    for i, name in enumerate(task_names):
        yield from dns_label(Field(name, f"tasks[{i}].name"))
        if not name:
            yield Field(name, f"tasks[{i}].name").required()
        elif name[0].isdigit():
            yield Field(name, f"tasks[{i}].name").invalid("must begin with a letter: Argo makes a template of it")
        elif name in task_names[:i]:
            yield Problem(f"tasks[{i}].name", f'Duplicate value: "{name}"')
        elif RESERVED.fullmatch(name):
            yield Field(name, f"tasks[{i}].name").invalid("is a name that KFP gives to a group of tasks")
        elif name.removesuffix("-driver") in task_names and name.endswith("-driver"):
            yield Field(name, f"tasks[{i}].name").invalid("is the name of the driver of another task")
    if not pipeline.name:
        yield Field("", "name").required()
    if not pipeline.tasks:
        yield Field((), "tasks").required("a pipeline has at least one task")


def references(pipeline: Graph) -> Iterator[Problem]:
    """Every name that a task mentions exists."""
    tasks = {task.name: task for task in pipeline.tasks}
    for task in pipeline.everything():
        mentions: list[tuple[str, object]] = [(f"arguments[{name}]", value) for name, value in task.arguments.items()]
        mentions += [("when", task.when.left)] if task.when else []
        mentions += [("after", TaskOutput(name, "")) for name in task.after]
        for place, argument in mentions:
            yield from reference(f"tasks[{task.name}].{place}", argument, tasks, pipeline.parameters)


def reference(
    path: str, argument: object, tasks: Mapping[str, Task], parameters: Mapping[str, Value]
) -> Iterator[Problem]:
    """The parameter, the task or the output that an argument names exists."""
    if isinstance(argument, PipelineInput) and argument.name not in parameters:
        yield Problem(path, missing("parameter", argument.name, parameters))
    if isinstance(argument, TaskOutput) and argument.task not in tasks:
        yield Problem(path, missing("task", argument.task, tasks))
    elif isinstance(argument, TaskOutput) and argument.name:
        outputs = tasks[argument.task].component.made.component_spec.outputs or {}
        if argument.name not in outputs:
            yield Problem(path, f"{argument.task}: " + missing("output", argument.name, outputs))


def missing(what: str, name: str, available: Mapping[str, Any]) -> str:
    return f"{what} '{name}' does not exist. Available: {', '.join(available) or 'none'}"


def circles(pipeline: Graph) -> Iterator[Problem]:
    """No task waits for itself, directly or through others."""
    if waiting := circle({task.name: task.upstream() for task in pipeline.tasks}):
        yield Problem("tasks", f"{' waits for '.join(waiting)}: a circle never starts")


def placement(pipeline: Graph) -> Iterator[Problem]:
    """KFP takes any toleration and selector; the API server refuses a bad one in the middle of the run."""
    for task in pipeline.everything():
        for i, item in enumerate(task.tolerations):
            yield from toleration(Field(dict(item), f"tasks[{task.name}].tolerations[{i}]"))
        yield from labels(Field(dict(task.node_selector), f"tasks[{task.name}].node_selector"))


UNCOMMON = (
    "A downstream task cannot depend on an upstream task within a dsl.If context unless the downstream is within that "
    "context too."
)


def branches(pipeline: Graph) -> Iterator[Problem]:
    """What a branch puts out exists in that branch alone, and only parameters can be compared."""
    tasks = {task.name: task for task in pipeline.tasks}
    for task in pipeline.tasks:
        for name in sorted(task.upstream()):
            if tasks[name].when not in (None, task.when):
                yield Problem(f"tasks[{task.name}]", f"{UNCOMMON} Found task {task.name} which depends on {name}.")
        left = task.when.left if task.when else None
        if isinstance(left, TaskOutput) and "system." in output_type(tasks[left.task], left.name):
            yield Problem(
                f"tasks[{task.name}].when", f"{left.task}: '{left.name}' is an artifact; only parameters compare"
            )


def output_type(task: Task, name: str) -> str:
    return str(task.component.made.component_spec.outputs[name].type)


def exit_task(pipeline: Graph) -> Iterator[Problem]:
    """The exit task runs whatever happened, so it depends on no task that may not have run."""
    if pipeline.on_exit and pipeline.on_exit.upstream():
        yield Problem(f"tasks[{pipeline.on_exit.name}]", "the exit task cannot depend on any other task")
    if pipeline.on_exit and pipeline.on_exit.when:
        yield Problem(f"tasks[{pipeline.on_exit.name}].when", "the exit task runs always")


def argument_problems(pipeline: Graph, arguments: Mapping[str, Value]) -> Iterator[Problem]:
    """Arguments of a run are parameters of the pipeline, of their types."""
    for name, value in arguments.items():
        if name not in pipeline.parameters:
            available = ", ".join(pipeline.parameters) or "none"
            yield Problem(f"arguments[{name}]", f"no such parameter; there are {available}")
        elif type(value) is not type(pipeline.parameters[name]):
            kind = type(pipeline.parameters[name]).__name__
            yield Problem(f"arguments[{name}]", f"{value!r}: must be of type {kind}")
