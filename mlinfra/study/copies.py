"""The reader's own copies of the notebooks, without outputs, and a page of the course whose links lead to them.

python -m mlinfra.study.copies FOLDER    copies the notebooks to FOLDER: made once, never overwritten
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from mlinfra.study.progress import LEDGER

LINK = re.compile(r"(?<=\]\()(?!https?://|#)[^)\s]+")


def work_on(originals: Path, work: Path) -> list[str]:
    """Copy what is not there yet; a newer original is laid beside the reader's copy, which is kept."""
    fresh = {original: _unanswered(original) for original in sorted(originals.glob("*.ipynb"))}
    work.mkdir(parents=True, exist_ok=True)
    ledger = work / LEDGER
    copied: dict[str, str] = _read(ledger) if ledger.exists() else {}
    lines = []
    for original, text in fresh.items():
        copy, digest = work / original.name, hashlib.sha256(original.read_bytes()).hexdigest()
        if not copy.exists():
            copy.write_text(text, "utf-8")
            copied[original.name] = digest
            lines.append(f"copied {original.name}")
        elif copied.get(original.name) != digest:
            beside = _free_name(copy)
            beside.write_text(text, "utf-8")
            copied[original.name] = digest
            lines.append(f"{original.name}: yours is kept, and the course's newer one lies beside it: {beside.name}")
    ledger.write_text(json.dumps(copied, indent=1), "utf-8")
    return lines


def _free_name(copy: Path) -> Path:
    """01_kserve-2.ipynb beside 01_kserve.ipynb, or the next number that is free."""
    number = 2
    while (copy.with_stem(f"{copy.stem}-{number}")).exists():
        number += 1
    return copy.with_stem(f"{copy.stem}-{number}")


def _read(path: Path) -> dict[str, Any]:
    """A map from a file of JSON; ValueError names the file that is torn."""
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: is torn: {error}") from error


def _unanswered(original: Path) -> str:
    """The notebook without its outputs: they would show the answers before the guess."""
    notebook = _read(original)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def page(root: Path, work: Path) -> str:
    """The README with links to the copies; what has no copy is linked from where the copies lie."""

    def moved(link: re.Match[str]) -> str:
        return link[0].removeprefix("notebooks/") if link[0].startswith("notebooks/") else f"{home}/{link[0]}"

    home = Path(os.path.relpath(root, work)).as_posix()
    return LINK.sub(moved, (root / "README.md").read_text("utf-8"))


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    root = Path.cwd()
    if wrong := _wrong(arguments, root):
        print(f"{wrong} Say where the copies go: python -m mlinfra.study.copies work", file=sys.stderr)
        return 2
    work = Path(arguments[0])
    lines = work_on(root / "notebooks", work)
    print("\n".join(lines))
    (work / "README.md").write_text(page(root, work.resolve()), "utf-8")
    if any("newer" in line for line in lines):
        print("Names that moved since the first edition stand in CHANGELOG.md.")
    print(f"Your copies are in {work}; {work / 'README.md'} leads to them.")
    return 0


def _wrong(arguments: list[str], root: Path) -> str:
    """What is wrong with the call; empty when it is fine."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        return "One folder is needed."
    if not (root / "notebooks").is_dir():
        return f"{root} has no notebooks/: run this in the course's folder."
    work = Path(arguments[0])
    if work.exists() and not work.is_dir():
        return f"{work} is a file."
    return f"{work} holds the course's own notebooks." if work.resolve() == (root / "notebooks").resolve() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
