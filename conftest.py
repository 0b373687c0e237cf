"""Options of the test suite, and the strict rules that nbval lacks: pictures and the structure of outputs count."""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import deepcopy
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
    parser.addoption(
        "--corrupted", action="store_true", help="corrupt the stored outputs of every cell too: each must be caught"
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
        if item.config.getoption("corrupted"):
            item.user_properties.append(("outputs corrupted and caught", str(_caught(item))))
    return outcome


def _caught(item: Any) -> int:
    """How many corruptions of the stored outputs the comparison with the fresh ones notices: all of them."""
    from nbval.plugin import coalesce_streams

    caught = 0
    for corrupt in CORRUPTIONS:
        cell = deepcopy(item.cell)
        if corrupt(cell):
            stored = coalesce_streams(cell.outputs)
            same = item.compare_outputs(item.test_outputs, stored) and _structure(stored) == _structure(
                item.test_outputs
            )
            assert not same, f"{corrupt.__name__} of the stored outputs is not noticed"
            caught += 1
    return caught


def corrupt_values(cell: Any) -> bool:
    """Of a picture its PNG alone, which nbval by itself does not compare; elsewhere every stream and value."""
    for output in cell.outputs:
        if output.output_type == "stream":
            output.text = _altered(output.text)
        data = output.get("data", {})
        for mime in ["image/png"] if "image/png" in data else data:
            data[mime] = _altered(data[mime])
    return bool(cell.outputs)


def _altered(text: str) -> str:
    """One character of the middle exchanged for another, of base64 too."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


def corrupt_structure(cell: Any) -> bool:
    """A picture loses its PNG, another cell its last output, and a cell without outputs gains one."""
    from nbformat.v4 import new_output

    pictures = [output for output in cell.outputs if output.get("data", {}).pop("image/png", None)]
    if not cell.outputs:
        cell.outputs.append(new_output("display_data", data={"image/png": "aGk="}))
    elif not pictures:
        cell.outputs.pop()
    return True


CORRUPTIONS: list[Callable[[Any], bool]] = [corrupt_values, corrupt_structure]


def _structure(outputs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [_kind(output) for output in outputs]


def _kind(output: dict[str, Any]) -> tuple[str, ...]:
    if output["output_type"] == "stream":
        return "stream", output["name"]
    if output["output_type"] == "error":
        return "error", output["ename"]
    mimes = sorted(mime for mime in output["data"] if mime != WIDGET_VIEW)
    return output["output_type"], *mimes, repr(sorted(output.get("metadata", {}).items()))
