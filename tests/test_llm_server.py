"""A server that batches continuously: cases by hand, what it says, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra.admission import Invalid
from mlinfra.autoscaling.llm import (
    LLMConfig,
    LLMRequest,
    LLMServer,
    LLMSimulation,
    RequestTimes,
    batch_defaults,
    kv_blocks,
    simulate,
)
from mlinfra.autoscaling.llm.requests import Request, Tokens
from mlinfra.autoscaling.step_time import StepTime

TEN_MS = StepTime(weights_ms=10, token_ms=0, compute_ms=0, compute_token_ms=0, context_token_ms=0)


def request(name: str = "a", prompt: Any = 10, max_tokens: int = 3, **given: Any) -> LLMRequest:
    return LLMRequest(name, prompt, max_tokens, **given)


def served(*requests: LLMRequest, step_time: StepTime = TEN_MS, **settings: Any) -> LLMSimulation:
    return simulate(requests, LLMConfig(**settings), step_time)


# By hand: a prompt takes one step, and each further token one more.


def test_one_request_gets_its_first_token_after_the_step_of_its_prompt() -> None:
    run = served(request())
    (one,) = run.requests
    assert one.token_times_s == pytest.approx([0.01, 0.02, 0.03])
    assert (one.queue_s, one.ttft_s, one.tpot_s, one.e2e_s) == pytest.approx((0, 0.01, 0.01, 0.03))
    assert run.latency_s(1) == one.e2e_s
    assert run.tokens_per_s == pytest.approx(100)


def test_who_arrives_during_a_step_waits_for_the_next() -> None:
    run = served(request(), request("b", arrival_s=0.001))
    assert [step.num_requests_running for step in run.steps] == [1, 2, 1, 0]
    assert run.requests[1].queue_s == pytest.approx(0.009)
    assert run.requests[1].ttft_s == pytest.approx(0.019)


def test_an_idle_server_begins_when_a_request_arrives() -> None:
    assert [step.start_s for step in served(request(max_tokens=1, arrival_s=5)).steps] == [5]


def test_the_last_token_of_a_prompt_is_no_decode() -> None:
    """A chunk of one token reads no context that counts; the token sampled after it does."""
    run = served(request(prompt=9), max_num_batched_tokens=8, max_num_seqs=8)
    assert [step.prefill.get("a", 0) for step in run.steps] == [8, 1, 0, 0]
    assert [step.context_tokens for step in run.steps] == [0, 0, 10, 11]


def test_who_was_preempted_goes_before_those_who_wait() -> None:
    """Two blocks are missing, so c and then b have to go; b, the last one, is in front of c, and both before d."""
    two = [request(name, 30, 20) for name in "ab"]
    run = served(*two, request("c", arrival_s=0.005), request("d", arrival_s=0.025), num_blocks=6)
    assert run.steps[3].preempted == ("c", "b")
    assert [name for step in run.steps for name in step.admitted] == ["a", "b", "c", "b", "c", "d"]


def test_users_share_a_step_for_little_more_than_one_pays() -> None:
    """The weights are read once for all of them."""
    alone, together = (simulate([request(str(i), 100, 100) for i in range(users)]).tokens_per_s for users in (1, 64))
    assert together > 45 * alone


def test_a_long_prompt_stalls_the_others_and_a_smaller_budget_cures_it() -> None:
    """8,000 tokens in one step take 210 ms; in chunks nobody waits longer than 16 ms, and the prompt a little longer."""
    users = [request(f"user-{i}", 200, 100) for i in range(4)]
    long = request("long", 8000, 2, arrival_s=0.1)
    whole, chunked = (simulate([*users, long], LLMConfig(budget, 4 + 1)) for budget in (8192, 512))
    worst_s = [max(gap_s for one in run.requests for gap_s in one.inter_token_s) for run in (whole, chunked)]
    assert worst_s == [whole.gap_s(1), chunked.gap_s(1)]
    assert worst_s[0] == pytest.approx(0.21, abs=0.005)
    assert worst_s[1] < 0.017
    assert whole.requests[-1].ttft_s < chunked.requests[-1].ttft_s
    assert max(r.tpot_s for r in whole.requests) < 0.012  # the mean hides the stall


def test_a_shared_prompt_is_computed_once() -> None:
    prompt = [(1, 6400), (9001, 10)]
    run = simulate([request("a", prompt), request("b", [(1, 6400), (9501, 10)], arrival_s=1)])
    assert [r.cached_tokens for r in run.requests] == [0, 6400]
    assert run.requests[1].ttft_s < run.requests[0].ttft_s / 20
    assert run.prefix_cache_hit_rate == pytest.approx(6400 / 12820)


def test_a_second_turn_finds_all_but_the_last_token_of_the_first() -> None:
    first = request("turn-1", [(1, 16)], 17, output_from=501)
    second = request("turn-2", [(1, 16), (501, 17), (901, 15)], 1, arrival_s=9)
    assert served(first, second).requests[1].cached_tokens == 32


def test_a_prompt_given_as_a_number_is_shared_with_nobody() -> None:
    assert served(request("a", 64), request("b", 64, arrival_s=1)).prefix_cache_hit_rate == 0


def test_without_room_the_last_one_loses_its_blocks_and_computes_again() -> None:
    run = served(*[request(name, 30, 30) for name in "ab"], num_blocks=6, block_size=16)
    assert [one.preemptions for one in run.requests] == [0, 1]
    assert [one.output_tokens for one in run.requests] == [30, 30]
    assert run.steps[3].preempted == ("b",)  # with 33 tokens each needs a third block, and only one is free
    assert max(run.requests[1].inter_token_s) > 0.25


def test_the_urgent_one_is_admitted_first() -> None:
    names = [("a", 0, 5), ("b", 0, 9), ("c", 0, 1)]
    requests = [request(name, arrival_s=at_s, priority=priority) for name, at_s, priority in names]
    run = served(*requests, max_num_seqs=1, policy="priority")
    assert [name for step in run.steps for name in step.admitted] == ["c", "a", "b"]


# What it says.


def test_a_step_says_what_it_did() -> None:
    run = served(request("a", 30, 40), request("b", [(1, 30)], 30), request("c", 30, 2, arrival_s=0.005), num_blocks=6)
    assert run.why(0) == (
        "step 0: 0.0000 s, 10.00 ms, 60 of 8,192 tokens; a computes 30 tokens, admitted with 0 cached; "
        "b computes 30 tokens, admitted with 0 cached"
    )
    assert run.why(1) == (
        "step 1: 0.0100 s, 10.00 ms, 2 of 8,192 tokens; 2 requests decode, with 62 tokens of context; "
        "1 request waits: there are not enough free KV blocks for the head of the queue, and nobody overtakes it"
    )
    assert run.why(3).endswith(
        "1 request decodes, with 33 tokens of context; b is preempted: no free KV block was left; all its tokens will "
        "be computed again; 2 requests wait: nobody is admitted in a step that preempted"
    )
    assert "t=0.03 s  Preempted  b: no free KV block was left" in run.why()
    assert "finished: a" in run.why(39)


@pytest.mark.parametrize(
    ("settings", "held"),
    [
        ({"max_num_seqs": 1}, "max_num_seqs"),
        ({"max_num_batched_tokens": 30, "max_num_seqs": 9}, "budget"),
        ({"num_blocks": 4}, "blocks"),
        (
            {"max_num_batched_tokens": 40, "max_num_seqs": 9, "enable_chunked_prefill": False, "max_model_len": 40},
            "chunk",
        ),
    ],
)
def test_what_the_head_of_the_queue_waits_for_is_named(settings: dict[str, Any], held: str) -> None:
    assert served(request("a", 30), request("b", 30), **settings).steps[0].held == held


def test_the_numbers_of_a_run_without_requests_are_none_or_zero() -> None:
    run = served()
    assert (run.ttft_s(0.5), run.tokens_per_s, run.end_s, run.prefix_cache_hit_rate) == (None, 0, 0, 0)


def test_what_has_not_happened_is_infinite() -> None:
    run = simulate([request(), request("b", arrival_s=9)], step_time=TEN_MS, until_s=0.02)
    assert [one.output_tokens for one in run.requests] == [2, 0]
    assert run.latencies_s == [math.inf, math.inf]
    waiting = run.requests[1]
    assert {waiting.queue_s, waiting.ttft_s, waiting.prefill_s, waiting.decode_s, waiting.inference_s} == {math.inf}
    assert run.attained(ttft_s=1) == 0
    assert served(request()).attained(0.01, 0.0101) == 1


def test_a_stall_shows_in_a_gap_and_not_in_the_mean() -> None:
    times = RequestTimes("a", 0, 0.125, [0.25, 0.265625, 0.75, 0.765625, 0.78125])
    assert (max(times.inter_token_s), times.tpot_s) == (0.484375, 0.1328125)


# Driven beside others.


def test_the_gauges_are_vllms_and_a_scrape_finds_those_of_the_last_step() -> None:
    server = LLMServer(LLMConfig(max_num_seqs=1, num_blocks=11), TEN_MS)
    assert (server.next_step_s, server.reported(9)) == (math.inf, None)
    server.submit(request("a", 64), 1.0)
    server.submit(request("b", 64), 1.0)
    assert server.next_step_s == 1.0
    server.step(1.0)
    assert (server.num_requests_running, server.num_requests_waiting, server.kv_cache_usage_perc) == (1, 1, 0.4)
    assert server.reported(1.009) is None
    seen = server.reported(1.01)
    assert seen
    assert (seen.num_requests_running, seen.num_requests_waiting) == (1, 1)


def test_two_servers_in_one_loop_do_what_each_would_do_alone() -> None:
    requests = [request(str(i), 50 + i, 20, arrival_s=i / 500) for i in range(20)]
    servers = [LLMServer(step_time=TEN_MS) for _ in range(2)]
    for number, one in enumerate(requests):
        for server in servers:
            while server.next_step_s < one.arrival_s:
                server.step(server.next_step_s)
        servers[number % 2].submit(one, one.arrival_s)
    for number, server in enumerate(servers):
        server.run()
        assert server.result() == simulate(requests[number::2], step_time=TEN_MS)


# Memory and defaults.


def test_an_h100_holds_thirty_thousand_blocks_beside_an_8b_model() -> None:
    assert kv_blocks() == 30_003
    assert kv_blocks(weights_gib=100) == 0
    assert (LLMConfig().max_num_batched_tokens, LLMConfig().max_num_seqs) == batch_defaults(gpu_gib=80)


def test_token_runs_are_compared_by_their_ids() -> None:
    one, other = Tokens([(1, 32)], 500), Tokens([(1, 16), (17, 16)], 500)
    assert one.runs(8, 24) == other.runs(8, 24) == (9, 16)
    assert one.runs(30, 34) == (31, 2, 500, 2)


RUNS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 7)), min_size=1, max_size=4)


def ids(prompt: list[tuple[int, int]], output_from: int, size: int) -> list[int]:
    """The token ids, one by one."""
    whole = [*prompt, (output_from, size)]
    return [first + i for first, count in whole for i in range(count)][:size]


@given(RUNS, st.integers(0, 5), RUNS, st.integers(0, 5), st.integers(1, 5))
def test_a_blocks_key_is_equal_for_equal_prefixes_only(
    prompt: list[tuple[int, int]], out: int, other: list[tuple[int, int]], other_out: int, block_size: int
) -> None:
    states = [
        Request(LLMRequest("r", runs, output_from=output), 0, block_size, 99)
        for runs, output in ((prompt, out), (other, other_out))
    ]
    lists = ids(prompt, out, 40), ids(other, other_out, 40)
    for index in range(40 // block_size):
        size = (index + 1) * block_size
        same = lists[0][:size] == lists[1][:size]
        assert (states[0].block_hash(index) == states[1].block_hash(index)) is same


# What is refused.


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens: Invalid value: 0: must be greater than or equal to 1"),
        ({"max_num_batched_tokens": 9}, r"9: must be greater than or equal to max_num_seqs \(1024\)"),
        ({"num_blocks": 1}, "num_blocks: Invalid value: 1"),
        ({"watermark": 1.5}, "watermark"),
        ({"policy": "lifo"}, "Unknown scheduling policy: lifo"),
        ({"enable_chunked_prefill": False, "max_model_len": 9000}, r"is smaller than max_model_len \(9000\)"),
        ({"long_prefill_token_threshold": 9000}, r"cannot be greater than the max_model_len \(8192\)"),
    ],
)
def test_settings_that_vllm_refuses(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        LLMConfig(**settings)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": 0}, "prompt: Invalid value: 0"),
        ({"prompt": []}, "The decoder prompt cannot be empty"),
        ({"prompt": [(-1, 9)]}, "must be a number of tokens, or runs"),
        ({"prompt": [(1, 0)]}, "must be a number of tokens, or runs"),
        ({"prompt": "hello"}, "must be a number of tokens, or runs"),
        ({"max_tokens": 0}, "max_tokens: Invalid value: 0"),
        ({"arrival_s": -1.0}, "arrival_s"),
        ({"priority": 0.5}, "priority"),
        ({"output_from": -1}, "output_from"),
        ({"name": ""}, "name: Required value"),
    ],
)
def test_requests_that_are_none(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        request(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": 101}, r"The decoder prompt \(length 101\) is longer than the maximum model length of 100"),
        ({"prompt": 100}, "plus the number of requested output tokens"),
        ({"prompt": 40, "max_tokens": 42}, "max_tokens: 81 tokens need 6 KV blocks, and the cache has 5"),
    ],
)
def test_requests_that_a_server_can_never_serve(given: dict[str, Any], words: str) -> None:
    server = LLMServer(LLMConfig(max_model_len=100, num_blocks=6))
    with pytest.raises(Invalid, match=words):
        server.submit(request(**given), 0)
    server.submit(request(prompt=40, max_tokens=41), 0)
    with pytest.raises(Invalid, match="Request id a already running"):
        server.submit(request(), 0)


def test_a_step_begins_neither_early_nor_without_a_request() -> None:
    server = LLMServer(step_time=TEN_MS)
    with pytest.raises(Invalid, match="there is no request"):
        server.step(0)
    server.submit(request(), 0)
    server.step(0)
    with pytest.raises(Invalid, match=r"the last step ends at 0\.01"):
        server.step(0.005)
