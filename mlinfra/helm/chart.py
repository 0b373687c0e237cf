"""A Helm chart as a map from path to text, and the course's own: an inference service on GPUs.

Templates are text files (in `files/`), never the output of a YAML dumper: a dumper quotes what Helm must fill in.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mlinfra import manifest
from mlinfra.helm.engine import HelmFailed, Values, engine
from mlinfra.manifest import Field, Invalid, Manifest, Problem, check, dns_label

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

    @classmethod
    def inference(cls, name: str = "bert-inference", version: str = "1.2.0", app_version: str = "2.0.0") -> Chart:
        """The course's chart; Invalid when name or version is none."""
        given = Field({"name": name, "version": version, "appVersion": app_version})
        check("chart", [*_name(given["name"]), *_semantic(given["version"]), *_version(given["appVersion"])])
        ours = {path: text for path, text in _files().items() if not path.startswith("environments/")}
        about = CHART_YAML.format(name=name, version=version, app_version=app_version)
        return cls({"Chart.yaml": about, "Chart.lock": CHART_LOCK} | ours)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The defaults, from values.yaml."""
        import yaml

        return dict(yaml.safe_load(self.files.get("values.yaml", "")) or {})

    def lint(self, values: Values | None = None) -> list[str]:
        """What Helm's strict linter objects to; it looks at text and knows no Kubernetes schema."""
        return [line.replace(f"{self.folder}", "chart") for line in engine().lint(self.folder, values or {})]

    def render(
        self, values: Values | None = None, release: str = "bert-inference", namespace: str = "ml-production"
    ) -> dict[str, str]:
        """What Helm makes of each template, by path; Invalid in Helm's words, a line for each bad value."""
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
        found: list[Manifest] = []
        for name in sorted(name for name in rendered if not name.endswith("NOTES.txt")):
            try:
                found += [obj for obj in yaml.safe_load_all(rendered[name]) if obj]
            except yaml.YAMLError as error:
                raise Invalid(f"release {release}", [Problem(name, " ".join(str(error).split()))]) from error
        return found

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
        check("environment", [Field(name, "name").unsupported([Path(path).stem for path in known])])
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


Validator = Callable[[Manifest], list[Problem]]


def validate(objects: Sequence[Manifest], others: Mapping[str, Validator] | None = None) -> list[Problem]:
    """Why the API server would refuse them, each by kind and name; `others` judge kinds of custom resources."""
    found = []
    for obj in objects:
        judge = (others or {}).get(str(obj.get("kind")), manifest.validate)
        at = f"{obj.get('kind')}/{(obj.get('metadata') or {}).get('name')}"
        found += [Problem(f"{at}: {problem.path}", problem.message) for problem in judge(obj)]
    return found


def _name(name: Field) -> Iterator[Problem]:
    yield from [name.required()] if not name.value else dns_label(name)


def _semantic(version: Field) -> Iterator[Problem]:
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[-.0-9A-Za-z]+)?(\+[-.0-9A-Za-z]+)?", str(version.value)):
        yield version.invalid("version is not a valid SemVer")


def _version(version: Field) -> Iterator[Problem]:
    if not isinstance(version.value, str) or not re.fullmatch(r"[-.+0-9A-Za-z]+", version.value):
        yield version.invalid("must be a version, as text")


def _refusals(said: str) -> list[Problem]:
    """One problem for each value that the schema refuses; of anything else what Helm said."""
    lines = re.findall(r"^- at '/?([^']*)': (.*(?:\n  .*)*)", said, re.M)
    of_schema = [Problem(path.replace("/", ".") or "values", why) for path, why in lines]
    return sorted(of_schema) or [Problem("templates", " ".join(said.split()))]
