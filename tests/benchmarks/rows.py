"""A line of the table, and how a time is taken."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One measurement: seconds of ours for so much work, and of what it is compared with; 0 where there is no peer."""

    what: str
    size: str
    amount: int
    seconds: float
    beside: str = ""
    beside_seconds: float = 0.0
    target: str = ""
    met: bool = True

    @property
    def ratio(self) -> float:
        return self.beside_seconds / self.seconds

    def as_dict(self) -> dict[str, object]:
        digits = {name: float(f"{getattr(self, name):.4g}") for name in ("seconds", "beside_seconds", "ratio")}
        return {**asdict(self), **digits}

    def __str__(self) -> str:
        beside = f"{self.beside_seconds:10.4g} s {self.ratio:8.1f}  {self.beside}" if self.beside_seconds else ""
        return f"{self.size:38}{self.seconds:10.4g} s {beside}".rstrip()


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """The best of so many runs, with the garbage collector at rest, as timeit does."""
    best = float("inf")
    for _ in range(times):
        gc.collect()
        gc.disable()
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
        gc.enable()
    return best
