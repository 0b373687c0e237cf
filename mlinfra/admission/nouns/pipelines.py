"""Rules of components, pipelines and steps, by class."""

from __future__ import annotations

from mlinfra.admission.rules import Check

RULES: dict[str, Check] = {}
