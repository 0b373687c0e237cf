"""What every manifest shares: names, quantities, container resources, YAML, and the API server's verdict."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

Manifest = dict[str, Any]
Quantity = str | int | float
KUBERNETES = "1.37"


class Problem(NamedTuple):
    """One objection: the path of the field, and what is wrong with it in the API server's words."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Invalid(ValueError):
    """Raised for input that the real system would refuse; `problems` holds every objection."""

    def __init__(self, what: str, problems: list[Problem]) -> None:
        self.problems = problems
        said = "; ".join(map(str, problems))
        super().__init__(f"{what} is invalid: {said}")


# ---------------------------------------------------------------------------------------------- quantities

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_UNITS = {s: Fraction(10) ** n for s, n in _DECIMAL.items()} | {s: Fraction(1024) ** n for s, n in _BINARY.items()}
_EXPONENT = re.compile(r"[eE][-+]?[0-9]+")
_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")
_WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


_LARGEST = Fraction(2**63 - 1)


def quantity(text: Quantity) -> Fraction:
    """Exact amount of a quantity in base units (cores, bytes, pieces): "250m" is 1/4, "1Ki" is 1024.

    ValueError in the words of apimachinery `pkg/api/resource/quantity.go` (v1.37) for anything else;
    amounts beyond 2^63-1 are cut to it, as there.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(_WRONG_FORMAT)
    return _parse(str(text))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(_WRONG_FORMAT)
    number, suffix = match.groups()
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", number):
        raise ValueError("unable to parse numeric part of quantity")
    return max(-_LARGEST, min(_LARGEST, Fraction(number.rstrip(".")) * _unit(suffix)))


def _unit(suffix: str) -> Fraction:
    """Factor of a suffix; 1E is an exa, 1E3 a thousand."""
    if _EXPONENT.fullmatch(suffix):
        return Fraction(10) ** max(-99, min(99, int(suffix[1:])))
    if suffix not in _UNITS:
        raise ValueError("unable to parse quantity's suffix")
    return _UNITS[suffix]


@lru_cache(maxsize=4096, typed=True)
def milli_value(text: Quantity) -> int:
    """Thousandths of a quantity, rounded away from zero as Quantity.MilliValue does."""
    thousandths = quantity(text) * 1000
    return math.ceil(thousandths) if thousandths > 0 else math.floor(thousandths)


def canonical(text: Quantity) -> str:
    """The form that `kubectl get` shows: the largest suffix of the same family that leaves a whole number."""
    size = quantity(text)
    for suffix, unit in _family(str(text)).items():
        if (size / unit).denominator == 1 and (size or unit == 1):
            return f"{size / unit}{suffix}"
    return f"{math.ceil(size / _UNITS['n'])}n"


def _family(text: str) -> dict[str, Fraction]:
    """Suffixes that a quantity written like `text` may be shown with, the largest first."""
    decimal = {s: _UNITS[s] for s in reversed(_DECIMAL)}
    if _EXPONENT.search(text):
        return {f"e{_DECIMAL[s]}" if s else "": unit for s, unit in decimal.items()}
    return {s: _UNITS[s] for s in reversed(_BINARY)} | decimal if text.endswith("i") else decimal


# ------------------------------------------------------------------------------------- fields and their rules


@dataclass(frozen=True)
class Field:
    """A value inside a manifest together with its path; the rules below read like the API server's."""

    value: Any
    path: str = ""

    def __getitem__(self, key: str) -> Field:
        child = self.value.get(key) if isinstance(self.value, Mapping) else None
        return Field(child, f"{self.path}.{key}" if self.path else key)

    def each(self) -> Iterator[Field]:
        """The items of a list, or of a map, each with its path."""
        if isinstance(self.value, Mapping):
            yield from (Field(v, f"{self.path}[{k}]") for k, v in self.value.items())
        elif isinstance(self.value, list | tuple):
            yield from (Field(v, f"{self.path}[{i}]") for i, v in enumerate(self.value))

    def required(self, why: str = "") -> Problem:
        return Problem(self.path, "Required value" + (f": {why}" if why else ""))

    def invalid(self, why: str) -> Problem:
        return Problem(self.path, f"Invalid value: {json.dumps(self.value, default=str)}: {why}")

    def forbidden(self, why: str) -> Problem:
        return Problem(self.path, f"Forbidden: {why}")

    def unsupported(self, supported: list[str]) -> Problem:
        names = ", ".join(f'"{name}"' for name in supported)
        return Problem(self.path, f'Unsupported value: "{self.value}": supported values: {names}')


Rule = Callable[[Field], Iterator[Problem]]


def one_of(field: Field, *supported: str) -> Iterator[Problem]:
    """The field is one of the names that the API knows."""
    if field.value not in supported:
        yield field.unsupported(sorted(supported))


def whole(field: Field, low: int, high: int = 2**31 - 1, too_low: str = "") -> Iterator[Problem]:
    """The field is an integer from `low` to `high`."""
    if type(field.value) is not int:
        yield field.invalid("must be an integer")
    elif field.value < low:
        yield field.invalid(too_low or f"must be greater than or equal to {low}")
    elif field.value > high:
        yield field.invalid(f"must be less than or equal to {high}")


def amount(field: Field, positive: bool = False) -> Iterator[Problem]:
    """The field is a quantity, not negative, and above zero where `positive`."""
    try:
        size = quantity(field.value)
    except ValueError as error:
        yield field.invalid(str(error))
        return
    if positive and size <= 0:
        yield field.invalid("must be positive")
    elif size < 0:
        yield field.invalid("must be greater than or equal to 0")


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_NAMES = {
    _SUBDOMAIN: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', "
    f"regex used for validation is '{_SUBDOMAIN}')",
    _LABEL_VALUE: "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    f"regex used for validation is '{_LABEL_VALUE}')",
}


def _matches(field: Field, pattern: str, longest: int) -> Iterator[Problem]:
    if not isinstance(field.value, str):
        yield field.invalid("must be a string")
    elif len(field.value) > longest:
        yield field.invalid(f"must be no more than {longest} characters")
    elif not re.fullmatch(pattern, field.value):
        yield field.invalid(_NAMES[pattern])


def metadata_problems(metadata: Field) -> Iterator[Problem]:
    """Every object has a name that DNS accepts, and labels that selectors can match."""
    if not metadata["name"].value and not metadata["generateName"].value:
        yield metadata["name"].required("name or generateName is required")
    elif metadata["name"].value:
        yield from _matches(metadata["name"], _SUBDOMAIN, 253)
    for label in metadata["labels"].each():
        for problem in _matches(label, _LABEL_VALUE, 63):
            yield Problem(metadata["labels"].path, problem.message)


@dataclass(frozen=True)
class ObjectReference:
    """Another object, by kind and name: a scale target, or the object that a metric describes."""

    kind: str
    name: str
    api_version: str = "apps/v1"

    def manifest(self) -> Manifest:
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name}


# ---------------------------------------------------------------------------------------- container resources


@dataclass(frozen=True)
class Resources:
    """A container's `resources`; an extended resource such as nvidia.com/gpu is whole and equal in both."""

    requests: Mapping[str, Quantity] = field(default_factory=dict)
    limits: Mapping[str, Quantity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        block = {"requests": self.requests, "limits": self.limits}
        check("resources", resource_problems(Field(block, "resources")))

    def manifest(self) -> Manifest:
        """The block as the API server stores it: quantities canonical, empty parts left out."""
        parts = {"limits": self.limits, "requests": self.requests}
        return {part: {name: canonical(q) for name, q in given.items()} for part, given in parts.items() if given}


def resource_problems(resources: Field) -> Iterator[Problem]:
    """Requests stay below limits; what cannot be overcommitted (a GPU) is whole and has the limit as request."""
    for part in ("limits", "requests"):
        for entry in resources[part].each():
            bad = list(amount(entry))
            yield from bad
            if not bad and _extended(_resource_name(entry)) and quantity(entry.value).denominator != 1:
                yield Field(canonical(entry.value), entry.path).invalid("must be an integer")
    if all(_is_quantity(e.value) for part in ("limits", "requests") for e in resources[part].each()):
        yield from _request_problems(resources)


def _request_problems(resources: Field) -> Iterator[Problem]:
    limits = resources["limits"].value or {}
    for request in resources["requests"].each():
        name, shown = _resource_name(request), Field(canonical(request.value), resources["requests"].path)
        if name not in limits:
            if _extended(name):
                yield resources["limits"].required("Limit must be set for non overcommitable resources")
        elif _extended(name) and quantity(request.value) != quantity(limits[name]):
            yield shown.invalid(f"must be equal to {name} limit of {canonical(limits[name])}")
        elif quantity(request.value) > quantity(limits[name]):
            yield shown.invalid(f"must be less than or equal to {name} limit of {canonical(limits[name])}")


def _resource_name(entry: Field) -> str:
    return entry.path.rpartition("[")[2].rstrip("]")


def _extended(name: str) -> bool:
    """Outside kubernetes.io and with a domain: a device plugin's resource."""
    return "/" in name and "kubernetes.io/" not in name


def _is_quantity(value: Any) -> bool:
    return not list(amount(Field(value)))


# ------------------------------------------------------------------------------------------------------- YAML


class _Dumper(yaml.SafeDumper):
    """Strings as kubectl writes them: several lines as a block, what YAML would misread in double quotes."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = dumper.resolve(yaml.ScalarNode, text, (True, False)).endswith(":str") and text.isprintable()
    style = "|" if "\n" in text else None if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def to_yaml(obj: Manifest) -> str:
    """The manifest as `kubectl get -o yaml` prints it: keys in alphabetical order, lists not indented."""
    return yaml.dump(obj, Dumper=_Dumper, sort_keys=True, default_flow_style=False, width=math.inf, allow_unicode=True)


# ------------------------------------------------------------------------------------------------- validation


def check(what: str, problems: Iterator[Problem]) -> None:
    """Raise Invalid when there is any problem."""
    if found := list(problems):
        raise Invalid(what, found)


def validate(obj: Manifest) -> list[Problem]:
    """Why the API server would refuse the object; an empty list when it would accept it.

    First the strict schema of Kubernetes 1.37 (unknown fields, types), as decoding comes first there too;
    then the rules that the schema cannot say.
    """
    kind = (obj.get("apiVersion"), obj.get("kind"))
    if kind not in RULES:
        return [Problem("kind", f'no matches for kind "{kind[1]}" in version "{kind[0]}"')]
    return list(_schema_problems(obj)) or list(rule_problems(obj))


def rule_problems(obj: Manifest) -> Iterator[Problem]:
    """What validation objects to once the object has been decoded."""
    yield from metadata_problems(Field(obj)["metadata"])
    yield from RULES[obj["apiVersion"], obj["kind"]](Field(obj)["spec"])


def _schema_problems(obj: Manifest) -> Iterator[Problem]:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(obj, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        keys = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.absolute_path)
        yield _decoding_problem("".join(keys).lstrip("."), error)


def _decoding_problem(path: str, error: Any) -> Problem:
    """The schema's objection as the API server's decoder puts it, where it has words of its own."""
    if error.validator == "additionalProperties":
        unknown = next(name for name in error.instance if name not in error.schema.get("properties", {}))
        field = f"{path}.{unknown}".lstrip(".")
        return Problem(field, f'strict decoding error: unknown field "{field}"')
    return Problem(path, error.message)


# ------------------------------------------------------------------------- HorizontalPodAutoscaler, autoscaling/v2


def _horizontal_pod_autoscaler(spec: Field) -> Iterator[Problem]:
    """pkg/apis/autoscaling/validation/validation.go, Kubernetes 1.37 (HPAScaleToZero on)."""
    yield from _replica_problems(spec)
    for name in ("kind", "name"):
        if not spec["scaleTargetRef"][name].value:
            yield spec["scaleTargetRef"][name].required()
    for metric in spec["metrics"].each():
        yield from _metric_problems(metric)
    for direction in ("scaleUp", "scaleDown"):
        yield from _scaling_rule_problems(spec["behavior"][direction])


def _replica_problems(spec: Field) -> Iterator[Problem]:
    low, high = spec["minReplicas"], spec["maxReplicas"]
    from_zero = any(metric["type"].value in ("Object", "External") for metric in spec["metrics"].each())
    if low.value is not None:
        yield from whole(low, 0 if from_zero else 1)
    if low.value == 0 and not from_zero:
        yield spec["metrics"].forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas"
        )
    if high.value is None or high.value == 0:
        yield high.required("must be set and greater than 0")
    else:
        yield from whole(high, 1, too_low="must be greater than 0")
    if type(low.value) is int and type(high.value) is int and high.value < low.value:
        yield high.invalid("must be greater than or equal to `minReplicas`")


_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def _metric_problems(metric: Field) -> Iterator[Problem]:
    kind = metric["type"]
    if kind.value not in _SOURCES:
        yield kind.unsupported(list(_SOURCES))
        return
    source = metric[_SOURCES[kind.value]]
    if source.value is None:
        yield source.required("must populate information for the given metric source")
    for other in _SOURCES.values():
        if metric[other].value is not None and metric[other].path != source.path:
            yield metric[other].forbidden("must populate the given metric source only")
    if source.value is not None:
        yield from _name_problems(kind.value, source)
        yield from _target_problems(kind.value, source["target"])


def _name_problems(kind: str, source: Field) -> Iterator[Problem]:
    if kind in ("Resource", "ContainerResource"):
        if not source["name"].value:
            yield source["name"].required("must specify a resource name")
    elif not source["metric"]["name"].value:
        yield source["metric"]["name"].required("must specify a metric name")
    if kind == "ContainerResource" and not source["container"].value:
        yield source["container"].required("must specify a container")
    if kind == "Object":
        for name in ("kind", "name"):
            if not source["describedObject"][name].value:
                yield source["describedObject"][name].required()


def _target_problems(kind: str, target: Field) -> Iterator[Problem]:
    value, average, percent = target["value"], target["averageValue"], target["averageUtilization"]
    if target["type"].value not in ("Utilization", "Value", "AverageValue"):
        yield target["type"].invalid("must be either Utilization, Value, or AverageValue")
    for given in (value, average):
        if given.value is not None:
            yield from amount(given, positive=True)
    if percent.value is not None:
        yield from whole(percent, 1, too_low="must be greater than 0")
    if kind in ("Resource", "ContainerResource"):
        if percent.value is None and average.value is None:
            yield percent.required("must set either a target raw value or a target utilization")
        if percent.value is not None and average.value is not None:
            yield average.forbidden("may not set both a target raw value and a target utilization")
    elif kind == "Pods" and average.value is None:
        yield average.required("must specify a positive target averageValue")
    elif value.value is None and average.value is None:
        yield average.required("must set either a target value or averageValue")
    elif kind == "External" and value.value is not None and average.value is not None:
        yield value.forbidden("may not set both a target value for metric and a per-pod target")


def _scaling_rule_problems(rules: Field) -> Iterator[Problem]:
    window, policies = rules["stabilizationWindowSeconds"], rules["policies"]
    if window.value is not None:
        yield from whole(window, 0, 3600, too_low="must be greater than or equal to zero")
    if rules["selectPolicy"].value is not None:
        yield from one_of(rules["selectPolicy"], "Max", "Min", "Disabled")
    if rules["tolerance"].value is not None:
        yield from amount(rules["tolerance"])
    if policies.value is not None and not policies.value:
        yield policies.required("must specify at least one Policy")
    for policy in policies.each():
        yield from one_of(policy["type"], "Pods", "Percent")
        yield from whole(policy["value"], 1, too_low="must be greater than zero")
        yield from whole(policy["periodSeconds"], 1, 1800, too_low="must be greater than zero")


RULES: dict[tuple[Any, Any], Rule] = {
    ("autoscaling/v2", "HorizontalPodAutoscaler"): _horizontal_pod_autoscaler,
}
