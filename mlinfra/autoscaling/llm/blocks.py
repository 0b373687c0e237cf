"""KV blocks as vLLM hands them out: one free list, a prefix cache over full blocks, and what goes first.

Follows vLLM 0.33.0, `v1/core/block_pool.py` and `v1/core/kv_cache_manager.py`, with one group of full attention.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from mlinfra.autoscaling.llm.config import LLMConfig
from mlinfra.autoscaling.llm.requests import Request


class BlockPool:
    """All blocks. Block 0 is the null block, which is never used.

    `free` holds the free blocks in the order in which they will be taken. A free block that has a hash is still in
    the prefix cache; it leaves the cache when it is taken.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))
        self.ref_counts = [0] * num_blocks
        self.block_hashes: list[int | None] = [None] * num_blocks
        self.cached: dict[int, dict[int, None]] = {}

    @property
    def usage(self) -> float:
        """The gauge kv_cache_usage_perc, 0 to 1: cached blocks that nobody holds count as free."""
        return 1 - len(self.free) / (self.num_blocks - 1)

    def get_cached_block(self, block_hash: int) -> int | None:
        """The block with that hash that was cached first; equal blocks are not merged."""
        return next(iter(self.cached.get(block_hash, ())), None)

    def get_new_block(self) -> int:
        """The first free block; what it cached is lost."""
        block, _ = self.free.popitem(last=False)
        self._evict(block)
        self.ref_counts[block] = 1
        return block

    def _evict(self, block: int) -> None:
        block_hash = self.block_hashes[block]
        if block_hash is not None:
            self.block_hashes[block] = None
            del self.cached[block_hash][block]
            if not self.cached[block_hash]:
                del self.cached[block_hash]

    def touch(self, blocks: Iterable[int]) -> None:
        """One more request holds these blocks; those that were free leave the free list."""
        for block in blocks:
            if not self.ref_counts[block]:
                del self.free[block]
            self.ref_counts[block] += 1

    def cache(self, block: int, block_hash: int) -> None:
        """The block is full, and can be found by its hash."""
        self.block_hashes[block] = block_hash
        self.cached.setdefault(block_hash, {})[block] = None

    def free_blocks(self, blocks: Iterable[int]) -> None:
        """One request less holds these blocks. Of those that are free now, cached ones go to the end of the free
        list, and all others to its front, both in the order given."""
        unused = []
        for block in blocks:
            self.ref_counts[block] -= 1
            if not self.ref_counts[block]:
                unused.append(block)
        self.free.update((block, None) for block in unused if self.block_hashes[block] is not None)
        for block in reversed([block for block in unused if self.block_hashes[block] is None]):
            self.free[block] = None
            self.free.move_to_end(block, last=False)


class KVCacheManager:
    """Gives requests the blocks for their tokens, as long as there are enough."""

    def __init__(self, config: LLMConfig) -> None:
        self.block_size, self.enable_caching = config.block_size, config.enable_prefix_caching
        self.pool = BlockPool(config.num_blocks)

    def get_computed_blocks(self, request: Request) -> list[int]:
        """The cached blocks of the longest known prefix. One token at least is left to compute, for its logits."""
        hits: list[int] = []
        if self.enable_caching:
            for index in range((request.num_tokens - 1) // self.block_size):
                block = self.pool.get_cached_block(request.block_hash(index))
                if block is None:
                    break
                hits.append(block)
        return hits

    def blocks_to_allocate(self, request: Request, num_tokens: int, hits: Sequence[int] = ()) -> int:
        """Blocks that leave the free list so that the request holds so many tokens, its hits included."""
        new = -(-num_tokens // self.block_size) - len(request.block_ids) - len(hits)
        unused_hits = [block for block in hits if not self.pool.ref_counts[block]]
        return max(0, new) + len(unused_hits)

    def fits(self, request: Request, num_tokens: int, hits: Sequence[int], leave_free: int) -> bool:
        """Whether there are enough free blocks for so many tokens, and so many more."""
        return self.blocks_to_allocate(request, num_tokens, hits) + leave_free <= len(self.pool.free)

    def allocate_slots(self, request: Request, num_new_tokens: int, hits: Sequence[int] = ()) -> bool:
        """Blocks for the computed tokens, the hits and the new tokens, or none and False.

        Blocks that will be full are cached at once, before they are computed. Most tokens that are decoded fit into a
        block that the request holds.
        """
        num_tokens = request.num_computed_tokens + len(hits) * self.block_size + num_new_tokens
        if hits or num_tokens > len(request.block_ids) * self.block_size:
            if self.blocks_to_allocate(request, num_tokens, hits) > len(self.pool.free):
                return False
            self._take(request, num_tokens, hits)
        if self.enable_caching:
            self.cache_blocks(request, num_tokens)
        return True

    def _take(self, request: Request, num_tokens: int, hits: Sequence[int]) -> None:
        """The hits are shared, and new blocks hold the rest of the tokens."""
        self.pool.touch(hits)
        request.block_ids += hits
        request.num_cached_blocks += len(hits)
        while len(request.block_ids) * self.block_size < num_tokens:
            request.block_ids.append(self.pool.get_new_block())

    def cache_blocks(self, request: Request, num_tokens: int) -> None:
        """Cache the full blocks among so many tokens that are not cached yet."""
        while request.num_cached_blocks < num_tokens // self.block_size:
            index = request.num_cached_blocks
            self.pool.cache(request.block_ids[index], request.block_hash(index))
            request.num_cached_blocks += 1

    def free(self, request: Request) -> None:
        """The request gives all its blocks back, the tail first, so that a prefix is evicted from its tail."""
        self.pool.free_blocks(reversed(request.block_ids))
        request.block_ids = []
        request.num_cached_blocks = 0
