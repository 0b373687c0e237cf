"""A scheduler's profile: which plugins score, and the KubeSchedulerConfiguration that says so."""

from __future__ import annotations

from dataclasses import dataclass

from mlinfra.admission.rules import Field, Problem, between, refuse
from mlinfra.gpu.cluster import GPU
from mlinfra.gpu.scoring import (
    BalancedAllocation,
    BestFit,
    MostAllocated,
    NodeAffinity,
    NodeResourcesFit,
    ScorePlugin,
    TaintToleration,
)
from mlinfra.manifest import Manifest


@dataclass(frozen=True)
class Profile:
    """A scheduler by the name that pods ask for, and its scoring plugins; 0 percent is kube-scheduler's own choice."""

    scheduler_name: str = "default-scheduler"
    plugins: tuple[ScorePlugin, ...] = (NodeResourcesFit(), BalancedAllocation(), NodeAffinity(), TaintToleration())
    percentage_of_nodes_to_score: int = 0

    def __post_init__(self) -> None:
        refuse("profile", between(0, 100)(Field(self.percentage_of_nodes_to_score, "percentage_of_nodes_to_score")))
        refuse(
            "profile",
            (_no_plugin(p) for p in self.plugins if not callable(getattr(p, "score", None)) or isinstance(p, type)),
        )

    def manifest(self) -> Manifest:
        """The KubeSchedulerConfiguration with this one profile; Invalid for a plugin that upstream does not have."""
        refuse("profile", (_not_upstream(p) for p in self.plugins if p.name not in DEFAULT_PLUGINS))
        strategies = [p.strategy.manifest() for p in self.plugins if isinstance(p, NodeResourcesFit)]
        profile: Manifest = {
            "schedulerName": self.scheduler_name,
            "pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": s}} for s in strategies],
        }
        if left_out := DEFAULT_PLUGINS - {plugin.name for plugin in self.plugins}:
            profile["plugins"] = {"score": {"disabled": [{"name": name} for name in sorted(left_out)]}}
        if self.percentage_of_nodes_to_score:
            profile["percentageOfNodesToScore"] = self.percentage_of_nodes_to_score
        return {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [profile],
        }


DEFAULT_PROFILE = Profile()
DEFAULT_PLUGINS = {plugin.name for plugin in DEFAULT_PROFILE.plugins}
BEST_FIT = Profile("best-fit", (BestFit(),), 100)


def packing(weight: int = 5) -> Profile:
    """The profile that fills GPU nodes one after the other: MostAllocated, with this weight on GPUs."""
    packed = NodeResourcesFit(MostAllocated({GPU: weight, "cpu": 1, "memory": 1}))
    return Profile("gpu-packing", (packed, NodeAffinity(), TaintToleration()))


def _no_plugin(plugin: object) -> Problem:
    return Field(plugin, "plugins").invalid("must be a score plugin, such as NodeResourcesFit()")


def _not_upstream(plugin: ScorePlugin) -> Problem:
    return Field(plugin.name, "plugins").unsupported(sorted(DEFAULT_PLUGINS))
