"""The fields of Ray Serve LLM's configuration, and what Ray's own models refuse, in their words.

Follows ray 2.60.0, `python/ray/llm/_internal/serve/core/{configs/llm_config,ingress/builder}.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator, model_validator
from pydantic import Field as Attribute

CLOUD = ("s3://", "gs://", "abfss://", "azure://")
NO_STATS = (
    "disable_log_stats cannot be set to True when log_engine_metrics is enabled. Engine metrics require log stats to "
    "be enabled."
)


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


LLM_CONFIG, SERVING_ARGUMENTS = _LLMConfig, _ServingArguments
"""Ray has classes of these names, and so has the course."""
