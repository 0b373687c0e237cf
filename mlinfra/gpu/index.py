"""The source notebook's best fit without its loop: nodes are kept by how many GPUs they have free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from heapq import heappop, heappush

from mlinfra.admission import Invalid, Problem
from mlinfra.gpu.cluster import already_exists, not_found
from mlinfra.gpu.nodes import GPU, GPUNode
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.scoring import PREFERRED_POINTS, SPARE_POINTS

Shelf = list[list[int]]
"""Nodes of one kind: for each count of free GPUs a heap of them, the first node on top."""


class WholeGPUBestFit:
    """Places single pods like `scoring.BestFit`, ties to the first node, in a time that does not grow with the nodes.

    As in the source notebook, only GPUs count: cpu, memory, taints and the number of pods are not looked at.
    """

    def __init__(self, nodes: Iterable[GPUNode]) -> None:
        self.nodes = tuple(nodes)
        for name, times in Counter(node.name for node in self.nodes).items():
            if times > 1:
                raise already_exists("node", name)
        self.free = [node.gpu_count for node in self.nodes]
        self.placed: dict[str, tuple[int, int]] = {}
        self._shelves: dict[tuple[str, int], Shelf] = {}
        self._shelf_of = [self._shelf(node) for node in self.nodes]
        self._listed = [set[int]() for _ in self.nodes]
        self._matching = lru_cache(maxsize=1024)(self._shelves_for)
        for i in range(len(self.nodes)):
            self._change(i, 0)

    def place(self, request: GPURequest) -> str | None:
        """The node's name, or None when no node has as many GPUs of that kind free."""
        if request.name in self.placed:
            raise already_exists("pod", request.name)
        if request.gang_size != 1 or request.resource != GPU:
            raise Invalid(f'pod "{request.name}"', [Problem("", "must be a single pod that asks for whole GPUs")])
        i = self._best(request)
        if i is None:
            return None
        self._change(i, -request.gpu_count)
        self.placed[request.name] = i, request.gpu_count
        return self.nodes[i].name

    def release(self, name: str) -> None:
        if name not in self.placed:
            raise not_found("pod", name)
        self._change(*self.placed.pop(name))

    def _best(self, request: GPURequest) -> int | None:
        """The tightest node of each kind, and of those the one with the most points, then the first."""
        candidates, gpus = [], request.gpu_count
        memory_gib, required, preferred = request.gpu_memory_gib, request.required_gpu_type, request.preferred_gpu_type
        for shelf, bonus in self._matching(memory_gib, required, preferred):
            for count in range(gpus, len(shelf)):
                heap = shelf[count]
                while heap and self.free[heap[0]] != count:  # the node has moved to another heap since
                    self._listed[heappop(heap)].discard(count)
                if heap:
                    candidates.append(((count - gpus) * SPARE_POINTS - bonus, heap[0]))
                    break
        return min(candidates)[1] if candidates else None

    def _change(self, i: int, gpu_count: int) -> None:
        """The node has so many more free, and goes onto the heap of its new count, unless it is still there."""
        self.free[i] = free = self.free[i] + gpu_count
        if free not in self._listed[i]:
            self._listed[i].add(free)
            heappush(self._shelf_of[i][free], i)

    def _shelves_for(self, memory_gib: int, required: str, preferred: str) -> list[tuple[Shelf, int]]:
        return [
            (shelf, PREFERRED_POINTS if preferred and kind == preferred else 0)
            for (kind, gib), shelf in self._shelves.items()
            if gib >= memory_gib and required in ("", kind)
        ]

    def _shelf(self, node: GPUNode) -> Shelf:
        shelf = self._shelves.setdefault((node.gpu_type, node.gpu_memory_gib), [])
        shelf += [[] for _ in range(node.gpu_count + 1 - len(shelf))]
        return shelf
