"""The manifests that the notebooks show, as files: a notebook hands them over while it runs.

python -m mlinfra.study.manifests    runs the notebooks and writes build/manifests/NN_notebook/kind-name.yaml
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from mlinfra.manifest import Manifest, to_yaml

FOLDER = "MLINFRA_MANIFESTS"
"""The environment variable that names the folder; where it is not set, nothing is written."""

CELL_LIMIT_S = 1_800
"""Seconds that only a cell that hangs needs."""


def hand_over(documents: Sequence[Manifest]) -> None:
    """Write what was shown and accepted, a file an object; the documents of a compiled pipeline are one file."""
    if FOLDER not in os.environ or not documents:
        return
    for together in [documents] if "pipelineInfo" in documents[0] else [[document] for document in documents]:
        text = "---\n".join(map(to_yaml, together))
        path = _free_path(Path(os.environ[FOLDER]), _name(together[0]), text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _free_path(folder: Path, name: str, text: str) -> Path:
    """name.yaml; the second of that name with another content is name-2.yaml."""
    for number in count(1):
        path = folder / (f"{name}.yaml" if number == 1 else f"{name}-{number}.yaml")
        if not path.exists() or path.read_text("utf-8") == text:
            return path
    raise AssertionError("there is always a free number")


def _name(document: Manifest) -> str:
    """An object's kind and name; a configuration has no name, and a compiled pipeline neither, but one of its own."""
    if "pipelineInfo" in document:
        return f"pipeline-{document['pipelineInfo']['name']}"
    metadata = document.get("metadata", {})
    name = metadata.get("name") or metadata.get("generateName", "").rstrip("-")
    return "-".join(filter(None, [document["kind"].lower(), name]))


def run(notebook: Path, folder: Path) -> str:
    """Run a notebook for its manifests, which replace those in the folder; what is missing, if it cannot run here."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    shutil.rmtree(folder, ignore_errors=True)
    settings: dict[str, Any] = {"timeout": CELL_LIMIT_S, "extra_arguments": ["--log-level=ERROR"]}
    place = {"metadata": {"path": notebook.parent}}
    client = NotebookClient(nbformat.read(notebook, as_version=4), resources=place, **settings)
    try:
        client.execute(env={**os.environ, FOLDER: str(folder)})
    except CellExecutionError as error:
        if missing := re.search(r"this notebook needs ([^:]+): (.*)", error.evalue):
            return f"not run: {missing[1]} is not installed. {missing[2]}"
        raise
    return ""


def main(arguments: list[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    notebooks = sorted(Path("notebooks").glob("*.ipynb"))
    if arguments or not notebooks:
        wrong = f"no such argument: {arguments[0]}" if arguments else "no notebooks/ here"
        print(f"{wrong}. Run it in the course's folder: python -m mlinfra.study.manifests", file=sys.stderr)
        return 2
    build = Path("build", "manifests")
    print(f"Running {len(notebooks)} notebooks for what they show; some two minutes.", flush=True)
    for notebook in notebooks:
        print(f"  {notebook.stem:24}", end="", flush=True)
        started = time.monotonic()
        missing = run(notebook.resolve(), (build / notebook.stem).resolve())
        files = len(list((build / notebook.stem).glob("*.yaml")))
        print(missing or f"{files:3} manifests, {time.monotonic() - started:.0f} s", flush=True)
    print(f"In {build}: try `kubectl apply --dry-run=server --recursive --filename {build}` on a cluster of your own.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
