"""What one H100 and one H200 did, measured by this project on 26 November 2026.

The cards: NVIDIA H100 80GB HBM3 and NVIDIA H200 (143,771 MiB), both SXM with 132 multiprocessors and 700 W, driver
580.159.04, torch 2.11.0, MIG off. By the data sheets the memory of the H200 is 1.43 times as fast, 4.8 against 3.35
TB/s; the arithmetic is the same. Weights are random, for speed does not depend on their values. One run each:
differences of a few per cent say nothing. Percentiles are by nearest rank. `utilization_percent` is what nvidia-smi
calls GPU-Util, the share of the time in which any kernel ran, over the last two thirds of a run.

"BERT" is an encoder of BERT-base's size (12 layers, 110 million parameters) with a head of two classes, on 128 tokens.
"Llama" has the shape of Llama 3 8B (8.03 billion parameters) in bfloat16.
"""

from __future__ import annotations

from typing import Any

from mlinfra.tables import table

CARDS = ("h100", "h200")
BOTH = ("bert_batches", "llm_decode", "llm_mixed_step")
"""The tables that both cards have."""

Row = dict[str, Any]


def bert_batches(card: str = "h100", launch: str = "graph", dtype: str = "bfloat16") -> list[Row]:
    """BERT in a closed loop with one client, by batch: latency in ms, requests a second, GPU-Util, watts.

    `launch` "graph" replays one CUDA graph, so that the host does not set the pace; "eager" is plain PyTorch.
    """
    return [row for row in rows("bert_batches", card) if (row["launch"], row["dtype"]) == (launch, dtype)]


def open_loop() -> list[Row]:
    """Poisson arrivals for 3 s to one BERT server that takes all that wait, up to `largest_batch`.

    Batches are padded to a power of 2. Latencies include waiting; `kept_up` is False where the run was stopped after
    5 s with requests left.
    """
    return rows("open_loop")


def sharing() -> list[Row]:
    """1 to 8 processes on one GPU, each in a closed loop: time-slicing (the driver's default), MPS, MPS with caps."""
    return rows("sharing")


def mps_caps() -> list[Row]:
    """One MPS client alone, with CUDA_MPS_ACTIVE_THREAD_PERCENTAGE set."""
    return rows("mps_caps")


def neighbour() -> list[Row]:
    """A client with batches of 1 beside a busy one with batches of 8, 64 or 256 (0: alone)."""
    return rows("neighbour")


def memory_without_limit() -> list[Row]:
    """A first process holds 60 GiB and a second asks for more, under time-slicing: who gets it, and the error."""
    return rows("memory_without_limit")


def cold_start() -> list[Row]:
    """A new process in seconds, part by part, until its second batch of 8; `context_mib` is the memory that it takes
    before it has a tensor."""
    return rows("cold_start")


def llm_decode(card: str = "h100") -> list[Row]:
    """Llama: prefill of one prompt, and one decoding step by batch and context length, in one CUDA graph.

    `kv_cache_bytes` are those of the whole batch.
    """
    return rows("llm_decode", card)


def llm_mixed_step(card: str = "h100") -> list[Row]:
    """Llama: one step that decodes for n requests, with 2,048 tokens of context each, and prefills a chunk."""
    return rows("llm_mixed_step", card)


def rows(name: str, card: str = "h100") -> list[Row]:
    """The rows of a table with numbers as numbers; ValueError for a card that was not measured so."""
    if card not in CARDS or (card != "h100" and name not in BOTH):
        raise ValueError(f'card: "{card}": must be one of {", ".join(CARDS if name in BOTH else CARDS[:1])}')
    return [{key: value(text) for key, text in row.items()} for row in table("mlinfra.course", f"{card}_{name}")]


def value(text: str) -> Any:
    """A number, True or False, or the text itself."""
    if text in ("True", "False"):
        return text == "True"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
