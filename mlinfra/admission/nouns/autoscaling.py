"""Rules of the autoscalers and of the closed loop, by class."""

from __future__ import annotations

from mlinfra.admission.rules import Check

RULES: dict[str, Check] = {}
