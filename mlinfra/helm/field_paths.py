"""Fields of an object by their paths, as server-side apply names them; an item of a keyed list is a step (key, value).

Follows apimachinery 1.37 (`strategicpatch`, `managedfields`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

Path = tuple[Any, ...]
"""Steps from the top: `("spec", "containers", ("name", "server"), "image")`."""

MERGE_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "initContainers": ("name",),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists whose items are told apart by a key, of a container or of a Service; any other list is replaced whole."""


def merge_key(name: str, *lists: Any) -> str | None:
    """The key that tells the items of these lists apart, if they all have it."""
    items = [item for items in lists for item in (items if isinstance(items, list) else ())]
    for key in MERGE_KEYS.get(name, ()):
        if all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None


def leaves(obj: Any, path: Path = (), name: str = "") -> Iterator[tuple[Path, Any]]:
    """Every field with its value, an item's key too; a list without a key, and an empty map or list, is one value."""
    if isinstance(obj, Mapping) and obj:
        for key, value in obj.items():
            yield from leaves(value, (*path, key), key)
    elif isinstance(obj, list) and obj and (key := merge_key(name, obj)):
        for item in obj:
            yield from leaves(item, (*path, (key, item[key])))
    else:
        yield path, obj


def get(obj: Any, path: Path) -> Any:
    """The value at a path, or None."""
    for step in path:
        if isinstance(step, tuple):
            items = obj if isinstance(obj, list) else []
            obj = next((item for item in items if item.get(step[0]) == step[1]), None)
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


def _item(items: list[Any], step: tuple[str, Any]) -> Any:
    """The item of a list that the key names, new if need be."""
    item = get(items, (step,))
    if item is None:
        item = {step[0]: step[1]}
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
        parent[:] = [item for item in parent if item.get(path[-1][0]) != path[-1][1]]
    if path[:-1] and not parent:
        remove(obj, path[:-1])


def is_key(path: Path) -> bool:
    """Whether the field is the key of a list's item."""
    return len(path) > 1 and isinstance(path[-2], tuple) and path[-2][0] == path[-1]


def shown(path: Path) -> str:
    """As in a conflict: `.spec.containers[name="server"].image`."""
    return "".join(f'[{step[0]}="{step[1]}"]' if isinstance(step, tuple) else f".{step}" for step in path)
