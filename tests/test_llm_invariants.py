"""What holds for any requests and settings of a server that batches continuously."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.admission.nouns.autoscaling import fits_server
from mlinfra.autoscaling.llm import LLMConfig, LLMRequest, LLMServer, ServerStep
from mlinfra.autoscaling.llm.requests import Request
from mlinfra.autoscaling.step_time import StepTime

ODD = StepTime(weights_ms=1.1, token_ms=0.3, compute_ms=0.7, compute_token_ms=0.37, context_token_ms=0.013)


@st.composite
def configs(draw: st.DrawFn, /, **fixed: Any) -> LLMConfig:
    """Small ones, so that everything that can be scarce is; the cache holds one or two requests of full length."""
    seqs = draw(st.integers(2, 5))
    budget = seqs + draw(st.integers(0, 20))
    chunked = draw(st.sampled_from([True, True, False]))
    longest = draw(st.integers(16, 40)) if chunked else budget
    block_size = draw(st.integers(1, 5))
    for_one = -(-longest // block_size)
    chosen = {
        "max_num_batched_tokens": budget,
        "max_num_seqs": seqs,
        "max_model_len": longest,
        "num_blocks": 1 + for_one + draw(st.integers(0, for_one)),
        "block_size": block_size,
        "long_prefill_token_threshold": draw(st.integers(0, min(6, longest))),
        "enable_chunked_prefill": chunked,
        "enable_prefix_caching": draw(st.booleans()),
        "scheduler_reserve_full_isl": draw(st.booleans()),
        "watermark": draw(st.sampled_from([0.0, 0.0, 0.1, 0.5])),
        "policy": draw(st.sampled_from(["fcfs", "priority"])),
    }
    return LLMConfig(**{**chosen, **fixed})


RUNS = st.lists(st.tuples(st.sampled_from([1, 5]), st.integers(2, 8)), min_size=1, max_size=2)


@st.composite
def load(draw: st.DrawFn) -> list[LLMRequest]:
    """A few requests in the order of arrival, some of which share prefixes or repeat what others sampled."""
    arrivals_s = sorted(draw(st.lists(st.integers(0, 40), min_size=3, max_size=9)))
    return [
        LLMRequest(
            f"r{number}",
            draw(st.one_of(RUNS, RUNS, st.integers(1, 12))),
            draw(st.integers(1, 20)),
            at_ms / 1000,
            draw(st.integers(0, 2)),
            draw(st.sampled_from([None, 1, 5])),
        )
        for number, at_ms in enumerate(arrivals_s)
    ]


def servable(requests: Sequence[LLMRequest], config: LLMConfig) -> list[LLMRequest]:
    return [request for request in requests if not list(fits_server(request, config))]


def run(requests: Sequence[LLMRequest], config: LLMConfig, fast: bool) -> LLMServer:
    server = LLMServer(config, ODD)
    for request in servable(requests, config):
        server.run(request.arrival_s, fast)
        server.submit(request, request.arrival_s)
    server.run(fast=fast)
    return server


def steps(requests: Sequence[LLMRequest], config: LLMConfig) -> Iterator[tuple[LLMServer, ServerStep]]:
    """The server after each of its steps."""
    server, coming = LLMServer(config, ODD), servable(requests, config)
    while coming or server.num_requests:
        while coming and coming[0].arrival_s <= server.next_step_s:
            server.submit(coming[0], coming.pop(0).arrival_s)
        yield server, server.step(server.next_step_s)


def state(server: LLMServer) -> Any:
    """Everything that a later step could depend on."""
    pool = server.scheduler.kv.pool
    cached = {block_hash: list(blocks) for block_hash, blocks in pool.cached.items()}
    return list(pool.free), pool.ref_counts, pool.block_hashes, cached


@given(load(), configs())
@settings(max_examples=300, deadline=None)
def test_the_fast_way_gives_what_the_plain_step_gives(requests: list[LLMRequest], config: LLMConfig) -> None:
    fast, plain = (run(requests, config, fast) for fast in (True, False))
    assert fast.result() == plain.result()
    assert repr(fast.result()) == repr(plain.result())
    assert state(fast) == state(plain)


@given(load(), configs(num_blocks=40, max_num_batched_tokens=64, long_prefill_token_threshold=0))
@settings(max_examples=200, deadline=None)
def test_the_fast_way_is_taken_and_ends_where_a_request_arrives(requests: list[LLMRequest], config: LLMConfig) -> None:
    """The same with room for everybody, and long outputs, so that most steps belong to a stretch."""
    longer = [replace(request, max_tokens=30) for request in requests]
    fast, plain = (run(longer, config, fast) for fast in (True, False))
    assert fast.result() == plain.result()
    assert state(fast) == state(plain)


@given(load(), configs())
@settings(max_examples=200, deadline=None)
def test_a_step_stays_within_its_limits_and_every_request_finishes(
    requests: list[LLMRequest], config: LLMConfig
) -> None:
    finished, preempted = list[str](), Counter[str]()
    for server, step in steps(requests, config):
        assert 0 < step.tokens <= config.max_num_batched_tokens
        assert step.tokens == step.decoding + sum(step.prefill.values())
        assert step.num_requests_running <= config.max_num_seqs
        assert 0 <= step.kv_cache_usage_perc <= 1
        assert not (step.preempted and step.admitted)
        assert (step.held != "") >= (server.num_requests_waiting > 0)
        finished += step.finished
        preempted.update(step.preempted)
    expected = servable(requests, config)
    assert sorted(finished) == sorted(request.name for request in expected)
    times = {one.name: one for one in run(requests, config, fast=True).times()}
    for request in expected:
        longest = config.max_model_len - request.num_prompt_tokens
        assert times[request.name].output_tokens == min(request.max_tokens, longest)
        assert times[request.name].preemptions == preempted[request.name]
        assert times[request.name].finished


@given(load(), configs())
@settings(max_examples=200, deadline=None)
def test_no_block_is_leaked_or_shared_wrongly(requests: list[LLMRequest], config: LLMConfig) -> None:
    for server, _ in steps(requests, config):
        scheduler, pool = server.scheduler, server.scheduler.kv.pool
        holders = Counter(block for request in scheduler.running for block in request.block_ids)
        assert [holders[block] for block in range(config.num_blocks)] == pool.ref_counts
        assert holders[0] == 0
        assert set(pool.free) == set(range(1, config.num_blocks)) - set(holders)
        assert not any(request.block_ids for request in scheduler.waiting)
        for request in scheduler.running:
            assert len(request.block_ids) == -(-request.num_computed_tokens // config.block_size)
            assert len(set(request.block_ids)) == len(request.block_ids)
            holds_its_own_tokens(request, server)
        in_cache = {block: block_hash for block_hash, blocks in pool.cached.items() for block in blocks}
        assert in_cache == {block: key for block, key in enumerate(pool.block_hashes) if key is not None}
        assert config.enable_prefix_caching or not in_cache


def holds_its_own_tokens(request: Request, server: LLMServer) -> None:
    """A block that others may read is full, and its key is that of the request's tokens up to there."""
    pool = server.scheduler.kv.pool
    full = request.num_computed_tokens // request.block_size
    for index, block in enumerate(request.block_ids):
        if server.config.enable_prefix_caching and index < full:
            assert pool.block_hashes[block] == request.block_hash(index)
        else:
            assert pool.block_hashes[block] is None
            assert pool.ref_counts[block] == 1


@given(load(), configs())
@settings(max_examples=100, deadline=None)
def test_hits_and_preemption_never_change_what_a_request_produces(
    requests: list[LLMRequest], config: LLMConfig
) -> None:
    """Cached, computed and, after a preemption, computed again: the tokens add up to all but the last one."""
    covered = Counter[str]()
    for server, step in steps(requests, config):
        for name in step.preempted:
            covered[name] = 0
        covered.update(step.admitted)
        covered.update(step.prefill)
        decoders = [request for request in server._received.values() if request[0].token_steps]
        covered.update(
            request.name
            for request, _ in decoders
            if request.name not in step.prefill and request.token_steps[-1][1] == len(server.steps)
        )
    cold = {one.name: one for one in run(requests, replace(config, enable_prefix_caching=False), fast=True).times()}
    for one in run(requests, config, fast=True).times():
        assert covered[one.name] == one.prompt_tokens + one.output_tokens - 1
        assert one.output_tokens == cold[one.name].output_tokens


def ids(request: LLMRequest, number: int) -> list[Any]:
    """The tokens of a request and of its answer, one by one; a pair is a token that nobody else has."""
    prompt: list[Any] = [(number, i) for i in range(request.num_prompt_tokens)]
    if not isinstance(request.prompt, int):
        prompt = [first + i for first, count in request.prompt for i in range(count)]
    first = request.output_from
    output = [(number, len(prompt) + i) if first is None else first + i for i in range(request.max_tokens)]
    return prompt + output


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Tokens at the beginning that are equal."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(load(), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_a_hit_is_the_longest_common_prefix_with_anybody_before(requests: list[LLMRequest], block_size: int) -> None:
    """One at a time and with a large cache: what was computed before is found, in whole blocks."""
    config = LLMConfig(64, 1, num_blocks=500, block_size=block_size)
    known, expected = list[list[Any]](), list[int]()
    for number, request in enumerate(requests):
        tokens, prompt = ids(request, number), request.num_prompt_tokens
        longest = max([common(tokens[: prompt - 1], before) for before in known], default=0)
        expected.append(longest // block_size * block_size)
        known.append(tokens[: prompt + request.max_tokens - 1])
    assert [one.cached_tokens for one in run(requests, config, fast=True).times()] == expected


@given(load(), configs(max_num_seqs=1))
@settings(max_examples=100, deadline=None)
def test_one_at_a_time_never_interleaves(requests: list[LLMRequest], config: LLMConfig) -> None:
    """And under fcfs they come in the order of their arrival."""
    order = list[str]()
    for _, step in steps(requests, config):
        assert step.decoding + len(step.prefill) == 1
        assert not step.preempted
        order += step.admitted
    assert len(set(order)) == len(order)
    if config.policy == "fcfs":
        assert order == [request.name for request in servable(requests, config)]


@given(load(), configs())
@settings(max_examples=100, deadline=None)
def test_time_goes_forward_and_every_token_has_its_step(requests: list[LLMRequest], config: LLMConfig) -> None:
    result = run(requests, config, fast=True).result()
    assert all(after.start_s >= before.end_s > before.start_s for before, after in pairwise(result.steps))
    ends_s = {step.end_s for step in result.steps}
    for one in result.requests:
        assert one.arrival_s <= one.scheduled_s < one.first_token_s
        assert all(gap_s > 0 for gap_s in one.inter_token_s)
        assert set(one.token_times_s) <= ends_s
        assert one.e2e_s == one.last_token_s - one.arrival_s
