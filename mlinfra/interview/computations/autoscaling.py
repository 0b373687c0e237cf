"""The computations of notebook 05's cards: autoscaling."""

from __future__ import annotations

import math

from mlinfra.autoscaling import hpa, knative, vpa
from mlinfra.course import llm_server, measured, predicted
from mlinfra.interview.computations.computed import Numbers
from mlinfra.manifest import ObjectReference


def hpa_by_hand() -> Numbers:
    """Passes of the controller until 2 replicas under 900 % load have become 20."""
    target = hpa.Resource("cpu", hpa.Utilization(60))
    autoscaler = hpa.HorizontalPodAutoscaler(
        "bert", ObjectReference("Deployment", "bert"), 20, 2, (target,), hpa.Behavior()
    )

    def observation(replicas: int, percent: int) -> hpa.Observation:
        pods = hpa.running_pods(replicas, cpu=1)
        return hpa.Observation(replicas, pods, (hpa.evenly(10 * percent * replicas, pods),))

    def after_one_pass(percent: int) -> int:
        return hpa.reconcile(autoscaler, observation(4, percent), hpa.ScaleHistory(), 0).desired

    steps = hpa.simulate(autoscaler, lambda _, replicas: observation(replicas, 900), 2, 60)
    passes = next(number for number, step in enumerate(steps, 1) if step.desired == 20)
    climbing = [2]
    while climbing[-1] < 10:
        climbing.append(math.ceil(climbing[-1] * 61 / 60))
    named = {
        "at_90": after_one_pass(90),
        "at_65": after_one_pass(65),
        "ratio": 65 / 60,
        "ramp": [steps[0].current] + [step.desired for step in steps if step.desired > step.current],
        "passes": passes,
        "last_pass_s": steps[passes - 1].at_s,
        "climbing": climbing,
    }
    return Numbers(passes, named)


def llm_signal() -> Numbers:
    """The 99th percentile of the wait in ms, for 8 servers that are 88 % busy."""
    rate_per_s, service_s = 70, 0.1
    in_service = rate_per_s * service_s

    def waiting_share(servers: int) -> float:
        """M/M/c: the probability to wait."""
        blocked = 1.0
        for n in range(1, servers + 1):  # Erlang B, one server after the other
            blocked = in_service * blocked / (n + in_service * blocked)
        return blocked / (1 - in_service / servers * (1 - blocked))  # Erlang C

    def p99_ms(servers: int) -> float:
        spare_per_s = servers / service_s - rate_per_s
        return max(0.0, 1000 * math.log(waiting_share(servers) / 0.01) / spare_per_s)

    in_queue_at_8 = waiting_share(8) * in_service / (8 - in_service)
    light, broken = (llm_server.knee(rates=(per_s,))[per_s] for per_s in (1, 5))
    named = {
        "busy_share": {servers: f"{100 * in_service / servers:.0f} %" for servers in (8, 10, 14)},
        "table": {
            servers: f"{100 * waiting_share(servers):.0f} % of the requests wait, p99 {p99_ms(servers):.0f} ms"
            for servers in (8, 10, 14)
        },
        "in_service": in_service,
        "in_flight_at_8": in_service + in_queue_at_8,
        "dial": llm_server.busy(light),
        "per_token_ms": 1000 * (broken.tpot_s(0.99) or 0.0),
        "running": llm_server.mean(broken.steps, "num_requests_running"),
        "kv_use": llm_server.mean(broken.steps, "kv_cache_usage_perc"),
        "waiting": llm_server.mean(broken.steps, "num_requests_waiting"),
    }
    return Numbers(round(p99_ms(8)), named)


def knative_burst() -> Numbers:
    """Pods that Knative asks for in its first tick, with 500 requests in flight and none ready."""
    autoscaler = knative.KPA()
    target, total = knative.metric_target(autoscaler.revision, autoscaler.config)
    for second in range(3):
        autoscaler.record(second, 500)
    tick = autoscaler.desired(now_s=2, ready_pods=0)
    return Numbers(tick.desired, {"target": target, "total": total, "tick": tick})


def queue_workers() -> Numbers:
    """Pods that keep up with 50 messages per second and drain 6,000 in 120 s."""
    arriving_per_s, per_pod_per_s, backlog, drain_s = 50, 10, 6000, 120
    draining = math.ceil((arriving_per_s + backlog / drain_s) / per_pod_per_s)
    named = {
        "level": math.ceil(arriving_per_s / per_pod_per_s),
        "draining": draining,
        "backlog": backlog,
        "drain_s": drain_s,
    }
    return Numbers(draining, named)


def vpa_for_models() -> Numbers:
    """GiB that the VPA recommends after a week with a load peak of 12 GiB every day."""
    gib, history = 2**30, vpa.AggregateContainerState()
    for day in range(7):
        server = vpa.ContainerState(history)
        for minute in range(1440):
            at_s = day * 86_400 + minute * 60
            server.add_cpu(500, at_s)
            server.add_memory(12 * gib if minute == 0 else 4 * gib, at_s)
    recommendation = vpa.recommend(history)
    target_gib = recommendation.target.memory_bytes / gib
    return Numbers(round(target_gib, 1), {"recommendation": recommendation, "target_gib": target_gib})


def headroom() -> Numbers:
    """Replicas that must run before they are needed: what is missing while the first new one starts."""
    node_s, without_node_s = 150, 30 + 172
    rise_per_s, per_replica = 30 / 60, 10
    missing_per_s = (node_s + without_node_s) * rise_per_s
    ahead = math.ceil(missing_per_s / per_replica)
    named = {
        "whole_s": node_s + without_node_s,
        "missing_per_s": missing_per_s,
        "ahead": ahead,
        "without_node_s": without_node_s,
        "warm": math.ceil(without_node_s * rise_per_s / per_replica),
        "free": math.ceil(node_s * rise_per_s / per_replica),
    }
    return Numbers(ahead, named)


def slo_and_cost() -> Numbers:
    """Dollars for a million tokens when the GPUs are busy 30 % of the time."""
    per_hour, month_h = 8 * 3.0, 30 * 24
    tokens_per_hour = 2500 * 3600
    full = per_hour / tokens_per_hour * 1e6
    at_30 = full / 0.30
    named = {
        "full": full,
        "at_30": at_30,
        "budget_min": month_h * 60 * 0.001,
        "burned": 14.4 * 1 / month_h,
        "saved": 0.60 * month_h * per_hour,
    }
    return Numbers(round(at_30, 2), named)


def which_card() -> Numbers:
    """Dollars for a million tokens on an H200 that decodes for 64 users."""
    per_hour = {"h100": 3.0, "h200": 3.9}
    cost = {
        card: predicted.dollars_per_million(per_hour[card], predicted.decoding(card, 64, 512)["tokens_per_s"])
        for card in measured.CARDS
    }
    decoding = predicted.decoding_speed_up(64, 512)
    weights_gb = 16.06
    named = {
        "predicted": decoding.predicted,
        "gain": decoding.measured,
        "per_s": predicted.decoding("h200", 64, 512)["tokens_per_s"],
        "dollars": cost["h200"],
        "before": cost["h100"],
        "even": per_hour["h100"] * decoding.measured,
        "prefill": predicted.prefill_speed_up(2048).measured,
        "bert": predicted.bert_speed_up(64).measured,
        "long": predicted.decoding_speed_up(32, 8192).measured,
        "many": predicted.decoding_speed_up(256, 512).measured,
        "room": (141 - weights_gb) / (80 - weights_gb),
        "bandwidth": 4.8 / 3.35,
    }
    return Numbers(round(cost["h200"], 3), named)
