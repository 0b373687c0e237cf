"""What the API server's decoder objects to in an InferenceService: unknown fields and wrong types, by path.

KServe's own types come from its SDK (kserve 0.21.0, `openapi_types` of the models); the Kubernetes types inside them,
such as a container, from the strict schemas of Kubernetes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from mlinfra.admission.rules import Field, Problem, unknown_field
from mlinfra.admission.schema import type_problems

ROOT = "V1beta1InferenceService"
PRIMITIVES = {"str": ("string", str), "int": ("integer", int), "bool": ("boolean", bool)}
GROUPS = {"K8sIoApiAppsV1": "io.k8s.api.apps.v1", "K8sIoApiAutoscalingV2": "io.k8s.api.autoscaling.v2"}


def problems(field: Field) -> Iterator[Problem]:
    """Unknown and mistyped fields of an InferenceService; its status is the controller's and is not looked at."""
    yield from _walk(Field({name: v for name, v in field.value.items() if name != "status"}), ROOT)


def _walk(field: Field, kind: str) -> Iterator[Problem]:
    """Objections to a value that should be of an SDK type, such as `list[V1beta1CanarySpec]` or `dict(str, str)`."""
    container, inner = _parts(kind)
    if container:
        yield from (
            (p for item in field.each() for p in _walk(item, inner))
            if _is(field, container)
            else [_mistyped(field, container)]
        )
    elif kind in PRIMITIVES:
        name, python = PRIMITIVES[kind]
        if type(field.value) is not python:
            yield _mistyped(field, name)
    elif (attributes := _attributes(kind)) is None:
        yield from type_problems(field, _kubernetes_name(kind))
    elif not isinstance(field.value, Mapping):
        yield _mistyped(field, "object")
    else:
        for name in field.value:
            known = name in attributes
            yield from _walk(field[name], attributes[name]) if known else [unknown_field(field[name].path)]


def _parts(kind: str) -> tuple[str, str]:
    """The container of a type and what is inside: ("array", "V1Container") for `list[V1Container]`."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        return "array", match[1]
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return "object", match[1]
    return "", ""


def _is(field: Field, container: str) -> bool:
    return isinstance(field.value, list if container == "array" else Mapping)


def _attributes(kind: str) -> dict[str, str] | None:
    """Types of the JSON fields of an SDK model; None for a type that is not KServe's."""
    import kserve.models

    model = getattr(kserve.models, kind, None)
    return model and {name: model.openapi_types[python] for python, name in model.attribute_map.items()}


def _kubernetes_name(kind: str) -> str:
    """`V1Container` is `io.k8s.api.core.v1.Container`; the SDK spells the group out where it is another."""
    for prefix, group in GROUPS.items():
        if kind.startswith(prefix):
            return f"{group}.{kind.removeprefix(prefix)}"
    group = "apimachinery.pkg.apis.meta" if kind in ("V1ObjectMeta", "V1Time") else "api.core"
    return f"io.k8s.{group}.v1.{kind.removeprefix('V1')}"


def _mistyped(field: Field, wanted: str) -> Problem:
    """As apiextensions-apiserver says it: the type that it got, and the value."""
    got = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    said = f'{field.path} in body must be of type {wanted}: "{got.get(type(field.value), "null")}"'
    return Problem(field.path, f"Invalid value: {json.dumps(got.get(type(field.value), 'null'))}: {said}")
