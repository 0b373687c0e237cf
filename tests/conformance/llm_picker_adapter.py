"""Translates the conformance cases of the endpoint picker into calls of `mlinfra.kserve.picker`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mlinfra.kserve.picker import (
    ConcurrencyDetector,
    EndpointPicker,
    EndpointPickerConfig,
    InferenceRequest,
    PickFailed,
    PoolEndpoint,
    PrefillDecider,
    SchedulingProfile,
    SchedulingResult,
    ServerMetrics,
    UtilizationDetector,
    WeightedScorer,
    admitted,
    kserve_default,
)
from mlinfra.kserve.picker.config import plugin_references, snake
from mlinfra.kserve.picker.endpoint import CHARACTERS_PER_TOKEN, SCRAPE_INTERVAL_S
from mlinfra.kserve.picker.epp import NO_HIT_LRU_SIZE
from mlinfra.kserve.picker.prefix import BLOCK_SIZE_TOKENS, BLOCKS_PER_ENDPOINT, MAX_PREFIX_TOKENS
from mlinfra.kserve.picker.profile import FILTERS

Case = dict[str, Any]

FIELDS = {
    "block_size_tokens",
    "config",
    "endpoints",
    "filter",
    "kind",
    "kserve",
    "lora_adapters",
    "match_blocks",
    "model",
    "non_cached_tokens",
    "params",
    "pods",
    "prefill_pool",
    "priority",
    "profile",
    "prompt_chars",
    "saturation",
    "scorer",
    "steps",
}

ENDPOINT_FIELDS = {
    "active_adapters",
    "age_ms",
    "in_flight_requests",
    "kv_usage",
    "match_blocks",
    "max_adapters",
    "name",
    "no_metrics",
    "role",
    "running",
    "total_blocks",
    "waiting",
    "waiting_adapters",
}

DRAWS = 400
"""Seeds that are tried to see every order that ties may take."""


class Close:
    """A value that equals another one when their floats are within 1e-9; lists of orders are compared as sets."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return same(self.value, other)

    def __repr__(self) -> str:
        return repr(self.value)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return all(name in other and same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) or isinstance(other, float):
        return isinstance(one, int | float) and math.isclose(one, other, rel_tol=0, abs_tol=1e-9)
    return bool(one == other)


def endpoint(case: Case, config: Case | None = None) -> PoolEndpoint:
    assert case.keys() <= ENDPOINT_FIELDS, case.keys() - ENDPOINT_FIELDS
    metrics = ServerMetrics(
        case.get("waiting", 0),
        case.get("running", 0),
        case.get("kv_usage", 0.0),
        frozenset(case.get("active_adapters", ())),
        frozenset(case.get("waiting_adapters", ())),
        case.get("max_adapters", 0),
        num_blocks=(config or {}).get("lru_capacity", 0),
    )
    return PoolEndpoint(
        case["name"],
        None if case.get("no_metrics") else metrics,
        case.get("age_ms", 0) / 1000,
        case.get("role"),
        case.get("in_flight_requests", 0),
        match_blocks=case.get("match_blocks", 0),
        total_blocks=case.get("total_blocks", 0),
    )


def endpoints(case: Case) -> list[PoolEndpoint]:
    return [endpoint(each, case.get("config")) for each in case["endpoints"]]


def profile(case: Case) -> SchedulingProfile:
    scorers = [
        WeightedScorer(each["scorer"], each.get("weight", 1), snake(each.get("params", {}))) for each in case["profile"]
    ]
    return SchedulingProfile(tuple(scorers), max_endpoints=(case.get("config") or {}).get("max_endpoints", 1))


def request(case: Case) -> InferenceRequest:
    prompt = "".join(character * count for character, count in case.get("prompt", ()))
    return InferenceRequest("r", prompt, case.get("model", ""))


def score(case: Case) -> Case:
    scorer = WeightedScorer(case["scorer"], 1, snake(case.get("params", {})))
    pool = endpoints(case)
    return {"scores": dict(zip([e.name for e in pool], scorer.points(request(case), pool), strict=True))}


def picks(ours: SchedulingProfile, asked: InferenceRequest, pool: Sequence[PoolEndpoint]) -> Case:
    """What comes out over many draws."""
    lists = {tuple(ours.run(asked, pool, random.Random(seed))) for seed in range(DRAWS)}
    return {
        "weighted_scores": ours.totals(asked, pool),
        "picked_one_of": sorted({names[0] for names in lists}),
        "picked_lists": sorted(map(list, lists)),
    }


def pick(case: Case) -> Case:
    try:
        return picks(profile(case), request(case), endpoints(case))
    except PickFailed as failed:
        return {"error_contains": str(failed)}


def steps(case: Case) -> Case:
    """One picker over all steps; what was chosen is given, and learned."""
    config = case["config"]
    size = config.get("block_size_tokens", BLOCK_SIZE_TOKENS)
    blocks = config.get("max_prefix_blocks", MAX_PREFIX_TOKENS // size)
    ours = profile(case) if "profile" in case else SchedulingProfile()
    picker = EndpointPicker(EndpointPickerConfig({"default": ours}), None, None, size, blocks * size)
    return {"steps": [step(picker, ours, case | given) for given in case["steps"]]}


def step(picker: EndpointPicker, ours: SchedulingProfile, case: Case) -> Case:
    asked, pool = request(case), endpoints(case)
    hashes = picker.prefix_hashes(asked, pool)
    candidates = picker.produce(hashes, pool)
    matches = {"match_blocks": {e.name: e.match_blocks for e in candidates}, "total_blocks": len(hashes)}
    answered = matches | (picks(ours, asked, candidates) if ours.scorers else {})
    if "chosen" in case:
        result = SchedulingResult(case["chosen"])
        picker.learn_prompt(result, hashes, candidates)
        if not any(candidate.match_blocks for candidate in candidates):
            picker.learn_cold(result)
    return answered


def saturation(case: Case) -> Case:
    config = dict(case["config"])
    detector: UtilizationDetector | ConcurrencyDetector
    if "max_concurrency" in config:
        detector = ConcurrencyDetector(**config)
    else:
        staleness_s = config.pop("metrics_staleness_ms", 200) / 1000
        detector = UtilizationDetector(**config, metrics_staleness_threshold_s=staleness_s)
    pool = endpoints(case | {"config": None})
    return {"saturation": detector.saturation(pool), "kept_by_filter": [e.name for e in detector.filter(pool)]}


def role_filter(case: Case) -> Case:
    return {"kept": [e.name for e in FILTERS[case["filter"]]([endpoint(pod) for pod in case["pods"]])]}


def resolved(config: EndpointPickerConfig) -> Case:
    """The profiles in the cases' words."""
    plugins = {
        name: [
            {"plugin": each["pluginRef"]} | ({"weight": each["weight"]} if "weight" in each else {})
            for each in plugin_references(ours)
        ]
        for name, ours in config.profiles.items()
    }
    handlers = [each["type"] for each in config.manifest()["plugins"] if each["type"].endswith("-profile-handler")]
    decider = {"prefill_decider": config.decider.plugin} if config.decider else {}
    return {
        "profiles": plugins,
        "saturation_detector": EndpointPicker(config).detector.plugin,
        "profile_handler": handlers[0],
        **decider,
    }


def kserve(case: Case) -> Case:
    return resolved(kserve_default(case["kserve"], case["prefill_pool"], case["lora_adapters"]))


def epp_default(case: Case) -> Case:
    profiles = (case["config"] or {}).get("profiles", {})
    plugins = {each["plugin"] for listed in profiles.values() for each in listed}
    written = [
        {
            "name": name,
            "plugins": [
                {"pluginRef": each["plugin"]} | ({"weight": each["weight"]} if "weight" in each else {})
                for each in listed
            ],
        }
        for name, listed in profiles.items()
    ]
    head = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}
    declared = [{"type": plugin} for plugin in sorted(plugins)]
    return resolved(EndpointPickerConfig.of(head | {"plugins": declared, "schedulingProfiles": written}))


def epp_settings(case: Case) -> Case:
    detector = UtilizationDetector()
    return {
        "queue_depth_threshold": detector.queue_depth_threshold,
        "kv_cache_util_threshold": detector.kv_cache_util_threshold,
        "metrics_staleness_ms": detector.metrics_staleness_threshold_s * 1000,
        "headroom": detector.headroom,
        "refresh_metrics_ms": SCRAPE_INTERVAL_S * 1000,
        "block_size_tokens": BLOCK_SIZE_TOKENS,
        "characters_per_token": CHARACTERS_PER_TOKEN,
        "lru_capacity_per_server": BLOCKS_PER_ENDPOINT,
        "no_hit_lru_size": NO_HIT_LRU_SIZE,
    }


def pd_decision(case: Case) -> Case:
    asked = InferenceRequest("r", "x" * case["prompt_chars"])
    decode = PoolEndpoint("d", match_blocks=case["match_blocks"])
    decider = PrefillDecider(case["non_cached_tokens"])
    return {"use_prefill_pool": decider.splits(asked, decode, case["block_size_tokens"])}


KINDS: dict[str | None, Callable[[Case], Case]] = {
    "admission": lambda case: {"admitted": admitted(case["priority"], case["saturation"])},
    "epp_default": epp_default,
    "epp_settings": epp_settings,
    "kserve_default_weights": kserve,
    "pd_decision": pd_decision,
    "picker_pick": pick,
    "picker_score": score,
    "picker_trace": steps,
    "prefix_match": steps,
    "role_filter": role_filter,
    "saturation": saturation,
}


def expectation(case: Case) -> Case:
    expected = dict(case["expected"])
    if "picked_lists" in expected:
        expected["picked_lists"] = sorted(expected["picked_lists"])
    return {name: value if name == "error_contains" else Close(value) for name, value in expected.items()}


def answer(case: Case) -> Case:
    """What we compute for a case, in the case's own words."""
    kind = case.get("kind")
    if kind not in KINDS:
        pytest.fail(f"unknown kind {kind!r}")
    return KINDS[kind](case)
