"""Translates `nodefit_scoring.json` and `preemption.json` into calls of `mlinfra.gpu`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mlinfra.admission.rules import Invalid
from mlinfra.gpu import filters, preemption, scoring
from mlinfra.gpu.cluster import NONZERO_DEFAULTS, BoundPod, NodeInfo, nonzero
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass

Case = dict[str, Any]

FIELDS = {
    "decided_by",
    "default_requests",
    "derived_from_formula",
    "incoming",
    "incoming_priority",
    "kind",
    "node_capacity",
    "nodes",
    "pdbs",
    "pod",
    "points",
    "resources",
    "reverse",
    "scores",
    "shape",
    "skip_reason",
    "strategy",
    "weight",
}


def _node_scores(case: Case) -> Case:
    return case | {"expected": {"scores": case.pop("expect", [])}, "id": f"{case['strategy']}-{case['id']}"}


def _victims(case: Case) -> Case:
    expected = {"victims": {node: sorted(names) for node, names in case.pop("expect_victims").items()}}
    violations = case.pop("expect_pdb_violations", None)
    return case | {"expected": expected | ({} if violations is None else {"violations": violations})}


def _line(case: Case) -> Case:
    return case | {"expected": {"values": [y for _, y in case["points"]]}}


LISTS: dict[str, Callable[[Any], Case]] = {
    "cases": _node_scores,
    "broken_linear": _line,
    "invalid_weights": lambda weight: {"weight": weight, "expected": {"refused": True}},
    "normalize_derived_from_formula": lambda case: case | {"expected": {"scores": case.pop("expect")}},
    "sampling": lambda case: case | {"expected": {"feasible_to_find": case.pop("feasible_to_find")}},
    "pick_node": lambda case: case | {"expected": {"one_of": case.pop("expect_one_of")}},
    "select_victims": _victims,
    "post_filter": lambda case: case | {"expected": {"node": case.pop("expect_node")}},
}
"""These files hold one list for each kind of case, which is brought into the common form."""
REMARKS = {"weight_range", "order_pick", "order_reprieve"}


def cases(content: Case) -> list[Case]:
    """Every case of a file with its kind; a list that is not known is an error."""
    lists = {name: rows for name, rows in content.items() if isinstance(rows, list) and name not in REMARKS}
    if unknown := set(lists) - set(LISTS):
        raise pytest.UsageError(f"unknown lists of cases: {sorted(unknown)}")
    shared = {"node_capacity": content["node_capacity"]} if "node_capacity" in content else {}
    return [
        {"id": f"{kind}-{i}", **shared, "kind": kind} | LISTS[kind](row)
        for kind, rows in lists.items()
        for i, row in enumerate(rows)
    ]


def total(containers: Iterable[Case], case: Case) -> Counter[str]:
    """The sum of the containers' requests, with the defaults where the case has them."""
    assert case.get("default_requests", NONZERO_DEFAULTS) == NONZERO_DEFAULTS
    counted = nonzero if "default_requests" in case else dict[str, int]
    return sum((Counter(counted(container)) for container in containers), Counter())


def strategy(case: Case) -> scoring.Strategy:
    weights = {resource["name"]: resource["weight"] for resource in case["resources"]}
    if case["strategy"] == "RequestedToCapacityRatio":
        return scoring.RequestedToCapacityRatio(weights, tuple((x, y) for x, y in case["shape"]))
    return {"LeastAllocated": scoring.LeastAllocated, "MostAllocated": scoring.MostAllocated}[case["strategy"]](weights)


def node_scores(case: Case) -> Case:
    asked, scores = total(case["pod"], case), []
    for node in case["nodes"]:
        used = sum((total(pod, case) for pod in node["existing_pods"]), asked)
        scores.append(strategy(case).score(used, node["allocatable"], asked))
    return {"scores": scores}


def refused_weight(case: Case) -> Case:
    try:
        scoring.LeastAllocated({"cpu": case["weight"]})
    except Invalid:
        return {"refused": True}
    return {"refused": False}


def request(pod: Case) -> GPURequest:
    return GPURequest(
        pod["id"],
        cpu=f"{pod['cpu']}m",
        memory=pod["memory"],
        priority_class=PriorityClass(f"p{pod['priority']}", pod["priority"]),
        labels=pod.get("labels", {}),
    )


def cluster(case: Case) -> list[NodeInfo]:
    size = case["node_capacity"]
    return [
        NodeInfo(
            GPUNode(node["name"], cpu=f"{size['cpu']}m", memory=size["memory"], max_pods=size["pods"]),
            tuple(BoundPod(request(pod), node["name"], pod["start_time"]) for pod in node["pods"]),
        )
        for node in case["nodes"]
    ]


def budgets(case: Case) -> list[preemption.DisruptionBudget]:
    return [preemption.DisruptionBudget(b["match_labels"], b["disruptions_allowed"]) for b in case.get("pdbs", [])]


def picked(case: Case) -> Case:
    pod, infos = request(case["incoming"]), cluster(case)
    refused = {info.node.name: filters.refusal(pod, info) for info in infos}
    assert all(refused.values()), "the pod fits without preemption"
    victims, _ = preemption.preempt(pod, infos, {n: r for n, r in refused.items() if r}, budgets(case))
    return {"one_of": victims and victims.node}


def dry_run(case: Case) -> Case:
    outcome = preemption.dry_run(request(case["incoming"]), cluster(case), budgets(case))
    found = {node: victims for node, victims in outcome.items() if isinstance(victims, preemption.Victims)}
    return {
        "victims": {node: sorted(pod.request.name for pod in victims.pods) for node, victims in found.items()},
        "violations": {node: victims.budget_violations for node, victims in found.items()},
    }


def post_filter(case: Case) -> Case:
    infos, refused = [], {}
    for node in case["nodes"]:
        there = GPURequest(f"on-{node['name']}", priority_class=PriorityClass("p", node["pod_priority"]))
        info = NodeInfo(GPUNode(node["name"], max_pods=node["max_pods"]), (BoundPod(there, node["name"]),))
        infos.append(info)
        refused[node["name"]] = filters.Refusal(("Too many pods",), node["status"] == "Unschedulable")
    incoming = GPURequest("incoming", priority_class=PriorityClass("q", case["incoming_priority"]))
    victims, _ = preemption.preempt(incoming, infos, refused)
    return {"node": victims and victims.node}


KINDS: dict[str, Callable[[Case], Case]] = {
    "cases": node_scores,
    "broken_linear": lambda case: {
        "values": [scoring.broken_linear([(x, y) for x, y in case["shape"]], x) for x, _ in case["points"]]
    },
    "invalid_weights": refused_weight,
    "normalize_derived_from_formula": lambda case: {
        "scores": (scoring.normalize_reversed if case["reverse"] else scoring.normalize)(case["scores"])
    },
    "sampling": lambda case: {"feasible_to_find": filters.num_feasible_nodes_to_find(case["nodes"])},
    "pick_node": picked,
    "select_victims": dry_run,
    "post_filter": post_filter,
}


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    if "skip_reason" in case:
        pytest.skip(f"upstream expects an error: {case['skip_reason']}")
    return KINDS[case["kind"]](case)
