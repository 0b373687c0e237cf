"""Every case of a folder, run through the adapter of its file: `pytest tests/conformance --cases DIR`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import dra_adapter
import fgd_adapter
import gpu_adapter
import helm_adapter
import hpa_adapter
import knative_adapter
import kserve_keda_adapter
import llm_picker_adapter
import llm_scheduler_adapter
import manifest_adapter
import mig_adapter
import node_autoscaling_adapter
import pytest
import ray_serve_adapter
import tas_adapter
import vpa_adapter

Case = dict[str, Any]

ADAPTERS = {
    "dra_allocation.json": dra_adapter,
    "fgd_expected.json": fgd_adapter,
    "hpa_behavior.json": hpa_adapter,
    "hpa_controller.json": hpa_adapter,
    "hpa_generated.json": hpa_adapter,
    "hpa_replica_calculator.json": hpa_adapter,
    "kpa.json": knative_adapter,
    "kserve_keda.json": kserve_keda_adapter,
    "llm_picker.json": llm_picker_adapter,
    "llm_scheduler.json": llm_scheduler_adapter,
    "manifest_semantics.json": manifest_adapter,
    "mig_placements.json": mig_adapter,
    "node_autoscaling.json": node_autoscaling_adapter,
    "nodefit_scoring.json": gpu_adapter,
    "preemption.json": gpu_adapter,
    "ray_serve.json": ray_serve_adapter,
    "strategic_merge.json": helm_adapter,
    "tas_assignment.json": tas_adapter,
    "vpa_histogram.json": vpa_adapter,
    "vpa_recommender.json": vpa_adapter,
}
"""Files that run, and what translates them."""

PLANNED: tuple[str, ...] = ()
"""Files whose room is not built yet: a reported skip each."""

REMARKS = {"id", "name", "upstream", "since", "note", "upstream_legacy_test", "expected"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder, fgd_adapter.OPENB = Path(metafunc.config.getoption("cases")), Path(metafunc.config.getoption("openb"))
    params = [param for path in sorted(folder.glob("*.json")) for param in _params(path)]
    if not params:
        raise pytest.UsageError(f"--cases {folder}: no case files there")
    metafunc.parametrize(("file", "case"), params)


def _params(path: Path) -> list[Any]:
    if path.name not in ADAPTERS:
        if path.name not in PLANNED:
            raise pytest.UsageError(f"{path}: neither in ADAPTERS nor in PLANNED")
        reason = f"planned: the room of {path.name} is not built yet"
        return [pytest.param(path.name, {}, marks=pytest.mark.skip(reason=reason), id=path.name)]
    return [_param(path.name, case) for case in cases(path)]


def cases(path: Path) -> list[Case]:
    """The cases of a file, in the common form where its adapter must bring them into it."""
    content = json.loads(path.read_text("utf-8"))
    in_common_form = getattr(ADAPTERS[path.name], "cases", None)
    return list(in_common_form(content) if in_common_form else content["cases"])


def _param(file: str, case: Case) -> Any:
    missing = fgd_adapter.missing(case)
    marks = [pytest.mark.skip(reason=missing)] if missing else []
    return pytest.param(file, case, marks=marks, id=f"{file}-{case.get('id') or case['name']}")


def disagreements(file: str, case: Case) -> list[str]:
    """Where our answer differs from what the case expects; unknown fields count."""
    adapter = ADAPTERS[file]
    if unknown := set(case) - REMARKS - adapter.FIELDS:
        return [f"unknown fields: {sorted(unknown)}"]
    expected_fields = adapter.expectation(case)
    got = adapter.answer(case)
    return [
        f"{field}: upstream {expected}, we {got.get(field, 'nothing')}"
        for field, expected in expected_fields.items()
        if field not in got or not _agree(field, expected, got[field])
    ]


def _agree(field: str, expected: Any, got: Any) -> bool:
    if field == "error_contains":
        return expected in got
    if field == "one_of":
        return got in expected
    if isinstance(expected, float):
        return math.isclose(expected, got, rel_tol=1e-9)
    return bool(expected == got)


def test_agrees_with_upstream(file: str, case: Case) -> None:
    assert not disagreements(file, case)
