"""Knative's autoscaler: what its webhooks refuse of the ConfigMap `config-autoscaler` and of a revision's annotations.

knative/serving v1.23.0: `pkg/autoscaler/config/config.go` and `pkg/apis/autoscaling/annotation_validation.go`. Upstream
stops at the first objection to the ConfigMap; here all are named. What depends on both, such as an initial scale of 0,
is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mlinfra.admission.go_values import MAX_INT32, boolean, go_duration, go_number, int32, integer, number, seconds
from mlinfra.admission.rules import Field, Problem

GROUP = "autoscaling.knative.dev"
KPA, HPA = f"kpa.{GROUP}", f"hpa.{GROUP}"

# ------------------------------------------------------------------------------------------------- config-autoscaler

CONFIG: dict[str, Callable[[str], Any]] = {
    "enable-scale-to-zero": boolean,
    "allow-zero-initial-scale": boolean,
    "max-scale-up-rate": number,
    "max-scale-down-rate": number,
    "container-concurrency-target-percentage": number,
    "container-concurrency-target-default": number,
    "requests-per-second-target-default": number,
    "target-burst-capacity": number,
    "panic-window-percentage": number,
    "activator-capacity": number,
    "panic-threshold-percentage": number,
    "initial-scale": int32,
    "min-scale": int32,
    "max-scale": int32,
    "max-scale-limit": int32,
    "stable-window": seconds,
    "scale-down-delay": seconds,
    "scale-to-zero-grace-period": seconds,
    "scale-to-zero-pod-retention-period": seconds,
}
"""The keys that the simulation reads, and how; `pod-autoscaler-class` is any text."""

OUT_OF_RANGE: list[tuple[str, Callable[[Any], bool], str]] = [
    ("scale-to-zero-grace-period", lambda s: s <= 0, "{key} must be positive, was: {value}"),
    ("scale-down-delay", lambda s: s < 0, "{key} cannot be negative, was: {value}"),
    ("scale-down-delay", lambda s: s % 1 != 0, "{key} = {value}, must be specified with at most second precision"),
    ("scale-to-zero-pod-retention-period", lambda s: s < 0, "{key} cannot be negative, was: {value}"),
    (
        "target-burst-capacity",
        lambda n: n < 0 and n != -1,
        "{key} must be either non-negative or -1 (for unlimited), was: {value:f}",
    ),
    (
        "container-concurrency-target-percentage",
        lambda n: not 0 < n <= 1,
        "{key} = {value:f} is outside of valid range of (0, 100]",
    ),
    ("requests-per-second-target-default", lambda n: n < 0.01, "{key} must be at least 0.01, was: {value:g}"),
    ("activator-capacity", lambda n: n < 1, "{key} = {value:g}, must be at least 1"),
    ("max-scale-up-rate", lambda n: n <= 1, "{key} = {value:g}, must be greater than 1.0"),
    ("max-scale-down-rate", lambda n: n <= 1, "{key} = {value:g}, must be greater than 1.0"),
    ("stable-window", lambda s: not 6 <= s <= 3600, "{key} = {value}, must be in [6s; 1h0m0s] range"),
    ("stable-window", lambda s: s % 1 != 0, "{key} = {value}, must be specified with at most second precision"),
    ("panic-window-percentage", lambda n: not 1 <= n <= 100, "{key} = {value:g}, must be in [1, 100] interval"),
    ("min-scale", lambda n: n < 0, "{key} = {value}, must be at least 0"),
    ("max-scale-limit", lambda n: n < 0, "{key} = {value}, must be at least 0"),
]
"""A key, when its value is wrong, and config.go's words."""


def config_autoscaler(configmap: Field) -> Iterator[Problem]:
    """The webhook of the ConfigMap reads Knative's own namespace alone."""
    name, namespace = configmap["metadata"]["name"].value, configmap["metadata"]["namespace"].value
    if name == "config-autoscaler" and namespace in (None, "", "knative-serving"):
        yield from config_problems(configmap["data"])


def config_problems(data: Field) -> Iterator[Problem]:
    """What NewConfigFromMap objects to: values that cannot be read; if all can, those out of range."""
    unreadable = list(_unreadable(data))
    yield from unreadable or _out_of_range(data, config_values(data.value or {}))


def config_values(data: Mapping[str, str]) -> dict[str, Any]:
    """The values of the keys that are there; a percentage above 1 is read as a fraction."""
    values = {key: parse(data[key]) for key, parse in CONFIG.items() if key in data}
    percentage = values.get("container-concurrency-target-percentage", 0)
    if percentage > 1:
        values["container-concurrency-target-percentage"] = percentage / 100
    return values


def _unreadable(data: Field) -> Iterator[Problem]:
    for key, parse in CONFIG.items():
        if data[key].value is not None:
            try:
                parse(data[key].value)
            except ValueError as error:
                yield Problem(data[key].path, f'failed to parse data: failed to parse "{key}": {error}')


def _out_of_range(data: Field, values: dict[str, Any]) -> Iterator[Problem]:
    for key, wrong, words in OUT_OF_RANGE:
        if key in values and wrong(values[key]):
            value = go_duration(values[key]) if CONFIG[key] is seconds else values[key]
            yield Problem(data[key].path, words.format(key=key, value=value))
    yield from _contradictions(data, values)


def _contradictions(data: Field, values: dict[str, Any]) -> Iterator[Problem]:
    """What one key forbids another, with the defaults of what is not there."""
    fraction = values.get("container-concurrency-target-percentage", 0.7)
    target = fraction * values.get("container-concurrency-target-default", 100)
    if target < 0.01:
        yield Problem(
            data["container-concurrency-target-default"].path,
            "container-concurrency-target-percentage and container-concurrency-target-default yield target concurrency "
            f"of {target:g}, can't be less than 0.01",
        )
    initial = values.get("initial-scale", 1)
    if initial < 0 or (initial == 0 and not values.get("allow-zero-initial-scale", False)):
        rule = "must be at least 0 (or at least 1 when allow-zero-initial-scale is false)"
        yield Problem(data["initial-scale"].path, f"initial-scale = {initial}, {rule}")
    low, high, limit = (values.get(key, 0) for key in ("min-scale", "max-scale", "max-scale-limit"))
    least = 1 if limit > 0 else 0
    if high < least or 0 < limit < high:
        rule = f"must be in [{least}, max-scale-limit({limit})] range"
        yield Problem(data["max-scale"].path, f"max-scale = {high}, {rule}")
    if low > high > 0:
        yield Problem(data["min-scale"].path, f"min-scale ({low}) must be less than max-scale ({high})")


# --------------------------------------------------------------------------------------- annotations of a revision


class Annotation(NamedTuple):
    """How the text is read, and what is wrong with a value: upstream's words, or nothing."""

    parse: Callable[[str], Any]
    objection: Callable[[Any, str], str] = lambda value, text: ""


def _within(low: float, high: float) -> Callable[[Any, str], str]:
    def objection(value: float, text: str) -> str:
        outside = value < low or value > high
        return f"expected {low:.10g} <= {text} <= {high:.10g}" if outside else ""

    return objection


def _time_within(low_s: float, precise: bool = True) -> Callable[[Any, str], str]:
    def objection(value_s: float, text: str) -> str:
        if not low_s <= value_s <= 3600:
            return f"expected {go_duration(low_s)} <= {text} <= 1h0m0s"
        return "must be specified with at most second precision" if precise and value_s % 1 else ""

    return objection


def _target(value: float, text: str) -> str:
    return f"target {text} should be at least 0.01" if value < 0.01 else ""


def _burst(value: float, text: str) -> str:
    return f'invalid value "{text}"' if value < 0 and value != -1 else ""


def _initial(value: int, text: str) -> str:
    return f'invalid value "{text}": must be greater than 0' if value < 0 else ""


ANNOTATIONS = {
    "min-scale": Annotation(integer, _within(0, MAX_INT32)),
    "max-scale": Annotation(integer, _within(0, MAX_INT32)),
    "panic-window-percentage": Annotation(number, _within(1, 100)),
    "panic-threshold-percentage": Annotation(number, _within(110, 1000)),
    "target": Annotation(number, _target),
    "target-utilization-percentage": Annotation(number, _within(1, 100)),
    "target-burst-capacity": Annotation(number, _burst),
    "window": Annotation(seconds, _time_within(6)),
    "scale-to-zero-pod-retention-period": Annotation(seconds, _time_within(0, precise=False)),
    "scale-down-delay": Annotation(seconds, _time_within(0)),
    "metric": Annotation(str),
    "initial-scale": Annotation(integer, _initial),
    "activation-scale": Annotation(int32),
}


def annotation(annotations: Field, name: str) -> Field:
    """The annotation, or the one of its old spelling in camel case."""
    current, old = (annotations[f"{GROUP}/{spelling}"] for spelling in (name, re.sub("-(.)", _capital, name)))
    return old if current.value is None and old.value is not None and name != "activation-scale" else current


def _capital(match: re.Match[str]) -> str:
    return match[1].upper()


def annotation_values(annotations: Mapping[str, str]) -> dict[str, Any]:
    """The values of the annotations that are there, by name."""
    texts = {name: annotation(Field(annotations), name).value for name in ANNOTATIONS}
    return {name: ANNOTATIONS[name].parse(text) for name, text in texts.items() if text is not None}


def annotation_problems(annotations: Field) -> Iterator[Problem]:
    """What ValidateAnnotations objects to, value by value; if nothing, the counts that contradict each other."""
    problems = [*_class_problems(annotations)]
    for name, (parse, objection) in ANNOTATIONS.items():
        field = annotation(annotations, name)
        if field.value is not None:
            words = _objection(field.value, parse, objection)
            problems += [Problem(field.path, words)] if words else []
    yield from problems or _scale_problems(annotations, annotation_values(annotations.value or {}))


def _objection(text: Any, parse: Callable[[str], Any], objection: Callable[[Any, str], str]) -> str:
    """What is wrong with one annotation; a number that YAML reads without quotes does not get as far as Knative."""
    if not isinstance(text, str):
        return "json: cannot unmarshal into Go struct field ObjectMeta.metadata.annotations of type string: quote it"
    try:
        return objection(parse(text), text)
    except ValueError:
        return f'invalid value "{text}"'


def _class_problems(annotations: Field) -> Iterator[Problem]:
    """The class is one of Knative's two, or somebody else's, and Knative's own metrics are two as well."""
    scaler, metric = annotation(annotations, "class"), annotation(annotations, "metric")
    if str(scaler.value).endswith(".knative.dev") and scaler.value not in (KPA, HPA):
        yield Problem(scaler.path, f'invalid value "{scaler.value}"')
    if scaler.value in (None, KPA) and metric.value not in (None, "concurrency", "rps"):
        yield Problem(metric.path, f'invalid value "{metric.value}"')


def _scale_problems(annotations: Field, values: dict[str, Any]) -> Iterator[Problem]:
    low, high = values.get("min-scale", 0), values.get("max-scale", 0)
    if 0 < high < low:
        yield Problem(annotation(annotations, "max-scale").path, f"max-scale={high} is less than min-scale={low}")
    activation = values.get("activation-scale")
    if activation is None:
        return
    if low > activation:
        words = f"min-scale={low} is greater than activation-scale={activation}"
    elif 0 < high < activation:
        words = f"max-scale={high} is less than activation-scale={activation}"
    else:
        words = f"activation-scale={activation} must be greater than 1" if activation < 2 else ""
    if words:
        yield Problem(annotation(annotations, "activation-scale").path, words)


# ------------------------------------------------------------------------------ the names and texts of our own fields

KEYS = {
    "container_concurrency_target_fraction": "container-concurrency-target-percentage",
    "rps_target_default": "requests-per-second-target-default",
    "scale_to_zero_grace_s": "scale-to-zero-grace-period",
    "scale_to_zero_pod_retention_s": "scale-to-zero-pod-retention-period",
}


def key(field: str) -> str:
    """The key, or the annotation's name, of a field in Python: `stable_window_s` is stable-window."""
    return KEYS.get(field, field.removesuffix("_s").replace("_", "-"))


def texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Fields by their keys, and each value as text; what is None is left out."""
    return {key(name): text(name, value) for name, value in fields.items() if value is not None}


def text(name: str, value: Any) -> str:
    """Whole numbers without a point, times in seconds."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return f"{go_number(value)}{'s' if name.endswith('_s') else ''}"


def annotations_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Annotations of the revision template; what is as by default is left out."""
    default = {"container_concurrency", *(["metric"] if fields["metric"] == "concurrency" else [])}
    values = {name: value for name, value in fields.items() if name not in default}
    return {f"{GROUP}/{name}": value for name, value in texts(values).items()}
