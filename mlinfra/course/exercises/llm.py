"""The exercise on language models in notebook 01."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mlinfra import study
from mlinfra.course import llm_loads
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
