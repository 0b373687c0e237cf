"""The decaying histogram, and its percentiles (`util/histogram.go`, `util/decaying_histogram.go`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY_S = 86_400
MAX_DECAY_EXPONENT = 100


@dataclass(frozen=True)
class Buckets:
    """Where the buckets of a histogram start: each is `ratio` times as wide as the last (1.0: all alike)."""

    first_size: float
    largest: float
    ratio: float = 1.05
    epsilon: float = 1e-4

    @property
    def count(self) -> int:
        return math.ceil(self.position(self.largest)) + 1

    def start(self, bucket: int) -> float:
        if self.ratio == 1:
            return bucket * self.first_size
        return self.first_size * (self.ratio**bucket - 1) / (self.ratio - 1)

    def find(self, value: float) -> int:
        """The bucket of a value; the first and the last take what lies beyond them."""
        if value < self.first_size:
            return 0
        return min(int(self.position(value)), self.count - 1)

    def position(self, value: float) -> float:
        """The inverse of `start`: how many buckets lie below a value."""
        if self.ratio == 1:
            return value / self.first_size
        return math.log(value * (self.ratio - 1) / self.first_size + 1) / math.log(self.ratio)


CPU_BUCKETS = Buckets(0.01, 1000.0)  # cores
MEMORY_BUCKETS = Buckets(1e7, 1e12)  # bytes


class Histogram:
    """Weights by bucket; with a half-life, a sample weighs half as much as one that is a half-life younger."""

    def __init__(self, buckets: Buckets, half_life_s: float | None = DAY_S) -> None:
        self.buckets, self.half_life_s = buckets, half_life_s
        self.weights: dict[int, float] = {}
        self.total = 0.0
        self.reference_s = -math.inf

    def add(self, value: float, weight: float, at_s: float) -> None:
        self.make_room_for(at_s)
        weight, bucket = weight * self.decay_factor(at_s), self.buckets.find(value)
        self.weights[bucket] = self.weights.get(bucket, 0.0) + weight
        self.total += weight

    def subtract(self, value: float, weight: float, at_s: float) -> None:
        """Take a sample back; a rest below epsilon counts as nothing."""
        self.make_room_for(at_s)
        weight, bucket = weight * self.decay_factor(at_s), self.buckets.find(value)
        self.weights[bucket] = self.zero_below_epsilon(self.weights.get(bucket, 0.0) - weight)
        self.total = self.zero_below_epsilon(self.total - weight)

    def zero_below_epsilon(self, weight: float) -> float:
        return weight if weight >= self.buckets.epsilon else 0.0

    def decay_factor(self, at_s: float) -> float:
        """2^(half-lives since the reference): younger samples weigh more, so that the old weights can stay."""
        if self.half_life_s is None:
            return 1.0
        return math.pow(2.0, (at_s - self.reference_s) / self.half_life_s)

    def make_room_for(self, at_s: float) -> None:
        """Shift the reference, which scales every weight, once a time is 100 half-lives beyond it."""
        if self.half_life_s is not None and at_s > self.reference_s + self.half_life_s * MAX_DECAY_EXPONENT:
            self.shift_reference(at_s, self.half_life_s)

    def shift_reference(self, at_s: float, half_life_s: float) -> None:
        """Move the reference to the half-life nearest to a time, before the weights outgrow a double."""
        reference_s = math.floor(at_s / half_life_s + 0.5) * half_life_s
        exponent = (self.reference_s - reference_s) / half_life_s
        self.weights = {bucket: weight * 2.0**exponent for bucket, weight in self.weights.items()}
        self.total, self.reference_s = self.total * 2.0**exponent, reference_s

    def merge(self, other: Histogram) -> None:
        """Add the other's weights, both counted from the younger reference."""
        if self.half_life_s is not None and self.reference_s != other.reference_s:
            older = min(self, other, key=lambda histogram: histogram.reference_s)
            older.shift_reference(max(self.reference_s, other.reference_s), self.half_life_s)
        for bucket, weight in other.weights.items():
            self.weights[bucket] = self.weights.get(bucket, 0.0) + weight
        self.total += other.total

    def filled_buckets(self) -> list[int]:
        """Buckets with a weight of epsilon or more, in order."""
        return sorted(bucket for bucket, weight in self.weights.items() if weight >= self.buckets.epsilon)

    def percentile(self, fraction: float) -> float:
        """End of the first bucket at which the running weight reaches the fraction of the total, the last filled one at
        most; the open-ended last bucket answers its start; 0 if empty."""
        buckets = self.filled_buckets()
        if not buckets:
            return 0.0
        running, bucket = 0.0, buckets[0]
        while bucket < buckets[-1]:
            running += self.weights.get(bucket, 0.0)
            if running >= fraction * self.total:
                break
            bucket += 1
        return self.buckets.start(min(bucket + 1, self.buckets.count - 1))
