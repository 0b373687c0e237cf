"""Rules of charts, releases, rollouts and the bill, by class."""

from __future__ import annotations

from mlinfra.admission.rules import Check

RULES: dict[str, Check] = {}
