"""Ray Serve LLM in notebook 2: its two routers before the loads of notebook 1, beside KServe's endpoint picker."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable

from mlinfra.admission.serve_llm import BUILDER
from mlinfra.autoscaling.llm import Mix, PoolSimulation
from mlinfra.course import llm_loads
from mlinfra.course.kserve_tables import table
from mlinfra.manifest import Manifest
from mlinfra.ray_serve import Application
from mlinfra.ray_serve.prefix_router import PrefixCacheAffinityRouter

LOADS = (llm_loads.HOT, llm_loads.CHATS)
HEAD = ("ROUTER", "HOT: TTFT p50", "p99", "BUSIEST REPLICA", "CHATS: TTFT p50", "p99", "CACHED")

MODEL = {"model_id": "chat", "model_source": "meta-llama/Meta-Llama-3-8B-Instruct"}
BOUNDS = {"min_replicas": 4, "max_replicas": 8}

WITH_TYPOS: Manifest = {
    "model_loading_config": MODEL,
    "accelerator_typ": "H100",
    "engine_kwargs": {"max_num_seq": 32},
    "deployment_config": {"autoscaling_config": BOUNDS | {"target_ongoing_request": 24}},
}
"""An LLMConfig with one typo each for Ray Serve LLM, for vLLM and for Serve."""

WITHOUT_TARGET: Manifest = {
    "model_loading_config": MODEL,
    "accelerator_type": "H100",
    "deployment_config": {"autoscaling_config": BOUNDS},
}
"""One that is accepted, and never scales."""


def config(model: Manifest) -> Manifest:
    """The config file of an application that Ray Serve LLM's builder makes for one model."""
    return Application("chat", BUILDER, args={"llm_configs": [model]}).config()


def with_prefix_router(mix: Mix, imbalanced_threshold: float = math.inf) -> PoolSimulation:
    """The load on four replicas behind the PrefixCacheAffinityRouter; the threshold is infinite by default."""
    return llm_loads.behind(mix, PrefixCacheAffinityRouter(random.Random(1), imbalanced_threshold))


def race_table() -> str:
    """Ray Serve's default router, its prefix router with defaults, and KServe's picker."""
    rows = [row(name, *(llm_loads.served(mix, name) for mix in LOADS)) for name in ("two choices", "KServe's picker")]
    return table(HEAD, [rows[0], prefix_row(math.inf), rows[1]])


def thresholds_table(thresholds: Iterable[float]) -> str:
    """The prefix router with other values of `imbalanced_threshold`."""
    return table(HEAD, [prefix_row(threshold) for threshold in thresholds])


def differing(by: int) -> float:
    """Share of the requests of CHATS that arrive while the queues behind the prefix router differ by more than that."""
    run = with_prefix_router(llm_loads.CHATS)
    gaps = [queue_gap(run, request.arrival_s) for request in run.requests]
    return sum(gap > by for gap in gaps) / len(gaps)


def queue_gap(run: PoolSimulation, now_s: float) -> int:
    """How many more requests the replica with the longest queue has than the one with the shortest."""
    there = (each for each in run.requests if each.arrival_s < now_s < each.last_token_s)
    queues = Counter(run.replica_of[each.name] for each in there)
    lengths = [queues[replica] for replica in run.replicas]
    return max(lengths) - min(lengths)


def prefix_row(threshold: float) -> list[str]:
    name = f"prefix cache, {'infinite' if threshold == math.inf else f'{threshold:g}'}"
    return row(name, *(with_prefix_router(mix, threshold) for mix in LOADS))


def row(name: str, hot: PoolSimulation, chats: PoolSimulation) -> list[str]:
    """Of the hot prompt how the load is spread, of the conversations how much is cached."""
    times, conversations = llm_loads.figures(hot), llm_loads.figures(chats)
    return [name, *times[:2], times[-1], *conversations[:2], conversations[-2]]
