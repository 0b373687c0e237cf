"""What small models say of the measured cards, beside what was measured: the way to learn what a model is worth."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from mlinfra.autoscaling.step_time import H100, H200, StepTime
from mlinfra.course import measured
from mlinfra.gpu import side_by_side
from mlinfra.ray_serve import router

HOST_MS = 0.06
"""What the host adds to a batch of the open loop: p50 at low rates, less the batch of 1."""

SECONDS = 3.0


class Beside(NamedTuple):
    """A prediction beside the measurement."""

    what: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """Share of the measured value by which the prediction is above it."""
        return self.predicted / self.measured - 1


def open_loop(largest_batch: int, requests_per_s: int, host_ms: float = HOST_MS) -> router.RouterSimulation:
    """The open loop of `measured.open_loop`, simulated: the same arrivals, and the batch curve as service times."""
    takes_all = router.Batching(largest_batch, when_free=True)
    server = router.Stage("bert", service_time(host_ms), max_ongoing_requests=10**9, batching=takes_all)
    return router.simulate([server], poisson(requests_per_s))


def service_time(host_ms: float) -> router.ServiceTime:
    """Seconds for a batch, padded to a power of 2."""

    def batch_s(size: int, draw: random.Random) -> float:
        padded = 1 << (size - 1).bit_length()
        return (batch_times_ms()[padded] + host_ms) / 1000

    return batch_s


@cache
def batch_times_ms() -> dict[int, float]:
    """Measured milliseconds by batch."""
    return {row["batch"]: row["p50_ms"] for row in measured.bert_batches()}


def poisson(requests_per_s: int) -> list[float]:
    """The arrivals of the measurement, which used the rate as its seed; the last is the first after the end."""
    draw, now_s, times_s = random.Random(requests_per_s), 0.0, []
    while now_s < SECONDS:
        now_s += draw.expovariate(requests_per_s)
        times_s.append(now_s)
    return times_s


Row = tuple[measured.Row, Beside, Beside]


@cache
def open_loop_table() -> tuple[Row, ...]:
    """Each row of the measurement with the predicted p50 and p99, in ms; it takes some 2 s."""
    return tuple((row, *_beside(row)) for row in measured.open_loop())


def _beside(row: measured.Row) -> tuple[Beside, Beside]:
    run = open_loop(row["largest_batch"], row["requests_per_s"])
    p50, p99 = (1000 * (run.latency_s(share) or 0.0) for share in (0.5, 0.99))
    return Beside("p50_ms", p50, row["p50_ms"]), Beside("p99_ms", p99, row["p99_ms"])


def limit_per_s(largest_batch: int) -> float:
    """What the simulated server can do with full batches."""
    return 1000 * largest_batch / (batch_times_ms()[largest_batch] + HOST_MS)


def open_loop_errors() -> dict[str, list[float]]:
    """Errors of all p50 and p99, as shares: below 80 % of the server's limit, and above."""
    errors: dict[str, list[float]] = {"below 80 % of the limit": [], "above 80 %": []}
    for row, *figures in open_loop_table():
        busy = row["requests_per_s"] / limit_per_s(row["largest_batch"])
        errors["below 80 % of the limit" if busy < 0.8 else "above 80 %"] += [figure.error for figure in figures]
    return errors


# ------------------------------------------------------------------------------------------------------------ sharing


def alike(technique: str, clients: int, batch: int) -> Beside:
    """Latency with so many equal clients, predicted from one client alone, and under MPS from two."""
    client = side_by_side.Client(latency_ms(technique, 1, batch), fill(batch) if technique == "mps" else 1.0)
    predicted = model(technique)([client] * clients)[0]
    return Beside(f"{clients} clients, batch {batch}, {technique}", predicted, latency_ms(technique, clients, batch))


def latency_ms(technique: str, clients: int, batch: int) -> float:
    rows = [row for row in measured.sharing() if row["technique"] == technique]
    (row,) = [row for row in rows if (row["clients"], row["batch"]) == (clients, batch)]
    return float(row["p50_ms"])


def fill(batch: int) -> float:
    """The share of the GPU that a client fills, from two under MPS; a batch of 256 fills it."""
    if batch > 64:
        return 1.0
    return side_by_side.fill_of(latency_ms("mps", 1, batch), latency_ms("mps", 2, batch))


def model(technique: str) -> Callable[[Sequence[side_by_side.Client]], list[float]]:
    return side_by_side.side_by_side_ms if technique == "mps" else side_by_side.in_turns_ms


def beside_a_neighbour(technique: str, neighbours_batch: int) -> Beside:
    """Latency of a client with batches of 1 beside a busy one."""
    rows = {row["neighbours_batch"]: row for row in measured.neighbour() if row["technique"] == technique}
    small = side_by_side.Client(rows[0]["p50_ms"], fill(1))
    large = side_by_side.Client(batch_times_ms()[neighbours_batch], fill(neighbours_batch))
    predicted = model(technique)([small, large])[0]
    return Beside(f"beside batches of {neighbours_batch}, {technique}", predicted, rows[neighbours_batch]["p50_ms"])


def under_a_cap(thread_percent: int, batch: int) -> Beside:
    """Latency of a lonely client under a cap, predicted from one without a cap and from one at 12 %."""
    latencies = {(row["thread_percent"], row["batch"]): row["p50_ms"] for row in measured.mps_caps()}
    alone_ms = latencies[100, batch]
    work_ms = side_by_side.work_of(alone_ms, latencies[12, batch], 0.12)
    predicted = side_by_side.capped_ms(alone_ms, work_ms, thread_percent / 100)
    return Beside(f"cap of {thread_percent} %, batch {batch}", predicted, latencies[thread_percent, batch])


# -------------------------------------------------------------------------------------------- an H200 for an H100

BERT_SHARE = 0.110 / 8.03
"""The parameters of BERT as a share of the Llama's, and so the bytes of its weights and its operations a token."""

BERT_TOKENS = 128


def decoding_speed_up(batch: int, context_tokens: int) -> Beside:
    """How many times as fast an H200 decodes as an H100."""
    h100_ms, h200_ms = (decoding(card, batch, context_tokens)["step_ms"] for card in measured.CARDS)
    predicted = H100.step_ms(batch, batch * context_tokens) / H200.step_ms(batch, batch * context_tokens)
    return Beside(f"decoding, batch {batch}, context {context_tokens:,}", predicted, h100_ms / h200_ms)


def prefill_speed_up(tokens: int) -> Beside:
    """How many times as fast an H200 reads a prompt of so many tokens."""
    h100_s, h200_s = (decoding(card, 1, tokens)["prefill_one_s"] for card in measured.CARDS)
    return Beside(f"prefill of {tokens:,} tokens", H100.step_ms(tokens) / H200.step_ms(tokens), h100_s / h200_s)


def bert_speed_up(batch: int) -> Beside:
    """How many times as many requests an H200 answers."""
    h100_per_s, h200_per_s = (
        row["requests_per_s"] for card in measured.CARDS for row in measured.bert_batches(card) if row["batch"] == batch
    )
    tokens = batch * BERT_TOKENS
    predicted = of_bert(H100).step_ms(tokens) / of_bert(H200).step_ms(tokens)
    return Beside(f"BERT, batch {batch}", predicted, h200_per_s / h100_per_s)


def of_bert(step: StepTime) -> StepTime:
    """The two lines of the Llama in proportion to BERT's parameters; BERT has no cache to read."""
    return StepTime(
        step.weights_ms * BERT_SHARE,
        step.token_ms * BERT_SHARE,
        step.compute_ms * BERT_SHARE,
        step.compute_token_ms * BERT_SHARE,
        0,
    )


def decoding(card: str, batch: int, context_tokens: int) -> measured.Row:
    """The measured row of a card."""
    rows = {(row["batch"], row["context_tokens"]): row for row in measured.llm_decode(card)}
    return rows[batch, context_tokens]


def dollars_per_million(dollars_an_hour: float, per_s: float) -> float:
    """Dollars for a million tokens on a card that is never idle."""
    return dollars_an_hour / 3600 / per_s * 1e6
