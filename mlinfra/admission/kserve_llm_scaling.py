"""`spec.scaling` of an LLMInferenceService: the workload variant autoscaler (WVA), or KEDA with triggers of one's own.

KServe main of August 2026, `ValidateWorkloadScaling` and `ValidateActuatorConsistency` in
`pkg/apis/serving/v1alpha2/llm_inference_service_validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission.rules import Field, Problem, Rules, below, holds, whole

KEDA: Rules = [
    ("(cooldownPeriod|idleReplicaCount|initialCooldownPeriod)", whole(0)),
    ("pollingInterval", whole(1)),
]
_COST = holds(
    lambda cost: not cost or bool(re.fullmatch(r"\d+(\.\d+)?", cost, re.A)),
    'variantCost must be a non-negative numeric string (e.g., "10", "10.0", "0.5")',
)
RULES: Rules = [
    ("(minReplicas|maxReplicas)", whole(1)),
    *below("(keda|wva.keda)", KEDA),
    ("wva.variantCost", _COST),
]


def one_way_to_scale(workload: Field) -> Iterator[Problem]:
    """`ValidateWorkloadScaling`: fixed replicas or one autoscaler."""
    scaling = workload["scaling"]
    least, most, wva, keda = (scaling[name] for name in ("minReplicas", "maxReplicas", "wva", "keda"))
    if scaling.value is None:
        return
    if workload["replicas"].value is not None:
        why = "scaling and replicas are mutually exclusive; use scaling for autoscaled deployments "
        yield Problem(scaling.path, why + "or replicas for static deployments")
    if least.value is not None and least.value > most.value:
        yield least.invalid(f"minReplicas ({least.value}) cannot exceed maxReplicas ({most.value})")
    if wva.value is not None and keda.value is not None:
        yield Problem(scaling.path, "wva and keda are mutually exclusive; choose one scaling mechanism")
    elif wva.value is None and keda.value is None:
        yield scaling.required("either wva or keda must be specified when scaling is configured")
    elif keda.value is not None:
        yield from _direct_keda(keda, least)
    else:
        yield from _wva(wva, least)


def _direct_keda(keda: Field, least: Field) -> Iterator[Problem]:
    if not keda["triggers"].value:
        yield keda["triggers"].required("at least one trigger is required when using direct KEDA scaling")
    yield from _keda(keda, least)


def _wva(wva: Field, least: Field) -> Iterator[Problem]:
    """The workload variant autoscaler works through an HPA or through KEDA, and owns the formula."""
    hpa, keda = wva["hpa"], wva["keda"]
    if hpa.value is not None and keda.value is not None:
        yield Problem(wva.path, "hpa and keda are mutually exclusive; choose one actuator backend")
    if hpa.value is None and keda.value is None:
        yield wva.required("either hpa or keda must be specified as the actuator backend")
    modifiers = keda["advanced"]["scalingModifiers"]
    if any((modifiers.value or {}).values()):
        yield modifiers.forbidden("scalingModifiers must not be set; WVA controls the scaling metric formula and logic")
    yield from _keda(keda, least)


def _keda(keda: Field, least: Field) -> Iterator[Problem]:
    name, idle = keda["advanced"]["horizontalPodAutoscalerConfig"]["name"], keda["idleReplicaCount"]
    if name.value:
        why = "horizontalPodAutoscalerConfig.name must not be set; the controller manages the HPA name"
        yield name.forbidden(why)
    if idle.value is not None and least.value is None:
        why = f"idleReplicaCount ({idle.value}) must be less than minReplicas"
        yield least.required(f"minReplicas is required when idleReplicaCount is set; {why}")
    elif idle.value is not None and idle.value >= least.value:
        yield idle.invalid(f"idleReplicaCount ({idle.value}) must be less than minReplicas ({least.value})")


def one_actuator(spec: Field) -> Iterator[Problem]:
    """`ValidateActuatorConsistency`: decode and prefill are scaled in the same way."""
    decode, prefill = spec["scaling"], spec["prefill"]["scaling"]
    if decode.value is None or prefill.value is None:
        return
    modes = ["wva" if scaling["keda"].value is None else "direct keda" for scaling in (decode, prefill)]
    backends = ["keda" if scaling["wva"]["hpa"].value is None else "hpa" for scaling in (decode, prefill)]
    if modes[0] != modes[1]:
        why = f"same scaling mode; decode uses {modes[0]} but prefill uses {modes[1]}"
        yield Problem(prefill.path, f"decode and prefill must use the {why}")
    elif "wva" in modes and backends[0] != backends[1]:
        why = f"same actuator backend; decode uses {backends[0]} but prefill uses {backends[1]}"
        yield Problem(prefill["wva"].path, f"decode and prefill must use the {why}")
