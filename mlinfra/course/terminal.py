"""What `helm` and `kubectl` print, made from the simulations: the columns and sentences of the real commands.

Helm 4.2.3 `pkg/cmd/{history,template}.go`; kubectl 1.37 `polymorphichelpers/rollout_status.go`, `cmd/apply/apply.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mlinfra.helm import Chart
from mlinfra.helm.deployment import Moment, Rollout
from mlinfra.helm.upgrade import Conflict, ReleaseHistory
from mlinfra.tables import columns


def helm_template(chart: Chart, template: str, values: Mapping[str, object] | None = None) -> str:
    """One template as `helm template CHART --show-only TEMPLATE` prints it."""
    import yaml

    name = yaml.safe_load(chart.files["Chart.yaml"])["name"]
    return f"---\n# Source: {name}/{template}\n{chart.render(dict(values or {}))[template].strip()}\n"


def helm_history(history: ReleaseHistory, chart: str, app_version: str, updated: Sequence[str]) -> str:
    """The table of `helm history`; when each revision was made is given, for a simulation has no clock."""
    rows = [("REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION")]
    for release, time in zip(history.releases, updated, strict=True):
        rows.append((str(release.revision), time, release.status, chart, app_version, release.description))
    return "\n".join(columns(rows, between="\t"))


def rollout_status(rollout: Rollout) -> str:
    """What `kubectl rollout status` prints until the rollout is complete or late; the same line is printed once."""
    return "\n".join(dict.fromkeys(_statuses(rollout)))


def _statuses(rollout: Rollout) -> Iterator[str]:
    outcome = rollout.simulate()
    for moment in outcome.moments:
        if outcome.late_s is not None and moment.at_s >= outcome.late_s:
            break
        yield _status(rollout, moment)
    if outcome.late_s is not None:
        yield f'error: deployment "{rollout.name}" exceeded its progress deadline'


def _status(rollout: Rollout, moment: Moment) -> str:
    """`DeploymentStatusViewer.Status`: missing new pods, old pods that are left, new pods that do not serve."""
    updated = moment.new + moment.starting + moment.pending
    waiting = f'Waiting for deployment "{rollout.name}" rollout to finish:'
    if updated < rollout.replicas:
        return f"{waiting} {updated} out of {rollout.replicas} new replicas have been updated..."
    if moment.old:
        return f"{waiting} {moment.old} old replicas are pending termination..."
    if moment.new < updated:
        return f"{waiting} {moment.new} of {updated} updated replicas are available..."
    return f'deployment "{rollout.name}" successfully rolled out'


CONFLICT_ADVICE = """\
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"""


def kubectl_conflict(conflict: Conflict) -> str:
    """What `kubectl apply --server-side` says of a conflict."""
    return f"error: {conflict}\n{CONFLICT_ADVICE}"
