from __future__ import annotations

from typing import NamedTuple

from mlinfra.gpu.nodes.flags import AutoscalerFlags


class Backoff(NamedTuple):
    """How long a pool is left alone after nodes that did not come."""

    duration_s: float = 0.0
    until_s: float = 0.0
    last_failure_s: float = 0.0

    def failed(self, now_s: float, flags: AutoscalerFlags) -> Backoff:
        """After one more failure: twice as long as last time; a failure while backed off starts over."""
        again = self.duration_s > 0 and self.until_s < now_s
        duration_s = min(2 * self.duration_s, flags.max_backoff_s) if again else flags.initial_backoff_s
        return Backoff(duration_s, now_s + duration_s, now_s)

    def active(self, now_s: float) -> bool:
        return self.until_s > now_s

    def forgotten(self, now_s: float, flags: AutoscalerFlags) -> Backoff:
        """Without a failure for long, the next one starts from the beginning."""
        return Backoff() if self.last_failure_s + flags.backoff_reset_s < now_s else self
