"""The short form of `fields/*.yaml` as a schema for the decoder: fields of custom resources and their types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from mlinfra.admission.schema import Schema, resolved

KUBERNETES_TYPES = {
    "core.v1": "io.k8s.api.core.v1",
    "autoscaling.v2": "io.k8s.api.autoscaling.v2",
    "policy.v1": "io.k8s.api.policy.v1",
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


@lru_cache(maxsize=32)
def of_file(name: str) -> Schema:
    """The schema of a custom resource from `fields/NAME.yaml`; an object has metadata, a configuration file none."""
    import yaml

    fields = yaml.safe_load(files("mlinfra.admission").joinpath("fields", f"{name}.yaml").read_text("utf-8"))
    types = Types(fields.pop("types", {}))
    header = {"apiVersion": "string", "kind": "string"}
    if "spec" in fields or "spec!" in fields:
        header |= {"metadata": "any", "status": "any"}
    return types.schema(header | fields)


class Types:
    """The types of a file by name. Each is read once; a custom resource has none that contains itself."""

    def __init__(self, shapes: Mapping[str, Any]) -> None:
        self.shapes = shapes
        self.schemas: dict[str, Schema] = dict(SCALARS)

    def schema(self, shape: str | dict[str, Any]) -> Schema:
        if isinstance(shape, dict):
            return self._of_map(shape)
        if shape in self.shapes and shape not in self.schemas:
            self.schemas[shape] = self.schema(self.shapes[shape])
        if shape in self.schemas:
            return self.schemas[shape]
        if shape[0] == "(":
            return {"type": "string", "enum": shape[1:-1].split("|")}
        if shape[0] == "[":
            return {"type": "array", "items": self.schema(shape[1:-1])}
        if shape[0] == "{":
            return {"type": "object", "additionalProperties": self.schema(shape[1:-1])}
        return {"$ref": f"#/$defs/{_full_name(shape)}"}

    def _of_map(self, shape: dict[str, Any]) -> Schema:
        if "[]" in shape:
            return {"type": "array", "items": self.schema(shape["[]"])}
        if "{}" in shape:
            return {"type": "object", "additionalProperties": self.schema(shape["{}"])}
        properties: dict[str, Schema] = {}
        if "<" in shape:
            properties |= resolved(self.schema(shape["<"]))[1]["properties"]
        for name in shape.get("-", "").split(","):
            properties.pop(name, None)
        required = shape["!"].split(",") if "!" in shape else []
        for name, below in shape.items():
            if name not in ("<", "-", "!"):
                properties[name.rstrip("!")] = self.schema(below)
                required += [name[:-1]] if name.endswith("!") else []
        return {"type": "object", "properties": properties, "required": required}


def _full_name(short: str) -> str:
    """`core.v1.Container` is `io.k8s.api.core.v1.Container`."""
    group, _, name = short.rpartition(".")
    return f"{KUBERNETES_TYPES[group]}.{name}"
