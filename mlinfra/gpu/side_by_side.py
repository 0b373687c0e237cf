"""Several clients on one GPU, each in a closed loop: in turns (time-slicing), or side by side (MPS).

Two lines each, fitted to one H100 and no more: what they leave out is told by how far they are off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlinfra.admission import NotNegative, Share, check

SLICE_MS, SWITCH_MS = 2.1, 0.1
"""A turn of the H100's driver, and what changing over to another process costs; from a small client's latency."""


@dataclass(frozen=True)
class Client:
    """Batches one after the other: the time of one alone, and the share of the GPU that its kernels fill.

    The share follows from two clients side by side: what each then takes longer, divided by its time alone.
    """

    alone_ms: NotNegative
    fill: Share = 1.0

    def __post_init__(self) -> None:
        check(self)


def in_turns_ms(clients: Sequence[Client], slice_ms: float = SLICE_MS, switch_ms: float = SWITCH_MS) -> list[float]:
    """Latency of a batch of each client under time-slicing: between any two of its turns all others have one."""
    if len(clients) == 1:
        return [client.alone_ms for client in clients]
    turns = [min(client.alone_ms, slice_ms) + switch_ms for client in clients]
    latencies = []
    for client, own_turn in zip(clients, turns, strict=True):
        rounds = math.ceil(client.alone_ms / slice_ms)
        latencies.append(client.alone_ms + rounds * (switch_ms + sum(turns) - own_turn))
    return latencies


def side_by_side_ms(clients: Sequence[Client]) -> list[float]:
    """Latency of a batch of each client under MPS: it waits for what the kernels of the others fill.

    Beside an equal client it waits for one kernel of the other before each of its own. Beside a larger one it finds
    one running, and waits for half of it on average: no turn ends what the neighbour has begun.
    """
    latencies = []
    for i, client in enumerate(clients):
        others = [other for k, other in enumerate(clients) if k != i]
        latencies.append(client.alone_ms + sum(waiting_ms(client, other) for other in others))
    return latencies


def waiting_ms(client: Client, other: Client) -> float:
    """What one batch waits for another client's kernels, which are as many as its own; for half of larger ones."""
    share = 0.5 if other.alone_ms > client.alone_ms else 1.0
    return share * other.fill * other.alone_ms


def fill_of(alone_ms: float, beside_an_equal_ms: float) -> float:
    """The share of the GPU that a client fills, from its latency alone and beside one like it."""
    return min(1.0, (beside_an_equal_ms - alone_ms) / alone_ms)


def capped_ms(alone_ms: float, work_ms: float, thread_share: float) -> float:
    """Latency of a client that may use this share of the threads: its work takes longer, the rest does not.

    `work_ms` is the time of the work on all threads.
    """
    return alone_ms + work_ms * (1 / thread_share - 1)


def work_of(alone_ms: float, capped: float, thread_share: float) -> float:
    """The time of the work on all threads, from the latency under one cap."""
    return (capped - alone_ms) / (1 / thread_share - 1)
