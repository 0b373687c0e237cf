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
from mlinfra.pipelines.compiled import CompiledTask, KubeflowPipeline, Source, Value


def key(
    pipeline: KubeflowPipeline,
    task: CompiledTask,
    values: Mapping[Source, Value],
    artifact_ids: Mapping[Source, int],
) -> str:
    """Equal for tasks of equal pipeline name, image, command, parameters, ids of input artifacts and output types."""
    artifacts = {name: artifact_ids[source] for name, source in task.sources.items() if source in artifact_ids}
    parameters = {name: values[source] for name, source in task.sources.items() if source not in artifact_ids}
    cache_key = [
        pipeline.name,
        task.container["image"],
        task.container.get("command", []) + task.container.get("args", []),
        {**parameters, **task.constants},
        artifacts,
        task.output_types,
    ]
    return hashlib.sha256(json.dumps(cache_key, sort_keys=True).encode()).hexdigest()


@dataclass
class Cache:
    """The executions that succeeded, by key, with the ids of the artifacts that they put out; `issued` is the last."""

    executions: dict[str, dict[str, int]] = field(default_factory=dict)
    issued: int = 0

    def run(
        self,
        pipeline: KubeflowPipeline,
        arguments: Mapping[str, Value] | None = None,
        values: Mapping[Source, Value] | None = None,
    ) -> dict[str, str]:
        """Each task with "ran" or "cached"; `values` are what tasks return to others. Every `If` is taken as true.

        Invalid for arguments that the pipeline does not have and values that are missing; the cache stays as it is.
        """
        arguments, values = arguments or {}, values or {}
        refuse("run", [*run_arguments(pipeline.parameters, arguments), *returned_values(pipeline.tasks, values)])
        known = {**{Source(name): value for name, value in {**pipeline.parameters, **arguments}.items()}, **values}
        artifact_ids: dict[Source, int] = {}
        states = {}
        for task in pipeline.tasks:
            fingerprint = key(pipeline, task, known, artifact_ids)
            hit = task.enable_cache and fingerprint in self.executions
            states[task.name] = "cached" if hit else "ran"
            artifacts = self.executions[fingerprint] if hit else self._new_artifacts(task)
            artifact_ids |= {Source(name, task.name): number for name, number in artifacts.items()}
            if task.enable_cache:
                self.executions[fingerprint] = artifacts
        return states

    def _new_artifacts(self, task: CompiledTask) -> dict[str, int]:
        """New ids for what the task puts out."""
        artifacts = {name: self.issued + i for i, name in enumerate(task.artifacts(), 1)}
        self.issued += len(artifacts)
        return artifacts
