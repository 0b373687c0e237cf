"""The averaging window: values by second (`pkg/autoscaler/aggregation/bucketing.go`)."""

from __future__ import annotations

import math

BUCKET_S = 1.0


class Window:
    """Values by second, averaged over the seconds since the first write, so that a new revision reacts at once."""

    def __init__(self, window_s: float, bucket_s: float = BUCKET_S) -> None:
        self.window_s, self.bucket_s = window_s, bucket_s
        self.count = math.ceil(window_s / bucket_s)
        self.values: dict[int, float] = {}
        self.first = self.last = 0

    def record(self, at_s: float, value: float) -> None:
        """Add to the second's bucket; what is older than the window is ignored, a gap of a window clears all."""
        bucket = math.floor(at_s / self.bucket_s)
        if not self.values or (bucket - self.last) * self.bucket_s >= self.window_s:
            self.values, self.first, self.last = {}, bucket, bucket
        elif bucket * self.bucket_s + self.window_s <= self.last * self.bucket_s:
            return
        for expired in range(self.last - self.count + 1, bucket - self.count + 1):
            self.values.pop(expired, None)
        self.first, self.last = min(self.first, bucket), max(self.last, bucket)
        self.values[bucket] = self.values.get(bucket, 0.0) + value

    def average(self, at_s: float) -> float:
        """Mean over the buckets that can hold something; 0 after a window without writes."""
        idle = max(0, math.floor(at_s / self.bucket_s) - self.last)
        if not self.values or idle * self.bucket_s >= self.window_s:
            return 0.0
        oldest = self.last + idle - self.count + 1
        total = sum(value for bucket, value in self.values.items() if bucket >= oldest)
        return round(total / min(self.last - self.first + 1, self.count - idle), 6)
