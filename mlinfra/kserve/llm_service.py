"""KServe's LLMInferenceService, serving.kserve.io/v1alpha2: an LLM on several replicas behind an endpoint picker.

Follows KServe 0.20. What is left out comes from the controller's own template (image, command, probes, the scheduler's
Deployment). Not here: several nodes, scaling, base configs, routes of one's own, which `validate` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlinfra.admission import Count, accepted, check
from mlinfra.admission.kserve_llm import API_VERSION, CONTAINER, own_model
from mlinfra.kserve.picker.config import EndpointPickerConfig, kserve_default
from mlinfra.manifest import RESTRICTED, Manifest, Resources

ARGUMENTS = "VLLM_ADDITIONAL_ARGS"
"""The variable that the controller's template adds to the command of vLLM."""


@dataclass(frozen=True)
class LLMWorkload:
    """Replicas of vLLM: the container `main` of the template, with arguments for vLLM; an empty image is KServe's."""

    resources: Resources
    replicas: Count = 1
    arguments: str = ""
    image: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> LLMWorkload:
        """Of a spec, or of its `prefill`; without `replicas` it is one."""
        template = manifest.get("template", {})
        containers = {container["name"]: container for container in template.get("containers", ())}
        main = containers.get(CONTAINER, {})
        variables = {variable["name"]: variable.get("value", "") for variable in main.get("env", ())}
        return cls(
            Resources.of(main.get("resources", {})),
            manifest.get("replicas", 1),
            variables.get(ARGUMENTS, ""),
            main.get("image", ""),
            template.get("nodeSelector", {}),
        )

    def manifest(self) -> Manifest:
        container: Manifest = {"name": CONTAINER}
        if self.image:
            container["image"] = self.image
        if self.arguments:
            container["env"] = [{"name": ARGUMENTS, "value": self.arguments}]
        container |= {"resources": self.resources.manifest(), "securityContext": RESTRICTED}
        template: Manifest = {"containers": [container]}
        if self.node_selector:
            template["nodeSelector"] = dict(self.node_selector)
        return {"replicas": self.replicas, "template": template}


@dataclass(frozen=True)
class LLMInferenceService:
    """The object; Invalid when the webhook or the controller would refuse it.

    `model_name` is what clients ask for, by default the service's name; `adapters` are LoRA adapters, URI by name. With
    `prefill` prompts are computed on replicas of their own. `picker` replaces KServe's default profiles. Without
    `scheduler` there is no endpoint picker, and the Service's round robin sends the requests.
    """

    name: str
    model_uri: str
    workload: LLMWorkload
    model_name: str = ""
    prefill: LLMWorkload | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    picker: EndpointPickerConfig | None = None
    scheduler: bool = True
    namespace: str = "default"

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> LLMInferenceService:
        """The object of a manifest that KServe accepts, in either version."""
        service = accepted("LLMInferenceService", manifest, own_model)
        metadata, spec = service["metadata"], service["spec"]
        model, scheduler = spec["model"], spec.get("router", {}).get("scheduler")
        inline = (scheduler or {}).get("config", {}).get("inline")
        return cls(
            metadata.get("name", ""),
            model["uri"],
            LLMWorkload.of(spec),
            model.get("name", ""),
            LLMWorkload.of(spec["prefill"]) if "prefill" in spec else None,
            {adapter["name"]: adapter["uri"] for adapter in model.get("lora", {}).get("adapters", ())},
            EndpointPickerConfig.of(inline) if inline else None,
            scheduler is not None,
            metadata.get("namespace", "default"),
        )

    def manifest(self) -> Manifest:
        spec: Manifest = {"model": self._model(), "router": self._router(), **self.workload.manifest()}
        if self.prefill:
            spec["prefill"] = self.prefill.manifest()
        metadata = {"name": self.name, "namespace": self.namespace}
        return {"apiVersion": API_VERSION, "kind": "LLMInferenceService", "metadata": metadata, "spec": spec}

    def _model(self) -> Manifest:
        model: Manifest = {"uri": self.model_uri}
        if self.model_name:
            model["name"] = self.model_name
        if self.adapters:
            model["lora"] = {"adapters": [{"name": name, "uri": uri} for name, uri in self.adapters.items()]}
        return model

    def _router(self) -> Manifest:
        """An empty gateway and route are KServe's own; so is an empty scheduler."""
        router: Manifest = {"gateway": {}, "route": {}}
        if self.scheduler:
            router["scheduler"] = {"config": {"inline": self.picker.manifest()}} if self.picker else {}
        return router

    def picker_config(self, release: str = "0.20") -> EndpointPickerConfig:
        """The configuration that the endpoint picker gets: the service's own, or KServe's default for it."""
        return self.picker or kserve_default(release, self.prefill is not None, bool(self.adapters))
