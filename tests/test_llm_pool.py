"""Several replicas in one loop: two requests by hand, what holds for any load, and the autoscalers on its signals."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission import Invalid
from mlinfra.autoscaling import hpa, keda, knative
from mlinfra.autoscaling.llm import LLMConfig, LLMRequest, Mix, simulate
from mlinfra.autoscaling.llm.mix import requests, text_of
from mlinfra.autoscaling.llm.pool import (
    PoolRequest,
    PoolSimulation,
    in_flight,
    kv_usage,
    simulate_pool,
    waiting,
)
from mlinfra.autoscaling.scalers import Autoscaler, ByHPA, ByKEDA, ByKPA, Fixed
from mlinfra.autoscaling.step_time import H100
from mlinfra.kserve.picker import EndpointPicker, Picker, at_random, least_requests, round_robin, two_choices
from mlinfra.kserve.picker.router import PickerRouter
from mlinfra.manifest import ObjectReference

PICKERS: dict[str, Callable[[], Picker]] = {
    "random": lambda: at_random(random.Random(1)),
    "round robin": round_robin,
    "least requests": least_requests,
    "two choices": lambda: two_choices(random.Random(1)),
    "endpoint picker": lambda: EndpointPicker(ties=random.Random(1)),
}
SMALL = LLMConfig(num_blocks=101, max_num_batched_tokens=512, max_num_seqs=8, max_model_len=1024)
SHORT = Mix(per_s=60, count=60, system=20, document=120, message=20, long_prompt=300, answer=15, turns=3)


def run(mix: Mix, picker: Picker, replicas: int = 2, scaler: Autoscaler | None = None) -> PoolSimulation:
    return simulate_pool(requests(mix), PickerRouter(picker), replicas, SMALL, scaler=scaler)


def test_two_requests_on_two_replicas_by_hand() -> None:
    """Each has a server alone: 160 tokens in one step, then the second token in a step that reads 161."""
    sent = [PoolRequest(LLMRequest(f"r{i}", 160, 2, i / 100), f"text {i}") for i in range(2)]
    done = simulate_pool(sent, PickerRouter(round_robin()), 2, SMALL)
    prefill_s, decode_s = H100.step_ms(160) / 1000, H100.step_ms(1, 161) / 1000
    assert done.replica_of == {"r0": "replica-0", "r1": "replica-1"}
    assert [request.ttft_s for request in done.requests] == pytest.approx([prefill_s, prefill_s])
    assert [request.tpot_s for request in done.requests] == pytest.approx([decode_s, decode_s])
    assert done.latencies_s == pytest.approx([prefill_s + decode_s] * 2)
    assert done.requests_per_replica == {"replica-0": 1, "replica-1": 1}


def test_one_replica_is_the_one_server() -> None:
    load = requests(SHORT)
    alone = simulate([each.request for each in load], SMALL)
    assert simulate_pool(load, PickerRouter(round_robin()), 1, SMALL).requests == alone.requests


@pytest.mark.parametrize("name", PICKERS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), per_s=st.sampled_from([20, 200, 2000]), replicas=st.integers(1, 3))
def test_every_request_ends_once_and_nothing_stays_counted(name: str, seed: int, per_s: int, replicas: int) -> None:
    mix, picker = replace(SHORT, seed=seed, per_s=per_s), PICKERS[name]()
    done = run(mix, picker, replicas)
    assert [request.name for request in done.requests] == [f"r{number}" for number in range(mix.count)]
    assert all(request.finished and request.ttft_s > 0 for request in done.requests)
    assert sum(done.requests_per_replica.values()) == mix.count
    counts = picker.load.requests if isinstance(picker, EndpointPicker) else vars(picker)["in_flight"]
    assert not any(counts.values())


@pytest.mark.parametrize("name", PICKERS)
def test_the_picker_and_the_cache_never_change_how_many_tokens_come_out(name: str) -> None:
    load = requests(SHORT)
    asked = [each.request.max_tokens for each in load]
    for cached in (True, False):
        config = replace(SMALL, enable_prefix_caching=cached)
        done = simulate_pool(load, PickerRouter(PICKERS[name]()), 2, config)
        assert [request.output_tokens for request in done.requests] == asked
        assert (done.prefix_cache_hit_rate > 0) == cached


def test_text_and_tokens_share_the_same_beginnings() -> None:
    assert text_of([(1, 40), (900, 8)])[: 4 * 40] == text_of([(1, 40), (700, 8)])[: 4 * 40]
    assert text_of([(1, 40)]) == text_of([(1, 16), (17, 24)])
    assert len(text_of([(70_000, 33)])) == 4 * 33
    assert all(len(each.text) == 4 * each.request.num_prompt_tokens for each in requests(SHORT))


def test_a_mix_has_the_shares_that_it_says() -> None:
    all_single = requests(Mix(count=200, conversations=0, long=0))
    assert max(each.request.num_prompt_tokens for each in all_single) <= 300
    all_long = requests(Mix(count=50, conversations=0, long=1))
    assert min(each.request.num_prompt_tokens for each in all_long) >= 2000
    answers = requests(Mix(count=100, long_answers=1))
    assert min(each.request.max_tokens for each in answers) >= 400
    turns = requests(Mix(count=200, conversations=1, document=500))
    assert len({each.request.prompt[0] for each in turns if not isinstance(each.request.prompt, int)}) < 200


def test_a_mix_with_more_tokens_than_ids_is_refused() -> None:
    with pytest.raises(Invalid, match="count: must be less"):
        requests(Mix(count=4000, long=1, conversations=0, answer=8000))


def test_the_endpoint_picker_keeps_a_conversation_where_its_prefix_is() -> None:
    mix = Mix(per_s=15, count=200, conversations=1, long=0)
    done = {name: simulate_pool(requests(mix), PickerRouter(PICKERS[name]()), 4) for name in PICKERS}
    hits = {name: run.prefix_cache_hit_rate for name, run in done.items()}
    assert max(hits, key=lambda name: hits[name]) == "endpoint picker"


def test_a_burst_between_two_scrapes_sees_the_same_gauges() -> None:
    seen = []

    class Watching(PickerRouter):
        def pick(self, name: str, text: str, now_s: float) -> str:
            seen.append([endpoint.metrics for endpoint in self.metrics.endpoints(now_s)])
            return super().pick(name, text, now_s)

    sent = [PoolRequest(LLMRequest(f"r{i}", 500, 4, 0.101 + i / 1000)) for i in range(40)]
    simulate_pool(sent, Watching(least_requests()), 2, SMALL)
    assert all(view == seen[0] for view in seen)
    seen.clear()
    simulate_pool(sent, Watching(least_requests()), 2, SMALL, scrape_s=0.01)
    assert any(view != seen[0] for view in seen)


# -------------------------------------------------------------------------------------------------- the autoscalers

LLM = ObjectReference("Deployment", "llm")
BUSY = replace(SHORT, per_s=20, count=600, answer=60)


def by_hpa() -> Autoscaler:
    per_pod = hpa.Pods("in_flight", hpa.AverageValue(4))
    return ByHPA(hpa.HorizontalPodAutoscaler("llm", LLM, 6, 1, (per_pod,)), in_flight)


def by_keda() -> Autoscaler:
    """A sum with AverageValue; a ratio needs Value, or it would be divided by the replicas."""
    waits = keda.Trigger("prometheus", {"query": "sum(vllm:num_requests_waiting)"}, 2)
    usage = keda.Trigger("prometheus", {"query": "avg(vllm:kv_cache_usage_perc)"}, 0.5, metric_type="Value")
    return ByKEDA(keda.ScaledObject("llm", LLM, (waits, usage), 1, 6), (waiting, kv_usage))


def by_kpa() -> Autoscaler:
    return ByKPA(knative.KPA(knative.Revision(target=4, min_scale=1, max_scale=6), ready_pods=1))


@pytest.mark.parametrize("scaler", [by_hpa, by_keda, by_kpa], ids=["HPA", "KEDA", "KPA"])
def test_the_autoscalers_read_its_signals_unchanged(scaler: Callable[[], Autoscaler]) -> None:
    done = simulate_pool(requests(BUSY), PickerRouter(least_requests()), 1, SMALL, scaler=scaler(), start_s=2)
    assert max(snapshot.ready for _, _, snapshot in done.timeline) > 1
    assert any(event.reason == "SuccessfulRescale" for event in done.events)
    assert all(request.finished for request in done.requests)


def test_a_replica_that_drains_serves_what_it_holds_and_gets_nothing_new() -> None:
    class Down:
        interval_s = 1.0

        def decide(self, now_s: float, snapshot: object, replicas: int) -> int:
            return 2 if now_s < 5 else 1

    done = run(replace(SHORT, per_s=40, count=400), round_robin(), 2, Down())
    late = [request for request in done.requests if request.arrival_s > 5]
    assert late
    assert {done.replica_of[request.name] for request in late} == {"replica-0"}
    assert all(request.finished for request in done.requests)
    end_s = done.requests[-1].arrival_s
    assert end_s + 5 <= done.replica_s <= end_s + 6


def test_without_replicas_there_is_nowhere_to_go() -> None:
    with pytest.raises(Invalid, match="at least 1"):
        run(SHORT, round_robin(), 1, Fixed(0))


def test_nothing_arrives() -> None:
    done = simulate_pool([], PickerRouter(round_robin()), 2, SMALL)
    assert not done.requests
    assert done.replica_s == 0
    assert done.ttft_s(0.99) is None
    assert done.largest_share == done.prefix_cache_hit_rate == 0
