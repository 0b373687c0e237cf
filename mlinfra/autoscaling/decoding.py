"""Manifests as objects of this room: what `kubectl get -o yaml` shows, once it has passed validation."""

from __future__ import annotations

from typing import Any

from mlinfra.admission import Field, refuse, validate
from mlinfra.admission.rules import decoded, one_of
from mlinfra.manifest import Manifest


def accepted(manifest: Manifest, kind: str) -> Manifest:
    """The manifest without null fields; Invalid when it is refused, or is of another kind."""
    refuse(kind, [*validate(manifest), *one_of(kind)(Field(manifest)["kind"])])
    obj: dict[str, Any] = decoded(manifest)
    return obj
