"""What a command answers: text for people, data for programs, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlinfra.manifest import Manifest, load, unused_fields

FINE, REFUSED, USAGE = 0, 1, 2


class UsageError(ValueError):
    """A call that cannot be answered: a wrong flag, or a file that cannot be read."""


@dataclass(frozen=True)
class Report:
    """The answer; `code` is 0, or 1 where something is refused or does not fit."""

    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    code: int = FINE


def read(path: str) -> list[Manifest]:
    """The objects of a file, or of the standard input for `-`; UsageError in one sentence."""
    try:
        return load(sys.stdin.buffer if path == "-" else path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None


def read_one(path: str, *kinds: str) -> Manifest:
    """The one object of these kinds in a file."""
    matching = [obj for obj in read(path) if obj.get("kind") in kinds]
    if len(matching) != 1:
        raise UsageError(f"{path}: must hold one {' or '.join(kinds)}, and holds {len(matching)}")
    return matching[0]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their longest cell, as kubectl prints them."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def not_used(obj: Manifest, kept: Manifest) -> list[str]:
    """Fields of the object that the simulator does not read, as far as they are not the server's defaults."""
    return unused_fields(obj, kept)


def bullets(title: str, lines: Sequence[str]) -> str:
    """A titled list; empty without lines."""
    return "\n".join([title, *(f"  - {line}" for line in lines)]) if lines else ""


def paragraphs(*parts: str) -> str:
    """The parts that say something, with an empty line between them."""
    return "\n\n".join(part for part in parts if part)
