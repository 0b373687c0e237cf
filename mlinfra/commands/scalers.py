"""From a reader's manifest to an autoscaler of the closed loop, and to the measure that each of its metrics reads."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlinfra.admission import Problem, refuse, validate
from mlinfra.autoscaling import hpa, keda, scalers
from mlinfra.commands.flags import pair
from mlinfra.commands.report import UsageError
from mlinfra.documents import parse
from mlinfra.manifest import Manifest, unused_fields
from mlinfra.ray_serve.autoscaling import AutoscalingConfig, RayAutoscaler
from mlinfra.ray_serve.config import Deployment

MEASURES: dict[str, tuple[str, Callable[[scalers.Snapshot], float]]] = {
    "in-flight": ("requests in flight, waiting ones too", lambda seen: seen.in_flight),
    "queued": ("requests that wait", lambda seen: seen.queued),
    "rate": ("requests a second", lambda seen: seen.arrivals_per_s),
    "busy": ("busy cores, one for each replica", lambda seen: seen.busy * seen.ready),
    "nothing": ("nothing: it is always 0", lambda seen: 0.0),
}
NAMES = (
    ("nothing", r" s\d+-cron$|quantile|latenc|time_to_first|ttft|kv_?cache"),
    ("rate", r"rate|rps|qps|per_?second|requests_total|throughput"),
    ("queued", r"queue|wait|pending|lag|backlog|length|redis"),
    ("busy", r"cpu|util|busy|duty"),
)
"""What a metric is taken for by its name or its query; any other is requests in flight. Latencies, caches and the clock
are not in the loop."""
OUTSIDE = "a cron trigger is always outside its hours here: raise minReplicaCount to see those inside"
MOST_SLOTS = 1_000_000


@dataclass(frozen=True)
class Candidate:
    """An autoscaler made from a manifest: what it is called, its bounds, and what has to be told about it."""

    name: str
    scaler: scalers.Autoscaler
    low: int
    high: int
    assumed: tuple[str, ...] = ()
    not_used: tuple[str, ...] = ()


def add_measure_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--measure", action="append", type=measure_pair, default=[], metavar="NAME=SIGNAL",
        help=f"what the metric of this name reads: {', '.join(MEASURES)} (guessed by its name)",
    )  # fmt: skip


def measure_pair(text: str) -> tuple[str, str]:
    name, signal = pair(text)
    if signal not in MEASURES:
        raise argparse.ArgumentTypeError(f"{text}: must be NAME={'|'.join(MEASURES)}")
    return name, signal


def candidate_of(
    path: str, objects: Sequence[Manifest], measures: Sequence[tuple[str, str]], concurrency: int = 1
) -> Candidate:
    """The autoscaler among the objects of a file: an HPA, a ScaledObject, or a Ray Serve deployment that scales."""
    scaling = [obj for obj in objects if kind_of(obj) in READERS]
    if len(scaling) != 1:
        *some, last = READERS
        raise UsageError(f"{path}: must hold one {', '.join(some)} or {last}, and holds {len(scaling)}")
    candidate = READERS[kind_of(scaling[0])](scaling[0], dict(measures))
    if candidate.high * concurrency > MOST_SLOTS:
        many = f"{candidate.high:,} replicas at most, {concurrency:,} requests each (--concurrency)"
        raise UsageError(f"{path}: {many}: at most {MOST_SLOTS:,} requests at a time are simulated")
    return candidate


def kind_of(obj: Manifest) -> str:
    """The kind; a configuration of Serve has none."""
    return "Serve configuration" if "applications" in obj and "kind" not in obj else str(obj.get("kind"))


def of_hpa(obj: Manifest, chosen: dict[str, str]) -> Candidate:
    scaler = hpa.HorizontalPodAutoscaler.of(obj)
    known, measures, assumed = measured(scaler, chosen)
    unused = tuple(unused_fields(obj, scaler.manifest()))
    by_hpa = scalers.ByHPA(known, measures)
    return Candidate(scaler.name, by_hpa, max(1, scaler.min_replicas), scaler.max_replicas, assumed, unused)


def measured(
    scaler: hpa.HorizontalPodAutoscaler, chosen: dict[str, str]
) -> tuple[hpa.HorizontalPodAutoscaler, tuple[scalers.Measure, ...], tuple[str, ...]]:
    """The HPA with the metrics that follow requests, what each of them reads, and the sentences that say so."""
    known, assumed = without_memory(scaler)
    names = [metric.name for metric in known.metrics]
    measures, words = measures_of(names, names, chosen)
    return known, measures, (*assumed, *words)


def without_memory(scaler: hpa.HorizontalPodAutoscaler) -> tuple[hpa.HorizontalPodAutoscaler, tuple[str, ...]]:
    """The HPA without metrics of memory: no request of the loop takes any."""
    kept = [metric for metric in scaler.metrics if not (isinstance(metric, hpa.Resource) and metric.name == "memory")]
    if not kept:
        raise UsageError(f"{scaler.name}: scales on memory alone, which does not follow requests here")
    if len(kept) == len(scaler.metrics):
        return scaler, ()
    return replace(scaler, metrics=tuple(kept)), ("its metric memory is left out: requests take none here",)


def trigger_names(triggers: Sequence[keda.Trigger]) -> list[str]:
    """A trigger's own name, or its type; KEDA's name of its metric where several have one type and no name."""
    nameless = Counter(trigger.type for trigger in triggers if not trigger.name)
    names = []
    for number, trigger in enumerate(triggers):
        alike = f"s{number}-{trigger.type}" if nameless[trigger.type] > 1 else trigger.type
        names.append(trigger.name or alike)
    return names


def of_scaled_object(obj: Manifest, chosen: dict[str, str]) -> Candidate:
    scaled = keda.ScaledObject.of(obj)
    names, hints = names_and_hints(scaled)
    measures, words = measures_of(names, hints, chosen)
    assumed = (*words, OUTSIDE) if any(trigger.type == "cron" for trigger in scaled.triggers) else words
    unused = tuple(unused_fields(obj, scaled.manifest()))
    by_keda = scalers.ByKEDA(scaled, measures)
    return Candidate(scaled.name, by_keda, scaled.min_replica_count, scaled.max_replica_count, assumed, unused)


def names_and_hints(scaled: keda.ScaledObject) -> tuple[list[str], list[str]]:
    """What the metrics are called here, and the texts that suggest what each reads; a formula's have one name alone."""
    metrics = [metric.name for metric in scaled.metrics()]
    if scaled.scaling_modifiers:
        return metrics, metrics
    names = trigger_names(scaled.triggers)
    queries = [trigger.metadata.get("query", "") for trigger in scaled.triggers]
    return names, [" ".join(words) for words in zip(queries, names, metrics, strict=True)]


def of_ray_service(obj: Manifest, chosen: dict[str, str]) -> Candidate:
    """That of the configuration in the object."""
    refuse("RayService", [each for each in validate(obj) if isinstance(each, Problem)])
    text = str((obj.get("spec") or {}).get("serveConfigV2") or "")
    try:
        (config,) = parse(text, "spec.serveConfigV2")
    except ValueError:
        raise UsageError("spec.serveConfigV2: must hold one configuration of Serve") from None
    return of_serve_config(config, chosen)


def of_serve_config(config: Manifest, chosen: dict[str, str]) -> Candidate:
    """The one deployment of the configuration that scales; `--measure NAME=in-flight` names it where several do."""
    refuse("serve", [each for each in validate(config) if isinstance(each, Problem)])
    entries = [entry for app in config["applications"] for entry in app.get("deployments") or ()]
    scaling = {entry["name"]: entry for entry in entries if scales(entry)}
    if named := chosen.keys() & scaling.keys():
        scaling = {name: scaling[name] for name in named}
    if len(scaling) != 1:
        names = f": {', '.join(scaling)} (--measure NAME=in-flight names one)" if scaling else ""
        raise UsageError(f"serve: must have one deployment that scales, and has {len(scaling)}{names}")
    deployment = Deployment.of(*scaling.values())
    policy = deployment.autoscaling_config or AutoscalingConfig(max_replicas=100)
    assumed = (f"deployment {deployment.name} reads requests in flight",)
    return Candidate(deployment.name, RayAutoscaler(policy), policy.min_replicas, policy.max_replicas, assumed)


def scales(entry: Manifest) -> bool:
    return bool(entry.get("autoscaling_config")) or entry.get("num_replicas") == "auto"


def measures_of(
    names: Sequence[str], hints: Sequence[str], chosen: dict[str, str]
) -> tuple[tuple[scalers.Measure, ...], tuple[str, ...]]:
    """What the metrics of these names read here, and the sentences that say so: as chosen, or as the hints suggest.

    UsageError for a choice that no metric takes.
    """
    if unknown := sorted(chosen.keys() - set(names)):
        raise UsageError(f"--measure {unknown[0]}: there is no such metric, but {', '.join(names)}")
    kinds = [chosen.get(name) or guessed(hint) for name, hint in zip(names, hints, strict=True)]
    words = (
        f"metric {name} reads {MEASURES[kind][0]} (--measure {name}={'|'.join(MEASURES)})"
        for name, kind in zip(names, kinds, strict=True)
    )
    return tuple(MEASURES[kind][1] for kind in kinds), tuple(words)


def guessed(hint: str) -> str:
    return next((kind for kind, pattern in NAMES if re.search(pattern, hint.lower())), "in-flight")


READERS: dict[str, Callable[[Manifest, dict[str, str]], Candidate]] = {
    "HorizontalPodAutoscaler": of_hpa,
    "ScaledObject": of_scaled_object,
    "RayService": of_ray_service,
    "Serve configuration": of_serve_config,
}
