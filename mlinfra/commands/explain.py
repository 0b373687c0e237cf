"""`mlinfra explain`: one pass of the HPA controller over a reader's HPA, and why it decides so."""

from __future__ import annotations

import argparse
import re

from mlinfra.autoscaling import hpa
from mlinfra.commands.flags import count, pair
from mlinfra.commands.report import Report, UsageError, bullets, paragraphs, read_one
from mlinfra.manifest import unused_fields
from mlinfra.quantity import Quantity, milli_value

EXAMPLE = """example:
  python -m mlinfra explain hpa.yaml --replicas 4 --cpu 90%
  python -m mlinfra explain hpa.yaml --replicas 4 --metric requests_per_second=120 --unready 1"""
PAIRS = (
    ("--metric", "NAME=VALUE", "a metric's value over all pods"),
    ("--request", "NAME=AMOUNT", "a pod's request (cpu=1, memory=1Gi)"),
)
PERCENT = re.compile(r"([0-9]{1,9})%")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="HPA.yaml")
    parser.add_argument("--replicas", type=count(0), required=True, help="replicas that the target has now")
    parser.add_argument("--unready", type=count(0), default=0, help="how many of them are not ready (0)")
    for resource, example in (("cpu", "90%% or 450m"), ("memory", "70%% or 1Gi")):
        parser.add_argument(f"--{resource}", metavar="USE", help=f"use of each ready pod, such as {example}")
    for flag, example, what in PAIRS:
        parser.add_argument(flag, action="append", type=pair, default=[], metavar=example, help=what)


def run(arguments: argparse.Namespace) -> Report:
    """The decision of one pass without a history."""
    obj = read_one(arguments.file, "HorizontalPodAutoscaler")
    scaler = hpa.HorizontalPodAutoscaler.of(obj)
    decision = hpa.reconcile(scaler, observe(scaler, arguments))
    requests = ", ".join(f"{name} {amount}" for name, amount in amounts(arguments.request).items())
    assumed = [
        f"each pod requests {requests} (--request)",
        "this is the first pass: no stabilization window or policy remembers anything",
    ]
    unused = unused_fields(obj, scaler.manifest())
    text = paragraphs(decision.why(), bullets("Assumed:", assumed), bullets("Not used:", unused))
    conditions = [each._asdict() for each in decision.conditions()]
    data = {"current": decision.current, "desired": decision.desired, "conditions": conditions}
    return Report(text, data | {"why": decision.why(), "assumed": assumed, "notUsed": unused})


def amounts(pairs: list[tuple[str, str]]) -> dict[str, Quantity]:
    """Requests of a pod: one core and 1 GiB unless given."""
    for name, amount in pairs:
        if milli_of(f"--request {name}", amount) <= 0:
            raise UsageError(f"--request {name}: {amount}: must be more than nothing")
    return {"cpu": "1", "memory": "1Gi", **dict(pairs)}


def observe(scaler: hpa.HorizontalPodAutoscaler, arguments: argparse.Namespace) -> hpa.Observation:
    """What the controller would read: equal pods, and the values of the flags."""
    requests = amounts(arguments.request)
    pods = hpa.running_pods(arguments.replicas, **requests)
    waiting = max(0, arguments.replicas - arguments.unready)
    pods = (*pods[:waiting], *(unready(pod) for pod in pods[waiting:]))
    readings = tuple(reading(metric, pods[:waiting], requests, arguments) for metric in scaler.metrics)
    return hpa.Observation(arguments.replicas, pods, readings)


def unready(pod: hpa.ObservedPod) -> hpa.ObservedPod:
    return hpa.ObservedPod(pod.name, pod.containers, ready=False)


def reading(
    metric: hpa.Metric,
    ready: tuple[hpa.ObservedPod, ...],
    requests: dict[str, Quantity],
    arguments: argparse.Namespace,
) -> hpa.Reading:
    """The metric's value from its flag; None, as when the metrics API has no answer, without one."""
    if isinstance(metric, hpa.Resource):
        used = getattr(arguments, metric.name, None)
        if used is None:
            return None
        return hpa.evenly(used_milli(used, metric.name, requests) * len(ready), ready)
    values = dict(arguments.metric)
    if metric.name not in values:
        return None
    total = milli_of(f"--metric {metric.name}", values[metric.name])
    if isinstance(metric, hpa.Pods):
        return hpa.evenly(total, ready)
    return total if isinstance(metric, hpa.Object) else [total]


def used_milli(used: str, resource: str, requests: dict[str, Quantity]) -> int:
    """Use of one pod in milli: a percentage of its request, or an amount."""
    if percent := PERCENT.fullmatch(used):
        return milli_value(requests[resource]) * int(percent[1]) // 100
    return milli_of(f"--{resource}", used)


def milli_of(flag: str, text: str) -> int:
    """The amount of a flag in milli, 0 or more."""
    try:
        amount = milli_value(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {text}: {error}") from None
    if amount < 0:
        raise UsageError(f"{flag}: {text}: must be 0 or more")
    return amount
