"""Pods arrive, nodes boot, pods run and end, nodes leave: the scheduler and the node autoscaler in one loop.

Every event is followed; times are seconds. A pod runs when its node has its image, which a node pulls once. A pod that
has to leave (preempted, or its node is removed) starts from the beginning, so what it had done is lost. The autoscaler
passes every `scan_interval_s`, at once after a pass that asked for nodes, and at once when a pod cannot be placed;
passes that would find nothing new are left out. Not modelled: the time that scheduling and eviction take, images that
are dropped, spot nodes that are taken back, and DaemonSets.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mlinfra.admission import refuse
from mlinfra.admission.nouns.gpu import node_loop
from mlinfra.admission.rules import Field
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.nodes.autoscaler import AutoscalerMemory, AutoscalerPass, ClusterView, Machine, reconcile
from mlinfra.gpu.nodes.drain import OF_A_JOB, PodTraits
from mlinfra.gpu.nodes.flags import DEFAULT_FLAGS, AutoscalerFlags
from mlinfra.gpu.nodes.fleet import FleetMoment, FleetSimulation, PodArrival
from mlinfra.gpu.nodes.node import GPU
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.nodes.scale_up import PendingPod
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.simulation import Event

DAY_S, MOMENT_S = 86400.0, 0.001
"""A pass sees pods that are older than the moment in which they failed, if by little."""


def simulate(
    arrivals: Iterable[PodArrival],
    pools: Sequence[NodePool],
    flags: AutoscalerFlags = DEFAULT_FLAGS,
    until_s: float = DAY_S,
    scheduler: GPUScheduler | None = None,
    ties: random.Random | None = None,
) -> FleetSimulation:
    """The fleet under these arrivals, from time 0, when each pool has its minimum, to `until_s`.

    A pool whose minimum is its maximum is a fixed fleet. A `scheduler` without nodes may be given, to have another
    profile or the plain cycle.
    """
    arrivals = list(arrivals)
    refuse("simulate", node_loop(Field({"arrivals": arrivals, "pools": pools, "scheduler": scheduler})))
    fleet = FleetRun(pools, flags, until_s, scheduler or BatchScheduler(), ties)
    fleet.start()
    for arrival in arrivals:
        fleet.at(arrival.at_s, fleet.arrive, arrival)
    fleet.run()
    return fleet.result()


@dataclass
class PodRun:
    """What has become of a request: when it started (None: it has not), how often, and where its pods are."""

    arrival: PodArrival
    since_s: float
    started_s: float | None = None
    attempt: int = 0
    first_started_s: float = math.inf

    @property
    def gpus(self) -> int:
        return self.arrival.request.requests.get(GPU, 0) * self.arrival.request.gang_size


@dataclass
class FleetRun:
    """The state of a run: what will happen (a heap by time), the machines, and the requests that are in the cluster."""

    pools: Sequence[NodePool]
    flags: AutoscalerFlags
    until_s: float
    scheduler: GPUScheduler
    ties: random.Random | None = None
    now_s: float = 0.0
    memory: AutoscalerMemory = field(default_factory=AutoscalerMemory)
    machines: dict[str, Machine] = field(default_factory=dict)
    gone: list[tuple[Machine, float]] = field(default_factory=list)
    runs: dict[str, PodRun] = field(default_factory=dict)
    pending: dict[str, PodRun] = field(default_factory=dict)
    image_s: dict[str, float] = field(default_factory=dict)
    traits: dict[str, PodTraits] = field(default_factory=dict)
    expendable: set[str] = field(default_factory=set)
    owner: dict[str, str] = field(default_factory=dict)
    timeline: list[FleetMoment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    restarts: int = 0
    lost_gpu_s: float = 0.0
    passes: int = 0
    gpus: int = 0
    used_gpus: int = 0

    def __post_init__(self) -> None:
        self.by_name = {pool.name: pool for pool in self.pools}
        self._heap: list[tuple[float, int, Any, tuple[Any, ...]]] = []
        self._order = count()
        self._numbers: Counter[str] = Counter()
        self._has_room, self._has_new, self._changed = True, True, True
        self._last_pass_s, self._next_pass_s, self._seen_changes = 0.0, 0.0, 0

    def at(self, time_s: float, what: Any, *arguments: Any) -> None:
        """Something that will happen, unless the run is over by then."""
        if time_s <= self.until_s:
            heapq.heappush(self._heap, (time_s, next(self._order), what, arguments))

    def start(self) -> None:
        """Each pool has its minimum, complete, with images still to be pulled."""
        for pool in self.pools:
            for _ in range(pool.min_size):
                machine = self._machine(pool)
                self._register(machine.name, complete=True)

    def run(self) -> None:
        """What happens at one time happens together; then the scheduler, then the autoscaler."""
        self.pass_at(0.0)
        while self._heap:
            self.step()
        self.now_s = self.until_s

    def step(self) -> None:
        self.now_s = self._heap[0][0]
        while self._heap and self._heap[0][0] == self.now_s:
            _, _, what, arguments = heapq.heappop(self._heap)
            what(*arguments)
        failed = self.schedule()
        if self.now_s >= self._next_pass_s or (failed and self.flags.frequent_loops):
            self.autoscale()
        self.record()
        self.plan_next_pass()

    # --------------------------------------------------------------------------------------------- what happens

    def arrive(self, arrival: PodArrival) -> None:
        request = arrival.request
        self.scheduler.submit(request)
        self.runs[request.name] = self.pending[request.name] = PodRun(arrival, self.now_s)
        for pod in request.pods():
            self.owner[pod.name] = request.name
            if arrival.traits != OF_A_JOB:
                self.traits[pod.name] = arrival.traits
            if request.priority < self.flags.expendable_pods_priority_cutoff:
                self.expendable.add(pod.name)
        self._has_new = self._changed = True

    def end(self, name: str, attempt: int) -> None:
        """The request is done, if it is still the same attempt."""
        run = self.runs.get(name)
        if run is None or run.attempt != attempt or name in self.pending:
            return
        self.used_gpus -= run.gpus
        self.finished[name] = self.now_s
        self._forget(run.arrival.request)

    def _forget(self, request: GPURequest) -> None:
        """The request is no longer in the cluster."""
        self.scheduler.release(request.name)
        for pod in request.pods():
            self.owner.pop(pod.name)
            self.traits.pop(pod.name, None)
            self.expendable.discard(pod.name)
        self._has_room = self._changed = True

    def register(self, name: str) -> None:
        """A machine has booted; one with GPUs has none yet."""
        if name in self.machines:
            pool = self.by_name[self.machines[name].pool]
            self._register(name, complete=not pool.has_gpus)
            if pool.has_gpus:
                self.at(self.now_s + pool.boot.gpu_s, self.report_gpus, name)

    def report_gpus(self, name: str) -> None:
        """The device plugin is up: the GPUs are allocatable."""
        if name in self.scheduler.nodes:
            self.scheduler.update_node(self.by_name[self.machines[name].pool].node(name))
            self.gpus += self.scheduler.nodes[name].node.gpu_count
            self._has_room = self._changed = True

    def vanish(self, name: str) -> None:
        """The machine is gone, and is no longer paid for."""
        self.gone.append((self.machines.pop(name), self.now_s))
        self._changed = True

    def _register(self, name: str, complete: bool) -> None:
        pool = self.by_name[self.machines[name].pool]
        self.scheduler.add_node(pool.node(name) if complete else pool.node_without_gpus(name))
        self.gpus += self.scheduler.nodes[name].node.gpu_count
        self._has_room = self._changed = True

    # ---------------------------------------------------------------------------------------------- the scheduler

    def schedule(self) -> bool:
        """Try the pods that wait, if any can be helped; whether one could not be placed that was not tried before."""
        if not self.pending or not (self._has_room or self._has_new):
            return False
        before = len(self.scheduler.events)
        bindings = self.scheduler.schedule(self.now_s, self.may_fit())
        self._has_room = self._has_new = False
        events, self.scheduler.events[before:] = self.scheduler.events[before:], []
        victims = [self.owner[event.about] for event in events if event.reason == "Preempted"]
        self._leave(victims)
        for name in dict.fromkeys(self.owner[pod] for pod, _ in bindings):
            if name in self.scheduler.running:
                self._bind(self.runs[name], [pod.node for pod in self.scheduler.running[name].pods])
        self._has_room = bool(victims)  # what a victim leaves may be more than was wanted
        return self._tell(events) | self.schedule()

    def may_fit(self) -> Callable[[GPURequest], bool] | None:
        """Whom it is worth trying again: nobody when nothing has become free, else who fits, if the scheduler knows."""
        if not self._has_room:
            return lambda request: False
        return self.scheduler.may_fit if isinstance(self.scheduler, BatchScheduler) else None

    def _bind(self, run: PodRun, nodes: Sequence[str]) -> None:
        """The pods start when the last of them has its image."""
        name = run.arrival.request.name
        images_s = [self._image_s(node) for node in nodes if run.arrival.pulls_image]
        run.started_s = max([self.now_s, *images_s])
        run.first_started_s = min(run.first_started_s, run.started_s)
        run.attempt += 1
        self.pending.pop(name, None)
        self.used_gpus += run.gpus
        self.at(run.started_s + run.arrival.runs_s, self.end, name, run.attempt)
        self._changed = True

    def _image_s(self, node: str) -> float:
        """When a node has its image, which it pulls for the first pod that needs it."""
        pool = self.by_name[self.machines[node].pool]
        return self.image_s.setdefault(node, self.now_s + pool.boot.image_s)

    def _leave(self, names: Iterable[str]) -> None:
        """Requests that had to go wait again, and what they had done is lost."""
        for name in names:
            run = self.runs[name]
            if name not in self.pending and run.started_s is not None:
                self.restarts += 1
                self.lost_gpu_s += max(0.0, self.now_s - run.started_s) * run.gpus
                self.used_gpus -= run.gpus
                if run.first_started_s > self.now_s:
                    run.first_started_s = math.inf
                run.started_s, run.since_s = None, self.now_s
                self.pending[name] = run
                self._changed = True

    def _tell(self, events: Iterable[Event]) -> bool:
        """Keep what is new of the scheduler's events; whether a pod failed for the first time."""
        failed = False
        for event in events:
            is_failure = event.reason in ("FailedScheduling", "Unschedulable")
            is_new = not is_failure or event.about not in self.failed
            if is_failure:
                self.failed.add(event.about)
            elif event.reason == "Scheduled":
                self.failed.discard(event.about)
            if is_new:
                self.events.append(event)
            failed = failed or (is_failure and is_new)
        return failed

    # --------------------------------------------------------------------------------------------- the autoscaler

    def autoscale(self) -> None:
        """Passes until one asks for no more nodes; what was removed may leave pods that the scheduler tries at once."""
        self._changed = False
        while True:
            outcome = reconcile(self.view(), self.memory, self.now_s, self.flags, self.ties)
            self._changed |= outcome.memory.unneeded_since.keys() != self.memory.unneeded_since.keys()
            self.memory = outcome.memory
            self.passes += 1
            self.act(outcome)
            self.schedule()
            if not (outcome.growth.sizes and self.flags.frequent_loops):
                break
        self._last_pass_s = self.now_s

    def view(self) -> ClusterView:
        for name in self.scheduler.changes[self._seen_changes :]:
            self.verdicts.pop(name, None)
        self._seen_changes = len(self.scheduler.changes)
        return ClusterView(
            self.by_name,
            self.machines,
            self.scheduler.nodes,
            [PendingPod(run.arrival.request, run.since_s - MOMENT_S) for run in self.pending.values()],
            self.traits,
            expendable=frozenset(self.expendable),
            feasible=self.scheduler.feasible_nodes if isinstance(self.scheduler, BatchScheduler) else None,
            verdicts=self.verdicts,
            complete=self.complete,
        )

    def act(self, outcome: AutoscalerPass) -> None:
        """Do what the pass decided."""
        for name in outcome.overdue:
            self.vanish(name)
            self._event("ScaleUpTimedOut", name, "node was not there in time")
        for pool, (old, new, _) in outcome.growth.sizes.items():
            for _ in range(new - old):
                machine = self._machine(self.by_name[pool])
                self.at(self.now_s + self.by_name[pool].boot.node_s, self.register, machine.name)
        for event in outcome.growth.events(self.now_s):
            if self.told.get(event.about) != event.message:
                self.told[event.about] = event.message
                self.events.append(event)
        for removal in outcome.removals:
            self._remove(removal.node, "drain" if removal.moved else "empty")

    def _remove(self, name: str, way: str) -> None:
        """The autoscaler's taint keeps new pods away, and the node is gone after the taint's delay."""
        self._event("ScaleDown", name, "node removed by cluster autoscaler")
        self._retire(name, way, self.flags.delete_delay_after_taint_s)

    def _retire(self, name: str, way: str, after_s: float) -> None:
        """The node takes no more pods; those that it has must go, and it is gone after that time."""
        self.gpus -= self.scheduler.nodes[name].node.gpu_count
        owners = list(dict.fromkeys(self.owner[pod] for pod in self.scheduler.nodes[name].pods))
        before = len(self.scheduler.events)
        self.scheduler.remove_node(name, self.now_s)
        self.events += self.scheduler.events[before:]
        del self.scheduler.events[before:]
        self._leave(owners)
        self._has_new = self._has_room = True
        self.image_s.pop(name, None)
        self.complete.discard(name)
        self.machines[name] = self.machines[name]._replace(deleting=way)
        self.at(self.now_s + after_s, self.vanish, name)

    def _machine(self, pool: NodePool) -> Machine:
        """A new machine of the pool, from now on paid for."""
        name = f"{pool.name}-{self._numbers[pool.name]}"
        self._numbers[pool.name] += 1
        self.machines[name] = Machine(name, pool.name, self.now_s)
        self._changed = True
        return self.machines[name]

    # ------------------------------------------------------------------------------------------------- the clock

    def plan_next_pass(self) -> None:
        """The next pass: one interval after the last when something has changed, else when time alone may decide."""
        due_s = self.now_s if self._changed else self.wake_s()
        if due_s == math.inf:
            self._next_pass_s = math.inf
            return
        intervals = max(1, math.ceil((due_s - self._last_pass_s) / self.flags.scan_interval_s))
        self.pass_at(self._last_pass_s + intervals * self.flags.scan_interval_s)

    def wake_s(self) -> float:
        booting = [machine.created_s for name, machine in self.machines.items() if name not in self.scheduler.nodes]
        times = [min(booting, default=math.inf) + self.flags.max_node_provision_s]
        if delay_s := self.flags.new_pod_scale_up_delay_s:
            times += [run.since_s + delay_s for run in self.pending.values() if run.since_s + delay_s >= self.now_s]
        return min(*times, self.memory.wake_s(self.now_s, self.flags))

    def pass_at(self, time_s: float) -> None:
        if time_s != self._next_pass_s or time_s == 0.0:
            self._next_pass_s = time_s
            self.at(time_s, lambda: None)

    def record(self) -> None:
        """The timeline has an entry when something is different."""
        moment = FleetMoment(self.now_s, len(self.machines), self.gpus, self.used_gpus, len(self.pending))
        if self.timeline and self.timeline[-1].at_s == self.now_s:
            self.timeline.pop()
        if not self.timeline or self.timeline[-1][1:] != moment[1:]:
            self.timeline.append(moment)

    def _event(self, reason: str, about: str, message: str) -> None:
        self.events.append(Event(self.now_s, reason, about, message))

    def result(self) -> FleetSimulation:
        waits = {name: run.first_started_s - run.arrival.at_s for name, run in self.runs.items()}
        return FleetSimulation(
            latencies_s=list(waits.values()),
            events=self.events,
            waits_s=waits,
            finished=self.finished,
            machines=[*self.gone, *((machine, self.until_s) for machine in self.machines.values())],
            timeline=self.timeline,
            pools=self.by_name,
            until_s=self.until_s,
            restarts=self.restarts,
            lost_gpu_s=self.lost_gpu_s,
            passes=self.passes,
        )
