"""The Python packages that the browser loads, as wheels of pure Python files, and the lock that names them.

They are made from the packages of this environment, which requirements.txt pins: what runs in the browser is what runs
here, without compiled files.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import mlinfra
from mlinfra.admission.schema import KUBERNETES

PACKAGES = (
    "asttokens", "comm", "decorator", "executing", "ipython", "ipython_pygments_lexers", "ipywidgets", "jedi",
    "kubernetes-validate", "matplotlib-inline", "packaging", "parso", "prompt_toolkit", "pure_eval", "Pygments",
    "PyYAML", "stack_data", "traitlets", "wcwidth",
)  # fmt: skip
"""What the kernel and the course import there."""

COMPILED = (".so", ".pyd", ".dll", ".dylib", ".pyc")
TIMESTAMP = (2026, 1, 1, 0, 0, 0)  # so that the same files give the same wheel


def _any(path: PurePosixPath) -> bool:
    return True


def _one_version(path: PurePosixPath) -> bool:
    """The strict schemas of one Kubernetes version: the package has twenty-six such folders."""
    return path.parts[1] != "kubernetes-json-schema" or path.parts[2] == f"v{KUBERNETES}.0-local-strict"


def _standard_stubs(path: PurePosixPath) -> bool:
    """Type stubs of the standard library, without those of Django and other packages, and without tests."""
    if "django-stubs" in path.parts:
        return False
    return "typeshed" not in path.parts or "stdlib" in path.parts or path.name == "LICENSE"


def _without_tests(path: PurePosixPath) -> bool:
    return "tests" not in path.parts


KEPT: Mapping[str, Callable[[PurePosixPath], bool]] = {
    "jedi": _standard_stubs,
    "kubernetes-validate": _one_version,
    "ipython": _without_tests,
    "traitlets": _without_tests,
}


@dataclass(frozen=True)
class Wheel:
    """A file in the folder of the runtime, and what the lock says of it."""

    name: str
    version: str
    path: Path
    imports: tuple[str, ...]

    def entry(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {
            "name": self.name, "version": self.version, "file_name": self.path.name, "sha256": digest,
            "install_dir": "site", "package_type": "package", "imports": list(self.imports), "depends": [],
            "unvendored_tests": False,
        }  # fmt: skip


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def written(folder: Path, name: str, version: str, files: Mapping[str, bytes], metadata: Mapping[str, bytes]) -> Wheel:
    """A wheel of these files; the same files give the same bytes."""
    stem = f"{normal(name).replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    named = {f"{info}/{path}": content for path, content in metadata.items()}
    named[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: mlinfra web\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    whole = dict(sorted({**files, **named}.items()))
    whole[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*whole, f"{info}/RECORD"]).encode()
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file, content in whole.items():
            archive.writestr(zipfile.ZipInfo(file, TIMESTAMP), content, zipfile.ZIP_DEFLATED)
    return Wheel(normal(name), version, path, tops(files))


def tops(files: Iterable[str]) -> tuple[str, ...]:
    """The names that can be imported."""
    return tuple(sorted({file.split("/")[0].removesuffix(".py") for file in files if file.endswith(".py")}))


def installed(name: str, folder: Path | None = None) -> Distribution:
    """A package of this environment, or of a folder of packages."""
    if folder is None:
        return distribution(name)
    return next(each for each in distributions(path=[str(folder)]) if normal(each.name) == name)


def repacked(folder: Path, package: Distribution) -> Wheel:
    """The wheel of an installed package, without compiled files and without what is never read."""
    keep = KEPT.get(package.name, _any)
    files, metadata = dict[str, bytes](), dict[str, bytes]()
    for path in package.files or ():
        if path.parts[0] == ".." or path.suffix in COMPILED or path.parts[0].startswith("_yaml"):
            continue
        if path.parts[0].endswith(".dist-info"):
            if is_metadata(path):
                metadata["/".join(path.parts[1:])] = path.read_binary()
        elif keep(path):
            files[path.as_posix()] = path.read_binary()
    return written(folder, package.name, package.version, files, metadata)


def is_metadata(path: PurePosixPath) -> bool:
    """What a wheel says of itself: its metadata and its licences."""
    return path.name in ("METADATA", "entry_points.txt") or is_licence(path)


def is_licence(path: PurePath) -> bool:
    return path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS"))


def own(folder: Path, root: Path) -> Wheel:
    """The wheel of the course's package."""
    package, version = root / "mlinfra", mlinfra.__version__
    paths = [path for path in sorted(package.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    header = f"Metadata-Version: 2.4\nName: mlinfra\nVersion: {version}\nLicense-Expression: Apache-2.0\n"
    metadata = {name: (root / name).read_bytes() for name in ("LICENSE", "NOTICE")}
    return written(folder, "mlinfra", version, files, {"METADATA": header.encode(), **metadata})


def given(folder: Path, wheel: Path) -> Wheel:
    """A wheel as it was fetched."""
    name, version = wheel.name.split("-")[:2]
    path = folder / wheel.name
    path.write_bytes(wheel.read_bytes())
    with zipfile.ZipFile(wheel) as archive:
        files = [file for file in archive.namelist() if ".dist-info/" not in file]
    return Wheel(normal(name), version, path, tops(files))


def lock(path: Path, wheels: Iterable[Wheel], address: str) -> list[str]:
    """Rewrite the runtime's lock: our wheels beside it, and numpy at its makers' address. The names to load at once.

    Numpy is not loaded by an `import`: only what the reader clicks on may ask another host.
    """
    whole = json.loads(path.read_text("utf-8"))
    numpy = whole["packages"]["numpy"]
    numpy |= {"file_name": f"{address}/{numpy['file_name']}", "imports": [], "depends": []}
    entries = {wheel.name: wheel.entry() for wheel in wheels}
    whole["packages"] = {**entries, "numpy": numpy}
    path.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    return list(entries)
