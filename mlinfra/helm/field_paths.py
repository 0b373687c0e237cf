"""Fields of an object by their paths, as server-side apply names them.

Follows `fieldpath` and `typed` of structured-merge-diff in Kubernetes 1.37. Left out: sets, such as finalizers, which
are one value here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from mlinfra.helm.field_types import KEY_DEFAULTS, FieldType, MergeFailed

Path = tuple[Any, ...]
"""Names, and for an item of a list its key: `("spec", "containers", ("name", "server"), "image")`.

A key of several fields is a tuple of pairs: `(("port", 443), ("protocol", "UDP"))`.
"""


def leaves(value: Any, type_: FieldType, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field with its value, an item's keys among them; an empty map, a plain list, a selector are one value."""
    if isinstance(value, Mapping) and value and not type_.is_atomic:
        for name, child in value.items():
            yield from leaves(child, type_.field(name), (*path, name))
    elif isinstance(value, list) and value and type_.map_keys:
        for item, step in zip(value, item_steps(value, type_.map_keys, path), strict=True):
            yield from leaves(item, type_.item(), (*path, step))
    else:
        yield path, value


def item_steps(items: list[Any], keys: tuple[str, ...], path: Path) -> list[Any]:
    """The key of each item; MergeFailed where one has none or two have the same."""
    steps: list[Any] = []
    for i, item in enumerate(items):
        values = {key: item.get(key, KEY_DEFAULTS.get(key)) for key in keys} if isinstance(item, Mapping) else {}
        missing = [key for key in keys if values.get(key) is None]
        if missing:
            what = f'key field "{missing[0]}"' if len(missing) < len(keys) else f"all key fields {json.dumps(keys)}"
            why = f"element {i}: associative list with keys has an element that omits {what}"
            raise MergeFailed(f"{shown(path)}: {why}")
        step = next(iter(values.items())) if len(keys) == 1 else tuple(values.items())
        if step in steps:
            raise MergeFailed(f"{shown(path)}: duplicate entries for key {shown((step,))}")
        steps.append(step)
    return steps


def pairs_of(step: Any) -> dict[str, Any]:
    """The key of an item as a map."""
    return dict([step] if isinstance(step[0], str) else step)


def has_key(item: Any, step: Any) -> bool:
    return all(item.get(key, KEY_DEFAULTS.get(key)) == value for key, value in pairs_of(step).items())


def get(obj: Any, path: Path) -> Any:
    """The value at a path, or None."""
    for step in path:
        if isinstance(step, tuple):
            items = obj if isinstance(obj, list) else []
            obj = next((item for item in items if has_key(item, step)), None)
        else:
            obj = obj.get(step) if isinstance(obj, Mapping) else None
    return obj


def put(obj: Any, path: Path, value: Any) -> None:
    """Set the value at a path, with the maps, lists and items on the way to it."""
    *steps, last = path
    for step, following in zip(steps, path[1:], strict=True):
        if isinstance(step, tuple):
            obj = _item(obj, step)
        else:
            obj = _child(obj, step, [] if isinstance(following, tuple) else {})
    obj[last] = deepcopy(value)


def _item(items: list[Any], step: Any) -> Any:
    """The item of a list that the key names, new if need be."""
    item = get(items, (step,))
    if item is None:
        item = pairs_of(step)
        items.append(item)
    return item


def _child(obj: dict[str, Any], name: str, empty: Any) -> Any:
    """The map or list under a name, new if there is none."""
    if not isinstance(obj.get(name), type(empty)):
        obj[name] = empty
    return obj[name]


def remove(obj: Any, path: Path) -> None:
    """Take a field away, and what is empty without it."""
    parent = get(obj, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    elif isinstance(parent, list):
        parent[:] = [item for item in parent if not has_key(item, path[-1])]
    if path[:-1] and not parent:
        remove(obj, path[:-1])


def is_key(path: Path) -> bool:
    """Whether the field is a key of a list's item."""
    return len(path) > 1 and isinstance(path[-2], tuple) and path[-1] in pairs_of(path[-2])


def shown(path: Path) -> str:
    """As the server shows it: `.spec.containers[name="server"].image`."""
    return "".join(_shown(step) if isinstance(step, tuple) else f".{step}" for step in path)


def _shown(step: Any) -> str:
    return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs_of(step).items()) + "]"
