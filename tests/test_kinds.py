"""One good object of every kind, and what breaks it; messages are those of upstream's validation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from builders import GOOD, OBJECTS

from mlinfra import admission, manifest
from mlinfra.admission.core import KINDS


def rows(name: str) -> list[Any]:
    """The rows of a table, each with its kind."""
    tables = yaml.safe_load((OBJECTS / name).read_text("utf-8"))
    return [pytest.param(kind, row, id=f"{kind}-{row['set']}") for kind in tables for row in tables[kind]]


def changed(kind: str, path: str, value: Any) -> manifest.Manifest:
    """The good object with one field set; a value of None removes it."""
    obj: manifest.Manifest = copy.deepcopy(GOOD[kind])
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    branch: Any = obj
    for step in steps:
        branch = branch[step] if isinstance(step, int) else branch.setdefault(step, {})
    if value is None:
        del branch[last]
    else:
        branch[last] = value
    return obj


def test_every_kind_is_here() -> None:
    assert {kind for _, kind in KINDS} == set(GOOD)


@pytest.mark.parametrize("kind", GOOD)
def test_accepted(kind: str) -> None:
    assert admission.validate(GOOD[kind]) == []


@pytest.mark.parametrize(("kind", "row"), rows("broken.yaml"))
def test_what_breaks_an_object_is_refused_in_upstreams_words(kind: str, row: dict[str, Any]) -> None:
    problems = admission.validate(changed(kind, row["set"], row["to"]))
    assert [p for p in problems if p.path == row["path"] and row["says"] in p.message], [str(p) for p in problems]


@pytest.mark.parametrize("obj", [None, [], {}, {"kind": "Pod"}, {"apiVersion": "v2", "kind": "Pod"}])
def test_an_unknown_kind_is_a_problem(obj: Any) -> None:
    assert len(admission.validate(obj)) == 1


@pytest.mark.parametrize(("kind", "row"), rows("forgiven.yaml"))
def test_what_the_server_fills_in_or_forgives_is_accepted(kind: str, row: dict[str, Any]) -> None:
    assert admission.validate(changed(kind, row["set"], row["to"])) == []


def test_a_null_is_a_field_not_given() -> None:
    for kind, where in (("Deployment", "spec/strategy"), ("Service", "spec/ports"), ("PodDisruptionBudget", "spec")):
        obj = copy.deepcopy(GOOD[kind])
        branch: Any = obj
        for step in where.split("/"):
            branch = branch[step]
        target = branch[0] if isinstance(branch, list) else branch
        target |= (
            {"rollingUpdate": None}
            if kind == "Deployment"
            else {"targetPort": None}
            if kind == "Service"
            else {"minAvailable": None}
        )
        assert admission.validate(obj) == []


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": ["v1"], "kind": "Pod"},
        {"apiVersion": "v1", "kind": {}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {1: "a", None: "b"}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": [], "spec": "x"},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [None]}},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "b"},
            "spec": {"maxUnavailable": "9" * 5000 + "%"},
        },
    ],
)
def test_odd_input_is_refused_without_a_traceback(obj: Any) -> None:
    assert admission.validate(obj)
