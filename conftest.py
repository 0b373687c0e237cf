"""Options of the test suite, and the strict rule that nbval lacks: every byte of an output counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # no test depends on how busy the machine is

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
    """After nbval's comparison of contents: the fresh outputs are the stored ones to the byte, in the same order."""
    outcome = yield
    if _is_cell(item):
        assert _text(item.cell.outputs) == _text(item.test_outputs), "the outputs are not stored canonically"
        if item.config.getoption("corrupted"):
            item.user_properties.append(("outputs corrupted and caught", str(_caught(item))))
    return outcome


def _caught(item: Any) -> int:
    """How many corruptions of the stored outputs the comparison with the fresh ones notices: all of them."""
    caught = 0
    for corrupt in CORRUPTIONS:
        cell = deepcopy(item.cell)
        if corrupt(cell):
            same = _text(cell.outputs) == _text(item.test_outputs)
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


def _text(outputs: list[Any]) -> str:
    """Outputs as JSON, the chunks of a stream joined, and without the ids of widgets, which every run makes anew."""
    from nbval.plugin import coalesce_streams

    plain = [dict(output) for output in coalesce_streams(deepcopy(outputs))]
    for output in plain:
        output.get("data", {}).pop(WIDGET_VIEW, None)
        output.pop("execution_count", None)  # nbval has none
    return json.dumps(plain, indent=1, sort_keys=True)
