"""How a server of a language model is configured, and how many KV blocks its memory holds.

Names and defaults follow vLLM 0.33.0 (`config/scheduler.py`, `config/cache.py`, `engine/arg_utils.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mlinfra.admission import AtLeastOne, Count, Share, check
from mlinfra.admission.nouns.autoscaling import MAX_BLOCKS
from mlinfra.admission.rules import whole

GIB = 2**30
GPU_MEMORY_UTILIZATION = 0.92
"""The share of a GPU's memory that vLLM takes."""

LLAMA_8B_WEIGHTS_GIB = 15.0
"""8.03 billion parameters of 2 bytes are 14.96 GiB."""


def kv_bytes_per_token(layers: int, kv_heads: int, head_size: int, bytes_per_value: int = 2) -> int:
    """Bytes that one token takes in the KV cache: a key and a value in each layer for each KV head."""
    return 2 * layers * kv_heads * head_size * bytes_per_value


LLAMA_8B_BYTES_PER_TOKEN = kv_bytes_per_token(layers=32, kv_heads=8, head_size=128)
"""131,072 bytes, as measured (`mlinfra/course/files/h100_llm_decode.csv`)."""


def blocks_in(kv_memory_bytes: int, bytes_per_token: int, block_size: int = 16) -> int:
    """Whole blocks that the memory holds."""
    return kv_memory_bytes // (block_size * bytes_per_token)


def kv_blocks(
    gpu_gib: float = 80,
    utilization: float = GPU_MEMORY_UTILIZATION,
    weights_gib: float = LLAMA_8B_WEIGHTS_GIB,
    bytes_per_token: int = LLAMA_8B_BYTES_PER_TOKEN,
    block_size: int = 16,
) -> int:
    """Blocks in the memory that vLLM may use (`gpu_memory_utilization`) beside the weights.

    vLLM also subtracts what a trial run takes for activations and CUDA graphs; we do not.
    """
    return blocks_in(max(0, int((gpu_gib * utilization - weights_gib) * GIB)), bytes_per_token, block_size)


def max_concurrency(num_blocks: int, max_model_len: int, block_size: int = 16) -> float:
    """Requests of full length that fit at once: "maximum concurrency" in vLLM's log."""
    return num_blocks / -(-max_model_len // block_size)


def batch_defaults(gpu_gib: float, a100: bool = False, offline: bool = False) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs of `vllm serve`, or offline of the LLM class (`get_batch_defaults`)."""
    if gpu_gib < 70 or a100:
        return (8192 if offline else 2048), 256
    if gpu_gib < 160:
        return (16384 if offline else 8192), 1024
    return 16384, 1024


@dataclass(frozen=True)
class LLMConfig:
    """The scheduler's and the cache's settings; the defaults are those of an H100 that serves an 8B model.

    `num_blocks` includes the null block, which holds no tokens. A `long_prefill_token_threshold` of 0 is none.
    """

    max_num_batched_tokens: AtLeastOne = 8192
    max_num_seqs: AtLeastOne = 1024
    max_model_len: AtLeastOne = 8192
    num_blocks: Annotated[int, whole(2, MAX_BLOCKS)] = kv_blocks()
    block_size: AtLeastOne = 16
    long_prefill_token_threshold: Count = 0
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    scheduler_reserve_full_isl: bool = True
    watermark: Share = 0.0
    policy: str = "fcfs"

    def __post_init__(self) -> None:
        check(self)

    @property
    def watermark_blocks(self) -> int:
        """Blocks that an admission leaves free, unless nothing runs."""
        return int(self.watermark * self.num_blocks)
