"""Translates `tas_assignment.json` into calls of `mlinfra.gpu.topology`."""

from __future__ import annotations

from typing import Any

from mlinfra.gpu.nodes import HOSTNAME, GPUNode
from mlinfra.gpu.topology import PodSet, PodSetTopologyRequest, TASFlavorSnapshot, Topology, find_topology_assignment

Case = dict[str, Any]

FIELDS = {"inputs", "kind"}
INPUT_FIELDS = {
    "count",
    "level",
    "levels",
    "mode",
    "nodes",
    "profile_mixed",
    "requests",
    "slice_level",
    "slice_size",
}
NODE_FIELDS = {"cpu_m", "memory", "path", "pods"}
RESOURCES = {"cpu_m": "cpu"}


def label(level: str | None) -> str | None:
    return HOSTNAME if level == "host" else level


def node(number: int, case: Case, levels: list[str]) -> GPUNode:
    assert case.keys() <= NODE_FIELDS, case.keys() - NODE_FIELDS
    labels = {str(label(level)): value for level, value in zip(levels, case["path"], strict=True)}
    cpu, memory = f"{case['cpu_m']}m", case.get("memory", 0)
    return GPUNode(f"node-{number}", cpu=cpu, memory=memory, labels=labels, max_pods=case["pods"])


def request(inputs: Case) -> PodSetTopologyRequest:
    level = label(inputs["level"])
    mode: Case = {"unconstrained": True} if inputs["mode"] == "unconstrained" else {inputs["mode"]: level}
    slice_level = label(inputs.get("slice_level"))
    size = inputs.get("slice_size") if slice_level else None
    return PodSetTopologyRequest(**mode, slice_level=slice_level, slice_size=size or 0)


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    inputs = case["inputs"]
    assert inputs.keys() <= INPUT_FIELDS, inputs.keys() - INPUT_FIELDS
    topology = Topology("default", tuple(str(label(level)) for level in inputs["levels"]))
    nodes = [node(i, each, inputs["levels"]) for i, each in enumerate(inputs["nodes"])]
    snapshot = TASFlavorSnapshot(topology, nodes, profile_mixed=inputs.get("profile_mixed", True))
    requests = {RESOURCES.get(name, name): amount for name, amount in inputs["requests"].items()}
    found = find_topology_assignment(snapshot, PodSet(inputs["count"], requests, request(inputs)))
    if found.reason:
        return {"reason": found.reason.replace(HOSTNAME, "host")}  # as the case calls that level
    return {"assignment": [[list(values), pods] for values, pods in found.domains]}
