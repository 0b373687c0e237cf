"""Translates the conformance cases of the VPA into calls of `mlinfra.autoscaling.vpa`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from mlinfra.autoscaling import vpa

Case = dict[str, Any]

FIELDS = {
    "a",
    "b",
    "base",
    "confidence",
    "containers",
    "controlled",
    "cpu_percentile",
    "cpu_sample_times_s",
    "cpu_samples",
    "events",
    "expected_histogram_calls",
    "exponent",
    "half_life_s",
    "interval_s",
    "kind",
    "margin_fraction",
    "memory_aggregation_interval_s",
    "memory_percentile",
    "memory_samples",
    "min_cpu_milli",
    "min_memory_mb",
    "minimum",
    "multiplier",
    "oom_bump_up_ratio",
    "oom_min_bump_up_bytes",
    "ops",
    "same_as",
    "scheme",
}


def buckets(scheme: Case) -> vpa.Buckets:
    if scheme["type"] == "linear":
        return vpa.Buckets(scheme["bucket_size"], scheme["max_value"], 1.0, scheme["epsilon"])
    return vpa.Buckets(scheme["first_bucket_size"], scheme["max_value"], scheme["ratio"], scheme["epsilon"])


def close(got: float, expected: float, rel: float = 1e-9) -> bool:
    return math.isclose(got, expected, rel_tol=rel, abs_tol=1e-12)


def check_buckets(case: Case) -> list[bool]:
    ours, wanted = buckets(case["scheme"]), case["expected"]
    return [
        ours.count == wanted["count"],
        *(close(ours.start(int(i)), start) for i, start in wanted["starts"].items()),
        *(ours.find(value) == bucket for value, bucket in wanted["find"]),
    ]


def run(histogram: vpa.Histogram, ops: list[Case]) -> list[bool]:
    """Apply the operations; the queries among them give whether we agree."""
    agreed = []
    for op in ops:
        if op["op"] == "percentile":
            agreed.append(close(histogram.percentile(op["p"]), op["expected"]))
        elif op["op"] == "is_empty":
            agreed.append((not histogram.filled_buckets()) == op["expected"])
        else:
            getattr(histogram, op["op"])(op["value"], op["weight"], op["t_s"])
    return agreed


def check_ops(case: Case) -> list[bool]:
    return run(vpa.Histogram(buckets(case["scheme"]), case["half_life_s"]), case["ops"])


def check_merge(case: Case) -> list[bool]:
    a, b, same = (vpa.Histogram(buckets(case["scheme"]), case["half_life_s"]) for _ in range(3))
    for histogram, ops in ((a, case["a"]), (b, case["b"]), (same, case["same_as"])):
        run(histogram, ops)
    a.merge(b)
    fractions = [p / 20 for p in range(21)]
    return [close(a.total, same.total), *(close(a.percentile(p), same.percentile(p)) for p in fractions)]


class Recorder(vpa.AggregateContainerState):
    """An aggregate that notes each call of a histogram, as the case's expectation lists them."""

    def __init__(self, flags: vpa.RecommenderFlags) -> None:
        super().__init__(flags)
        self.calls: list[list[Any]] = []
        for histogram, name in ((self.cpu, "cpu"), (self.memory_peaks, "memory")):
            for verb in ("add", "subtract"):
                setattr(histogram, verb, self._noting(f"{name}_{verb}"))

    def _noting(self, call: str) -> Callable[..., None]:
        return lambda value, weight, at_s: self.calls.append([call, float(value), weight, at_s])


def feed(container: vpa.ContainerState, kind: str, value: int, at_s: float) -> bool:
    add = {"cpu": container.add_cpu, "memory": container.add_memory, "oom": container.add_oom}[kind]
    return add(value, at_s)


def check_container_samples(case: Case) -> list[bool]:
    given = ("memory_aggregation_interval_s", "oom_bump_up_ratio", "oom_min_bump_up_bytes")
    recorder = Recorder(vpa.RecommenderFlags(**{name: case[name] for name in given}))
    container = vpa.ContainerState(recorder)
    accepted = [feed(container, e["kind"], e["value"], e["t_s"]) for e in case["events"]]
    calls = case["expected_histogram_calls"]
    return [
        accepted == [e["accepted"] for e in case["events"]],
        len(calls) == len(recorder.calls),
        *(
            ours[0] == wanted[0] and all(map(close, ours[1:], wanted[1:]))
            for ours, wanted in zip(recorder.calls, calls, strict=False)
        ),
    ]


def check_scenario(case: Case) -> list[bool]:
    agreed = []
    for given in case["containers"].values():
        aggregate = vpa.AggregateContainerState()
        pods: dict[int, vpa.ContainerState] = {}
        for pod, at_s, kind, value, accepted in given["events"]:
            agreed.append(feed(pods.setdefault(pod, vpa.ContainerState(aggregate)), kind, value, at_s) == accepted)
        agreed += recommended(aggregate, len(case["containers"]), given["expected"])
    return agreed


def recommended(aggregate: vpa.AggregateContainerState, containers: int, wanted: Case) -> list[bool]:
    ours = vpa.recommend(aggregate, containers)
    agreed = [close(ours.confidence, wanted["confidence"]), aggregate.cpu_samples == wanted["cpu_samples"]]
    for name in ("target", "lower_bound", "upper_bound"):
        got = getattr(ours, name)
        agreed.append(abs(got.cpu_milli - wanted[name]["cpu_milli"]) <= 1)
        agreed.append(close(got.memory_bytes, wanted[name]["memory_bytes"]))
    return agreed


def amounts(given: Case) -> vpa.Amounts:
    return vpa.Amounts(given["cpu_milli"], given["memory_bytes"])


def named(got: vpa.Amounts) -> Case:
    return {"cpu_milli": got.cpu_milli, "memory_bytes": got.memory_bytes}


def confidence(case: Case) -> Case:
    aggregate = vpa.AggregateContainerState(vpa.RecommenderFlags(confidence_interval_s=case["interval_s"]))
    for at_s in case["cpu_sample_times_s"]:
        aggregate.add_cpu(1000, at_s)
    got = vpa.with_confidence(amounts(case["base"]), aggregate.confidence, case["multiplier"], case["exponent"])
    return named(got) | {"confidence": aggregate.confidence}


def pod_minimum(case: Case) -> Case:
    flags = vpa.RecommenderFlags(pod_min_cpu_milli=case["min_cpu_milli"], pod_min_memory_mib=case["min_memory_mb"])
    return named(amounts(case["base"]).raised_to(vpa.pod_minimum(case["containers"], flags)))


def controlled_resources(case: Case) -> Case:
    controlled = case["controlled"]
    policy = (
        vpa.ContainerPolicy() if controlled is None else vpa.ContainerPolicy(controlled_resources=tuple(controlled))
    )
    return {"present": sorted(policy.controlled(vpa.Amounts(1000, 2**30)))}


def percentile_estimator(case: Case) -> Case:
    cpu, memory = vpa.Histogram(vpa.CPU_BUCKETS), vpa.Histogram(vpa.MEMORY_BUCKETS)
    for histogram, samples in ((cpu, case["cpu_samples"]), (memory, case["memory_samples"])):
        for value, weight in samples:
            histogram.add(value, weight, 0)
    rel = case["expected"]["rel_tol"]
    got = {
        "cpu_cores": cpu.percentile(case["cpu_percentile"]),
        "memory_bytes": memory.percentile(case["memory_percentile"]),
    }
    agreed = {
        name: wanted for name, wanted in case["expected"].items() if name in got and close(got[name], wanted, rel)
    }
    return got | agreed | {"rel_tol": rel}


def of_both(flags: vpa.RecommenderFlags, bound: str) -> float:
    """The percentile that cpu and memory have in common."""
    (percentile,) = {getattr(flags, f"{bound}_{resource}_percentile") for resource in ("cpu", "memory")}
    return float(percentile)


def config_defaults(case: Case) -> Case:
    flags = vpa.RecommenderFlags()
    return {
        **{name: getattr(flags, name) for name in case["expected"] if hasattr(flags, name)},
        **{f"{bound}_percentile": of_both(flags, bound) for bound in ("target", "lower_bound", "upper_bound")},
        "pod_min_cpu_millicores": flags.pod_min_cpu_milli,
        "pod_min_memory_mb": flags.pod_min_memory_mib,
        "cpu_first_bucket_cores": vpa.CPU_BUCKETS.first_size,
        "memory_first_bucket_bytes": vpa.MEMORY_BUCKETS.first_size,
        "bucket_growth": round(vpa.CPU_BUCKETS.ratio - 1, 9),
        "epsilon": vpa.CPU_BUCKETS.epsilon,
    }


CHECKED: dict[str, Callable[[Case], list[bool]]] = {
    "buckets": check_buckets,
    "ops": check_ops,
    "merge": check_merge,
    "container_samples": check_container_samples,
    "scenario": check_scenario,
}
"""Cases whose expectations stand inside their inputs: we compare there, and all must agree."""

ANSWERED: dict[str, Callable[[Case], Case]] = {
    "confidence": confidence,
    "margin": lambda case: named(vpa.with_margin(amounts(case["base"]), case["margin_fraction"])),
    "minimum": lambda case: named(amounts(case["base"]).raised_to(amounts(case["minimum"]))),
    "pod_minimum": pod_minimum,
    "controlled_resources": controlled_resources,
    "percentile_estimator": percentile_estimator,
    "config_defaults": config_defaults,
}


def expectation(case: Case) -> Case:
    return {"every comparison": True} if case["kind"] in CHECKED else dict(case["expected"])


def answer(case: Case) -> Case:
    if case["kind"] in CHECKED:
        agreed = CHECKED[case["kind"]](case)
        return {"every comparison": bool(agreed) and all(agreed)}
    if case["kind"] not in ANSWERED:
        pytest.fail(f"unknown kind {case['kind']!r}")
    return ANSWERED[case["kind"]](case)
