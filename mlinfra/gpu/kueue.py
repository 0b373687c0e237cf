"""Which jobs may start: Kueue's admission by quota, with borrowing and the preemption that reclaims what was lent.

Follows Kueue 0.19, `pkg/scheduler/{scheduler.go,flavorassigner,preemption}`. Not modelled: fair sharing, preemption
within a queue, eviction on behalf of who borrows. An eviction takes no time, and messages name workloads where upstream
has their UIDs. Kueue admits whole jobs; kube-scheduler then finds nodes for their pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

from mlinfra.gpu.cluster import already_exists, not_found
from mlinfra.gpu.quota import ClusterQueue, Usage, Workload
from mlinfra.manifest import Invalid, Problem

FIT, PREEMPT, NO_FIT = "Fit", "Preempt", "NoFit"


class Entry(NamedTuple):
    """A workload in its queue, or with its quota since `reserved` (a count of events, as `created` is).

    Who has evicted others stays at the head until it gets what they gave up.
    """

    workload: Workload
    created: int
    reserved: int = -1
    preempting: bool = False

    def turn(self) -> tuple[bool, int, int]:
        """The order in a queue: the higher priority first, then the older."""
        return not self.preempting, -self.workload.priority, self.created


class Event(NamedTuple):
    """What a workload's condition, or its event, says."""

    workload: str
    message: str

    def __str__(self) -> str:
        return f"{self.workload}: {self.message}"


class Nomination(NamedTuple):
    """What a cycle makes of the head of a queue: whether it fits, why not, and who would have to go."""

    entry: Entry
    mode: str
    borrows: bool
    why: str = ""
    targets: tuple[Entry, ...] = ()


def nominate(entry: Entry, usage: Usage, admitted: Iterable[Entry]) -> Nomination:
    """The flavor assigner's verdict, resource by resource; the worst counts."""
    workload = entry.workload
    borrows = not usage.within_nominal(workload.queue, workload.requests)
    short = {r: n for r, n in workload.requests.items() if n > usage.available(workload.queue, r)}
    if not short:
        return Nomination(entry, FIT, borrows)
    why = f"couldn't assign flavors to pod set main: {', '.join(sorted(_reason(workload, r, usage) for r in short))}"
    if any(not _may_reclaim(workload, r, usage) for r in short):
        return Nomination(entry, NO_FIT, borrows, why)
    return Nomination(entry, PREEMPT, borrows, why, tuple(reclaim_targets(entry, usage, admitted)))


def _reason(workload: Workload, resource: str, usage: Usage) -> str:
    asked, queue = workload.requests[resource], workload.queue
    most, flavor = usage.potential(queue, resource), usage.queues[queue].flavor
    if resource not in usage.queues[queue].quotas:
        return f"resource {resource} unavailable in ClusterQueue"
    if asked > most:
        asking = f"previously considered podsets requests (0) + current podset request ({asked})"
        return f"insufficient quota for {resource} in flavor {flavor}, {asking} > maximum capacity ({most})"
    more = asked - usage.available(queue, resource)
    return f"insufficient unused quota for {resource} in flavor {flavor}, {more} more needed"


def _may_reclaim(workload: Workload, resource: str, usage: Usage) -> bool:
    """Preemption is tried only for a request no larger than the queue's own quota."""
    quota = usage.queues[workload.queue].quotas.get(resource)
    return quota is not None and workload.requests[resource] <= min(
        quota.nominal, usage.potential(workload.queue, resource)
    )


def reclaim_targets(entry: Entry, usage: Usage, admitted: Iterable[Entry]) -> list[Entry]:
    """Whom to evict so that the workload fits: jobs of queues that borrow, the least important and newest first.

    A queue takes back what it owns and no more. Who turns out not to be needed is put back, from the end.
    """
    workload, left, targets = entry.workload, usage.copy(), list[Entry]()
    if not usage.within_nominal(workload.queue, workload.requests):
        return []
    short = [r for r, n in workload.requests.items() if n > usage.available(workload.queue, r)]
    for candidate in sorted(admitted, key=_least_important):
        if _reclaimable(candidate, entry, left, short):
            left.remove(candidate.workload)
            targets.append(candidate)
        if left.fits(workload):
            return _needed(workload, left, targets)
    return []


def _needed(workload: Workload, left: Usage, targets: list[Entry]) -> list[Entry]:
    """The targets without those that can be put back; the last one found was needed."""
    for spared in targets[-2::-1]:
        left.add(spared.workload)
        if left.fits(workload):
            targets = [target for target in targets if target is not spared]
        else:
            left.remove(spared.workload)
    return targets


def _least_important(entry: Entry) -> tuple[int, int]:
    return entry.workload.priority, -entry.reserved


def _reclaimable(candidate: Entry, entry: Entry, usage: Usage, short: Sequence[str]) -> bool:
    """It uses what is short, its queue still borrows some of that, and `reclaimWithinCohort` allows it."""
    mine, theirs = usage.queues[entry.workload.queue], usage.queues[candidate.workload.queue]
    lower = candidate.workload.priority < entry.workload.priority
    allowed = mine.reclaim_within_cohort == "Any" or (mine.reclaim_within_cohort == "LowerPriority" and lower)
    uses = any(candidate.workload.requests.get(resource) for resource in short)
    borrows = any(usage.borrowed(theirs.name, resource) for resource in short)
    return allowed and uses and borrows and mine is not theirs and mine.cohort == theirs.cohort != ""


class Kueue:
    """Cluster queues with their workloads, waiting and admitted. A call that raises has changed nothing."""

    def __init__(self, queues: Iterable[ClusterQueue]) -> None:
        self.usage = Usage({queue.name: queue for queue in queues})
        self.admitted: dict[str, Entry] = {}
        self.events: list[Event] = []
        self._waiting: dict[str, Entry] = {}
        self._clock = count()

    def submit(self, workload: Workload) -> None:
        if workload.queue not in self.usage.queues:
            raise Invalid("workload", [Problem("queue", f"ClusterQueue {workload.queue} not found")])
        if workload.name in self.admitted or workload.name in self._waiting:
            raise already_exists("workload", workload.name)
        self._waiting[workload.name] = Entry(workload, next(self._clock))

    def finish(self, name: str) -> None:
        """The workload is done; its quota is free again."""
        if name not in self.admitted:
            raise not_found("workload", name)
        self.usage.remove(self.admitted.pop(name).workload)

    def pending(self, queue: str) -> list[Workload]:
        """What waits in a queue, in its order."""
        return [entry.workload for entry in self._in_order(queue)]

    def schedule(self) -> list[str]:
        """Cycles until no queue gets any further; the names that got their quota, in order."""
        before, set_aside = set(self.admitted), set[str]()
        while self._cycle(set_aside):
            pass
        return [name for name in self.admitted if name not in before]

    def _cycle(self, set_aside: set[str]) -> bool:
        """One head of each queue, judged on one snapshot and then taken in turn; whether anything moved."""
        heads = [head for queue in self.usage.queues if (head := self._head(queue, set_aside))]
        nominations = [nominate(head, self.usage, self.admitted.values()) for head in heads]
        snapshot, evicted, moved = self.usage.copy(), list[Entry](), False
        for nomination in sorted(nominations, key=_turn):
            if nomination.mode == FIT:
                moved |= self._admit(nomination, snapshot)
            elif nomination.targets:
                moved |= self._evict(nomination, snapshot, evicted)
            else:
                moved |= self._requeue(nomination, snapshot, set_aside)
        if evicted:  # quota has come free, so all may try again
            set_aside.clear()
        return moved

    def _in_order(self, queue: str) -> list[Entry]:
        return sorted((e for e in self._waiting.values() if e.workload.queue == queue), key=Entry.turn)

    def _head(self, queue: str, set_aside: set[str]) -> Entry | None:
        """The first that waits; with BestEffortFIFO, that has not been set aside because it does not fit."""
        return next((entry for entry in self._in_order(queue) if entry.workload.name not in set_aside), None)

    def _admit(self, nomination: Nomination, snapshot: Usage) -> bool:
        workload = nomination.entry.workload
        if not snapshot.fits(workload):
            self._say(workload.name, "Workload no longer fits after processing another workload")
            return False
        self.admitted[workload.name] = nomination.entry._replace(reserved=next(self._clock), preempting=False)
        del self._waiting[workload.name]
        self.usage.add(workload)
        snapshot.add(workload)
        self._say(workload.name, f"Quota reserved in ClusterQueue {workload.queue}")
        return True

    def _evict(self, nomination: Nomination, snapshot: Usage, evicted: list[Entry]) -> bool:
        """The targets go, and wait again; the workload itself gets its quota in a later cycle."""
        workload, targets = nomination.entry.workload, nomination.targets
        if any(target in evicted for target in targets):
            self._say(workload.name, "Workload has overlapping preemption targets with another workload")
            return False
        if not snapshot.without(entry.workload for entry in (*evicted, *targets)).fits(workload):
            self._say(workload.name, "Workload no longer fits after processing another workload")
            return False
        evicted += targets
        snapshot.add(workload)
        self._waiting[workload.name] = nomination.entry._replace(preempting=True)
        for target in targets:
            self._stop(target, workload)
        self._say(workload.name, f"{nomination.why}. Pending the preemption of {len(targets)} workload(s)")
        return True

    def _stop(self, target: Entry, preemptor: Workload) -> None:
        name = target.workload.name
        self.usage.remove(self.admitted.pop(name).workload)
        self._waiting[name] = target._replace(reserved=-1)
        why = "due to reclamation within the cohort"
        self._say(name, f"Preempted to accommodate a workload ({preemptor.name}) {why}")

    def _requeue(self, nomination: Nomination, snapshot: Usage, set_aside: set[str]) -> bool:
        """It must wait. With StrictFIFO it stays the head; one that found no victims keeps its share for this cycle."""
        workload = nomination.entry.workload
        queue = self.usage.queues[workload.queue]
        self._say(workload.name, nomination.why)
        if nomination.mode == PREEMPT and queue.reclaim_within_cohort != "Any":
            snapshot.reserve(workload)
        if queue.queueing_strategy == "StrictFIFO":
            return False
        set_aside.add(workload.name)
        return True

    def _say(self, workload: str, message: str) -> None:
        self.events.append(Event(workload, message))


def _turn(nomination: Nomination) -> tuple[bool, int, int]:
    """Who does not borrow comes first, even before a higher priority; then the older."""
    return nomination.borrows, -nomination.entry.workload.priority, nomination.entry.created
