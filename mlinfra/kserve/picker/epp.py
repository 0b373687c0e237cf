"""The endpoint picker (EPP) of the Gateway API Inference Extension, as llm-d builds it and KServe configures it.

Follows llm-d/llm-d-router v0.9.0, `pkg/epp/requestcontrol/director.go`. One picker is active at a time: all that it
knows beyond the metrics is in its memory and lost when it restarts. Not here: flow control, and headers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mlinfra.admission import Field, refuse
from mlinfra.admission.picker import open_request, unknown_request
from mlinfra.admission.rules import whole
from mlinfra.kserve.picker.config import EndpointPickerConfig, kserve_default
from mlinfra.kserve.picker.endpoint import InferenceRequest, PoolEndpoint
from mlinfra.kserve.picker.prefix import (
    BLOCK_SIZE_TOKENS,
    BLOCKS_PER_ENDPOINT,
    MAX_PREFIX_TOKENS,
    BlockHash,
    PrefixIndex,
    block_hashes,
)
from mlinfra.kserve.picker.profile import PickExplanation, PickFailed, Ties
from mlinfra.kserve.picker.saturation import SaturationDetector, UtilizationDetector, admitted

NO_HIT_LRU_SIZE = 1024
"""Endpoints that the no-hit-lru scorer remembers."""


class SchedulingResult(NamedTuple):
    """Where a request goes: the target, another pod that prefills it, and whom to try when the target fails."""

    target: str
    prefill: str | None = None
    fallbacks: tuple[str, ...] = ()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Those that learn the prompt and count the request."""
        return (self.target, self.prefill) if self.prefill else (self.target,)


class OpenRequest(NamedTuple):
    """A request in flight: where it counts, and how many tokens the picker expects of it."""

    target: str
    prefill: str | None
    tokens: int


class InFlightLoad:
    """Requests and tokens in flight per endpoint, from the pick until the end of the stream."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self._open: dict[str, OpenRequest] = {}

    def start(self, request: InferenceRequest, result: SchedulingResult) -> None:
        """One more at each of its endpoints."""
        started = OpenRequest(result.target, result.prefill, request.estimated_tokens)
        self._open[request.name] = started
        for endpoint in result.endpoints:
            self._add(endpoint, 1, started.tokens)

    def first_token(self, name: str) -> None:
        """The first chunk of the answer: the prefill pod is done."""
        unknown_request(name, self._open)
        started = self._open[name]
        if started.prefill:
            self._add(started.prefill, -1, -started.tokens)
            self._open[name] = started._replace(prefill=None)

    def finish(self, name: str) -> None:
        """The end of the stream: the request counts nowhere any more."""
        self.first_token(name)
        started = self._open.pop(name)
        self._add(started.target, -1, -started.tokens)

    def _add(self, endpoint: str, requests: int, tokens: int) -> None:
        self.requests[endpoint] += requests
        self.tokens[endpoint] += tokens

    def check_new(self, name: str) -> None:
        """Invalid when a request of this name is in flight."""
        open_request(name, self._open)


class EndpointPicker:
    """Picks an endpoint for every request, and remembers what it picked. Bad input raises and changes nothing."""

    def __init__(
        self,
        config: EndpointPickerConfig | None = None,
        ties: Ties = None,
        detector: SaturationDetector | None = None,
        block_size_tokens: int = BLOCK_SIZE_TOKENS,
        max_prefix_tokens: int = MAX_PREFIX_TOKENS,
    ) -> None:
        refuse("EndpointPicker", whole(1)(Field(block_size_tokens, "block_size_tokens")))
        self.config, self.ties = config or kserve_default(), ties
        self.detector = detector or UtilizationDetector()
        self.block_size_tokens, self.max_prefix_tokens = block_size_tokens, max_prefix_tokens
        self.index, self.load = PrefixIndex(), InFlightLoad()
        self._cold: dict[str, None] = {}
        """Endpoints by their last cold request, the oldest first."""

    def pick(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> str:
        """The endpoint that gets the request; PickFailed when it is refused or there is none."""
        return self.schedule(request, endpoints).target

    def schedule(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> SchedulingResult:
        """One request's way: what the picker itself knows is added, admission, the profiles; then it learns."""
        self.load.check_new(request.name)
        if not endpoints:
            raise PickFailed(503, "failed to find endpoint candidates for serving the request")
        hashes = self.prefix_hashes(request, endpoints)
        candidates = self.produce(hashes, endpoints)
        self._admit(request, candidates)
        result = self._run_profiles(request, candidates)
        self._learn(request, result, hashes, candidates)
        return result

    def prefix_hashes(self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint]) -> list[BlockHash]:
        """The prompt in blocks of the size that the first endpoint's metrics tell."""
        size = self._block_size(endpoints)
        return block_hashes(request, size, self.max_prefix_tokens // size)

    def _block_size(self, endpoints: Sequence[PoolEndpoint]) -> int:
        return (endpoints[0].metrics.block_size if endpoints else 0) or self.block_size_tokens

    def produce(self, hashes: Sequence[BlockHash], endpoints: Sequence[PoolEndpoint]) -> list[PoolEndpoint]:
        """The endpoints with the picker's own data: in-flight counts, matched blocks, order of cold requests."""
        matches = self.index.match(hashes)
        positions = {name: position for position, name in enumerate(self._cold)}
        return [
            endpoint._replace(
                in_flight=self.load.requests[endpoint.name],
                in_flight_tokens=self.load.tokens[endpoint.name],
                match_blocks=matches.get(endpoint.name, 0),
                total_blocks=len(hashes),
                cold_position=positions.get(endpoint.name),
            )
            for endpoint in endpoints
        ]

    def _admit(self, request: InferenceRequest, candidates: Sequence[PoolEndpoint]) -> None:
        if not admitted(request.priority, self.detector.saturation(candidates)):
            raise PickFailed(429, "system saturated, sheddable request dropped")

    def _run_profiles(self, request: InferenceRequest, candidates: Sequence[PoolEndpoint]) -> SchedulingResult:
        """The primary profile first; if the decider then splits the prompt, the prefill profile too."""
        target, *fallbacks = self.config.profiles[self.config.primary].run(request, candidates, self.ties)
        decode = next(candidate for candidate in candidates if candidate.name == target)
        decider = self.config.decider
        if decider and decider.splits(request, decode, self._block_size(candidates)):
            return SchedulingResult(target, self._prefill(request, candidates), tuple(fallbacks))
        return SchedulingResult(target, None, tuple(fallbacks))

    def _prefill(self, request: InferenceRequest, candidates: Sequence[PoolEndpoint]) -> str | None:
        """The pod that prefills; without one the decode pod does it."""
        try:
            return self.config.profiles["prefill"].run(request, candidates, self.ties)[0]
        except PickFailed:
            return None

    def _learn(
        self,
        request: InferenceRequest,
        result: SchedulingResult,
        hashes: Sequence[BlockHash],
        candidates: Sequence[PoolEndpoint],
    ) -> None:
        """Before the request is sent: counts, index, and the order of cold requests follow the choice."""
        self.load.start(request, result)
        self.learn_prompt(result, hashes, candidates)
        if self._is_cold(candidates):
            self.learn_cold(result)

    def learn_prompt(
        self, result: SchedulingResult, hashes: Sequence[BlockHash], candidates: Sequence[PoolEndpoint]
    ) -> None:
        """The index believes that the chosen endpoints hold the prompt from now on."""
        capacities = {candidate.name: candidate.metrics.num_blocks for candidate in candidates}
        for endpoint in result.endpoints:
            self.index.add(endpoint, hashes, capacities[endpoint] or BLOCKS_PER_ENDPOINT)

    def _is_cold(self, candidates: Sequence[PoolEndpoint]) -> bool:
        """No candidate of the primary profile matches a block."""
        return not any(
            candidate.match_blocks for candidate in self.config.profiles[self.config.primary].candidates(candidates)
        )

    def learn_cold(self, result: SchedulingResult) -> None:
        """The chosen endpoints are the last that had a cold request."""
        for endpoint in result.endpoints:
            self._cold.pop(endpoint, None)
            self._cold[endpoint] = None
        if len(self._cold) > NO_HIT_LRU_SIZE:
            del self._cold[next(iter(self._cold))]

    def first_token(self, name: str) -> None:
        """The first chunk of the answer has come."""
        self.load.first_token(name)

    def finish(self, name: str) -> None:
        """The answer is complete, or has failed."""
        self.load.finish(name)

    def forget(self, endpoint: str) -> None:
        """A pod that is gone leaves the index; its requests in flight end with `finish`, like all others."""
        self.index.forget(endpoint)

    def explain(
        self, request: InferenceRequest, endpoints: Sequence[PoolEndpoint], profile: str = ""
    ) -> PickExplanation:
        """What the primary profile, or another one, says of every endpoint as things are; nothing is changed."""
        candidates = self.produce(self.prefix_hashes(request, endpoints), endpoints)
        return self.config.profiles[profile or self.config.primary].explain(request, candidates)
