"""What the endpoint picker knows of a request and of each pod of its pool, and how old that knowledge is.

The gauges come from vLLM's `/metrics`, scraped every 50 ms. In-flight counts, prefix matches and the order of cold
requests are the picker's own: exact and at once, but blind to what other pickers send and to what vLLM evicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SCRAPE_INTERVAL_S = 0.05
"""`--refresh-metrics-interval`."""

CHARACTERS_PER_TOKEN = 4
"""The picker reads text and has no tokenizer; this is its estimate."""

OUTPUT_RATIO = 1.5
"""Output tokens that the picker expects for each token of the prompt."""


class InferenceRequest(NamedTuple):
    """A request by its id; `model` is the target model or adapter; a negative priority is sheddable."""

    name: str
    prompt: str = ""
    model: str = ""
    priority: int = 0
    cache_salt: str = ""

    @property
    def text(self) -> bytes:
        return self.prompt.encode(errors="surrogatepass")

    @property
    def prompt_tokens(self) -> int:
        """Estimated from the length of the text, rounded down."""
        return len(self.text) // CHARACTERS_PER_TOKEN

    @property
    def estimated_tokens(self) -> int:
        """Prompt and output: 2.5 tokens for each four characters, at least one token of prompt; halves round up."""
        prompt = max(1, int(len(self.text) / CHARACTERS_PER_TOKEN + 0.5))
        return prompt + int(prompt * OUTPUT_RATIO + 0.5)


class ServerMetrics(NamedTuple):
    """The gauges of one scrape: vllm:num_requests_waiting, num_requests_running, kv_cache_usage_perc (0 to 1), ...

    `block_size` (tokens) and `num_blocks` are those of the KV cache; 0 where the server does not say.
    """

    waiting: int = 0
    running: int = 0
    kv_usage: float = 0.0
    active_adapters: frozenset[str] = frozenset()
    waiting_adapters: frozenset[str] = frozenset()
    max_adapters: int = 0
    block_size: int = 0
    num_blocks: int = 0


NO_METRICS = ServerMetrics()


class PoolEndpoint(NamedTuple):
    """A pod of the InferencePool: its last scrape with its age, its role, and below them the picker's own data.

    `scraped` is None before the first scrape; scorers then see zeros. `role` is the label llm-d.ai/role, None without.
    `cold_position` counts from the endpoint whose last cold request is the longest ago; None: it never had one.
    """

    name: str
    scraped: ServerMetrics | None = NO_METRICS
    age_s: float = 0.0
    role: str | None = None
    in_flight: int = 0
    in_flight_tokens: int = 0
    match_blocks: int = 0
    total_blocks: int = 0
    cold_position: int | None = None

    @property
    def metrics(self) -> ServerMetrics:
        return self.scraped or NO_METRICS


class Scrape(NamedTuple):
    """The gauges of a pod, and when they were read."""

    at_s: float
    metrics: ServerMetrics


class MetricsCache:
    """The last scrape of every pod, whatever its age. The caller scrapes when it is due, so a burst between two scrapes
    sees the same numbers."""

    def __init__(self, roles: Mapping[str, str | None], interval_s: float = SCRAPE_INTERVAL_S) -> None:
        self.interval_s = interval_s
        self.next_scrape_s = 0.0
        self._roles = dict(roles)
        self._scrapes: dict[str, Scrape] = {}

    def add(self, name: str, role: str | None = None) -> None:
        """A pod that is ready; it has no metrics before the next scrape."""
        self._roles[name] = role

    def remove(self, name: str) -> None:
        """A pod that is gone."""
        del self._roles[name]
        self._scrapes.pop(name, None)

    def scrape(self, now_s: float, readings: Mapping[str, ServerMetrics]) -> None:
        """Take over what the pods say now; one that does not answer keeps its old values."""
        for name in readings.keys() & self._roles.keys():
            self._scrapes[name] = Scrape(now_s, readings[name])
        self.next_scrape_s = now_s + self.interval_s

    def endpoints(self, now_s: float) -> list[PoolEndpoint]:
        """Every pod as the picker sees it now, in the order in which they were added."""
        return [self._endpoint(name, role, now_s) for name, role in self._roles.items()]

    def _endpoint(self, name: str, role: str | None, now_s: float) -> PoolEndpoint:
        last = self._scrapes.get(name)
        return (
            PoolEndpoint(name, last.metrics, now_s - last.at_s, role) if last else PoolEndpoint(name, None, role=role)
        )


def names(endpoints: Iterable[PoolEndpoint]) -> list[str]:
    return [endpoint.name for endpoint in endpoints]
