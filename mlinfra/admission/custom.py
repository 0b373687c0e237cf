"""Custom resources as this course writes them: the fields that a kind has, and the rules of its webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Problem,
    Rules,
    broken,
    decoded,
    dns_subdomain,
    metadata_problems,
    unknown_field,
)
from mlinfra.manifest import Manifest


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
    deprecated: tuple[str, ...] = ()
    warn: Callable[[Field], Iterator[ApiWarning]] = lambda obj: iter(())

    def verdict(self, obj: Manifest) -> list[Problem | ApiWarning]:
        """Why the API server, or the webhook behind it, would refuse the object; a version of old is a warning."""
        problems = list((self.decode or self._unknown)(Field(obj))) or self.rule_problems(obj)
        if problems:
            return [*problems]
        of_old = f"{obj['apiVersion']} {self.kind} is deprecated; use {self.api_version}"
        warnings = [ApiWarning("apiVersion", of_old)] if obj["apiVersion"] != self.api_version else []
        return [*warnings, *self.warn(Field(obj))]

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
