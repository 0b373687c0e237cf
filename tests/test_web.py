"""What the site is made of: wheels without compiled files, a lock that leads to this site alone, and pinned files."""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mlinfra import study
from mlinfra.study.offer import PLACE
from web import fetch, lite, pages, wheels

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["PyYAML", "traitlets"])
def test_a_wheel_has_no_compiled_file_and_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    first = wheels.repacked(tmp_path, wheels.installed(name))
    content = first.path.read_bytes()
    assert wheels.repacked(tmp_path, wheels.installed(name)).path.read_bytes() == content
    files = zipfile.ZipFile(first.path).namelist()
    assert not [file for file in files if file.endswith(wheels.COMPILED)]
    assert [file for file in files if wheels.is_licence(Path(file))]
    assert first.imports == (name.lower().replace("py", ""),)


def test_of_kubernetes_versions_the_wheel_has_one(tmp_path: Path) -> None:
    wheel = wheels.repacked(tmp_path, wheels.installed("kubernetes-validate"))
    schemas = {Path(file).parts[2] for file in zipfile.ZipFile(wheel.path).namelist() if "json-schema" in file}
    assert schemas == {"v1.37.0-local-strict"}
    assert wheel.path.stat().st_size < 2_000_000


def test_the_own_wheel_has_every_file_of_the_package(tmp_path: Path) -> None:
    files = set(zipfile.ZipFile(wheels.own(tmp_path, ROOT).path).namelist())
    package = [path for path in (ROOT / "mlinfra").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT).as_posix() for path in package} <= files


def test_in_the_lock_only_numpy_is_elsewhere_and_no_import_fetches_it(tmp_path: Path) -> None:
    numpy = {"file_name": "numpy.whl", "imports": ["numpy"], "depends": ["x"], "sha256": "0" * 64}
    (tmp_path / "lock.json").write_text(json.dumps({"info": {}, "packages": {"numpy": numpy, "other": {}}}), "utf-8")
    wheel = wheels.repacked(tmp_path, wheels.installed("comm"))
    assert wheels.lock(tmp_path / "lock.json", [wheel], f"https://{PLACE}/full") == ["comm"]
    packages = json.loads((tmp_path / "lock.json").read_text("utf-8"))["packages"]
    assert packages.keys() == {"comm", "numpy"}
    assert packages["comm"]["file_name"] == wheel.path.name
    assert packages["numpy"]["file_name"] == f"https://{PLACE}/full/numpy.whl"
    assert packages["numpy"]["imports"] == []
    assert packages["numpy"]["sha256"] == "0" * 64


def test_a_runtime_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    pin = json.loads(fetch.PYODIDE.read_text("utf-8"))
    archive = tmp_path / f"pyodide-{pin['version']}.tgz"
    with tarfile.open(archive, "w:gz"):
        pass
    with pytest.raises(fetch.Stopped, match="is not the file that"):
        fetch.pyodide(tmp_path)
    assert not archive.exists()


def test_what_pip_fetches_is_pinned_by_hashes() -> None:
    for path in (fetch.REQUIREMENTS, fetch.NODE):
        named = [line for line in path.read_text("utf-8").splitlines() if "==" in line]
        assert named
        assert path.read_text("utf-8").count("--hash=sha256:") >= len(named)


def test_cells_that_need_what_is_offered_are_skipped_up_to_the_next_heading(tmp_path: Path) -> None:
    def cell(kind: str, source: str) -> dict[str, object]:
        return {"cell_type": kind, "source": [source]}

    cells = [cell("code", "1"), cell("code", 'study.needs("numpy")'), cell("markdown", "text"), cell("code", "2")]
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps({"cells": [*cells, cell("markdown", "## Next"), cell("code", "3")]}), "utf-8")
    lite.tolerant(path)
    sources = ["".join(each["source"]) for each in json.loads(path.read_text("utf-8"))["cells"]]
    assert sources == ["1", 'study.needs("numpy")', "text", "%%only_with numpy\n2", "## Next", "3"]


def test_links_lead_to_the_pages(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    body = '<a href="b"><a href="../README.md#x"><a href="01.ipynb"><a href="https://x.md"><img src="p.png">'
    moved = (
        '<a href="b/index.html"><a href="../README.html#x"><a href="01.html"><a href="https://x.md"><img src="p.png">'
    )
    assert pages.with_links(tmp_path, "a/c.md", body) == moved
    with pytest.raises(FileNotFoundError, match=r"a/c.md links to ../README.md, which is not there"):
        list(pages.targets(tmp_path, "a/c.md", body))


def test_in_a_browser_a_picture_is_its_svg_and_one_package_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")
    figure = study.steps("t", "d", study.Row("pods", {"pods": [(0, 1), (1, 2)]}))
    bundle, metadata = figure._repr_mimebundle_()
    assert bundle["text/html"] == bundle["application/vnd.mlinfra.svg"] == figure.svg
    assert "image/png" not in bundle
    assert metadata == {}
    assert study.needs("yaml") == "installed: yaml"
    with pytest.raises(ModuleNotFoundError, match="needs no_such_engine, which does not run in a browser"):
        study.needs("no_such_engine")


def test_elsewhere_a_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="this notebook needs no_such_engine: pip install"):
        study.needs("no_such_engine")
