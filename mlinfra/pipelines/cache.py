"""KFP's cache as its backend keeps it: what is in a step's key, what is not, and which steps a run therefore skips.

Follows kubeflow/pipelines 2.17 (`backend/src/v2/cacheutils/cache.go`, `driver/cache.go`, `metadata/client.go`): the key
has the image's name, the command with the source in it, the values of parameters, the *ids* of input artifacts and the
types of outputs. A hit needs the same pipeline name, and never expires. Left out: namespaces, volumes, a cacheKey of
one's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlinfra.admission import refuse
from mlinfra.admission.nouns.pipelines import returned_values, run_arguments
from mlinfra.pipelines.pipeline import Pipeline
from mlinfra.pipelines.task import PipelineInput, Source, Task, TaskOutput, Value


def key(
    pipeline: Pipeline,
    task: Task,
    sources: Mapping[Source, Value],
    artifact_ids: Mapping[Source, int],
) -> str:
    """Equal for tasks of equal pipeline name, image, command, parameters, ids of input artifacts and output types."""
    container = pipeline.container(task)
    parameters, artifacts = {}, {}
    for name, argument in task.arguments.items():
        if not isinstance(argument, PipelineInput | TaskOutput):
            parameters[name] = argument
        elif argument in artifact_ids:
            artifacts[name] = artifact_ids[argument]
        else:
            parameters[name] = sources[argument]
    cache_key = [
        pipeline.name,
        container["image"],
        container.get("command", []) + container.get("args", []),
        parameters,
        artifacts,
        task.component.output_types,
    ]
    return hashlib.sha256(json.dumps(cache_key, sort_keys=True).encode()).hexdigest()


@dataclass
class Cache:
    """The executions that succeeded, by key, with the ids of the artifacts that they put out; `issued` is the last."""

    executions: dict[str, dict[str, int]] = field(default_factory=dict)
    issued: int = 0

    def run(
        self,
        pipeline: Pipeline,
        arguments: Mapping[str, Value] | None = None,
        values: Mapping[TaskOutput, Value] | None = None,
    ) -> dict[str, str]:
        """Each task with "ran" or "cached"; `values` are what tasks return to others. Every `If` is taken as true.

        Invalid for arguments that the pipeline does not have and values that are missing; the cache stays as it is.
        """
        refuse(
            "run",
            [*run_arguments(pipeline.parameters, arguments or {}), *returned_values(pipeline.tasks, values or {})],
        )
        inputs = {**pipeline.parameters, **(arguments or {})}
        sources: dict[Source, Value] = {PipelineInput(name): value for name, value in inputs.items()}
        sources.update((values or {}).items())
        artifact_ids: dict[Source, int] = {}
        states = {}
        for task in pipeline.in_order():
            fingerprint = key(pipeline, task, sources, artifact_ids)
            hit = task.enable_cache and fingerprint in self.executions
            states[task.name] = "cached" if hit else "ran"
            artifacts = self.executions[fingerprint] if hit else self._new_artifacts(task)
            artifact_ids |= {TaskOutput(task.name, name): number for name, number in artifacts.items()}
            if task.enable_cache:
                self.executions[fingerprint] = artifacts
        return states

    def _new_artifacts(self, task: Task) -> dict[str, int]:
        """New ids for what the task puts out."""
        artifacts = {name: self.issued + i for i, name in enumerate(task.component.artifacts(), 1)}
        self.issued += len(artifacts)
        return artifacts
