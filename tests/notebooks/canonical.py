"""Runs notebooks and stores them canonically, so that running them again gives the same bytes.

python tests/notebooks/canonical.py [--check] NOTEBOOK...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KEPT = ("tags", "jupyter", "jp-MarkdownHeadingCollapsed")
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel, none of the stored ones left."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    place = {"metadata": {"path": str(path.parent)}}
    quiet = ["--log-level=ERROR"]
    settings: dict[str, Any] = {
        "timeout": 1_800,
        "record_timing": False,
        "store_widget_state": False,
        "extra_arguments": quiet,
    }
    NotebookClient(notebook, resources=place, **settings).execute()
    return canonical(notebook)


def canonical(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what differs from run to run: widget ids, stream chunks, timings, the language's version."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT})
        if cell.cell_type == "code":
            cell.outputs = merged(cell.outputs)
    nbformat.validate(notebook)
    return notebook


def merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Adjacent chunks of one stream joined: where they were cut is timing, their order is content."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        if "data" in output:
            output.data.pop(WIDGET_VIEW, None)
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def dumps(notebook: nbformat.NotebookNode) -> str:
    """The text of a notebook file."""
    return str(nbformat.writes(notebook, version=4)).rstrip("\n") + "\n"


def main(arguments: list[str]) -> int:
    paths = [Path(a) for a in arguments if a != "--check"] or NOTEBOOKS
    stale = 0
    for path in paths:
        print(f"running    {path.name}", flush=True)
        fresh = dumps(execute(path))
        same = fresh == path.read_text("utf-8")
        stale += not same
        if "--check" not in arguments:
            path.write_text(fresh, "utf-8")
        print(f"{'same' if same else 'differs' if '--check' in arguments else 'refreshed'}  {path}")
    return int("--check" in arguments and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
