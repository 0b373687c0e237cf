"""A server of a language model that batches continuously, as vLLM's V1 scheduler decides.

`config` has the settings, `requests` what is sent, `blocks` the KV cache, `scheduler` the step (the definition),
`stretch` a fast way through many steps of decoding, `server` the time, and `results` what comes out. `pool` runs
several servers behind a router, and `mix` makes their requests.
"""

from mlinfra.autoscaling.llm.config import LLMConfig, batch_defaults, kv_blocks, kv_bytes_per_token, max_concurrency
from mlinfra.autoscaling.llm.mix import Mix
from mlinfra.autoscaling.llm.pool import PoolRequest, PoolSimulation, simulate_pool
from mlinfra.autoscaling.llm.requests import LLMRequest
from mlinfra.autoscaling.llm.results import LLMSimulation, RequestTimes, ServerStep
from mlinfra.autoscaling.llm.server import LLMServer, simulate

__all__ = [
    "LLMConfig",
    "LLMRequest",
    "LLMServer",
    "LLMSimulation",
    "Mix",
    "PoolRequest",
    "PoolSimulation",
    "RequestTimes",
    "ServerStep",
    "batch_defaults",
    "kv_blocks",
    "kv_bytes_per_token",
    "max_concurrency",
    "simulate",
    "simulate_pool",
]
