"""From a reader's manifest to an autoscaler of the closed loop, and to the measure that each of its metrics reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlinfra.autoscaling import hpa, keda, scalers
from mlinfra.commands.report import UsageError, not_used, read
from mlinfra.manifest import Manifest
from mlinfra.ray_serve.autoscaling import AutoscalingConfig, RayAutoscaler
from mlinfra.ray_serve.config import Deployment

MEASURES: dict[str, tuple[str, Callable[[scalers.Snapshot], float]]] = {
    "in-flight": ("requests in flight, waiting ones too", lambda seen: seen.in_flight),
    "queued": ("requests that wait", lambda seen: seen.queued),
    "rate": ("requests a second", lambda seen: seen.arrivals_per_s),
    "busy": ("busy cores, one for each replica", lambda seen: seen.busy * seen.ready),
}
NAMES = (
    ("rate", r"rate|rps|qps|per_?second|requests_total|throughput"),
    ("queued", r"queue|wait|pending|lag|backlog|length"),
    ("busy", r"cpu|util|busy|duty"),
)
"""What a metric is taken for by its name; any other is requests in flight."""


@dataclass(frozen=True)
class Candidate:
    """An autoscaler made from a manifest: what it is called, its bounds, and what has to be told about it."""

    name: str
    scaler: scalers.Autoscaler
    low: int
    high: int
    assumed: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()


def read_candidate(path: str, measures: Sequence[str]) -> Candidate:
    """The autoscaler of a file: an HPA, a ScaledObject, or a Ray Serve deployment that scales."""
    chosen = choices(measures)
    objects = [obj for obj in read(path) if obj.get("kind") in READERS or "applications" in obj]
    if len(objects) != 1:
        raise UsageError(f"{path}: must hold one {', '.join(READERS)} or Serve configuration, and holds {len(objects)}")
    return READERS.get(str(objects[0].get("kind")), of_serve_config)(objects[0], chosen)


def choices(measures: Sequence[str]) -> dict[str, str]:
    """What each `--measure NAME=SIGNAL` says."""
    chosen = dict(pair.partition("=")[::2] for pair in measures)
    if wrong := sorted(set(chosen.values()) - set(MEASURES)):
        raise UsageError(f"--measure: {wrong[0]}: must be NAME={'|'.join(MEASURES)}")
    return chosen


def of_hpa(obj: Manifest, chosen: dict[str, str]) -> Candidate:
    scaler = hpa.HorizontalPodAutoscaler.of(obj)
    known, measures, assumed = measured(scaler, chosen)
    unused = tuple(not_used(obj, scaler.manifest()))
    by_hpa = scalers.ByHPA(known, measures)
    return Candidate(scaler.name, by_hpa, max(1, scaler.min_replicas), scaler.max_replicas, assumed, unused)


def measured(
    scaler: hpa.HorizontalPodAutoscaler, chosen: dict[str, str]
) -> tuple[hpa.HorizontalPodAutoscaler, tuple[scalers.Measure, ...], tuple[str, ...]]:
    """The HPA with the metrics that follow requests, what each of them reads, and the sentences that say so."""
    known, assumed = without_memory(scaler)
    pairs = [measure_of(metric, chosen) for metric in known.metrics]
    return known, tuple(measure for measure, _ in pairs), (*assumed, *(words for _, words in pairs))


def without_memory(scaler: hpa.HorizontalPodAutoscaler) -> tuple[hpa.HorizontalPodAutoscaler, tuple[str, ...]]:
    """The HPA without metrics of memory: no request of the loop takes any."""
    kept = [metric for metric in scaler.metrics if not (isinstance(metric, hpa.Resource) and metric.name == "memory")]
    if not kept:
        raise UsageError(f"{scaler.name}: scales on memory alone, which does not follow requests here")
    if len(kept) == len(scaler.metrics):
        return scaler, ()
    return replace(scaler, metrics=tuple(kept)), ("its metric memory is left out: requests take none here",)


def of_scaled_object(obj: Manifest, chosen: dict[str, str]) -> Candidate:
    scaled = keda.ScaledObject.of(obj)
    names = [""] if scaled.scaling_modifiers else [trigger.name or trigger.type for trigger in scaled.triggers]
    pairs = [measure_of(metric, chosen, name) for metric, name in zip(scaled.metrics(), names, strict=False)]
    measures, words = zip(*pairs, strict=True)
    unused = tuple(not_used(obj, scaled.manifest()))
    by_keda = scalers.ByKEDA(scaled, measures)
    return Candidate(scaled.name, by_keda, scaled.min_replica_count, scaled.max_replica_count, words, unused)


def of_ray_service(obj: Manifest, chosen: dict[str, str]) -> Candidate:
    from mlinfra.documents import parse

    (config,) = parse(obj["spec"]["serveConfigV2"], "spec.serveConfigV2")
    return of_serve_config(config, chosen)


def of_serve_config(config: Manifest, chosen: dict[str, str]) -> Candidate:
    """The one deployment of the configuration that scales; `--measure deployment=NAME` names it where several do."""
    deployments = [Deployment.of(entry) for app in config["applications"] for entry in app.get("deployments", ())]
    scaling = {each.name: each for each in deployments if each.autoscaling_config or each.num_replicas == "auto"}
    if len(scaling) != 1:
        raise UsageError(f"serve: must have one deployment that scales, and has {len(scaling)}: {', '.join(scaling)}")
    (deployment,) = scaling.values()
    policy = deployment.autoscaling_config or AutoscalingConfig(max_replicas=100)
    assumed = (f"deployment {deployment.name} reads requests in flight",)
    return Candidate(deployment.name, RayAutoscaler(policy), policy.min_replicas, policy.max_replicas, assumed)


def measure_of(metric: hpa.Metric, chosen: dict[str, str], name: str = "") -> tuple[scalers.Measure, str]:
    """What a metric reads here, and the sentence that says so."""
    name = name or metric.name
    kind = chosen.get(name) or guessed(f"{name} {metric.name}")
    words, measure = MEASURES[kind]
    return measure, f"metric {name} reads {words} (--measure {name}={'|'.join(MEASURES)})"


def guessed(name: str) -> str:
    return next((kind for kind, pattern in NAMES if re.search(pattern, name.lower())), "in-flight")


READERS: dict[str, Callable[[Manifest, dict[str, Any]], Candidate]] = {
    "HorizontalPodAutoscaler": of_hpa,
    "ScaledObject": of_scaled_object,
    "RayService": of_ray_service,
}
