"""Whom a pod may evict, and on which node: DefaultPreemption.

Follows Kubernetes 1.36.3, `pkg/scheduler/framework/preemption` and `plugins/defaultpreemption`, with the event's words
of 1.37, which counts budgets otherwise: a pod uses none of those after the first that it breaks. Where upstream starts
at a random node and takes the first of a random list, this starts at the first node and keeps the nodes' order. What a
budget allows stays as given: a real one shrinks until the replacement of an evicted pod is healthy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mlinfra.admission import Count, accepted, check
from mlinfra.gpu.affinity import Requirement, term_matches
from mlinfra.gpu.cluster import BoundPod, NodeInfo
from mlinfra.gpu.filters import Refusal, refusal, unavailable
from mlinfra.gpu.pods import GPURequest
from mlinfra.manifest import Manifest

PRIORITY_OFFSET = 2**31
"""Makes every priority positive, so that one victim more always costs more."""
MIN_CANDIDATES_PERCENT, MIN_CANDIDATES = 10, 100
NOT_HELPFUL = Refusal(("Preemption is not helpful for scheduling",))
NO_VICTIMS = Refusal(("No preemption victims found for incoming pod",))


@dataclass(frozen=True)
class DisruptionBudget:
    """A PodDisruptionBudget as preemption sees it: which pods it covers, and how many of them may go now."""

    match_labels: Mapping[str, str]
    disruptions_allowed: Count
    match_expressions: tuple[Requirement, ...] = ()
    namespace: str = "default"

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> DisruptionBudget:
        """The budget of a PodDisruptionBudget and its status; Invalid when the API server would refuse it."""
        obj = accepted("PodDisruptionBudget", manifest)
        selector = obj.get("spec", {}).get("selector", {})
        return cls(
            selector.get("matchLabels", {}),
            max(0, obj.get("status", {}).get("disruptionsAllowed", 0)),
            tuple(map(Requirement.of, selector.get("matchExpressions", ()))),
            obj["metadata"].get("namespace", "default"),
        )

    def covers(self, pod: BoundPod) -> bool:
        """As `filterPodsWithPDBViolation` decides: an empty selector, and a pod without labels, match nothing."""
        labels = pod.request.labels
        return (
            self.namespace == pod.request.namespace
            and bool(labels and (self.match_labels or self.match_expressions))
            and all(labels.get(key) == value for key, value in self.match_labels.items())
            and term_matches(self.match_expressions, labels)
        )


Budgets = Sequence[DisruptionBudget]


class Victims(NamedTuple):
    """Who would have to go from a node, the most important first, and how many of them break a budget by that."""

    node: str
    pods: tuple[BoundPod, ...]
    budget_violations: int = 0


Outcome = dict[str, Victims | Refusal]
"""For each node that was tried its victims, or why there are none."""


def preempt(
    pod: GPURequest, infos: Sequence[NodeInfo], refused: Mapping[str, Refusal], budgets: Budgets = ()
) -> tuple[Victims | None, str]:
    """The cheapest eviction that makes room on one node, if there is one, and what the event says about it."""
    if not pod.preempts:
        return None, "preemption: not eligible due to preemptionPolicy=Never."
    helpful = [info for info in infos if refused[info.node.name].resolvable]
    outcome = dry_run(pod, helpful, budgets)
    candidates = [verdict for verdict in outcome.values() if isinstance(verdict, Victims)]
    if not candidates:
        return None, no_candidate(infos, outcome)
    best = min(candidates, key=cost)
    count = len(best.pods)
    return best, f"preemption: found a potential placement for pod on node {best.node}, preempting {count} victims"


def dry_run(pod: GPURequest, helpful: Sequence[NodeInfo], budgets: Budgets = ()) -> Outcome:
    """The victims on each of the helpful nodes, until enough are candidates and one of these breaks no budget."""
    enough = max(len(helpful) * MIN_CANDIDATES_PERCENT // 100, MIN_CANDIDATES)
    outcome: Outcome = {}
    candidates: list[Victims] = []
    for info in helpful:
        verdict = select_victims(pod, info, budgets)
        outcome[info.node.name] = verdict
        if isinstance(verdict, Victims):
            candidates.append(verdict)
        if len(candidates) >= enough and any(victims.budget_violations == 0 for victims in candidates):
            break
    return outcome


def no_candidate(infos: Sequence[NodeInfo], outcome: Outcome) -> str:
    """How many nodes gave each reason; a node that was not tried cannot be helped."""
    verdicts = [outcome.get(info.node.name, NOT_HELPFUL) for info in infos]
    reasons = [reason for verdict in verdicts if isinstance(verdict, Refusal) for reason in verdict.reasons]
    return f"preemption: {unavailable(len(infos), reasons)}"


def select_victims(pod: GPURequest, info: NodeInfo, budgets: Budgets = ()) -> Victims | Refusal:
    """Remove all pods of lower priority; if the pod then fits, put back who can stay, violators of budgets first."""
    lower = [other for other in info.pods.values() if other.request.priority < pod.priority]
    if not lower:
        return NO_VICTIMS
    lower.sort(key=importance)
    node = info.copy()
    for other in lower:
        node.remove(other.request.name)
    if verdict := refusal(pod, node):
        return verdict
    violators = violating(lower, budgets)
    victims = []
    for other in violators + [other for other in lower if other not in violators]:
        if not reprieve(other, pod, node):
            victims.append(other)
    victims.sort(key=importance)
    return Victims(info.node.name, tuple(victims), sum(victim in violators for victim in victims))


def importance(pod: BoundPod) -> tuple[int, float]:
    """Sorts the most important first: the higher priority, then the earlier start."""
    return -pod.request.priority, pod.start_s


def violating(pods: Sequence[BoundPod], budgets: Budgets) -> list[BoundPod]:
    """The pods that break a budget if all go in this order; each uses one disruption of every budget it has."""
    allowed = [budget.disruptions_allowed for budget in budgets]
    violations = []
    for pod in pods:
        covering = [i for i, budget in enumerate(budgets) if budget.covers(pod)]
        for i in covering:
            allowed[i] -= 1
        if any(allowed[i] < 0 for i in covering):
            violations.append(pod)
    return violations


def reprieve(victim: BoundPod, pod: GPURequest, node: NodeInfo) -> bool:
    """Put the victim back if the pod still fits beside it; whether it did."""
    node.add(victim)
    if refusal(pod, node) is None:
        return True
    node.remove(victim.request.name)
    return False


class Cost(NamedTuple):
    """What an eviction costs; the smallest wins, compared from left to right."""

    budget_violations: int
    highest_priority: int
    sum_of_priorities: int
    victims: int
    minus_earliest_start_s: float


def cost(victims: Victims) -> Cost:
    """`pickOneNodeForPreemption`: the earliest start of the most important victims counts, and later is better."""
    if not victims.pods:  # nobody has to go, as when pods have left meanwhile: nothing is cheaper
        return Cost(0, -PRIORITY_OFFSET, 0, 0, 0.0)
    highest = victims.pods[0].request.priority
    earliest_s = min(pod.start_s for pod in victims.pods if pod.request.priority == highest)
    total = sum(pod.request.priority + PRIORITY_OFFSET for pod in victims.pods)
    return Cost(victims.budget_violations, highest, total, len(victims.pods), -earliest_s)
