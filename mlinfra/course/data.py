"""Real inputs that the notebooks run on; NOTICE names their sources."""

from __future__ import annotations

from mlinfra.tables import table

BIN_S = 10


def llm_arrivals(workload: str = "conversation") -> list[int]:
    """Requests that arrived in each 10 s of one hour of production LLM traffic: 351 counts.

    The trace ends 3,510 s after its start. `workload` is "conversation" or "code"; ValueError for any other.
    Azure LLM inference trace 2023, CC-BY-4.0.
    """
    rows = table("mlinfra.course", "llm_arrivals")
    if workload not in rows[0] or workload == "second":
        raise ValueError(f'workload: "{workload}": must be "conversation" or "code"')
    return [int(row[workload]) for row in rows]


def rate_per_s(counts: list[int], now_s: float, window_s: int = 60) -> float:
    """Requests per second over the `window_s` seconds before `now_s`, from whole bins; 0 before the first is full."""
    last = int(now_s // BIN_S)
    window = counts[max(0, last - window_s // BIN_S) : last]
    return sum(window) / (len(window) * BIN_S) if window else 0.0
