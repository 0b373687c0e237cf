"""Kubeflow Pipelines: a compiled pipeline read back, run by KFP's local runner, and what a cluster makes of it."""

from mlinfra.pipelines.compiled import CompiledTask, KubeflowPipeline, Loop, Source

__all__ = ["CompiledTask", "KubeflowPipeline", "Loop", "Source"]
