"""What an upgrade does to objects that others change too: three-way merge, server-side apply, and the history.

Follows Helm 4.2 (`pkg/kube/client.go`, `pkg/action/{upgrade,rollback}.go`) and apimachinery 1.37 (`strategicpatch`,
`managedfields`). Releases that Helm 3 made are merged in the client, new ones are applied by the server. The three do
not call each other: a release only records its objects. Left out: sets, which are one value, and hooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from mlinfra.admission import Invalid, Problem, full_name, refuse, validate
from mlinfra.admission.immutable import update_problems
from mlinfra.admission.rules import decoded
from mlinfra.helm.field_paths import Path, get, is_key, leaves, put, remove, shown
from mlinfra.helm.field_types import MergeFailed, type_of
from mlinfra.helm.strategic_merge import patched_map, three_way_patch
from mlinfra.manifest import Manifest

DEFAULTS: dict[str, dict[Path, Any]] = {"Deployment": {("spec", "replicas"): 1}}
"""What the API server puts where nobody says anything, for the fields of this lesson."""


def defaulted(obj: Manifest) -> Manifest:
    """The object with the server's defaults where nothing is left."""
    full = deepcopy(obj)
    for path, value in DEFAULTS.get(str(full.get("kind")), {}).items():
        if get(full, path) is None:
            put(full, path, value)
    return full


def stored(before: Manifest, after: Manifest, new: Manifest) -> Manifest:
    """The object with its defaults; Invalid where the server refuses the change, or what the merge has made of `new`.

    What is wrong with `new` itself is for `validate` to say.
    """
    obj: Manifest = decoded(defaulted(after))
    if "kind" in obj:
        known = validate(new)
        made = [problem for problem in validate(obj) if problem not in known] if "apiVersion" in obj else []
        refuse(full_name(obj), [*(update_problems(before, obj) if before else ()), *made])
    return obj


# ------------------------------------------------------------------------------------------- in the client: Helm 3


def patched(old: Manifest, new: Manifest, live: Manifest) -> Manifest:
    """The object after a client-side upgrade from what the chart said (`old`) to what it says (`new`)."""
    return stored(live, three_way_merge(old, new, live), new)


def three_way_merge(old: Manifest, new: Manifest, live: Manifest) -> Manifest:
    """The live object with all that the chart says, without what it no longer says."""
    object_type = type_of(new)
    return patched_map(live, three_way_patch(old, new, live, object_type), object_type)


# -------------------------------------------------------------------------------------------- by the server: Helm 4


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
        """The object as `manager` wants it; Conflict when others own fields that would change.

        With `force` it takes these over; fields with equal values are owned together. A field that it no longer
        mentions goes if nobody else owns it, and comes back with the server's default if there is one.
        """
        fields = fields_of(new)
        conflicts = self.conflicts(manager, fields)
        if conflicts and not force:
            raise Conflict(conflicts)
        owners = {other: paths.difference(conflicts.get(other, ())) for other, paths in self.owners.items()}
        owners[manager] = frozenset(fields)
        dropped = self.owners.get(manager, frozenset()) - owners[manager]
        obj = deepcopy(self.obj)
        remove_dropped(obj, dropped, owners)
        for path, value in fields.items():
            if not agrees(get(obj, path), value):
                put(obj, path, value)
        return Managed(stored(self.obj, obj, new), owners)

    def conflicts(self, manager: Manager, fields: Mapping[Path, Any]) -> dict[Manager, list[Path]]:
        """The fields of each other manager that would change."""
        conflicts = {}
        others = {other: paths for other, paths in self.owners.items() if other != manager}
        for other, paths in others.items():
            changed = [path for path in paths & fields.keys() if not agrees(get(self.obj, path), fields[path])]
            if changed:
                conflicts[other] = sorted(changed)
        return conflicts

    def update(self, manager: Manager, path: Path, value: Any) -> Managed:
        """The object after a plain write: another value makes the writer its only owner, the same changes nothing."""
        if get(self.obj, path) == value:
            return self
        obj = deepcopy(self.obj)
        put(obj, path, value)
        owners = {other: paths - {path} for other, paths in self.owners.items()}
        return Managed(obj, owners | {manager: owners.get(manager, frozenset()) | {path}})

    def owner_of(self, path: Path) -> list[str]:
        return [manager.name for manager, paths in self.owners.items() if path in paths]


def fields_of(obj: Manifest) -> dict[Path, Any]:
    """Every field of an object that is applied; MergeFailed where the items of a list cannot be told apart."""
    try:
        return dict(leaves(obj, type_of(obj)))
    except MergeFailed as refusal:
        metadata, version = obj.get("metadata") or {}, obj.get("apiVersion", "")
        name = f"{metadata.get('namespace', 'default')}/{metadata.get('name', '')}"
        group_version = version if "/" in version else f"/{version}"
        what = f"failed to create typed patch object ({name}; {group_version}, Kind={obj.get('kind')})"
        raise MergeFailed(f"{what}: {refusal}") from refusal


def agrees(live: Any, value: Any) -> bool:
    """Whether nothing has to change; an empty map or null says that there is one, not what is in it."""
    return bool(live == value or (value in ({}, None) and isinstance(live, Mapping | list)))


def remove_dropped(obj: Manifest, dropped: frozenset[Path], owners: Mapping[Manager, frozenset[Path]]) -> None:
    """Take away what the manager no longer mentions and nobody owns.

    An item goes when nobody owns anything in it; else it stays with its key, and loses the rest of what was dropped.
    """
    owned: set[Path] = set().union(*owners.values())
    for path in sorted(dropped, key=str):
        place = path[:-1] if is_key(path) else path
        if not any(other[: len(place)] == place for other in owned):
            remove(obj, place)


class Conflict(Exception):
    """The server's refusal, in its words (apimachinery `managedfields/internal/conflict.go`)."""

    def __init__(self, fields: Mapping[Manager, Sequence[Path]]) -> None:
        count = sum(map(len, fields.values()))
        parts = [_conflict(manager, paths) for manager, paths in sorted(fields.items(), key=lambda item: str(item[0]))]
        super().__init__(f"Apply failed with {count} conflict{'s' * (count > 1)}: " + "\n".join(parts))


def _conflict(manager: Manager, paths: Sequence[Path]) -> str:
    if len(paths) == 1:
        return f"conflict with {manager}: {shown(paths[0])}"
    return f"conflicts with {manager}:" + "".join(f"\n- {shown(path)}" for path in paths)


# --------------------------------------------------------------------------------------------------------- history


@dataclass(frozen=True)
class Release:
    """What Helm keeps of each upgrade: the revision, its status, description, and the objects."""

    revision: int
    status: str
    description: str
    objects: Sequence[Manifest]


@dataclass(frozen=True)
class ReleaseHistory:
    """The releases of one name, oldest first; an upgrade or a rollback adds one."""

    name: str
    releases: tuple[Release, ...] = ()

    @property
    def deployed(self) -> Release | None:
        """The release that runs."""
        return next((release for release in reversed(self.releases) if release.status == "deployed"), None)

    def upgrade(self, objects: Sequence[Manifest]) -> ReleaseHistory:
        """One revision more: deployed, or failed when the server refuses the change of an object."""
        return self._with_release("Upgrade", "Upgrade complete" if self.releases else "Install complete", objects)

    def rollback(self, to: int = 0) -> ReleaseHistory:
        """The objects of an older revision as a new one; 0 is the one before the newest. Nothing is rendered again."""
        revision = to or len(self.releases) - 1
        for release in self.releases:
            if release.revision == revision:
                return self._with_release("Rollback", f"Rollback to {revision}", release.objects)
        raise Invalid("rollback", [Problem("revision", f"release has no {revision} version")])

    def _with_release(self, action: str, description: str, objects: Sequence[Manifest]) -> ReleaseHistory:
        """The history with one release more: failed, or deployed, and then the one before is superseded."""
        refusals = refused_changes(self.deployed.objects if self.deployed else (), objects)
        release = Release(len(self.releases) + 1, "deployed", description, deepcopy(list(objects)))
        if refusals:
            failure = f'{action} "{self.name}" failed: {refusals[0]}'
            return replace(self, releases=(*self.releases, replace(release, status="failed", description=failure)))
        earlier = [replace(each, status="superseded") if each.status == "deployed" else each for each in self.releases]
        return replace(self, releases=(*earlier, release))


def refused_changes(before: Sequence[Manifest], after: Sequence[Manifest]) -> list[str]:
    """What the server says of objects that may not change as the chart wants it."""
    earlier = {_identity(obj): obj for obj in before}
    refusals = []
    for obj in after:
        for problem in update_problems(earlier.get(_identity(obj), obj), obj):
            patch = f'cannot patch "{_identity(obj)[2]}" with kind {obj["kind"]}'
            refusals.append(f"{patch}: {full_name(obj)} is invalid: {problem}")
    return refusals


def _identity(obj: Manifest) -> tuple[Any, Any, Any]:
    metadata = obj.get("metadata") or {}
    return obj.get("kind"), metadata.get("namespace"), metadata.get("name")
