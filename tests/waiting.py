"""Waiting for what must happen, with a limit that only a hang reaches."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG_S = 1_800.0
"""Half an hour: nothing that a test waits for takes as long, however busy the machine is."""


def until(what: str, condition: Callable[[], bool], state: Callable[[], object] = lambda: "nothing") -> None:
    """Return once the condition holds; TimeoutError says what was waited for, and what there was instead."""
    limit, pause_s = time.monotonic() + HANG_S, 0.05
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited {HANG_S:g} s for {what}; instead there was {state()}")
        time.sleep(pause_s)
        pause_s = min(1.0, 1.2 * pause_s)
