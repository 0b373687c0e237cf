"""`mlinfra validate`: the verdict of the server, webhook or controller on every object; pitfalls of a pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlinfra.admission import ApiWarning, Problem, validate
from mlinfra.commands.report import FINE, REFUSED, Report, UsageError, read
from mlinfra.manifest import Manifest, loads

EXAMPLE = """example:
  kubectl get hpa,deployments -o yaml | python -m mlinfra validate -
  python -m mlinfra validate deploy/*.yaml charts/bert-classifier"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="YAML or JSON; - for standard input; or a chart's folder"
    )
    parser.add_argument("--values", action="append", default=[], metavar="FILE", help="a values file for the chart")


def run(arguments: argparse.Namespace) -> Report:
    """A line for each object, and below it what is refused or said with a warning."""
    rows = [row for path in arguments.files for row in verdicts(path, arguments.values)]
    refused = sum(bool(row["problems"]) for row in rows)
    count = f"{len(rows)} object{'s' * (len(rows) != 1)}"
    end = f"{count}, {refused} refused." if refused else f"{count}, all accepted."
    text = "\n".join([*map(as_text, rows), "", end])
    return Report(text, {"objects": rows}, REFUSED if refused else FINE)


def verdicts(path: str, values: list[str]) -> list[dict[str, Any]]:
    """One for each object of a file or chart; Helm may already refuse the chart."""
    from mlinfra.helm.engine import HelmFailed

    try:
        objects = read(path) if path == "-" or not Path(path).is_dir() else rendered(Path(path), values)
    except HelmFailed as refusal:
        return [{"file": path, "kind": "Chart", "name": Path(path).name, "problems": [str(refusal)], "warnings": []}]
    return [{"file": path, **verdict(obj)} for obj in whole_pipelines(objects)]


def whole_pipelines(documents: list[Manifest]) -> list[Manifest]:
    """The objects; the second document of a compiled pipeline, its `platforms`, joins the first."""
    objects: list[Manifest] = []
    for document in documents:
        if objects and "pipelineInfo" in objects[-1] and document.keys() == {"platforms"}:
            objects[-1] = {**objects[-1], **document}
        else:
            objects.append(document)
    return objects


def rendered(folder: Path, values: list[str]) -> list[Manifest]:
    """The objects that Helm renders from a chart; of several values files the later ones win."""
    from mlinfra.helm.engine import engine

    if not (folder / "Chart.yaml").is_file():
        raise UsageError(f"{folder}: is a folder without Chart.yaml: give files, or a chart")
    merged: Manifest = {}
    for path in values:
        merged = overlaid(merged, read(path)[0])
    texts = engine().render(folder, merged, release="release", namespace="default")
    named = {name: text for name, text in sorted(texts.items()) if text.strip() and not name.endswith("NOTES.txt")}
    return [obj for name, text in named.items() for obj in loads(text, name)]


def overlaid(below: Manifest, above: Manifest) -> Manifest:
    """Values as Helm lays one file over another: maps are merged, everything else is replaced."""
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = overlaid(merged[name], value) if both else value
    return merged


def verdict(obj: Manifest) -> dict[str, Any]:
    """What is refused, and what is accepted with a word, such as that it was checked by its schema alone."""
    found = validate(obj)
    about = obj.get("pipelineInfo" if "pipelineInfo" in obj and "kind" not in obj else "metadata")
    name = str(about.get("name", "")) if isinstance(about, dict) else ""
    return {
        "kind": str(obj.get("kind", "Pipeline" if "pipelineInfo" in obj else "")),
        "name": name,
        "problems": [str(each) for each in found if isinstance(each, Problem)],
        "warnings": [str(each) for each in found if isinstance(each, ApiWarning)],
    }


def as_text(row: dict[str, Any]) -> str:
    mark = "refused" if row["problems"] else "accepted"
    lines = [f"  {line}" for line in (*row["problems"], *row["warnings"])]
    return "\n".join([f"{mark}  {row['kind']}/{row['name']}  ({row['file']})", *lines])
