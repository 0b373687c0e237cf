"""Translates `strategic_merge.json` into calls of `mlinfra.helm.strategic_merge`: upstream's type, patch and result."""

from __future__ import annotations

from typing import Any

from mlinfra.helm.field_types import FieldType
from mlinfra.helm.strategic_merge import ORDER, patched_map, three_way_patch

Case = dict[str, Any]

FIELDS = {"original", "modified", "current"}
TEXT: Case = {"type": "string"}
ITEM: Case = {"properties": {}}
RETAINING: Case = {"properties": {}}


def list_of(items: Case, strategy: str = "", key: str = "") -> Case:
    extensions = {"patch-strategy": strategy, "patch-merge-key": key}
    named = {f"x-kubernetes-{name}": value for name, value in extensions.items() if value}
    return {"type": "array", "items": items, **named}


for struct in (ITEM, RETAINING):
    struct["properties"] |= {
        "name": TEXT,
        "value": TEXT,
        "other": TEXT,
        "simpleMap": {"type": "object", "additionalProperties": TEXT},
        "mergingList": list_of(ITEM, "merge", "name"),
        "nonMergingList": list_of(ITEM),
        "mergingIntList": list_of({"type": "integer"}, "merge"),
        "nonMergingIntList": list_of({"type": "integer"}),
    }
ITEM["properties"] |= {
    "mergeItemPtr": ITEM | {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"},
    "replacingItem": {"type": "object", "x-kubernetes-patch-strategy": "replace"},
    "retainKeysMap": RETAINING | {"x-kubernetes-patch-strategy": "retainKeys"},
    "retainKeysMergingList": list_of(ITEM, "merge,retainKeys", "name"),
}


def expectation(case: Case) -> Case:
    return {name: without_order(value) for name, value in case["expected"].items()}


def answer(case: Case) -> Case:
    """The patch, and the object after it."""
    type_ = FieldType(ITEM)
    patch = three_way_patch(case["original"], case["modified"], case["current"], type_)
    result = patched_map(case["current"], patch, type_)
    return {"patch": without_order(patch), "result": without_order(result)}


def without_order(value: Any) -> Any:
    """The value with plain values that are merged sorted, and without the directive that orders them."""
    if isinstance(value, dict):
        named = {name: without_order(child) for name, child in value.items() if name != f"{ORDER}mergingIntList"}
        for name, child in named.items():
            if name.endswith("mergingIntList") and child:
                named[name] = sorted(child)
        return named
    return [without_order(item) for item in value] if isinstance(value, list) else value
