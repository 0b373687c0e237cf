"""The loads of notebook 05, each played to an HPA pass by pass: a jump, noise, a real hour, a service on a GPU."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mlinfra.autoscaling import hpa
from mlinfra.course import data, race

REQUEST_MILLI, LIMIT_MILLI = 500, 1000
"""What a pod of the classifier requests, and the most that it can use."""

PASS_S = 15
JUMP_S, DROP_S = 120, 720
Demand = Callable[[float], float]
"""CPU in milli cores that the service needs at a time."""

Observe = Callable[[float, int], hpa.Observation]


def shared(demand_milli: Demand) -> Observe:
    """A cluster whose pods share a demand for CPU; each uses its limit at most."""

    def observe(now_s: float, replicas: int) -> hpa.Observation:
        pods = hpa.running_pods(replicas, cpu=f"{REQUEST_MILLI}m")
        used_milli = min(round(demand_milli(now_s)), replicas * LIMIT_MILLI)
        return hpa.Observation(replicas, pods, (hpa.evenly(used_milli, pods, now_s),))

    return observe


def at_percent(percent: int, replicas: int = 4) -> hpa.Observation:
    """Pods of the classifier that each use this percent of their request."""
    pods = hpa.running_pods(replicas, cpu=f"{REQUEST_MILLI}m")
    return hpa.Observation(replicas, pods, (hpa.evenly(replicas * REQUEST_MILLI * percent // 100, pods),))


def some_silent(percent: int, target: int = 50, heard: int = 3, silent: int = 1) -> hpa.Proposal | hpa.Failure:
    """What the cpu metric asks for when only the first pods report, each at this percent of its request."""
    pods = hpa.running_pods(heard + silent, cpu="500m")
    metric = hpa.Resource("cpu", hpa.Utilization(target))
    scaler = hpa.HorizontalPodAutoscaler("bert-classifier", race.DEPLOYMENT, 100, 1, (metric,))
    samples = hpa.evenly(heard * 5 * percent, pods[:heard])
    return hpa.reconcile(scaler, hpa.Observation(len(pods), pods, (samples,))).proposals[0]


def jump(cores: int) -> Demand:
    """One core, from minute 2 to minute 12 so many cores."""
    return lambda now_s: cores * 1000 if JUMP_S <= now_s < DROP_S else 1000


def noise(percent: float, cores: int = 4, seed: int = 7, passes: int = 241) -> Demand:
    """So many cores, give or take up to this percent, drawn anew for every pass of an hour."""
    draws = random.Random(seed)
    shares = [1 + draws.uniform(-percent, percent) / 100 for _ in range(passes)]
    return lambda now_s: cores * 1000 * shares[int(now_s // PASS_S)]


def damped(tolerance: str, window_s: int) -> hpa.HorizontalPodAutoscaler:
    """The classifier's HPA with this tolerance in both directions, and this window for the way down."""
    down = hpa.ScalingRules(tolerance=tolerance, stabilization_window_seconds=window_s)
    behavior = hpa.Behavior(hpa.ScalingRules(tolerance=tolerance), down)
    return race.scaler(hpa.Resource("cpu", hpa.Utilization(60)), behavior, least=2)


def noisy_hour(tolerance: str, window_s: int, percent: float = 15) -> list[hpa.Decision]:
    """An hour of four cores with noise, from the 14 pods that four cores need."""
    demand = shared(noise(percent))
    return hpa.simulate(damped(tolerance, window_s), demand, replicas=14, duration_s=3600)


def hour_of(counts: list[int]) -> Observe:
    """A cluster whose pods share the requests of a trace; each pod reports its rate over the last minute."""

    def observe(now_s: float, replicas: int) -> hpa.Observation:
        pods = hpa.running_pods(replicas)
        total_milli = int(1000 * data.rate_per_s(counts, now_s))
        return hpa.Observation(replicas, pods, (hpa.evenly(total_milli, pods, now_s),))

    return observe


@dataclass
class GPUService:
    """A model on GPUs: a request takes 1 s, a pod serves ten at once, and uses 30 % of its CPU request flat out.

    The rate is 15 requests/s, from minute 2 on 60. Work that does not fit waits.
    """

    waiting: list[tuple[float, float]] = field(default_factory=list)
    queue: float = 0.0
    served: float = 0.0

    def arrivals_per_s(self, now_s: float) -> int:
        return 15 if now_s < JUMP_S else 60

    def advance(self, now_s: float, replicas: int) -> None:
        """One sync period: what arrives and what waits is served as far as the pods go."""
        self.waiting.append((now_s, self.queue))
        work, capacity = self.queue + PASS_S * self.arrivals_per_s(now_s), PASS_S * 10 * replicas
        self.served = min(work, capacity)
        self.queue = work - self.served

    def by_cpu(self, now_s: float, replicas: int) -> hpa.Observation:
        """What an HPA on CPU reads: 150m of the 500m in a pod that is full."""
        self.advance(now_s, replicas)
        pods = hpa.running_pods(replicas, cpu=f"{REQUEST_MILLI}m")
        used_milli = int(150 * self.served / (PASS_S * 10))
        return hpa.Observation(replicas, pods, (hpa.evenly(used_milli, pods, now_s),))

    def by_in_flight(self, now_s: float, replicas: int) -> hpa.Observation:
        """What an HPA on requests in flight reads: those that wait, and by Little's law rate x 1 s in service."""
        self.advance(now_s, replicas)
        in_flight_milli = round(1000 * (self.queue + self.served / PASS_S))
        return hpa.Observation(replicas, hpa.running_pods(replicas), ([in_flight_milli],))


def scale_events(run: Sequence[hpa.Decision]) -> int:
    """Passes that changed the count."""
    return sum(decision.desired != decision.current for decision in run)


def pod_hours(run: Sequence[hpa.Decision]) -> float:
    """Pods times hours, until the last pass."""
    return sum(decision.desired for decision in run[:-1]) * PASS_S / 3600
