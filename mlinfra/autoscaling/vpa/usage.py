"""From samples to histograms: every cpu sample, and one memory peak a window.

Follows `model/{container,aggregate_container_state}.go`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from mlinfra.admission import AtLeastOne, Count, NotNegative, Share, check
from mlinfra.admission.rules import real, whole
from mlinfra.autoscaling.vpa.amounts import scale
from mlinfra.autoscaling.vpa.histogram import CPU_BUCKETS, DAY_S, MEMORY_BUCKETS, Histogram

Seconds = Annotated[float, real(1)]


@dataclass(frozen=True)
class RecommenderFlags:
    """Flags of the recommender, with their defaults."""

    target_cpu_percentile: Share = 0.9
    lower_bound_cpu_percentile: Share = 0.5
    upper_bound_cpu_percentile: Share = 0.95
    target_memory_percentile: Share = 0.9
    lower_bound_memory_percentile: Share = 0.5
    upper_bound_memory_percentile: Share = 0.95
    safety_margin_fraction: NotNegative = 0.15
    pod_min_cpu_milli: Count = 25
    pod_min_memory_mib: Count = 250
    confidence_interval_s: Seconds = DAY_S
    histogram_half_life_s: Seconds = DAY_S
    memory_aggregation_interval_s: Seconds = DAY_S
    memory_aggregation_interval_count: AtLeastOne = 8
    oom_bump_up_ratio: Annotated[float, real(1)] = 1.2
    oom_min_bump_up_bytes: Annotated[int, whole(0, 2**63 - 1)] = 100 * 2**20
    cpu_sample_weight: NotNegative = 0.1
    memory_sample_weight: NotNegative = 1.0

    def __post_init__(self) -> None:
        check(self)


class AggregateContainerState:
    """What is known of one container's usage over all its pods."""

    def __init__(self, flags: RecommenderFlags = RecommenderFlags()) -> None:
        self.flags = flags
        self.cpu = Histogram(CPU_BUCKETS, flags.histogram_half_life_s)
        self.memory_peaks = Histogram(MEMORY_BUCKETS, flags.histogram_half_life_s)
        self.cpu_samples = 0
        self.first_s, self.last_s = math.inf, -math.inf

    def add_cpu(self, milli: int, at_s: float) -> None:
        self.cpu.add(milli / 1000, self.flags.cpu_sample_weight, at_s)
        self.cpu_samples += 1
        self.first_s, self.last_s = min(self.first_s, at_s), max(self.last_s, at_s)

    def add_peak(self, peak_bytes: int, at_s: float) -> None:
        self.memory_peaks.add(peak_bytes, self.flags.memory_sample_weight, at_s)

    def subtract_peak(self, peak_bytes: int, at_s: float) -> None:
        self.memory_peaks.subtract(peak_bytes, self.flags.memory_sample_weight, at_s)

    def expired(self, now_s: float) -> bool:
        """Whether the recommender forgets it: no cpu sample for as long as the memory windows reach back."""
        retention_s = self.flags.memory_aggregation_interval_s * self.flags.memory_aggregation_interval_count
        return now_s - self.last_s >= retention_s

    @property
    def confidence(self) -> float:
        """Intervals (of a day) that the cpu samples span, or fill at one a minute, whichever is less; memory's too."""
        if not self.cpu_samples:
            return 0.0
        interval_s = self.flags.confidence_interval_s
        return min((self.last_s - self.first_s) / interval_s, self.cpu_samples / (interval_s / 60))


@dataclass
class ContainerState:
    """One container of one pod: it passes cpu samples on to the aggregate, and one memory peak a window."""

    aggregate: AggregateContainerState
    last_cpu_s: float = -math.inf
    last_memory_s: float = -math.inf
    window_end_s: float | None = None
    memory_peak: int = 0
    oom_peak: int = 0

    def add_cpu(self, milli: int, at_s: float) -> bool:
        """False for a sample that is negative, or no later than the last one."""
        if milli < 0 or at_s <= self.last_cpu_s:
            return False
        self.aggregate.add_cpu(milli, at_s)
        self.last_cpu_s = at_s
        return True

    def add_memory(self, usage_bytes: int, at_s: float) -> bool:
        """False for a sample that is negative, or earlier than the last one."""
        if usage_bytes < 0 or at_s < self.last_memory_s:
            return False
        self.note_peak(usage_bytes, at_s)
        return True

    def add_oom(self, request_bytes: int, at_s: float) -> bool:
        """An out-of-memory kill is a peak above the larger of request and usage; False for one before the window."""
        flags = self.aggregate.flags
        if self.window_end_s is not None and at_s < self.window_end_s - flags.memory_aggregation_interval_s:
            return False
        usage = max(request_bytes, self.memory_peak)  # not the last OOM's: repeats must not run away
        peak = max(usage + flags.oom_min_bump_up_bytes, scale(usage, flags.oom_bump_up_ratio))
        self.note_peak(peak, at_s, oom=True)
        return True

    def note_peak(self, peak_bytes: int, at_s: float, oom: bool = False) -> None:
        """Count it as its window's peak, dated at the window's end, if it is the first or above the peak so far."""
        self.last_memory_s = at_s  # an OOM may set it back, as upstream
        if self.window_end_s is None or at_s >= self.window_end_s:
            self.window_end_s = self.next_window_end_s(at_s)
            self.memory_peak = self.oom_peak = 0
        else:
            peak_so_far = max(self.memory_peak, self.oom_peak)
            if peak_so_far == 0 or peak_bytes <= peak_so_far:  # upstream: a window that opens with 0 stays at 0
                return
            self.aggregate.subtract_peak(peak_so_far, self.window_end_s)
        self.aggregate.add_peak(peak_bytes, self.window_end_s)
        if oom:
            self.oom_peak = peak_bytes
        else:
            self.memory_peak = peak_bytes

    def next_window_end_s(self, at_s: float) -> float:
        """End of the window that a sample opens; the first window starts with the first sample."""
        interval_s = self.aggregate.flags.memory_aggregation_interval_s
        end_s = at_s if self.window_end_s is None else self.window_end_s
        return end_s + (at_s - end_s) // interval_s * interval_s + interval_s
