"""Rules of services and rollouts of a canary, by class."""

from __future__ import annotations

from mlinfra.admission.rules import Check

RULES: dict[str, Check] = {}
