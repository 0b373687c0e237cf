"""JupyterLab in the browser: the reader's copies of two notebooks, the other four as they are stored, a kernel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mlinfra.study import copies
from mlinfra.study.progress import LEDGER
from web import fetch, wheels

HERE = Path(__file__).parent
RUNNABLE = ("04_gpu_scheduling", "05_autoscaling")
FILES = ("README.md", "GLOSSARY.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "NOTICE")
KERNEL, WIDGETS = "@jupyterlite/pyodide-kernel-extension", "@jupyter-widgets/jupyterlab-manager"
NEEDED = re.compile(r'study\.needs\("(\w+)"\)')
EXTENSIONS = "share/jupyter/labextensions"

SETTINGS = {
    "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
}
"""The browser's own light or dark; every cell is there for its search and for a screen reader; pages are pages."""


def build(root: Path, cache: Path, site: Path) -> None:
    """JupyterLab, its kernel and its files, in the folder of the site."""
    tools = fetch.tools(cache)
    lite = cache / "lite"
    shutil.rmtree(lite, ignore_errors=True)
    lite.mkdir(parents=True)
    contents(root, lite / "files")
    names = runtime(root, cache, tools, lite / "static" / "pyodide")
    configure(lite, tools, site, names)
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--lite-dir", str(lite)]
    done = subprocess.run(
        command, cwd=lite, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(tools)},
    )  # fmt: skip
    if done.returncode:
        raise fetch.Stopped(f"JupyterLite could not be built:\n{done.stdout}")
    list_hidden(site, lite / "files")
    worker = site / "service-worker.js"
    worker.write_text((HERE / "offline.js").read_text("utf-8") + worker.read_text("utf-8"), "utf-8")


def contents(root: Path, files: Path) -> None:
    """The course's folders as they lie in the repository, so that every link leads where it leads there."""
    shutil.copytree(root / "examples", files / "examples")
    shutil.copytree(root / "docs", files / "docs")
    originals = files.parent / "originals"
    originals.mkdir()
    for name in FILES:
        shutil.copy(root / name, files / name)
    for name in RUNNABLE:
        shutil.copy(root / "notebooks" / f"{name}.ipynb", originals)
        tolerant(originals / f"{name}.ipynb")
    copies.work_on(originals, files / "notebooks")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        if path.stem not in RUNNABLE:
            shutil.copy(path, files / "notebooks" / path.name)


def tolerant(path: Path) -> None:
    """Cells that need a package which is only offered, up to the next heading, are skipped without it.

    In JupyterLite an error ends Run All, whatever a cell's tags say.
    """
    notebook, package = json.loads(path.read_text("utf-8")), ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if offered := NEEDED.search(source):
            package = offered[1]
        elif source.startswith("#") and cell["cell_type"] == "markdown":
            package = ""
        elif package and cell["cell_type"] == "code":
            cell["source"] = [f"%%only_with {package}\n", *cell["source"]]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False), "utf-8")


def runtime(root: Path, cache: Path, tools: Path, folder: Path) -> list[str]:
    """Pyodide with the wheels beside it; the packages to load at once."""
    pin, archive = fetch.pyodide(cache)
    fetch.unpacked(archive, pin["files"], folder)
    made = [wheels.repacked(folder, wheels.installed(name)) for name in wheels.PACKAGES]
    kernel = tools / EXTENSIONS / KERNEL / "static" / "pypi"
    fetched = [wheels.given(folder, path) for path in sorted(kernel.glob("*.whl")) if "widgetsnb" not in path.name]
    made.append(wheels.repacked(folder, wheels.installed("micropip", tools)))
    whole = [wheels.own(folder, root), *made, *fetched]
    return wheels.lock(folder / "pyodide-lock.json", whole, pin["packages"])


def configure(lite: Path, tools: Path, site: Path, names: list[str]) -> None:
    """What JupyterLite is to build, and how the page and the kernel are set."""
    build = {
        "apps": ["lab"], "no_sourcemaps": True, "no_unused_shared_packages": True, "ignore_sys_prefix": True,
        "federated_extensions": [str(tools / EXTENSIONS / KERNEL), str(Path(sys.prefix) / EXTENSIONS / WIDGETS)],
        "contents": ["files"], "output_dir": str(site), "cache_dir": str(lite / ".cache"),
    }  # fmt: skip
    kernel = {"disablePyPIFallback": True, "loadPyodideOptions": {"packages": names}}
    page = {
        "appName": "mlinfra", "exposeAppInBrowser": True, "litePluginSettings": {f"{KERNEL}:kernel": kernel},
        "enableServiceWorkerCache": "false",
    }  # fmt: skip
    written = {
        "jupyter_lite_config.json": {"LiteBuildConfig": build},
        "jupyter-lite.json": {"jupyter-lite-schema-version": 0, "jupyter-config-data": page},
        "overrides.json": SETTINGS,
    }
    for name, value in written.items():
        (lite / name).write_text(json.dumps(value, indent=1), "utf-8")


def list_hidden(site: Path, files: Path) -> None:
    """The ledger of copies, which makes the folder a working copy: JupyterLite leaves hidden files out."""
    listing = site / "api" / "contents" / "notebooks" / "all.json"
    shutil.copy(files / "notebooks" / LEDGER, site / "files" / "notebooks" / LEDGER)
    listed = json.loads(listing.read_text("utf-8"))
    (notebook, *_) = [each for each in listed["content"] if each["type"] == "notebook"]
    shown = {"name": LEDGER, "path": f"notebooks/{LEDGER}", "type": "file", "mimetype": "application/json"}
    size = (files / "notebooks" / LEDGER).stat().st_size
    listed["content"].append({**notebook, **shown, "format": None, "size": size})
    listing.write_text(json.dumps(listed, indent=1), "utf-8")
