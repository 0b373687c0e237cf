"""KEDA beyond upstream's cases: the HPA it writes, sleep and wake, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from builders import BERT
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission, manifest
from mlinfra.admission import validate
from mlinfra.autoscaling import hpa, keda

RATE = keda.Trigger("prometheus", {"query": "sum(rate(http_requests_total[1m]))"}, 100, 1)
LOAD = keda.Trigger("cpu", threshold=60, metric_type="Utilization")


def scaled(**given: Any) -> keda.ScaledObject:
    parts: dict[str, Any] = {"name": "bert", "scale_target_ref": BERT, "triggers": (RATE,)}
    return keda.ScaledObject(**parts | given)


def test_the_hpa_that_keda_writes() -> None:
    made = scaled(triggers=(RATE, LOAD), max_replica_count=20, behavior=hpa.Behavior()).hpa()
    assert (made.name, made.min_replicas, made.max_replicas) == ("keda-hpa-bert", 1, 20)
    assert made.metrics == (
        hpa.External("s0-prometheus", hpa.AverageValue(100)),
        hpa.Resource("cpu", hpa.Utilization(60)),
    )
    assert admission.validate(made.manifest()) == []


def test_values_in_the_manifest_are_strings() -> None:
    (trigger,) = scaled().manifest()["spec"]["triggers"]
    assert trigger["metadata"]["threshold"] == "100"
    assert trigger["metadata"]["activationThreshold"] == "1"


def test_asleep_until_above_the_activation_threshold() -> None:
    assert [RATE.active(value) for value in (0, 1, 1.1)] == [False, False, True]
    assert keda.request_scale(scaled(), keda.Status(0, active=True)) == 1
    assert keda.request_scale(scaled(min_replica_count=3), keda.Status(0, active=True)) == 3


@given(st.integers(0, 50), st.integers(0, 5), st.floats(0, 1000))
def test_idle_goes_to_zero_only_without_a_minimum_and_after_the_cooldown(replicas: int, low: int, age_s: float) -> None:
    after = keda.request_scale(scaled(min_replica_count=low), keda.Status(replicas, False, last_active_age_s=age_s))
    if low == 0 and age_s > 300:
        assert after == 0
    else:
        assert after == max(replicas, low)


def test_idle_replicas() -> None:
    idle = scaled(min_replica_count=5, idle_replica_count=1)
    assert keda.request_scale(idle, keda.Status(7, active=False)) == 1
    assert keda.request_scale(idle, keda.Status(1, active=False)) == 1
    assert keda.request_scale(idle, keda.Status(1, active=True)) == 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"min_replica_count": 5, "max_replica_count": 2},
            "spec.minReplicaCount: Invalid value: 5: MinReplicaCount=5 must be",
        ),
        ({"min_replica_count": 2, "idle_replica_count": 2}, "IdleReplicaCount=2 must be less than MinReplicaCount=2"),
        ({"triggers": ()}, "spec.triggers: Required value"),
        ({"triggers": (LOAD,)}, "only cpu/memory triggers"),
        (
            {"triggers": (keda.Trigger("cpu", {}, 60, metric_type="Value"),), "min_replica_count": 1},
            "unknown metric type: Value, allowed values are 'Utilization' or 'AverageValue'",
        ),
        (
            {"triggers": (keda.Trigger("cron", metric_type="Utilization"),)},
            "'Utilization' metric type is unsupported for external metrics",
        ),
        ({"triggers": (keda.Trigger("kafka", metric_type="Average"),)}, 'metricType: Unsupported value: "Average"'),
        ({"polling_interval": 0}, "spec.pollingInterval: Invalid value: 0: must be greater than or equal to 1"),
        ({"cooldown_period": -1}, "spec.cooldownPeriod: Invalid value: -1"),
        ({"name": "My"}, "metadata.name"),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        scaled(**wrong)


def test_the_cooldown_must_be_over() -> None:
    for age_s, after in ((300, 4), (300.1, 0)):
        assert keda.request_scale(scaled(), keda.Status(4, False, last_active_age_s=age_s)) == after


def test_cpu_and_memory_together_cannot_wake_from_zero_either() -> None:
    memory = keda.Trigger("memory", threshold=60, metric_type="Utilization")
    with pytest.raises(admission.Invalid, match="only cpu/memory triggers"):
        scaled(triggers=(LOAD, memory))


def test_the_minimum_may_equal_the_maximum() -> None:
    """`CheckReplicaCountBoundsAreValid`: less than or equal."""
    assert scaled(min_replica_count=5, max_replica_count=5).hpa().min_replicas == 5


def test_a_maximum_that_is_not_given_is_100() -> None:
    for low, problems in ((100, 0), (101, 1)):
        obj = scaled(min_replica_count=1).manifest()
        obj["spec"]["minReplicaCount"] = low
        del obj["spec"]["maxReplicaCount"]
        assert len(validate(obj)) == problems


def test_before_the_first_activity_the_initial_cooldown_must_be_over() -> None:
    """Creation plus the cooldown must lie before now."""
    for age_s, after in ((60, 4), (60.1, 0)):
        seen = keda.Status(4, False, created_age_s=age_s)
        assert keda.request_scale(scaled(initial_cooldown_period=60), seen) == after


def test_a_container_of_its_own_name_is_watched_alone() -> None:
    own = keda.Trigger("cpu", {"containerName": "app"}, 60, metric_type="Utilization")
    assert scaled(triggers=(own,), min_replica_count=1).hpa().metrics == (
        hpa.ContainerResource("cpu", hpa.Utilization(60), "app"),
    )


triggers = st.builds(
    keda.Trigger,
    st.sampled_from(["prometheus", *sorted(keda.TARGET_FIELDS.keys() - {"cpu", "memory", "cron"})]),
    st.sampled_from([{}, {"query": "q"}]),
    st.sampled_from([1, 8, "2.8", 0.5, 10_000_000]),
    st.floats(0, 1e9),
    st.sampled_from(["AverageValue", "Value"]),
) | st.builds(
    keda.Trigger,
    st.just("cpu"),
    threshold=st.integers(1, 300),
    metric_type=st.sampled_from(["Utilization", "AverageValue"]),
)


@given(
    st.lists(triggers, min_size=1, max_size=3).map(tuple),
    st.integers(1, 5),
    st.none() | st.just(0),
    st.integers(1, 600),
    st.sampled_from([None, hpa.Behavior(), hpa.Behavior(hpa.ScalingRules(tolerance="0.05"))]),
)
def test_a_manifest_is_read_as_it_is_written(
    sources: tuple[keda.Trigger, ...], low: int, idle: int | None, period: int, behavior: hpa.Behavior | None
) -> None:
    written = scaled(
        triggers=sources, min_replica_count=low, idle_replica_count=idle, polling_interval=period, behavior=behavior
    )
    assert keda.ScaledObject.of(written.manifest()) == written


def stored(**spec: Any) -> manifest.Manifest:
    trigger = {"type": "prometheus", "metadata": {"query": "q", "threshold": "8"}}
    metadata = {"name": "bert", "uid": "1", "finalizers": ["finalizer.keda.sh"]}
    base: dict[str, Any] = {"scaleTargetRef": {"name": "bert-classifier"}, "triggers": [trigger]}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": base | spec,
        "status": {"hpaName": "keda-hpa-bert"},
    }


def test_what_kubectl_shows_is_read_and_the_defaults_filled_in() -> None:
    assert keda.ScaledObject.of(stored(pollingInterval=None)) == scaled(
        triggers=(keda.Trigger("prometheus", {"query": "q"}, 8),)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"triggers": [{"type": "mysql", "metadata": {"queryValue": "5"}}]},
            "spec.triggers[0].type: Forbidden: mysql: not read here: only triggers whose target is threshold",
        ),
        (
            {"triggers": [{"type": "datadog", "metadata": {"threshold": "5", "activationThreshold": "few"}}]},
            'activationThreshold: Invalid value: "few"',
        ),
        ({"triggers": [{"type": "datadog", "metadata": {"threshold": 5}}]}, "in body must be of type string"),
        ({"minReplicas": 1}, 'unknown field "spec.minReplicas"'),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        keda.ScaledObject.of(stored(**change))


@pytest.mark.parametrize(
    ("kind", "metadata", "threshold", "activation"),
    [
        ("kafka", {"topic": "t", "lagThreshold": "50", "activationLagThreshold": "3"}, 50, 3),
        ("kafka", {"topic": "t"}, 10, 0),
        ("aws-sqs-queue", {"queueURL": "https://sqs.example.org/1/q", "queueLength": "30"}, 30, 0),
        ("redis", {"listName": "l", "activationListLength": "2"}, 5, 2),
        ("rabbitmq", {"mode": "QueueLength", "value": "20", "activationValue": "1"}, 20, 1),
        ("cron", {"timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "6"}, 1, 0),
    ],
)
def test_scalers_that_do_not_say_threshold_are_read_by_their_own_fields(
    kind: str, metadata: dict[str, str], threshold: int, activation: float
) -> None:
    read = keda.ScaledObject.of(stored(triggers=[{"type": kind, "metadata": metadata}]))
    (trigger,) = read.triggers
    assert (trigger.threshold, trigger.activation_threshold) == (threshold, activation)
    assert read.metrics() == (hpa.External(f"s0-{kind}", hpa.AverageValue(threshold)),)
    written = trigger.manifest()["metadata"]
    assert written.items() >= metadata.items()
    assert keda.Trigger.of(trigger.manifest()) == trigger


def prometheus(**more: Any) -> manifest.Manifest:
    return {"type": "prometheus", "metadata": {"query": "q", "threshold": "1"}, **more}


def processor(**more: Any) -> manifest.Manifest:
    return {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}, **more}


def formula(text: str, **more: Any) -> manifest.Manifest:
    """Over a trigger `a` and one of cpu that is called `c`."""
    modifiers = {"formula": text, "target": "1", **more}
    return {
        "triggers": [prometheus(name="a"), processor(name="c")],
        "advanced": {"scalingModifiers": {name: value for name, value in modifiers.items() if value is not None}},
    }


FALLBACK = {"failureThreshold": 3, "replicas": 6}


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        (
            {"triggers": [prometheus(name="a"), prometheus(name="a")]},
            "spec.triggers[1].name",
            'triggerName "a" is defined multiple times in the ScaledObject/ScaledJob, but it must be unique',
        ),
        (formula("a", target=None), "spec.advanced.scalingModifiers.target", "formula is given but target is empty"),
        (formula("a + b"), "spec.advanced.scalingModifiers.formula", "unknown name b (1:11)"),
        (
            {"triggers": [processor()], "minReplicaCount": 1, "fallback": FALLBACK},
            "spec.fallback",
            "at least one trigger (that is not cpu or memory) has to have the `AverageValue` type",
        ),
    ],
)
def test_the_webhooks_rules_people_met(spec: manifest.Manifest, path: str, words: str) -> None:
    """`ValidateTriggers`, `ValidateAndCompileScalingModifiers`, `CheckFallbackValid`."""
    (problem,) = validate(stored(**spec))
    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        (formula("", activationTarget="5"), "scalingModifiers.formula", "error ScalingModifiers.Formula is mandatory"),
        (formula("a + c"), "scalingModifiers.formula", "unknown name c"),  # cpu has no value in a formula
        (formula("let x = a; x + y"), "scalingModifiers.formula", "unknown name y"),
        (formula("a.b + sin(a)"), "scalingModifiers.formula", "unknown name sin"),
        (formula("max(a, 1"), "scalingModifiers.formula", "unexpected token EOF"),
        (formula("a + 1)"), "scalingModifiers.formula", 'unexpected token Bracket(")")'),
        (formula("a +"), "scalingModifiers.formula", 'unexpected token Bracket(")")'),
        (formula("a 2"), "scalingModifiers.formula", 'unexpected token Number("2")'),
        (formula("(a) a"), "scalingModifiers.formula", 'unexpected token Identifier("a")'),
        (formula("a", target="0"), "scalingModifiers.target", "error converting target for scalingModifiers"),
        (formula("a", target="ten"), "scalingModifiers.target", "error converting target for scalingModifiers"),
        (formula("a", activationTarget="few"), "activationTarget", "strconv.ParseFloat"),
        (formula("a", metricType="Utilization"), "metricType", 'Unsupported value: "Utilization"'),
        ({"fallback": FALLBACK | {"replicas": -1}}, "spec.fallback.replicas", "must be greater than or equal to 0"),
        ({"fallback": FALLBACK | {"failureThreshold": -1}}, "spec.fallback.failureThreshold", "greater than or equal"),
        ({"fallback": FALLBACK | {"behavior": "scalingModifiers"}}, "spec.fallback.behavior", "scalingModifiers.formula"),
        ({"triggers": [prometheus(), processor(useCachedMetrics=True)]}, "useCachedMetrics", 'for "cpu" scaler'),
        ({"triggers": [processor(metricType=None)], "minReplicaCount": 1}, "metricType", "unknown metric type: , allowed"),
        ({"triggers": [prometheus(), processor(metadata={"value": ""})]}, "metadata.value", "missing required parameter"),
        (
            {"triggers": [prometheus(), processor(metadata={"type": "Utilization", "value": "60"})]},
            "metadata.type",
            "is removed in v2.18 - Use 'metricType' instead.",
        ),
        (
            {"triggers": [prometheus(), processor(metricType="AverageValue", metadata={"value": "sixty"})]},
            "spec.triggers[1].metadata.value",
            "quantities must match",
        ),
        ({"advanced": {"horizontalPodAutoscalerConfig": {"name": "h" * 64}}}, "metadata.name", "HPA name"),
        ({"advanced": {"horizontalPodAutoscalerConfig": {"name": "My"}}}, "horizontalPodAutoscalerConfig.name", "RFC 1123"),
        (
            {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 5000}}}}},
            "behavior.scaleUp.stabilizationWindowSeconds",
            "must be less than or equal to 3600",
        ),
    ],
)  # fmt: skip
def test_the_webhooks_other_rules(spec: manifest.Manifest, path: str, words: str) -> None:
    """`scaledobject_webhook.go` and `cpu_memory_scaler.go`."""
    (problem,) = validate(stored(**spec))
    assert problem.path.endswith(path)
    assert words in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a ?? 5",
        "float(float(a < 5 ? a + a : 5))",
        "count([a, 2], {# > 1}) > 1 ? 5 : 0",
        "let x = max(a, 1); x ** 2",
        "a matches 'b' ? 1 : 2",
        "[a, 2, 3][1:][0]",
        "reduce([a, 2], #acc + #)",
        "if a > 1 { 5 } else { 0 }",
        "a | max(2)",
    ],
)
def test_formulas_that_compile(text: str) -> None:
    """Upstream's own among them (`scaledobject_webhook_test.go`)."""
    assert validate(stored(**formula(text))) == []


def test_names_are_labels() -> None:
    """`verifyName`: with the prefix of the HPA 54 characters are left."""
    for length, words in ((54, ""), (55, "HPA name"), (64, "scaledobject name")):
        obj = stored()
        obj["metadata"]["name"] = "a" * length
        problems = validate(obj)
        assert (words in problems[0].message) if words else problems == []


def test_periods_without_effect_are_a_warning() -> None:
    """`verifyScaledObjects` of 2.20.2: KEDA's own loop is not asked where there is always a replica."""
    awake = {"minReplicaCount": 1, "pollingInterval": 30, "cooldownPeriod": 300}
    assert [each.path for each in validate(stored(**awake))] == ["spec.pollingInterval", "spec.cooldownPeriod"]
    cached = stored(**awake, triggers=[prometheus(useCachedMetrics=True)])
    assert [each.path for each in validate(cached)] == ["spec.cooldownPeriod"]
    assert validate(stored(**awake | {"minReplicaCount": 2}, idleReplicaCount=0)) == []
    assert validate(scaled(min_replica_count=1).manifest()) == []


def test_a_fallback_is_valid_with_one_external_trigger() -> None:
    assert validate(stored(triggers=[prometheus(), processor()], fallback=FALLBACK)) == []


@pytest.mark.parametrize(
    ("kind", "threshold", "metric_type", "message"),
    [
        ("cpu", "62.5", "Utilization", 'Trigger is invalid: cpu.threshold: Invalid value: "62.5": strconv.ParseInt'),
        ("memory", 2**31, "Utilization", "value out of range"),
        ("memory", "4GB", "AverageValue", "memory.threshold"),
        ("prometheus", "500m", "AverageValue", 'prometheus.threshold: Invalid value: "500m": strconv.ParseFloat'),
    ],
)
def test_a_target_is_refused_when_the_trigger_is_built(
    kind: str, threshold: Any, metric_type: str, message: str
) -> None:
    """`parseUtilization`, a quantity for cpu and memory, a float for the others."""
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        keda.Trigger(kind, {}, threshold, metric_type=metric_type)


A, B = (keda.Trigger("prometheus", {"query": name}, 1, 5, name=name) for name in "ab")
OWN = keda.Trigger("cpu", {"containerName": "app"}, 60, metric_type="Utilization")


def test_a_formula_replaces_the_metrics_of_the_external_triggers() -> None:
    """`getScaledObjectMetricSpecs`: those of cpu and memory stay, but for one of a single container."""
    half = keda.ScalingModifiers("max(a, b) / 2", "2.5", 1)
    made = scaled(triggers=(A, B, LOAD, OWN), scaling_modifiers=half)
    composite = hpa.External("composite-metric", hpa.AverageValue("2500m"))
    assert made.hpa().metrics == (hpa.Resource("cpu", hpa.Utilization(60)), composite)
    assert [made.active([value]) for value in (1, 1.1)] == [False, True]
    assert keda.ScaledObject.of(made.manifest()) == made
    assert validate(made.manifest()) == validate(made.hpa().manifest()) == []
    assert keda.ScalingModifiers("a", 3, metric_type="Value").metric().target == hpa.Value("3000m")


@pytest.mark.parametrize(
    ("modifiers", "message"),
    [
        (lambda: keda.ScalingModifiers("a", "x"), "ScalingModifiers is invalid: target"),
        (lambda: keda.ScalingModifiers("a", "inf"), "must be greater than 0"),
        (lambda: scaled(triggers=(A,), scaling_modifiers=keda.ScalingModifiers("a + b", 1)), "unknown name b (1:11)"),
        (lambda: scaled(scaling_modifiers=keda.ScalingModifiers("a", 1, metric_type="Utilization")), "metricType"),
    ],
)
def test_a_formula_is_refused_as_the_webhook_does(modifiers: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        modifiers()


def test_what_is_not_modelled_of_an_object_is_named() -> None:
    obj = stored(fallback=FALLBACK, triggers=[prometheus(authenticationRef={"name": "token"})])
    assert manifest.unused_fields(obj, keda.ScaledObject.of(obj).manifest()) == [
        "spec.triggers[0].authenticationRef.name",
        "spec.fallback.failureThreshold",
        "spec.fallback.replicas",
    ]


def test_any_external_trigger_wakes_it_and_cpu_alone_never_sleeps() -> None:
    cpu = keda.Trigger("cpu", threshold=80, metric_type="Utilization")
    queue = keda.Trigger("kafka", threshold=5)
    both = keda.ScaledObject("b", BERT, (cpu, queue))
    assert [both.active(values) for values in ([9, 0], [0, 1])] == [False, True]
    assert keda.ScaledObject("b", BERT, (cpu,), min_replica_count=1).active([0])
