"""Amounts of cpu and memory: whole numbers, truncated after every step (`model/types.go`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MAX_AMOUNT = 10**14


class Amounts(NamedTuple):
    """Milli cores and bytes."""

    cpu_milli: int
    memory_bytes: int

    def each(self, change: Callable[[int], int]) -> Amounts:
        return Amounts(change(self.cpu_milli), change(self.memory_bytes))


def truncate(value: float) -> int:
    """Whole units from 0 to the largest amount; not a number counts as 0."""
    return int(min(max(value, 0.0), float(MAX_AMOUNT))) if value == value else 0


def scale(amount: int, factor: float) -> int:
    return truncate(amount * factor)
