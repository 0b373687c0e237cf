"""The service of notebooks 1 and 2 that answers with a language model: its load, its replicas, pickers in a race.

A replica is Llama 3 8B on one H100, as measured. Its operator lets at most 32 requests into a batch, so that the time
per token stays short.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from mlinfra.autoscaling.llm import LLMConfig, Mix, PoolRequest, PoolSimulation, simulate_pool
from mlinfra.autoscaling.llm.mix import requests
from mlinfra.autoscaling.llm.pool import SCRAPE_S
from mlinfra.course.kserve_tables import table
from mlinfra.kserve.picker import (
    EndpointPicker,
    EndpointPickerConfig,
    InferenceRequest,
    Picker,
    PickerRouter,
    PickExplanation,
    PoolEndpoint,
    SchedulingProfile,
    ServerMetrics,
    WeightedScorer,
    at_random,
    kserve_default,
    least_requests,
    round_robin,
    two_choices,
)

REPLICA = LLMConfig(max_num_seqs=32)

CHATS = Mix(per_s=40, count=600, conversations=0.9, long=0.2)
"""Conversations, each about a document of its own; one single prompt in five is long."""

HOT = Mix(per_s=60, count=400, conversations=0, long=0, system=2000)
"""Short questions behind one system prompt."""

ANSWERS = Mix(per_s=62, count=900, conversations=0, long=0, answer=20, long_answers=0.25)
"""Short prompts with nothing in common. One answer in four is forty times as long as the others; batches are full."""

IN_FLIGHT_WEIGHT = 3.0
"""As much as a prefix hit: an idle replica then beats the busiest one, unless that has the whole prompt."""

Race = Mapping[str, PoolSimulation]


def with_in_flight() -> EndpointPickerConfig:
    """KServe's default profile and the scorer that counts the picker's own requests in flight."""
    default = kserve_default().profiles["default"]
    counted = WeightedScorer("active-request-scorer", IN_FLIGHT_WEIGHT)
    return EndpointPickerConfig({"default": SchedulingProfile((*default.scorers, counted))})


PICKERS: Mapping[str, Callable[[], Picker]] = MappingProxyType(
    {
        "random": lambda: at_random(random.Random(1)),
        "round robin": round_robin,
        "least requests": least_requests,
        "two choices": lambda: two_choices(random.Random(1)),
        "KServe's picker": lambda: EndpointPicker(ties=random.Random(1)),
        "in flight added": lambda: EndpointPicker(with_in_flight(), ties=random.Random(1)),
    }
)
FIVE = tuple(PICKERS)[:5]


@lru_cache(maxsize=64)
def load(mix: Mix) -> Sequence[PoolRequest]:
    """The requests of a mix; equal ones are made once."""
    return requests(mix)


def served(mix: Mix, picker: str, replicas: int = 4, scrape_s: float = SCRAPE_S) -> PoolSimulation:
    """The load on equal replicas behind one of the pickers."""
    return behind(mix, PICKERS[picker](), replicas, scrape_s)


def behind(mix: Mix, picker: Picker, replicas: int = 4, scrape_s: float = SCRAPE_S) -> PoolSimulation:
    """The load on equal replicas behind a picker that has seen nothing yet."""
    return simulate_pool(load(mix), PickerRouter(picker), replicas, REPLICA, scrape_s=scrape_s)


def served_with(mix: Mix, config: EndpointPickerConfig) -> PoolSimulation:
    """The load on four replicas behind an endpoint picker of that configuration."""
    return behind(mix, EndpointPicker(config, ties=random.Random(1)))


def race(mix: Mix, pickers: Iterable[str] = FIVE) -> Race:
    """The same load behind one picker after the other."""
    return {picker: served(mix, picker) for picker in pickers}


def standings(results: Race) -> str:
    """A line for each picker: times to first token and per token, cached prompt tokens, the busiest replica's share."""
    columns = ["PICKER", "TTFT p50", "TTFT p99", "TPOT p99", "CACHED", "BUSIEST REPLICA"]
    return table(columns, [[picker, *figures(result)] for picker, result in results.items()])


def figures(result: PoolSimulation) -> list[str]:
    times_s = [result.ttft_s(0.5), result.ttft_s(0.99), result.tpot_s(0.99)]
    shares = [result.prefix_cache_hit_rate, result.largest_share]
    return [f"{1000 * (time_s or 0):,.0f} ms" for time_s in times_s] + [f"{share:.0%}" for share in shares]


def two_replicas(shared: int, whole: int, waiting: int) -> PickExplanation:
    """A prompt of so many blocks, of which the first `shared` were sent to replica-0, where so many requests wait."""
    picker, block = EndpointPicker(), 64
    before, after = "s" * block * shared, "s" * block * shared + "q" * block * (whole - shared)
    endpoints = [PoolEndpoint("replica-0", ServerMetrics(waiting)), PoolEndpoint("replica-1", ServerMetrics())]
    picker.pick(InferenceRequest("earlier", before), endpoints[:1])
    picker.finish("earlier")
    return picker.explain(InferenceRequest("now", after), endpoints)
