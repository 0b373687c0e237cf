"""Rules of charts, releases and rollouts, by class; and of what a release is given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from mlinfra.admission.common import no_pods
from mlinfra.admission.rules import (
    Check,
    Field,
    Problem,
    dns_label,
    label_value,
)


def chart(noun: Field) -> Iterator[Problem]:
    for path in noun["files"].value:
        if path.startswith("/") or ".." in path.split("/") or not path:
            yield Field(path, "files").invalid("must be a path below the chart's folder")


_NUMBER, _WORD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
SEMVER = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_WORD}(\.{_WORD})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"


def chart_versions(name: str, version: str, app_version: str) -> Iterator[Problem]:
    """Name and versions become labels, and the app's version the tag of an image."""
    yield from _name(Field(name, "name"))
    if not re.fullmatch(SEMVER, version, re.ASCII):
        yield Field(version, "version").invalid("version is not a valid SemVer")
    yield from label_value(Field(app_version, "appVersion")) if app_version else [Field("", "appVersion").required()]
    yield from label_value(Field(f"{name}-{version.replace('+', '_')}", "metadata.labels[helm.sh/chart]"))


def release(name: str, namespace: str) -> Iterator[Problem]:
    """Helm allows dots and 53 characters; Services, which are named after the release, allow no dots."""
    yield from _name(Field(name, "name"))
    if len(name) > 53:
        yield Field(name, "name").invalid("must be no more than 53 characters")
    yield from _name(Field(namespace, "namespace"))


def _name(name: Field) -> Iterator[Problem]:
    yield from dns_label(name) if name.value else [name.required()]


def values(values: Mapping[str, object]) -> Iterator[Problem]:
    """Values are what JSON has; YAML reads an unquoted 2026-01-01 as a date."""
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield Field(str(values), "values").invalid(f"must be text, numbers, maps and lists: {error}")


def rollout(noun: Field) -> Iterator[Problem]:
    """A rolling update may not stand still, and the old pods have their GPUs."""
    if no_pods(noun["max_surge"].value) and no_pods(noun["max_unavailable"].value):
        yield noun["max_unavailable"].invalid("may not be 0 when `maxSurge` is 0")
    if noun["gpus"].value < noun["replicas"].value:
        yield noun["gpus"].invalid("must be at least one per replica: the old ones hold them")
    if noun["progress_deadline_s"].value == 0:
        yield noun["progress_deadline_s"].invalid("must be greater than minReadySeconds")


def only_rolling(deployment: Field) -> Iterator[Problem]:
    """A Deployment whose pods are replaced one after the other."""
    strategy = deployment["spec"]["strategy"]["type"]
    if strategy.value == "Recreate":
        yield strategy.forbidden("only a RollingUpdate is simulated")


RULES: dict[str, Check] = {"Chart": chart, "Rollout": rollout}
