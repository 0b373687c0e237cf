"""The exercises of notebook 05."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mlinfra import study
from mlinfra.autoscaling import hpa, knative, loop
from mlinfra.course import loads, node_race, race, service_nodes
from mlinfra.manifest import Manifest

PER_MINUTE, PASSES_A_MINUTE = 4, 4
MOST, LEAST = 40, 2


def on_cpu(target: int, least: int = 2, most: int = 20) -> hpa.HorizontalPodAutoscaler:
    metric = hpa.Resource("cpu", hpa.Utilization(target))
    return hpa.HorizontalPodAutoscaler("bert-classifier", race.DEPLOYMENT, most, least, (metric,))


def read(answer: hpa.HorizontalPodAutoscaler | Manifest) -> hpa.HorizontalPodAutoscaler:
    """The object that the reader wrote, as a noun or as a manifest; Invalid when the API server would refuse it."""
    return answer if isinstance(answer, hpa.HorizontalPodAutoscaler) else hpa.HorizontalPodAutoscaler.of(answer)


# ------------------------------------------------------------------------------------------------- to the percent

FIVE = hpa.running_pods(5, cpu="800m")
to_the_percent = study.Exercise(
    "to-the-percent",
    right=hpa.reconcile(on_cpu(70), hpa.Observation(5, FIVE, (hpa.evenly(3116, FIVE),))).desired,
    mistakes=[
        (
            math.ceil(5 * 77.9 / 70),
            "77.9 % is never compared: the controller cuts it to 77 % first, and 77 / 70 is 1.1.",
        ),
        (4, "Usage is above the target, so fewer pods cannot be right."),
    ],
    praise="Usage is cut to 77 %, and 77 / 70 is just inside the tolerance.",
)

# ------------------------------------------------------------------------------------------------- a slow way down


def idle(now_s: float, replicas: int) -> hpa.Observation:
    """The load has gone."""
    pods = hpa.running_pods(replicas, cpu="500m")
    return hpa.Observation(replicas, pods, (hpa.evenly(0, pods, now_s),))


def way_down(answer: hpa.HorizontalPodAutoscaler | Manifest) -> str:
    """Whether the HPA keeps to the limit and arrives, over a quarter of an hour without load from 40 pods."""
    run = hpa.simulate(read(answer), idle, MOST, duration_s=900)
    counts = [MOST, *(decision.desired for decision in run)]
    minutes = zip(counts, counts[PASSES_A_MINUTE:], strict=False)
    fastest = max(before - after for before, after in minutes)
    if fastest <= PER_MINUTE and counts[-1] == LEAST:
        return "as asked"
    return f"{fastest} pods in the fastest minute, {counts[-1]} at the end"


def with_way_down(*policies: hpa.ScalingPolicy, select: str | None = None) -> hpa.HorizontalPodAutoscaler:
    rules = hpa.ScalingRules(policies or None, select)
    metric = hpa.Resource("cpu", hpa.Utilization(60))
    behavior = hpa.Behavior(scale_down=rules)
    return hpa.HorizontalPodAutoscaler("bert-classifier", race.DEPLOYMENT, MOST, LEAST, (metric,), behavior)


FOUR_A_MINUTE = hpa.ScalingPolicy("Pods", PER_MINUTE, 60)
slow_way_down = study.Exercise(
    "slow-way-down",
    right=with_way_down(FOUR_A_MINUTE),
    mistakes=[
        (with_way_down(), "Without a policy of its own the default holds: 100 % in 15 s. All go at once after 300 s."),
        (
            with_way_down(hpa.ScalingPolicy("Pods", PER_MINUTE, 15)),
            "`periodSeconds: 15` allows 4 pods in every pass, so 16 in a minute.",
        ),
        (
            with_way_down(FOUR_A_MINUTE, hpa.ScalingPolicy("Percent", 50, 60)),
            "Of several policies the largest change wins, unless `selectPolicy` is `Min`: half of the pods go at once.",
        ),
        (
            with_way_down(hpa.ScalingPolicy("Percent", 10, 60)),
            "10 % of 40 is 4, but 10 % of what is left gets smaller and smaller: it does not arrive in time.",
        ),
        (with_way_down(select="Disabled"), "`Disabled` forbids the way down: the pods run for ever."),
    ],
    praise="At most 4 pods go in any minute, and 2 are left in time.",
    effect=way_down,
)

# ----------------------------------------------------------------------------------------------------- silent pods


def silent_replicas(percent: int, heard: int, silent: int) -> int:
    proposal = loads.some_silent(percent, heard=heard, silent=silent)
    assert isinstance(proposal, hpa.Proposal)
    return proposal.replicas


silent_pods = study.Exercise(
    "silent-pods",
    right=silent_replicas(20, heard=10, silent=5),
    mistakes=[
        (14, "46 % against 50 % is a ratio of 0.92. Is that outside the tolerance?"),
        (4, "That follows the ten that answer. Silent pods count as using all of their request on the way down."),
        (
            6,
            "That is the ratio of the ten that answer, for all fifteen. The silent ones count as using all of "
            "their request.",
        ),
    ],
    praise="Five silent pods of fifteen are enough to hold the count.",
)

# ---------------------------------------------------------------------------------------------------------- totals


def by_the_controller(current: int, total_rps: int, target_per_pod: int) -> int:
    metric = hpa.External("requests_per_second", hpa.AverageValue(target_per_pod))
    view = hpa.View(current, current, (), 0, hpa.Tolerances(0, 0), hpa.ControllerFlags())
    return hpa.compute_replicas_for_metric(metric, [total_rps * 1000], view).replicas


def times_current(current: int, total_rps: int, target_per_pod: int) -> int:
    return math.ceil(current * (total_rps / target_per_pod))


def rounded_down(current: int, total_rps: int, target_per_pod: int) -> int:
    return total_rps // target_per_pod


totals = study.Exercise(
    "totals",
    right=by_the_controller,
    mistakes=[
        (times_current, "This still multiplies a total by the pods that share it."),
        (rounded_down, "Right but for the rounding: 1,001 requests/s do not fit into 10 pods of 100."),
    ],
    cases=[(10, 1000, 100), (1, 1000, 100), (10, 1001, 100), (7, 90, 100), (3, 250, 100)],
    praise="The count no longer depends on the pods that run.",
)

# ----------------------------------------------------------------------------------------- a service that may sleep

WAVE_S, SILENCE_S, WAVES, NIGHT_S = 60, 100, 3, 1200


def asleep(answer: Mapping[str, str]) -> tuple[str, str]:
    """Whether a revision with these annotations sleeps between waves, and at night."""
    kpa = knative.KPA(knative.Revision.of(dict(answer), container_concurrency=4), ready_pods=1)
    day_s, counts = WAVES * (WAVE_S + SILENCE_S), [1]
    for now_s in range(day_s + NIGHT_S):
        in_wave = now_s < day_s - SILENCE_S and now_s % (WAVE_S + SILENCE_S) < WAVE_S
        kpa.record(now_s, 8 if in_wave else 0)
        counts.append(kpa.desired(now_s, counts[-1]).desired)
    between = "sleeps between waves" if 0 in counts[: day_s - SILENCE_S] else "awake between waves"
    return between, "awake at night" if counts[-1] else "sleeps at night"


PREFIX = "autoscaling.knative.dev/"
light_sleeper = study.Exercise(
    "light-sleeper",
    right={PREFIX + "scale-to-zero-pod-retention-period": "2m"},
    mistakes=[
        ({}, "The defaults: after an empty minute and 30 s of grace the service sleeps, and the next wave wakes it."),
        ({PREFIX + "min-scale": "1"}, "A minimum of 1 holds at night, too."),
    ],
    praise="One pod outlives the silence between waves, and goes at night.",
    effect=asleep,
)

# -------------------------------------------------------------------------------------------------------- headroom

SHARE, HOURS = 0.95, 9.0


def served(answer: hpa.HorizontalPodAutoscaler | Manifest) -> tuple[str, str]:
    """Whether the HPA answers enough in time, and for how much, on the hour with waves."""
    scaler: Any = read(answer)
    run = race.on_code(loop.ByHPA(scaler, lambda seen: seen.in_flight), scaler.min_replicas)
    in_time = "in time" if run.attained(race.SLO_S) >= SHARE else "too late"
    return in_time, "affordable" if run.gpu_hours <= HOURS else "too expensive"


def on_queue(target: str, least: int) -> hpa.HorizontalPodAutoscaler:
    return race.scaler(race.in_flight(target), least=least)


headroom = study.Exercise(
    "headroom",
    right=on_queue("6", 7),
    mistakes=[
        (
            on_queue("2.8", 1),
            "Too late and too expensive: a wave finds few replicas, and the queue asks for all twenty.",
        ),
        (
            on_queue("2.8", 6),
            "In time, but too expensive: what would make the HPA ask for fewer on top of the minimum?",
        ),
        (on_queue("7", 1), "Affordable, but too late: a higher target alone lets each wave wait for new replicas."),
    ],
    praise="Headroom meets the wave, and a higher target keeps the HPA from asking for all twenty.",
    effect=served,
)

# ---------------------------------------------------------------------------------------------------- placeholders

MONDAY_SHARE, MONDAY_DOLLARS = 0.999, 140.0


def monday(answer: Sequence[Manifest]) -> tuple[str, ...]:
    """What a PriorityClass and a Deployment of placeholders do on Monday; Invalid when one is refused."""
    return _monday(json.dumps(answer))


@lru_cache(maxsize=32)
def _monday(answer: str) -> tuple[str, ...]:
    manifests = {manifest["kind"]: manifest for manifest in json.loads(answer)}
    fleet = service_nodes.read_placeholders(manifests["PriorityClass"], manifests["Deployment"])
    pod, service = fleet["placeholder"], service_nodes.POD
    way = "stays" if pod.priority >= 0 else "expendable" if pod.priority < -10 else "gives way"
    holds = "holds a GPU" if pod.gpu_count == service.gpu_count else f"holds {pod.gpu_count} GPUs"
    place = "on GPU nodes" if pod.tolerations else "elsewhere"
    if (way, holds, place) != ("gives way", "holds a GPU", "on GPU nodes"):
        return way, holds, place
    run = node_race.on_monday(**fleet)
    in_time = "in time" if run.attained(race.SLO_S) >= MONDAY_SHARE else "too late"
    return way, holds, place, in_time, "affordable" if run.dollars <= MONDAY_DOLLARS else "too expensive"


def placeholders_with(replicas: int, value: int = -10, without: str = "") -> list[Manifest]:
    """The two objects, with one thing changed."""
    priority_class, deployment = service_nodes.placeholder_class(), service_nodes.placeholder_deployment(replicas)
    pod = deployment["spec"]["template"]["spec"]
    if without == "gpu":
        for amounts in pod["containers"][0]["resources"].values():
            del amounts["nvidia.com/gpu"]
    elif without:
        del pod[without]
    return [priority_class | {"value": value}, deployment]


placeholders = study.Exercise(
    "placeholders",
    right=placeholders_with(4),
    mistakes=[
        (placeholders_with(2), "Too late: the rule asks for about four GPUs, and these are two."),
        (
            placeholders_with(8),
            "In time, but too expensive: each placeholder keeps a GPU that you pay for all morning.",
        ),
        (
            placeholders_with(4, value=0),
            "A pod evicts only pods of lower priority, and the replicas have 0: these placeholders never give way.",
        ),
        (
            placeholders_with(4, value=-20),
            "Below -10 cluster-autoscaler calls a pod expendable and brings no node for it: there is no headroom.",
        ),
        (
            placeholders_with(4, without="gpu"),
            "These pods request no GPU, so they keep none free: request what a replica requests.",
        ),
        (
            placeholders_with(4, without="tolerations"),
            "The GPU nodes have the taint nvidia.com/gpu=present, and these pods do not tolerate it.",
        ),
    ],
    praise="A replica takes a GPU at once, and the placeholder that had it brings the next node.",
    effect=monday,
)
