"""How long one step of a language model takes: a roofline in two lines.

Fitted to 57 measured steps of an 8B model (Llama 3's shape, bfloat16) on one H100; worst error 8 %. A step reads all
weights and computes every scheduled token, and the longer of the two counts; decoding requests also read their cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlinfra.admission import NotNegative, check


@dataclass(frozen=True)
class StepTime:
    """Milliseconds: reading 16.06 GB of weights (2.4 TB/s), 16.06 billion operations a token (618 TFLOP/s), 131,072
    bytes of KV cache a context token (2.9 TB/s)."""

    weights_ms: NotNegative = 6.6
    token_ms: NotNegative = 0.012
    compute_ms: NotNegative = 2.0
    compute_token_ms: NotNegative = 0.026
    context_token_ms: NotNegative = 0.000045

    def __post_init__(self) -> None:
        check(self)

    def step_ms(self, tokens: int, context_tokens: int = 0) -> float:
        """One step that computes so many tokens, and reads so many of context for the requests that decode."""
        reading_ms = self.weights_ms + self.token_ms * tokens
        computing_ms = self.compute_ms + self.compute_token_ms * tokens
        return max(reading_ms, computing_ms) + self.context_token_ms * context_tokens

    def with_bandwidth(self, factor: float) -> StepTime:
        """The same arithmetic with memory so many times as fast: an H200 has 1.43 times that of an H100."""
        return replace(self, weights_ms=self.weights_ms / factor, context_token_ms=self.context_token_ms / factor)


H100 = StepTime()
H200 = H100.with_bandwidth(4.8 / 3.35)
