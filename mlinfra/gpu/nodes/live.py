"""A fleet whose pods come and go as somebody else decides, such as an autoscaler of replicas.

Each pod is one of the same kind. *Placeholder pods* of low priority hold GPUs for those that will come: they are
evicted when a pod needs their GPU, wait, and so make the node autoscaler bring the next node before anybody waits for
it. Spot nodes are taken back with a notice; their pods are told to stop at once, as a node termination handler or the
kubelet's graceful shutdown does. Not modelled: a cloud that has no spot node left, and one that replaces the node
that it took.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlinfra.admission import Field, NotNegative, check, refuse
from mlinfra.admission.nouns.gpu import live_fleet
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.nodes.autoscaler import AutoscalerMemory, Machine, reconcile
from mlinfra.gpu.nodes.drain import PodTraits
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.fleet import FleetSimulation, PodArrival
from mlinfra.gpu.nodes.loop import FleetRun, PodRun
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.pods import GPURequest, PriorityClass

PLACEHOLDER = PriorityClass("placeholder", -10, description="Holds a GPU for a pod that matters.")
"""The lowest priority for which cluster-autoscaler still brings nodes: below its cutoff pods are expendable."""

OF_A_REPLICA_SET = PodTraits("ReplicaSet")
FOREVER_S = 1e12


class PodChange(NamedTuple):
    """A pod was placed, and its container starts at `time_s`; or it was told to stop, and has until `time_s`."""

    at_s: float
    pod: str
    placed: bool
    time_s: float


@dataclass(frozen=True)
class SpotMarket:
    """How often the cloud takes a spot node back, in the mean, and how long before that it says so.

    A notice is 120 s on AWS (EC2 User Guide, "Spot Instance interruption notices") and 30 s on Azure ("Use Azure Spot
    Virtual Machines") and Google Cloud ("Spot VMs in GKE", where ordinary pods have 15 s of it unless the node pool
    says otherwise); documents of 2026. How often is not promised by any: 0 is never.
    """

    per_hour: NotNegative = 0.0
    notice_s: NotNegative = 120.0
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)


NEVER_TAKEN = SpotMarket()


class LiveFleet(FleetRun):
    """Pools, their autoscaler and the pods that are there now; `advance` lets time pass until a pod is concerned.

    A `placeholder` is like a `pod` but for its priority, unless another is given. A pod that has to leave a node is
    gone: whoever wants another adds one. It has `grace_s` to finish, or the notice of a spot node where that is
    shorter.
    """

    def __init__(
        self,
        pools: Sequence[NodePool],
        pod: GPURequest,
        placeholders: int = 0,
        placeholder: GPURequest | None = None,
        spot: SpotMarket = NEVER_TAKEN,
        flags: AutoscalerFlags = DEFAULT_FLAGS,
        traits: PodTraits = OF_A_REPLICA_SET,
        grace_s: float = 30.0,
    ) -> None:
        settings = {"pools": pools, "pod": pod, "placeholders": placeholders, "grace_s": grace_s}
        refuse("fleet", live_fleet(Field(settings)))
        super().__init__(pools, flags, math.inf, BatchScheduler())
        self.pod, self.pod_traits, self.grace_s = pod, traits, grace_s
        self.placeholder = placeholder or replace(pod, name="placeholder", priority_class=PLACEHOLDER)
        self.placeholders = [f"{self.placeholder.name}-{i}" for i in range(placeholders)]
        self.spot, self.chance = spot, random.Random(spot.seed)
        self.reports: list[PodChange] = []
        self.deadline_s = 0.0

    # ------------------------------------------------------------------------------------------ what others ask for

    def begin(self, pods: Sequence[str]) -> None:
        """At time 0 these pods and the placeholders run, on the nodes that the autoscaler would bring for them."""
        self.start()
        for name in pods:
            self.arrive(self.arrival(name))
        for name in self.placeholders:
            pod = replace(self.placeholder, name=name)
            self.arrive(PodArrival(0.0, pod, FOREVER_S, OF_A_REPLICA_SET, pulls_image=False))
        self.schedule()
        while self.pending and self.grow_at_once():
            self.schedule()
        refuse(
            "fleet", [Field(name, "pod").invalid("has no room in the pools") for name in pods if name in self.pending]
        )
        self.image_s = dict.fromkeys(self.image_s, 0.0)  # a node of placeholders has never pulled it
        self.reports, self.events = [], []
        self.failed.clear()
        self.pass_at(0.0)
        self.record()

    def grow_at_once(self) -> bool:
        """The nodes of one pass of the autoscaler, complete and with their images; whether there were any."""
        sizes = reconcile(self.view(), AutoscalerMemory(), 0.0, self.flags).growth.sizes
        for pool, (old, new, _) in sizes.items():
            for _ in range(new - old):
                machine = self._machine(self.by_name[pool])
                self._register(machine.name, complete=True)
        return bool(sizes)

    def add(self, pod: str, at_s: float) -> None:
        """A pod of this name is created then, and wants a node."""
        self.at(at_s, self.arrive, self.arrival(pod))

    def remove(self, pod: str, at_s: float) -> None:
        """The pod has finished then, or no longer waits, and its GPUs are free."""
        self.at(at_s, self.withdraw, pod)

    def advance(self, until_s: float) -> list[PodChange]:
        """What becomes of pods at the next moment that concerns any; empty when there is none up to that time."""
        while not self.reports and self._heap and self._heap[0][0] <= until_s:
            self.step()
        reports, self.reports = self.reports, []
        return reports

    def bill(self, end_s: float) -> FleetSimulation:
        """The nodes that there were, what happened to them and what they cost, up to that time."""
        while self.advance(end_s):
            pass
        self.now_s = self.until_s = end_s
        return self.result()

    # --------------------------------------------------------------------------------------------------- what happens

    def arrival(self, name: str) -> PodArrival:
        return PodArrival(self.now_s, replace(self.pod, name=name), FOREVER_S, self.pod_traits)

    def withdraw(self, name: str) -> None:
        """The pod is gone, wherever it was."""
        run = self.runs.pop(name, None)
        if run is not None:
            self.used_gpus -= 0 if self.pending.pop(name, None) else run.gpus
            self._forget(run.arrival.request)

    def take_back(self, name: str) -> None:
        """The cloud wants its spot node; one that still boots never comes."""
        if name in self.scheduler.nodes:
            self._event("SpotInterrupted", name, "Spot interruption warning was triggered")
            self._retire(name, "spot", self.spot.notice_s)
        elif name in self.machines and not self.machines[name].deleting:
            self.vanish(name)

    # ---------------------------------------------------------------------------------- what the fleet does beside it

    def _machine(self, pool: NodePool) -> Machine:
        machine = super()._machine(pool)
        if pool.spot and self.spot.per_hour:
            self.at(self.now_s + self.chance.expovariate(self.spot.per_hour / 3600), self.take_back, machine.name)
        return machine

    def _bind(self, run: PodRun, nodes: Sequence[str]) -> None:
        super()._bind(run, nodes)
        if run.arrival.pulls_image and run.started_s is not None:
            self.reports.append(PodChange(self.now_s, run.arrival.request.name, True, run.started_s))

    def _retire(self, name: str, way: str, after_s: float) -> None:
        """A node that is drained stays until its pods have had their time; a spot node does not wait for them."""
        after_s = max(after_s, self.grace_s) if way == "drain" else after_s
        self.deadline_s, before = self.now_s + min(after_s, self.grace_s), len(self.events)
        super()._retire(name, way, after_s)
        if way == "spot":
            message = "Pod was terminated in response to imminent node shutdown."
            self.events[before:] = [e._replace(reason="Terminated", message=message) for e in self.events[before:]]

    def _leave(self, names: Iterable[str]) -> None:
        """Placeholders wait again; a pod is gone."""
        names = list(names)
        super()._leave(name for name in names if name in self.placeholders)
        for name in names:
            if name not in self.placeholders:
                self.withdraw(name)
                self.reports.append(PodChange(self.now_s, name, False, self.deadline_s))
