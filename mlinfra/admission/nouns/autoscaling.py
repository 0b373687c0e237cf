"""Rules of the autoscalers and of the closed loop, by class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mlinfra.admission.go_values import int32, number
from mlinfra.admission.keda import RESOURCE_TRIGGERS, formula_target, reads
from mlinfra.admission.rules import Check, Field, Needed, Problem, broken, quantity_check, real, whole

MAX_SLOTS = 100_000
MAX_BLOCKS = 2**21
MAX_TOKENS = 2**31


def requests(noun: Field) -> Iterator[Problem]:
    """Every request is a quantity."""
    for request in noun["requests"].each():
        yield from quantity_check()(request)


def misfits(hpa: Any, observation: Any) -> Iterator[Problem]:
    """What is no HPA or no observation, or where there is not one reading for each metric, as its API gives it."""
    if not hasattr(hpa, "metrics"):
        yield Field(hpa, "hpa").invalid(
            "must be a HorizontalPodAutoscaler; HorizontalPodAutoscaler.of reads a manifest"
        )
    elif not hasattr(observation, "readings"):
        yield Field(observation, "observation").invalid("must be an Observation(spec_replicas, pods, readings)")
    else:
        yield from misread(hpa.metrics, observation.readings)


def misread(metrics: Sequence[Any], readings: Sequence[Any]) -> Iterator[Problem]:
    if len(readings) != len(metrics):
        yield Field(len(readings), "readings").invalid(f"must be one reading for each of {len(metrics)} metrics")
    for metric, reading in zip(metrics, readings, strict=False):
        if reading is not None and not isinstance(reading, metric.reading_type):
            yield Field(reading, f"{metric.name}.reading").invalid(f"must be {metric.reading_words}")


def revision(noun: Field) -> Iterator[Problem]:
    """What Knative's webhook says of the annotations."""
    from mlinfra.admission.knative import annotation_problems, annotations_of

    yield from annotation_problems(Field(annotations_of(noun.value)))


def within_limit(noun: Field) -> Iterator[Problem]:
    """validateMaxScaleWithinLimit: with a limit in the cluster no annotation may ask for more, or for no maximum."""
    limit, high = noun["config"].value.max_scale_limit, noun["revision"].value.max_scale
    if limit and high == 0:
        yield Problem("max-scale", f"max-scale=0 (unlimited), must be less than {limit}")
    elif limit and high is not None and high > limit:
        yield Problem("max-scale", f"expected 1 <= {high} <= {limit}")


def trigger(noun: Field) -> Iterator[Problem]:
    """A percentage is a whole number, another target of cpu and memory a quantity, and any other a number to Go."""
    kind, threshold = noun["type"].value, Field(str(noun["threshold"].value), f"{noun['type'].value}.threshold")
    if kind not in RESOURCE_TRIGGERS:
        yield from reads(threshold, number)
    elif noun["metric_type"].value == "Utilization":
        yield from reads(threshold, int32)
    else:
        yield from quantity_check()(threshold)


def scaling_modifiers(noun: Field) -> Iterator[Problem]:
    """The target is a number."""
    yield from formula_target(Field(str(noun["target"].value), "target"))


def measure_each(noun: Field) -> Iterator[Problem]:
    """The loop reads one measure for each metric of the HPA, or of the HPA that KEDA writes."""
    scaler = noun["scaler"].value
    metrics = noun["scaled_object"].value.metrics() if scaler is None else scaler.metrics
    measure = noun["measure"].value
    count = len(measure) if isinstance(measure, Sequence) else 1
    if count != len(metrics):
        yield Field(count, "measure").invalid(f"must be one for each of {len(metrics)} metrics")


def replica_bounds(activator: bool) -> Check:
    """How many replicas there may be: without an activator requests have nowhere to wait for the first."""
    return whole(0, MAX_SLOTS) if activator else whole(1, MAX_SLOTS, "must be at least 1 without an activator")


def loop_settings(settings: Field) -> Iterator[Problem]:
    """A service and what scales it, a run that ends, and clocks that go forward."""
    service, scaler = settings["service"], settings["scaler"]
    if not hasattr(service.value, "activator"):
        yield service.invalid("must be a Service, such as Service(service_s=0.1)")
    else:
        yield from replica_bounds(service.value.activator)(settings["replicas"])
    if not hasattr(scaler.value, "decide"):
        yield scaler.invalid(
            "must be one of Fixed(replicas), ByHPA(hpa, measure), ByKEDA(scaled_object, measure), ByKPA(kpa)"
        )
    if settings["nodes"].value is not None and getattr(service.value, "max_batch", 1) > 1:
        yield Field(service.value.max_batch, "service.max_batch").invalid(
            "must be 1 on nodes: which batch a node loses is not followed"
        )
    yield from broken(settings, [("until_s", real()), ("scrape_s", real(0.001)), ("lag_s", real(0))])


def batching(noun: Field) -> Iterator[Problem]:
    """What vLLM's SchedulerConfig says of the settings together."""
    budget, longest = noun["max_num_batched_tokens"], noun["max_model_len"].value
    threshold = noun["long_prefill_token_threshold"]
    if noun["policy"].value not in ("fcfs", "priority"):
        yield Problem("policy", f"Unknown scheduling policy: {noun['policy'].value}")
    if budget.value < noun["max_num_seqs"].value:
        yield budget.invalid(f"must be greater than or equal to max_num_seqs ({noun['max_num_seqs'].value})")
    if budget.value < longest and not noun["enable_chunked_prefill"].value:
        yield budget.invalid(
            f"is smaller than max_model_len ({longest}). This effectively limits the maximum sequence length to "
            "max_num_batched_tokens and makes vLLM reject longer sequences. "
            "Please increase max_num_batched_tokens or decrease max_model_len"
        )
    if threshold.value > longest:
        yield threshold.invalid(f"cannot be greater than the max_model_len ({longest})")


def prompt(noun: Field) -> Iterator[Problem]:
    """A name, and some tokens: a count, or runs of consecutive ids."""
    tokens = noun["prompt"]
    yield from broken(noun, [("name", Needed())])
    if isinstance(tokens.value, int):
        yield from whole(1, MAX_TOKENS)(tokens)
    elif not isinstance(tokens.value, list | tuple) or not all(map(is_run, tokens.value)):
        yield tokens.invalid("must be a number of tokens, or runs (first id, count) of at least one token each")
    elif not tokens.value:
        yield Problem(tokens.path, "The decoder prompt cannot be empty")


def is_run(run: Any) -> bool:
    """The first id, which is not negative, and a count of at least one."""
    return isinstance(run, list | tuple) and len(run) == 2 and all(type(n) is int for n in run) and run[0] >= 0 < run[1]


def fits_server(request: Any, config: Any) -> Iterator[Problem]:
    """What vLLM's front end refuses; and a request that would wait for ever, since the cache cannot hold it."""
    prompt_tokens, longest = request.num_prompt_tokens, config.max_model_len
    in_cache = min(prompt_tokens + request.max_tokens, longest) - 1
    blocks, usable = -(-in_cache // config.block_size), config.num_blocks - 1
    if prompt_tokens > longest:
        yield Problem(
            "prompt",
            f"The decoder prompt (length {prompt_tokens}) is longer than the maximum model length of {longest}. "
            "Make sure that `max_model_len` is no smaller than the number of text tokens",
        )
    elif prompt_tokens == longest:
        yield Problem(
            "prompt",
            f"The decoder prompt (length {prompt_tokens}) plus the number of requested output tokens (at least 1) "
            f"is longer than the maximum model length of {longest}",
        )
    elif blocks > usable:
        yield Problem("max_tokens", f"{in_cache} tokens need {blocks} KV blocks, and the cache has {usable}")


def not_before(next_step_s: float) -> Check:
    """A server that computes, or that has nothing to compute, begins no step."""
    if next_step_s == math.inf:
        return lambda now: iter([now.invalid("there is no request, so there is no step")])
    return real(next_step_s, why=f"the last step ends at {next_step_s:g}")


RULES: dict[str, Check] = {
    "ByHPA": measure_each,
    "ByKEDA": measure_each,
    "ContainerRequests": requests,
    "KPA": within_limit,
    "LLMConfig": batching,
    "LLMRequest": prompt,
    "ObservedPod": requests,
    "Revision": revision,
    "ScalingModifiers": scaling_modifiers,
    "Trigger": trigger,
}
