"""Rules of rollouts of a canary, by class, and of what is observed of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlinfra.admission import picker
from mlinfra.admission.rules import Check, Field, Problem, real


def _canary_rollout(rollout: Field) -> Iterator[Problem]:
    """Stages that grow, rates that differ, another model; and what Standard mode could not promote."""
    stages, model = list(rollout["stages"].value), rollout["model"].value
    base_rate, service = rollout["base_error_rate"].value, rollout["service"].value
    if len(stages) < 2 or stages != sorted(set(stages)) or stages[0] < 1 or stages[-1] != 100:
        yield Field(stages, "stages").invalid("must increase, from 1 at least to 100, with a stage below 100")
    if not 0 < base_rate < rollout["error_rate"].value < 1:
        why = f"must be greater than base_error_rate ({base_rate:g}), and both between 0 and 1"
        yield rollout["error_rate"].invalid(why)
    if model == service.predictor.model:
        yield Field(rollout["version"].value, "model").invalid("must differ from the model that runs")
    if service.mode == "Standard":
        yield from _standard_rollout(service, model)


def _standard_rollout(service: Any, model: Any) -> Iterator[Problem]:
    """What the promotion, or the way of the traffic, would refuse in Standard mode; a container has no storage."""
    storage_uri = getattr(service.predictor.model, "storage_uri", None)
    if storage_uri is not None and storage_uri == getattr(model, "storage_uri", None):
        yield Problem("model", "predictor.name change requires a model change (e.g. storageUri)")
    if service.canary:
        yield Problem("service.canary", "must be empty: the service has a canary already")
    if service.transformer:
        why = "must be empty: a transformer calls one predictor, so a canary gets nothing"
        yield Problem("service.transformer", why)


def observation_problems(last_s: float, now_s: float, stable: Any, canary: Any) -> Iterator[Problem]:
    """A time that goes back, and more bad requests than requests."""
    yield from real(last_s)(Field(now_s, "now_s"))
    for name, counts in (("stable", stable), ("canary", canary)):
        if min(counts.errors, counts.slow) < 0 or max(counts.errors, counts.slow) > counts.requests:
            yield Problem(name, f"Invalid value: {counts}: errors and slow ones must be from 0 to the requests")


def rate_problems(base_rate: float, bad_rate: float) -> Iterator[Problem]:
    """Two different shares."""
    yield from (*real(0, 1)(Field(base_rate, "base_rate")), *real(0, 1)(Field(bad_rate, "bad_rate")))
    if base_rate == bad_rate:
        yield Field(bad_rate, "bad_rate").invalid("must differ from base_rate: no sample tells equal rates apart")


RULES: dict[str, Check] = {
    "CanaryRollout": _canary_rollout,
    "EndpointPickerConfig": picker.config_problems,
    "SchedulingProfile": picker.profile_problems,
    "WeightedScorer": picker.scorer_problems,
}
