"""Pods of one kind: equal for every filter and every scoring plugin, whatever their names and labels."""

from __future__ import annotations

from typing import Any

from mlinfra.gpu.pods import GPURequest

Kind = tuple[Any, ...]


def kind_of(pod: GPURequest) -> Kind:
    """What filters and scoring plugins read of a pod."""
    return (
        tuple(sorted(pod.requests.items())),
        pod.tolerations,
        tuple(sorted(pod.node_selector.items())),
        pod.required,
        pod.preferred,
        pod.preferred_gpu_type,
        pod.gpu_count,
    )
