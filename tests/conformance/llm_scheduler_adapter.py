"""Translates the conformance cases of vLLM's scheduler into calls of `mlinfra.autoscaling.llm`."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlinfra.autoscaling.llm.blocks import KVCacheManager
from mlinfra.autoscaling.llm.config import (
    GPU_MEMORY_UTILIZATION,
    LLMConfig,
    batch_defaults,
    blocks_in,
    kv_bytes_per_token,
    max_concurrency,
)
from mlinfra.autoscaling.llm.requests import LLMRequest, Request
from mlinfra.autoscaling.llm.results import RequestTimes
from mlinfra.autoscaling.llm.scheduler import Scheduler, SchedulerOutput
from mlinfra.autoscaling.llm.server import simulate
from mlinfra.autoscaling.step_time import H100, StepTime

Case = dict[str, Any]

FIELDS = {
    "aborts",
    "arrival_s",
    "block_size",
    "bytes_per_value",
    "config",
    "context_tokens",
    "device",
    "device_memory_gib",
    "head_size",
    "kind",
    "kv_heads",
    "kv_memory_bytes",
    "layers",
    "max_model_len",
    "ops",
    "preempted_before_token",
    "requests",
    "scheduled_s",
    "step_time",
    "token_times_s",
    "tokens",
    "tolerance",
    "use",
}

RENAMED = {"reserve_full_prompt": "scheduler_reserve_full_isl"}


def config(settings: Case) -> LLMConfig:
    """The settings under their names in vLLM."""
    return LLMConfig(**{RENAMED.get(name, name): value for name, value in settings.items()})


def request(given: Case, number: int) -> LLMRequest:
    """The i-th request of a case samples the tokens 1000000*i and so on, i from 1."""
    return LLMRequest(
        given["id"],
        [tuple(run) for run in given["prompt"]],
        given["max_tokens"],
        given.get("arrival_ms", 0) / 1000,
        given.get("priority", 0),
        output_from=1_000_000 * (number + 1),
    )


class Trace:
    """One scheduler, driven step by step, that notes what each step did in the words of the cases."""

    def __init__(self, case: Case) -> None:
        self.case, self.by_policy = case, case["config"]["policy"] == "priority"
        self.scheduler = Scheduler(config(case["config"]))
        self.waiting_to_come = list(enumerate(case["requests"]))
        self.states: dict[str, Request] = {}
        self.requests: dict[str, Case] = {
            given["id"]: {"admitted_step": None, "first_token_step": None, "finish_step": None, "finish_reason": None}
            for given in case["requests"]
        }
        self.steps: list[Case] = []

    def run(self) -> Case:
        while self.waiting_to_come or self.scheduler.running or self.scheduler.waiting:
            self.step(len(self.steps))
        for name, state in self.states.items():
            self.requests[name] |= {"output_tokens": state.num_output_tokens, "preemptions": state.num_preemptions}
        return {"steps": self.steps, "requests": self.requests}

    def step(self, step: int) -> None:
        for abort in self.case.get("aborts", ()):
            going = abort["step"] == step and abort["id"] in self.states
            if going and self.requests[abort["id"]]["finish_reason"] is None:
                self.abort(self.states[abort["id"]])
                self.requests[abort["id"]]["finish_reason"] = "abort"
        for number, given in [entry for entry in self.waiting_to_come if entry[1]["arrival_step"] <= step]:
            self.waiting_to_come.remove((number, given))
            self.states[given["id"]] = self.add(given, number)
        output = self.scheduler.schedule()
        free = len(self.scheduler.kv.pool.free)
        sampled, finished = self.scheduler.update(output)
        self.note(step, output, free, sampled, finished)

    def abort(self, request: Request) -> None:
        """The client has gone: the request leaves, and its blocks are free. No loop of the course has such clients."""
        queue = self.scheduler.running if request in self.scheduler.running else self.scheduler.waiting
        queue.remove(request)
        self.scheduler.kv.free(request)

    def add(self, given: Case, number: int) -> Request:
        return self.scheduler.add_request(request(given, number))

    def note(
        self, step: int, output: SchedulerOutput, free: int, sampled: list[Request], finished: list[Request]
    ) -> None:
        for one in output.admitted:
            if self.requests[one.name]["admitted_step"] is None:
                self.requests[one.name]["admitted_step"] = step
        for one in sampled:
            if self.requests[one.name]["first_token_step"] is None:
                self.requests[one.name]["first_token_step"] = step
        for one in finished:
            self.requests[one.name] |= {"finish_step": step, "finish_reason": "length"}
        preempted = [one.name for one in output.preempted]
        noted = {
            "scheduled": [(one.name, tokens) for one, tokens in output.num_scheduled_tokens.items()],
            "admitted_cached_tokens": {one.name: cached for one, cached in output.admitted.items()},
            "preempted": sorted(preempted) if self.by_policy else preempted,
            "finished": [one.name for one in finished],
            "free_blocks_after_schedule": free,
            "running": len(self.scheduler.running),
            "waiting": len(self.scheduler.waiting),
            "free_blocks": len(self.scheduler.kv.pool.free),
        }
        self.steps.append(noted)


def expected_steps(case: Case) -> list[Case]:
    """The case's steps with empty lists where it lists nothing; the order of tokens in a step counts."""
    steps: list[Case] = []
    for listed in case["expected"]["steps"]:
        step = {"admitted_cached_tokens": {}, "preempted": [], "finished": [], **listed}
        step["scheduled"] = list(step["scheduled"].items())
        if case["config"]["policy"] == "priority":
            step["preempted"] = sorted(step["preempted"])
        assert step.pop("step") == len(steps)
        steps.append(step)
    return steps


class Blocks:
    """The block manager alone. A request knows all tokens that its case will append, and how many it has now."""

    def __init__(self, case: Case) -> None:
        self.ops = case["ops"]
        self.config = config(case["config"])
        self.manager = KVCacheManager(self.config)
        self.states: dict[str, Request] = {}

    def run(self) -> list[Case]:
        return [getattr(self, op["op"])(index, op) for index, op in enumerate(self.ops)]

    def state(self, index: int, op: Case) -> Request:
        later = [run for other in self.ops[index + 1 :] if self.appends(other, op) for run in other["tokens"]]
        whole = [tuple(run) for run in [*op["prompt"], *later]]
        state = Request(LLMRequest("r", whole, 1), index, self.config.block_size, self.config.max_model_len)
        state.num_tokens = sum(count for _, count in op["prompt"])
        return state

    def appends(self, other: Case, op: Case) -> bool:
        return other["op"] == "decode" and "id" in op and other["id"] == op["id"]

    def lookup(self, index: int, op: Case) -> Case:
        return {"cached_tokens": len(self.manager.get_computed_blocks(self.state(index, op))) * self.config.block_size}

    def admit(self, index: int, op: Case) -> Case:
        state = self.state(index, op)
        hits = self.manager.get_computed_blocks(state)
        cached = len(hits) * self.config.block_size
        tokens = op.get("compute", state.num_tokens - cached)
        allocated = self.manager.allocate_slots(state, tokens, hits)
        if allocated:
            self.states[op["id"]] = state
            state.num_computed_tokens = cached + tokens
        return self.answer(state, refused=not allocated) | {"cached_tokens": cached}

    def decode(self, index: int, op: Case) -> Case:
        state, allocated = self.states[op["id"]], True
        for _ in range(sum(count for _, count in op["tokens"])):
            state.num_tokens += 1
            allocated = self.manager.allocate_slots(state, state.num_tokens - state.num_computed_tokens)
            if not allocated:
                break
            state.num_computed_tokens = state.num_tokens
        return self.answer(state, refused=not allocated)

    def free(self, index: int, op: Case) -> Case:
        self.manager.free(self.states[op["id"]])
        return self.answer(self.states.pop(op["id"]), refused=False)

    def answer(self, state: Request, refused: bool) -> Case:
        return {"blocks": list(state.block_ids), "free_blocks": len(self.manager.pool.free), "refused": refused}


def trace(case: Case) -> list[bool]:
    ours, steps = Trace(case).run(), expected_steps(case)
    same_steps = [same(*pair) for pair in zip(ours["steps"], steps, strict=False)]
    same_requests = [same(ours["requests"][name], one) for name, one in case["expected"]["requests"].items()]
    return [len(ours["steps"]) == len(steps), *same_steps, *same_requests]


def kv_blocks(case: Case) -> list[bool]:
    return [same(*pair) for pair in zip(Blocks(case).run(), case["expected"]["ops"], strict=True)]


TERMS = {
    "weights_ms": "weights_ms",
    "per_token_ms": "token_ms",
    "compute_floor_ms": "compute_ms",
    "compute_per_token_ms": "compute_token_ms",
    "context_token_ms": "context_token_ms",
}


def timed(case: Case) -> list[bool]:
    """The fast way; and that the plain one gives the same."""
    requests = [request(given, number) for number, given in enumerate(case["requests"])]
    step_time = StepTime(**{TERMS[name]: value for name, value in case["step_time"].items()})
    run, plain = (simulate(requests, config(case["config"]), step_time, fast=fast) for fast in (True, False))
    ours = {
        "steps": len(run.steps),
        "end_ms": 1000 * run.end_s,
        "step_tokens_and_context": [[step.tokens, step.context_tokens] for step in run.steps],
    }
    times = {one.name: in_ms(one) for one in run.requests}
    whole = {name: value for name, value in case["expected"].items() if name != "requests"}
    return [
        run == plain,
        same(ours, whole),
        *(same(times[name], one) for name, one in case["expected"]["requests"].items()),
    ]


def in_ms(times: RequestTimes) -> Case:
    milliseconds = {"ttft_ms": times.ttft_s, "tpot_ms": times.tpot_s, "e2e_ms": times.e2e_s}
    return {name: 1000 * value for name, value in milliseconds.items()} | {"preemptions": times.preemptions}


def latency(case: Case) -> list[bool]:
    preemptions = len(case.get("preempted_before_token", ()))
    times = RequestTimes("r", case["arrival_s"], case["scheduled_s"], case["token_times_s"], preemptions)
    return [near(getattr(times, name), value, 0) for name, value in case["expected"].items()]


def step_time(case: Case) -> list[bool]:
    error = H100.step_ms(case["tokens"], case["context_tokens"]) / case["expected"]["step_ms"] - 1
    return [abs(error) <= case["tolerance"]]


def kv_capacity(case: Case) -> list[bool]:
    size = kv_bytes_per_token(case["layers"], case["kv_heads"], case["head_size"], case["bytes_per_value"])
    blocks = blocks_in(case["kv_memory_bytes"], size, case["block_size"])
    ours = {
        "bytes_per_token": size,
        "num_blocks": blocks,
        "tokens": blocks * case["block_size"],
        "max_concurrency": max_concurrency(blocks, case["max_model_len"], case["block_size"]),
    }
    return [same(ours, case["expected"])]


def server_defaults(case: Case) -> list[bool]:
    ours = batch_defaults(case["device_memory_gib"], "A100" in case["device"], case["use"] != "api_server")
    return [same(dict(zip(("max_num_batched_tokens", "max_num_seqs"), ours, strict=True)), case["expected"])]


def scheduler_defaults(case: Case) -> list[bool]:
    ours = {**vars(LLMConfig()), "gpu_memory_utilization": GPU_MEMORY_UTILIZATION}
    return [ours[RENAMED.get(name, name)] == value for name, value in case["expected"].items()]


def same(ours: Case, expected: Case) -> bool:
    return all(name in ours and near(ours[name], value, 1e-9) for name, value in expected.items())


def near(ours: Any, expected: Any, relative: float) -> bool:
    """Equal, or for a float, and a list of floats, so near; with a relative error of 0, within 1e-9."""
    if isinstance(expected, list):
        return len(ours) == len(expected) and all(near(*pair, relative) for pair in zip(ours, expected, strict=True))
    if isinstance(expected, float):
        return math.isclose(ours, expected, rel_tol=relative, abs_tol=0 if relative else 1e-9)
    return bool(ours == expected)


def expectation(case: Case) -> Case:
    return {"every comparison": True}


def answer(case: Case) -> Case:
    comparisons = {
        "scheduler_trace": trace,
        "kv_blocks": kv_blocks,
        "scheduler_timed": timed,
        "latency": latency,
        "step_time": step_time,
        "kv_capacity": kv_capacity,
        "server_defaults": server_defaults,
        "scheduler_defaults": scheduler_defaults,
    }
    if case["kind"] not in comparisons:
        pytest.fail(f"unknown kind {case['kind']!r}")
    agreed = comparisons[case["kind"]](case)
    return {"every comparison": bool(agreed) and all(agreed)}
