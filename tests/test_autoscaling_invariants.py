"""Hostile numbers at every entry of the autoscalers: one clear error, or the invariants."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission.rules import Invalid
from mlinfra.autoscaling import hpa, keda, knative, llm, loop, vpa
from mlinfra.manifest import ObjectReference
from mlinfra.ray_serve import AutoscalingConfig
from mlinfra.ray_serve.autoscaling import RayAutoscaler

REF, QUEUE, TIMES = ObjectReference("Deployment", "b"), (hpa.External("q", hpa.AverageValue(2)),), [0.0, 0.5, 9.0]
HOSTILE = (math.nan, math.inf, -1, 0, 0.5, 99)
Given = dict[str, Any]


def usual(given: Given, **parts: Any) -> Given:
    return parts | given


def run(scaler: loop.Autoscaler | None = None, **given: Any) -> loop.LoopSimulation:
    parts: Given = {"arrivals_s": TIMES, "service": loop.Service(0.7, activator=True), "until_s": 60}
    return loop.simulate(**parts | {"scaler": scaler or loop.Fixed(2)} | given)


def by_hpa(measured: Any = 5, tolerance: Any = 0.1, **given: Any) -> loop.ByHPA:
    scaler = hpa.HorizontalPodAutoscaler("b", REF, **usual(given, max_replicas=5, metrics=QUEUE))
    return loop.ByHPA(scaler, lambda seen: measured, hpa.ControllerFlags(tolerance=tolerance))


def by_kpa(revision: Given, **config: Any) -> loop.ByKPA:
    return loop.ByKPA(knative.KPA(knative.Revision(**revision), knative.Config(**config)))


def learned(given: Given) -> vpa.Recommendation:
    pod = vpa.ContainerState(vpa.AggregateContainerState(vpa.RecommenderFlags(**given)))
    for minute in range(3 * 288):
        pod.add_cpu(1000 if minute % 25 == 0 else 200, minute * 300.0)
    return vpa.recommend(pod.aggregate)


def triggered(kind: str, given: Given) -> hpa.HorizontalPodAutoscaler:
    return keda.ScaledObject("b", REF, (keda.Trigger(kind, **given),), 1).hpa()


def batched(given: Given) -> bool:
    config = llm.LLMConfig(**usual(given, max_num_seqs=1, max_model_len=64))
    return all(one.finished for one in llm.simulate([llm.LLMRequest("a", 16)], config).requests)


def generated(given: Given) -> bool:
    parts = usual(given, name="a", prompt=16)
    return all(one.output_tokens > 0 for one in llm.simulate([llm.LLMRequest(**parts)]).requests)


# fmt: off
TABLE: list[tuple[Callable[[Given], Any], str]] = [
    (lambda g: run(service=loop.Service(**usual(g, service_s=1))), "service_s concurrency max_batch per_item_s timeout_s"),
    (lambda g: run(**g), "replicas until_s scrape_s lag_s"),
    (lambda g: run(arrivals_s=[g["arrival"]], until_s=None), "arrival"),
    (lambda g: loop.poisson(**usual(g, rate_per_s=lambda t: 0.1, highest_per_s=5, until_s=9)), "highest_per_s until_s"),
    (lambda g: run(loop.Fixed(**usual(g, replicas=1))), "replicas"),
    (lambda g: run(by_hpa(**g)), "measured max_replicas tolerance"),
    (lambda g: triggered("prometheus", g), "threshold activation_threshold"),
    (lambda g: run(by_kpa(g)), "target container_concurrency min_scale window_s target_burst_capacity"),
    (lambda g: run(by_kpa({}, **g)), "min_scale max_scale max_scale_up_rate max_scale_down_rate stable_window_s scale_down_delay_s"),
    (learned, "confidence_interval_s histogram_half_life_s target_cpu_percentile upper_bound_memory_percentile"),
    (batched, "max_num_batched_tokens max_num_seqs max_model_len num_blocks block_size long_prefill_token_threshold watermark"),
    (generated, "prompt max_tokens arrival_s priority output_from"),
    (lambda g: run(RayAutoscaler(AutoscalingConfig(**usual(g, max_replicas=5)))), "min_replicas max_replicas target_ongoing_requests upscaling_factor"),
]
REFUSED: list[Callable[[], Any]] = [
    lambda: loop.poisson(lambda now_s: 50.0, 5.0, 9.0),  # more than the highest rate
]
# fmt: on


def sound(said: Any) -> bool:
    if isinstance(said, loop.LoopSimulation):
        return all(type(n) is int and n >= 0 for _, n, *_ in said.timeline) and all(w >= 0 for w in said.waits_s)
    if isinstance(said, vpa.Recommendation):
        return all(a <= b <= c for a, b, c in zip(said.lower_bound, said.target, said.upper_bound, strict=True))
    return said is not False


@pytest.mark.parametrize(("call", "name"), [(call, name) for call, names in TABLE for name in names.split()])
def test_a_hostile_value_is_taken_or_refused_in_one_clear_error(call: Callable[[Given], Any], name: str) -> None:
    wrong: dict[Any, str] = {}
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for value in HOSTILE:
        signal.setitimer(signal.ITIMER_REAL, 0.5)  # a hang is an error too
        try:
            wrong |= {} if sound(call({name: value})) else {value: "an answer that cannot be"}
        except (Exception, KeyboardInterrupt) as error:
            wrong |= {} if isinstance(error, Invalid) else {value: repr(error)}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert not wrong


@pytest.mark.parametrize("call", REFUSED)
def test_what_has_no_answer_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(Invalid):
        call()


@given(st.lists(st.floats(0, 60), max_size=30).map(sorted), st.integers(0, 3), st.sampled_from([math.inf, 0.0, 5.0]))
def test_the_loop_keeps_its_requests_and_bounds(load: list[float], which: int, timeout: float) -> None:
    def once() -> loop.LoopSimulation:
        scaled = keda.ScaledObject("b", REF, (keda.Trigger("p", threshold=2),), 1, 5)
        kpa, ray = by_kpa({"container_concurrency": 1, "min_scale": 1, "max_scale": 5}), AutoscalingConfig(1, 5, 1)
        scalers: list[loop.Autoscaler] = [
            by_hpa(len(load)),
            kpa,
            loop.ByKEDA(scaled, lambda seen: seen.in_flight),
            RayAutoscaler(ray),
        ]
        one = loop.Service(9, timeout_s=timeout, cold_start=loop.ColdStart(load_s=3))
        return loop.simulate(load, one, scalers[which], 1, until_s=60)

    outcome = once()
    assert outcome == once()
    assert len(outcome.latencies_s) == len(load)
    assert all(wait >= 0 for wait in outcome.waits_s)
    assert all(1 <= wanted <= 5 for _, wanted, _, _ in outcome.timeline)


@given(st.sampled_from([0.0, 5.0]), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_the_kpa_sees_one_load_however_it_is_scraped(at_s: float, scrape_s: float) -> None:
    kpa = by_kpa({"container_concurrency": 1})
    served = loop.simulate([at_s] * 10, loop.Service(100, activator=True), kpa, 1, 40, scrape_s)
    assert max(wanted for _, wanted, _, _ in served.timeline) == 15  # ten in service, one a pod at 70 %


@given(st.integers(0, 10**6), st.integers(1, 3000), st.integers(1, 30), st.sampled_from([None, hpa.Behavior()]))
@settings(max_examples=40)
def test_a_fixed_total_brings_the_hpa_to_rest(total: int, target: int, start: int, rules: hpa.Behavior | None) -> None:
    one = by_hpa(max_replicas=30, metrics=(hpa.External("q", hpa.AverageValue(f"{target}m")),), behavior=rules).scaler
    steps = hpa.simulate(one, lambda t, n: hpa.Observation(n, (), ([total],)), start, 1200)
    assert len({step.desired for step in steps[-40:]}) == 1
