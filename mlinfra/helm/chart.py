"""A Helm chart as a map from path to text, and the course's own: an inference service on GPUs.

Templates are text files (in `files/`), never the output of a YAML dumper: a dumper quotes what Helm must fill in.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mlinfra import admission
from mlinfra.admission.nouns import helm as rules
from mlinfra.admission.rules import ApiWarning, Field, Invalid, Problem, refuse
from mlinfra.helm.engine import HelmFailed, Values, engine
from mlinfra.manifest import Manifest

FILES = Path(__file__).parent / "files"
EPOCH = 315_532_800  # 1980, where the times of archives begin
SWITCHES = (
    "autoscaling.enabled",
    "gpu.enabled",
    "ingress.enabled",
    "kserve.enabled",
    "monitoring.enabled",
    "networkPolicy.enabled",
    "podDisruptionBudget.enabled",
    "redis.enabled",
    "serviceAccount.create",
)
"""The values of the course's chart that turn something on or off."""

CHART_YAML = """\
apiVersion: v2
name: {name}
description: An inference service on GPUs
type: application
version: {version}
appVersion: "{app_version}"
kubeVersion: ">=1.34.0-0"
icon: https://example.com/{name}.svg
dependencies:
  - name: redis
    version: 0.1.0
    repository: ""
    condition: redis.enabled
"""
CHART_LOCK = """\
dependencies:
- name: redis
  repository: ""
  version: 0.1.0
digest: sha256:bc919ce49575c64e3e042f066444e450732f570d126e1bde637005c77cce8caa
generated: "2026-11-23T00:00:00Z"
"""
"""The digest covers names, versions and repositories of the dependencies, not their content."""


@dataclass(frozen=True)
class Chart:
    """Files by path, as Helm finds them in the chart's folder."""

    files: Mapping[str, str]

    def __post_init__(self) -> None:
        admission.check(self)

    @classmethod
    def inference(cls, name: str = "bert-inference", version: str = "1.2.0", app_version: str = "2.0.0") -> Chart:
        """The course's chart; Invalid when name or version is none."""
        refuse("chart", rules.chart_versions(name, version, app_version))
        ours = {path: text for path, text in _files().items() if not path.startswith("environments/")}
        about = CHART_YAML.format(name=name, version=version, app_version=app_version)
        return cls({"Chart.yaml": about, "Chart.lock": CHART_LOCK} | ours)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The defaults, from values.yaml."""
        import yaml

        try:
            values = yaml.safe_load(self.files.get("values.yaml", "")) or {}
        except yaml.YAMLError as error:
            raise Invalid("chart", [Problem("values.yaml", " ".join(str(error).split()))]) from error
        refuse("chart", [] if isinstance(values, Mapping) else [Problem("values.yaml", "must be a map")])
        return dict(values)

    def lint(self, values: Values | None = None) -> list[str]:
        """What Helm's strict linter objects to; it looks at text and knows no Kubernetes schema."""
        try:
            lines = engine().lint(self.folder, values or {})
        except HelmFailed as refusal:
            raise Invalid("chart", _refusals(str(refusal))) from refusal
        return [_in_order(line.replace(f"{self.folder}", "chart")) for line in lines]

    def render(
        self, values: Values | None = None, release: str = "bert-inference", namespace: str = "ml-production"
    ) -> dict[str, str]:
        """What Helm makes of each template, by path; Invalid in Helm's words, a line for each bad value."""
        refuse("release", rules.release(release, namespace))
        refuse("values", rules.values(values or {}))
        try:
            rendered = engine().render(self.folder, values or {}, release, namespace)
        except HelmFailed as refusal:
            raise Invalid(f"release {release}", _refusals(str(refusal))) from refusal
        return {name.partition("/")[2]: text for name, text in rendered.items() if text.strip()}

    def objects(
        self, values: Values | None = None, release: str = "bert-inference", namespace: str = "ml-production"
    ) -> list[Manifest]:
        """The objects of a release, hooks included, in the order of their files; Invalid when a text is no YAML."""
        import yaml

        rendered = self.render(values, release, namespace)
        objects: list[Manifest] = []
        for name in sorted(name for name in rendered if not name.endswith("NOTES.txt")):
            try:
                objects += [obj for obj in yaml.safe_load_all(rendered[name]) if obj]
            except yaml.YAMLError as error:
                raise Invalid(f"release {release}", [Problem(name, " ".join(str(error).split()))]) from error
        return objects

    def package(self, destination: Path) -> Path:
        """The archive that one publishes; the same bytes for the same files."""
        try:
            return engine().package(self.folder, destination)
        except HelmFailed as refusal:
            raise Invalid("chart", _refusals(str(refusal))) from refusal

    @property
    def folder(self) -> Path:
        """The files on disk, where Helm wants them, for as long as the chart lives."""
        return Path(self._temporary.name) / "chart"

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        """Every file is as old as archives can be, so that packages of the same files are the same bytes."""
        temporary = tempfile.TemporaryDirectory()
        for name, text in self.files.items():
            path = Path(temporary.name) / "chart" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            os.utime(path, (EPOCH, EPOCH))
        return temporary


@lru_cache(maxsize=1)
def _files() -> dict[str, str]:
    paths = sorted(path for path in FILES.rglob("*") if path.is_file())
    return {path.relative_to(FILES).as_posix(): path.read_text("utf-8") for path in paths}


def environment(name: str) -> dict[str, Any]:
    """The values of an environment: development, staging or production."""
    import yaml

    known = {path: text for path, text in _files().items() if path.startswith("environments/")}
    if f"environments/{name}.yaml" not in known:
        refuse("environment", [Field(name, "name").unsupported([Path(path).stem for path in known])])
    return dict(yaml.safe_load(known[f"environments/{name}.yaml"]))


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Values laid over each other as Helm does: maps merge key by key, anything else replaces, null stays to delete."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both_maps = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = layered(merged[key], value) if both_maps else deepcopy(value)
    return merged


def with_values(path: str, value: Any) -> dict[str, Any]:
    """Values with one thing set, as `--set path=value`."""
    head, _, rest = path.partition(".")
    return {head: with_values(rest, value) if rest else value}


def validate(objects: Sequence[Manifest]) -> list[Problem | ApiWarning]:
    """Why the API server would refuse the objects of a chart, each by kind and name."""
    verdict: list[Problem | ApiWarning] = []
    for obj in objects:
        metadata = obj.get("metadata") if isinstance(obj, Mapping) else None
        at = f"{obj['kind']}/{metadata.get('name')}" if isinstance(metadata, Mapping) and "kind" in obj else "object"
        verdict += [each._replace(path=f"{at}: {each.path}") for each in admission.validate(obj)]
    return verdict


def mistyped(objects: Sequence[Manifest]) -> list[Problem]:
    """Every value of a wrong type, each by kind and name; the server names the first of an object and stops."""
    from mlinfra.admission import schema

    problems: list[Problem] = []
    for obj in objects:
        of_kind = schema.of_kind(str(obj["apiVersion"]), str(obj["kind"])) or {}
        at = f"{obj['kind']}/{obj['metadata']['name']}"
        for each in schema.decode(Field(obj), of_kind).mistyped:
            problems.append(each._replace(path=f"{at}: {each.path}"))
    return problems


def _in_order(line: str) -> str:
    """Helm names several unknown keys in any order."""
    return re.sub(
        r"(?<=additional properties )(.*)(?= not allowed)", lambda m: ", ".join(sorted(m[1].split(", "))), line
    )


def _refusals(text: str) -> list[Problem]:
    """One problem for each value that the schema refuses; of anything else what Helm said."""
    lines = re.findall(r"^- at '/?([^']*)': (.*(?:\n  .*)*)", text, re.M)
    of_schema = [Problem(path.replace("/", ".") or "values", _in_order(why)) for path, why in lines]
    return sorted(of_schema) or [Problem("templates", " ".join(text.split()))]
