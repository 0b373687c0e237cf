"""`mlinfra validate`: the verdict of the server, webhook or controller on every object; pitfalls of a pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlinfra.admission import ApiWarning, Problem, validate
from mlinfra.commands.report import FINE, REFUSED, Report, UsageError, read
from mlinfra.documents import parse, read_text
from mlinfra.manifest import Manifest, loads
from mlinfra.tables import plural

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
    count = plural(len(rows), "object")
    end = f"{count}, {refused} refused." if refused else f"{count}, all accepted."
    text = "\n".join([*map(as_text, rows), "", end])
    return Report(text, {"objects": rows}, REFUSED if refused else FINE)


def verdicts(path: str, values: list[str]) -> list[dict[str, Any]]:
    """One for each object of a file or chart; Helm may already refuse the chart."""
    if path == "-" or not Path(path).is_dir():
        return [{"file": path, **verdict(obj)} for obj in whole_pipelines(read(path))]
    from mlinfra.helm.engine import HelmFailed

    chart = rendered(Path(path), values)
    try:
        return [{"file": path, **verdict(obj)} for obj in chart]
    except (HelmFailed, ValueError) as refusal:
        return [{"file": path, "kind": "Chart", "name": Path(path).name, "problems": [str(refusal)], "warnings": []}]


def whole_pipelines(documents: list[Manifest]) -> list[Manifest]:
    """The objects; the second document of a compiled pipeline, its `platforms`, joins the first."""
    objects: list[Manifest] = []
    for document in documents:
        if objects and "pipelineInfo" in objects[-1] and document.keys() == {"platforms"}:
            objects[-1] = {**objects[-1], **document}
        else:
            objects.append(document)
    return objects


def rendered(folder: Path, values: list[str]) -> Iterator[Manifest]:
    """The objects that Helm renders from a chart; of several values files the later ones win."""
    from mlinfra.helm.chart import layered
    from mlinfra.helm.engine import engine

    if not (folder / "Chart.yaml").is_file():
        raise UsageError(f"{folder}: is a folder without Chart.yaml: give files, or a chart")
    merged = layered(*map(values_of, values))
    try:
        helm = engine()
    except ModuleNotFoundError as error:
        raise UsageError(f"{folder}: is a chart, and there is {error}") from None
    return objects_of(lambda: helm.render(folder, merged, release="release", namespace="default"))


def objects_of(render: Callable[[], Mapping[str, str]]) -> Iterator[Manifest]:
    """The objects of the texts, by the names of their templates; a template may render to nothing."""
    for name, text in sorted(render().items()):
        if not name.endswith("NOTES.txt") and parse(text, name):
            yield from loads(text, name)


def values_of(path: str) -> Manifest:
    """The map of a values file; empty for an empty file."""
    try:
        documents = parse(read_text(path), path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if len(documents) > 1 or not all(isinstance(document, dict) for document in documents):
        raise UsageError(f"{path}: must hold one map of values")
    return documents[0] if documents else {}


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
