"""What keeps pods away from nodes, and what draws them: taints and tolerations, and requirements on labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from mlinfra.admission import check
from mlinfra.admission.rules import between, one_of
from mlinfra.manifest import Manifest

WHOLE_NUMBER = re.compile("[+-]?[0-9]{1,19}")


@dataclass(frozen=True)
class Taint:
    """What keeps pods away from a node, unless they tolerate it."""

    key: str
    value: str = ""
    effect: Annotated[str, one_of("NoExecute", "NoSchedule", "PreferNoSchedule")] = "NoSchedule"

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        return cls(manifest["key"], manifest.get("value", ""), manifest["effect"])

    def manifest(self) -> Manifest:
        return {name: text for name, text in vars(self).items() if text}


@dataclass(frozen=True)
class Toleration:
    """Taints that a pod accepts; an empty key with `Exists` accepts all, an empty effect every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> Toleration:
        operator = manifest.get("operator") or "Equal"
        return cls(manifest.get("key", ""), operator, manifest.get("value", ""), manifest.get("effect", ""))

    def tolerates(self, taint: Taint) -> bool:
        same_key = self.key in ("", taint.key)
        same_value = self.operator == "Exists" or self.value == taint.value
        return self.effect in ("", taint.effect) and same_key and same_value

    def manifest(self) -> Manifest:
        return {name: text for name, text in vars(self).items() if text}


@dataclass(frozen=True)
class Requirement:
    """What one label of a node must say; Gt and Lt compare whole numbers."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Requirement:
        return cls(manifest["key"], manifest["operator"], tuple(manifest.get("values", ())))

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator in ("NotIn", "DoesNotExist"):
            return value is None or (self.operator == "NotIn" and value not in self.values)
        if value is None:
            return False
        if self.operator in ("Gt", "Lt"):
            return self._compares(value)
        return self.operator == "Exists" or value in self.values

    def _compares(self, value: str) -> bool:
        """What is not a whole number matches nothing."""
        bound = self.values[0]
        if not WHOLE_NUMBER.fullmatch(value) or not WHOLE_NUMBER.fullmatch(bound):
            return False
        return int(value) > int(bound) if self.operator == "Gt" else int(value) < int(bound)

    def manifest(self) -> Manifest:
        return {"key": self.key, "operator": self.operator} | ({"values": list(self.values)} if self.values else {})


Term = tuple[Requirement, ...]
"""Requirements that must all hold."""


def term_matches(term: Term, labels: Mapping[str, str]) -> bool:
    return all(requirement.matches(labels) for requirement in term)


NODE_NAME = "metadata.name"
"""The one field of a node that a term may match, and DaemonSets do."""


def term_of(manifest: Manifest) -> Term:
    parts = (*manifest.get("matchExpressions", ()), *manifest.get("matchFields", ()))
    return tuple(Requirement.of(requirement) for requirement in parts)


def term_manifest(term: Term) -> Manifest:
    fields = [each.manifest() for each in term if each.key == NODE_NAME]
    expressions = [each.manifest() for each in term if each.key != NODE_NAME]
    parts = {"matchExpressions": expressions, "matchFields": fields}
    return {part: requirements for part, requirements in parts.items() if requirements}


@dataclass(frozen=True)
class PreferredSchedulingTerm:
    """What the labels of a node had better say, and how much that counts."""

    weight: Annotated[int, between(1, 100)]
    preference: Term

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> PreferredSchedulingTerm:
        return cls(manifest["weight"], term_of(manifest["preference"]))

    def manifest(self) -> Manifest:
        return {"weight": self.weight, "preference": term_manifest(self.preference)}
