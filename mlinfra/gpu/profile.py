"""A scheduler's profile: which plugins score, and the KubeSchedulerConfiguration that says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from mlinfra.admission import Field, accepted, check, refuse
from mlinfra.admission.rules import between
from mlinfra.gpu.nodes import GPU
from mlinfra.gpu.scoring import (
    CPU_AND_MEMORY,
    BalancedAllocation,
    BestFit,
    LeastAllocated,
    MostAllocated,
    NodeAffinity,
    NodeResourcesFit,
    RequestedToCapacityRatio,
    ScorePlugin,
    Strategy,
    TaintToleration,
)
from mlinfra.manifest import Manifest

DEFAULT_PLUGINS = (NodeResourcesFit(), BalancedAllocation(), NodeAffinity(), TaintToleration())
PLUGINS: dict[str, Any] = {plugin.name: plugin for plugin in (*DEFAULT_PLUGINS, BestFit())}
WEIGHTS = {plugin.name: plugin.weight for plugin in DEFAULT_PLUGINS}


@dataclass(frozen=True)
class Profile:
    """A scheduler by the name that pods ask for, and its scoring plugins; 0 percent is kube-scheduler's own choice."""

    scheduler_name: str = "default-scheduler"
    plugins: tuple[ScorePlugin, ...] = DEFAULT_PLUGINS
    percentage_of_nodes_to_score: Annotated[int, between(0, 100)] = 0

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest, scheduler_name: str = "") -> Profile:
        """The profile of that name, or the first; a configuration without profiles has the default one.

        Of its plugins those that score, and that this package has, are read.
        """
        obj = accepted("KubeSchedulerConfiguration", manifest)
        profiles = obj.get("profiles") or [{}]
        names = [profile.get("schedulerName", "default-scheduler") for profile in profiles]
        if scheduler_name and scheduler_name not in names:
            refuse("profile", [Field(scheduler_name, "schedulerName").unsupported(names)])
        profile = profiles[names.index(scheduler_name)] if scheduler_name else profiles[0]
        percentage = profile.get("percentageOfNodesToScore", obj.get("percentageOfNodesToScore", 0))
        return cls(scheduler_name or names[0], tuple(_score_plugins(profile)), percentage)

    def manifest(self) -> Manifest:
        """The KubeSchedulerConfiguration with this one profile; stock kube-scheduler has no BestFit."""
        fits = [plugin for plugin in self.plugins if isinstance(plugin, NodeResourcesFit)]
        profile: Manifest = {
            "schedulerName": self.scheduler_name,
            "pluginConfig": [
                {"name": "NodeResourcesFit", "args": {"scoringStrategy": fit.strategy.manifest()}} for fit in fits
            ],
        }
        names = {plugin.name for plugin in self.plugins}
        disabled = [{"name": name} for name in sorted(WEIGHTS) if name not in names]
        enabled = [{"name": p.name, "weight": p.weight} for p in self.plugins if WEIGHTS.get(p.name) != p.weight]
        if disabled or enabled:
            score = {"disabled": disabled, "enabled": enabled}
            profile["plugins"] = {"score": {part: entries for part, entries in score.items() if entries}}
        if self.percentage_of_nodes_to_score:
            profile["percentageOfNodesToScore"] = self.percentage_of_nodes_to_score
        return {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [profile],
        }


def _score_plugins(profile: Manifest) -> Iterator[ScorePlugin]:
    """The default plugins that are not disabled, and those enabled, with their weights and arguments."""
    plugins = profile.get("plugins", {})
    weights = dict(WEIGHTS)
    for point in ("multiPoint", "score"):
        for entry in plugins.get(point, {}).get("disabled", ()):
            weights = {name: n for name, n in weights.items() if entry["name"] not in ("*", name)}
        for entry in plugins.get(point, {}).get("enabled", ()):
            if entry["name"] in PLUGINS:
                weights[entry["name"]] = entry.get("weight") or 1  # `getScoreWeights`: not the default's
    for name, plugin in PLUGINS.items():
        if name not in weights:
            continue
        weighted = replace(plugin, weight=weights[name])
        is_fit = isinstance(weighted, NodeResourcesFit)
        yield replace(weighted, strategy=_strategy(profile)) if is_fit else weighted


def _strategy(profile: Manifest) -> Strategy:
    """The scoring strategy of NodeResourcesFit; upstream's defaults where nothing is configured."""
    arguments = {entry["name"]: entry.get("args", {}) for entry in profile.get("pluginConfig", ())}
    configured = arguments.get("NodeResourcesFit", {}).get("scoringStrategy", {})
    weights = {resource["name"]: resource.get("weight") or 1 for resource in configured.get("resources", ())}
    resources = weights or CPU_AND_MEMORY
    kind = configured.get("type") or "LeastAllocated"
    if kind == "RequestedToCapacityRatio":
        points = configured.get("requestedToCapacityRatio", {}).get("shape", ())
        return RequestedToCapacityRatio(resources, tuple((p.get("utilization", 0), p.get("score", 0)) for p in points))
    return MostAllocated(resources) if kind == "MostAllocated" else LeastAllocated(resources)


DEFAULT_PROFILE = Profile()
BEST_FIT = Profile("best-fit", (BestFit(),), 100)


def packing(weight: int = 5) -> Profile:
    """The profile that fills GPU nodes one after the other: MostAllocated, with this weight on GPUs."""
    packed = NodeResourcesFit(MostAllocated({GPU: weight, "cpu": 1, "memory": 1}))
    return Profile("gpu-packing", (packed, NodeAffinity(), TaintToleration()))
