"""The reader's own copies of the notebooks, and the manifests that the notebooks show.

python -m mlinfra.study.copies work         copies without outputs, made once and never overwritten
python -m mlinfra.study.copies manifests    every accepted manifest shown, in build/manifests
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from mlinfra.study.listing import REFUSED


def work_on(originals: Path, work: Path) -> list[str]:
    """Copy what is not there yet; say which originals have changed since they were copied."""
    fresh = {original: _unanswered(original) for original in sorted(originals.glob("*.ipynb"))}
    work.mkdir(exist_ok=True)
    ledger = work / ".copied.json"
    copied: dict[str, str] = _read(ledger) if ledger.exists() else {}
    said = []
    for original, text in fresh.items():
        copy, digest = work / original.name, hashlib.sha256(original.read_bytes()).hexdigest()
        if not copy.exists():
            copy.write_text(text, "utf-8")
            copied[original.name] = digest
            said.append(f"copied {original.name}")
        elif copied.get(original.name) != digest:
            said.append(f"{original.name}: the course has a newer one. Yours is kept; rename it to get the new one.")
    ledger.write_text(json.dumps(copied, indent=1), "utf-8")
    return said


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


def write_manifests(originals: Path, build: Path) -> list[Path]:
    """One file a manifest that a notebook shows and that is accepted: build/manifests/NN_notebook/kind-name.yaml.

    The second of the same kind and name is kind-name-2.yaml.
    """
    written = []
    for original in sorted(originals.glob("*.ipynb")):
        folder, times = build / "manifests" / original.stem, Counter[str]()
        for text in _shown(json.loads(original.read_text("utf-8"))):
            name = _name(next(yaml.safe_load_all(text)))
            folder.mkdir(parents=True, exist_ok=True)
            times[name] += 1
            path = folder / (f"{name}.yaml" if times[name] == 1 else f"{name}-{times[name]}.yaml")
            path.write_text(text, "utf-8")
            written.append(path)
    return written


def _name(obj: dict[str, Any]) -> str:
    """An object's kind and name; of a compiled pipeline, which is none, the pipeline's name."""
    if "pipelineInfo" in obj:
        return f"pipeline-{obj['pipelineInfo']['name']}"
    metadata = obj["metadata"]
    return f"{obj['kind'].lower()}-{metadata.get('name') or metadata['generateName'].rstrip('-')}"


def _shown(notebook: dict[str, Any]) -> list[str]:
    """The text of every listing in YAML in which nothing is refused."""
    bundles = [output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", [])]
    listed = [bundle for bundle in bundles if "```yaml\n" in "".join(bundle.get("text/markdown", ""))]
    texts = ["".join(bundle["text/plain"]) for bundle in listed]
    return [text for text in texts if REFUSED not in text]


def main(arguments: list[str]) -> int:
    root = Path.cwd()
    if arguments == ["work"]:
        lines = work_on(root / "notebooks", root / "work")
    elif arguments == ["manifests"]:
        lines = [str(path.relative_to(root)) for path in write_manifests(root / "notebooks", root / "build")]
    else:
        lines = [__doc__ or ""]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
