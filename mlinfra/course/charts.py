"""Charts that go wrong, values that are refused, and the small objects on which notebook 6 shows an upgrade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from typing import Any

from mlinfra import Invalid
from mlinfra.helm import Chart
from mlinfra.manifest import Manifest

CHART = "apiVersion: v2\nname: bert\nversion: 1.2.0\nicon: https://example.com/bert.svg\n"

QUOTED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: bert
  labels: '{{- include "labels" . | nindent 4 }}'
spec:
  replicas: '{{ .Values.replicaCount }}'
  selector:
    matchLabels: '{{- include "labels" . | nindent 6 }}'
  template:
    metadata:
      labels: '{{- include "labels" . | nindent 8 }}'
    spec:
      containers:
        - name: server
          image: '{{ .Values.image }}'
          ports:
            - containerPort: '{{ .Values.port }}'
          resources: '{{ toYaml .Values.resources | nindent 12 }}'
"""

QUOTED_VALUES = """\
replicaCount: 2
image: registry.example.com/bert-server:2.0.0
port: 8080
resources:
  limits:
    cpu: "1"
"""


def quoted() -> Chart:
    """A chart with one Deployment, whose template has quotes around every expression."""
    return Chart(
        {
            "Chart.yaml": CHART,
            "values.yaml": QUOTED_VALUES,
            "templates/_helpers.tpl": '{{ define "labels" }}app: bert{{ end }}',
            "templates/deployment.yaml": QUOTED,
        }
    )


def replicas_line(line: str, count: Any) -> Any:
    """What `spec.replicas` becomes when the template has this line and the values have this `replicaCount`."""
    chart = Chart({"Chart.yaml": CHART, "templates/deployment.yaml": f"spec:\n  {line.strip()}\n"})
    spec = chart.objects({"replicaCount": count})[0]["spec"]
    return spec.get("replicas") if isinstance(spec, Mapping) else spec


def with_missing_dependency() -> Chart:
    """The same chart with a dependency that is declared and does not lie in `charts/`."""
    dependency = "{name: redis, version: 17.0.0, repository: https://charts.bitnami.com/bitnami}"
    files = quoted().files
    return Chart({**files, "Chart.yaml": f"{CHART}dependencies:\n- {dependency}\n"})


BAD_VALUES: dict[str, dict[str, Any]] = {
    "a number as text": {"replicaCount": "2"},
    "a misspelled key": {"replicas": 2},
    "a moving tag": {"image": {"tag": "latest"}},
    "a path as text": {"ingress": {"enabled": True, "hosts": [{"host": "bert.example.com", "paths": ["/"]}]}},
    "no pod can be replaced": {"rollout": {"maxSurge": 0, "maxUnavailable": 0}},
    "a default deleted": {"model": {"storageUri": None}},
    "minimum above maximum": {"autoscaling": {"minReplicas": 5, "maxReplicas": 4}},
}


def refusal(chart: Chart, values: dict[str, Any]) -> str:
    """Helm's first objection when it renders the chart with these values; "rendered" when it has none."""
    try:
        chart.render(values)
    except Invalid as invalid:
        return str(invalid.problems[0])
    return "rendered"


def changed_lines(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    """The lines in which two renderings of a chart differ, below the path of their template."""
    for path in sorted({*before, *after}):
        texts = before.get(path, "").splitlines(), after.get(path, "").splitlines()
        for line in unified_diff(*texts, "before", path, n=0, lineterm=""):
            if not line.startswith(("--- ", "@@")):
                yield line.removeprefix("+++ ")


# ----------------------------------------------------------------------------------------------- what an upgrade sees


def deployment(replicas: int | None = None, image: str = "bert:1") -> Manifest:
    """A Deployment with one container, which says how many replicas or leaves it out."""
    count = {} if replicas is None else {"replicas": replicas}
    container = {"name": "server", "image": image}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bert"},
        "spec": {**count, "template": {"spec": {"containers": [container]}}},
    }


def selecting(**labels: str) -> Manifest:
    """The same Deployment with these labels in its selector."""
    obj = deployment(2)
    obj["spec"]["selector"] = {"matchLabels": labels}
    return obj


def service(*ports: Manifest) -> Manifest:
    """A Service with these ports."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": list(ports)}}


def image_of(obj: Manifest) -> str:
    """The image of a Deployment's first container."""
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])
