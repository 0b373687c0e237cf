"""How the API merges a field: what the schemas of Kubernetes 1.37 say of its maps and lists.

The extensions `x-kubernetes-patch-strategy` and `-patch-merge-key` are for merges in the client, `-list-type`,
`-list-map-keys` and `-map-type` for server-side apply. A custom resource has none of them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlinfra.admission import schema
from mlinfra.admission.core import KINDS
from mlinfra.manifest import Manifest


class MergeFailed(ValueError):
    """A list whose items cannot be told apart, in the words of who merges it."""


KEY_DEFAULTS = {"protocol": "TCP"}
"""`+default` of a list's key in core/v1/types.go, which the schema files leave out."""


@dataclass(frozen=True)
class FieldType:
    """The schema of a field, with the extensions that stand beside it; empty where the API has none."""

    schema: Mapping[str, Any] = field(default_factory=dict)

    def _extension(self, name: str) -> Any:
        return self.schema.get(f"x-kubernetes-{name}")

    def _definition(self) -> Mapping[str, Any]:
        return schema.resolved(self.schema)[1]

    def field(self, name: str) -> FieldType:
        """The type of what stands under a name."""
        definition = self._definition()
        others = definition.get("additionalProperties")
        return FieldType(definition.get("properties", {}).get(name, others if isinstance(others, Mapping) else {}))

    def item(self) -> FieldType:
        """The type of a list's items; what the list says of retained keys holds for them."""
        retains = {"x-kubernetes-patch-strategy": "retainKeys"} if self.retains_keys else {}
        return FieldType({**self.schema.get("items", {}), **retains})

    @property
    def merge_key(self) -> str | None:
        """The field that tells the items of a list apart in a merge; None of a list that is replaced whole."""
        strategy = str(self._extension("patch-strategy") or "")
        return self._extension("patch-merge-key") if "merge" in strategy.split(",") else None

    @property
    def merges_values(self) -> bool:
        """Whether a list of plain values is merged, such as finalizers."""
        strategy = str(self._extension("patch-strategy") or "")
        return "merge" in strategy.split(",") and not self.merge_key and "items" in self.schema

    @property
    def retains_keys(self) -> bool:
        """Whether a merge drops the fields that the new map does not have, as of the branches of a union."""
        return "retainKeys" in str(self._extension("patch-strategy") or "").split(",")

    @property
    def is_replaced(self) -> bool:
        return bool(self._extension("patch-strategy") == "replace")

    @property
    def map_keys(self) -> tuple[str, ...]:
        """The fields that tell the items of a list apart for the server; none of a list that is one value."""
        return tuple(self._extension("list-map-keys") or ())

    @property
    def is_atomic(self) -> bool:
        """Whether the server sees a map as one value, such as a selector."""
        return "atomic" in (self._extension("map-type"), self._definition().get("x-kubernetes-map-type"))


def type_of(obj: Manifest) -> FieldType:
    """The type of an object of the API; of one without `apiVersion` that of its kind."""
    kind = str(obj.get("kind"))
    versions = [version for version, name in KINDS if name == kind] or ["v1"]
    return FieldType(schema.of_kind(str(obj.get("apiVersion", versions[0])), kind) or {})
