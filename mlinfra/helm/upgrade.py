"""What an upgrade does to objects that others change too: three-way merge, server-side apply, and the history.

Follows Helm 4.2 (`pkg/kube/client.go`, `pkg/action/{upgrade,rollback}.go`) and apimachinery 1.37 (`strategicpatch`,
`managedfields`). Releases that Helm 3 made are merged in the client, new ones are applied by the server. Left out:
atomic maps, sets, hooks, and three-way merges of custom resources, which Helm does not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from mlinfra.admission.rules import Field, Problem, refuse, whole
from mlinfra.manifest import Manifest

MERGE_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "initContainers": ("name",),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists whose items are told apart by a key, of a container or of a Service; any other list is replaced whole."""

DEFAULTS: dict[str, dict[tuple[Any, ...], Any]] = {"Deployment": {("spec", "replicas"): 1}}
"""What the API server puts where nobody says anything, for the fields of this lesson."""


def _merge_key(name: str, *lists: Any) -> str | None:
    """The key that tells the items of these lists apart, if they all have it."""
    items = [item for items in lists for item in (items if isinstance(items, list) else ())]
    keys = MERGE_KEYS.get(name, ())
    return next((key for key in keys if all(isinstance(item, Mapping) and key in item for item in items)), None)


# ------------------------------------------------------------------------------------------- in the client: Helm 3


def three_way_merge(old: Any, new: Any, live: Any, name: str = "") -> Any:
    """The live object with what the chart changed: gone from old to new is deleted, what new says is set."""
    if isinstance(new, Mapping) and isinstance(live, Mapping):
        before = old if isinstance(old, Mapping) else {}
        kept = {key: value for key, value in live.items() if key in new or key not in before}
        said = {key: three_way_merge(before.get(key), value, live.get(key), key) for key, value in new.items()}
        return kept | said
    if isinstance(new, list) and isinstance(live, list) and (key := _merge_key(name, old, new, live)):
        before, said, there = (
            {item.get(key): item for item in (items if isinstance(items, list) else [])} for items in (old, new, live)
        )
        return list(three_way_merge(before, said, there).values())
    return deepcopy(new)


def patched(old: Manifest, new: Manifest, live: Manifest) -> Manifest:
    """The object after a client-side upgrade, with the server's defaults where nothing is left."""
    return _defaulted(three_way_merge(old, new, live))


def _defaulted(obj: Manifest) -> Manifest:
    full = deepcopy(obj)
    for path, value in DEFAULTS.get(str(full.get("kind")), {}).items():
        if get(full, path) is None:
            _set(full, path, value)
    return full


# -------------------------------------------------------------------------------------------- by the server: Helm 4

Path = tuple[Any, ...]


@dataclass(frozen=True)
class Manager:
    """Who wrote a field: an applier such as Helm, or somebody who updates, perhaps through a subresource."""

    name: str
    updates: bool = False
    subresource: str = ""

    def __str__(self) -> str:
        through = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{through}' + (" using apps/v1" if self.updates else "")


HELM = Manager("helm")
HPA = Manager("kube-controller-manager", updates=True, subresource="scale")


@dataclass(frozen=True)
class Managed:
    """An object and, field by field, who owns what."""

    obj: Manifest
    owners: Mapping[Manager, frozenset[Path]] = field(default_factory=dict)

    def apply(self, manager: Manager, new: Manifest, force: bool = False) -> Managed:
        """The object as `manager` wants it; Conflict when others own fields that would change, unless forced.

        A field that the manager no longer mentions goes, if nobody else owns it, or gets the server's default.
        """
        refuse("object", [] if isinstance(new, Mapping) else [Problem("object", "must be a map")])
        said = dict(leaves(new))
        conflicts = {
            other: sorted(path for path in paths & said.keys() if not _agrees(get(self.obj, path), said[path]))
            for other, paths in self.owners.items()
            if other != manager
        }
        conflicts = {other: paths for other, paths in conflicts.items() if paths}
        if conflicts and not force:
            raise Conflict(conflicts)
        lost = {path for paths in conflicts.values() for path in paths}
        owners = {other: paths - lost for other, paths in self.owners.items()} | {manager: frozenset(said)}
        dropped = self.owners.get(manager, frozenset()) - said.keys()
        obj = deepcopy(self.obj)
        owned = {path for paths in owners.values() for path in paths}
        for path in sorted(dropped, key=str):
            place = path[:-1] if path[-2:-1] and isinstance(path[-2], tuple) and path[-2][0] == path[-1] else path
            if not any(other[: len(place)] == place for other in owned):  # an item goes with its key, or stays whole
                _remove(obj, place)
        for path, value in said.items():
            if not _agrees(get(obj, path), value):
                _set(obj, path, value)
        return Managed(_defaulted(obj), owners)

    def update(self, manager: Manager, path: Path, value: Any) -> Managed:
        """The object after a plain write: who writes another value owns the field, and nobody else."""
        if get(self.obj, path) == value:
            return self
        obj = deepcopy(self.obj)
        _set(obj, path, value)
        owners = {other: paths - {path} for other, paths in self.owners.items()}
        return Managed(obj, owners | {manager: owners.get(manager, frozenset()) | {path}})

    def owner_of(self, path: Path) -> list[str]:
        return [manager.name for manager, paths in self.owners.items() if path in paths]


class Conflict(Exception):
    """The server's refusal, in its words (apimachinery `managedfields/internal/conflict.go`)."""

    def __init__(self, fields: Mapping[Manager, Sequence[Path]]) -> None:
        count = sum(map(len, fields.values()))
        parts = [_conflict(manager, paths) for manager, paths in sorted(fields.items(), key=lambda item: str(item[0]))]
        super().__init__(f"Apply failed with {count} conflict{'s' * (count > 1)}: " + "\n".join(parts))


def _conflict(manager: Manager, paths: Sequence[Path]) -> str:
    if len(paths) == 1:
        return f"conflict with {manager}: {_shown(paths[0])}"
    return f"conflicts with {manager}:" + "".join(f"\n- {_shown(path)}" for path in paths)


def _shown(path: Path) -> str:
    return "".join(f'[{step[0]}="{step[1]}"]' if isinstance(step, tuple) else f".{step}" for step in path)


def leaves(obj: Any, path: Path = (), name: str = "") -> Iterator[tuple[Path, Any]]:
    """Every field with its value; an item of a keyed list is a step (key, value), any other list is one value."""
    if isinstance(obj, Mapping) and obj:
        for key, value in obj.items():
            yield from leaves(value, (*path, key), key)
    elif isinstance(obj, list) and obj and (merge_key := _merge_key(name, obj)):
        for item in obj:
            yield from leaves(item, (*path, (merge_key, item[merge_key])), "")
    else:
        yield path, obj


def _agrees(there: Any, said: Any) -> bool:
    """Whether nothing has to change; an empty map says that there is one, not what is in it."""
    return bool(there == said or (said == {} and isinstance(there, Mapping)))


def get(obj: Any, path: Path) -> Any:
    """The value at a path, or None."""
    for step in path:
        if isinstance(step, tuple):
            items = obj if isinstance(obj, list) else []
            obj = next((item for item in items if item.get(step[0]) == step[1]), None)
        else:
            obj = obj.get(step) if isinstance(obj, Mapping) else None
    return obj


def _set(obj: Any, path: Path, value: Any) -> None:
    *steps, last = path
    for step, following in zip(steps, path[1:], strict=True):
        empty: Any = [] if isinstance(following, tuple) else {}
        if isinstance(step, tuple):
            found = get(obj, (step,))
            if found is None:
                found = {step[0]: step[1]}
                obj.append(found)
            obj = found
        else:
            if not isinstance(obj.get(step), type(empty)):
                obj[step] = empty
            obj = obj[step]
    obj[last] = deepcopy(value)


def _remove(obj: Any, path: Path) -> None:
    """Take a field away, and what is empty without it."""
    parent = get(obj, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    elif isinstance(parent, list):
        parent[:] = [item for item in parent if item.get(path[-1][0]) != path[-1][1]]
    if path[:-1] and not parent:
        _remove(obj, path[:-1])


# --------------------------------------------------------------------------------------------------------- history


@dataclass(frozen=True)
class Revision:
    """What Helm keeps of each release: its number, status, description, and the objects."""

    number: int
    status: str
    description: str
    objects: Sequence[Manifest]


@dataclass(frozen=True)
class History:
    """The revisions of a release, oldest first; an upgrade or a rollback adds one."""

    name: str
    revisions: tuple[Revision, ...] = ()

    @property
    def deployed(self) -> Revision | None:
        """The revision that runs."""
        return next((revision for revision in reversed(self.revisions) if revision.status == "deployed"), None)

    def upgrade(self, objects: Sequence[Manifest]) -> History:
        """One revision more: deployed, or failed when the server refuses the change of a field that may not change."""
        return self._with("Upgrade complete" if self.revisions else "Install complete", objects)

    def rollback(self, to: int = 0) -> History:
        """The objects of an older revision as a new one; 0 is the one before the newest. Nothing is rendered again."""
        refuse("rollback", whole(0)(Field(to, "revision")))
        wanted = to or len(self.revisions) - 1
        found = next((revision for revision in self.revisions if revision.number == wanted), None)
        if found is None:
            refuse("rollback", [Problem("revision", f"release has no {wanted} version")])
        assert found is not None
        return self._with(f"Rollback to {wanted}", found.objects)

    def _with(self, description: str, objects: Sequence[Manifest]) -> History:
        status, objects = "deployed", deepcopy(list(objects))
        if refused := list(_immutable(self.deployed.objects if self.deployed else (), objects)):
            what = "Upgrade" if "Rollback" not in description else "Rollback"
            status, description = "failed", f'{what} "{self.name}" failed: {refused[0]}'
        kept = [
            replace(revision, status="superseded") if revision.status == status == "deployed" else revision
            for revision in self.revisions
        ]
        return replace(self, revisions=(*kept, Revision(len(kept) + 1, status, description, objects)))


def _immutable(before: Sequence[Manifest], after: Sequence[Manifest]) -> Iterator[Problem]:
    """A Deployment's selector says which pods are its own, for ever."""
    selectors = {_identity(obj): get(obj, ("spec", "selector")) for obj in before}
    for obj in after:
        selector = get(obj, ("spec", "selector"))
        if obj.get("kind") == "Deployment" and selectors.get(_identity(obj), selector) != selector:
            path = f'Deployment.apps "{_identity(obj)[2]}" is invalid: spec.selector'
            yield Problem(path, Field(selector).invalid("field is immutable").message)


def _identity(obj: Manifest) -> tuple[Any, Any, Any]:
    metadata = obj.get("metadata") or {}
    return obj.get("kind"), metadata.get("namespace"), metadata.get("name")
