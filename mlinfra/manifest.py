"""What every manifest shares: references, container resources, reading them and writing YAML."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from mlinfra.documents import name_of, parse, read_text
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


OF_THE_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
"""Entries of `metadata` that the API server fills in."""

OF_CONTROLLERS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/",
    "autoscaling.alpha.kubernetes.io/",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "csi.volume.kubernetes.io/",
    "node.alpha.kubernetes.io/",
    "volumes.kubernetes.io/",
    "cni.projectcalico.org/",
)
"""Beginnings of the annotations that kubectl and controllers write."""

STATUS_IS_READ = ("Node", "Pod", "PodDisruptionBudget")


def load(source: str | Path | IO[str] | IO[bytes]) -> list[Manifest]:
    """The objects of a file or a stream: YAML of one or more documents, JSON, lists, or what `kubectl get -o` prints.

    What the server and its controllers add to an object is dropped: most of `metadata`, some annotations, and `status`
    but for nodes, pods and disruption budgets. ValueError with one sentence for what cannot be read.
    """
    name = name_of(source)
    return loads(read_text(source), name)


def loads(text: str, name: str = "text") -> list[Manifest]:
    """The objects of a text; the name is for messages."""
    objects = [as_given(obj) for document in parse(text, name) for obj in _objects(document, name)]
    if not objects:
        raise ValueError(f"{name}: holds no object")
    return objects


def _objects(document: Any, name: str) -> Iterator[Manifest]:
    """The document, or the items of a list; those of a typed list such as PodList may come without kind."""
    if isinstance(document, list):
        for each in document:
            yield from _objects(each, name)
        return
    if not isinstance(document, Mapping):
        raise ValueError(f"{name}: holds {json.dumps(document)[:40]} where an object must be")
    kind = str(document.get("kind", ""))
    if not kind.endswith("List") or not isinstance(document.get("items"), list):
        yield dict(document)
        return
    head = {"apiVersion": document.get("apiVersion", "v1"), "kind": kind.removesuffix("List")}
    for item in document["items"]:
        yield from _objects({**head, **item} if head["kind"] and isinstance(item, Mapping) else item, name)


def as_given(obj: Manifest) -> Manifest:
    """The object as its author gave it, as far as that can be told: without what the cluster added."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping):
        return obj
    kept = {name: value for name, value in metadata.items() if name not in OF_THE_SERVER}
    annotations = kept.get("annotations")
    if isinstance(annotations, Mapping):
        kept["annotations"] = {k: text for k, text in annotations.items() if not str(k).startswith(OF_CONTROLLERS)}
        if not kept["annotations"]:
            del kept["annotations"]
    given = obj | {"metadata": kept}
    if obj.get("kind") not in STATUS_IS_READ:
        given.pop("status", None)
    return given


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
