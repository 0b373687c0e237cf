"""What every simulation gives: what happened, how long things took, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Event(NamedTuple):
    """A line of `kubectl get events`; the time is in seconds."""

    at_s: float
    reason: str
    about: str
    message: str

    def __str__(self) -> str:
        return f"t={self.at_s:g} s  {self.reason}  {self.about}: {self.message}"


def percentile(values: Iterable[float], fraction: float) -> float | None:
    """The value that this share of the values does not exceed (the nearest rank); None of no values."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: {fraction}: must be from 0 to 1")
    ranked = sorted(values)
    return ranked[max(0, math.ceil(fraction * len(ranked)) - 1)] if ranked else None


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Latencies in seconds (infinite for what was not answered), and the events in the order of time."""

    latencies_s: Sequence[float] = ()
    events: Sequence[Event] = ()

    def latency_s(self, fraction: float) -> float | None:
        """The latency that this share did not exceed; None where there was none."""
        return percentile(self.latencies_s, fraction)

    def why(self) -> str:
        """The events, one in a line."""
        return "\n".join(map(str, self.events))
