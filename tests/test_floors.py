"""The house: no arrow goes up a floor, none in a circle, rooms do not know each other, and no file is long."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest

PACKAGE = Path(__file__).parents[1] / "mlinfra"
FLOORS = (
    {"documents", "manifest", "quantity", "simulation", "tables", "traffic"},
    {"admission"},
    {"autoscaling", "gpu", "helm", "kserve", "pipelines", "ray_serve"},
    {"course"},
    {"commands", "interview"},
    {"__main__"},
)
ROOMS = FLOORS[2]
BESIDE = {"study"}
"""The reader's side: it stands on admission and knows no topic; course and interview use it."""

LONGEST = 400
FILES = sorted(PACKAGE.rglob("*.py"))


def module(path: Path) -> str:
    """The name of a file below the package: `gpu.scheduler`; of a package's own file: `gpu`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {module(path) for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "mlinfra":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                name = f"{base}.{alias.name}".lstrip(".")
                yield name if name in MODULES else base


def floor(name: str) -> int:
    (level,) = [i for i, names in enumerate(FLOORS) if name.partition(".")[0] in names]
    return level


@pytest.mark.parametrize("path", [path for path in FILES if module(path)], ids=module)
def test_no_arrow_goes_up_or_into_another_room(path: Path) -> None:
    here = module(path)
    for other in filter(None, imports(path)):
        if here.partition(".")[0] in BESIDE:
            assert other.partition(".")[0] in FLOORS[0] | FLOORS[1] | BESIDE, f"{here} imports {other}"
        elif other.partition(".")[0] in BESIDE:
            assert floor(here) >= floor("course"), f"{here} imports {other}"
        else:
            assert floor(other) <= floor(here), f"{here} imports {other}"
            same_room = other.partition(".")[0] == here.partition(".")[0]
            assert same_room or not {other.partition(".")[0], here.partition(".")[0]} <= ROOMS, (
                f"{here} imports {other}"
            )


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter({module(path): set(imports(path)) - {module(path)} for path in FILES if module(path)}).prepare()


@pytest.mark.parametrize("path", FILES, ids=module)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert path.read_text("utf-8").count("\n") <= LONGEST


def public_classes() -> Iterator[tuple[str, str]]:
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, module(path)


def test_no_two_public_classes_have_one_name() -> None:
    homes: dict[str, list[str]] = {}
    for name, home in public_classes():
        homes.setdefault(name, []).append(home)
    assert [places for places in homes.values() if len(places) > 1] == []


def test_no_test_imports_another() -> None:
    """What several of them use is in `builders.py`, `pipeline_steps.py` and `waiting.py`."""
    for path in Path(__file__).parent.rglob("*.py"):
        assert (
            not re.search(r"^ *(from|import) test_\w+", path.read_text("utf-8"), re.M)
            or path.parent.name == "conformance"
        )


def test_the_functions_to_read_first_are_there() -> None:
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    names = re.findall(r"^\d+\. `mlinfra\.([\w.]+)`", page, re.M)
    assert len(names) == 10
    for name in names:
        assert callable(pkgutil.resolve_name(f"mlinfra.{name}"))


def statements(source: str) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(dedent(source))))


def printed_sources() -> set[str]:
    """The listings of the package's own functions in the stored notebooks."""
    sources = set()
    for path in (PACKAGE.parent / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", ()):
                _, caption, listing = output.get("data", {}).get("text/markdown", "").partition("From `mlinfra.")
                if caption:
                    sources.add(listing.partition("```python\n")[2].partition("\n```")[0])
    return sources


def test_the_page_tells_the_size_and_what_is_printed() -> None:
    """Rounded to hundreds, and to a whole percent."""
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    whole = sum(statements(path.read_text("utf-8")) for path in FILES)
    printed = sum(map(statements, printed_sources()))
    text = f"some {round(whole, -2):,} statements; the notebooks print {100 * printed / whole:.0f} % of them"
    assert text in " ".join(page.split())
