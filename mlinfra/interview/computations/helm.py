"""The computations of notebook 06's cards: Helm."""

from __future__ import annotations

import math
from textwrap import dedent
from typing import Any

from mlinfra.helm import Chart, chart, upgrade
from mlinfra.helm.deployment import Rollout
from mlinfra.interview.computations.computed import Numbers


def chart_rejected() -> Numbers:
    """Fields that a strict schema refuses in a Deployment whose template quotes every expression."""
    quoted = """\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: bert, labels: '{{ include "l" . | nindent 4 }}'}
        spec:
          replicas: '{{ .Values.replicas }}'
          selector: {matchLabels: '{{ include "l" . | nindent 6 }}'}
          template:
            metadata: {labels: '{{ include "l" . | nindent 8 }}'}
            spec:
              containers:
                - name: server
                  image: bert:1.0.0
                  ports: [{containerPort: '{{ .Values.port }}'}]
                  resources: '{{ toYaml .Values.resources | nindent 12 }}'
        """
    files = {
        "Chart.yaml": "apiVersion: v2\nname: bert\nversion: 1.0.0\n",
        "values.yaml": "replicas: 2\nport: 8080\nresources: {limits: {cpu: '1'}}\n",
        "templates/_helpers.tpl": '{{ define "l" }}app: bert{{ end }}',
        "templates/deployment.yaml": dedent(quoted),
    }
    lint_findings = Chart(files).lint()
    refused_fields = len(chart.mistyped(Chart(files).objects()))
    return Numbers(refused_fields, {"refused_fields": refused_fields, "lint_findings": len(lint_findings)})


def upgrade_and_rollback() -> Numbers:
    """Replicas right after a client-side upgrade that takes `replicas` out of the chart."""

    def deployment(**spec: int) -> dict[str, Any]:
        return {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}

    with_line, without_line, scaled_to_8 = deployment(replicas=2), deployment(), deployment(replicas=8)
    after_client = upgrade.patched(with_line, without_line, scaled_to_8)["spec"]["replicas"]
    every_upgrade = upgrade.patched(with_line, with_line, scaled_to_8)["spec"]["replicas"]
    installed = upgrade.Managed({}).apply(upgrade.HELM, with_line)
    scaled = installed.update(upgrade.HPA, ("spec", "replicas"), 8)
    after_server = scaled.apply(upgrade.HELM, without_line).obj["spec"]["replicas"]
    named = {"after_client": after_client, "every_upgrade": every_upgrade, "after_server": after_server}
    return Numbers(after_client, named)


def forty_models() -> Numbers:
    """Files of values for forty models in three environments, in layers."""
    models, environments, switches = 40, 3, 9
    values_files = models + environments
    named = {
        "values_files": values_files,
        "releases_count": models * environments,
        "combinations_of_nine": 2**switches,
    }
    return Numbers(values_files, named)


def broken_install() -> Numbers:
    """Installs a month that fail because a repository is there only 99.9 % of the time."""
    installs_a_month = 120 * 30
    failed_installs = round(installs_a_month * (1 - 0.999), 1)
    return Numbers(failed_installs, {"installs_a_month": installs_a_month, "failed_installs": failed_installs})


def release_without_failures() -> Numbers:
    """Minutes to replace 20 replicas with a surge of 5, when a new one needs 172 s."""
    surge_five = Rollout(20, 5, 0).simulate()
    done_s = surge_five.done_s or math.inf  # it has none when it is stuck
    named = {
        "surge_five": surge_five,
        "one_by_one": Rollout(20, 0, 1, gpus=20).simulate(),
        "default_25_percent": Rollout(20).simulate(),
        "no_spare": Rollout(20, 1, 0, gpus=20).simulate(),
        "long_drain": Rollout(20, 5, 0, drain_s=600, gpus=25).simulate(),
        "waves": done_s / 172,
        "extra_gpu_hours": surge_five.gpu_hours() - 20 * done_s / 3600,
    }
    return Numbers(round(done_s / 60, 1), named)
