"""EndpointPickerConfig, the endpoint picker's file: what llm-d-router v0.9.0 refuses when it starts, in its words.

`pkg/epp/config/loader/{configloader,validation}.go`. Not here: parameters of plugins, flow control, data sources, and
whether a plugin type is registered in the build that reads the file (a warning says which ones are not known here).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mlinfra.admission.custom import CustomKind, Older
from mlinfra.admission.rules import (
    ApiWarning,
    Field,
    Problem,
    Rules,
    a,
    a_map,
    broken,
    decoded,
    real,
    refuse,
    select,
    unknown_field,
    whole,
)

SCORERS = (
    "active-request-scorer",
    "kv-cache-utilization-scorer",
    "load-aware-scorer",
    "lora-affinity-scorer",
    "no-hit-lru-scorer",
    "prefix-cache-scorer",
    "queue-scorer",
    "running-requests-size-scorer",
    "token-load-scorer",
)
FILTERS = ("concurrency-detector", "decode-filter", "encode-filter", "prefill-filter", "utilization-detector")
PICKERS = ("max-score-picker", "random-picker", "weighted-random-picker")
DECIDERS = ("always-disagg-pd-decider", "prefix-based-pd-decider")
SINGLE = "single-profile-handler"
HANDLERS = (SINGLE, "disagg-profile-handler")
OTHERS = ("disagg-headers-handler", "metrics-data-source", "core-metrics-extractor", "openai-parser")
KNOWN = {*SCORERS, *FILTERS, *PICKERS, *DECIDERS, *HANDLERS, *OTHERS}


def _names(config: Field) -> list[str]:
    """The plugins by name; one without a name is called like its type."""
    return [plugin["name"].value or plugin["type"].value or "" for plugin in config["plugins"].each()]


def _types(config: Field) -> list[str]:
    return [str(plugin["type"].value) for plugin in config["plugins"].each()]


def _plugins(config: Field) -> Iterator[Problem]:
    names = _names(config)
    for i, plugin in enumerate(config["plugins"].each()):
        if not plugin["type"].value:
            yield Problem(plugin["type"].path, f"plugin '{names[i]}' is missing a type")
        elif names[i] in names[:i]:
            yield Problem(plugin.path, f"duplicate plugin name '{names[i]}'")


def _profiles(config: Field) -> Iterator[Problem]:
    names: list[str] = []
    for i, profile in enumerate(config["schedulingProfiles"].each()):
        name = profile["name"].value
        if not name:
            yield Problem(profile["name"].path, f"schedulingProfiles[{i}] is missing a name")
        elif name in names:
            yield Problem(profile["name"].path, f"schedulingProfiles[{i}] has duplicate name '{name}'")
        names.append(name)
        yield from _references(profile, _names(config))


def _references(profile: Field, plugins: Collection[str]) -> Iterator[Problem]:
    name = profile["name"].value
    for j, plugin in enumerate(profile["plugins"].each()):
        reference = plugin["pluginRef"]
        if not reference.value:
            yield Problem(reference.path, f"schedulingProfiles[{name}].plugins[{j}] is missing a 'pluginRef'")
        elif reference.value not in plugins:
            yield Problem(reference.path, f"schedulingProfiles[{name}] references undefined plugin '{reference.value}'")


def _handler(config: Field) -> Iterator[Problem]:
    """One profile has a handler by default; several need one, and not the handler of a single one."""
    handlers = [name for name in _types(config) if name in HANDLERS]
    several = len(config["schedulingProfiles"].value or ()) > 1
    if len(handlers) > 1:
        why = f"multiple profile handlers found ('{handlers[0]}', '{handlers[1]}'); only one is allowed"
        yield Problem("plugins", why)
    elif several and not handlers and KNOWN.issuperset(_types(config)):
        yield Problem("plugins", "no profile handler configured")
    elif several and handlers == [SINGLE]:
        yield Problem("schedulingProfiles", "SingleProfileHandler cannot support multiple scheduling profiles")


def _detector(config: Field) -> Iterator[Problem]:
    detector = config["saturationDetector"]["pluginRef"]
    if detector.value not in (None, "", "utilization-detector", *_names(config)):
        yield Problem(detector.path, f"saturation detector references undefined plugin '{detector.value}'")


def _decider(config: Field) -> Iterator[Problem]:
    types = dict(zip(_names(config), _types(config), strict=True))
    for plugin in config["plugins"].each():
        decider = plugin["parameters"]["deciders"]["prefill"]
        if plugin["type"].value != "disagg-profile-handler" or decider.value in (None, ""):
            continue
        if decider.value not in types:
            yield Problem(decider.path, f"deciders.prefill plugin not found: {decider.value}")
        elif types[decider.value] in KNOWN - {*DECIDERS}:
            yield Problem(decider.path, f"plugin {decider.value} does not implement prefillDeciderPlugin")


def _unknown_plugins(config: Field) -> Iterator[ApiWarning]:
    for plugin in select(config, "plugins[].type"):
        if plugin.value not in KNOWN:
            yield ApiWarning(plugin.path, f"not checked here: plugin type '{plugin.value}'")


LLM_D = "llm-d.ai/v1alpha1"
KIND = CustomKind(
    "inference.networking.x-k8s.io/v1alpha1",
    "EndpointPickerConfig",
    [
        ("plugins[].parameters", a_map),
        ("plugins[].parameters.deciders", a_map),
        ("plugins[].parameters.deciders.prefill", a(str)),
    ],
    [("", _plugins), ("", _profiles), ("", _handler), ("", _detector), ("", _decider)],
    "endpointpickerconfig",
    name=None,
    older={LLM_D: Older("endpointpickerconfig", "")},
    warn=_unknown_plugins,
)
KINDS = {KIND.kind: KIND}

# ------------------------------------------------------------------------------------------------ the nouns


def profile_problems(profile: Field) -> Iterator[Problem]:
    """Plugins that are modelled."""
    if profile["picker"].value not in PICKERS:
        yield profile["picker"].unsupported([*PICKERS])
    for name in profile["filters"].each():
        if name.value not in FILTERS:
            yield name.unsupported([*FILTERS])


PARAMETERS: dict[str, Rules] = {
    "active-request-scorer": [("idle_threshold", whole(-(2**31))), ("max_busy_score", real())],
    "load-aware-scorer": [("threshold", whole(-(2**31)))],
    "token-load-scorer": [("queue_threshold_tokens", whole(-(2**63), 2**63 - 1))],
}
"""Of the others none is modelled."""


def scorer_problems(scorer: Field) -> Iterator[Problem]:
    """A scorer that is modelled, with parameters that it has."""
    name, parameters = scorer["name"].value, scorer["parameters"]
    if name not in SCORERS:
        yield scorer["name"].unsupported([*SCORERS])
        return
    rules = PARAMETERS.get(name, [])
    known = [row[0] for row in rules]
    yield from (unknown_field(parameters[each].path) for each in parameters.value if each not in known)
    yield from broken(parameters, rules)


def config_problems(config: Field) -> Iterator[Problem]:
    """One profile, or decode and prefill; a decider only between these."""
    profiles = config["profiles"]
    if not profiles.value:
        yield profiles.required()
    elif len(profiles.value) > 1 and profiles.value.keys() != {"decode", "prefill"}:
        yield Problem(profiles.path, "must be one profile, or decode and prefill: others are not modelled here")
    elif config["decider"].value is not None and len(profiles.value) == 1:
        yield config["decider"].forbidden("without the profiles decode and prefill")


def unsupported_plugins(manifest: Field) -> Iterator[Problem]:
    """Scorers and filters of a file that are not modelled, so that nothing is left out in silence."""
    config = Field(decoded(manifest.value))
    for warning in _unknown_plugins(config):
        yield Problem(warning.path, warning.message.replace("not checked here", "not modelled here"))


def open_request(name: str, requests: Collection[str]) -> None:
    """Invalid when the request is in flight already."""
    if name in requests:
        refuse("request", [Problem("name", f'Duplicate value: "{name}"')])


def unknown_request(name: str, requests: Collection[str]) -> None:
    """Invalid when the request is not in flight."""
    if name not in requests:
        refuse("request", [Problem("name", f'Not found: "{name}"')])
