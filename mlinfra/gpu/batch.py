"""The scheduling cycle for thousands of nodes: filter and score what has changed, once for a kind of pod.

Pods of one kind see the same nodes, and a placement changes one of them. So each kind keeps the verdict and the points
of every node, and renews those of the nodes that have changed since it was last asked; Kubernetes' opportunistic
batching (KEP-5598) goes the same way for pods that follow each other. Decisions, events and ties are those of
`GPUScheduler`, which is the definition and the oracle of the tests.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import (
    OF_ITS_PODS,
    OF_THE_NODE,
    Refusal,
    Search,
    num_feasible_nodes_to_find,
    refusal,
    unavailable,
)
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PodKind
from mlinfra.gpu.preemption import NO_VICTIMS, NOT_HELPFUL, DisruptionBudget
from mlinfra.gpu.profile import DEFAULT_PROFILE, Profile
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.gpu.scoring import BalancedAllocation, BestFit, NodeResourcesFit, ScorePlugin

OWN_POINTS = (BalancedAllocation, BestFit, NodeResourcesFit)
"""Plugins whose points of a node do not depend on the other nodes: they do not normalize."""
MOST_KINDS = 512
"""So many kinds are remembered; the one that was made first is forgotten first."""


class KindTable:
    """What one kind of pod finds on each node, by the node's number: a refusal, or points.

    `points` is the sum of the plugins that do not look at other nodes; of the others it has the raw points, and how
    many nodes have each value.
    """

    def __init__(self, pod: GPURequest, plugins: Iterable[ScorePlugin]) -> None:
        self.pod, self.seen_changes = pod, 0
        plugins = tuple(plugins)
        self.own = tuple(plugin for plugin in plugins if isinstance(plugin, OWN_POINTS))
        self.relative = tuple(plugin for plugin in plugins if not isinstance(plugin, OWN_POINTS))
        self.feasible: list[int] = []
        self.refused: dict[int, Refusal] = {}
        self.of_the_node: dict[int, tuple[GPUNode, Refusal | None]] = {}
        self.reasons: Counter[str] = Counter()
        self.resolvable = 0
        self.points: dict[int, int] = {}
        self.raw: list[dict[int, int]] = [{} for _ in self.relative]
        self.values: list[Counter[int]] = [Counter() for _ in self.relative]

    def renew(self, number: int, info: NodeInfo | None) -> None:
        """The node as it is now; None when it is gone."""
        self._forget(number)
        if info is None:
            self.of_the_node.pop(number, None)
            return
        verdict = self._of_the_node(number, info) or refusal(self.pod, info, OF_ITS_PODS)
        if verdict:
            self.refused[number] = verdict
            self.reasons.update(verdict.reasons)
            self.resolvable += verdict.resolvable
            return
        insort(self.feasible, number)
        self.points[number] = sum(plugin.score(self.pod, info) * plugin.weight for plugin in self.own)
        for plugin, raw, values in zip(self.relative, self.raw, self.values, strict=True):
            raw[number] = plugin.score(self.pod, info)
            values[raw[number]] += 1

    def _of_the_node(self, number: int, info: NodeInfo) -> Refusal | None:
        """What the filters say that look at the node alone: asked once for each node as it is."""
        node, verdict = self.of_the_node.get(number, (None, None))
        if node is not info.node:
            verdict = refusal(self.pod, info, OF_THE_NODE)
            self.of_the_node[number] = info.node, verdict
        return verdict

    def _forget(self, number: int) -> None:
        if verdict := self.refused.pop(number, None):
            self.reasons.subtract(verdict.reasons)
            self.resolvable -= verdict.resolvable
        elif number in self.points:
            del self.points[number]
            del self.feasible[bisect_left(self.feasible, number)]
            for raw, values in zip(self.raw, self.values, strict=True):
                value = raw.pop(number)
                values[value] -= 1
                if not values[value]:
                    del values[value]

    def totals(self, numbers: Sequence[int]) -> list[int]:
        """The points of these nodes, but for what a plugin gives to all of them alike."""
        totals = [self.points[number] for number in numbers]
        for plugin, raw, values in zip(self.relative, self.raw, self.values, strict=True):
            if len(values) > 1:
                scores = plugin.normalize_score(self.pod, [raw[number] for number in numbers])
                totals = [total + score * plugin.weight for total, score in zip(totals, scores, strict=True)]
        return totals


class BatchScheduler(GPUScheduler):
    """A GPUScheduler that decides the same, and faster where many nodes meet few kinds of pods."""

    def __init__(
        self,
        nodes: Iterable[GPUNode] = (),
        profile: Profile = DEFAULT_PROFILE,
        ties: random.Random | None = None,
        budgets: Sequence[DisruptionBudget] = (),
    ) -> None:
        self._tables: dict[PodKind, KindTable] = {}
        self._numbers: dict[str, int] = {}
        self._by_number: dict[int, str] = {}
        self._order: list[int] = []
        self._log: list[int] = []
        self._priorities: Counter[int] = Counter()
        super().__init__(nodes, profile, ties, budgets)

    def add_node(self, node: GPUNode) -> None:
        """Numbers grow in the order in which nodes come, and are not used again."""
        super().add_node(node)
        number = len(self._by_number)
        self._numbers[node.name], self._by_number[number] = number, node.name
        self._order.append(number)
        self._log.append(number)

    def remove_node(self, name: str, now_s: float = 0.0) -> None:
        super().remove_node(name, now_s)
        number = self._numbers.pop(name)
        del self._order[bisect_left(self._order, number)]
        self._log.append(number)

    def _changed(self, node: str) -> None:
        super()._changed(node)
        if node in self._numbers:
            self._log.append(self._numbers[node])

    def feasible_nodes(self, pod: GPURequest) -> Iterator[str]:
        """The nodes that pass the filters for a pod, in their order."""
        return map(self._by_number.__getitem__, self._table(pod).feasible)

    def may_fit(self, pod: GPURequest) -> bool:
        """Whether a cycle for the pod can end well: a node takes it, or somebody is less important."""
        return self._lowest_priority(pod) < pod.priority or bool(self._table(pod).feasible)

    def _lowest_priority(self, pod: GPURequest) -> int:
        return min((priority for priority, pods in self._priorities.items() if pods), default=pod.priority)

    def _table(self, pod: GPURequest) -> KindTable:
        """The kind's table, up to date."""
        table = self._tables.get(pod.kind)
        if table is None:
            if len(self._tables) >= MOST_KINDS:
                del self._tables[next(iter(self._tables))]
            table = self._tables[pod.kind] = KindTable(pod, self.profile.plugins)
            changed: Iterable[int] = self._order
        else:
            changed = set(self._log[table.seen_changes :])
        for number in changed:
            name = self._by_number[number]
            table.renew(number, self.nodes[name] if self._numbers.get(name) == number else None)
        table.seen_changes = len(self._log)
        return table

    def _schedule_pod(self, pod: GPURequest, now_s: float, may_preempt: bool) -> str | None:
        table = self._table(pod)
        window = self._window(table)
        if len(window) > 1:
            return self._best(table, window)
        if window:
            return self._by_number[window[0]]
        return self._nothing_fits(table, pod, now_s, may_preempt)

    def _window(self, table: KindTable) -> list[int]:
        """The feasible nodes that the plain search would find, going round from where the last one ended."""
        feasible, nodes = table.feasible, len(self._order)
        if not nodes:
            return []
        enough = num_feasible_nodes_to_find(nodes, self.profile.percentage_of_nodes_to_score)
        start = self._next_start_node_index
        if len(feasible) < enough:
            return feasible
        first = bisect_left(feasible, self._order[start])
        window = feasible[first : first + enough]
        window += feasible[: enough - len(window)]
        processed = (bisect_left(self._order, window[-1]) - start) % nodes + 1
        self._next_start_node_index = (start + processed) % nodes
        return window

    def _best(self, table: KindTable, window: Sequence[int]) -> str:
        """The node with the most points; of several the first in the order of nodes, or one that is drawn."""
        totals = table.totals(window)
        highest = max(totals)
        best = sorted(number for number, total in zip(window, totals, strict=True) if total == highest)
        return self._by_number[self.ties.choice(best) if self.ties else best[0]]

    def _nothing_fits(self, table: KindTable, pod: GPURequest, now_s: float, may_preempt: bool) -> str | None:
        """As the plain scheduler; where nobody is less important, no node has to be tried for victims."""
        if self._lowest_priority(pod) < pod.priority and pod.preempts and may_preempt:
            refused = {self._by_number[number]: verdict for number, verdict in table.refused.items()}
            return self._post_filter(pod, Search([], refused), now_s, may_preempt)
        message = unavailable(len(table.refused), (+table.reasons).elements())
        if may_preempt and self.nodes:
            message += f" {self._why_no_preemption(table, pod)}"
        self._record_event(now_s, "FailedScheduling", pod.name, message)
        return None

    def _why_no_preemption(self, table: KindTable, pod: GPURequest) -> str:
        if not pod.preempts:
            return "preemption: not eligible due to preemptionPolicy=Never."
        counts: Mapping[str, int] = Counter(
            {
                NO_VICTIMS.reasons[0]: table.resolvable,
                NOT_HELPFUL.reasons[0]: len(table.refused) - table.resolvable,
            }
        )
        return f"preemption: {unavailable(len(table.refused), Counter(counts).elements())}"

    def _reserve(self, pod: GPURequest, node: str, now_s: float) -> BoundPod:
        self._priorities[pod.priority] += 1
        return super()._reserve(pod, node, now_s)

    def _unreserve(self, pods: Iterable[BoundPod]) -> None:
        pods = list(pods)
        for pod in pods:
            self._priorities[pod.request.priority] -= 1
        super()._unreserve(pods)
