"""Rules of nodes, pods, quotas and sharing, by class."""

from __future__ import annotations

from mlinfra.admission.rules import Check

RULES: dict[str, Check] = {}
