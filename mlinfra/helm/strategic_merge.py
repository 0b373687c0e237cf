"""The three-way strategic merge patch: what a client sends that wants a live object as its chart has it now.

Follows apimachinery 1.37, `pkg/util/strategicpatch/patch.go`. A patch is a map: None deletes a field,
`$retainKeys` names the only fields that stay, `$patch: delete` deletes an item of a list, `$setElementOrder/NAME` gives
the order of the items, `$deleteFromPrimitiveList/NAME` has the plain values that go. Their order is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlinfra.helm.field_types import FieldType, MergeFailed

Map = Mapping[str, Any]
Items = list[Any]
Merge = Callable[[Map, Map, FieldType], dict[str, Any]]
RETAIN, ORDER, DELETED, DIRECTIVE = "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/", "$patch"


def three_way_patch(old: Map, new: Map, live: Map, type_: FieldType) -> dict[str, Any]:
    """What is other in `new` than in the live object, and what is gone from `old` to `new`."""
    return merged_patches(deletions(old, new, type_), changes(live, new, type_), type_)


def changes(live: Map, new: Map, type_: FieldType) -> dict[str, Any]:
    """What has to be set so that the live map says what `new` says; nothing is deleted but what retained keys drop."""
    patch: dict[str, Any] = {}
    for name, value in new.items():
        if name in live and alike(live[name], value):
            patch |= changed_field(name, live[name], value, type_.field(name))
        else:
            patch[name] = value
    superfluous = [name for name, value in live.items() if name not in new and value is not None]
    if type_.retains_keys and (patch or superfluous):
        patch[RETAIN] = sorted(name for name, value in new.items() if value is not None)
    return patch


def changed_field(name: str, live: Any, new: Any, field: FieldType) -> dict[str, Any]:
    """The change of one field: inside a map, of the items of a list that is merged, or the whole new value."""
    if isinstance(new, Mapping) and not field.is_replaced:
        return if_any(name, changes(live, new, field))
    if isinstance(new, list) and field.merge_key:
        return changed_items(name, live, new, field)
    if isinstance(new, list) and field.merges_values:
        return if_any(name, [value for value in dict.fromkeys(new) if value not in live])
    return {} if live == new else {name: new}


def changed_items(name: str, live: Items, new: Items, list_type: FieldType) -> dict[str, Any]:
    """The items of a keyed list that are new or other, and the order of them all."""
    key, items = str(list_type.merge_key), []
    if not live:
        return if_any(name, new)
    for before, after in paired(live, new, key):
        if before is None:
            items.append(after)
        elif after is not None and (patch := changes(before, after, list_type.item())):
            items.append(patch | {key: after[key]})
    same_order = [item[key] for item in live] == [item[key] for item in new]
    order = {} if same_order and not items else if_any(ORDER + name, [{key: item[key]} for item in new])
    return if_any(name, in_order(items, new, key)) | order


def deletions(old: Map, new: Map, type_: FieldType) -> dict[str, Any]:
    """What stands in `old` and no longer in `new`."""
    patch: dict[str, Any] = {}
    for name, value in old.items():
        if name not in new:
            patch[name] = None
        elif alike(value, new[name]):
            patch |= deleted_from_field(name, value, new[name], type_.field(name))
    if type_.retains_keys and patch:
        patch[RETAIN] = sorted(name for name, value in new.items() if value is not None)
    return patch


def deleted_from_field(name: str, old: Any, new: Any, field: FieldType) -> dict[str, Any]:
    """What is gone inside one field, if it is one that is merged."""
    if isinstance(old, Mapping) and not field.is_replaced:
        return if_any(name, deletions(old, new, field))
    if isinstance(old, list) and field.merge_key:
        return deleted_items(name, old, new, field)
    if isinstance(old, list) and field.merges_values:
        return if_any(DELETED + name, [value for value in dict.fromkeys(old) if value not in new])
    return {}


def deleted_items(name: str, old: Items, new: Items, list_type: FieldType) -> dict[str, Any]:
    """The items of a keyed list that are gone, and those of which something is gone."""
    key, items, directives = str(list_type.merge_key), [], []
    for before, after in paired(old, new, key):
        if after is None:
            directives.append({DIRECTIVE: "delete", key: before[key]})
        elif before is not None and (patch := deletions(before, after, list_type.item())):
            items.append(patch | {key: after[key]})
    order = if_any(ORDER + name, [{key: item[key]} for item in new]) if items or directives else {}
    return if_any(name, in_order(items, new, key) + directives) | order


def paired(before: Items, after: Items, key: str) -> Iterator[tuple[Any, Any]]:
    """The items of two lists by their keys, None where one has no such item; of several with one key the nth's."""
    for item in (*before, *after):
        if not isinstance(item, Mapping) or key not in item:
            raise MergeFailed(f"map: {item} does not contain declared merge key: {key}")
    lefts, rights = sorted(before, key=lambda item: str(item[key])), sorted(after, key=lambda item: str(item[key]))
    while lefts or rights:
        left = str(lefts[0][key]) if lefts else None
        right = str(rights[0][key]) if rights else None
        if left == right:
            yield lefts.pop(0), rights.pop(0)
        elif right is None or (left is not None and left < right):
            yield lefts.pop(0), None
        else:
            yield None, rights.pop(0)


# ------------------------------------------------------------------------------------------------- applying a patch


def merged_patches(deleted: Map, changed: Map, type_: FieldType) -> dict[str, Any]:
    """Both patches in one; what was deleted in the one and is set in the other keeps its directive."""
    patch = dict(deleted)
    for name, value in changed.items():
        field = type_.field(name)
        if isinstance(value, Mapping) and isinstance(patch.get(name), Mapping):
            patch[name] = merged_patches(patch[name], value, field)
        elif field.merge_key and isinstance(value, list) and isinstance(patch.get(name), list):
            items = merged_items(patch[name], value, field, merged_patches)
            patch[name] = among(items, changed.get(ORDER + name, value), patch[name], field.merge_key)
        else:
            patch[name] = value
    return patch


def patched_map(live: Map, patch: Map, type_: FieldType) -> dict[str, Any]:
    """The live map as the server has it after the patch."""
    retained = patch.get(RETAIN, live)
    merged = {name: value for name, value in live.items() if name in retained}
    for name in fields_in(patch):
        value = patched_field(name, merged.pop(name, None), patch, type_.field(name))
        if value is not None:
            merged[name] = value
    return {name: merged[name] for name in (*live, *merged) if name in merged}


def patched_field(name: str, live: Any, patch: Map, field: FieldType) -> Any:
    """The value of one field after the patch; None where it goes."""
    change = patch.get(name, [])
    if isinstance(live, list) and isinstance(change, list) and field.merge_key:
        return patched_list(live, change, patch.get(ORDER + name), field)
    if isinstance(live, list) and isinstance(change, list) and field.merges_values:
        deleted = patch.get(DELETED + name, [])
        return [value for value in live if value not in deleted] + change
    if isinstance(live, Mapping) and isinstance(change, Mapping) and not field.is_replaced:
        return patched_map(live, change, field)
    return plain(patch.get(name))


def fields_in(patch: Map) -> list[str]:
    """The fields that a patch is about, each once."""
    names = [name.removeprefix(ORDER).removeprefix(DELETED) for name in patch if name != RETAIN]
    return list(dict.fromkeys(names))


def patched_list(live: Items, patch: Items, order: Items | None, list_type: FieldType) -> Items:
    """The live items without those that the patch deletes, and the others merged, in the patch's order."""
    key = str(list_type.merge_key)
    deleted = [item[key] for item in patch if item.get(DIRECTIVE) == "delete"]
    rest = [item for item in live if item[key] not in deleted]
    items = merged_items(rest, [item for item in patch if DIRECTIVE not in item], list_type, patched_map)
    stood = rest if order is None else items[: len(live)]  # Go has written the new items over the live list
    return [plain(item) for item in among(items, patch if order is None else order, stood, key)]


def merged_items(items: Items, patch: Items, list_type: FieldType, merge: Merge) -> Items:
    """Each item of the patch merged into the first one that has its key, or behind them all."""
    key, merged = str(list_type.merge_key), list(items)
    for item in patch:
        places = [place for place, other in enumerate(merged) if other[key] == item[key]]
        if places:
            merged[places[0]] = merge(merged[places[0]], item, list_type.item())
        else:
            merged.append(item)
    return merged


def in_order(items: Items, order: Items, key: str) -> Items:
    """The items in the order of those that have the same keys."""
    keys = [item[key] for item in order]
    return sorted(items, key=lambda item: keys.index(item[key]))


def among(items: Items, order: Items, stood: Items, key: str) -> Items:
    """The items that `order` names in its order, and the others before those that they stood before."""
    named, places = {item[key] for item in order}, [item[key] for item in stood]
    ordered = in_order([item for item in items if item[key] in named], order, key)
    others = [item for item in items if item[key] not in named]
    result: Items = []
    while ordered and others:
        first = ordered[0][key]
        stood_before = first in places and places.index(others[0][key]) < places.index(first)
        result.append(others.pop(0) if stood_before else ordered.pop(0))
    return [*result, *ordered, *others]


def plain(value: Any) -> Any:
    """The value as it is stored: without nulls and directives."""
    if isinstance(value, Mapping):
        stored = {name: child for name, child in value.items() if child is not None}
        return {name: plain(child) for name, child in stored.items() if not name.startswith((RETAIN, ORDER, DELETED))}
    if isinstance(value, list):
        return [plain(item) for item in value if not isinstance(item, Mapping) or DIRECTIVE not in item]
    return value


def alike(one: Any, other: Any) -> bool:
    """Whether both are maps, both lists, or neither."""
    return all(isinstance(one, kind) == isinstance(other, kind) for kind in (Mapping, list))


def if_any(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}
