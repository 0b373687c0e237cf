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
    workload, queue = entry.workload, usage.queues[entry.workload.queue]
    borrows = not usage.within_nominal(queue.name, workload.requests)
    if uncovered := [r for r, n in workload.requests.items() if n and r not in queue.quotas]:
        return Nomination(entry, NO_FIT, borrows, _refused(f"resource {uncovered[0]} unavailable in ClusterQueue"))
    short = [r for r, n in workload.requests.items() if n > usage.available(queue.name, r)]
    if not short:
        return Nomination(entry, FIT, borrows)
    why = _refused(*(_reason(workload, resource, usage) for resource in short))
    if any(workload.requests[resource] > queue.quotas[resource].nominal for resource in short):
        return Nomination(entry, NO_FIT, borrows, why)  # preemption is tried only for what the queue could own
    return Nomination(entry, PREEMPT, borrows, why, tuple(reclaim_targets(entry, short, usage, admitted)))


def _refused(*reasons: str) -> str:
    return f"couldn't assign flavors to pod set main: {', '.join(sorted(reasons))}"


def _reason(workload: Workload, resource: str, usage: Usage) -> str:
    asked, queue = workload.requests[resource], workload.queue
    most, flavor = usage.potential(queue, resource), usage.queues[queue].flavor
    if asked > most:
        asking = f"previously considered podsets requests (0) + current podset request ({asked})"
        return f"insufficient quota for {resource} in flavor {flavor}, {asking} > maximum capacity ({most})"
    more = asked - usage.available(queue, resource)
    return f"insufficient unused quota for {resource} in flavor {flavor}, {more} more needed"


def reclaim_targets(entry: Entry, short: Sequence[str], usage: Usage, admitted: Iterable[Entry]) -> list[Entry]:
    """Whom to evict so that the workload fits: jobs of queues that borrow, the least important and newest first.

    A queue takes back what it owns and no more. Who turns out not to be needed is put back, from the end.
    """
    workload, left, targets = entry.workload, usage.copy(), list[Entry]()
    if not usage.within_nominal(workload.queue, workload.requests):
        return []
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
    return allowed and uses and borrows and mine is not theirs and mine.lends_to(theirs)


class Kueue:
    """Cluster queues with their workloads, waiting and admitted. A call that raises has changed nothing."""

    def __init__(self, queues: Iterable[ClusterQueue]) -> None:
        by_name: dict[str, ClusterQueue] = {}
        for queue in queues:
            if queue.name in by_name:
                raise already_exists("clusterqueue", queue.name)
            by_name[queue.name] = queue
        self.usage = Usage(by_name)
        self.admitted: dict[str, Entry] = {}
        self.events: list[Event] = []
        self._waiting: dict[str, Entry] = {}
        self._last_said: dict[str, str] = {}
        self._clock = count()

    def submit(self, workload: Workload) -> None:
        self._check_queue(workload.queue)
        if workload.name in self.admitted or workload.name in self._waiting:
            raise already_exists("workload", workload.name)
        self._waiting[workload.name] = Entry(workload, next(self._clock))

    def finish(self, name: str) -> None:
        """The workload is done, or withdrawn while it waits; its quota is free again."""
        if name in self.admitted:
            self.usage.remove(self.admitted.pop(name).workload)
        elif name in self._waiting:
            del self._waiting[name]
        else:
            raise not_found("workload", name)

    def _check_queue(self, queue: str) -> None:
        if queue not in self.usage.queues:
            raise not_found("clusterqueue", queue)

    def pending(self, queue: str) -> list[Workload]:
        """What waits in a queue, in its order."""
        self._check_queue(queue)
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
                moved |= self._admit(nomination, snapshot, evicted)
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

    def _admit(self, nomination: Nomination, snapshot: Usage, evicted: list[Entry]) -> bool:
        workload = nomination.entry.workload
        if not self._still_fits(workload, snapshot, evicted):
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
        if not self._still_fits(workload, snapshot, (*evicted, *targets)):
            return False
        evicted += targets
        snapshot.add(workload)
        keeps_its_turn = self.usage.queues[workload.queue].queueing_strategy == "BestEffortFIFO"
        self._waiting[workload.name] = nomination.entry._replace(preempting=keeps_its_turn)
        for target in targets:
            self._stop(target, workload)
        self._say(workload.name, f"{nomination.why}. Pending the preemption of {len(targets)} workload(s)")
        return True

    def _still_fits(self, workload: Workload, snapshot: Usage, gone: Iterable[Entry]) -> bool:
        """After what others took in this cycle, and without those who were evicted in it."""
        fits = snapshot.without(entry.workload for entry in gone).fits(workload)
        if not fits:
            self._say(workload.name, "Workload no longer fits after processing another workload")
        return fits

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
        self._waiting[workload.name] = nomination.entry._replace(preempting=False)
        if nomination.mode == PREEMPT and queue.reclaim_within_cohort != "Any":
            snapshot.reserve(workload)
        if queue.queueing_strategy == "StrictFIFO":
            return False
        set_aside.add(workload.name)
        return True

    def _say(self, workload: str, message: str) -> None:
        """A condition that says the same as before is no event."""
        if self._last_said.get(workload) != message:
            self._last_said[workload] = message
            self.events.append(Event(workload, message))


def _turn(nomination: Nomination) -> tuple[bool, int, int]:
    """Who does not borrow comes first, even before a higher priority; then the older."""
    return nomination.borrows, -nomination.entry.workload.priority, nomination.entry.created
