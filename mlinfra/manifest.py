"""What every manifest shares: references, container resources, and YAML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mlinfra.quantity import Quantity, quantity, shown

Manifest = dict[str, Any]


@dataclass(frozen=True)
class ObjectReference:
    """Another object, by kind and name: a scale target, or the object that a metric describes."""

    kind: str
    name: str
    api_version: str = "apps/v1"

    @classmethod
    def of(cls, manifest: Manifest) -> ObjectReference:
        return cls(manifest["kind"], manifest["name"], manifest.get("apiVersion", ""))

    def manifest(self) -> Manifest:
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name}


@dataclass(frozen=True)
class Resources:
    """A container's `resources`; an extended resource such as nvidia.com/gpu is whole and equal in both."""

    requests: Mapping[str, Quantity] = field(default_factory=dict)
    limits: Mapping[str, Quantity] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> Resources:
        return cls(manifest.get("requests", {}), manifest.get("limits", {}))

    def __eq__(self, other: object) -> bool:
        """Amounts are equal, however they are written."""
        return isinstance(other, Resources) and self.manifest() == other.manifest()

    def manifest(self) -> Manifest:
        """The block as the API server stores it: quantities canonical, empty parts left out."""
        parts = {"limits": self.limits, "requests": self.requests}
        return {
            part: {name: shown(amount) for name, amount in amounts.items()}
            for part, amounts in parts.items()
            if amounts
        }


def not_overcommitted(name: str) -> bool:
    """What a node cannot promise twice."""
    return extended(name) or name.startswith("hugepages-")


def extended(name: str) -> bool:
    """A device plugin's resource: it has a domain, and not kubernetes.io's."""
    return "/" in name and "kubernetes.io/" not in name


RESTRICTED: Manifest = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""A container's securityContext as the restricted Pod Security Standard wants it, whatever the pod says."""


@lru_cache(maxsize=1)
def _dumper() -> Any:
    """Strings as kubectl writes them: several lines as a block, what YAML would misread in double quotes."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # what stands in two places is written twice

    def string(dumper: Any, text: str) -> Any:
        plain = dumper.resolve(yaml.ScalarNode, text, (True, False)).endswith(":str") and text.isprintable()
        lines = "\n" in text and text.replace("\n", "").replace("\t", "").isprintable()
        style = "|" if lines else None if plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, string)
    return Dumper


def to_yaml(obj: Manifest) -> str:
    """The manifest as `kubectl get -o yaml` prints it: keys in alphabetical order, lists not indented."""
    import yaml

    text = yaml.dump(
        obj, Dumper=_dumper(), sort_keys=True, default_flow_style=False, width=math.inf, allow_unicode=True
    )
    return str(text)


def unused_fields(given: Manifest, kept: Manifest) -> list[str]:
    """Paths of the leaves of one manifest that another does not have with that value; quantities are equal by amount.

    Of `metadata` only the name counts, and `status` not at all: a reader's object has more of both.
    """
    head = {"metadata": {"name": given.get("metadata", {}).get("name")}, "status": None}
    leaves = dict(_leaves(kept))
    return [path for path, value in _leaves(given | head) if not _same(value, leaves.get(path))]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that has nothing below it, with its path; null is a field that is not given."""
    if isinstance(value, Mapping) and value:
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple) and value:
        for i, below in enumerate(value):
            yield from _leaves(below, f"{path}[{i}]")
    elif value is not None:
        yield path, value


def _same(value: Any, other: Any) -> bool:
    """Equal, or the same amount: `1024Mi` is `1Gi`, and `"2"` is 2."""
    if value == other and isinstance(value, bool) == isinstance(other, bool):
        return True
    try:
        return quantity(value) == quantity(other)
    except ValueError:
        return False
