"""EndpointPickerConfig: the picker's configuration file, and what KServe writes into it when nobody says otherwise.

Follows llm-d/llm-d-router v0.9.0, `pkg/epp/config/loader/defaults.go`, and KServe v0.16.0 to v0.20.0 and main (August
2026), `pkg/controller/v1alpha2/llmisvc/scheduler.go`. Data sources, parsers and flow control are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlinfra.admission import Count, Field, accepted, check, refuse
from mlinfra.admission.picker import unsupported_plugins
from mlinfra.kserve.picker.endpoint import InferenceRequest, PoolEndpoint
from mlinfra.kserve.picker.profile import FILTERS, PICKERS, SchedulingProfile, WeightedScorer
from mlinfra.kserve.picker.scorers import SCORERS
from mlinfra.manifest import Manifest

API_VERSION = "inference.networking.x-k8s.io/v1alpha1"
"""That of KServe 0.20; main has llm-d.ai/v1alpha1."""

ALWAYS = "always-disagg-pd-decider"
PREFIX_BASED = "prefix-based-pd-decider"
HANDLER = "disagg-profile-handler"


@dataclass(frozen=True)
class PrefillDecider:
    """Whether a prompt is prefilled elsewhere: always, or from a number of tokens that the decode pod has not cached.

    `non_cached_tokens` is None for always; 0 means never.
    """

    non_cached_tokens: Count | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def plugin(self) -> str:
        return ALWAYS if self.non_cached_tokens is None else PREFIX_BASED

    def splits(self, request: InferenceRequest, decode: PoolEndpoint, block_size: int) -> bool:
        """Asked after the decode pod was picked; tokens are estimated as a quarter of the characters."""
        return self.splits_tokens(request.prompt_tokens, decode.match_blocks * block_size)

    def splits_tokens(self, prompt_tokens: int, cached_tokens: int) -> bool:
        if self.non_cached_tokens is None:
            return True
        return self.non_cached_tokens > 0 and prompt_tokens - cached_tokens >= self.non_cached_tokens


@dataclass(frozen=True)
class EndpointPickerConfig:
    """Profiles by name: one, or `decode` and `prefill` with the decider between them."""

    profiles: Mapping[str, SchedulingProfile]
    decider: PrefillDecider | None = None
    api_version: str = API_VERSION

    def __post_init__(self) -> None:
        check(self, by_kind=False)

    @property
    def primary(self) -> str:
        """The profile whose endpoint gets the request."""
        return "decode" if "decode" in self.profiles else next(iter(self.profiles))

    @classmethod
    def of(cls, manifest: Manifest) -> EndpointPickerConfig:
        """The profiles of a file; a scorer without a weight has 1, a profile without a picker the max-score picker."""
        obj = accepted("EndpointPickerConfig", manifest, unsupported_plugins)
        plugins = {plugin.get("name") or plugin["type"]: plugin for plugin in obj.get("plugins", ())}
        profiles = {profile["name"]: _profile(profile, plugins) for profile in obj.get("schedulingProfiles", ())}
        return cls(profiles or {"default": UPSTREAM_DEFAULT}, _decider(plugins), obj["apiVersion"])

    def manifest(self) -> Manifest:
        """The file with every plugin declared once, under its type."""
        return {
            "apiVersion": self.api_version,
            "kind": "EndpointPickerConfig",
            "plugins": _declared(self),
            "schedulingProfiles": [
                {"name": name, "plugins": list(plugin_references(profile))} for name, profile in self.profiles.items()
            ],
        }


def plugin_references(profile: SchedulingProfile) -> Iterable[Manifest]:
    """The plugins of a profile in order, as the file has them: filters, scorers with their weight, the picker."""
    yield from ({"pluginRef": name} for name in profile.filters)
    yield from ({"pluginRef": scorer.name, "weight": scorer.weight} for scorer in profile.scorers)
    yield {"pluginRef": profile.picker}


def _declared(config: EndpointPickerConfig) -> list[Manifest]:
    plugins: dict[str, Manifest] = {}
    if config.decider:
        tokens = config.decider.non_cached_tokens
        plugins[config.decider.plugin] = {} if tokens is None else {"nonCachedTokens": tokens}
    if len(config.profiles) > 1:
        plugins["disagg-headers-handler"] = {}
        plugins[HANDLER] = {"deciders": {"prefill": config.decider.plugin}} if config.decider else {}
    else:
        plugins["single-profile-handler"] = {}
    for profile in config.profiles.values():
        plugins |= {name: {} for name in profile.filters}
        plugins |= {scorer.name: _camel(scorer.parameters) for scorer in profile.scorers}
        plugins[profile.picker] = {"maxNumOfEndpoints": profile.max_endpoints} if profile.max_endpoints > 1 else {}
    return [{"type": name} | ({"parameters": given} if given else {}) for name, given in plugins.items()]


def _profile(profile: Manifest, plugins: Mapping[str, Manifest]) -> SchedulingProfile:
    """A reference is to a plugin's name; what it does is its type."""
    references = [(plugins[reference["pluginRef"]], reference.get("weight", 1)) for reference in profile["plugins"]]
    pickers = [plugin for plugin, _ in references if plugin["type"] in PICKERS] or [{"type": "max-score-picker"}]
    return SchedulingProfile(
        tuple(
            WeightedScorer(plugin["type"], weight, snake(plugin.get("parameters", {})))
            for plugin, weight in references
            if plugin["type"] in SCORERS
        ),
        tuple(plugin["type"] for plugin, _ in references if plugin["type"] in FILTERS),
        pickers[0]["type"],
        pickers[0].get("parameters", {}).get("maxNumOfEndpoints", 1),
    )


def _decider(plugins: Mapping[str, Manifest]) -> PrefillDecider | None:
    """The decider that the profile handler names; without one prompts are never split."""
    handlers = [plugin for plugin in plugins.values() if plugin["type"] == HANDLER]
    name = handlers[0].get("parameters", {}).get("deciders", {}).get("prefill") if handlers else None
    if not name:
        return None
    if plugins[name]["type"] == ALWAYS:
        return PrefillDecider()
    return PrefillDecider(plugins[name].get("parameters", {}).get("nonCachedTokens", 0))


def snake(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Names of parameters as in Python: `idleThreshold` is `idle_threshold`."""
    return {re.sub("([A-Z])", lambda big: f"_{big[1].lower()}", name): value for name, value in parameters.items()}


def _camel(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub("_(.)", lambda small: small[1].upper(), name): value for name, value in parameters.items()}


# ------------------------------------------------------------------------------------------------ the defaults


def weighted(**weights: float) -> tuple[WeightedScorer, ...]:
    """Scorers with weights: `queue=2` is queue-scorer, and `_` stands for `-`."""
    return tuple(WeightedScorer(f"{name.replace('_', '-')}-scorer", weight) for name, weight in weights.items())


UPSTREAM_DEFAULT = SchedulingProfile(weighted(queue=2, kv_cache_utilization=2, prefix_cache=3))
"""Of llm-d and of the Gateway API Inference Extension, for a picker without a configuration."""

RELEASES = ("0.16", "0.17", "0.18", "0.19", "0.20", "main")
_OLD = {"0.16": weighted(prefix_cache=2, load_aware=1)}
_OLD |= dict.fromkeys(RELEASES[1:4], weighted(queue=2, prefix_cache=3))

FIRST_THRESHOLD = 25
"""Tokens. KServe 0.16 wrote `threshold: 100`, which its picker (v0.2.0) compared with characters."""


def kserve_default(release: str = "0.20", prefill: bool = False, lora: bool = False) -> EndpointPickerConfig:
    """What KServe configures for an LLMInferenceService without a scheduler config of its own."""
    minor = ".".join(release.removeprefix("v").split(".")[:2])
    if minor not in RELEASES:
        refuse("release", [Field(release, "release").unsupported(list(RELEASES))])
    api_version = "llm-d.ai/v1alpha1" if minor == "main" else API_VERSION
    if not prefill:
        return EndpointPickerConfig({"default": _single(minor, lora)}, None, api_version)
    decider = PrefillDecider(FIRST_THRESHOLD if minor == "0.16" else None)
    return EndpointPickerConfig(_split(minor, lora), decider, api_version)


def _single(release: str, lora: bool) -> SchedulingProfile:
    if release in _OLD:
        return SchedulingProfile(_OLD[release])
    scorers = weighted(queue=2, kv_cache_utilization=2, prefix_cache=3, no_hit_lru=2)
    return SchedulingProfile((*_adapters(lora), *scorers))


def _split(release: str, lora: bool) -> dict[str, SchedulingProfile]:
    prefill = decode = _OLD.get(release, ())
    if release not in _OLD:
        prefill = (*_adapters(lora), *weighted(prefix_cache=3, queue=2, kv_cache_utilization=2))
        decode = (*_adapters(lora), *weighted(active_request=2, prefix_cache=3))
    return {
        "prefill": SchedulingProfile(prefill, ("prefill-filter",)),
        "decode": SchedulingProfile(decode, ("decode-filter",)),
    }


def _adapters(lora: bool) -> tuple[WeightedScorer, ...]:
    """With adapters in `spec.model.lora` their scorer comes first, and weighs most."""
    return weighted(lora_affinity=4) if lora else ()
