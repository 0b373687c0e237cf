"""The fragmentation study of notebook 04: six policies fill the openb cluster (FGD, USENIX ATC 2023)."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

from mlinfra.gpu import placement, shapes
from mlinfra.gpu.placement import PlacementRun

PUBLISHED = {
    "Random": 87.47,
    "DotProd": 90.85,
    "GpuClustering": 91.88,
    "GpuPacking": 92.00,
    "BestFit": 93.08,
    "FGD": 95.39,
}
"""Percent of the GPUs that each policy allocates in the study, the mean of ten runs."""


class OpenB:
    """The cluster with its nodes in a random order, and pods that request 130 % of its GPUs; all of it seeded."""

    def __init__(self) -> None:
        self.nodes, pods = shapes.openb()
        random.Random(0).shuffle(self.nodes)
        self.gpus = sum(node.gpus for node in self.nodes)
        self.typical = shapes.typical_pods(pods)
        self.arrivals = list(shapes.load(pods, self.gpus * shapes.WHOLE, seed=0))

    def all_policies(self) -> dict[str, PlacementRun]:
        """A run of each policy, from the worst of the study to the best; ties go to the earlier node."""
        chance = np.random.default_rng(0)
        runs = {"Random": placement.run(self.nodes, self.arrivals, self.typical, placement.at_random(0), chance)}
        for name, policy in placement.POLICIES.items():
            runs[name] = placement.run(self.nodes, self.arrivals, self.typical, policy)
        return runs

    def with_drawn_ties(self, names: Iterable[str]) -> dict[str, PlacementRun]:
        """Runs in which chance decides between nodes of equal points."""
        return {
            name: placement.run(
                self.nodes, self.arrivals, self.typical, placement.POLICIES[name], ties=np.random.default_rng(1)
            )
            for name in names
        }
