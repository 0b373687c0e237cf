"""KServe's InferenceService, serving.kserve.io/v1beta1: the object, and who refuses a wrong one in which words.

Follows KServe 0.20/0.21: `pkg/apis/serving/v1beta1/{inference_service_validation,component,predictor}.go` (the
webhook) and `pkg/controller/v1beta1/inferenceservice` (the controller, where it objects). Not here: explainers,
several nodes (`workerSpec`), KEDA's metrics, loggers, batchers and tracing, which `validate` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any

from mlinfra.admission import accepted, check
from mlinfra.admission.kserve import API_VERSION, CONTAINER, MODE, MODES, advice, mode
from mlinfra.admission.kserve_storage import FRAMEWORKS
from mlinfra.admission.rules import one_of, refuse
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

    @classmethod
    def of(cls, manifest: Manifest) -> Model:
        model_format = manifest["modelFormat"]
        return cls(
            model_format["name"],
            manifest.get("storageUri", ""),
            Resources.of(manifest.get("resources", {})),
            model_format.get("version", ""),
            manifest.get("protocolVersion", ""),
            manifest.get("runtime", ""),
            manifest.get("runtimeVersion", ""),
        )

    def manifest(self) -> Manifest:
        optional = {
            "storageUri": self.storage_uri,
            "protocolVersion": self.protocol_version,
            "runtime": self.runtime,
            "runtimeVersion": self.runtime_version,
        }
        version = {"version": self.format_version} if self.format_version else {}
        return {
            "modelFormat": {"name": self.format, **version},
            **{name: value for name, value in optional.items() if value},
            "resources": self.resources.manifest(),
            "securityContext": RESTRICTED,
        }


@dataclass(frozen=True)
class Container:
    """A container of one's own that speaks KServe's protocol on port 8080: the source notebook's "custom"."""

    image: str
    resources: Resources
    args: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Container:
        return cls(manifest["image"], Resources.of(manifest.get("resources", {})), tuple(manifest.get("args", ())))

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


EXTENSION = {
    "min_replicas": "minReplicas",
    "max_replicas": "maxReplicas",
    "scale_metric": "scaleMetric",
    "scale_target": "scaleTarget",
    "container_concurrency": "containerConcurrency",
    "timeout": "timeout",
    "canary_traffic_percent": "canaryTrafficPercent",
}
"""The plain fields of the extension, by their names in Python."""


@dataclass(frozen=True)
class ComponentExtension:
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
        optional = {name: getattr(self, attribute) for attribute, name in EXTENSION.items()}
        optional["nodeSelector"] = dict(self.node_selector) or None
        optional["tolerations"] = list(self.tolerations) or None
        return {name: value for name, value in optional.items() if value is not None}


def extension_fields(component: Manifest) -> dict[str, Any]:
    """The shared fields of a predictor or transformer, by their names in Python."""
    fields = {attribute: component[name] for attribute, name in EXTENSION.items() if name in component}
    fields["node_selector"] = component.get("nodeSelector", {})
    fields["tolerations"] = tuple(component.get("tolerations", ()))
    return fields


def own_container(component: Manifest) -> Container:
    """The container with KServe's name, or else the first."""
    by_name = {container["name"]: container for container in reversed(component["containers"])}
    return Container.of(by_name.get(CONTAINER, component["containers"][0]))


@dataclass(frozen=True)
class Predictor(ComponentExtension):
    """What answers: a model for a runtime, or a container; a `name` tells it from its canaries in Standard mode."""

    model: Model | Container = field(kw_only=True)
    name: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Predictor:
        """A key of old, such as `pytorch`, takes the place of `model`, as in the webhook."""
        model: Model | Container
        of_old = [framework for framework in FRAMEWORKS if framework in manifest]
        if of_old:
            model = Model.of(manifest[of_old[0]] | {"modelFormat": {"name": of_old[0]}})
        elif "model" in manifest:
            model = Model.of(manifest["model"])
        else:
            model = own_container(manifest)
        return cls(**extension_fields(manifest), model=model, name=manifest.get("name", ""))

    def manifest(self) -> Manifest:
        named = {"name": self.name} if self.name else {}
        model: Manifest = self.model.manifest()
        served = {"model": model} if isinstance(self.model, Model) else {"containers": [model]}
        return named | super().manifest() | served


@dataclass(frozen=True)
class Transformer(ComponentExtension):
    """What stands in front of the predictor and turns requests and answers; KServe tells it the predictor's host."""

    container: Container = field(kw_only=True)

    @classmethod
    def of(cls, manifest: Manifest) -> Transformer:
        return cls(**extension_fields(manifest), container=own_container(manifest))

    def manifest(self) -> Manifest:
        return super().manifest() | {"containers": [self.container.manifest()]}


@dataclass(frozen=True)
class Canary:
    """An entry of `spec.canary` (Standard mode, since 0.20): a named predictor and its share of the traffic."""

    traffic_percent: int
    predictor: Predictor

    @classmethod
    def of(cls, manifest: Manifest) -> Canary:
        return cls(manifest["trafficPercent"], Predictor.of(manifest["predictor"]))

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
    mode: Annotated[str, one_of(*MODES)] = "Standard"
    namespace: str = "default"
    with_pitfalls: InitVar[bool] = False

    def __post_init__(self, with_pitfalls: bool) -> None:
        check(self)
        if not with_pitfalls:
            refuse(f'InferenceService "{self.name}"', advice(self.manifest()))

    @classmethod
    def of(cls, manifest: Manifest) -> InferenceService:
        """The object of a manifest that KServe accepts, pitfalls or not; without the annotation in Knative mode."""
        service = accepted("InferenceService", manifest)
        metadata, spec = service["metadata"], service["spec"]
        return cls(
            metadata.get("name", ""),
            Predictor.of(spec["predictor"]),
            Transformer.of(spec["transformer"]) if "transformer" in spec else None,
            tuple(Canary.of(entry) for entry in spec.get("canary", ())),
            mode(service),
            metadata.get("namespace", "default"),
            with_pitfalls=True,
        )

    def manifest(self) -> Manifest:
        spec: Manifest = {"predictor": self.predictor.manifest()}
        if self.transformer:
            spec["transformer"] = self.transformer.manifest()
        if self.canary:
            spec["canary"] = [canary.manifest() for canary in self.canary]
        metadata = {"name": self.name, "namespace": self.namespace, "annotations": {MODE: self.mode}}
        return {"apiVersion": API_VERSION, "kind": "InferenceService", "metadata": metadata, "spec": spec}
