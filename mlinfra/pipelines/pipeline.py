"""Pipelines: tasks, what flows between them, and the compilation by the KFP SDK (kfp and kfp-kubernetes 2.17.0)."""

from __future__ import annotations

import inspect
import json
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from mlinfra.admission.rules import Field, Invalid, Problem, check, dns_label, labels, whole
from mlinfra.manifest import Manifest, Resources
from mlinfra.pipelines.component import Component
from mlinfra.quantity import canonical, quantity

Value = str | int | float | bool | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class PipelineInput:
    """A parameter of the pipeline."""

    name: str


@dataclass(frozen=True)
class TaskOutput:
    """What another task puts out; "Output" is what its function returns."""

    task: str
    name: str = "Output"


Argument = Value | PipelineInput | TaskOutput
OPERATORS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Condition:
    """A comparison that is made when the run gets there: `left` operator `right`."""

    left: PipelineInput | TaskOutput
    operator: str
    right: str | int | float | bool

    def __post_init__(self) -> None:
        check(
            "condition",
            [] if self.operator in OPERATORS else [Field(self.operator, "operator").unsupported([*OPERATORS])],
        )
        if not _finite(self.right) or (isinstance(self.right, str) and set(self.right) & set("'\"\\")):
            raise Invalid("condition", [Problem("right", f"{self.right!r}: must be finite, and text without quotes")])


@dataclass(frozen=True)
class Retry:
    """A failed step starts again, so many times at most, after a pause that grows by the factor.

    On a cluster no attempt starts later than `backoff_max_duration_s` after the *first* one started (Argo's
    maxDuration), and KFP's default is an hour. Locally it caps one pause.
    """

    max_retry_count: int
    backoff_duration_s: int = 0
    backoff_factor: float = 2.0
    backoff_max_duration_s: int = 3600

    def __post_init__(self) -> None:
        given = Field(vars(self))
        check("retry", [p for name in RETRY for p in whole(0)(given[name])])
        check("retry", [] if self.backoff_factor >= 1 else [given["backoff_factor"].invalid("must be 1 or more")])


RETRY = ("max_retry_count", "backoff_duration_s", "backoff_max_duration_s")


@dataclass(frozen=True)
class Task:
    """One step of a pipeline: a component, its arguments, and how the cluster is to run it."""

    name: str
    component: Component
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    when: Condition | None = None
    resources: Resources | None = None
    retry: Retry | None = None
    enable_cache: bool = True
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def upstream(self) -> set[str]:
        """The tasks that must have finished before this one."""
        asked = [*self.arguments.values(), *([self.when.left] if self.when else [])]
        return {*self.after, *(argument.task for argument in asked if isinstance(argument, TaskOutput))}


@dataclass(frozen=True)
class Pipeline:
    """Tasks with what flows between them; `parameters` have defaults, `on_exit` runs whatever happened.

    Invalid when names, references or the graph are wrong, in our words, or when the SDK refuses it, in KFP's.
    """

    name: str
    tasks: Sequence[Task]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    on_exit: Task | None = None
    description: str = ""

    def __post_init__(self) -> None:
        what = f'pipeline "{self.name}"'
        check(what, _shapes(self))
        check(what, [*_names(self), *_references(self), *_circles(self), *_placement(self)])
        check(what, [*_branches(self), *_exit(self)])
        try:
            assert self.made
        except Refused as refusal:
            raise Invalid(what, [refusal.problem]) from refusal.__cause__
        except Exception as refusal:  # the SDK's own exceptions have no common base
            raise Invalid(what, [Problem("pipeline", str(refusal).strip())]) from refusal

    def everything(self) -> list[Task]:
        """All tasks, the one at the exit last."""
        return [*self.tasks, *([self.on_exit] if self.on_exit else [])]

    def order(self) -> list[str]:
        """The tasks in an order in which each comes after all that it needs; among equals, as given."""
        return list(TopologicalSorter({task.name: sorted(task.upstream()) for task in self.tasks}).static_order())

    @cached_property
    def made(self) -> Any:
        """The pipeline as KFP's SDK makes it."""
        from kfp import dsl

        def build(*given: Any) -> None:
            _build(self, dict(zip(self.parameters, given, strict=True)))

        build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value, annotation=type(value))
                for name, value in self.parameters.items()
            ]
        )
        return dsl.pipeline(build, name=self.name, description=self.description or None)

    def ir(self) -> Manifest:
        """The intermediate representation, KFP's own format: what the backend is given."""
        return _ordered(self.made.pipeline_spec)

    def platform(self) -> Manifest:
        """The second document: what only Kubernetes understands, by executor. Empty when there is nothing."""
        return _ordered(self.made.platform_spec)

    def compile(self) -> str:
        """The file that one uploads, written by KFP's compiler: the IR and, if need be, the platform's document."""
        import tempfile
        from pathlib import Path

        from kfp.compiler import Compiler

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            Compiler().compile(self.made, str(path))
            return path.read_text("utf-8")


def _ordered(message: Any) -> Manifest:
    """A protobuf message as a dictionary; its maps have no order of their own, so the keys are sorted."""
    from google.protobuf.json_format import MessageToJson

    return dict(json.loads(MessageToJson(message, sort_keys=True)))


# ------------------------------------------------------------------------------------------------ what we refuse


def argument_problems(pipeline: Pipeline, arguments: Mapping[str, Value]) -> Iterator[Problem]:
    """Arguments of a run are parameters of the pipeline, of their types."""
    for name, value in arguments.items():
        if name not in pipeline.parameters:
            there = ", ".join(pipeline.parameters) or "none"
            yield Problem(f"arguments[{name}]", f"no such parameter; there are {there}")
        elif type(value) is not type(pipeline.parameters[name]):
            wanted = type(pipeline.parameters[name]).__name__
            yield Problem(f"arguments[{name}]", f"{value!r}: must be of type {wanted}")


def _finite(value: object) -> bool:
    """JSON, in which KFP writes them, has no NaN and no infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _shapes(pipeline: Pipeline) -> Iterator[Problem]:
    """What is not even of the right kind, before anything asks about it."""
    for name, value in pipeline.parameters.items():
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            yield Problem(f"parameters[{name}]", "must be a name that Python takes for an argument")
        elif type(value) not in KINDS or not _finite(value):
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
        elif any(not isinstance(given, Mapping) for given in task.tolerations):
            yield Problem(f"tasks[{i}].tolerations", "must be maps, as in a pod")


KINDS = (str, int, float, bool, list, dict)
RESERVED = re.compile(r"(condition|exit-handler)-\d+")
"""KFP gives these names to the groups that it makes, and lets a task of the same name vanish."""


def _names(pipeline: Pipeline) -> Iterator[Problem]:
    """The SDK would rename what is not a label; we say so. The pipeline's name begins the names of its pods."""
    yield from dns_label(Field(pipeline.name, "name"))
    names = [task.name for task in pipeline.everything()]
    for i, name in enumerate(names):
        yield from dns_label(Field(name, f"tasks[{i}].name"))
        if not name:
            yield Field(name, f"tasks[{i}].name").required()
        elif name[0].isdigit():
            yield Field(name, f"tasks[{i}].name").invalid("must begin with a letter: Argo makes a template of it")
        elif name in names[:i]:
            yield Problem(f"tasks[{i}].name", f'Duplicate value: "{name}"')
        elif RESERVED.fullmatch(name):
            yield Field(name, f"tasks[{i}].name").invalid("is a name that KFP gives to a group of tasks")
        elif name.removesuffix("-driver") in names and name.endswith("-driver"):
            yield Field(name, f"tasks[{i}].name").invalid("is the name of the driver of another task")
    if not pipeline.name:
        yield Field("", "name").required()
    if not pipeline.tasks:
        yield Field((), "tasks").required("a pipeline has at least one task")


def _references(pipeline: Pipeline) -> Iterator[Problem]:
    """Every name that a task mentions exists."""
    tasks = {task.name: task for task in pipeline.tasks}
    for task in pipeline.everything():
        asked: list[tuple[str, object]] = [(f"arguments[{name}]", value) for name, value in task.arguments.items()]
        asked += [("when", task.when.left)] if task.when else []
        asked += [("after", TaskOutput(name, "")) for name in task.after]
        for place, argument in asked:
            yield from _reference(f"tasks[{task.name}].{place}", argument, tasks, pipeline.parameters)


def _reference(
    path: str, argument: object, tasks: Mapping[str, Task], parameters: Mapping[str, Value]
) -> Iterator[Problem]:
    if isinstance(argument, PipelineInput) and argument.name not in parameters:
        yield Problem(path, _missing("parameter", argument.name, parameters))
    if isinstance(argument, TaskOutput) and argument.task not in tasks:
        yield Problem(path, _missing("task", argument.task, tasks))
    elif isinstance(argument, TaskOutput) and argument.name:
        outputs = tasks[argument.task].component.made.component_spec.outputs or {}
        if argument.name not in outputs:
            yield Problem(path, f"{argument.task}: " + _missing("output", argument.name, outputs))


def _missing(what: str, name: str, there: Mapping[str, Any]) -> str:
    return f"{what} '{name}' does not exist. Available: {', '.join(there) or 'none'}"


def _circles(pipeline: Pipeline) -> Iterator[Problem]:
    try:
        TopologicalSorter({task.name: task.upstream() for task in pipeline.tasks}).prepare()
    except CycleError as cycle:
        yield Problem("tasks", f"{' waits for '.join(reversed(cycle.args[1]))}: a circle never starts")


def _placement(pipeline: Pipeline) -> Iterator[Problem]:
    """KFP takes any toleration and selector; the API server refuses a bad one in the middle of the run."""
    from mlinfra.admission.pods import toleration

    for task in pipeline.everything():
        for i, given in enumerate(task.tolerations):
            yield from toleration(Field(dict(given), f"tasks[{task.name}].tolerations[{i}]"))
        yield from labels(Field(dict(task.node_selector), f"tasks[{task.name}].node_selector"))


def _branches(pipeline: Pipeline) -> Iterator[Problem]:
    """What a branch puts out exists in that branch alone; and only a value that is in the metadata can be compared."""
    tasks = {task.name: task for task in pipeline.tasks}
    for task in pipeline.tasks:
        for name in sorted(task.upstream()):
            if tasks[name].when not in (None, task.when):
                yield Problem(f"tasks[{task.name}]", f"{UNCOMMON} Found task {task.name} which depends on {name}.")
        left = task.when.left if task.when else None
        if isinstance(left, TaskOutput) and "system." in _output_type(tasks[left.task], left.name):
            yield Problem(
                f"tasks[{task.name}].when", f"{left.task}: '{left.name}' is an artifact; only parameters compare"
            )


UNCOMMON = (
    "A downstream task cannot depend on an upstream task within a dsl.If context unless the downstream is within that "
    "context too."
)


def _output_type(task: Task, name: str) -> str:
    return str(task.component.made.component_spec.outputs[name].type)


def _exit(pipeline: Pipeline) -> Iterator[Problem]:
    """The exit task runs whatever happened, so it stands on nothing that may not have happened."""
    if pipeline.on_exit and pipeline.on_exit.upstream():
        yield Problem(f"tasks[{pipeline.on_exit.name}]", "the exit task cannot depend on any other task")
    if pipeline.on_exit and pipeline.on_exit.when:
        yield Problem(f"tasks[{pipeline.on_exit.name}].when", "the exit task runs always")


# ----------------------------------------------------------------------------------- what the SDK builds, or refuses


class Refused(Exception):
    """The SDK's objection, with the task that it was building."""

    def __init__(self, path: str, why: Exception) -> None:
        self.problem = Problem(path, str(why).strip())
        super().__init__(str(why))


def _build(pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
    """The body of the `dsl.pipeline` function: everything inside the exit handler, conditions last."""
    from kfp import dsl

    made: dict[str, Any] = {}
    with ExitStack() as handler:
        if pipeline.on_exit:
            handler.enter_context(dsl.ExitHandler(_add(pipeline.on_exit, made, inputs)))
        by_name = {task.name: task for task in pipeline.tasks}
        ordered = [by_name[name] for name in pipeline.order()]
        for condition in dict.fromkeys(task.when for task in sorted(ordered, key=lambda task: task.when is not None)):
            with ExitStack() as branch:
                if condition:
                    branch.enter_context(dsl.If(_compared(condition, made, inputs)))
                for task in (task for task in ordered if task.when == condition):
                    _add(task, made, inputs)


def _add(task: Task, made: dict[str, Any], inputs: Mapping[str, Any]) -> Any:
    """The task in the pipeline that is being built."""
    from copy import copy, deepcopy

    component = copy(task.component.made)
    component.component_spec = deepcopy(component.component_spec)
    component.component_spec.name = task.name
    try:
        built = component(**{name: _resolved(argument, made, inputs) for name, argument in task.arguments.items()})
        built.after(*(made[name] for name in task.after))
        _configure(built, task)
    except Exception as refusal:  # the SDK's own exceptions have no common base
        raise Refused(f"tasks[{task.name}]", refusal) from refusal
    made[task.name] = built
    return built


def _resolved(argument: Argument, made: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    if isinstance(argument, PipelineInput):
        return inputs[argument.name]
    return made[argument.task].outputs[argument.name] if isinstance(argument, TaskOutput) else argument


def _compared(condition: Condition, made: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    import operator

    names = dict(zip(OPERATORS, ("eq", "ne", "lt", "le", "gt", "ge"), strict=True))
    compare = getattr(operator, names[condition.operator])
    return compare(_resolved(condition.left, made, inputs), condition.right)


def _configure(built: Any, task: Task) -> None:
    """Caching, retries, resources, and where the pod may go."""
    from kfp import kubernetes

    built.set_caching_options(task.enable_cache)
    if task.retry:
        built.set_retry(
            task.retry.max_retry_count,
            backoff_duration=f"{task.retry.backoff_duration_s}s",
            backoff_factor=task.retry.backoff_factor,
            backoff_max_duration=f"{task.retry.backoff_max_duration_s}s",
        )
    if task.resources:
        _set_resources(built, task.resources)
    for key, value in task.node_selector.items():
        kubernetes.add_node_selector(built, key, value)
    for given in task.tolerations:
        kubernetes.add_toleration(
            built, **{"toleration_seconds" if k == "tolerationSeconds" else k: v for k, v in given.items()}
        )


def _set_resources(built: Any, resources: Resources) -> None:
    """KFP knows CPU, memory and one kind of accelerator; the accelerator's request is its limit."""
    if len(kinds := [name for name in resources.limits if "/" in name]) > 1:
        raise ValueError(f"{', '.join(kinds)}: KFP has one kind of accelerator a task")
    for side, given in (("request", resources.requests), ("limit", resources.limits)):
        for name, amount in given.items():
            if name in ("cpu", "memory"):
                getattr(built, f"set_{name}_{side}")(canonical(amount))
            elif "/" not in name:
                raise ValueError(f"{name}: KFP has no such resource")
            elif side == "limit":
                built.set_accelerator_type(name).set_accelerator_limit(int(quantity(amount)))
