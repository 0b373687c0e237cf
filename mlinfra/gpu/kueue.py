"""Which jobs may start: Kueue's admission by quota, with borrowing and the preemption that reclaims what was lent.

Follows Kueue 0.19, `pkg/scheduler/{scheduler.go,flavorassigner,preemption}`. Not modelled: fair sharing, preemption
within a queue, eviction on behalf of who borrows. An eviction takes no time, and messages name workloads where upstream
has their UIDs. Kueue admits whole jobs; kube-scheduler then finds nodes for their pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from mlinfra.admission.rules import expect
from mlinfra.gpu.cluster import already_exists, not_found
from mlinfra.gpu.quota import ClusterQueue, FlavorUsage, Workload
from mlinfra.simulation import Event

FIT, PREEMPT, NO_FIT = "Fit", "Preempt", "NoFit"


class Entry(NamedTuple):
    """A workload in its queue, or with its quota; `created` and `reserved` (-1: not yet) are running numbers.

    In a BestEffortFIFO queue who has evicted others (`preempting`) stays the head until it gets what they gave up.
    """

    workload: Workload
    created: int
    reserved: int = -1
    preempting: bool = False

    def turn(self) -> tuple[bool, int, int]:
        """The order in a queue: first who has evicted others, then the higher priority, then the older."""
        return not self.preempting, -self.workload.priority, self.created


class Nomination(NamedTuple):
    """What a cycle makes of the head of a queue: whether it fits, why not, and who would have to go."""

    entry: Entry
    mode: str
    borrows: bool
    why: str = ""
    targets: tuple[Entry, ...] = ()

    def turn(self) -> tuple[bool, int, int]:
        """The order in a cycle: first who does not borrow, then the higher priority, then the older."""
        return self.borrows, -self.entry.workload.priority, self.entry.created


@dataclass
class Cycle:
    """The usage of quota at the start of a cycle (upstream's `snapshot`), to which it adds, and whom it has evicted."""

    now_s: float
    snapshot: FlavorUsage
    evicted: list[Entry] = field(default_factory=list)

    def fits(self, workload: Workload, targets: Sequence[Entry] = ()) -> bool:
        """After what others took in this cycle, and without those who were evicted in it and these targets."""
        gone = [entry.workload for entry in (*self.evicted, *targets)]
        return self.snapshot.without(gone).fits(workload)


class Kueue:
    """Cluster queues with their workloads, waiting and admitted. A call that raises has changed nothing."""

    def __init__(self, queues: Iterable[ClusterQueue]) -> None:
        by_name: dict[str, ClusterQueue] = {}
        for queue in queues:
            if queue.name in by_name:
                raise already_exists("clusterqueue", queue.name)
            by_name[queue.name] = queue
        self.usage = FlavorUsage(by_name)
        self.admitted: dict[str, Entry] = {}
        self.events: list[Event] = []
        self._waiting: dict[str, Entry] = {}
        self._inadmissible: set[str] = set()
        self._last_message: dict[str, str] = {}
        self._clock = count()

    def submit(self, workload: Workload) -> None:
        expect(Workload, "workload", workload)
        self._check_queue(workload.queue)
        if workload.name in self.admitted or workload.name in self._waiting:
            raise already_exists("workload", workload.name)
        self._waiting[workload.name] = Entry(workload, next(self._clock))

    def _check_queue(self, queue: str) -> None:
        if queue not in self.usage.queues:
            raise not_found("clusterqueue", queue)

    def finish(self, name: str) -> None:
        """The workload is done, or withdrawn while it waits; its quota is free again."""
        if name in self.admitted:
            self.usage.remove(self.admitted.pop(name).workload)
        elif name in self._waiting:
            del self._waiting[name]
        else:
            raise not_found("workload", name)
        self._last_message.pop(name, None)

    def pending(self, queue: str) -> list[Workload]:
        """What waits in a queue, in its order."""
        self._check_queue(queue)
        return [entry.workload for entry in self._in_order(queue)]

    def schedule(self, now_s: float = 0.0) -> list[str]:
        """Cycles until no queue gets any further; the names that got their quota, in order."""
        before = set(self.admitted)
        self._inadmissible.clear()
        while self._cycle(now_s):
            pass
        return [name for name in self.admitted if name not in before]

    def _cycle(self, now_s: float) -> bool:
        """The head of each queue is judged as things stand, then all are taken in turn; whether anything moved.

        A workload moves when it is admitted, evicts others, or is set aside so that the next one is the head.
        """
        nominations = [nominate(head, self.usage, self.admitted.values()) for head in self._heads()]
        nominations.sort(key=Nomination.turn)
        cycle = Cycle(now_s, self.usage.copy())
        moved = [self._process(nomination, cycle) for nomination in nominations]
        if cycle.evicted:  # quota has come free, so all may try again
            self._inadmissible.clear()
        return any(moved)

    def _heads(self) -> list[Entry]:
        """Of each queue the first that waits, and has not been set aside because it does not fit."""
        heads = []
        for queue in self.usage.queues:
            tried = [entry for entry in self._in_order(queue) if entry.workload.name not in self._inadmissible]
            heads += tried[:1]
        return heads

    def _in_order(self, queue: str) -> list[Entry]:
        return sorted((e for e in self._waiting.values() if e.workload.queue == queue), key=Entry.turn)

    def _process(self, nomination: Nomination, cycle: Cycle) -> bool:
        """Admit it, evict for it, or let it wait; whether anything moved."""
        if nomination.mode == FIT:
            return self._admit(nomination, cycle)
        if nomination.targets:
            return self._preempt(nomination, cycle)
        return self._requeue(nomination, cycle)

    def _admit(self, nomination: Nomination, cycle: Cycle) -> bool:
        """It gets its quota, unless others of this cycle have taken that."""
        workload = nomination.entry.workload
        if not cycle.fits(workload):
            return self._skip(workload, "Workload no longer fits after processing another workload", cycle)
        self.admitted[workload.name] = nomination.entry._replace(reserved=next(self._clock), preempting=False)
        del self._waiting[workload.name]
        self.usage.add(workload)
        cycle.snapshot.add(workload)
        self._record_event(cycle, "QuotaReserved", workload, f"Quota reserved in ClusterQueue {workload.queue}")
        self._record_event(cycle, "Admitted", workload, "The workload is admitted")
        return True

    def _preempt(self, nomination: Nomination, cycle: Cycle) -> bool:
        """The targets go, and wait again; the workload itself gets its quota in a later cycle."""
        workload, targets = nomination.entry.workload, nomination.targets
        if any(target in cycle.evicted for target in targets):
            return self._skip(workload, "Workload has overlapping preemption targets with another workload", cycle)
        if not cycle.fits(workload, targets):
            return self._skip(workload, "Workload no longer fits after processing another workload", cycle)
        cycle.evicted += targets
        cycle.snapshot.add(workload)
        best_effort = self.usage.queues[workload.queue].queueing_strategy == "BestEffortFIFO"
        self._waiting[workload.name] = nomination.entry._replace(preempting=best_effort)
        for target in targets:
            self._evict(target, workload, cycle)
        pending = f"{nomination.why}. Pending the preemption of {len(targets)} workload(s)"
        self._record_event(cycle, "Pending", workload, pending)
        return True

    def _evict(self, target: Entry, preemptor: Workload, cycle: Cycle) -> None:
        name = target.workload.name
        self.usage.remove(self.admitted.pop(name).workload)
        self._waiting[name] = target._replace(reserved=-1)
        message = f"Preempted to accommodate a workload ({preemptor.name}) due to reclamation within the cohort"
        self._record_event(cycle, "Preempted", target.workload, message)

    def _requeue(self, nomination: Nomination, cycle: Cycle) -> bool:
        """It must wait: set aside, or still the head with StrictFIFO; whether it moved.

        Who found no victims keeps its share from borrowers in this cycle, unless its queue can reclaim it anyway.
        """
        workload = nomination.entry.workload
        queue = self.usage.queues[workload.queue]
        self._record_event(cycle, "Pending", workload, nomination.why)
        self._waiting[workload.name] = nomination.entry._replace(preempting=False)
        if nomination.mode == PREEMPT and queue.reclaim_within_cohort != "Any":
            cycle.snapshot.reserve(workload)
        if queue.queueing_strategy == "StrictFIFO":
            return False
        self._inadmissible.add(workload.name)
        return True

    def _skip(self, workload: Workload, why: str, cycle: Cycle) -> bool:
        """It has not moved, and keeps its turn for the next cycle."""
        self._record_event(cycle, "Pending", workload, why)
        return False

    def _record_event(self, cycle: Cycle, reason: str, workload: Workload, message: str) -> None:
        """A condition that says the same as before is no event."""
        if self._last_message.get(workload.name) != message:
            self._last_message[workload.name] = message
            self.events.append(Event(cycle.now_s, reason, workload.name, message))


# -------------------------------------------------------------------------------------------------- the flavor assigner


def nominate(entry: Entry, usage: FlavorUsage, admitted: Iterable[Entry]) -> Nomination:
    """The flavor assigner's verdict: Fit, Preempt (perhaps with nobody to evict), or NoFit where that cannot help."""
    workload = entry.workload
    quotas = usage.queues[workload.queue].quotas
    borrows = not usage.within_nominal(workload.queue, workload.requests)
    uncovered = [name for name, amount in workload.requests.items() if amount and name not in quotas]
    if uncovered:
        return Nomination(entry, NO_FIT, borrows, _refused([f"resource {uncovered[0]} unavailable in ClusterQueue"]))
    short = [name for name, amount in workload.requests.items() if amount > usage.available(workload.queue, name)]
    if not short:
        return Nomination(entry, FIT, borrows)
    why = _refused([_insufficient(workload, name, usage) for name in short])
    if any(workload.requests[name] > quotas[name].nominal for name in short):
        return Nomination(entry, NO_FIT, borrows, why)  # preemption is tried only for what the queue could own
    return Nomination(entry, PREEMPT, borrows, why, tuple(reclaim_targets(entry, short, usage, admitted)))


def _refused(reasons: list[str]) -> str:
    return f"couldn't assign flavors to pod set main: {', '.join(sorted(reasons))}"


def _insufficient(workload: Workload, resource: str, usage: FlavorUsage) -> str:
    amount, queue = workload.requests[resource], workload.queue
    flavor, most = usage.queues[queue].flavor, usage.potential(queue, resource)
    if amount > most:
        request = f"previously considered podsets requests (0) + current podset request ({amount})"
        return f"insufficient quota for {resource} in flavor {flavor}, {request} > maximum capacity ({most})"
    more = amount - usage.available(queue, resource)
    return f"insufficient unused quota for {resource} in flavor {flavor}, {more} more needed"


# ----------------------------------------------------------------------------------------------------------- preemption


def reclaim_targets(entry: Entry, short: Sequence[str], usage: FlavorUsage, admitted: Iterable[Entry]) -> list[Entry]:
    """Whom to evict so that the workload fits: jobs of queues that borrow, the least important and newest first.

    A queue takes back what it owns and no more. Who turns out not to be needed is put back, from the end.
    """
    workload, rest = entry.workload, usage.copy()
    if not usage.within_nominal(workload.queue, workload.requests):  # it would borrow
        return []
    targets: list[Entry] = []
    for candidate in sorted(admitted, key=_least_important_first):
        if _reclaimable(candidate, entry, rest, short):
            rest.remove(candidate.workload)
            targets.append(candidate)
            if rest.fits(workload):
                return _needed(workload, rest, targets)
    return []


def _least_important_first(entry: Entry) -> tuple[int, int]:
    return entry.workload.priority, -entry.reserved


def _reclaimable(candidate: Entry, entry: Entry, usage: FlavorUsage, short: Sequence[str]) -> bool:
    """It uses what is short, its queue still borrows some of that, and `reclaimWithinCohort` allows it."""
    mine, theirs = usage.queues[entry.workload.queue], usage.queues[candidate.workload.queue]
    if mine is theirs or not mine.shares_cohort_with(theirs):
        return False
    lower = candidate.workload.priority < entry.workload.priority
    allowed = mine.reclaim_within_cohort == "Any" or (mine.reclaim_within_cohort == "LowerPriority" and lower)
    uses = any(candidate.workload.requests.get(name) for name in short)
    borrows = any(usage.borrowed(theirs.name, name) for name in short)
    return allowed and uses and borrows


def _needed(workload: Workload, rest: FlavorUsage, targets: list[Entry]) -> list[Entry]:
    """The targets without those that can be put back; the last one found was needed."""
    needed = [targets[-1]]
    for target in reversed(targets[:-1]):
        rest.add(target.workload)
        if not rest.fits(workload):
            rest.remove(target.workload)
            needed.insert(0, target)
    return needed
