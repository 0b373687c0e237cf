"""Custom resources: the fields of a kind, and the rules of its webhook and controller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from mlinfra.admission.custom_schema import of_file
from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Problem,
    Rules,
    broken,
    decoded,
    dns_subdomain,
    metadata_problems,
)
from mlinfra.admission.schema import Decoding, decode_custom
from mlinfra.manifest import Manifest


class Older(NamedTuple):
    """Another version that is served: the file of its fields, and what the server says to who uses it, if anything."""

    fields: str
    warning: str


class CustomKind(NamedTuple):
    """A custom resource: version, kind, and rules. `fields` names the file of its fields and their types.

    The rules of `across` compare fields, so they are asked once each field is sound. A configuration file has no name.
    """

    api_version: str
    kind: str
    rules: Rules
    across: Rules
    fields: str
    name: Check | None = dns_subdomain
    older: Mapping[str, Older] = {}
    warn: Callable[[Field], Iterator[ApiWarning]] = lambda obj: iter(())

    def verdict(self, obj: Manifest) -> list[Problem | ApiWarning]:
        """Why the API server, or the webhook behind it, would refuse the object; a version of old is a warning."""
        if problems := self.decode(obj).problems or self.rule_problems(obj):
            return [*problems]
        old = self.older.get(obj["apiVersion"])
        spoken = [ApiWarning("apiVersion", old.warning)] if old and old.warning else []
        return [*spoken, *self.warn(Field(obj))]

    def decode(self, obj: Manifest) -> Decoding:
        """Unknown, mistyped and missing fields of the object in its own version."""
        old = self.older.get(obj["apiVersion"])
        return decode_custom(Field(obj), of_file(old.fields if old else self.fields))

    def rule_problems(self, obj: Manifest) -> list[Problem]:
        """What validation objects to once the object has been decoded."""
        field = Field(decoded(obj))
        problems = list(metadata_problems(field["metadata"], self.name)) if self.name else []
        problems += broken(field, self.rules)
        return problems or list(broken(field, self.across))
