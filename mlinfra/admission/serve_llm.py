"""Arguments of Ray Serve LLM's builder, `ray.serve.llm:build_openai_app`: what Ray 2.60 refuses when it builds.

Follows ray 2.60.0, `python/ray/llm/_internal/serve/core/`: `configs/llm_config.py`, `{ingress,server}/builder.py`. They
can be imported only beside vLLM, so the models here repeat their fields. `engine_kwargs` are checked by vLLM alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator, model_validator
from pydantic import Field as Attribute

from mlinfra.admission.rules import ApiWarning, Field, Problem
from mlinfra.admission.serve_deployment import deployment_problems, dropped_keys, old_names, refused_by, without_code

BUILDER = "ray.serve.llm:build_openai_app"
OTHER_BUILDERS = ("ray.serve.llm:build_pd_openai_app", "ray.serve.llm:build_dp_openai_app")

NEVER_REACHED = 1_000_000_000
"""The default of `target_ongoing_requests` and of `max_ongoing_requests`, `serve/constants.py`."""

PREFIX_ROUTER = "ray.serve.llm.request_router.PrefixCacheAffinityRouter"
PREFIX_ROUTER_OPTIONS = (
    "imbalanced_threshold",
    "match_rate_threshold",
    "do_eviction",
    "eviction_threshold_chars",
    "eviction_target_chars",
    "eviction_interval_secs",
    "tree_actor",
)
"""What its `initialize_state` takes."""

CLOUD = ("s3://", "gs://", "abfss://", "azure://")
NO_STATS = (
    "disable_log_stats cannot be set to True when log_engine_metrics is enabled. Engine metrics require log stats to "
    "be enabled."
)
BUNDLES = (
    "placement_group_bundles and placement_group_strategy must not be specified in deployment_config. You can override "
    "the default values by setting the `placement_group_config` in the LLMConfig."
)
TWICE = "Duplicate models found. Make sure model ids are unique."
NO_MODELS = "List of models is empty. Maybe some parameters cannot be parsed into the LLMConfig config."

# ------------------------------------------------------------------------------------------------ Ray's models


class _Strict(BaseModel):
    """An unknown key is refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class _CloudMirrorConfig(_Strict):
    bucket_uri: str | None = None
    extra_files: list[dict[str, Any]] = Attribute(default_factory=list)

    @field_validator("bucket_uri")
    @classmethod
    def _is_remote(cls, uri: str | None) -> str | None:
        if uri is not None and not uri.startswith(CLOUD):
            raise ValueError(
                f'Got invalid value "{uri}" for bucket_uri. Expected a URI that starts with "s3://", "gs://", '
                '"abfss://", or "azure://".'
            )
        return uri


class _ModelLoadingConfig(_Strict):
    model_id: str
    model_source: str | _CloudMirrorConfig | None = None
    tokenizer_source: str | None = None


class _LoraConfig(_Strict):
    dynamic_lora_loading_path: str | None = None
    max_num_adapters_per_replica: PositiveInt = 16
    download_timeout_s: float | None = 30
    max_download_tries: int = 3

    @field_validator("dynamic_lora_loading_path")
    @classmethod
    def _is_remote(cls, path: str | None) -> str | None:
        if path is not None and not path.startswith(CLOUD):
            raise ValueError(f'must start with "s3://", "gs://", "abfss://", or "azure://". Got "{path}" instead.')
        return path


class _AcceleratorConfig(_Strict):
    model_config = ConfigDict(extra="ignore")
    kind: Literal["cpu", "gpu", "tpu"]
    topology: str | None = None


class _CallbackConfig(_Strict):
    callback_class: str = ""
    callback_kwargs: dict[str, Any] = Attribute(default_factory=dict)
    raise_error_on_callback: bool = True


class _LLMConfig(_Strict):
    model_loading_config: _ModelLoadingConfig
    llm_engine: str = "vLLM"
    engine_kwargs: dict[str, Any] = Attribute(default_factory=dict)
    accelerator_type: str | None = None
    accelerator_config: _AcceleratorConfig | None = None
    placement_group_config: dict[str, Any] | None = None
    lora_config: _LoraConfig | None = None
    deployment_config: dict[str, Any] = Attribute(default_factory=dict)
    runtime_env: dict[str, Any] | None = None
    server_cls: Any = None
    experimental_configs: dict[str, Any] = Attribute(default_factory=dict)
    log_engine_metrics: bool | None = True
    callback_config: _CallbackConfig = Attribute(default_factory=_CallbackConfig)

    @field_validator("accelerator_type")
    @classmethod
    def _is_supported(cls, name: str | None) -> str | None:
        if name not in (None, "A10", *accelerators()):
            raise ValueError(f"Unsupported accelerator type: {name}")
        return name

    @field_validator("llm_engine")
    @classmethod
    def _is_an_engine(cls, name: str) -> str:
        if name != "vLLM":
            raise ValueError(f"Unsupported engine: {name}")
        return name

    @field_validator("experimental_configs")
    @classmethod
    def _is_not_renamed(cls, configs: dict[str, Any]) -> dict[str, Any]:
        if "num_router_replicas" in configs:
            raise ValueError(
                "The 'num_router_replicas' key in experimental_configs has been renamed to 'num_ingress_replicas'. "
                "Please update your configuration to use 'num_ingress_replicas' instead."
            )
        return configs

    @model_validator(mode="after")
    def _logs_what_it_measures(self) -> _LLMConfig:
        if self.log_engine_metrics and self.engine_kwargs.get("disable_log_stats"):
            raise ValueError(NO_STATS)
        return self

    @model_validator(mode="after")
    def _is_of_one_hardware(self) -> _LLMConfig:
        """Ray takes the kind from `accelerator_config`, the bundles or the type, in this order."""
        kind = self.accelerator_config.kind if self.accelerator_config else kind_of_bundles(self.placement_group_config)
        if not self.accelerator_type or kind is None:
            return self
        if kind == "cpu":
            raise ValueError(
                f"accelerator_type='{self.accelerator_type}' cannot be used with CPU-only configurations. Either "
                "remove accelerator_type, or provide an accelerator_config."
            )
        expected = "tpu" if self.accelerator_type in accelerators("GOOGLE_TPU") else "gpu"
        if kind != expected:
            raise ValueError(
                f"Hardware mismatch: accelerator_type='{self.accelerator_type}' requires a {expected.upper()} backend, "
                f"but the configuration resolved to a {kind.upper()} backend. Please ensure your bundles and "
                "accelerator_type align."
            )
        return self


def accelerators(family: str = "") -> list[str]:
    """The names that Ray knows, such as H100."""
    from ray.util.accelerators import accelerators as known

    return [name for constant, name in vars(known).items() if constant.isupper() and constant.startswith(family)]


def kind_of_bundles(config: Mapping[str, Any] | None) -> str | None:
    """The hardware that the bundles of a placement group name."""
    if not config:
        return None
    bundles = [config.get("bundle_per_worker") or {}, *(config.get("bundles") or [])]
    kinds = [kind for kind in ("TPU", "GPU") if any(bundle.get(kind, 0) > 0 for bundle in bundles)]
    return kinds[0].lower() if kinds else "cpu"


class _IngressConfig(_Strict):
    ingress_cls: str = ""
    ingress_extra_kwargs: dict[str, Any] | None = None


class _ServingArguments(_Strict):
    llm_configs: list[str | dict[str, Any]]
    ingress_cls_config: _IngressConfig = Attribute(default_factory=_IngressConfig)
    ingress_deployment_config: dict[str, Any] = Attribute(default_factory=dict)


# ------------------------------------------------------------------------------------------------ what is said


def builder_of(application: Field) -> str:
    """The import path with a colon, as the builders' are written here; Ray takes a dot as well."""
    path = str(application["import_path"].value)
    return path if ":" in path else ":".join(path.rsplit(".", 1))


def problems(application: Field) -> Iterator[Problem]:
    """Why the builder would refuse its arguments, or drop a part of them; nothing for another application."""
    if builder_of(application) != BUILDER:
        return
    arguments = Field(application["args"].value or {}, application["args"].path)
    yield from refused_by(_ServingArguments, arguments)
    models = list(_models(arguments))
    for model in models:
        yield from refused_by(_LLMConfig, model)
        yield from _options(model["deployment_config"])
    names = [str(model["model_loading_config"]["model_id"].value) for model in models]
    if len(set(names)) < len(names) and "None" not in names:
        yield Problem(arguments["llm_configs"].path, TWICE)
    if arguments["llm_configs"].value == []:
        yield Problem(arguments["llm_configs"].path, NO_MODELS)


def _models(arguments: Field) -> Iterator[Field]:
    """The models that are written out; others are the path of a file."""
    for model in arguments["llm_configs"].each():
        if isinstance(model.value, Mapping):
            yield model


def _options(options: Field) -> Iterator[Problem]:
    """Options of the deployment: what `serve.deployment` does not take, and what its models drop or refuse."""
    from ray import serve
    from ray.serve._private.config import DeploymentConfig
    from ray.serve.config import AutoscalingConfig, RequestRouterConfig

    if not isinstance(options.value, Mapping):
        return
    for name in options.value:
        if name not in inspect.signature(serve.deployment).parameters:
            yield Problem(options[name].path, f"deployment() got an unexpected keyword argument '{name}'")
        elif name in ("placement_group_bundles", "placement_group_strategy"):
            yield Problem(options[name].path, BUNDLES)
    yield from dropped_keys(options["autoscaling_config"], AutoscalingConfig)
    yield from dropped_keys(options["request_router_config"], RequestRouterConfig)
    yield from _router(options["request_router_config"])
    own = {"name": "model", "max_ongoing_requests": NEVER_REACHED}
    yield from deployment_problems(Field(own | {**options.value}, options.path))
    yield from refused_by(DeploymentConfig, Field(_counted(without_code(options.value)), options.path))


def _counted(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options with the count that "auto" begins with."""
    return {**options, "num_replicas": 1} if options.get("num_replicas") == "auto" else options


def _router(config: Field) -> Iterator[Problem]:
    """Options that the prefix router does not have; it would say so when the application starts."""
    if str(config["request_router_class"].value).replace(":", ".") != PREFIX_ROUTER:
        return
    options = config["request_router_kwargs"]
    for name in options.value if isinstance(options.value, Mapping) else ():
        if name not in PREFIX_ROUTER_OPTIONS:
            why = f"PrefixCacheAffinityRouter.initialize_state() got an unexpected keyword argument '{name}'"
            yield Problem(options[name].path, why)


def warnings(application: Field) -> Iterator[ApiWarning]:
    """What is accepted and does not do what one may think, or is not checked here."""
    if builder_of(application) in OTHER_BUILDERS:
        yield ApiWarning(application["args"].path, f"not checked here: arguments of {builder_of(application)}")
    if builder_of(application) != BUILDER:
        return
    for model in application["args"]["llm_configs"].each():
        if isinstance(model.value, str):
            yield ApiWarning(model.path, f"not checked here: the file {model.value}")
        else:
            yield from _scaling_warnings(model["deployment_config"]["autoscaling_config"])


def _scaling_warnings(scaling: Field) -> Iterator[ApiWarning]:
    """Names of old, and a target that no load reaches."""
    yield from old_names(scaling)
    low, high = (scaling[bound].value for bound in ("min_replicas", "max_replicas"))
    grows = high is not None and str(high) != str(1 if low is None else low)
    if grows and scaling["target_ongoing_requests"].value is None and scaling["policy"].value is None:
        why = f"is {NEVER_REACHED:,} for a language model when it is not given, so no load adds a replica"
        yield ApiWarning(scaling["target_ongoing_requests"].path, why)
