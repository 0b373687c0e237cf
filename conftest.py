"""Options of the test suite, and the strict rules that nbval lacks: pictures and the structure of outputs count."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def pytest_addoption(parser: pytest.Parser) -> None:
    cases = ROOT / "tests/conformance/cases"
    parser.addoption("--cases", type=Path, default=cases, help="folder of conformance cases")
    crds = ROOT.parent / "shared" / "crds"
    parser.addoption(
        "--crds", type=Path, default=crds, help="folder of custom resource schemas, GROUP_VERSION_KIND.json"
    )
    openb = ROOT.parent / "shared" / "data" / "openb"
    parser.addoption("--openb", type=Path, default=openb, help="folder of the openb node and pod lists")


def _is_cell(item: pytest.Item) -> bool:
    return type(item).__name__ == "IPyNbCell"


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """No cell opts out, and none was stored without having been run in order."""
    for item in filter(_is_cell, items):
        item.parent.skip_compare = [k for k in item.parent.skip_compare if not k.startswith("image/")]
        if item.options.get("skip") or item.options.get("check") is not True:
            raise pytest.UsageError(f"{item.nodeid}: a cell may not opt out of the comparison")
        if item.cell.execution_count != item.cell_num + 1:
            raise pytest.UsageError(f"{item.nodeid}: not stored in the order of execution; run `make refresh`")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: Any) -> Generator[None, object, object]:
    """After nbval's comparison of contents: the same outputs, in the same order, of the same types."""
    outcome = yield
    if _is_cell(item):
        from nbval.plugin import coalesce_streams

        stored, fresh = _structure(coalesce_streams(item.cell.outputs)), _structure(item.test_outputs)
        assert stored == fresh, f"structure of the outputs differs: stored {stored}, fresh {fresh}"
    return outcome


def _structure(outputs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [_kind(output) for output in outputs]


def _kind(output: dict[str, Any]) -> tuple[str, ...]:
    if output["output_type"] == "stream":
        return "stream", output["name"]
    if output["output_type"] == "error":
        return "error", output["ename"]
    mimes = sorted(mime for mime in output["data"] if mime != WIDGET_VIEW)
    return output["output_type"], *mimes, repr(sorted(output.get("metadata", {}).items()))
