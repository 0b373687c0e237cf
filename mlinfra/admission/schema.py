"""The one decoder: unknown fields and wrong types of an object, read off a schema, in the words of the API server.

The schemas of the core kinds are files of the package kubernetes-validate (OpenAPI of Kubernetes 1.37, strict). The
server's decoder is sigs.k8s.io/json: it stops at the first wrong type; else it names every unknown field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlinfra.admission.rules import Field, Problem, unknown_field
from mlinfra.quantity import WRONG_FORMAT, quantity

KUBERNETES = "1.37"
Schema = Mapping[str, Any]

INTEGERS = {"int32": 2**31, "int64": 2**63}
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY_PATTERN = rf"^(\+|-)?{NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{NUMBER}))?$"


@dataclass
class Decoding:
    """What became of an object: values of the wrong type, unknown fields, and required fields that are not given."""

    custom: bool = False
    mistyped: list[Problem] = field(default_factory=list)
    unknown: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)
    metadata: list[Problem] = field(default_factory=list)

    @property
    def problems(self) -> list[Problem]:
        """Of a core kind the first wrong type, or else all unknown fields; of a custom one unknown fields first.

        A Go decoder fills in what is missing; the schema of a custom resource asks for it.
        """
        if self.custom:
            return self.metadata[:1] or self.unknown or [*self.mistyped, *self.missing]
        return self.mistyped[:1] or self.unknown


def decode(value: Field, schema: Schema) -> Decoding:
    """Hold a value against a schema and everything below it, as the decoder of a core kind does."""
    decoding = Decoding()
    _decode(value, schema, "", decoding)
    return decoding


def decode_custom(obj: Field, schema: Schema) -> Decoding:
    """A custom resource: first its metadata, as that of a core kind; types of the rest are said in other words."""
    decoding = Decoding(custom=True)
    if "metadata" in schema["properties"] and "metadata" in obj.value:
        header = decode(obj["metadata"], {"$ref": OBJECT_META})
        decoding.metadata, decoding.unknown = header.mistyped, header.unknown
    _decode(obj, schema, "", decoding)
    return decoding


def _decode(value: Field, schema: Schema, owner: str, decoding: Decoding) -> None:
    """`owner` is the Go struct whose field this is, which the decoder's message names."""
    name, schema = resolved(schema)
    if not _has_type(value.value, schema):
        problem = in_body(value, schema) if decoding.custom else _mistyped(value, name, schema, owner)
        decoding.mistyped.append(problem)
    elif decoding.custom and name == QUANTITY:
        decoding.mistyped += _quantity_problems(value)
    elif decoding.custom and value.value not in schema.get("enum", [value.value]):
        decoding.mistyped.append(value.unsupported(sorted(schema["enum"])))
    elif "properties" in schema:
        _decode_struct(value, schema, name, decoding)
    elif isinstance(value.value, list):
        for item in value.each():
            _decode(item, schema.get("items", {}), owner, decoding)
    elif isinstance(value.value, Mapping) and isinstance(schema.get("additionalProperties"), Mapping):
        for name, entry in value.value.items():  # Go's decoder names no entry of a map
            path = f"{value.path}.{name}" if decoding.custom else value.path
            _decode(Field(entry, path), schema["additionalProperties"], owner, decoding)


def _decode_struct(value: Field, schema: Schema, name: str, decoding: Decoding) -> None:
    struct = name.rpartition(".")[2]
    for key in value.value:
        if key in schema["properties"]:
            _decode(value[key], schema["properties"][key], struct, decoding)
        else:
            decoding.unknown.append(unknown_field(value[key].path))
    for key in schema.get("required", ()):
        if key not in value.value:
            decoding.missing.append(value[key].required())


def _has_type(value: Any, schema: Schema) -> bool:
    """Whether the value is of a type that the schema names; one that names none takes anything."""
    if "oneOf" in schema:
        return any(_has_type(value, choice) for choice in schema["oneOf"])
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    return not names or any(_is(value, name, schema) for name in names)


def _is(value: Any, name: str, schema: Schema) -> bool:
    if name == "integer":
        size = INTEGERS.get(schema.get("format", ""), INTEGERS["int64"])
        return _is_number(value) and value == int(value) and -size <= value < size
    kinds: dict[str, type] = {"string": str, "boolean": bool, "array": list, "object": Mapping}
    return _is_number(value) if name == "number" else isinstance(value, kinds.get(name, type(None)))


def _is_number(value: Any) -> bool:
    finite = isinstance(value, int) or (isinstance(value, float) and abs(value) != float("inf") and value == value)
    return finite and not isinstance(value, bool)


def _mistyped(value: Field, name: str, schema: Schema, owner: str) -> Problem:
    """As Go says it: path without places in lists, the JSON type that came, and the Go type of the field."""
    if name == QUANTITY:
        return Problem(value.path, f"unmarshalerDecoder: {WRONG_FORMAT}")
    path = "".join(part.partition("]")[2] for part in f"]{value.path}".split("["))
    number = f"number {json.dumps(value.value)}" if _is_number(value.value) and "integer" in str(schema) else ""
    into = f"into Go struct field {owner}.{path} of type {_go_type(name, schema)}"
    return Problem(value.path, f"json: cannot unmarshal {number or _json_type(value.value)} {into}")


def _quantity_problems(value: Field) -> list[Problem]:
    """A custom resource takes a quantity as text or a whole number."""
    if isinstance(value.value, float):
        return [in_body(value, {"type": "string"})]
    try:
        quantity(value.value)
    except ValueError:
        why = f"in body should match '{QUANTITY_PATTERN}'"
        return [value.invalid(f"{value.path} {why}")]
    return []


JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
OFF_IS_FALSE = "; YAML reads an unquoted Off, On, No or Yes as a boolean: quote it"


def in_body(value: Field, schema: Schema) -> Problem:
    """As apiextensions-apiserver says it: the type that came, and the type of the schema."""
    json_type = JSON_TYPES.get(type(value.value), "null")
    types = schema.get("type") or [each["type"] for each in schema.get("oneOf", ())]
    first = types if isinstance(types, str) else str(types[0] if isinstance(types[0], str) else types[0][0])
    why = f'{value.path} in body must be of type {first}: "{json_type}"'
    hint = OFF_IS_FALSE if (json_type, first) == ("boolean", "string") else ""
    return Problem(value.path, f'Invalid value: "{json_type}": {why}{hint}')


def _json_type(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def _go_type(name: str, schema: Schema) -> str:
    """The Go type that the schema stands for: `int32`, `[]v1.Container`, `map[string]string`, `v1.PodSpec`."""
    if "properties" in schema:
        return ".".join(name.split(".")[-2:])
    names = str(schema.get("type", "string"))
    if "array" in names:
        return "[]" + _go_type(*resolved(schema["items"]))
    if "object" in names:
        values = schema.get("additionalProperties")
        return "map[string]" + (_go_type(*resolved(values)) if isinstance(values, Mapping) else "string")
    if "integer" in names:
        return str(schema.get("format", "int64"))
    return "bool" if "boolean" in names else "float64" if "number" in names else "string"


# ------------------------------------------------------------------------------------------ the files of the schemas


@lru_cache(maxsize=1)
def _folder() -> Path:
    """Where kubernetes-validate keeps its files; found without importing it, which would bring jsonschema along."""
    spec = find_spec("kubernetes_validate")
    assert spec, "kubernetes-validate is a dependency of this package"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"


@lru_cache(maxsize=1)
def definitions() -> dict[str, Any]:
    """Every type of the API by its name, such as `io.k8s.api.core.v1.Container`."""
    return dict(json.loads((_folder() / "_definitions.json").read_text("utf-8"))["$defs"])


def resolved(schema: Schema) -> tuple[str, Schema]:
    """The name of the type that a schema refers to, and its definition; a plain schema has no name."""
    if "$ref" not in schema:
        return "", schema
    name = str(schema["$ref"]).rpartition("/")[2]
    return name, definitions()[name]


@lru_cache(maxsize=64)
def of_kind(api_version: str, kind: str) -> Schema | None:
    """The schema of a kind that an API server of this version has; None for any other."""
    if not re.fullmatch("[A-Za-z]{1,80}", kind) or not re.fullmatch("([a-z0-9.]{1,80}/)?v[a-z0-9]{1,20}", api_version):
        return None
    group, slash, version = api_version.rpartition("/")
    path = _folder() / f"{kind.lower()}-{group.partition('.')[0]}{'-' if slash else ''}{version}.json"
    if not path.is_file():
        return None
    schema: dict[str, Any] = json.loads(path.read_text("utf-8"))
    served = {"group": group, "kind": kind, "version": version}
    return schema if served in schema.get("x-kubernetes-group-version-kind", []) else None


def versions(kind: str) -> list[str]:
    """The versions in which an API server without custom resources has a kind."""
    return sorted("/".join(filter(None, (gvk["group"], gvk["version"]))) for gvk in _served() if gvk["kind"] == kind)


@lru_cache(maxsize=1)
def groups() -> set[str]:
    """The groups of an API server without custom resources."""
    return {gvk["group"] for gvk in _served()}


def _served() -> list[dict[str, str]]:
    """Group, version and kind of all that an API server without custom resources has."""
    return [gvk for each in definitions().values() for gvk in each.get("x-kubernetes-group-version-kind", ())]
