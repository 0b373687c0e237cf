"""Pipelines: tasks, what flows between them, and the compilation by the KFP SDK (kfp and kfp-kubernetes 2.17.0)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from mlinfra.admission import check
from mlinfra.manifest import Manifest, Resources
from mlinfra.pipelines.component import kfp_refusals
from mlinfra.pipelines.task import OPERATORS, Argument, If, PipelineInput, Task, TaskOutput, Value
from mlinfra.quantity import canonical, quantity


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
        check(self)
        with kfp_refusals(f'Pipeline "{self.name}"', "pipeline"):
            assert self.made

    def everything(self) -> list[Task]:
        """All tasks, the one at the exit last."""
        return [*self.tasks, *([self.on_exit] if self.on_exit else [])]

    def in_order(self) -> list[Task]:
        """The tasks, each after all that it needs."""
        by_name = {task.name: task for task in self.tasks}
        order = TopologicalSorter({task.name: sorted(task.upstream()) for task in self.tasks}).static_order()
        return [by_name[name] for name in order]

    @cached_property
    def made(self) -> Any:
        """The pipeline as KFP's SDK makes it."""
        from kfp import dsl

        def build(*inputs: Any) -> None:
            _build(self, dict(zip(self.parameters, inputs, strict=True)))

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

    def container(self, task: Task) -> Manifest:
        """The image and the command of a task, in the IR."""
        return dict(self.ir()["deploymentSpec"]["executors"][f"exec-{task.name}"]["container"])

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


# ----------------------------------------------------------------------------------- what the SDK builds, or refuses


def _build(pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
    """The body of the `dsl.pipeline` function: everything inside the exit handler, conditions last."""
    from kfp import dsl

    made: dict[str, Any] = {}
    with ExitStack() as handler:
        if pipeline.on_exit:
            handler.enter_context(dsl.ExitHandler(_add(pipeline.on_exit, made, inputs)))
        tasks = pipeline.in_order()
        conditions = dict.fromkeys(task.when for task in tasks if task.when)
        for condition in (None, *conditions):
            with ExitStack() as branch:
                if condition:
                    branch.enter_context(dsl.If(_compared(condition, made, inputs)))
                for task in tasks:
                    if task.when == condition:
                        _add(task, made, inputs)


def _add(task: Task, made: dict[str, Any], inputs: Mapping[str, Any]) -> Any:
    """The task in the pipeline that is being built."""
    from copy import copy, deepcopy

    component = copy(task.component.made)
    component.component_spec = deepcopy(component.component_spec)
    component.component_spec.name = task.name
    with kfp_refusals(f'Task "{task.name}"', f"tasks[{task.name}]"):
        built = component(**{name: _resolved(argument, made, inputs) for name, argument in task.arguments.items()})
        built.after(*(made[name] for name in task.after))
        _configure(built, task)
    made[task.name] = built
    return built


def _resolved(argument: Argument, made: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    if isinstance(argument, PipelineInput):
        return inputs[argument.name]
    return made[argument.task].outputs[argument.name] if isinstance(argument, TaskOutput) else argument


def _compared(condition: If, made: Mapping[str, Any], inputs: Mapping[str, Any]) -> Any:
    import operator

    compare = getattr(operator, OPERATORS[condition.operator])
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
    for toleration in task.tolerations:
        kubernetes.add_toleration(
            built, **{"toleration_seconds" if k == "tolerationSeconds" else k: v for k, v in toleration.items()}
        )


def _set_resources(built: Any, resources: Resources) -> None:
    """KFP knows CPU, memory and one kind of accelerator; the accelerator's request is its limit."""
    if len(kinds := [name for name in resources.limits if "/" in name]) > 1:
        raise ValueError(f"{', '.join(kinds)}: KFP has one kind of accelerator a task")
    for side, amounts in (("request", resources.requests), ("limit", resources.limits)):
        for name, amount in amounts.items():
            if name in ("cpu", "memory"):
                getattr(built, f"set_{name}_{side}")(canonical(amount))
            elif "/" not in name:
                raise ValueError(f"{name}: KFP has no such resource")
            elif side == "limit":
                built.set_accelerator_type(name).set_accelerator_limit(int(quantity(amount)))
