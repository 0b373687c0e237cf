"""What a command answers: text for people, data for programs, and an exit code; and how it reads and writes files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlinfra.manifest import Manifest, load
from mlinfra.tables import columns

FINE, REFUSED, USAGE = 0, 1, 2


class UsageError(ValueError):
    """A call that cannot be answered: a wrong flag, or a file that cannot be read."""


@dataclass(frozen=True)
class Report:
    """The answer; `code` is 0, or 1 where something is refused or does not fit."""

    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    code: int = FINE

    def json(self) -> str:
        """The data; JSON has no infinity, and null takes its place."""
        return json.dumps(_finite(self.data), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------------------------------------- files


def read(path: str) -> list[Manifest]:
    """The objects of a file, or of the standard input for `-`; UsageError in one sentence."""
    try:
        return load(sys.stdin.buffer if path == "-" else path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def read_one(path: str, kind: str) -> Manifest:
    """The one object of this kind in a file."""
    matching = of_kind(read(path), kind)
    if len(matching) != 1:
        raise UsageError(f"{path}: must hold one {kind}, and holds {len(matching)}")
    return matching[0]


def of_kind(objects: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    return [obj for obj in objects if obj.get("kind") in kinds]


def write(path: str, text: str) -> None:
    """The text into a file; UsageError in one sentence."""
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


# ---------------------------------------------------------------------------------------------------------------- text


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their longest cell, as kubectl prints them; a short row ends with empty ones."""
    cells = [[*map(str, row), *[""] * (len(head) - len(row))] for row in (head, *rows)]
    return "\n".join(columns(cells))


def bullets(title: str, lines: Sequence[str]) -> str:
    """A titled list; empty without lines."""
    return "\n".join([title, *(f"  - {line}" for line in lines)]) if lines else ""


def paragraphs(*parts: str) -> str:
    """The parts that say something, with an empty line between them."""
    return "\n\n".join(part for part in parts if part)
