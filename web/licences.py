"""The licences of what the site contains of others, each with its text."""

from __future__ import annotations

import json
import zipfile
from email.message import Message
from email.parser import BytesParser
from html import escape
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from web import fetch, pages, wheels

SCRIPTS = {
    "JupyterLab and JupyterLite": "build",
    "The kernel's extension": "extensions/@jupyterlite/pyodide-kernel-extension/static",
    "Jupyter's widgets": "extensions/@jupyter-widgets/jupyterlab-manager/static",
}
"""Folders of scripts, each with a list of the npm packages within and their licences."""


class Row(NamedTuple):
    """A part of the site, and the files that hold its licence."""

    name: str
    version: str
    licence: str
    files: list[str]


def build(root: Path, tools: Path, site: Path) -> None:
    """licences/index.html, and beside it every text."""
    folder = site / "licences"
    folder.mkdir(parents=True)
    wheel_rows = [of_wheel(path, folder) for path in sorted((site / "static" / "pyodide").glob("*.whl"))]
    rows = [*of_runtime(tools, folder), *wheel_rows, *(of_scripts(name, site, folder) for name in SCRIPTS)]
    notice = saved(folder, "NOTICE", (root / "NOTICE").read_bytes())
    pages.written(folder / "index.html", "Licences", page(rows, notice), to_start=1)


def of_runtime(tools: Path, folder: Path) -> list[Row]:
    """Pyodide and the Python in it, whose texts others of the same licence bring along; and JupyterLite."""
    version = json.loads(fetch.PYODIDE.read_text("utf-8"))["version"]
    lite = wheels.installed("jupyterlite-core", tools)
    return [
        Row("Pyodide (https://github.com/pyodide/pyodide)", version, "MPL-2.0",
            texts(wheels.installed("micropip", tools), "MPL-2.0", folder)),
        Row("Python in Pyodide (https://github.com/python/cpython)", "3.14", "PSF-2.0",
            texts(wheels.installed("typing_extensions"), "PSF-2.0", folder)),
        Row("JupyterLite", lite.version, "BSD-3-Clause", texts(lite, "jupyterlite", folder)),
    ]  # fmt: skip


def texts(package: Distribution, name: str, folder: Path) -> list[str]:
    """The licence files of an installed package, saved under a name."""
    files = [path for path in package.files or () if wheels.is_licence(path) and ".dist-info" in path.parts[0]]
    return [saved(folder, f"{name}-{path.name}", path.read_binary()) for path in files]


def of_wheel(path: Path, folder: Path) -> Row:
    """What a wheel says of its licence, with the texts within it."""
    with zipfile.ZipFile(path) as archive:
        (header,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = BytesParser().parsebytes(archive.read(header))
        names = [name for name in archive.namelist() if wheels.is_licence(PurePosixPath(name))]
        stem = path.name.split("-")[0]
        files = [saved(folder, f"{stem}-{name.split('/', 1)[1]}", archive.read(name)) for name in names]
    return Row(metadata["Name"], metadata["Version"], stated(metadata), files)


def stated(metadata: Message) -> str:
    """The licence by its identifier, its classifier, or the first line of its field."""
    classified = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", []) if "License ::" in each]
    field = str(metadata["License"] or "").strip().splitlines()
    return str(metadata["License-Expression"] or "") or ", ".join(classified) or (field[0] if field else "see its text")


def of_scripts(name: str, site: Path, folder: Path) -> Row:
    """The npm packages in a folder of scripts, in one text."""
    listed = json.loads((site / SCRIPTS[name] / "third-party-licenses.json").read_text("utf-8"))["packages"]
    parts = [f"{each['name']} {each['versionInfo']}: {each['licenseId']}\n\n{each['extractedText']}" for each in listed]
    licences = sorted({str(each["licenseId"]) for each in listed})
    file = saved(folder, f"scripts of {name}", "\n\n----\n\n".join(parts).encode())
    return Row(f"{name}: {len(listed)} npm packages", "", ", ".join(licences), [file])


def saved(folder: Path, name: str, content: bytes) -> str:
    """The name of a text file with this content."""
    file = "".join(c if c.isalnum() or c in "-." else "_" for c in name).removesuffix(".txt") + ".txt"
    (folder / file).write_bytes(content)
    return file


def page(rows: list[Row], notice: str) -> str:
    """The inside of the page."""
    lines = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td>{escape(row.version)}</td><td>{escape(row.licence)}</td><td>'
        + " ".join(f'<a href="{file}">{escape(file)}</a>' for file in row.files)
        + "</td></tr>"
        for row in rows
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("part", "version", "licence", "text"))
    return (
        "<h1>Licences</h1><p>The course itself is under Apache-2.0; what its data and cases come from stands in "
        f'<a href="{notice}">NOTICE</a>. This site also contains the following, unchanged but for files left out. '
        "The sources of what is under the MPL are at the addresses named here, in the versions named.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    )
