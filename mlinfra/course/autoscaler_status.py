"""What kubectl shows of autoscalers, in its own columns; without times, which a simulation does not have.

Follows kubectl's `pkg/describe/describe.go`, and the printer columns of Knative's and KEDA's custom resources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlinfra import tables
from mlinfra.autoscaling import hpa, keda, vpa
from mlinfra.quantity import canonical
from mlinfra.study import Listing

Lines = Sequence[Sequence[str]]
FROM = "horizontal-pod-autoscaler"


def columns(rows: Lines, indent: str = "", gap: int = 2) -> list[str]:
    """Rows of cells in columns, indented, with so many spaces between them."""
    return [indent + line for line in tables.columns(rows, " " * gap)]


def describe_hpa(scaler: hpa.HorizontalPodAutoscaler, decision: hpa.Decision) -> Listing:
    """`kubectl describe hpa` after the pass."""
    current = zip(scaler.metrics, decision.proposals, strict=True)
    kind, name = scaler.scale_target_ref.kind, scaler.scale_target_ref.name
    head = [
        ("Name:", scaler.name),
        ("Namespace:", "default"),
        ("Reference:", f"{kind}/{name}"),
        ("Metrics:", "( current / target )"),
        *(metric_line(metric, proposal) for metric, proposal in current),
        ("Min replicas:", str(scaler.min_replicas)),
        ("Max replicas:", str(scaler.max_replicas)),
        (f"{kind} pods:", f"{decision.current} current / {decision.desired} desired"),
    ]
    conditions = [(c.type, str(c.status), c.reason, c.message) for c in decision.conditions()]
    events = [(*event[:2], FROM, event[2]) for event in hpa_events(scaler, decision)]
    lines = [*columns(head), "Conditions:", *titled("Type Status Reason Message", conditions)]
    lines += ["Events:", *titled("Type Reason From Message", events)] if events else ["Events:  <none>"]
    return Listing(f"`kubectl describe hpa {scaler.name}`, without the times:", "text", "\n".join(lines))


def titled(titles: str, rows: Lines) -> list[str]:
    """Rows below their underlined titles."""
    names = titles.split()
    return columns([names, ["-" * len(name) for name in names], *rows], indent="  ")


def metric_line(metric: hpa.Metric, proposal: hpa.Proposal | hpa.Failure) -> tuple[str, str]:
    """A metric's name, and its value over its target; `<unknown>` where it could not be read."""
    usage = proposal.usage if isinstance(proposal, hpa.Proposal) else None
    if isinstance(metric, hpa.Resource):
        share = "<unknown>" if usage is None else f"{usage.observed}% ({canonical(f'{usage.average_milli}m')})"
        return f"  resource {metric.name} on pods  (as a percentage of request):", f"{share} / {metric.target.amount}%"
    amount = "<unknown>" if usage is None else canonical(f"{usage.observed}m")
    return f'  "{metric.name}" on pods:', f"{amount} / {metric.target.amount}"


def hpa_events(scaler: hpa.HorizontalPodAutoscaler, decision: hpa.Decision) -> list[tuple[str, str, str]]:
    """The events that the pass records: type, reason and message."""
    failed = [(m, p) for m, p in zip(scaler.metrics, decision.proposals, strict=True) if isinstance(p, hpa.Failure)]
    events = [("Warning", failure.reason, failure.error) for _, failure in failed]
    if failed and decision.scaling_active is not None and not decision.scaling_active.status:
        metric, failure = failed[0]
        count = f"invalid metrics ({len(failed)} invalid out of {len(scaler.metrics)}), first error is: "
        events.append(("Warning", "FailedComputeMetricsReplicas", f"{count}{failed_to_get(metric)}: {failure.error}"))
    if decision.desired != decision.current:
        message = f"New size: {decision.desired}; reason: {decision.rescale_reason}"
        events.append(("Normal", "SuccessfulRescale", message))
    return events


def failed_to_get(metric: hpa.Metric) -> str:
    """How the controller's error about a failed metric begins."""
    named = f"{metric.name} " if isinstance(metric, hpa.Resource | hpa.External) else ""
    return f"failed to get {named}{type(metric).__name__.lower()} metric value"


def custom_metric(name: str, samples: Mapping[str, hpa.Sample]) -> Listing:
    """The custom metrics API's answer for one metric of every pod."""
    items = [
        {
            "describedObject": {"kind": "Pod", "namespace": "default", "name": pod, "apiVersion": "/v1"},
            "metricName": name,
            "value": canonical(f"{sample.milli}m"),
            "selector": None,
        }
        for pod, sample in samples.items()
    ]
    answer = {"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1", "metadata": {}, "items": items}
    path = f"/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/*/{name}"
    return Listing(f'`kubectl get --raw "{path}" | jq .`, without the times:', "json", json.dumps(answer, indent=2))


def get_podautoscalers(counts: Mapping[str, tuple[int, int]]) -> Listing:
    """`kubectl get podautoscaler`: the desired and the actual count of revisions by their names."""
    rows = [["NAME", "DESIREDSCALE", "ACTUALSCALE", "READY", "REASON"]]
    for name, (desired, actual) in counts.items():
        ready, reason = ("True", "") if actual else ("Unknown", "Queued") if desired else ("False", "NoTraffic")
        rows.append([name, str(desired), str(actual), ready, reason])
    return Listing("`kubectl get podautoscaler`:", "text", "\n".join(columns(rows, gap=3)))


def get_scaledobject(scaled: keda.ScaledObject, active: bool) -> Listing:
    """`kubectl get scaledobject`, without the age."""
    target = scaled.scale_target_ref
    row = {
        "NAME": scaled.name,
        "SCALETARGETKIND": f"{target.api_version}.{target.kind}",
        "SCALETARGETNAME": target.name,
        "MIN": str(scaled.min_replica_count),
        "MAX": str(scaled.max_replica_count),
        "READY": "True",
        "ACTIVE": str(active),
        "FALLBACK": "False",
        "PAUSED": "False",
        "TRIGGERS": ",".join(trigger.type for trigger in scaled.triggers),
    }
    text = "\n".join(columns([list(row), list(row.values())], gap=3))
    return Listing("`kubectl get scaledobject`, without the last columns:", "text", text)


def describe_vpa(scaler: vpa.VerticalPodAutoscaler, recommendations: Mapping[str, vpa.Recommendation]) -> Listing:
    """The status part of `kubectl describe vpa`."""
    lines = ["Status:", "  Conditions:", "    Status:  True", "    Type:    RecommendationProvided"]
    lines += ["  Recommendation:", "    Container Recommendations:"]
    for container, recommendation in recommendations.items():
        lines.append(f"      Container Name:  {container}")
        amounts = {
            "Lower Bound": recommendation.lower_bound,
            "Target": recommendation.target,
            "Upper Bound": recommendation.upper_bound,
        }
        for name, amount in amounts.items():
            rows = [("Cpu:", canonical(f"{amount.cpu_milli}m")), ("Memory:", str(amount.memory_bytes))]
            lines += [f"      {name}:", *columns(rows, indent="        ")]
    return Listing(f"`kubectl describe vpa {scaler.name}`, its status without the times:", "text", "\n".join(lines))
