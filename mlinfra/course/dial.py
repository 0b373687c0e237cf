"""Tables of notebook 05 on measured GPUs: what the dials of one H100 showed, and an H200 beside it."""

from __future__ import annotations

from mlinfra.course import measured, predicted
from mlinfra.study.text import Text
from mlinfra.tables import markdown_table

DIALS = ("what runs", "batch", "requests/s", "p50, ms", "GPU-Util, %", "memory dial, %", "power, W")


def batches_table() -> Text:
    """BERT on one H100 by batch, and below it the two other ways to run it, one batch each."""
    graph = [("bfloat16", row) for row in measured.bert_batches()]
    exact = [("float32", row) for row in measured.bert_batches(dtype="float32") if row["batch"] == 16]
    eager = [("plain PyTorch", row) for row in measured.bert_batches(launch="eager") if row["batch"] == 64]
    return Text(markdown_table(DIALS, [dials(name, row) for name, row in (*graph, *exact, *eager)]))


def dials(name: str, row: measured.Row) -> list[object]:
    shown = [row[dial] for dial in ("p50_ms", "utilization_percent", "memory_utilization_percent", "power_w")]
    return [name, row["batch"], f"{row['requests_per_s']:,.0f}", *shown]


def speed_ups() -> list[predicted.Beside]:
    """What an H200 makes faster, from the roofline and as measured."""
    decoding = [(1, 512), (64, 512), (256, 512), (128, 2048), (32, 8192)]
    return [
        *(predicted.decoding_speed_up(batch, context) for batch, context in decoding),
        predicted.prefill_speed_up(2048),
        predicted.prefill_speed_up(8192),
        predicted.bert_speed_up(1),
        predicted.bert_speed_up(64),
    ]


def speed_ups_table() -> Text:
    """Times as fast as on an H100."""
    rows = [(each.what, f"{each.predicted:.2f}", f"{each.measured:.2f}", f"{each.error:+.0%}") for each in speed_ups()]
    return Text(markdown_table(("on an H200 instead of an H100", "roofline", "measured", "error"), rows))
