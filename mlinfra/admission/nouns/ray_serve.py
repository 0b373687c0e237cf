"""Rules of deployments, applications and stages, by class."""

from __future__ import annotations

from mlinfra.admission.rules import Check

RULES: dict[str, Check] = {}
