"""Options of a deployment of Ray Serve, wherever they stand: what Ray 2.60 refuses, drops, or fails with later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlinfra.admission.rules import ApiWarning, Field, Problem, whole

RENAMED = {
    "max_concurrent_queries": "max_ongoing_requests",
    "target_num_ongoing_requests_per_replica": "target_ongoing_requests",
}
"""Names of old that Ray drops without a word."""

DEPRECATED = {
    "metrics_interval_s": "will be replaced by the environment variables "
    "`RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S` and "
    "`RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S`",
    "smoothing_factor": "its name is upscaling_factor and downscaling_factor now",
    "upscale_smoothing_factor": "its name is upscaling_factor now",
    "downscale_smoothing_factor": "its name is downscaling_factor now",
}
"""Names of old in `autoscaling_config` that Ray still reads, the factors where no new one is given."""

BOTH = "Manually setting num_replicas is not allowed when autoscaling_config is provided."


def deployment_problems(deployment: Field) -> Iterator[Problem]:
    """What the schema refuses, and what only the replicas would refuse: they start, and fail."""
    name, replicas = deployment["name"], deployment["num_replicas"]
    if not name.value:
        yield name.required()
    elif "#" in str(name.value):
        yield name.invalid(f"Deployment names must not contain the '#' character. Current name: {name.value}.")
    if replicas.value not in (None, "auto"):
        yield from whole(1)(replicas)
        if deployment["autoscaling_config"].value is not None:
            yield Problem(replicas.path, BOTH)
    yield from _limits(deployment)
    yield from _actor(deployment["ray_actor_options"])


def queue_limit(limit: Field) -> Iterator[Problem]:
    """No limit is -1; a limit of 0 is none that Serve knows."""
    if limit.value != -1:
        yield from whole(1, why="max_queued_requests must be -1 (no limit) or a positive integer.")(limit)


def _limits(deployment: Field) -> Iterator[Problem]:
    ongoing, queued = deployment["max_ongoing_requests"], deployment["max_queued_requests"]
    target = deployment["autoscaling_config"]["target_ongoing_requests"]
    if ongoing.value is not None:
        yield from whole(1)(ongoing)
    if queued.value is not None:
        yield from queue_limit(queued)
    counted = ongoing.value is None or type(ongoing.value) is int
    if (
        counted
        and isinstance(target.value, int | float)
        and target.value > (5 if ongoing.value is None else ongoing.value)
    ):
        why = (
            "Autoscaling will never happen, because 'max_ongoing_requests' is less than 'target_ongoing_requests' now."
        )
        yield target.invalid(why)


ACTOR_OPTIONS = {"accelerator_type", "fallback_strategy", "label_selector", "memory"}
ACTOR_OPTIONS |= {"num_cpus", "num_gpus", "resources", "runtime_env"}


def _actor(options: Field) -> Iterator[Problem]:
    """A part of a GPU is bookkeeping and allowed; above one it must be whole, which only Ray's core says."""
    for name in options.value or {}:
        if name not in ACTOR_OPTIONS:
            yield Problem(options.path, f"Specifying '{name}' in ray_actor_options is not allowed.")
    for name in ("num_cpus", "num_gpus"):
        amount = options[name]
        if isinstance(amount.value, int | float) and amount.value < 0:
            yield amount.invalid(f"The quantity of resource {name} cannot be negative")
    gpus = options["num_gpus"]
    if isinstance(gpus.value, float) and gpus.value > 1 and not gpus.value.is_integer():
        yield gpus.invalid("GPU resource quantities >1 must be whole numbers.")


def refused_by(model: Any, config: Field) -> Iterator[Problem]:
    """One problem for each error of one of Ray's pydantic models."""
    from pydantic import ValidationError

    try:
        model.model_validate(config.value)
    except ValidationError as refusal:
        for error in refusal.errors():
            steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
            yield Problem((config.path + steps).lstrip("."), error["msg"])
    except Exception as trouble:  # Ray's validators expect maps of text, and say so in many ways
        yield config.invalid(f"Ray's schema cannot read it: {trouble}")


CODE = {"autoscaling_config": "policy", "request_router_config": "request_router_class"}
"""What Ray's models import while they check it; the reader's code is in the image, and not here."""


def without_code(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a deployment without the names of code in them."""
    plain = dict(options)
    for name, code in CODE.items():
        if isinstance(plain.get(name), Mapping):
            plain[name] = {key: value for key, value in plain[name].items() if key != code}
    return plain


def dropped_keys(place: Field, schema: Any) -> Iterator[Problem]:
    """Keys that one of Ray's models would drop, with today's name where there is one."""
    for name in place.value if isinstance(place.value, Mapping) else ():
        if name not in schema.model_fields:
            now = f": its name is {RENAMED[name]} now" if name in RENAMED else ""
            yield Problem(place[name].path, f"unknown key, silently dropped{now}")


def old_names(scaling: Field) -> Iterator[ApiWarning]:
    """Names of old in an `autoscaling_config` that Ray still reads, with the new ones."""
    for name in scaling.value if isinstance(scaling.value, Mapping) else ():
        if name in DEPRECATED:
            yield ApiWarning(scaling[name].path, f"deprecated: {DEPRECATED[name]}")
