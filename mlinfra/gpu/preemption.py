"""Whom a pod may evict, and on which node: DefaultPreemption.

Follows Kubernetes 1.36.3, `pkg/scheduler/framework/preemption` and `plugins/defaultpreemption`, with the event's words
of 1.37. (1.37 may count budgets otherwise: it stops at the first that a pod breaks.) Where upstream starts at a random
node and takes the first of a random list, this starts at the first node and keeps the nodes' order. What a budget
allows stays as given: a real one shrinks until the replacement of an evicted pod is healthy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mlinfra.admission.rules import Field, refuse, whole
from mlinfra.gpu.cluster import GPURequest, NodeInfo, Pod
from mlinfra.gpu.filters import Refusal, refusal, unavailable

PRIORITY_OFFSET = 2**31
MIN_CANDIDATES_PERCENT, MIN_CANDIDATES = 10, 100
NOT_HELPFUL = Refusal(("Preemption is not helpful for scheduling",))
NO_VICTIMS = Refusal(("No preemption victims found for incoming pod",))


@dataclass(frozen=True)
class DisruptionBudget:
    """A PodDisruptionBudget as preemption sees it: whom it protects, and how many of them may go now."""

    match_labels: Mapping[str, str]
    disruptions_allowed: int

    def __post_init__(self) -> None:
        refuse("disruption budget", whole(0)(Field(self.disruptions_allowed, "disruptions_allowed")))

    def covers(self, pod: Pod) -> bool:
        labels = pod.request.labels
        return bool(self.match_labels) and all(labels.get(key) == value for key, value in self.match_labels.items())


class Victims(NamedTuple):
    """Who would have to go from a node, the most important first, and how many of them a budget protects."""

    node: str
    pods: tuple[Pod, ...]
    budget_violations: int = 0


def importance(pod: Pod) -> tuple[int, float]:
    """Sorts the most important first: the higher priority, then the earlier start."""
    return -pod.request.priority, pod.start_s


def select_victims(pod: GPURequest, info: NodeInfo, budgets: Sequence[DisruptionBudget] = ()) -> Victims | Refusal:
    """Remove all pods of lower priority; if the pod then fits, put back who can stay, the protected first."""
    lower = sorted((p for p in info.pods.values() if p.request.priority < pod.priority), key=importance)
    if not lower:
        return NO_VICTIMS
    node = info.copy()
    for victim in lower:
        node.remove(victim.request.name)
    if verdict := refusal(pod, node):
        return verdict
    protected = violating(lower, budgets)
    others = [p for p in lower if p not in protected]
    victims = [p for p in protected + others if not reprieved(p, pod, node)]
    return Victims(info.node.name, tuple(sorted(victims, key=importance)), sum(p in protected for p in victims))


def reprieved(victim: Pod, pod: GPURequest, node: NodeInfo) -> bool:
    """Put the victim back if the pod still fits beside it."""
    node.add(victim)
    if refusal(pod, node) is None:
        return True
    node.remove(victim.request.name)
    return False


def violating(pods: Iterable[Pod], budgets: Sequence[DisruptionBudget]) -> list[Pod]:
    """Pods that take a budget below zero; each uses one disruption of every budget that covers it."""
    left = [budget.disruptions_allowed for budget in budgets]
    violations = []
    for pod in pods:
        covering = [i for i, budget in enumerate(budgets) if budget.covers(pod)]
        for i in covering:
            left[i] -= 1
        if any(left[i] < 0 for i in covering):
            violations.append(pod)
    return violations


class Cost(NamedTuple):
    """What an eviction costs; the smallest wins, compared from left to right."""

    budget_violations: int
    highest_priority: int
    sum_of_priorities: int
    victims: int
    minus_latest_start_s: float


def cost(victims: Victims) -> Cost:
    """`pickOneNodeForPreemption`: of the most important victims the earliest start counts, and late is better."""
    if not victims.pods:  # a node where nobody has to go
        return Cost(0, -PRIORITY_OFFSET, 0, 0, 0.0)
    highest = victims.pods[0].request.priority
    earliest_s = min(p.start_s for p in victims.pods if p.request.priority == highest)
    total = sum(p.request.priority + PRIORITY_OFFSET for p in victims.pods)
    return Cost(victims.budget_violations, highest, total, len(victims.pods), -earliest_s)


def dry_run(
    pod: GPURequest, infos: Sequence[NodeInfo], budgets: Sequence[DisruptionBudget] = ()
) -> dict[str, Victims | Refusal]:
    """The victims on each node, or why there are none, until there are as many candidates as upstream looks for."""
    enough = max(len(infos) * MIN_CANDIDATES_PERCENT // 100, MIN_CANDIDATES)
    outcome: dict[str, Victims | Refusal] = {}
    candidates: list[Victims] = []
    for info in infos:
        outcome[info.node.name] = verdict = select_victims(pod, info, budgets)
        candidates += [verdict] if isinstance(verdict, Victims) else []
        if len(candidates) >= enough and any(not victims.budget_violations for victims in candidates):
            break
    return outcome


def preempt(
    pod: GPURequest, infos: Sequence[NodeInfo], refused: Mapping[str, Refusal], budgets: Sequence[DisruptionBudget] = ()
) -> tuple[Victims | None, str]:
    """The cheapest eviction that makes room on one node, if there is one, and what the event says about it.

    Of candidates that cost the same the first wins; upstream takes the first of a random order.
    """
    if not infos:
        return None, ""
    if pod.priority_class.preemption_policy == "Never":
        return None, "preemption: not eligible due to preemptionPolicy=Never."
    outcome = dry_run(pod, [info for info in infos if refused[info.node.name].resolvable], budgets)
    if candidates := [victims for victims in outcome.values() if isinstance(victims, Victims)]:
        best = min(candidates, key=cost)
        message = f"found a potential placement for pod on node {best.node}, preempting {len(best.pods)} victims"
        return best, f"preemption: {message}"
    verdicts = [outcome.get(info.node.name, NOT_HELPFUL) for info in infos]
    reasons = [reason for verdict in verdicts if isinstance(verdict, Refusal) for reason in verdict.reasons]
    return None, f"preemption: {unavailable(len(infos), reasons)}"
