"""A server that batches continuously, in time: requests arrive, steps take what the roofline says, tokens come out.

`LLMServer` can be driven step by step beside others; `simulate` runs one from its first request to its last.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from mlinfra.admission import Field, refuse
from mlinfra.admission.nouns.autoscaling import fits_server, not_before
from mlinfra.admission.rules import Problem, expect
from mlinfra.autoscaling.llm.config import LLMConfig
from mlinfra.autoscaling.llm.requests import LLMRequest, Request
from mlinfra.autoscaling.llm.results import LLMSimulation, RequestTimes, ServerStep, events
from mlinfra.autoscaling.llm.scheduler import Scheduler, SchedulerOutput
from mlinfra.autoscaling.llm.stretch import DecodeStretch
from mlinfra.autoscaling.step_time import H100, StepTime


class LLMServer:
    """One replica. Its gauges have vLLM's names; `steps` and `times()` are what happened so far."""

    def __init__(self, config: LLMConfig | None = None, step_time: StepTime = H100) -> None:
        self.config, self.step_time = config or LLMConfig(), step_time
        expect(LLMConfig, "config", self.config)
        expect(StepTime, "step_time", self.step_time)
        self.scheduler = Scheduler(self.config)
        self.steps: list[ServerStep] = []
        self._received: dict[str, tuple[Request, float]] = {}
        self._free_s = 0.0

    def submit(self, request: LLMRequest, now_s: float) -> None:
        """The request waits from now on. One that the server can never serve is refused."""
        expect(LLMRequest, "request", request)
        refuse(f'LLMRequest "{request.name}"', fits_server(request, self.config))
        if request.name in self._received:
            refuse(f'LLMRequest "{request.name}"', [Problem("name", f"Request id {request.name} already running")])
        if not self.num_requests:
            self._free_s = max(self._free_s, now_s)
        self._received[request.name] = self.scheduler.add_request(request), now_s

    @property
    def num_requests(self) -> int:
        """Requests in flight."""
        return self.num_requests_running + self.num_requests_waiting

    @property
    def num_requests_running(self) -> int:
        return len(self.scheduler.running)

    @property
    def num_requests_waiting(self) -> int:
        """Those that were preempted included."""
        return len(self.scheduler.waiting)

    @property
    def kv_cache_usage_perc(self) -> float:
        """The share of the KV blocks that requests hold, 0 to 1."""
        return self.scheduler.kv.pool.usage

    @property
    def next_step_s(self) -> float:
        """When the next step begins: when the last one has ended; infinite without requests."""
        return self._free_s if self.num_requests else math.inf

    def reported(self, now_s: float) -> ServerStep | None:
        """The last step that has ended by now: its gauges are what a scrape finds; None before the first."""
        ended = bisect_right(self.steps, now_s, key=lambda step: step.end_s)
        return self.steps[ended - 1] if ended else None

    def step(self, now_s: float) -> ServerStep:
        """One step that begins now: schedule, compute for as long as the roofline says, update."""
        refuse("step", not_before(self.next_step_s)(Field(now_s, "now_s")))
        output = self.scheduler.schedule()
        decoding, prefill = work_of(output)
        tokens = self.config.max_num_batched_tokens - output.token_budget
        context_tokens = sum(request.num_tokens for request in decoding)
        self._free_s = now_s + self.step_time.step_ms(tokens, context_tokens) / 1000
        finished = self._update(output)
        step = ServerStep(
            start_s=now_s,
            end_s=self._free_s,
            tokens=tokens,
            decoding=len(decoding),
            context_tokens=context_tokens,
            prefill=prefill,
            admitted={request.name: cached for request, cached in output.admitted.items()},
            preempted=tuple(request.name for request in output.preempted),
            finished=tuple(request.name for request in finished),
            held=output.held,
            num_requests_running=self.num_requests_running,
            num_requests_waiting=self.num_requests_waiting,
            kv_cache_usage_perc=self.kv_cache_usage_perc,
        )
        self.steps.append(step)
        return step

    def _update(self, output: SchedulerOutput) -> list[Request]:
        """Update the scheduler, and note who was admitted and who sampled; the requests that finished."""
        number = len(self.steps)
        for request, cached in output.admitted.items():
            if request.scheduled_step is None:
                request.scheduled_step, request.num_cached_tokens = number, cached
        sampled, finished = self.scheduler.update(output)
        for request in sampled:
            note_tokens(request, number, number + 1)
        return finished

    def run(self, until_s: float = math.inf, fast: bool = True) -> None:
        """All steps that begin before that time, with nobody arriving in between."""
        while self.next_step_s < until_s:
            if not (fast and self._stretch(until_s)):
                self.step(self.next_step_s)

    def _stretch(self, until_s: float) -> bool:
        """The steps of a decode stretch that begin before that time; False without any."""
        stretch = DecodeStretch.of(self.scheduler)
        if stretch is None:
            return False
        first, now_s, waiting = len(self.steps), self._free_s, self.num_requests_waiting
        batch, context_tokens, held = stretch.batch, stretch.context_tokens, stretch.held
        while now_s < until_s and stretch.take():
            end_s = now_s + self.step_time.step_ms(batch, context_tokens) / 1000
            usage = self.kv_cache_usage_perc
            self.steps.append(decode_step(now_s, end_s, batch, context_tokens, held, waiting, usage))
            now_s, context_tokens = end_s, context_tokens + batch
        self._free_s = now_s
        stretch.close()
        for request in stretch.running:
            note_tokens(request, first, len(self.steps))
        return len(self.steps) > first

    def times(self) -> list[RequestTimes]:
        """The times of every request that was submitted, in that order."""
        return [self._times(request, arrival_s) for request, arrival_s in self._received.values()]

    def _times(self, request: Request, arrival_s: float) -> RequestTimes:
        scheduled, steps = request.scheduled_step, self.steps
        return RequestTimes(
            request.name,
            arrival_s,
            math.inf if scheduled is None else steps[scheduled].start_s,
            [steps[number].end_s for first, stop in request.token_steps for number in range(first, stop)],
            request.num_preemptions,
            request.num_prompt_tokens,
            request.num_cached_tokens,
            request.num_tokens >= request.max_total_tokens,
        )

    def result(self) -> LLMSimulation:
        """What has happened so far."""
        times = self.times()
        return LLMSimulation(
            latencies_s=[request.e2e_s for request in times],
            events=list(events(self.steps)),
            steps=list(self.steps),
            requests=times,
            max_num_batched_tokens=self.config.max_num_batched_tokens,
        )


def work_of(output: SchedulerOutput) -> tuple[list[Request], dict[str, int]]:
    """The requests that decode: their one token is the last one known, and was sampled. The tokens of all others."""
    decoding: list[Request] = []
    prefill: dict[str, int] = {}
    for request, tokens in output.num_scheduled_tokens.items():
        if tokens == 1 and request.num_computed_tokens == request.num_tokens > request.num_prompt_tokens:
            decoding.append(request)
        else:
            prefill[request.name] = tokens
    return decoding, prefill


def decode_step(
    start_s: float, end_s: float, batch: int, context_tokens: int, held: str, waiting: int, usage: float
) -> ServerStep:
    """A step in which the whole batch decodes, and nothing else happens."""
    return ServerStep(start_s, end_s, batch, batch, context_tokens, {}, {}, (), (), held, batch, waiting, usage)


def note_tokens(request: Request, first: int, stop: int) -> None:
    """It sampled a token in each of these steps."""
    ranges = request.token_steps
    if ranges and ranges[-1][1] == first:
        ranges[-1][1] = stop
    elif stop > first:
        ranges.append([first, stop])


def simulate(
    requests: Iterable[LLMRequest],
    config: LLMConfig | None = None,
    step_time: StepTime = H100,
    until_s: float = math.inf,
    fast: bool = True,
) -> LLMSimulation:
    """One server over all requests, until the last one is finished or no step begins before `until_s`.

    `fast` False takes every step in full: the same result, slower.
    """
    server = LLMServer(config, step_time)
    for request in sorted(requests, key=lambda request: request.arrival_s):
        server.run(min(request.arrival_s, until_s), fast)
        server.submit(request, request.arrival_s)
    server.run(until_s, fast)
    return server.result()
