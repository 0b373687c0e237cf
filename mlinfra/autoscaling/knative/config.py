"""What can be set: the cluster's `config-autoscaler`, and a revision's annotations.

Follows knative/serving v1.23.0: `pkg/autoscaler/config/config.go` and `pkg/apis/autoscaling/register.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from mlinfra.admission import Count, Field, Finite, Share, accepted, check, refuse
from mlinfra.admission.knative import (
    annotation_problems,
    annotation_values,
    annotations_of,
    config_problems,
    config_values,
    key,
    texts,
)
from mlinfra.admission.rules import one_of
from mlinfra.manifest import Manifest


@dataclass(frozen=True)
class Config:
    """The cluster's `config-autoscaler`, with its defaults; no key sets `target_utilization`."""

    enable_scale_to_zero: bool = True
    container_concurrency_target_fraction: Share = 0.7
    container_concurrency_target_default: Finite = 100
    target_utilization: Share = 0.7
    rps_target_default: Finite = 200
    target_burst_capacity: Finite = 211
    activator_capacity: Finite = 100
    allow_zero_initial_scale: bool = False
    initial_scale: int = 1
    min_scale: int = 0
    max_scale: int = 0
    max_scale_limit: int = 0
    max_scale_up_rate: Finite = 1000
    max_scale_down_rate: Finite = 2
    stable_window_s: Finite = 60
    panic_window_percentage: Finite = 10
    panic_threshold_percentage: Finite = 200
    scale_to_zero_grace_s: Finite = 30
    scale_to_zero_pod_retention_s: Finite = 0
    scale_down_delay_s: Finite = 0

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, configmap: Manifest) -> Config:
        """The settings of a ConfigMap; Invalid when Knative's webhook would refuse it."""
        data = accepted("ConfigMap", configmap, lambda obj: config_problems(obj["data"])).get("data", {})
        return cls(**named(cls, config_values(data)))

    def manifest(self) -> Manifest:
        """The ConfigMap with every key written out."""
        settings = {name: value for name, value in vars(self).items() if name != "target_utilization"}
        metadata = {"name": "config-autoscaler", "namespace": "knative-serving"}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": texts(settings)}


@dataclass(frozen=True)
class Revision:
    """What one revision asks for, by `containerConcurrency` and annotations; None leaves it to the cluster."""

    metric: Annotated[str, one_of("concurrency", "rps")] = "concurrency"
    container_concurrency: Count = 0
    target: Finite | None = None
    target_utilization_percentage: Finite | None = None
    window_s: Finite | None = None
    panic_window_percentage: Finite | None = None
    panic_threshold_percentage: Finite | None = None
    initial_scale: int | None = None
    min_scale: int | None = None
    max_scale: int | None = None
    target_burst_capacity: Finite | None = None
    scale_down_delay_s: Finite | None = None
    scale_to_zero_pod_retention_s: Finite | None = None
    activation_scale: int | None = None

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, annotations: Mapping[str, str], container_concurrency: int = 0) -> Revision:
        """The annotations of a revision template; Invalid when Knative's webhook would refuse them."""
        refuse("revision", annotation_problems(Field(annotations)))
        return cls(container_concurrency=container_concurrency, **named(cls, annotation_values(annotations)))

    def annotations(self) -> dict[str, str]:
        """Annotations of the revision template: kebab-case names, and every value a string."""
        return annotations_of(vars(self))


def named(noun: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by the names of the noun's fields."""
    return {field.name: values[key(field.name)] for field in fields(noun) if key(field.name) in values}
