"""The scheduling cycle as kube-scheduler runs it: queue, filter, score, preempt, reserve, bind; and gangs, all or none.

Follows Kubernetes 1.37, `pkg/scheduler/schedule_one.go`, in one thread: binding and eviction take no time, and the Job
of an evicted pod makes a new one at once (of a gang, all of them). Ties, which upstream breaks at random, go to the
first node in the order in which nodes were added, or are drawn from the generator that you pass. A gang does not
preempt, and there is no back-off. Events name the pod that preempts, where upstream has its UID.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from mlinfra.admission.rules import Field, Invalid, a, check, real
from mlinfra.gpu import preemption
from mlinfra.gpu.cluster import GPUNode, GPURequest, NodeInfo, Pod, already_exists, not_found
from mlinfra.gpu.filters import Refusal, feasible_to_find, find_feasible
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.gpu.scoring import score_nodes


@dataclass(frozen=True)
class Explanation:
    """What the scheduler would say of a pod on each node: why not, or how many points from whom."""

    refused: Mapping[str, Refusal]
    points: Mapping[str, Mapping[str, int]]

    def total(self, node: str) -> int:
        return sum(self.points[node].values())

    def __str__(self) -> str:
        nodes = [*self.points, *self.refused]
        width = max(map(len, nodes), default=0)
        return "\n".join(f"{node:{width}}  {self._row(node)}" for node in nodes)

    def _row(self, node: str) -> str:
        if node in self.refused:
            return f"   no  {', '.join(self.refused[node].reasons)}"
        parts = ", ".join(f"{plugin} {points}" for plugin, points in self.points[node].items())
        return f"{self.total(node):5}  {parts}"


class Event(NamedTuple):
    """A line of `kubectl get events`."""

    at_s: float
    reason: str
    about: str
    message: str

    def __str__(self) -> str:
        return f"t={self.at_s:g} s  {self.reason}  {self.about}: {self.message}"


class Queued(NamedTuple):
    """Sorts as PrioritySort does: the higher priority, then the earlier arrival."""

    minus_priority: int
    arrival: int
    request: GPURequest


class Running(NamedTuple):
    """A request and the pods that were bound for it."""

    request: GPURequest
    pods: tuple[Pod, ...]


def _names(request: GPURequest) -> set[str]:
    return {request.name, *(pod.name for pod in request.pods())}


class GPUScheduler:
    """A cluster with its queue. Bad input raises and changes nothing."""

    def __init__(
        self,
        nodes: Iterable[GPUNode] = (),
        profile: Profile = DEFAULT_PROFILE,
        ties: random.Random | None = None,
        budgets: Sequence[preemption.DisruptionBudget] = (),
    ) -> None:
        check("scheduler", a(Profile)(Field(profile, "profile")))
        if not (ties is None or isinstance(ties, random.Random)):
            raise Invalid("scheduler", [Field(ties, "ties").invalid("must be a random.Random, or None")])
        self.profile, self.ties, self.budgets = profile, ties, budgets
        self.nodes: dict[str, NodeInfo] = {}
        self.running: dict[str, Running] = {}
        self.events: list[Event] = []
        self._queue: list[Queued] = []
        self._names: set[str] = set()
        self._arrivals = count()
        self._start = 0
        for node in nodes:
            self.add_node(node)

    @property
    def pending(self) -> tuple[GPURequest, ...]:
        """What waits, in the order in which it will be tried."""
        return tuple(queued.request for queued in self._queue)

    def add_node(self, node: GPUNode) -> None:
        if node.name in self.nodes:
            raise already_exists("node", node.name)
        self.nodes[node.name] = NodeInfo(node)

    def submit(self, request: GPURequest) -> None:
        """Put a request into the queue, behind those of its priority."""
        if taken := _names(request) & self._names:
            raise already_exists("pod", min(taken))
        self._names |= _names(request)
        self._enqueue(request)

    def schedule(self, now_s: float = 0.0) -> list[tuple[str, str]]:
        """Try all that waits, once and in order; who does not fit holds up nobody. The (pod, node) pairs bound."""
        check("schedule", real()(Field(now_s, "now_s")))
        bound: list[tuple[str, str]] = []
        waiting: list[Queued] = []
        while self._queue:
            queued = self._queue.pop(0)
            pods = self._reserve(queued.request, now_s)
            if pods:
                bound += self._bind(queued.request, pods, now_s)
            else:
                waiting.append(queued)
        self._queue = waiting
        return bound

    def release(self, name: str) -> None:
        """The request is done, or withdrawn while it waits: each node gets back exactly what it gave."""
        if name in self.running:
            request, pods = self.running.pop(name)
            self._give_back(pods)
        elif queued := next((queued for queued in self._queue if queued.request.name == name), None):
            request = queued.request
            self._queue.remove(queued)
        else:
            raise not_found("pod", name)
        self._names -= _names(request)

    def explain(self, request: GPURequest) -> Explanation:
        """What each node would say now of a pod of the request, all nodes being asked; nothing is changed."""
        pod = request.pods()[0]
        found = find_feasible(pod, list(self.nodes.values()), 0, len(self.nodes))
        return Explanation(found.refused, score_nodes(pod, found.feasible, self.profile.plugins))

    def status(self) -> dict[str, Any]:
        """The cluster in numbers, under the source notebook's names."""
        infos = self.nodes.values()
        total, free = sum(info.node.gpu_count for info in infos), sum(info.free_gpus for info in infos)
        return {
            "total_gpus": total,
            "available_gpus": free,
            "utilization": (total - free) / total if total else 0.0,
            "pending_jobs": len(self._queue),
            "running_jobs": len(self.running),
            "nodes": [
                {
                    "name": info.node.name,
                    "gpu_type": info.node.gpu_type,
                    "available": f"{info.free_gpus}/{info.node.gpu_count}",
                }
                for info in infos
            ],
        }

    def _enqueue(self, request: GPURequest) -> None:
        insort(self._queue, Queued(-request.priority, next(self._arrivals), request))

    def _reserve(self, request: GPURequest, now_s: float) -> list[Pod]:
        """A node for every pod of the request; if one finds none, all reservations are given back."""
        reserved: list[Pod] = []
        for pod in request.pods():
            node = self._node_for(pod, now_s, may_preempt=request.gang_size == 1)
            if node is None:
                self._give_back(reserved)
                self._say_unsatisfied(request, len(reserved), now_s)
                return []
            reserved.append(Pod(pod, node, now_s))
            self.nodes[node].add(reserved[-1])
        return reserved

    def _bind(self, request: GPURequest, pods: list[Pod], now_s: float) -> list[tuple[str, str]]:
        self.running[request.name] = Running(request, tuple(pods))
        bound = [(pod.request.name, pod.node) for pod in pods]
        for name, node in bound:
            self._say(now_s, "Scheduled", name, f"Successfully assigned default/{name} to {node}")
        return bound

    def _node_for(self, pod: GPURequest, now_s: float, may_preempt: bool) -> str | None:
        """The best of the nodes that were found to fit, or the one that an eviction makes fit."""
        infos = list(self.nodes.values())
        enough = feasible_to_find(len(infos), self.profile.percentage_of_nodes_to_score)
        found = find_feasible(pod, infos, self._start, enough)
        self._start = (self._start + found.looked_at) % (len(infos) or 1)
        if found.feasible:
            return self._best(pod, found.feasible)
        victims, said = preemption.preempt(pod, infos, found.refused, self.budgets) if may_preempt else (None, "")
        self._say(now_s, "FailedScheduling", pod.name, f"{found.fit_error()} {said}".rstrip())
        if victims is None:
            return None
        self._evict(victims, pod.name, now_s)
        return victims.node

    def _best(self, pod: GPURequest, feasible: list[NodeInfo]) -> str:
        """The node with the most points; one alone is not scored."""
        if len(feasible) == 1:
            return feasible[0].node.name
        points = score_nodes(pod, feasible, self.profile.plugins)
        totals = {node: sum(points[node].values()) for node in self.nodes if node in points}
        highest = max(totals.values())
        best = [node for node, total in totals.items() if total == highest]
        return self.ties.choice(best) if self.ties else best[0]

    def _evict(self, victims: preemption.Victims, by: str, now_s: float) -> None:
        """The victims go, with them the rest of their gangs, and their Jobs queue again."""
        gone = {victim.request.name for victim in victims.pods}
        for name, (request, pods) in list(self.running.items()):
            if gone & {pod.request.name for pod in pods}:
                del self.running[name]
                self._give_back(pods)
                self._enqueue(request)
                for pod in pods:
                    self._say(now_s, "Preempted", pod.request.name, f"Preempted by pod {by} on node {pod.node}")

    def _give_back(self, pods: Iterable[Pod]) -> None:
        for pod in pods:
            self.nodes[pod.node].remove(pod.request.name)

    def _say_unsatisfied(self, gang: GPURequest, scheduled: int, now_s: float) -> None:
        if gang.gang_size > 1:
            remaining = gang.gang_size - scheduled - 1
            said = f"minCount ({gang.gang_size}) cannot be satisfied: {scheduled} scheduled, {remaining} remaining"
            self._say(now_s, "Unschedulable", gang.name, said)

    def _say(self, at_s: float, reason: str, about: str, message: str) -> None:
        self.events.append(Event(at_s, reason, about, message))
