"""The scheduling cycle as kube-scheduler runs it: queue, filter, score, select, bind; preemption; gangs, all or none.

Follows Kubernetes 1.37, `pkg/scheduler/schedule_one.go`, in one thread: binding and eviction take no time, and the Job
of an evicted pod makes a new one at once (of a gang, all of them). Ties, which upstream breaks at random, go to the
first node in the order in which nodes were added, or are drawn from the generator that you pass. A gang preempts with
`gang_preemption` (upstream since 1.36, behind a gate that is off). There is no back-off. Events name the pod that
preempts, where upstream has its UID.
"""

from __future__ import annotations

import random
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from mlinfra.admission.rules import expect
from mlinfra.gpu import gangs, preemption
from mlinfra.gpu.cluster import BoundPod, Devices, NodeInfo, already_exists, not_found
from mlinfra.gpu.filters import Refusal, Search, find_nodes_that_pass_filters, num_feasible_nodes_to_find
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.gpu.scoring import prioritize_nodes
from mlinfra.simulation import Event
from mlinfra.tables import verdicts


@dataclass(frozen=True)
class Explanation:
    """Why each node refuses a pod, or how many points each plugin gives it."""

    refused: Mapping[str, Refusal]
    points: Mapping[str, Mapping[str, int]]

    def total(self, node: str) -> int:
        return sum(self.points[node].values())

    def __str__(self) -> str:
        refused = {node: ", ".join(refusal.reasons) for node, refusal in self.refused.items()}
        return verdicts(self.points, self.total, refused)


class QueuedRequest(NamedTuple):
    """Sorts as PrioritySort does: the higher priority, then the earlier arrival."""

    minus_priority: int
    arrival: int
    request: GPURequest


class Running(NamedTuple):
    """A request as it was submitted, perhaps a gang, and the pods that were bound for it."""

    request: GPURequest
    pods: tuple[BoundPod, ...]


def names_of(request: GPURequest) -> set[str]:
    """The request's own name, and those of its pods."""
    return {request.name, *(pod.name for pod in request.pods())}


class GPUScheduler:
    """A cluster with its queue. Bad input raises and changes nothing."""

    def __init__(
        self,
        nodes: Iterable[GPUNode] = (),
        profile: Profile = DEFAULT_PROFILE,
        ties: random.Random | None = None,
        budgets: Sequence[preemption.DisruptionBudget] = (),
        gang_preemption: bool = False,
    ) -> None:
        self.profile, self.ties, self.budgets, self.gang_preemption = profile, ties, budgets, gang_preemption
        self.nodes: dict[str, NodeInfo] = {}
        self.running: dict[str, Running] = {}
        self.events: list[Event] = []
        self.changes: list[str] = []  # names of nodes, one for each change
        self._failed: set[str] = set()
        self._queue: list[QueuedRequest] = []
        self._arrivals = count()
        self._names: set[str] = set()
        self._next_start_node_index = 0
        for node in nodes:
            self.add_node(node)

    def add_node(self, node: GPUNode) -> None:
        expect(GPUNode, "node", node)
        if node.name in self.nodes:
            raise already_exists("node", node.name)
        self.nodes[node.name] = NodeInfo(node)
        self._changed(node.name)

    def update_node(self, node: GPUNode) -> None:
        """The node offers something else, such as GPUs whose device plugin is up now; its pods stay."""
        if node.name not in self.nodes:
            raise not_found("node", node.name)
        info = self.nodes[node.name]
        self.nodes[node.name] = NodeInfo(node, tuple(info.pods.values()), info.devices)
        self._changed(node.name)

    def publish(self, name: str, devices: Devices) -> None:
        """DRA drivers have published what the node has: pods with claims may come."""
        if name not in self.nodes:
            raise not_found("node", name)
        self.nodes[name].devices = devices
        self._changed(name)

    def remove_node(self, name: str, now_s: float = 0.0) -> None:
        """The node is gone; each of its pods leaves with the rest of its gang, and its Job queues again."""
        if name not in self.nodes:
            raise not_found("node", name)
        self._evict(set(self.nodes[name].pods), "ScaleDown", "deleting pod for node scale down", now_s)
        del self.nodes[name]
        self._next_start_node_index %= max(1, len(self.nodes))
        self._changed(name)

    def _changed(self, node: str) -> None:
        """Something is different on a node."""
        self.changes.append(node)

    def add_bound_pod(self, request: GPURequest, node: str) -> None:
        """A pod that already runs on a node of the cluster, as a scheduler finds it when it starts."""
        if node not in self.nodes:
            raise not_found("node", node)
        if request.name in self._names:
            raise already_exists("pod", request.name)
        self._names.add(request.name)
        self.running[request.name] = Running(request, (self._reserve(request, node, 0.0),))

    def submit(self, request: GPURequest) -> None:
        """Put a request into the queue, behind those of its priority."""
        expect(GPURequest, "request", request)
        if conflicts := names_of(request) & self._names:
            raise already_exists("pod", min(conflicts))
        self._names |= names_of(request)
        self._enqueue(request)

    def _enqueue(self, request: GPURequest) -> None:
        insort(self._queue, QueuedRequest(-request.priority, next(self._arrivals), request))

    @property
    def pending(self) -> tuple[GPURequest, ...]:
        """The requests that wait, in the order in which they will be tried."""
        return tuple(entry.request for entry in self._queue)

    def schedule(self, now_s: float = 0.0, retry: Callable[[GPURequest], bool] | None = None) -> list[tuple[str, str]]:
        """The (pod, node) pairs bound by trying each request once, in order; one that does not fit blocks no other.

        Victims of preemption queue again and are tried in the same call. With `retry`, of the requests that failed
        before only those are tried for which it holds: upstream's queueing hints.
        """
        bindings: list[tuple[str, str]] = []
        waiting: list[QueuedRequest] = []
        while self._queue:
            entry = self._queue.pop(0)
            is_hopeless = retry is not None and entry.request.name in self._failed and not retry(entry.request)
            pods = [] if is_hopeless else self._pods_with_nodes(entry.request, now_s)
            if pods:
                self._failed.discard(entry.request.name)
                bindings += self._bind(entry.request, pods, now_s)
            else:
                self._failed.add(entry.request.name)
                waiting.append(entry)
        self._queue = waiting
        return bindings

    def _pods_with_nodes(self, request: GPURequest, now_s: float) -> list[BoundPod]:
        """By the cycle, or, for a gang that may evict, by preemption."""
        return self._scheduling_cycle(request, now_s) or self._preempt_for_gang(request, now_s)

    def _scheduling_cycle(self, request: GPURequest, now_s: float) -> list[BoundPod]:
        """A reserved node for every pod of the request; empty if one pod finds none, and all are given back."""
        reservations: list[BoundPod] = []
        for pod in request.pods():
            node = self._schedule_pod(pod, now_s, may_preempt=request.gang_size == 1)
            if node is None:
                self._unreserve(reservations)
                self._reject_gang(request, len(reservations), now_s)
                return []
            reservations.append(self._reserve(pod, node, now_s))
        return reservations

    def _schedule_pod(self, pod: GPURequest, now_s: float, may_preempt: bool) -> str | None:
        """Filter, score, select: the pod's node, or None. A single feasible one is not scored; without one, preempt."""
        search = self._find_nodes_that_fit_pod(pod)
        if len(search.feasible) > 1:
            points = prioritize_nodes(pod, search.feasible, self.profile.plugins)
            return self._select_host(points)
        if search.feasible:
            return search.feasible[0].node.name
        return self._post_filter(pod, search, now_s, may_preempt)

    def _find_nodes_that_fit_pod(self, pod: GPURequest) -> Search:
        """Filter until enough nodes fit; the next search starts where this one ends."""
        infos = list(self.nodes.values())
        enough = num_feasible_nodes_to_find(len(infos), self.profile.percentage_of_nodes_to_score)
        start = self._next_start_node_index
        search = find_nodes_that_pass_filters(pod, infos, start, enough)
        self._next_start_node_index = (start + search.processed_nodes) % max(1, len(infos))
        return search

    def _select_host(self, points: Mapping[str, Mapping[str, int]]) -> str:
        """The node with the highest sum of weighted points."""
        totals = {node: sum(points[node].values()) for node in self.nodes if node in points}
        highest = max(totals.values())
        best = [node for node, total in totals.items() if total == highest]
        return self.ties.choice(best) if self.ties else best[0]

    def _post_filter(self, pod: GPURequest, search: Search, now_s: float, may_preempt: bool) -> str | None:
        """The node that preemption has made free, which the pod takes at once here, or None; victims are evicted."""
        victims, message = None, ""
        if may_preempt and self.nodes:
            victims, message = preemption.preempt(pod, list(self.nodes.values()), search.refused, self.budgets)
        self._record_event(now_s, "FailedScheduling", pod.name, f"{search.fit_error()} {message}".rstrip())
        if victims is None:
            return None
        self._preempt(victims.pods, pod.name, now_s)
        return victims.node

    def _preempt_for_gang(self, request: GPURequest, now_s: float) -> list[BoundPod]:
        """The nodes that eviction has made free for a whole gang; empty where it may not evict, or that does not help.

        Gangs are evicted whole, whatever their mode, since their Jobs start again as a whole.
        """
        if not self.gang_preemption or request.gang_size == 1:
            return []
        running = [gangs.gang(each.request, gangs.ALL) for each in self.running.values() if each.request.gang_size > 1]
        infos = list(self.nodes.values())
        verdict = gangs.preempt(gangs.gang(request), infos, running, self.budgets, self.profile, now_s)
        if isinstance(verdict, str):
            self._record_event(now_s, "FailedScheduling", request.name, verdict)
            return []
        self._preempt(verdict.evicted, verdict.placements[0].request.name, now_s)
        return [self._reserve(placement.request, placement.node, now_s) for placement in verdict.placements]

    def _preempt(self, victims: Iterable[BoundPod], preemptor: str, now_s: float) -> None:
        names = {victim.request.name for victim in victims}
        self._evict(names, "Preempted", f"Preempted by pod {preemptor} on node {{node}}", now_s)

    def _evict(self, names: set[str], reason: str, message: str, now_s: float) -> None:
        """Each of these pods leaves with the rest of its gang, and its Job queues again; the message may say {node}."""
        for name, (request, pods) in list(self.running.items()):
            if names & {pod.request.name for pod in pods}:
                del self.running[name]
                self._unreserve(pods)
                self._enqueue(request)
                for pod in pods:
                    self._record_event(now_s, reason, pod.request.name, message.format(node=pod.node))

    def _reserve(self, pod: GPURequest, node: str, now_s: float) -> BoundPod:
        """The pod on its node, which counts from now on."""
        reservation = BoundPod(pod, node, now_s)
        self.nodes[node].add(reservation)
        self._changed(node)
        return reservation

    def _unreserve(self, pods: Iterable[BoundPod]) -> None:
        for pod in pods:
            info = self.nodes[pod.node]
            info.remove(pod.request.name)
            if info.devices:
                info.devices.release(pod.request.name)
            self._changed(pod.node)

    def _reject_gang(self, gang: GPURequest, scheduled: int, now_s: float) -> None:
        """The event of a gang in which one pod found no node; a single pod has had its own."""
        if gang.gang_size > 1:
            remaining = gang.gang_size - scheduled - 1
            message = f"minCount ({gang.gang_size}) cannot be satisfied: {scheduled} scheduled, {remaining} remaining"
            self._record_event(now_s, "Unschedulable", gang.name, message)

    def _bind(self, request: GPURequest, pods: list[BoundPod], now_s: float) -> list[tuple[str, str]]:
        """The request runs; the (pod, node) pairs."""
        self.running[request.name] = Running(request, tuple(pods))
        bindings = [(pod.request.name, pod.node) for pod in pods]
        for name, node in bindings:
            self._record_event(now_s, "Scheduled", name, f"Successfully assigned default/{name} to {node}")
        return bindings

    def _record_event(self, at_s: float, reason: str, about: str, message: str) -> None:
        self.events.append(Event(at_s, reason, about, message))

    def release(self, name: str) -> None:
        """The request is done, or withdrawn while it waits: each node gets back exactly what it gave."""
        if name in self.running:
            request, pods = self.running.pop(name)
            self._unreserve(pods)
        else:
            waiting = [entry for entry in self._queue if entry.request.name == name]
            if not waiting:
                raise not_found("pod", name)
            request = waiting[0].request
            self._queue.remove(waiting[0])
        self._names -= names_of(request)
        self._failed.discard(name)

    def explain(self, request: GPURequest) -> Explanation:
        """The verdict of every node on a pod of the request, as things are; nothing is changed."""
        expect(GPURequest, "request", request)
        pod = request.pods()[0]
        search = find_nodes_that_pass_filters(pod, list(self.nodes.values()), 0, len(self.nodes))
        return Explanation(search.refused, prioritize_nodes(pod, search.feasible, self.profile.plugins))

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
