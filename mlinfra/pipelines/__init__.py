"""Kubeflow Pipelines: components, pipelines compiled by KFP's SDK and run by its local runner, and their execution."""

from mlinfra.pipelines.component import Component
from mlinfra.pipelines.pipeline import Pipeline
from mlinfra.pipelines.task import If, PipelineInput, Retry, Task, TaskOutput

__all__ = ["Component", "If", "Pipeline", "PipelineInput", "Retry", "Task", "TaskOutput"]
