"""What every manifest shares: names, quantities, container resources, YAML, and the API server's verdict."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

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
            yield from (Field({} if v is None else v, f"{self.path}[{i}]") for i, v in enumerate(self.value))

    def required(self, why: str = "") -> Problem:
        return Problem(self.path, "Required value" + (f": {why}" if why else ""))

    def invalid(self, why: str) -> Problem:
        return Problem(self.path, f"Invalid value: {json.dumps(self.value, default=str)}: {why}")

    def forbidden(self, why: str) -> Problem:
        return Problem(self.path, f"Forbidden: {why}")

    def unsupported(self, supported: list[str]) -> Problem:
        names = ", ".join(f'"{name}"' for name in supported)
        return Problem(self.path, f'Unsupported value: "{self.value}": supported values: {names}')


Check = Callable[[Field], Iterator[Problem]]


class Needed(NamedTuple):
    """The field may not be missing or empty."""

    why: str = ""


Rules = list[tuple[Any, ...]]
"""Rows of a path below an object, such as "containers[].ports[].name", and the checks that hold there."""


def broken(field: Field, rules: Rules) -> Iterator[Problem]:
    """What the rules object to; a field that is not given passes all but Needed."""
    for path, *checks in rules:
        for found in select(field, path):
            yield from _first_objection(found, checks)


def below(path: str, rules: Rules) -> Rules:
    """The same rules at another place."""
    return [(f"{path}.{row[0]}" if row[0] else path, *row[1:]) for row in rules]


def select(field: Field, path: str) -> Iterator[Field]:
    """The fields at a path; `[]` steps into each item, and a branch that is not given has none."""
    head, _, rest = path.partition(".")
    child = field[head.removesuffix("[]")] if head else field
    for found in child.each() if head.endswith("[]") else [child]:
        if not rest:
            yield found
        elif found.value is not None:
            yield from select(found, rest)


def _first_objection(field: Field, checks: list[Check | Needed]) -> list[Problem]:
    for check in checks:
        if isinstance(check, Needed):
            problems = [] if field.value not in (None, "", [], {}) else [field.required(check.why)]
        else:
            problems = [] if field.value is None else list(check(field))
        if problems:
            return problems
    return []


def one_of(*supported: str) -> Check:
    """The field is one of the names that the API knows, or empty and left to the default."""
    return lambda field: iter([] if field.value in ("", *supported) else [field.unsupported(sorted(supported))])


def whole(low: int, high: int = 2**31 - 1, why: str = "") -> Check:
    """The field is an integer from `low` to `high`; `why` are upstream's words for one that is too low."""

    def check(field: Field) -> Iterator[Problem]:
        if type(field.value) is not int:
            yield field.invalid("must be an integer")
        elif field.value < low:
            yield field.invalid(why or f"must be greater than or equal to {low}")
        elif field.value > high:
            yield field.invalid(f"must be less than or equal to {high}")

    return check


def between(low: int, high: int) -> Check:
    """The field is an integer of the range, said in one sentence."""

    def check(field: Field) -> Iterator[Problem]:
        if type(field.value) is not int or not low <= field.value <= high:
            yield field.invalid(f"must be between {low} and {high}, inclusive")

    return check


def real(low: float = -math.inf, high: float = math.inf, infinite: bool = False) -> Check:
    """The field is a number of that range; finite, unless it may be infinite."""

    def check(field: Field) -> Iterator[Problem]:
        value = field.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            yield field.invalid("must be a number")
        elif isinstance(value, int) and abs(value) >= 2**63:
            yield Problem(field.path, "must be less than 2^63")
        elif value < low:
            yield field.invalid(f"must be greater than or equal to {low:g}")
        elif value > high:
            yield field.invalid(f"must be less than or equal to {high:g}")
        elif math.isinf(value) and not infinite:
            yield field.invalid("must be finite")

    return check


def quantity_check(positive: bool = False) -> Check:
    """The field is a quantity: not negative, or above zero."""

    def check(field: Field) -> Iterator[Problem]:
        try:
            size = quantity(field.value)
        except ValueError as error:
            yield field.invalid(str(error))
            return
        if positive and size <= 0:
            yield field.invalid("must be positive")
        elif size < 0:
            yield field.invalid("must be greater than or equal to 0")

    return check


def text(pattern: str, longest: int, why: str) -> Check:
    """The field is empty, or a string of that form; the message ends in the expression, as upstream's do."""

    def check(field: Field) -> Iterator[Problem]:
        if not isinstance(field.value, str):
            yield field.invalid("must be a string")
        elif len(field.value) > longest:
            yield field.invalid(f"must be no more than {longest} characters")
        elif field.value and not re.fullmatch(pattern, field.value):
            yield field.invalid(f"{why}, regex used for validation is '{pattern}')")

    return check


_LABEL, _QUALIFIED = "[a-z0-9]([-a-z0-9]*[a-z0-9])?", "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_ENDS = "and must start and end with an alphanumeric character (e.g."
dns_label = text(
    _LABEL,
    63,
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS} 'my-name'",
)
dns_subdomain = text(
    rf"{_LABEL}(\.{_LABEL})*",
    253,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    f"{_ENDS} 'example.com'",
)
label_value = text(
    f"({_QUALIFIED})?",
    63,
    f"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', {_ENDS} 'MyValue'",
)
label_name = text(
    _QUALIFIED, 63, f"name part must consist of alphanumeric characters, '-', '_' or '.', {_ENDS} 'MyName'"
)


def label_key(field: Field) -> Iterator[Problem]:
    """A name, or a DNS subdomain, a slash and a name."""
    prefix, slash, name = str(field.value).rpartition("/")
    wrong = [] if name else [Problem("", "name part must be non-empty")]
    wrong += [*label_name(Field(name)), *(dns_subdomain(Field(prefix)) if slash else ())]
    wrong += [Problem("", "prefix part must be non-empty")] if slash and not prefix else []
    yield from (field.invalid(problem.message.partition('": ')[2] or problem.message) for problem in wrong)


def a_map(field: Field) -> Iterator[Problem]:
    """The field is a map."""
    if not isinstance(field.value, Mapping):
        yield field.invalid("must be a map")


def a(kind: type) -> Check:
    """The field is one of our nouns."""
    return lambda field: iter([] if isinstance(field.value, kind) else [field.invalid(f"must be a {kind.__name__}")])


def tuple_of(kind: type) -> Check:
    """The field is a tuple of our nouns."""

    def check(field: Field) -> Iterator[Problem]:
        if not isinstance(field.value, tuple) or not all(isinstance(item, kind) for item in field.value):
            yield field.invalid(f"must be a tuple of {kind.__name__}")

    return check


def labels(field: Field) -> Iterator[Problem]:
    """Keys and values that selectors can match; upstream names the map, not the entry."""
    for key in field.value:
        yield from label_key(Field(key, field.path))
    for entry in field.each():
        yield from (Problem(field.path, problem.message) for problem in label_value(entry))


def annotation_keys(field: Field) -> Iterator[Problem]:
    """As those of labels, whatever their case."""
    for key in field.value:
        yield from label_key(Field(str(key).lower(), field.path))


METADATA: Rules = [
    ("namespace", dns_label),
    ("labels", a_map, labels),
    ("annotations", a_map, annotation_keys),
]


def metadata_problems(metadata: Field, name: Check) -> Iterator[Problem]:
    """Every object has a name that DNS accepts, and labels that selectors can match."""
    if not metadata["name"].value and not metadata["generateName"].value:
        yield metadata["name"].required("name or generateName is required")
    elif metadata["name"].value:
        yield from name(metadata["name"])
    yield from broken(metadata, METADATA)


@dataclass(frozen=True)
class ObjectReference:
    """Another object, by kind and name: a scale target, or the object that a metric describes."""

    kind: str
    name: str
    api_version: str = "apps/v1"

    @classmethod
    def of(cls, manifest: Manifest) -> ObjectReference:
        return cls(manifest["kind"], manifest["name"], manifest.get("apiVersion", ""))

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
        check("resources", (p for part in block for p in a_map(Field(block, "resources")[part])))
        check("resources", resource_problems(Field(block, "resources")))

    def manifest(self) -> Manifest:
        """The block as the API server stores it: quantities canonical, empty parts left out."""
        parts = {"limits": self.limits, "requests": self.requests}
        return {part: {name: canonical(q) for name, q in given.items()} for part, given in parts.items() if given}


def resource_problems(resources: Field) -> Iterator[Problem]:
    """Requests stay below limits; what cannot be overcommitted (a GPU) is whole and has the limit as request."""
    found = [p for part in ("limits", "requests") for entry in resources[part].each() for p in _entry_problems(entry)]
    yield from found or _request_problems(resources)


def _entry_problems(entry: Field) -> Iterator[Problem]:
    name = _resource_name(entry)
    if "/" in name:
        yield from label_key(Field(name, entry.path))
    if "/" not in name and not re.fullmatch("cpu|memory|ephemeral-storage|hugepages-.+", name):
        yield Field(name, entry.path).invalid("must be a standard resource for containers")
    problems = list(quantity_check()(entry))
    if not problems and extended(name) and quantity(entry.value).denominator != 1:
        problems = [Field(canonical(entry.value), entry.path).invalid("must be an integer")]
    yield from problems


def _request_problems(resources: Field) -> Iterator[Problem]:
    limits = resources["limits"].value or {}
    for request in resources["requests"].each():
        name, shown = _resource_name(request), Field(canonical(request.value), resources["requests"].path)
        if name not in limits:
            if not_overcommitted(name):
                yield resources["limits"].required("Limit must be set for non overcommitable resources")
        elif not_overcommitted(name) and quantity(request.value) != quantity(limits[name]):
            yield shown.invalid(f"must be equal to {name} limit of {canonical(limits[name])}")
        elif quantity(request.value) > quantity(limits[name]):
            yield shown.invalid(f"must be less than or equal to {name} limit of {canonical(limits[name])}")


def _resource_name(entry: Field) -> str:
    return entry.path.rpartition("[")[2].rstrip("]")


def not_overcommitted(name: str) -> bool:
    """What a node cannot promise twice."""
    return extended(name) or name.startswith("hugepages-")


def extended(name: str) -> bool:
    """A device plugin's resource: it has a domain, and not kubernetes.io's."""
    return "/" in name and "kubernetes.io/" not in name


RESTRICTED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""A container's securityContext as the restricted Pod Security Standard wants it, whatever the pod says."""


# ------------------------------------------------------------------------------------------------------- YAML


@lru_cache(maxsize=1)
def _dumper() -> Any:
    """Strings as kubectl writes them: several lines as a block, what YAML would misread in double quotes."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # what stands in two places is written twice

    def string(dumper: Any, text: str) -> Any:
        plain = dumper.resolve(yaml.ScalarNode, text, (True, False)).endswith(":str") and text.isprintable()
        lines = "\n" in text and text.replace("\n", "").replace("\t", "").isprintable()
        style = "|" if lines else None if plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, string)
    return Dumper


def to_yaml(obj: Manifest) -> str:
    """The manifest as `kubectl get -o yaml` prints it: keys in alphabetical order, lists not indented."""
    import yaml

    text = yaml.dump(
        obj, Dumper=_dumper(), sort_keys=True, default_flow_style=False, width=math.inf, allow_unicode=True
    )
    return str(text)


# ------------------------------------------------------------------------------------------------- validation


def check(what: str, problems: Iterable[Problem]) -> None:
    """Raise Invalid when there is any problem."""
    if found := list(problems):
        raise Invalid(what, found)


def validate(obj: Manifest) -> list[Problem]:
    """Why the API server would refuse the object; an empty list when it would accept it.

    First the strict schema of Kubernetes 1.37 (unknown fields, types), as decoding comes first there too;
    then the rules that the schema cannot say. A kind that is not known is a problem.
    """
    from mlinfra.kinds import KINDS

    if not isinstance(obj, Mapping):
        return [Field(obj, "manifest").invalid("must be an object")]
    obj = decoded(obj)
    kind = (str(obj.get("apiVersion")), str(obj.get("kind")))
    if kind not in KINDS:
        return [_no_matches(obj)]
    wrong, missing = _schema_problems(obj, _validator(*kind))
    found = wrong or list(rule_problems(obj))
    return found + [p for p in missing if not wrong and not any(f.path.startswith(p.path) for f in found)]


def rule_problems(obj: Manifest) -> Iterator[Problem]:
    """What validation objects to once the object has been decoded."""
    from mlinfra.kinds import KINDS

    kind = KINDS[obj["apiVersion"], obj["kind"]]
    yield from metadata_problems(Field(obj)["metadata"], kind.name)
    yield from broken(Field(_with_structs(obj, kind.structs)), kind.rules)


class CustomKind(NamedTuple):
    """A custom resource as this course writes it: version, kind, and rules; a row without checks is a field it has.

    `decode` finds unknown and mistyped fields where the rules do not name them all. The rules of `across` compare
    fields, so they are asked once each field is sound. A configuration file has no name.
    """

    api_version: str
    kind: str
    rules: Rules
    across: Rules
    name: Check | None = dns_subdomain
    decode: Callable[[Field], Iterator[Problem]] | None = None

    def problems(self, obj: Manifest) -> list[Problem]:
        """Why the API server, or the webhook behind it, would refuse the object; empty when it is fine."""
        if not isinstance(obj, Mapping):
            return [Field(obj, "manifest").invalid("must be an object")]
        if (obj.get("apiVersion"), obj.get("kind")) != (self.api_version, self.kind):
            return [_no_matches(obj)]
        return list((self.decode or self._unknown)(Field(decoded(obj)))) or self.rule_problems(obj)

    def rule_problems(self, obj: Manifest) -> list[Problem]:
        """What validation objects to once the object has been decoded."""
        field = Field(decoded(obj))
        named = list(metadata_problems(field["metadata"], self.name)) if self.name else []
        return named + list(broken(field, self.rules)) or list(broken(field, self.across))

    def _unknown(self, field: Field) -> Iterator[Problem]:
        return _unknown(field, dict.fromkeys(("apiVersion", "kind", "metadata", "status")) | self._tree())

    def fields(self) -> dict[str, Any]:
        """The fields that the rules name, as a tree; below a leaf anything may stand."""
        return _without_lists(self._tree())

    def _tree(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for path, *_ in self.rules:
            branch = tree
            for step in path.split("."):
                branch = branch.setdefault(step.removesuffix("[]"), {})
                if step.endswith("[]"):
                    branch[LIST] = {}
        return tree


LIST = "[]"
"""In a tree of fields: what stands here is a list, of objects with the other fields."""


def _without_lists(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _without_lists(branch) for name, branch in tree.items() if name != LIST}


def fields(path: str, names: str) -> Rules:
    """Rows without checks for the fields below a path that a custom resource may have."""
    return [(f"{path}.{name}".lstrip("."),) for name in names.split()]


def _no_matches(obj: Manifest) -> Problem:
    return Problem("kind", f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"')


def _unknown(field: Field, known: Mapping[str, Any] | None) -> Iterator[Problem]:
    """Fields of an object, or of the objects of a list, that are not in the tree."""
    if not known or field.value is None:
        return
    below = {name: branch for name, branch in known.items() if name != LIST}
    if LIST in known and isinstance(field.value, list):
        yield from (problem for item in field.each() for problem in _unknown(item, below))
    elif LIST not in known and isinstance(field.value, Mapping):
        for name in field.value:
            child = field[name]
            yield from _unknown(child, below[name]) if name in below else [unknown_field(child.path)]
    elif below or not isinstance(field.value, list | Mapping):
        yield field.invalid("must be a list" if LIST in known else "must be an object")


def unknown_field(path: str) -> Problem:
    """The objection to a field that the kind does not have."""
    return Problem(path, f'strict decoding error: unknown field "{path}"')


def decoded(value: Any) -> Any:
    """As Go decodes: a null field is one that was not given."""
    if isinstance(value, Mapping):
        return {str(name): decoded(child) for name, child in value.items() if child is not None}
    return [{} if child is None else decoded(child) for child in value] if isinstance(value, list | tuple) else value


def _with_structs(obj: Manifest, paths: Iterable[str]) -> Manifest:
    """The object with these branches there, empty if need be, as structs are in Go."""
    full = dict(obj)
    for path in paths:
        *steps, last = path.split(".")
        branch = full
        for step in steps:
            branch[step] = dict(branch[step])
            branch = branch[step]
        branch.setdefault(last, {})
    return full


@lru_cache(maxsize=1)
def _schemas() -> tuple[Callable[[str], Any], Any]:
    """The strict schemas of the kinds, by file name, and the registry of the definitions that they refer to."""
    from kubernetes_validate.utils import schema_contents
    from referencing import Registry, Resource

    def read(name: str) -> Any:
        return schema_contents(f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict/{name}.json", KUBERNETES)

    return read, Resource.from_contents(read("_definitions")) @ Registry()


@lru_cache(maxsize=64)
def _validator(api_version: str, kind: str) -> Any:
    """The strict schema of a kind, read once."""
    from jsonschema import Draft202012Validator
    from referencing import Resource

    read, registry = _schemas()
    group, slash, version = api_version.rpartition("/")
    schema = read(f"{kind.lower()}-{group.partition('.')[0]}{'-' if slash else ''}{version}")
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)


@lru_cache(maxsize=64)
def _struct_validator(struct: str) -> Any:
    """The strict schema of a type such as `io.k8s.api.core.v1.Container`, or None where there is none."""
    from jsonschema import Draft202012Validator

    read, registry = _schemas()
    definitions = read("_definitions")
    if struct not in definitions["$defs"]:
        return None
    return Draft202012Validator({"$ref": f"{definitions['$id']}#/$defs/{struct}"}, registry=registry)


def struct_problems(field: Field, struct: str) -> Iterator[Problem]:
    """Unknown, mistyped and missing fields of a Kubernetes type inside a custom resource."""
    validator = _struct_validator(struct)
    wrong, missing = _schema_problems(field.value, validator, field.path) if validator else ([], [])
    yield from wrong + missing


def _schema_problems(obj: Any, validator: Any, at: str = "") -> tuple[list[Problem], list[Problem]]:
    """What cannot be decoded, and what the schema misses (which decoding does not mind), of an object at a path."""
    wrong, missing = [], []
    for error in validator.iter_errors(obj):
        keys = list(error.absolute_path)
        if "additionalProperties" in list(error.absolute_schema_path)[:-1]:  # of a map the decoder names no entry
            keys.pop()
        path = (at + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)).lstrip(".")
        if error.validator == "required":
            absent = next(name for name in error.validator_value if name not in error.instance)
            missing.append(Problem(f"{path}.{absent}".lstrip("."), "Required value"))
        else:
            wrong += _decoding_problems(path, error)
    return wrong, missing


def _decoding_problems(path: str, error: Any) -> list[Problem]:
    """The schema's objection, in the API server's words where its decoder has some."""
    if error.validator != "additionalProperties":
        return [Problem(path, error.message)]
    unknown = [name for name in error.instance if name not in error.schema.get("properties", {})]
    return [unknown_field(f"{path}.{name}".lstrip(".")) for name in unknown]
