"""The endpoint picker and those it is compared with: invariants, and what a burst, a hot prefix and two pools do."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid, validate
from mlinfra.admission import picker as rules
from mlinfra.kserve.picker import (
    ConcurrencyDetector,
    EndpointPicker,
    EndpointPickerConfig,
    InferenceRequest,
    MetricsCache,
    PickFailed,
    PoolEndpoint,
    PrefillDecider,
    PrefixIndex,
    SchedulingProfile,
    ServerMetrics,
    UtilizationDetector,
    WeightedScorer,
    at_random,
    block_hashes,
    kserve_default,
    least_requests,
    round_robin,
    two_choices,
)
from mlinfra.kserve.picker.config import RELEASES, weighted
from mlinfra.kserve.picker.profile import FILTERS, PICKERS
from mlinfra.kserve.picker.scorers import SCORERS
from mlinfra.kserve.picker.simple import Picker
from mlinfra.ray_serve.prefix_router import PrefixCacheAffinityRouter, PromptTree

quick = settings(max_examples=100, derandomize=True, database=None, deadline=None)
NAMES = ("a", "b", "c", "d")
ADAPTERS = st.frozensets(st.sampled_from(["x", "y", "z"]))
METRICS = st.builds(
    ServerMetrics, st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), ADAPTERS, ADAPTERS, st.integers(0, 3)
)
ENDPOINT = st.builds(
    PoolEndpoint,
    st.just(""),
    st.none() | METRICS,
    st.floats(0, 1),
    st.sampled_from([None, "decode", "prefill", "both"]),
    st.integers(0, 50),
    st.integers(0, 10**7),
    st.integers(0, 8),
    st.sampled_from([0, 8]),
    st.none() | st.integers(0, 5),
)
POOL = st.lists(ENDPOINT, min_size=1, max_size=4).map(
    lambda pool: [endpoint._replace(name=name) for endpoint, name in zip(pool, NAMES, strict=False)]
)
PROFILE = st.lists(
    st.builds(WeightedScorer, st.sampled_from(sorted(SCORERS)), st.integers(0, 4)), min_size=1, max_size=5
).map(lambda scorers: SchedulingProfile(tuple(scorers)))
IDLE = [PoolEndpoint(name) for name in NAMES[:3]]


def request(name: str, prompt: str = "", **more: Any) -> InferenceRequest:
    return InferenceRequest(name, prompt)._replace(**more)


# ------------------------------------------------------------------------------------------------ scores and picks


@quick
@given(POOL, st.sampled_from(sorted(SCORERS)))
def test_every_score_is_from_0_to_1(pool: list[PoolEndpoint], name: str) -> None:
    cut = [e._replace(match_blocks=min(e.match_blocks, e.total_blocks)) for e in pool]
    scores = SCORERS[name](request("r", model="x"), cut)
    assert len(scores) == len(pool)
    assert all(0 <= score <= 1 for score in scores)


@quick
@given(POOL, PROFILE, st.none() | st.integers(0, 99))
def test_the_pick_is_one_of_the_best(pool: list[PoolEndpoint], profile: SchedulingProfile, seed: int | None) -> None:
    asked = request("r", model="x")
    picked = profile.run(asked, pool, None if seed is None else random.Random(seed))
    explanation = profile.explain(asked, pool)
    assert picked[0] in explanation.best()
    assert profile.totals(asked, pool) == {e.name: explanation.total(e.name) for e in pool}
    if seed is None:
        assert picked == explanation.best()[:1]


@pytest.mark.parametrize("picker", sorted(PICKERS))
def test_ties_are_broken_evenly(picker: str) -> None:
    profile, draws = SchedulingProfile(weighted(queue=2), picker=picker), random.Random(1)
    counts = Counter(profile.run(request("r"), IDLE, draws)[0] for _ in range(3000))
    assert all(900 < counts[endpoint.name] < 1100 for endpoint in IDLE)


def test_a_weighted_draw_follows_the_totals() -> None:
    pool = [PoolEndpoint("a", ServerMetrics(kv_usage=0.2)), PoolEndpoint("b", ServerMetrics(kv_usage=0.6))]
    pool += [PoolEndpoint("full", ServerMetrics(kv_usage=1.0))]
    profile = SchedulingProfile(weighted(kv_cache_utilization=1), picker="weighted-random-picker")
    draws = random.Random(1)
    counts = Counter(profile.run(request("r"), pool, draws)[0] for _ in range(3000))
    assert counts["full"] == 0
    assert 1900 < counts["a"] < 2100


def test_fallbacks_follow_in_order() -> None:
    pool = [PoolEndpoint(name, ServerMetrics(waiting)) for name, waiting in (("a", 5), ("b", 0), ("c", 2))]
    config = EndpointPickerConfig({"default": SchedulingProfile(weighted(queue=2), max_endpoints=2)})
    result = EndpointPicker(config).schedule(request("r"), pool)
    assert (result.target, result.fallbacks, result.endpoints) == ("b", ("c",), ("b",))


def test_only_differences_of_queues_count() -> None:
    def totals(waiting: int) -> list[float]:
        pool = [PoolEndpoint("a", ServerMetrics(waiting)), PoolEndpoint("b")]
        return list(SchedulingProfile(weighted(queue=2)).totals(request("r"), pool).values())

    assert totals(1) == totals(1000) == [0, 2]


@pytest.mark.parametrize(
    ("scorer", "pool", "scores"),
    [
        (WeightedScorer("active-request-scorer", 1, {"idle_threshold": 3}), (2, 4, 8), [1, 0.5, 0]),
        (WeightedScorer("active-request-scorer", 1, {"max_busy_score": 0.5}), (0, 4, 8), [1, 0.25, 0]),
        (WeightedScorer("active-request-scorer", 1, {"max_busy_score": 7}), (0, 4, 8), [1, 0.5, 0]),
        (WeightedScorer("active-request-scorer", 1, {"idle_threshold": -1}), (0, 4, 8), [1, 0.5, 0]),
    ],
)
def test_parameters_out_of_range_are_the_default(
    scorer: WeightedScorer, pool: tuple[int, ...], scores: list[float]
) -> None:
    endpoints = [PoolEndpoint(str(count), in_flight=count) for count in pool]
    assert scorer.points(request("r"), endpoints) == scores


def test_a_threshold_that_is_not_positive_is_the_default() -> None:
    pool = [PoolEndpoint("a", ServerMetrics(64), in_flight_tokens=2**21)]
    for name, parameter, score in (("load-aware", "threshold", 0.25), ("token-load", "queue_threshold_tokens", 0.5)):
        for value in (0, -1):
            assert WeightedScorer(f"{name}-scorer", 1, {parameter: value}).points(request("r"), pool) == [score]
    assert WeightedScorer("load-aware-scorer", 1, {"threshold": 1}).points(request("r"), pool) == [0]


def test_the_explanation_says_who_is_out_and_why_and_changes_nothing() -> None:
    picker = EndpointPicker(kserve_default(prefill=True))
    pool = [PoolEndpoint("d0"), PoolEndpoint("d1", role="decode"), PoolEndpoint("p0", role="prefill")]
    before = str(picker.explain(request("r", "x" * 640), pool))
    assert before.splitlines()[0] == "d0   2.00  active-request-scorer 2.00, prefix-cache-scorer 0.00"
    assert before.splitlines()[-1] == "p0     no  decode-filter"
    assert str(picker.explain(request("r", "x" * 640), pool)) == before
    assert str(picker.explain(request("r"), pool, "prefill")).splitlines()[-1] == "d1     no  prefill-filter"


# ------------------------------------------------------------------------------------------------ what it remembers


@quick
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 5), st.integers(0, 30))), st.integers(1, 12))
def test_the_index_never_exceeds_its_capacity(steps: list[tuple[str, int, int]], capacity: int) -> None:
    index = PrefixIndex()
    for endpoint, prompt, length in steps:
        hashes = block_hashes(request("r", str(prompt) * 64 * length), 16, 256)
        index.add(endpoint, hashes, capacity)
        assert index.size(endpoint) <= capacity
        assert index.match(hashes)[endpoint] <= min(len(hashes), capacity)
        if len(hashes) <= capacity:
            assert index.match(hashes)[endpoint] == len(hashes)


def test_the_index_credits_the_tail_of_a_prefix_while_another_endpoint_has_its_head() -> None:
    index, long, other = PrefixIndex(), *(block_hashes(request("r", text * 256), 16, 256) for text in "xy")
    index.add("a", long, 4)
    index.add("a", other[:1])
    assert index.match(long) == {}
    index.add("b", long[:2])
    assert index.match(long) == {"a": 3, "b": 2}
    index.forget("b")
    assert (index.match(long), index.size("b")) == ({}, 0)


def test_a_pod_that_comes_back_under_an_old_name_brings_its_own_capacity() -> None:
    index, long = PrefixIndex(), block_hashes(request("r", "x" * 256), 16, 256)
    index.add("a", long, 2)
    index.add("a", long, 4)
    assert index.size("a") == 2, "a pod's cache does not grow"
    index.forget("a")
    index.add("a", long, 4)
    assert index.size("a") == 4


def test_headroom_lets_an_endpoint_have_more_than_the_limit_before_it_is_passed_over() -> None:
    """`saturation` still counts against the limit itself: twelve of two times eight are 75 %."""
    endpoints = [PoolEndpoint("a", in_flight=9), PoolEndpoint("b", in_flight=10)]
    detector = ConcurrencyDetector(8, headroom=0.25)
    assert [endpoint.name for endpoint in detector.filter(endpoints)] == ["a"]
    assert detector.saturation([PoolEndpoint("a", in_flight=4), PoolEndpoint("b", in_flight=8)]) == 0.75


def test_hashes_depend_on_model_salt_and_everything_before() -> None:
    base = request("r", "x" * 100)
    assert len(block_hashes(base, 16, 256)) == 2
    assert len(block_hashes(request("r", "x" * 63), 16, 256)) == 1
    assert block_hashes(request("r"), 16, 256) == []
    for other in (base._replace(model="m"), base._replace(cache_salt="s"), base._replace(prompt="y" + "x" * 99)):
        assert not set(block_hashes(base, 16, 256)) & set(block_hashes(other, 16, 256))
    assert block_hashes(base, 16, 256)[:1] == block_hashes(request("r", "x" * 64 + "z"), 16, 256)[:1]


@quick
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["first", "finish"])), max_size=40), st.booleans())
def test_in_flight_counts_return_to_zero(calls: list[tuple[int, str]], split: bool) -> None:
    pool = [PoolEndpoint("d0"), PoolEndpoint("d1"), PoolEndpoint("p0", role="prefill")]
    picker, running = EndpointPicker(kserve_default(prefill=split)), set()
    for number, call in calls:
        name = str(number)
        if name not in running:
            picker.pick(request(name, "x" * 100 * number), pool)
            running.add(name)
        elif call == "first":
            picker.first_token(name)
        else:
            picker.finish(name)
            running.remove(name)
        assert min(picker.load.requests.values()) >= 0
        assert min(picker.load.tokens.values()) >= 0
    for name in running:
        picker.finish(name)
    assert not +picker.load.requests
    assert not +picker.load.tokens
    assert not -picker.load.tokens


def test_a_request_counts_at_both_endpoints_until_its_first_token() -> None:
    picker = EndpointPicker(kserve_default(prefill=True))
    pool = [PoolEndpoint("d"), PoolEndpoint("p", role="prefill")]
    assert picker.schedule(request("r", "x" * 400), pool).endpoints == ("d", "p")
    assert picker.load.requests == {"d": 1, "p": 1}
    assert picker.load.tokens == {"d": 250, "p": 250}
    picker.first_token("r")
    assert +picker.load.requests == {"d": 1}
    picker.finish("r")
    assert not +picker.load.requests


def test_names_of_requests_in_flight_are_unique() -> None:
    pickers: list[Picker] = [EndpointPicker(), round_robin(), PrefixCacheAffinityRouter(random.Random(1))]
    for picker in pickers:
        picker.pick(request("r"), IDLE)
        with pytest.raises(Invalid, match='Duplicate value: "r"'):
            picker.pick(request("r"), IDLE)
        picker.first_token("r")
        picker.finish("r")
        for call in (picker.first_token, picker.finish):
            with pytest.raises(Invalid, match='Not found: "r"'):
                call("r")


def test_a_refused_request_leaves_nothing_behind() -> None:
    picker = EndpointPicker(kserve_default(prefill=True))
    with pytest.raises(PickFailed, match="no endpoints available") as failed:
        picker.pick(request("r", "x" * 640), [PoolEndpoint("p", role="prefill")])
    assert failed.value.code == 429
    with pytest.raises(PickFailed, match="failed to find endpoint candidates") as failed:
        picker.pick(request("r"), [])
    assert failed.value.code == 503
    picker.pick(request("r", "x" * 640), [PoolEndpoint("d")])
    assert (picker.load.requests, picker.index.size("p")) == ({"d": 1}, 0)


def test_cold_requests_go_round_and_warm_ones_stay() -> None:
    picker = EndpointPicker()
    cold = [picker.pick(request(f"cold{i}", letter * 640), IDLE) for i, letter in enumerate("mnopqr")]
    warm = [picker.pick(request(f"warm{i}", "n" * 640 + str(i)), IDLE) for i in range(3)]
    assert (cold, warm) == (["a", "b", "c"] * 2, ["b"] * 3)


def test_a_request_is_warm_when_one_of_the_endpoints_has_its_prefix() -> None:
    """So it does not move that endpoint to the end of the row for cold requests."""
    picker = EndpointPicker()
    for name, letter in zip("abc", "mno", strict=True):
        assert picker.pick(request(name, letter * 640), IDLE) == name
    picker.pick(request("warm", "m" * 640), IDLE)
    assert picker.pick(request("cold", "p" * 640), IDLE) == "a"


def test_a_block_has_a_token_at_least() -> None:
    with pytest.raises(Invalid, match="block_size_tokens: Invalid value: 0"):
        EndpointPicker(block_size_tokens=0)
    assert EndpointPicker(block_size_tokens=1).pick(request("r", "x" * 8), [PoolEndpoint("a")]) == "a"


def test_the_only_endpoint_is_the_best_for_a_cold_request() -> None:
    assert SCORERS["no-hit-lru-scorer"](request("r"), [PoolEndpoint("a")]) == [1.0]


def test_the_index_has_the_size_of_the_servers_cache() -> None:
    pool = [PoolEndpoint("a", ServerMetrics(block_size=32, num_blocks=4))]
    picker = EndpointPicker()
    picker.pick(request("r", "x" * 128 * 9), pool)
    assert picker.index.size("a") == 4
    assert len(picker.prefix_hashes(request("s", "x" * 128 * 9), pool)) == 9
    picker.forget("a")
    assert picker.index.size("a") == 0


def test_the_cold_list_is_bounded() -> None:
    picker = EndpointPicker()
    for i in range(1030):
        picker.pick(request(str(i), f"{i:064}"), [PoolEndpoint(f"pod{i}")])
    assert len(picker._cold) == 1024


# ------------------------------------------------------------------------------------------------ stale metrics


def burst(picker: Picker, cache: MetricsCache) -> Counter[str]:
    """Thirty requests within one scrape interval."""
    return Counter(picker.pick(request(str(i), f"{i:0640}"), cache.endpoints(i * 0.001)) for i in range(30))


def test_a_burst_between_two_scrapes_piles_onto_the_best_endpoint_unless_the_picker_counts() -> None:
    cache = MetricsCache({"a": None, "b": None, "c": None})
    cache.scrape(0.0, {"a": ServerMetrics(kv_usage=0.2), "b": ServerMetrics(kv_usage=0.1), "c": ServerMetrics()})
    by_metrics = SchedulingProfile(weighted(queue=2, kv_cache_utilization=2))
    counted = SchedulingProfile(weighted(queue=2, kv_cache_utilization=2, active_request=2))
    assert burst(EndpointPicker(EndpointPickerConfig({"default": by_metrics})), cache) == {"c": 30}
    assert min(burst(EndpointPicker(EndpointPickerConfig({"default": counted})), cache).values()) >= 7
    assert min(burst(EndpointPicker(), cache).values()) >= 9


def test_the_last_scrape_holds_whatever_its_age() -> None:
    cache = MetricsCache({"a": None, "b": "decode"})
    assert [e.scraped for e in cache.endpoints(0.0)] == [None, None]
    cache.scrape(0.0, {"a": ServerMetrics(3), "gone": ServerMetrics()})
    cache.scrape(0.05, {"b": ServerMetrics(4)})
    assert cache.next_scrape_s == pytest.approx(0.1)
    seen = cache.endpoints(0.3)
    assert [(e.name, e.metrics.waiting, e.role) for e in seen] == [("a", 3, None), ("b", 4, "decode")]
    assert [e.age_s for e in seen] == pytest.approx([0.3, 0.25])
    assert UtilizationDetector().saturation(seen) == 1.0
    cache.remove("a")
    cache.add("c")
    assert [e.name for e in cache.endpoints(0.3)] == ["b", "c"]


def test_a_saturated_pool_refuses_only_sheddable_requests() -> None:
    full = [PoolEndpoint("a", ServerMetrics(waiting=5))]
    picker = EndpointPicker()
    with pytest.raises(PickFailed, match="sheddable request dropped") as failed:
        picker.pick(request("batch", priority=-1), full)
    assert failed.value.code == 429
    assert picker.pick(request("chat"), full) == "a"
    assert EndpointPicker().pick(request("batch", priority=-1), IDLE) == "a"


def test_the_concurrency_detector_reads_the_pickers_own_counts() -> None:
    detector = ConcurrencyDetector(2)
    picker = EndpointPicker(detector=detector)
    for i in range(2):
        picker.pick(request(str(i)), IDLE[:1])
    with pytest.raises(PickFailed):
        picker.pick(request("batch", priority=-1), IDLE[:1])
    assert detector.saturation([]) == 1.0
    assert detector.filter([PoolEndpoint("a", in_flight=2), PoolEndpoint("b", in_flight=1)])[0].name == "b"
    assert detector.filter([PoolEndpoint("a", in_flight=2)]) == []


# ------------------------------------------------------------------------------------------------ two pools


def test_decode_is_picked_first_and_prefill_only_for_a_prompt_that_is_not_cached() -> None:
    config = replace(kserve_default(prefill=True), decider=PrefillDecider(100))
    picker = EndpointPicker(config)
    pool = [PoolEndpoint("d", role="decode"), PoolEndpoint("p", role="prefill")]
    assert picker.schedule(request("short", "x" * 396), pool).prefill is None
    assert picker.schedule(request("long", "y" * 4000), pool).prefill == "p"
    assert picker.schedule(request("again", "y" * 4000), pool).prefill is None
    assert picker.schedule(request("no pool", "z" * 4000), pool[:1]).prefill is None
    assert (picker.index.size("d"), picker.index.size("p")) == (7 + 63 + 63, 63)


def test_a_pod_of_both_roles_may_do_both() -> None:
    picker = EndpointPicker(kserve_default(prefill=True))
    assert picker.schedule(request("r", "x" * 640), [PoolEndpoint("a", role="both")]).endpoints == ("a", "a")
    picker.finish("r")
    assert picker.load.requests == {"a": 0}


# ------------------------------------------------------------------------------------------------ the configuration


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("prefill", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_a_configuration_is_read_as_it_is_written(release: str, prefill: bool, lora: bool) -> None:
    config = kserve_default(release, prefill, lora)
    assert validate(config.manifest()) == []
    assert EndpointPickerConfig.of(config.manifest()) == config


def test_parameters_and_names_of_plugins_are_read() -> None:
    file = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": [
            {"name": "busy", "type": "active-request-scorer", "parameters": {"idleThreshold": 2, "maxBusyScore": 0.5}},
            {"type": "prefill-filter"},
            {"type": "decode-filter"},
            {"type": "random-picker", "parameters": {"maxNumOfEndpoints": 2}},
            {"name": "p", "type": "prefix-based-pd-decider", "parameters": {"nonCachedTokens": 512}},
            {"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "p"}}},
        ],
        "schedulingProfiles": [
            {"name": "decode", "plugins": [{"pluginRef": "decode-filter"}, {"pluginRef": "busy"}]},
            {"name": "prefill", "plugins": [{"pluginRef": "prefill-filter"}, {"pluginRef": "random-picker"}]},
        ],
    }
    config = EndpointPickerConfig.of(file)
    busy = WeightedScorer("active-request-scorer", 1, {"idle_threshold": 2, "max_busy_score": 0.5})
    assert config.profiles["decode"] == SchedulingProfile((busy,), ("decode-filter",))
    assert config.profiles["prefill"] == SchedulingProfile((), ("prefill-filter",), "random-picker", 2)
    assert (config.decider, config.primary) == (PrefillDecider(512), "decode")
    assert EndpointPickerConfig.of(config.manifest()) == config


PLUGINS = [{"type": "queue-scorer"}, {"type": "max-score-picker"}]
PROFILES = [{"name": "default", "plugins": [{"pluginRef": "queue-scorer", "weight": 2}]}]
TWO = [*PROFILES, {"name": "other", "plugins": []}]


@pytest.mark.parametrize(
    ("plugins", "profiles", "path", "words"),
    [
        ([{"name": "a"}], PROFILES, "plugins[0].type", "plugin 'a' is missing a type"),
        ([*PLUGINS, *PLUGINS], PROFILES, "plugins[2]", "duplicate plugin name 'queue-scorer'"),
        (PLUGINS, [{"plugins": []}], "schedulingProfiles[0].name", "is missing a name"),
        (PLUGINS, [*PROFILES, *PROFILES], "schedulingProfiles[1].name", "has duplicate name 'default'"),
        (
            PLUGINS[1:],
            PROFILES,
            "schedulingProfiles[0].plugins[0].pluginRef",
            "schedulingProfiles[default] references undefined plugin 'queue-scorer'",
        ),
        (PLUGINS, [{"name": "d", "plugins": [{}]}], "schedulingProfiles[0].plugins[0].pluginRef", "is missing a"),
        (PLUGINS, TWO, "plugins", "no profile handler configured"),
        ([*PLUGINS, {"type": "single-profile-handler"}], TWO, "schedulingProfiles", "cannot support multiple"),
        (
            [*PLUGINS, {"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "x"}}}],
            PROFILES,
            "plugins[2].parameters.deciders.prefill",
            "deciders.prefill plugin not found: x",
        ),
        (
            [*PLUGINS, {"type": "disagg-profile-handler", "parameters": {"deciders": {"prefill": "queue-scorer"}}}],
            PROFILES,
            "plugins[2].parameters.deciders.prefill",
            "plugin queue-scorer does not implement prefillDeciderPlugin",
        ),
    ],
)
def test_a_broken_configuration_is_refused_in_upstreams_words(
    plugins: list[object], profiles: list[object], path: str, words: str
) -> None:
    head = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}
    problems = validate(head | {"plugins": plugins, "schedulingProfiles": profiles})
    assert [p for p in problems if p.path == path and words in p.message], problems


def test_what_is_not_modelled_is_said() -> None:
    head = {"apiVersion": "llm-d.ai/v1alpha1", "kind": "EndpointPickerConfig"}
    file = head | {"plugins": [{"type": "session-affinity-scorer"}], "schedulingProfiles": []}
    assert [str(warning) for warning in validate(file)] == [
        "Warning: plugins[0].type: not checked here: plugin type 'session-affinity-scorer'"
    ]
    with pytest.raises(Invalid, match="not modelled here: plugin type 'session-affinity-scorer'"):
        EndpointPickerConfig.of(file)
    with pytest.raises(Invalid, match="Unsupported value"):
        WeightedScorer("session-affinity-scorer")
    with pytest.raises(Invalid, match="unknown field"):
        WeightedScorer("queue-scorer", 1, {"threshold": 1})
    with pytest.raises(Invalid, match="Unsupported value"):
        SchedulingProfile(filters=("gpu-filter",))
    with pytest.raises(Invalid, match="Unsupported value"):
        kserve_default("0.15")
    with pytest.raises(Invalid, match="one profile, or decode and prefill"):
        EndpointPickerConfig({"a": SchedulingProfile(), "b": SchedulingProfile()})


def test_the_names_that_are_checked_are_those_that_are_modelled() -> None:
    assert (set(rules.SCORERS), set(rules.FILTERS), set(rules.PICKERS)) == (set(SCORERS), set(FILTERS), set(PICKERS))


# ------------------------------------------------------------------------------------------------ the others


def test_every_picker_takes_the_same_calls() -> None:
    draws = random.Random(1)
    pickers: list[Picker] = [
        EndpointPicker(ties=draws),
        at_random(draws),
        round_robin(),
        least_requests(draws),
        two_choices(draws),
        PrefixCacheAffinityRouter(draws),
    ]
    for picker in pickers:
        for i in range(30):
            assert picker.pick(request(str(i), f"{i:0640}"), IDLE) in NAMES[:3]
        for i in range(30):
            picker.first_token(str(i))
            picker.finish(str(i))


def test_round_robin_and_least_requests() -> None:
    turns, least = round_robin(), least_requests()
    assert "".join(turns.pick(request(str(i)), IDLE) for i in range(6)) == "abcabc"
    assert "".join(least.pick(request(str(i)), IDLE) for i in range(6)) == "abcabc"
    least.finish("4")
    assert least.pick(request("6"), IDLE) == "b"
    with pytest.raises(PickFailed):
        turns.pick(request("x"), [])


def test_two_choices_never_take_the_fullest() -> None:
    picker = two_choices(random.Random(1))
    for i in range(300):
        picker.pick(request(str(i)), IDLE)
        assert max(picker.in_flight.values()) - min(picker.in_flight[e.name] for e in IDLE) <= 6
    assert picker.pick(request("one"), IDLE[:1]) == "a"


# ------------------------------------------------------------------------------------------------ Ray Serve LLM


def test_ray_follows_the_prefix_however_uneven_the_queues() -> None:
    router = PrefixCacheAffinityRouter(random.Random(1))
    assert [router.pick(request(str(i), "s" * 600 + str(i)), IDLE) for i in range(20)] == ["a"] * 20
    assert router.pick(request("new", "t" * 600), IDLE) == "b"
    assert router.queues == {"a": 20, "b": 1}


def test_ray_with_a_threshold_takes_two_choices_when_queues_are_uneven() -> None:
    router = PrefixCacheAffinityRouter(random.Random(1), imbalanced_threshold=5)
    picked = Counter(router.pick(request(str(i), "s" * 600 + str(i)), IDLE) for i in range(60))
    assert min(picked.values()) >= 15


def test_a_match_below_a_tenth_goes_to_the_smallest_tree() -> None:
    router = PrefixCacheAffinityRouter(random.Random(1))
    router.pick(request("0", "s" * 99 + "x" * 901), IDLE)
    assert router.pick(request("1", "s" * 99 + "y" * 901), IDLE) == "b"
    assert router.pick(request("2", "s" * 99 + "y" * 100), IDLE) == "b"


def test_the_trees_answer_as_rays_own_tree() -> None:
    tree_module = pytest.importorskip("ray.llm._internal.serve.routing_policies.prefix_aware.prefix_tree")
    draws = random.Random(1)
    for _ in range(100):
        theirs, ours = tree_module.PrefixTree(), {name: PromptTree() for name in NAMES[:3]}
        theirs.add_tenants(list(ours), 0)
        for turn in range(30):
            prompt = "".join(draws.choice("xy") for _ in range(draws.randint(1, 8)))
            available = draws.sample(sorted(ours), draws.randint(1, 3))
            matched = {name: ours[name].matched(prompt) for name in available}
            text, tenants = theirs.prefix_match(prompt, available)
            assert len(text) == max(matched.values())
            assert sorted(tenants) == sorted(name for name in available if matched[name] == len(text))
            smallest = min(tree.characters for tree in ours.values())
            assert set(theirs.get_smallest_tenants()) == {n for n, tree in ours.items() if tree.characters == smallest}
            name = draws.choice(sorted(ours))
            theirs.insert(prompt, name, turn)
            ours[name].insert(prompt)
