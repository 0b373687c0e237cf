"""Arguments of Ray Serve LLM's builder, `ray.serve.llm:build_openai_app`: what Ray 2.60 refuses when it builds.

Follows ray 2.60.0, `python/ray/llm/_internal/serve/core/`: `configs/llm_config.py`, `{ingress,server}/builder.py`. They
can be imported only beside vLLM; `serve_llm_models` has their fields. `engine_kwargs` are not looked at: Ray holds them
against vLLM's own fields when it builds the application (`vllm_models.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

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

BUNDLES = (
    "placement_group_bundles and placement_group_strategy must not be specified in deployment_config. You can override "
    "the default values by setting the `placement_group_config` in the LLMConfig."
)
TWICE = "Duplicate models found. Make sure model ids are unique."
NO_MODELS = "List of models is empty. Maybe some parameters cannot be parsed into the LLMConfig config."


def builder_of(application: Field) -> str:
    """The import path with a colon, as the builders' are written here; Ray takes a dot as well."""
    path = str(application["import_path"].value)
    return path if ":" in path else ":".join(path.rsplit(".", 1))


def problems(application: Field) -> Iterator[Problem]:
    """Why the builder would refuse its arguments, or drop a part of them; nothing for another application."""
    if builder_of(application) != BUILDER:
        return
    from mlinfra.admission.serve_llm_models import LLM_CONFIG, SERVING_ARGUMENTS

    arguments = Field(application["args"].value or {}, application["args"].path)
    yield from refused_by(SERVING_ARGUMENTS, arguments)
    models = list(_models(arguments))
    for model in models:
        yield from refused_by(LLM_CONFIG, model)
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
