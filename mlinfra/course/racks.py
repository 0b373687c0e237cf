"""Notebook 04's data center: two blocks of two racks of two hosts, with 8 GPUs each; and what a ring costs in it."""

from __future__ import annotations

from mlinfra.course import clusters
from mlinfra.gpu.nodes import GPU, HOSTNAME, GPUNode
from mlinfra.gpu.topology import PodSet, PodSetTopologyRequest, TASFlavorSnapshot, Topology, TopologyAssignment
from mlinfra.gpu.topology import find_topology_assignment as find

BLOCK, RACK = "example.com/block", "example.com/rack"
DEFAULT = Topology("default", (BLOCK, RACK, HOSTNAME))
BUSY = ("block-1", "rack-2", "host-4")
"""The one host whose GPUs are in use."""

HOSTS = tuple((f"block-{1 + i // 4}", f"rack-{1 + i // 2}", f"host-{i + 1}") for i in range(8))
NVLINK_GB_S, RACK_GB_S, OVERSUBSCRIBED = 450.0, 50.0, 4
"""Bandwidth of a GPU inside its host and to others of its rack; what racks share upwards is a quarter of that."""


def free() -> TASFlavorSnapshot:
    """The free GPUs, by block, rack and host."""
    nodes = [GPUNode(host, clusters.A100, 8, 80, labels={BLOCK: block, RACK: rack}) for block, rack, host in HOSTS]
    return TASFlavorSnapshot(DEFAULT, nodes, {BUSY: {GPU: 8}})


def workers(pods: int, required: str = "", preferred: str = "") -> PodSet:
    """So many pods of 8 GPUs each, and the level that they ask for."""
    return PodSet(pods, {GPU: 8}, PodSetTopologyRequest(required or None, preferred or None))


def assigned(pods: int, required: str = "", preferred: str = "") -> TopologyAssignment:
    """The hosts of the pods, or why there are none."""
    return find(free(), workers(pods, required, preferred))


def hosts_of(assignment: TopologyAssignment) -> list[str]:
    return [values[-1] for values, _ in assignment.domains]


def ring_s(gigabytes: float, ranks: int, gb_s: float) -> float:
    """One all-reduce on a ring: each rank sends 2 (n - 1) / n times the data over its slowest link."""
    return 2 * (ranks - 1) / ranks * gigabytes / gb_s


def all_reduce_s(gigabytes: float, hosts: int, racks: int) -> float:
    """On these hosts of 8 GPUs: the slowest link of the ring decides."""
    if hosts == 1:
        return ring_s(gigabytes, 8, NVLINK_GB_S)
    return ring_s(gigabytes, 8 * hosts, RACK_GB_S if racks == 1 else RACK_GB_S / OVERSUBSCRIBED)
