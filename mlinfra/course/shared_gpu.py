"""Tables and pictures of one H100 that several clients share: measured, and what two lines of a model say."""

from __future__ import annotations

from collections.abc import Sequence

from mlinfra import study
from mlinfra.course import measured, predicted
from mlinfra.study.text import Text
from mlinfra.tables import markdown_table

TECHNIQUES = ("time-slicing", "mps")
CAPPED = "mps, 1/n of the threads each"
LABELS = {"time-slicing": "time-slicing", "mps": "MPS", CAPPED: "MPS, 1/n of the threads each"}
CLIENTS = (1, 2, 4, 8)


def throughput(technique: str, clients: int, batch: int) -> float:
    """Answers a second of all clients together, as measured."""
    rows = [row for row in measured.sharing() if row["technique"] == technique]
    (row,) = [row for row in rows if (row["clients"], row["batch"]) == (clients, batch)]
    return float(row["requests_per_s_in_all"])


def together(batches: Sequence[int] = (1, 64)) -> Text:
    """Answers a second of all clients, by technique and batch, and GPU-Util of one."""
    rows: list[list[object]] = []
    for batch in batches:
        for technique in (*TECHNIQUES, CAPPED):
            answers = [f"{throughput(technique, clients, batch):,.0f}" for clients in CLIENTS]
            rows.append(
                [f"{LABELS[technique]}, batches of {batch}", *answers, f"{utilization(technique, batch):.0f} %"]
            )
    head = ["answers a second", "1 client", *(f"{clients} clients" for clients in CLIENTS[1:]), "GPU-Util of one"]
    return Text(markdown_table(head, rows))


def utilization(technique: str, batch: int) -> float:
    """GPU-Util in percent with one client."""
    rows = [row for row in measured.sharing() if (row["technique"], row["batch"]) == (technique, batch)]
    return float(next(row["utilization_percent"] for row in rows if row["clients"] == 1))


def picture(batch: int = 1) -> study.Figure:
    """What all clients get together, measured and by the model."""
    lines = {}
    for technique in TECHNIQUES:
        lines[LABELS[technique]] = [(clients, throughput(technique, clients, batch)) for clients in CLIENTS]
        lines[f"{LABELS[technique]}, model"] = [
            (clients, 1000 * clients * batch / _latency_ms(technique, clients, batch)) for clients in CLIENTS
        ]
    ends = ", ".join(f"{name} {points[-1][1]:,.0f}" for name, points in lines.items())
    return study.steps(
        "Clients on one H100",
        f"Eight clients with batches of {batch} get together, in answers a second: {ends}.",
        study.Row("answers a second, all clients", lines, steps=False, height=200),
        x_label="clients",
    )


def _latency_ms(technique: str, clients: int, batch: int) -> float:
    if clients == 1:
        return predicted.latency_ms(technique, 1, batch)
    return predicted.alike(technique, clients, batch).predicted


def neighbours(batches: Sequence[int] = (8, 64, 256)) -> Text:
    """What a client with batches of 1 waits for its answer beside a busy one, in ms."""
    rows = []
    for technique in TECHNIQUES:
        pairs = [predicted.beside_a_neighbour(technique, batch) for batch in batches]
        alone = next(row for row in measured.neighbour() if row["technique"] == technique)
        cells = [f"{pair.measured:.2f} ({pair.predicted:.2f})" for pair in pairs]
        rows.append([LABELS[technique], f"{alone['p50_ms']:.2f}", *cells])
    return Text(
        markdown_table(["p50 in ms (model)", "alone", *(f"beside batches of {batch}" for batch in batches)], rows)
    )


def caps(batches: Sequence[int] = (1, 64)) -> Text:
    """What a lonely client loses when it may use a part of the threads."""
    rows = []
    full = {row["batch"]: row["requests_per_s"] for row in measured.mps_caps() if row["thread_percent"] == 100}
    for batch in batches:
        own = [row for row in measured.mps_caps() if row["batch"] == batch and row["thread_percent"] < 100]
        rows.append(
            [f"batches of {batch}", *(f"-{100 - 100 * row['requests_per_s'] / full[batch]:.0f} %" for row in own)]
        )
    return Text(markdown_table(["answers a second, alone", "cap 50 %", "cap 25 %", "cap 12 %"], rows))


def memory() -> Text:
    """Who gets memory that the first process does not hold, and what a process takes before it has a tensor."""
    context_mib = measured.cold_start()[0]["context_mib"]
    lines = [
        f"A process takes {context_mib:,.0f} MiB before its first tensor: eight take {8 * context_mib / 1024:.1f} GiB.",
        *(_memory_row(row) for row in measured.memory_without_limit()),
    ]
    return Text("\n".join(f"- {line}" for line in lines))


def _memory_row(row: measured.Row) -> str:
    outcome = "gets it" if row["got_it"] else f"`{row['error']}`"
    return f"{row['first_client_gib']} GiB are held, a second process asks for {row['second_client_gib']}: {outcome}"
