"""Custom resources: the fields of a kind, and the rules of its webhook and controller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from mlinfra.admission.schema import Decoding, decode
from mlinfra.manifest import Manifest


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
    deprecated: tuple[str, ...] = ()
    warn: Callable[[Field], Iterator[ApiWarning]] = lambda obj: iter(())

    def verdict(self, obj: Manifest) -> list[Problem | ApiWarning]:
        """Why the API server, or the webhook behind it, would refuse the object; a version of old is a warning."""
        decoding = self.decode(obj)
        problems = decoding.problems or self.rule_problems(obj)
        named = [problem.path for problem in problems]
        problems += [gap for gap in decoding.missing if not any(path.startswith(gap.path) for path in named)]
        if problems:
            return [*problems]
        of_old = f"{obj['apiVersion']} {self.kind} is deprecated; use {self.api_version}"
        warnings = [ApiWarning("apiVersion", of_old)] if obj["apiVersion"] != self.api_version else []
        return [*warnings, *self.warn(Field(obj))]

    def decode(self, obj: Manifest) -> Decoding:
        """Unknown, mistyped and missing fields."""
        return decode(Field(obj), of_file(self.fields), custom=True)

    def rule_problems(self, obj: Manifest) -> list[Problem]:
        """What validation objects to once the object has been decoded."""
        field = Field(decoded(obj))
        named = list(metadata_problems(field["metadata"], self.name)) if self.name else []
        return named + list(broken(field, self.rules)) or list(broken(field, self.across))
