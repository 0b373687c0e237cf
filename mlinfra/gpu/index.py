"""The source notebook's best fit without its loop: nodes are kept by how many GPUs they have free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from heapq import heappop, heappush

from mlinfra.gpu.cluster import GPUNode, GPURequest, already_exists, not_found
from mlinfra.gpu.scoring import PREFERRED_POINTS, SPARE_POINTS

NOWHERE = (math.inf, -1)


class Shelf:
    """Nodes of one kind, in one heap for each count of free GPUs; a node that has moved on is skipped when met."""

    def __init__(self, gpu_count: int) -> None:
        self.heaps: list[list[int]] = [[] for _ in range(gpu_count + 1)]

    def tightest(self, gpu_count: int, free: Sequence[int]) -> tuple[float, int]:
        """The fewest free GPUs that suffice, and the first node that has as many."""
        for count in range(gpu_count, len(self.heaps)):
            heap = self.heaps[count]
            while heap:
                if free[heap[0]] == count:
                    return count, heap[0]
                heappop(heap)
        return math.inf, -1


class WholeGPUBestFit:
    """Places like `scoring.BestFit` with ties to the first node, in a time that does not grow with the nodes."""

    def __init__(self, nodes: Sequence[GPUNode]) -> None:
        self.nodes = nodes
        self.free = [node.gpu_count for node in nodes]
        self.placed: dict[str, tuple[int, int]] = {}
        self.shelves: dict[tuple[str, int], Shelf] = {}
        self._heaps_of = [self._shelf(node).heaps for node in nodes]
        self._wanted = lru_cache(maxsize=1024)(self._shelves_for)
        for i in range(len(nodes)):
            self._change(i, 0)

    def place(self, request: GPURequest) -> str | None:
        """The node's name, or None when no node has as many GPUs of that kind free."""
        if request.name in self.placed:
            raise already_exists("pod", request.name)
        gpu_count, best = request.gpu_count, NOWHERE
        for shelf, bonus in self._wanted(request.gpu_memory_gib, request.required_gpu_type, request.preferred_gpu_type):
            count, i = shelf.tightest(gpu_count, self.free)
            best = min(best, ((count - gpu_count) * SPARE_POINTS - bonus, i))
        if best == NOWHERE:
            return None
        self._change(best[1], -gpu_count)
        self.placed[request.name] = best[1], gpu_count
        return self.nodes[best[1]].name

    def release(self, name: str) -> None:
        if name not in self.placed:
            raise not_found("pod", name)
        self._change(*self.placed.pop(name))

    def _shelves_for(self, memory_gib: int, required: str, preferred: str) -> list[tuple[Shelf, int]]:
        return [
            (shelf, PREFERRED_POINTS if kind == preferred else 0)
            for (kind, gib), shelf in self.shelves.items()
            if gib >= memory_gib and required in ("", kind)
        ]

    def _shelf(self, node: GPUNode) -> Shelf:
        shelf = self.shelves.setdefault((node.gpu_type, node.gpu_memory_gib), Shelf(0))
        shelf.heaps += [[] for _ in range(node.gpu_count + 1 - len(shelf.heaps))]
        return shelf

    def _change(self, i: int, gpu_count: int) -> None:
        """The node has so many more free, and stands on another heap."""
        self.free[i] = free = self.free[i] + gpu_count
        heappush(self._heaps_of[i][free], i)
