"""Helm itself: the Go SDK in the wheel helm-python-sdk (0.2.2, Helm v4.2.3), or the `helm` on the PATH without it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

Values = Mapping[str, Any]
KUBERNETES = "v1.37.0"


class HelmFailed(Exception):
    """What Helm said when it refused."""


class Engine(Protocol):
    """The three things that this course asks of Helm; a chart is a folder."""

    def lint(self, chart: Path, values: Values) -> list[str]:
        """What strict linting objects to."""

    def render(self, chart: Path, values: Values, release: str, namespace: str) -> dict[str, str]:
        """Rendered text by the path of its template, hooks included. HelmFailed when it cannot be rendered."""

    def package(self, chart: Path, destination: Path) -> Path:
        """The chart as an archive in the destination."""


@contextlib.contextmanager
def _without_its_log() -> Iterator[None]:
    """Go logs on the file descriptor, past sys.stderr; what matters it says in its errors."""
    original = os.dup(2)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)


class SDK:
    """Helm's Go code in this process."""

    def lint(self, chart: Path, values: Values) -> list[str]:
        import helm_python

        try:
            with _without_its_log():
                report = helm_python.lint(str(chart), dict(values), strict=True, kube_version=KUBERNETES)
        except helm_python.HelmError as refusal:
            raise HelmFailed(str(refusal).strip()) from refusal
        return [str(error) for error in report["errors"]]

    def render(self, chart: Path, values: Values, release: str, namespace: str) -> dict[str, str]:
        import helm_python

        try:
            with _without_its_log(), helm_python.Chart.load(str(chart)) as loaded:
                return dict(loaded.render(dict(values), name=release, namespace=namespace))
        except helm_python.HelmError as refusal:
            raise HelmFailed(str(refusal).strip()) from refusal

    def package(self, chart: Path, destination: Path) -> Path:
        import helm_python

        try:
            return Path(helm_python.package(str(chart), destination=str(destination)))
        except helm_python.HelmError as refusal:
            raise HelmFailed(str(refusal).strip()) from refusal


class CommandLine:
    """The `helm` on the PATH."""

    def lint(self, chart: Path, values: Values) -> list[str]:
        done = self._run("lint", str(chart), "--strict", "--kube-version", KUBERNETES, values=values)
        lines = (done.stdout + done.stderr).splitlines()
        return [line for line in lines if line.startswith(("[ERROR]", "[WARNING]"))]

    def render(self, chart: Path, values: Values, release: str, namespace: str) -> dict[str, str]:
        done = self._run("template", release, str(chart), "--namespace", namespace, values=values)
        texts: dict[str, str] = {}
        for document in ("\n" + self._output(done)).split("\n---\n# Source: ")[1:]:
            path, _, text = document.partition("\n")
            texts[path] = f"{texts[path]}---\n{text}\n" if path in texts else f"{text}\n"
        return texts

    def package(self, chart: Path, destination: Path) -> Path:
        message = self._output(self._run("package", str(chart), "--destination", str(destination)))
        return Path(message.rpartition(": ")[2].strip())

    def _run(self, *arguments: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
        from_input = ["--values", "-"] if values else []  # JSON is YAML
        text = json.dumps(values) if values else None
        return subprocess.run(
            ["helm", *arguments, *from_input], input=text, capture_output=True, text=True, check=False
        )

    def _output(self, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode:
            raise HelmFailed(done.stderr.strip().removeprefix("Error: "))
        return done.stdout


def engine() -> Engine:
    """The SDK where it is installed, else the `helm` on the PATH; ModuleNotFoundError when there is neither."""
    if find_spec("helm_python"):
        return SDK()
    if shutil.which("helm"):
        return CommandLine()
    raise ModuleNotFoundError("no Helm: pip install helm-python-sdk (Linux), or put `helm` 4 on the PATH")
