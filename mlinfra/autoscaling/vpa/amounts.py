"""Amounts of cpu and memory: whole numbers, truncated after every step (`model/types.go`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MAX_AMOUNT = 10**14


class Amounts(NamedTuple):
    """Milli cores and bytes."""

    cpu_milli: int
    memory_bytes: int

    def raised_to(self, minimum: Amounts) -> Amounts:
        """Each amount, or its minimum where that is more."""
        return Amounts(max(self.cpu_milli, minimum.cpu_milli), max(self.memory_bytes, minimum.memory_bytes))

    def cut_to(self, maximum: Amounts) -> Amounts:
        """Each amount, or its maximum where that is less."""
        return Amounts(min(self.cpu_milli, maximum.cpu_milli), min(self.memory_bytes, maximum.memory_bytes))

    def each(self, change: Callable[[int], int]) -> Amounts:
        return Amounts(change(self.cpu_milli), change(self.memory_bytes))


def truncate(value: float) -> int:
    """Whole units from 0 to the largest amount; not a number counts as 0."""
    return int(min(max(value, 0.0), float(MAX_AMOUNT))) if value == value else 0


def scale(amount: int, factor: float) -> int:
    """The amount times the factor, truncated."""
    return truncate(amount * factor)
