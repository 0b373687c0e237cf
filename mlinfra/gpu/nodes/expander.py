"""Which pool gets the nodes: the expanders of cluster-autoscaler 1.37 (`expander/`), with their arithmetic.

`price` is upstream's formula with the pools' own prices; pods are priced per core, GiB and GPU as Google's provider
does it. `grpc` and `least-cost` plugins of clouds are not modelled.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mlinfra.admission import Field, refuse
from mlinfra.gpu.nodes.flags import AutoscalerFlags, Priorities
from mlinfra.gpu.nodes.node import GPU, GPUNode
from mlinfra.gpu.pods import GPURequest

EXPANDERS = ("least-nodes", "least-waste", "most-pods", "price", "priority", "random")
CORE_PRICE, GIB_PRICE, GPU_PRICE = 0.033174, 0.004446, 0.700
"""Dollars per hour, by which pods are priced (`cloudprovider/gce/gce_price_info.go`)."""
STABILIZATION = 0.5 * CORE_PRICE + 500 / 1024 * GIB_PRICE
"""The price of a pod of half a core and 500 MiB, which keeps the ratio from jumping."""
GPU_UNFITNESS = 1000.0
PREFERRED_CORES = ((2, 1), (6, 2), (20, 4), (60, 8), (200, 16))
"""The cores of the preferred node, in a cluster of so many nodes at most; 32 in a larger one."""


class Option(NamedTuple):
    """So many nodes of a pool would help these pods."""

    pool: str
    nodes: int
    pods: tuple[GPURequest, ...]
    template: GPUNode
    price_per_hour: float = 0.0

    def requested(self, name: str) -> int:
        return sum(pod.requests.get(name, 0) for pod in self.pods)


class Preference(NamedTuple):
    """The options that an expander keeps, and what it says of each of those that it was given."""

    expander: str
    best: list[Option]
    said: dict[str, str]


def expand(
    options: Sequence[Option], flags: AutoscalerFlags, cluster_nodes: int = 0, ties: random.Random | None = None
) -> tuple[Option | None, list[Preference]]:
    """The one option, and the preferences on the way: each expander of the chain filters, until one option is left.

    A last tie goes to the first option, or is drawn.
    """
    preferences: list[Preference] = []
    for name in expanders(flags):
        if len(options) > 1 or not preferences:
            preferences.append(best_options(name, options, flags.priorities, cluster_nodes))
            options = preferences[-1].best
    if not options:
        return None, preferences
    return ties.choice(options) if ties else options[0], preferences


def expanders(flags: AutoscalerFlags) -> list[str]:
    """The names in the chain."""
    names = flags.expander.split(",")
    for name in names:
        if name not in EXPANDERS:
            refuse("AutoscalerFlags", [Field(name, "expander").unsupported(list(EXPANDERS))])
    return names


def best_options(
    name: str, options: Sequence[Option], priorities: Priorities | None = None, cluster_nodes: int = 0
) -> Preference:
    """The options that one expander keeps: all that are equally good."""
    if name == "priority":
        return by_priority(options, priorities)
    if name == "random":
        return Preference(name, list(options), {})
    costs: dict[str, Callable[[Option], tuple[float, str]]] = {
        "least-nodes": nodes_cost,
        "least-waste": waste,
        "most-pods": pods_cost,
        "price": lambda option: price(option, cluster_nodes),
    }
    usable = [option for option in options if option.nodes]
    judged = [(option, *costs[name](option)) for option in usable]
    lowest = min((cost for _, cost, _ in judged), default=math.inf)
    best = [option for option, cost, _ in judged if cost == lowest]
    return Preference(name, best, {option.pool: text for option, _, text in judged})


def nodes_cost(option: Option) -> tuple[float, str]:
    return option.nodes, f"nodes {option.nodes}"


def pods_cost(option: Option) -> tuple[float, str]:
    return -len(option.pods), f"pods {len(option.pods)}"


def waste(option: Option) -> tuple[float, str]:
    """The shares of cpu and of memory that would lie idle, added up; GPUs do not count."""
    shares = {name: _wasted(option, name) for name in ("cpu", "memory")}
    text = ", ".join(f"{100 * share:.2f} % {name}" for name, share in shares.items())
    return sum(shares.values()), f"would waste {text}"


def _wasted(option: Option, name: str) -> float:
    available = option.nodes * option.template.allocatable[name]
    return (available - option.requested(name)) / available if available else 0.0


def price(option: Option, cluster_nodes: int) -> tuple[float, str]:
    """What the nodes cost for each dollar of pods, times how badly the node suits a cluster of this size."""
    nodes_price = option.price_per_hour * option.nodes
    pods_price = sum(pod_price(pod) for pod in option.pods)
    ratio = (nodes_price + STABILIZATION) / (pods_price + STABILIZATION)
    unfit = GPU_UNFITNESS if option.template.gpu_count else suppressed_unfitness(option, cluster_nodes)
    return ratio * unfit, f"price ratio {ratio:.2f} x unfitness {unfit:.2f} = {ratio * unfit:.2f}"


def pod_price(pod: GPURequest) -> float:
    """Dollars an hour."""
    cores, gib = pod.requests.get("cpu", 0) / 1000, pod.requests.get("memory", 0) / 2**30
    return cores * CORE_PRICE + gib * GIB_PRICE + pod.requests.get(GPU, 0) * GPU_PRICE


def suppressed_unfitness(option: Option, cluster_nodes: int) -> float:
    """How far the node's cores are from the preferred node's; the more nodes at once, the less that counts."""
    preferred = next((cores for limit, cores in PREFERRED_CORES if cluster_nodes <= limit), 32)
    cores = option.template.allocatable["cpu"] / 1000
    unfitness = max(preferred / cores, cores / preferred)
    return (unfitness - 1) * (1 - math.tanh((option.nodes - 1) / 15)) + 1


def by_priority(options: Sequence[Option], priorities: Priorities | None) -> Preference:
    """Those whose pool matches an expression of the highest priority; all, when none does or it cannot be read."""
    matched = {option.pool: _priority(option.pool, priorities or {}) for option in options}
    known = [priority for priority in matched.values() if priority is not None]
    best = [option for option in options if not known or matched[option.pool] == max(known)]
    said = {pool: "no priority" if found is None else f"priority {found}" for pool, found in matched.items()}
    return Preference("priority", best, said)


def _priority(pool: str, priorities: Priorities) -> int | None:
    """The highest priority of which an expression is found in the name."""
    matching = [n for n, expressions in priorities.items() if any(re.search(each, pool) for each in expressions)]
    return max(matching, default=None)
