"""Translates `fgd_expected.json`: the measure on single nodes, the published table, and the run without a seed."""

from __future__ import annotations

import csv
import random
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from mlinfra.gpu import fragmentation, placement, shapes

Case = dict[str, Any]

OPENB = Path(__file__).parents[2].parent / "shared" / "data" / "openb"
SEEDS = 3
FIELDS = {
    "kind",
    "lists",
    "node",
    "node_gpu_free",
    "pod_gpu_milli",
    "policy",
    "tol",
    "tolerance",
    "typical",
    "workload",
}


def cases(content: Case) -> list[Case]:
    typical, tolerance = content["typical_pods"], content["tolerance_for_own_simulator"]
    units = [{**row, "kind": "unit", "typical": typical[row["typical"]]} for row in content["unit_fragmentation"]]
    per_pod = [{**row, "kind": "per_pod", "id": f"per-pod-{i}"} for i, row in enumerate(content["unit_per_pod"])]
    published = [
        {
            "id": f"{workload}-{policy}",
            "kind": "published",
            "workload": workload,
            "policy": policy,
            "tolerance": (
                tolerance["alloc130_pct_points"][policy],
                tolerance["frag60_pct_points"].get(policy, tolerance["frag60_pct_points"]["default"]),
            ),
            "expected": {"allocated": row["alloc_pct"]["130"][0], "fragmented": row["frag_ratio_pct"]["60"][0]},
            **({} if workload == "default" else {"lists": workload}),
        }
        for workload, rows in content["published"].items()
        for policy, row in rows.items()
    ]
    first = [
        {"id": f"{w}-first", "kind": "first", "workload": w, "expected": {"first": "FGD"}}
        | ({} if w == "default" else {"lists": w})
        for w in content["published"]
    ]
    for row in units:
        row["expected"] = {"wasted": row.pop("expect")}
    for row in per_pod:
        row["expected"] = {"wasted": row.pop("expect_frag_milli")}
    known = content["deterministic_reference"]["FGD"]
    reference = {"id": "reference", "kind": "reference", "lists": "default", "expected": dict(known)}
    return [*units, *per_pod, *published, *first, reference]


def missing(case: Case) -> str:
    """Why a case that needs the study's lists cannot run."""
    name = f"openb_pod_list_{case['lists']}.csv" if "lists" in case else ""
    if not name or (OPENB / name).exists():
        return ""
    return f"no {name} in --openb {OPENB}; it is published in hkust-adsl/kubernetes-scheduler-simulator, data/csv"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


@cache
def cluster(workload: str) -> tuple[list[shapes.NodeShape], list[shapes.PodShape]]:
    """The raw lists where they are there; the default workload else from the package's shapes."""
    pods = OPENB / f"openb_pod_list_{workload}.csv"
    if workload == "default" and not pods.exists():
        return shapes.openb()
    nodes = OPENB / "openb_node_list_gpu_node.csv"
    return [shapes.node_shape(row) for row in _rows(nodes)], [shapes.pod_shape(row) for row in _rows(pods)]


@cache
def played(workload: str, policy: str) -> tuple[float, float]:
    """Allocation at the end and fragmentation at 60 %, means over the seeds."""
    nodes, pods = cluster(workload)
    typical, capacity = shapes.typical_pods(pods), sum(node.gpus for node in nodes) * shapes.WHOLE
    ends = []
    for seed in range(SEEDS):
        order = list(nodes)
        random.Random(seed).shuffle(order)
        random_one = policy == "Random"
        chosen, ties = (
            (placement.at_random(seed), np.random.default_rng(seed))
            if random_one
            else (placement.POLICIES[policy], None)
        )
        marks = placement.run(order, list(shapes.load(pods, capacity, seed)), typical, chosen, ties).marks
        ends.append((marks[-1].allocated, next(mark.fragmented for mark in marks if mark.arrived == 60)))
    return mean(end[0] for end in ends), mean(end[1] for end in ends)


def unit(case: Case) -> Case:
    typical = [
        shapes.TypicalPod(p["cpu"], p["num_gpu"], p["gpu_milli"], (p["gpu_type"],) if p["gpu_type"] else (), p["p"])
        for p in case["typical"]
    ]
    return {"wasted": _close(_wasted(typical, case["node"]), case["expected"]["wasted"], case["tol"])}


def per_pod(case: Case) -> Case:
    typical = [shapes.TypicalPod(0, 1, case["pod_gpu_milli"], (), 1.0)]
    node = {"cpu_free": 1, "gpu_free_milli": case["node_gpu_free"], "model": "any"}
    return {"wasted": _close(_wasted(typical, node), case["expected"]["wasted"], 1e-6)}


def _wasted(typical: list[shapes.TypicalPod], node: Case) -> float:
    free = node["gpu_free_milli"]
    gpu = np.array([[*free, *[0] * (shapes.DEVICES - len(free))]])
    expected = fragmentation.Expected(typical, [node["model"]])
    return float(expected.fragmentation(np.array([node["cpu_free"]]), gpu, np.array([0]))[0])


def _close(ours: float, theirs: float, tolerance: float) -> float:
    """Theirs, when ours is within the tolerance."""
    return theirs if abs(ours - theirs) <= tolerance else ours


def published(case: Case) -> Case:
    ours, expected = played(case["workload"], case["policy"]), case["expected"]
    pairs = zip(ours, (expected["allocated"], expected["fragmented"]), case["tolerance"], strict=True)
    allocated, fragmented = (_close(mine, theirs, tolerance) for mine, theirs, tolerance in pairs)
    return {"allocated": allocated, "fragmented": fragmented}


def first(case: Case) -> Case:
    return {"first": max([*placement.POLICIES, "Random"], key=lambda policy: played(case["workload"], policy)[0])}


def reference(case: Case) -> Case:
    nodes, pods = cluster("default")
    asked = list(shapes.load(pods, sum(node.gpus for node in nodes) * shapes.WHOLE))
    made = placement.run(nodes, asked, shapes.typical_pods(pods), placement.fgd)
    used = sum(pod.total_milli for pod, node in zip(asked, made.nodes, strict=True) if node is not None)
    end = made.marks[-1].fragmented / 100 * (sum(node.gpus for node in nodes) * shapes.WHOLE - used)
    return {
        "pods": len(asked),
        "placed": made.placed,
        "used_gpu_milli": used,
        "node_of_first_40": made.nodes[:40],
        "frag_milli_final": _close(end, case["expected"]["frag_milli_final"], 0.01),
    }


KINDS = {"unit": unit, "per_pod": per_pod, "published": published, "first": first, "reference": reference}


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    return KINDS[case["kind"]](case)
