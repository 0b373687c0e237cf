"""Notebook 2, the exercise on Ray Serve LLM: how far the queues may differ before the prefix counts no more."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mlinfra.admission import validate
from mlinfra.admission.serve_llm import PREFIX_ROUTER
from mlinfra.course import llm_loads, llm_routers
from mlinfra.manifest import Manifest
from mlinfra.study import Exercise

FIRST_HOT, FIRST_CHATS = replace(llm_loads.HOT, count=200), replace(llm_loads.CHATS, count=250)
MODEL = {"model_loading_config": {"model_id": "chat"}}


def prefix_router(**options: Any) -> Manifest:
    """The `request_router_config` of the prefix router."""
    return {"request_router_class": PREFIX_ROUTER, "request_router_kwargs": options}


def routed(config: Any) -> str:
    """What becomes of the hot prompt and of the conversations, or why Ray would refuse the configuration."""
    if not isinstance(config, dict):
        raise ValueError("must be a dict, the request_router_config")
    return _routed(json.dumps(config))


@lru_cache(maxsize=16)
def _routed(text: str) -> str:
    config = json.loads(text)
    model = MODEL | {"deployment_config": {"num_replicas": 4, "request_router_config": config}}
    if problems := validate(llm_routers.config(model)):
        raise ValueError("; ".join(str(problem) for problem in problems))
    if config.get("request_router_class", "").replace(":", ".") != PREFIX_ROUTER:
        return "two choices: conversations do not stay with their cache"
    return _outcome(config.get("request_router_kwargs", {}).get("imbalanced_threshold", float("inf")))


def _outcome(threshold: float) -> str:
    hot, chats = (llm_routers.with_prefix_router(mix, threshold) for mix in (FIRST_HOT, FIRST_CHATS))
    spread = "is answered soon" if (hot.ttft_s(0.99) or 0) <= 0.1 else "queues"
    fate = "stay" if chats.prefix_cache_hit_rate >= 0.5 else "do not stay"
    return f"the hot prompt {spread}, conversations {fate} with their cache"


imbalanced_threshold = Exercise(
    "imbalanced-threshold",
    right=prefix_router(imbalanced_threshold=16),
    mistakes=[
        (
            prefix_router(),
            "The hot prompt queues. Without a threshold, or with one above what a batch holds, requests wait on the "
            "replica that has the prefix before anybody else gets one.",
        ),
        (
            prefix_router(imbalanced_threshold=2),
            "The conversations lose their cache. Queues of a healthy load differ by more than that all the time, and "
            "then two choices decides.",
        ),
        (
            {"request_router_class": "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter"},
            "That is the default router. It spreads the hot prompt and does not look at prefixes.",
        ),
    ],
    praise="From 6 to 32 both hold here. Below, the ordinary differences between queues count as imbalance. Above, a "
    "queue forms first, because a batch holds 32.",
    effect=routed,
)
