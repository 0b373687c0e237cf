"""The exercises on language models in notebooks 01 and 05."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mlinfra import study
from mlinfra.autoscaling import keda, loop
from mlinfra.autoscaling.llm.pool import kv_usage
from mlinfra.course import llm_loads, llm_race
from mlinfra.kserve.picker import EndpointPickerConfig, SchedulingProfile, WeightedScorer, kserve_default
from mlinfra.manifest import Manifest

SOME_HOT = replace(llm_loads.HOT, count=100)
SOME_CHATS = replace(llm_loads.CHATS, count=250)


def weighing(**changed: float) -> Manifest:
    """KServe's default with other weights; a weight of 0 takes the scorer out, and one more is in flight."""
    scorers = {scorer.name: scorer.weight for scorer in kserve_default().profiles["default"].scorers}
    names = {"queue": "queue-scorer", "prefix": "prefix-cache-scorer", "in_flight": "active-request-scorer"}
    scorers |= {names[name]: weight for name, weight in changed.items()}
    profile = SchedulingProfile(tuple(WeightedScorer(name, weight) for name, weight in scorers.items() if weight))
    return EndpointPickerConfig({"default": profile}).manifest()


def routed(config: Any) -> str:
    """Whether a hot prompt is spread, and whether conversations find their cache, under that configuration."""
    if not isinstance(config, dict):
        raise ValueError("must be a dict, the manifest of an EndpointPickerConfig")
    return _routed(json.dumps(config))


@lru_cache(maxsize=16)
def _routed(config: str) -> str:
    picker = EndpointPickerConfig.of(json.loads(config))
    hot, chats = (llm_loads.served_with(mix, picker) for mix in (SOME_HOT, SOME_CHATS))
    spread = "several replicas" if hot.largest_share < 0.5 else "one replica"
    kept = "stay" if chats.prefix_cache_hit_rate > 2 * ROUND_ROBIN_HITS else "do not stay"
    return f"the hot prompt goes to {spread}, conversations {kept} with their cache"


ROUND_ROBIN_HITS = 0.18
"""The share of the prompt tokens that round robin finds of these conversations."""

spread_the_prompt = study.Exercise(
    "spread-the-prompt",
    right=weighing(in_flight=3),
    mistakes=[
        (weighing(), "The default: a prefix that is known in one place outweighs any queue there."),
        (
            weighing(prefix=0),
            "Without the prefix scorer nothing keeps a conversation where its cache is. Something else has to speak "
            "against the busy replica.",
        ),
    ],
    praise="More weight for the queue, or less for the prefix, does it too once requests wait. The count in flight is "
    "the picker's own: it is never old, and it spreads the requests before a queue forms.",
    effect=routed,
)

# ------------------------------------------------------------------------------------------ a ScaledObject that leads

KEPT, HOURS = 0.98, 0.45
GAUGES: dict[str, Callable[[loop.Snapshot], float]] = {
    "vllm:num_requests_running": lambda seen: seen.in_service,
    "vllm:num_requests_waiting": lambda seen: seen.queued,
    "vllm:kv_cache_usage_perc": lambda seen: kv_usage(seen) * seen.ready,
}
"""Each gauge, summed over the replicas."""

TERM = re.compile(r"(?:(\w+)(?:\s+by\s*\([^)]*\))?\s*\(\s*)?(vllm:\w+)")


def read(answer: keda.ScaledObject | Manifest) -> keda.ScaledObject:
    """The object that the reader wrote, as a noun or as a manifest; Invalid when KEDA would refuse it."""
    return answer if isinstance(answer, keda.ScaledObject) else keda.ScaledObject.of(answer)


def led(answer: keda.ScaledObject | Manifest) -> str:
    """What is wrong with a trigger, or else how the wave went: in time or late, affordable or not."""
    return _led(json.dumps(read(answer).manifest()))


@lru_cache(maxsize=16)
def _led(text: str) -> str:
    scaled = keda.ScaledObject.of(json.loads(text))
    faults = [fault for trigger in scaled.triggers if (fault := fault_of(trigger))]
    return faults[0] if faults else outcome(scaled)


def terms(trigger: keda.Trigger) -> list[tuple[str, str]]:
    """The gauges that a query names, each with the function around it."""
    return TERM.findall(trigger.metadata.get("query", ""))


def fault_of(trigger: keda.Trigger) -> str:
    """What is wrong with a trigger before anything runs; empty when nothing is."""
    functions, gauges = {function for function, _ in terms(trigger)}, {gauge for _, gauge in terms(trigger)}
    if not gauges or not gauges <= set(GAUGES):
        return "not a gauge of vLLM's work"
    if not functions <= {"sum", "avg"}:
        return "several series"
    if functions != {"sum"} and trigger.metric_type == "AverageValue":
        return "divided twice"
    return "a total as Value" if functions != {"avg"} and trigger.metric_type == "Value" else ""


def measure(trigger: keda.Trigger) -> loop.Measure:
    """What the query gives."""

    def value(seen: loop.Snapshot) -> float:
        pods = {"sum": 1, "avg": max(1, seen.ready)}
        return sum(GAUGES[gauge](seen) / pods[function] for function, gauge in terms(trigger))

    return value


def outcome(scaled: keda.ScaledObject) -> str:
    """How the wave went."""
    scaler = loop.ByKEDA(scaled, [measure(trigger) for trigger in scaled.triggers])
    run = llm_race.serve(scaler, max(1, scaled.min_replica_count))
    if llm_race.kept(run) < KEPT:
        named = {gauge for trigger in scaled.triggers for _, gauge in terms(trigger)}
        return "late on waiting" if named == {"vllm:num_requests_waiting"} else "late on work"
    if llm_race.gpu_hours(run) > HOURS:
        return "in time, too dear"
    return "in time, by the minimum alone" if llm_race.asks_first_s(run) is None else "in time, affordable"


def on_work(target: str, least: int) -> Manifest:
    """A ScaledObject on requests in flight."""
    query = llm_race.ON_IN_FLIGHT.metadata["query"]
    return llm_race.scaled(llm_race.trigger(query, target), least=least).manifest()


lead_the_wave = study.Exercise(
    "lead-the-wave",
    right=on_work("24", 5),
    mistakes=[
        (
            llm_race.scaled(llm_race.trigger("vllm:num_requests_running", "16"), least=4).manifest(),
            "The query gives one series for each pod. From the second pod on KEDA's trigger is in error: it wants one "
            "number. Put `sum(...)` around it.",
        ),
        (
            llm_race.scaled(llm_race.trigger("avg(vllm:kv_cache_usage_perc)", "0.3"), least=4).manifest(),
            "`AverageValue` divides by the replicas, and the query has done that already. Use a `sum`, or the "
            "`metricType` `Value`.",
        ),
        (
            llm_race.scaled(llm_race.trigger("sum(vllm:num_requests_running)", "16", "Value"), least=4).manifest(),
            "`Value` multiplies the ratio by the ready pods. For a total it asks for more with every pod that comes.",
        ),
        (
            llm_race.scaled(llm_race.trigger("avg(DCGM_FI_DEV_GPU_UTIL)", "80", "Value"), least=4).manifest(),
            "That is no count of vLLM's work. Use `vllm:num_requests_running`, `vllm:num_requests_waiting` or "
            "`vllm:kv_cache_usage_perc`.",
        ),
        (
            llm_race.scaled(llm_race.ON_WAITING).manifest(),
            "Too late: nobody waits before the cache is full, and then the time per token is long past its promise.",
        ),
        (
            on_work("12", 1),
            "Too late, though the signal leads: what it asks for serves 65 s later. How many replicas must run before "
            "the wave, and how far is your target from the knee?",
        ),
        (on_work("24", 8), "In time, but too dear: too many replicas run from the first second on."),
        (
            llm_race.scaled(llm_race.ON_WAITING, least=5).manifest(),
            "In time, thanks to the minimum alone: nobody waited, so the trigger never asked for more. The next wave "
            "may be higher.",
        ),
    ],
    praise="The minimum meets the rise, and the work in flight asks for the rest before a promise is broken.",
    effect=led,
)
