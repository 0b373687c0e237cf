"""The autoscalers of the closed loop: each reads a snapshot and decides how many replicas there should be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mlinfra.admission import Count, Field, check, refuse
from mlinfra.admission.rules import real
from mlinfra.autoscaling import hpa, keda, knative


@dataclass(frozen=True)
class Snapshot:
    """One scrape: the counts at that time, and the arrival rate since the last scrape."""

    at_s: float
    ready: int
    queued: int
    in_service: int
    arrivals_per_s: float
    busy: float  # share of the ready slots

    @property
    def in_flight(self) -> int:
        return self.queued + self.in_service


Measure = Callable[[Snapshot], float]
"""The metric that an autoscaler reads from a snapshot."""


class Autoscaler(Protocol):
    """Anything that can decide how many replicas there should be."""

    interval_s: float

    def decide(self, now_s: float, snapshot: Snapshot, replicas: int) -> int:
        """The desired count from now on, from the newest snapshot that has come through and the count so far."""
        ...


@dataclass
class Every:
    """A timer that is due once a period, the first time at second 0."""

    period_s: float
    next_s: float = 0.0

    def due(self, now_s: float) -> bool:
        if now_s < self.next_s - 1e-9:
            return False
        self.next_s += self.period_s
        return True


@dataclass
class Fixed:
    """So many replicas, whatever happens."""

    replicas: Count
    interval_s: float = 60.0

    def __post_init__(self) -> None:
        check(self)

    def decide(self, now_s: float, snapshot: Snapshot, replicas: int) -> int:
        return self.replicas


@dataclass
class ByHPA:
    """An HPA whose metrics are read from the snapshot, by one measure each: amounts over all pods, cpu in cores."""

    scaler: hpa.HorizontalPodAutoscaler
    measure: Measure | Sequence[Measure]
    flags: hpa.ControllerFlags = field(default_factory=hpa.ControllerFlags)

    def __post_init__(self) -> None:
        check(self)
        self.interval_s: float = self.flags.sync_period_s
        self.decision: hpa.Decision | None = None
        self.measures = self.measure if isinstance(self.measure, Sequence) else (self.measure,)

    def decide(self, now_s: float, snapshot: Snapshot, replicas: int) -> int:
        observation = self.observe(now_s, snapshot, replicas)
        history = self.decision.history if self.decision else hpa.ScaleHistory()
        self.decision = hpa.reconcile(self.scaler, observation, history, now_s, self.flags)
        return self.decision.desired

    def observe(self, now_s: float, snapshot: Snapshot, replicas: int) -> hpa.Observation:
        """What the metrics APIs answer, with pods that request one core each."""
        pods = hpa.running_pods(snapshot.ready, cpu=1)
        pairs = zip(self.scaler.metrics, self.measures, strict=True)
        readings = [reading(metric, read(measure, snapshot), pods, now_s) for metric, measure in pairs]
        return hpa.Observation(replicas, pods, tuple(readings))


def reading(metric: hpa.Metric, amount: float, pods: Sequence[hpa.ObservedPod], now_s: float) -> hpa.Reading:
    """The amount in milli as the metric's API gives it: shared by the ready pods, one number, or a list of series."""
    amount_milli = round(1000 * amount)
    if isinstance(metric, hpa.Resource | hpa.Pods):
        return hpa.evenly(amount_milli, pods, now_s)
    return amount_milli if isinstance(metric, hpa.Object) else [amount_milli]


def read(measure: Measure, snapshot: Snapshot) -> float:
    """The metric's value; Invalid unless it is finite."""
    value = measure(snapshot)
    refuse("measure", real()(Field(value, f"measure at {snapshot.at_s:g} s")))
    return value


@dataclass
class ByKPA:
    """Knative's autoscaler over the requests in flight: it records every second and decides at every tick."""

    scaler: knative.KPA
    interval_s: float = knative.BUCKET_S

    def __post_init__(self) -> None:
        self.ticks, self.recorded_s = Every(knative.TICK_S), -math.inf

    def decide(self, now_s: float, snapshot: Snapshot, replicas: int) -> int:
        if snapshot.at_s > self.recorded_s:
            self.recorded_s = snapshot.at_s
            self.scaler.record(snapshot.at_s, snapshot.in_flight)
        if not self.ticks.due(now_s):
            return replicas
        return self.scaler.desired(snapshot.at_s, snapshot.ready).desired


@dataclass
class ByKEDA:
    """KEDA: its own poll scales between zero and one, and the HPA that it writes scales the rest."""

    scaled_object: keda.ScaledObject
    measure: Measure | Sequence[Measure]

    def __post_init__(self) -> None:
        check(self)
        self.hpa = ByHPA(self.scaled_object.hpa(), self.measure)
        self.polls, self.syncs = Every(self.scaled_object.polling_interval), Every(self.hpa.interval_s)
        self.interval_s: float = math.gcd(self.scaled_object.polling_interval, round(self.hpa.interval_s))
        self.last_active_s: float | None = None

    def decide(self, now_s: float, snapshot: Snapshot, replicas: int) -> int:
        active = self.scaled_object.active([read(measure, snapshot) for measure in self.hpa.measures])
        if active:
            self.last_active_s = now_s
        if self.polls.due(now_s):
            replicas = self.poll(now_s, active, replicas)
        if self.syncs.due(now_s) and replicas:
            replicas = self.hpa.decide(now_s, snapshot, replicas)
        return replicas

    def poll(self, now_s: float, active: bool, replicas: int) -> int:
        """Replicas after KEDA's own step."""
        age_s = None if self.last_active_s is None else now_s - self.last_active_s
        status = keda.Status(replicas, active, last_active_age_s=age_s, created_age_s=now_s)
        return keda.request_scale(self.scaled_object, status)
