"""What a computation gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Numbers(NamedTuple):
    """The number that a card asks for, and by their names those that its prose fills in."""

    answer: float
    named: Mapping[str, Any]
