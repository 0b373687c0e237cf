"""The approximate prefix index: which endpoint has seen which beginnings of prompts, guessed from routing alone.

Follows llm-d/llm-d-router v0.9.0, `requestcontrol/dataproducer/approximateprefix`. The index does not know what vLLM
evicts, what failed, and the output tokens. Not here: an upstream oddity by which blocks of one prompt longer than the
whole cache stay findable after they were evicted.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from mlinfra.kserve.picker.endpoint import CHARACTERS_PER_TOKEN, InferenceRequest

BLOCK_SIZE_TOKENS = 16
BLOCKS_PER_ENDPOINT = 31_250
"""Without metrics: Llama 3 8B on an 80 GB GPU, 64 GB of cache at 2 MB a block."""

MAX_PREFIX_TOKENS = 131_072
"""Prompts are cut there; before v0.9.0 at 256 blocks."""

BlockHash = bytes


def block_hashes(request: InferenceRequest, block_size: int, max_blocks: int) -> list[BlockHash]:
    """A hash for each block of the prompt, made from the block and the hash before it; the last may be a partial block.

    So two prompts share a hash only if they share everything before it, the model and the cache salt too. Before
    v0.9.0 a prompt shorter than one block had none.
    """
    text, step = request.text, block_size * CHARACTERS_PER_TOKEN
    hashes = [_hash(f"{request.model}{request.cache_salt}".encode(errors="surrogatepass"))]
    for start in range(0, min(len(text), max_blocks * step), step):
        hashes.append(_hash(text[start : start + step] + hashes[-1]))
    return hashes[1:]


def _hash(text: bytes) -> BlockHash:
    return blake2b(text, digest_size=8).digest()


class PrefixIndex:
    """For each endpoint the blocks that were sent there, the least recently used first; as many as its cache has."""

    def __init__(self) -> None:
        self._blocks: dict[str, OrderedDict[BlockHash, None]] = {}
        self._capacities: dict[str, int] = {}

    def match(self, hashes: Sequence[BlockHash]) -> Mapping[str, int]:
        """How many of the prompt's blocks each endpoint holds, up to the first block that nobody holds.

        An endpoint that has lost the head of a prefix is still credited for the rest while another one has the head.
        """
        matches: Counter[str] = Counter()
        for block in hashes:
            holders = [name for name, blocks in self._blocks.items() if block in blocks]
            if not holders:
                break
            for name in holders:
                matches[name] += 1
        return matches

    def add(self, endpoint: str, hashes: Sequence[BlockHash], capacity: int = BLOCKS_PER_ENDPOINT) -> None:
        """The endpoint has this prompt now: its blocks are the newest, the last one most of all; the oldest go.

        The capacity is fixed when the endpoint gets its first prompt.
        """
        blocks = self._blocks.setdefault(endpoint, OrderedDict())
        most = self._capacities.setdefault(endpoint, capacity)
        for block in hashes:
            blocks[block] = None
            blocks.move_to_end(block)
            if len(blocks) > most:
                blocks.popitem(last=False)

    def forget(self, endpoint: str) -> None:
        """A pod that is gone; upstream looks for them every two minutes."""
        self._blocks.pop(endpoint, None)
        self._capacities.pop(endpoint, None)

    def size(self, endpoint: str) -> int:
        """Blocks that the endpoint is believed to hold."""
        return len(self._blocks.get(endpoint, ()))
