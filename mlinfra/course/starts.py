"""The measured start of a model server's process, part by part, beside a second batch."""

from __future__ import annotations

from statistics import median

from mlinfra.course import measured

PARTS = {
    "import torch": "import_torch_s",
    "CUDA context": "cuda_context_s",
    "read weights": "read_weights_s",
    "copy to the GPU": "to_gpu_s",
    "first batch": "first_batch_s",
}
"""What happens until the first answer, in this order, and the columns that measured it."""


def starts() -> dict[str, dict[str, float]]:
    """The parts of each measured start in seconds."""
    return {
        f"start {row['trial'] + 1}": {part: row[column] for part, column in PARTS.items()}
        for row in measured.cold_start()
    }


def first_answer_s() -> float:
    """The median of the measured starts, from the import to the first answer."""
    return median(sum(parts.values()) for parts in starts().values())


def table() -> str:
    """The least and the most seconds of each part, the rate of reading, and the first batch beside the second."""
    rows = measured.cold_start()
    megabytes = rows[0]["weights_bytes"] / 1e6
    rates = [megabytes / row["read_weights_s"] for row in rows]
    times = [row["first_batch_s"] / row["second_batch_s"] for row in rows]
    notes = {
        "read weights": (
            f"{megabytes:.0f} MB at {min(rates):.0f} to {max(rates):.0f} MB/s; at 2 GB/s: {megabytes / 2000:.2f} s"
        ),
        "first batch": f"{min(times):.0f} to {max(times):.0f} times the second",
    }
    lines = []
    for part, column in (PARTS | {"second batch": "second_batch_s"}).items():
        seconds = [row[column] for row in rows]
        line = f"{part:16} {min(seconds):6.3f} to {max(seconds):5.3f} s   {notes.get(part, '')}"
        lines.append(line.rstrip())
    return "\n".join(lines)
