"""The Deployment controller's rolling update, with GPUs that must be free before a pod can start.

Follows Kubernetes 1.37 `pkg/controller/deployment/{rolling,progress,sync}.go` and `util/deployment_util.go`:
fenceposts, the scaling of new and old ReplicaSets, the deadline that stops nothing. Pods that drain count in no
ReplicaSet and keep their GPU until they are gone. Left out: pods that crash, budgets; times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Annotated

from mlinfra.admission import AtLeastOne, NotNegative, accepted, check
from mlinfra.admission.common import at_most_all, percent_or_count
from mlinfra.admission.nouns.helm import only_rolling
from mlinfra.admission.rules import real
from mlinfra.manifest import Manifest
from mlinfra.simulation import Event, Simulation


@dataclass(frozen=True)
class Rollout:
    """The replacement of every replica, each of which takes `start_s` until it is available and `drain_s` to go.

    `gpus` is all that the service may hold, a GPU per replica; by default there are always some free.
    """

    replicas: AtLeastOne
    max_surge: Annotated[int | str, percent_or_count] = "25%"
    max_unavailable: Annotated[int | str, percent_or_count, at_most_all] = "25%"
    start_s: NotNegative = 172.0
    drain_s: NotNegative = 0.0
    gpus: Annotated[float, real(0, infinite=True)] = math.inf
    progress_deadline_s: NotNegative = 600.0
    name: str = "bert"

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, deployment: Manifest, start_s: float = 172.0, drain_s: float = 0.0, gpus: float = math.inf) -> Rollout:
        """The rollout of a Deployment's next version; a pod is available `minReadySeconds` after its start."""
        obj = accepted("Deployment", deployment, only_rolling)
        spec = obj["spec"]
        rolling_update = spec.get("strategy", {}).get("rollingUpdate", {})
        return cls(
            spec.get("replicas", 1),
            rolling_update.get("maxSurge", "25%"),
            rolling_update.get("maxUnavailable", "25%"),
            start_s + spec.get("minReadySeconds", 0),
            drain_s,
            gpus,
            spec.get("progressDeadlineSeconds", 600),
            obj["metadata"].get("name", ""),
        )

    def fenceposts(self) -> tuple[int, int]:
        """Pods above and below the count: shares of surge are rounded up, of unavailability down; never both 0."""
        surge = math.ceil(_pods(self.max_surge, self.replicas))
        unavailable = min(math.floor(_pods(self.max_unavailable, self.replicas)), self.replicas)
        return (surge, unavailable) if surge or unavailable else (0, 1)

    def simulate(self) -> RolloutSimulation:
        """What happens until the rollout is complete or nothing is to come, and then the ends of the last drains."""
        pods = RolloutPods(old=self.replicas)
        moments = [settle(self, pods)]
        while not pods.complete(self) and pods.coming_s():
            pods.now_s = min(pods.coming_s())
            moments.append(settle(self, pods))
        return recorded(self, pods, moments)


def _pods(count_or_share: int | str, replicas: int) -> Fraction:
    if isinstance(count_or_share, int):
        return Fraction(count_or_share)
    return Fraction(int(count_or_share.rstrip("%")), 100) * replicas


# ---------------------------------------------------------------------------------------------------- one pass


def settle(rollout: Rollout, pods: RolloutPods) -> Moment:
    """The moment after syncs of the controller and bindings of the scheduler, until neither changes anything."""
    pods.draining_until_s = [until_s for until_s in pods.draining_until_s if until_s > pods.now_s]
    while rollout_rolling(rollout, pods) or bind(rollout, pods):
        pass
    return pods.moment()


def rollout_rolling(rollout: Rollout, pods: RolloutPods) -> bool:
    """One pass: scale up if possible, or else down; returns whether anything was scaled."""
    new = reconcile_new_replica_set(rollout, pods)
    if new > len(pods.new):
        pods.scale_up(rollout, new)
        return True
    old = reconcile_old_replica_sets(rollout, pods)
    if old < pods.old:
        pods.scale_down(rollout, old)
        return True
    return False


def reconcile_new_replica_set(rollout: Rollout, pods: RolloutPods) -> int:
    """The size of the new ReplicaSet: as many more as the surge leaves room for."""
    surge, _ = rollout.fenceposts()
    current_pod_count = pods.old + len(pods.new)
    max_total_pods = rollout.replicas + surge
    if current_pod_count >= max_total_pods:
        return len(pods.new)
    return min(len(pods.new) + max_total_pods - current_pod_count, rollout.replicas)


def reconcile_old_replica_sets(rollout: Rollout, pods: RolloutPods) -> int:
    """The size of the old ReplicaSet: old pods go while enough pods stay available."""
    _, unavailable = rollout.fenceposts()
    min_available = rollout.replicas - unavailable
    total_scale_down_count = pods.old + pods.available() - min_available
    if total_scale_down_count <= 0:
        return pods.old
    return max(0, pods.old - total_scale_down_count)


def bind(rollout: Rollout, pods: RolloutPods) -> bool:
    """The scheduler: a pending pod takes a GPU that nobody holds. Whether there were both."""
    pending = [pod for pod in pods.new if pod.available_s is None]
    gpus = pods.old + len(pods.new) - len(pending) + len(pods.draining_until_s)
    if not pending or gpus >= rollout.gpus:
        return False
    pending[0].available_s = pods.now_s + rollout.start_s
    return True


@dataclass
class NewPod:
    """A pod of the new version; without a GPU it is pending, and available at no time."""

    created_s: float
    available_s: float | None = None


@dataclass
class RolloutPods:
    """The pods at a time: old ones, which serve, new ones, and those that drain."""

    old: int
    new: list[NewPod] = field(default_factory=list)
    draining_until_s: list[float] = field(default_factory=list)
    now_s: float = 0.0
    events: list[Event] = field(default_factory=list)

    def available(self) -> int:
        """How many of the new ones serve."""
        return sum(pod.available_s is not None and pod.available_s <= self.now_s for pod in self.new)

    def complete(self, rollout: Rollout) -> bool:
        return self.old == 0 and self.available() == rollout.replicas

    def coming_s(self) -> list[float]:
        """When something will happen: a new pod serves, or a draining one is gone."""
        times_s = [pod.available_s for pod in self.new if pod.available_s is not None] + self.draining_until_s
        return [at_s for at_s in times_s if at_s > self.now_s]

    def scale_up(self, rollout: Rollout, replicas: int) -> None:
        self._scaled(rollout, f"up replica set {rollout.name}-new from {len(self.new)} to {replicas}")
        self.new += [NewPod(self.now_s) for _ in range(replicas - len(self.new))]

    def scale_down(self, rollout: Rollout, replicas: int) -> None:
        self._scaled(rollout, f"down replica set {rollout.name}-old from {self.old} to {replicas}")
        if rollout.drain_s:
            self.draining_until_s += [self.now_s + rollout.drain_s] * (self.old - replicas)
        self.old = replicas

    def _scaled(self, rollout: Rollout, change: str) -> None:
        self.events.append(Event(self.now_s, "ScalingReplicaSet", f"deployment/{rollout.name}", f"Scaled {change}"))

    def moment(self) -> Moment:
        available, pending = self.available(), sum(pod.available_s is None for pod in self.new)
        starting = len(self.new) - available - pending
        return Moment(self.now_s, self.old, available, starting, pending, len(self.draining_until_s))


# ---------------------------------------------------------------------------------------------------- the result


@dataclass(frozen=True)
class Moment:
    """How many pods are what, from this time on: `new` are new ones that are available; a pending one has no GPU."""

    at_s: float
    old: int
    new: int
    starting: int
    pending: int
    draining: int

    @property
    def serving(self) -> int:
        return self.old + self.new

    @property
    def gpus(self) -> int:
        return self.serving + self.starting + self.draining

    def progress(self) -> tuple[int, int, int]:
        """What progress.go compares: old pods, new ones, and those that serve; here every change is progress."""
        return self.old, self.new + self.starting + self.pending, self.serving


@dataclass(frozen=True)
class RolloutSimulation(Simulation):
    """The moments of a rollout; `done_s` is None when it is stuck, `late_s` when no deadline passed.

    `late_s` may lie after the last moment. Latencies are those of the new pods, from their creation until they serve;
    events are the Deployment's.
    """

    moments: Sequence[Moment]
    done_s: float | None
    late_s: float | None

    @property
    def peak_gpus(self) -> int:
        return max(moment.gpus for moment in self.moments)

    @property
    def fewest_serving(self) -> int:
        return min(moment.serving for moment in self.moments)

    def gpu_hours(self) -> float:
        """What all pods held, from the start until the last moment."""
        return sum((after.at_s - before.at_s) * before.gpus for before, after in pairwise(self.moments)) / 3600


def recorded(rollout: Rollout, pods: RolloutPods, moments: Sequence[Moment]) -> RolloutSimulation:
    """The simulation, with the moments at which the last pods are gone, and what became of the Deployment."""
    complete = pods.complete(rollout)
    late_s = _deadline_exceeded_s(moments, rollout.progress_deadline_s, complete)
    events = list(pods.events)
    replica_set, about = f'ReplicaSet "{rollout.name}-new"', f"deployment/{rollout.name}"
    if late_s is not None:
        events.append(Event(late_s, "ProgressDeadlineExceeded", about, f"{replica_set} has timed out progressing."))
    if complete:
        events.append(Event(pods.now_s, "NewReplicaSetAvailable", about, f"{replica_set} has successfully progressed."))
    ends = [
        Moment(at_s, 0, len(pods.new), 0, 0, sum(until_s > at_s for until_s in pods.draining_until_s))
        for at_s in (sorted({*pods.draining_until_s}) if complete else ())
    ]
    return RolloutSimulation(
        (*moments, *ends),
        pods.now_s if complete else None,
        late_s,
        latencies_s=[math.inf if pod.available_s is None else pod.available_s - pod.created_s for pod in pods.new],
        events=sorted(events, key=lambda event: event.at_s),
    )


def _deadline_exceeded_s(moments: Sequence[Moment], deadline_s: float, complete: bool) -> float | None:
    """When there had been no progress for the deadline, for the first time; it is a message and stops nothing."""
    progressed_s = moments[0].at_s
    for before, after in pairwise(moments):
        if after.at_s > progressed_s + deadline_s:
            return progressed_s + deadline_s
        if after.progress() != before.progress():
            progressed_s = after.at_s
    return None if complete else progressed_s + deadline_s
