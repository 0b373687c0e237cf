"""KFP's cache as its backend keeps it: what is in a step's key, what is not, and which steps a run therefore skips.

Follows kubeflow/pipelines 2.17 (`backend/src/v2/cacheutils/cache.go`, `driver/cache.go`, `metadata/client.go`): the key
has the image's name, the command with the source in it, the values of parameters and the *ids* of input artifacts. A
hit needs the same pipeline name, and never expires. Left out: namespaces, volumes, a cacheKey of one's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlinfra.admission.rules import Problem, refuse
from mlinfra.pipelines.graph_rules import argument_problems
from mlinfra.pipelines.pipeline import Pipeline
from mlinfra.pipelines.task import PipelineInput, Task, TaskOutput, Value


@dataclass
class Cache:
    """The executions that succeeded, by key, with the ids of the artifacts that they put out."""

    executions: dict[str, dict[str, int]] = field(default_factory=dict)
    issued: int = 0

    def run(
        self,
        pipeline: Pipeline,
        arguments: Mapping[str, Value] | None = None,
        values: Mapping[TaskOutput, Value] | None = None,
    ) -> dict[str, str]:
        """Which tasks run and which are found; `values` are what tasks return to others. Every condition holds.

        Invalid for arguments that the pipeline does not have and values that are missing; the cache stays as it is.
        """
        refuse("run", [*argument_problems(pipeline, arguments or {}), *_unsaid(pipeline, values or {})])
        given = {**pipeline.parameters, **(arguments or {})}
        artifacts: dict[str, dict[str, int]] = {}
        verdicts = {}
        tasks = {task.name: task for task in pipeline.tasks}
        for task in (tasks[name] for name in pipeline.order()):
            fingerprint = key(pipeline, task, given, artifacts, values or {})
            hit = task.enable_cache and fingerprint in self.executions
            verdicts[task.name] = "cached" if hit else "ran"
            artifacts[task.name] = self.executions[fingerprint] if hit else self._new(task)
            if task.enable_cache:
                self.executions[fingerprint] = artifacts[task.name]
        return verdicts

    def _new(self, task: Task) -> dict[str, int]:
        """New ids for what the task puts out."""
        names = _artifact_outputs(task)
        self.issued += len(names)
        return {name: self.issued - i for i, name in enumerate(names)}


def _unsaid(pipeline: Pipeline, values: Mapping[TaskOutput, Value]) -> Iterator[Problem]:
    tasks = {task.name: task for task in pipeline.tasks}
    for task in pipeline.tasks:
        for name, argument in task.arguments.items():
            returned = isinstance(argument, TaskOutput) and argument.name not in _artifact_outputs(tasks[argument.task])
            if returned and argument not in values:
                yield Problem(f"values[{argument}]", f"must say what {task.name} gets as {name}")


def key(
    pipeline: Pipeline,
    task: Task,
    given: Mapping[str, Value],
    artifacts: Mapping[str, Mapping[str, int]],
    values: Mapping[TaskOutput, Value],
) -> str:
    """The fingerprint of a task: equal for equal image, command, parameters and ids of artifacts."""
    container = _container(pipeline, task)
    parameters, inputs = {}, {}
    for name, argument in task.arguments.items():
        if isinstance(argument, TaskOutput) and argument.name in artifacts[argument.task]:
            inputs[name] = artifacts[argument.task][argument.name]
        elif isinstance(argument, TaskOutput):
            parameters[name] = values[argument]
        else:
            parameters[name] = given[argument.name] if isinstance(argument, PipelineInput) else argument
    said = [
        pipeline.name,
        container["image"],
        container.get("command", []) + container.get("args", []),
        parameters,
        inputs,
    ]
    outputs = {name: str(spec.type) for name, spec in (task.component.made.component_spec.outputs or {}).items()}
    return hashlib.sha256(json.dumps([*said, outputs], sort_keys=True).encode()).hexdigest()


def _container(pipeline: Pipeline, task: Task) -> Any:
    return pipeline.ir()["deploymentSpec"]["executors"][f"exec-{task.name}"]["container"]


def _artifact_outputs(task: Task) -> list[str]:
    outputs = task.component.made.component_spec.outputs or {}
    return [name for name, spec in outputs.items() if str(spec.type).startswith("system.")]
