"""KServe's InferenceService, serving.kserve.io/v1beta1: the object, and who refuses a wrong one in which words.

Follows KServe 0.20/0.21: `pkg/apis/serving/v1beta1/{inference_service_validation,component,predictor}.go` (the
webhook) and `pkg/controller/v1beta1/inferenceservice` (the controller, where it objects). Not here: explainers,
several nodes (`workerSpec`), KEDA's metrics, loggers, batchers and tracing; `validate` knows their fields, not their
rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlinfra.admission import check_manifest
from mlinfra.admission.kserve import API_VERSION, CONTAINER, MODE, MODES, advice
from mlinfra.admission.rules import Field, refuse
from mlinfra.manifest import RESTRICTED, Manifest, Resources


@dataclass(frozen=True)
class Model:
    """`predictor.model`: files in storage and their format; KServe finds a serving runtime for the format."""

    format: str
    storage_uri: str
    resources: Resources
    format_version: str = ""
    protocol_version: str = ""
    runtime: str = ""
    runtime_version: str = ""

    def manifest(self) -> Manifest:
        said = {
            "storageUri": self.storage_uri,
            "protocolVersion": self.protocol_version,
            "runtime": self.runtime,
            "runtimeVersion": self.runtime_version,
        }
        version = {"version": self.format_version} if self.format_version else {}
        return {
            "modelFormat": {"name": self.format, **version},
            **{name: value for name, value in said.items() if value},
            "resources": self.resources.manifest(),
            "securityContext": RESTRICTED,
        }


@dataclass(frozen=True)
class Container:
    """A container of one's own that speaks KServe's protocol on port 8080: the source notebook's "custom"."""

    image: str
    resources: Resources
    args: tuple[str, ...] = ()

    def manifest(self) -> Manifest:
        probes = {"readinessProbe": "/v2/health/ready", "livenessProbe": "/v2/health/live"}
        return {
            "name": CONTAINER,
            "image": self.image,
            **({"args": list(self.args)} if self.args else {}),
            "ports": [{"containerPort": 8080, "protocol": "TCP"}],
            **{probe: {"httpGet": {"path": path, "port": 8080}} for probe, path in probes.items()},
            "resources": self.resources.manifest(),
            "securityContext": RESTRICTED,
        }


@dataclass(frozen=True)
class Component:
    """What predictor and transformer share (upstream's ComponentExtensionSpec); None leaves a field out.

    `scale_metric` is cpu or memory in Standard mode, concurrency or rps in Knative mode. `timeout` in seconds.
    """

    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_metric: str | None = None
    scale_target: int | None = None
    container_concurrency: int | None = None
    timeout: int | None = None
    canary_traffic_percent: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Manifest, ...] = ()

    def manifest(self) -> Manifest:
        said = {
            "minReplicas": self.min_replicas,
            "maxReplicas": self.max_replicas,
            "scaleMetric": self.scale_metric,
            "scaleTarget": self.scale_target,
            "containerConcurrency": self.container_concurrency,
            "timeout": self.timeout,
            "canaryTrafficPercent": self.canary_traffic_percent,
            "nodeSelector": dict(self.node_selector) or None,
            "tolerations": list(self.tolerations) or None,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Predictor(Component):
    """What answers: a model for a runtime, or a container; a `name` tells it from its canaries in Standard mode."""

    model: Model | Container = field(kw_only=True)
    name: str = ""

    def manifest(self) -> Manifest:
        named = {"name": self.name} if self.name else {}
        what: Manifest = self.model.manifest()
        served = {"model": what} if isinstance(self.model, Model) else {"containers": [what]}
        return named | super().manifest() | served


@dataclass(frozen=True)
class Transformer(Component):
    """What stands in front of the predictor and turns requests and answers; KServe tells it the predictor's host."""

    container: Container = field(kw_only=True)

    def manifest(self) -> Manifest:
        return super().manifest() | {"containers": [self.container.manifest()]}


@dataclass(frozen=True)
class Canary:
    """An entry of `spec.canary` (Standard mode, since 0.20): a named predictor and its share of the traffic."""

    traffic_percent: int
    predictor: Predictor

    def manifest(self) -> Manifest:
        predictor = self.predictor.manifest()
        if "model" in predictor:  # the schema of 0.21 wants the container's name here, and only here
            predictor["model"] = {"name": CONTAINER} | predictor["model"]
        return {"trafficPercent": self.traffic_percent, "predictor": predictor}


@dataclass(frozen=True)
class InferenceService:
    """The object; Invalid when the webhook or the controller would refuse it, or would read it otherwise.

    The mode is written out because installations differ in their default.
    """

    name: str
    predictor: Predictor
    transformer: Transformer | None = None
    canary: tuple[Canary, ...] = ()
    mode: str = "Standard"
    namespace: str = "default"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            refuse("InferenceService", [Field(self.mode, "mode").unsupported(sorted(MODES))])
        check_manifest(self.manifest())
        refuse(f'InferenceService.serving.kserve.io "{self.name}"', advice(self.manifest()))

    def manifest(self) -> Manifest:
        spec: Manifest = {"predictor": self.predictor.manifest()}
        if self.transformer:
            spec["transformer"] = self.transformer.manifest()
        if self.canary:
            spec["canary"] = [canary.manifest() for canary in self.canary]
        metadata = {"name": self.name, "namespace": self.namespace, "annotations": {MODE: self.mode}}
        return {"apiVersion": API_VERSION, "kind": "InferenceService", "metadata": metadata, "spec": spec}
