"""The short form of `fields/*.yaml` as a schema for the decoder: fields of custom resources and their types."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

from mlinfra.admission.schema import Schema, definitions

KUBERNETES_TYPES = {
    "core.v1": "io.k8s.api.core.v1",
    "apps.v1": "io.k8s.api.apps.v1",
    "autoscaling.v2": "io.k8s.api.autoscaling.v2",
    "autoscaling.v1": "io.k8s.api.autoscaling.v1",
    "meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
}
SCALARS: dict[str, Schema] = {
    "any": {},
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number"},
    "int-or-string": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
}


@lru_cache(maxsize=16)
def of_file(name: str) -> Schema:
    """The schema of a custom resource from `fields/NAME.yaml`, with the fields that every object has."""
    import yaml

    fields = yaml.safe_load(files("mlinfra.admission").joinpath("fields", f"{name}.yaml").read_text("utf-8"))
    types = fields.pop("types", {})
    every_object = {"apiVersion": "string", "kind": "string", "metadata": "any", "status": "any"}
    return _schema(every_object | fields, types)


def _schema(shape: str | dict[str, Any], types: dict[str, Any]) -> Schema:
    if isinstance(shape, dict):
        return _of_map(shape, types)
    if shape in SCALARS:
        return SCALARS[shape]
    if shape in types:
        return _schema(types[shape], types)
    if shape[0] == "(":
        return {"type": "string", "enum": shape[1:-1].split("|")}
    if shape[0] == "[":
        return {"type": "array", "items": _schema(shape[1:-1], types)}
    if shape[0] == "{":
        return {"type": "object", "additionalProperties": _schema(shape[1:-1], types)}
    return {"$ref": f"#/$defs/{_full_name(shape)}"}


def _of_map(shape: dict[str, Any], types: dict[str, Any]) -> Schema:
    if "[]" in shape:
        return {"type": "array", "items": _schema(shape["[]"], types)}
    if "{}" in shape:
        return {"type": "object", "additionalProperties": _schema(shape["{}"], types)}
    properties: dict[str, Schema] = {}
    if "<" in shape:
        properties |= definitions()[_full_name(shape["<"])]["properties"]
    for name in shape.get("-", "").split(","):
        properties.pop(name, None)
    required = shape["!"].split(",") if "!" in shape else []
    for name, below in shape.items():
        if name not in ("<", "-", "!"):
            properties[name.rstrip("!")] = _schema(below, types)
            required += [name[:-1]] if name.endswith("!") else []
    return {"type": "object", "properties": properties, "required": required}


def _full_name(short: str) -> str:
    """`core.v1.Container` is `io.k8s.api.core.v1.Container`."""
    group, _, name = short.rpartition(".")
    return f"{KUBERNETES_TYPES[group]}.{name}"
