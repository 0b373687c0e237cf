"""Compares `mlinfra.manifest.validate` with the verdicts of a real API server."""

from __future__ import annotations

import re
from typing import Any

from mlinfra import admission

Case = dict[str, Any]

FIELDS = {"manifest", "message", "verdict"}


def expectation(case: Case) -> Case:
    """The verdict; for a rejection that names a field, also that we name it."""
    named = case["verdict"] == "rejected" and _names_a_field(case["message"])
    return {"verdict": case["verdict"]} | ({"names the field": True} if named else {})


def answer(case: Case) -> Case:
    problems = admission.validate(case["manifest"])
    said = _plain(case["message"])
    return {
        "verdict": "rejected" if problems else "accepted",
        "names the field": any(_plain(problem.path) in said for problem in problems),
    }


def _names_a_field(message: str) -> bool:
    """A decoding error of a quantity, and a version that is not served, name none."""
    return bool(re.search(r"\b(metadata|spec|value)\b", message))


def _plain(path: str) -> str:
    """A decoder leaves out places in lists and writes embedded structs: spec.rules.IngressRuleValue.http.paths."""
    return re.sub(r"\[\d+\]|\.[A-Z]\w+(?=\.)", "", path)
