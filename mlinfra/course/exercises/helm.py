"""The exercises of notebook 6: a template's line, a layer of values, a strategy, a ScaledObject, an owner, a target."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mlinfra import admission, study
from mlinfra.course import charts, costs
from mlinfra.helm import Chart, upgrade
from mlinfra.helm.deployment import Rollout
from mlinfra.manifest import Manifest

# ------------------------------------------------------------------------------------------- 1: a line of a template


def rendered_counts(line: str) -> tuple[Any, Any]:
    """What the line makes of a number, and of the same number as text."""
    return charts.replicas_line(line, 2), charts.replicas_line(line, "2")


replicas_line = study.Exercise(
    "replicas-line",
    right="replicas: {{ .Values.replicaCount }}",
    mistakes=[
        ('replicas: "{{ .Values.replicaCount }}"', "Quotes, or the function `quote`, make it a string every time."),
        (
            "replicas: {{ .Values.replicaCount | toJson }}",
            'For the text "2" this prints "2" with its quotes. `toJson` keeps the type that the value has.',
        ),
        ("replicas: 2", "That ignores the value: the count must come from `.Values.replicaCount`."),
    ],
    praise='YAML reads an unquoted 2 as a number, also where the value was the text "2".',
    effect=lambda line: (*rendered_counts(line), ".Values.replicaCount" in line),
)

# ------------------------------------------------------------------------------------------------ 2: a layer of values


def load_test(layer: dict[str, Any]) -> dict[str, Any]:
    """What counts of the chart when it is rendered with this layer over its defaults; Invalid when it is refused."""
    objects = Chart.inference().objects(layer)
    of_kind = {obj["kind"]: obj["spec"] for obj in objects if "spec" in obj}
    container = of_kind["Deployment"]["template"]["spec"]["containers"][0]
    peers = of_kind["NetworkPolicy"]["ingress"][0].get("from", []) if "NetworkPolicy" in of_kind else None
    return {
        "replicas": of_kind["Deployment"].get("replicas"),
        "scaled by": "HorizontalPodAutoscaler" if "HorizontalPodAutoscaler" in of_kind else "nobody",
        "GPUs": container["resources"]["limits"].get("nvidia.com/gpu"),
        "from": peers and [peer.get("namespaceSelector", {}).get("matchLabels") for peer in peers],
    }


LAYER: dict[str, Any] = {
    "replicaCount": 3,
    "autoscaling": {"enabled": False},
    "gpu": {"count": 2},
    "networkPolicy": {"fromNamespaces": ["load-test"]},
}

values_layer = study.Exercise(
    "values-layer",
    right=LAYER,
    mistakes=[
        (
            {**LAYER, "autoscaling": {"enabled": True}},
            "The HPA is still there, and the Deployment has no `replicas`: turn `autoscaling.enabled` off.",
        ),
        (
            {**LAYER, "autoscaling": {"minReplicas": 3, "maxReplicas": 3}, "gpu": {}},
            "An HPA from 3 to 3 keeps three replicas, but it is still an HPA. And two GPUs for each are missing.",
        ),
        (
            {**LAYER, "networkPolicy": {"fromNamespaces": ["ingress-nginx", "load-test"]}},
            "Requests from ingress-nginx still come in. A list in a later layer replaces the whole list.",
        ),
        ({**LAYER, "gpu": {}}, "Each replica still has one GPU: `gpu.count`."),
        (
            {**LAYER, "networkPolicy": {}},
            "The policy still names the default namespace: `networkPolicy.fromNamespaces`.",
        ),
    ],
    praise="Only what differs from the defaults stands in the layer.",
    effect=load_test,
)

# --------------------------------------------------------------------------------------------------- 3: a strategy


def full_cluster(rolling_update: dict[str, Any]) -> tuple[bool, int]:
    """Whether a rollout of three replicas ends where no GPU is free, and how many pods serve at least."""
    obj = deepcopy(charts.selecting(app="bert"))
    obj["spec"]["template"]["metadata"] = {"labels": {"app": "bert"}}
    obj["spec"] |= {"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling_update}}
    outcome = Rollout.of(obj, gpus=3).simulate()
    return outcome.done_s is not None, outcome.fewest_serving


strategy = study.Exercise(
    "strategy",
    right={"maxSurge": 0, "maxUnavailable": 1},
    mistakes=[
        (
            {"maxSurge": "25%", "maxUnavailable": "25%"},
            "It is stuck. 25 % of 3 is 0.75: a surge is rounded up to 1, unavailability down to 0.",
        ),
        ({"maxSurge": 0, "maxUnavailable": 2}, "It ends, but only one of three serves in between."),
        ({"maxSurge": 0, "maxUnavailable": 3}, "It ends, but nobody serves in between."),
    ],
    praise="One old pod gives up its GPU, a new one takes it, and two serve all the time.",
    effect=full_cluster,
)

# ------------------------------------------------------------------------------------------------------- 4: KEDA

SCALED_OBJECT: Manifest = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {"name": "bert-inference"},
    "spec": {
        "scaleTargetRef": {"name": "bert-inference"},
        "minReplicaCount": 2,
        "maxReplicaCount": 12,
        "triggers": [
            {
                "type": "prometheus",
                "metadata": {
                    "serverAddress": "http://prometheus.monitoring:9090",
                    "query": 'sum(in_flight{service="bert-inference"})',
                    "threshold": "3",
                },
            }
        ],
    },
}


def scaling(obj: Manifest) -> tuple[Any, ...]:
    """What the ScaledObject scales, and how; Invalid when `validate` refuses it."""
    admission.refuse("your object", admission.validate(obj))
    spec = obj["spec"]
    triggers = [(trigger["type"], trigger["metadata"].get("threshold")) for trigger in spec["triggers"]]
    bounds = spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
    target = spec["scaleTargetRef"].get("kind", "Deployment"), spec["scaleTargetRef"]["name"]
    return obj["kind"], target, bounds, triggers, spec.get("idleReplicaCount")


def _changed(**spec: Any) -> Manifest:
    return {**SCALED_OBJECT, "spec": {**SCALED_OBJECT["spec"], **spec}}


_TRIGGER = SCALED_OBJECT["spec"]["triggers"][0]

scaled_object = study.Exercise(
    "scaled-object",
    right=SCALED_OBJECT,
    mistakes=[
        (
            _changed(triggers=[{**_TRIGGER, "metadata": {**_TRIGGER["metadata"], "threshold": "30"}}]),
            "The threshold is per replica: KEDA divides the sum of the query by it to get the number of replicas.",
        ),
        (
            _changed(minReplicaCount=None),
            "Without `minReplicaCount` the minimum is 0: KEDA takes the last pod away when no request is in flight.",
        ),
        (_changed(maxReplicaCount=None), "Without `maxReplicaCount` the maximum is 100 replicas."),
        (
            _changed(scaleTargetRef={"name": "bert"}),
            "No Deployment has this name: the release names its Deployment bert-inference.",
        ),
    ],
    praise="KEDA writes an HPA from it. Turn `autoscaling.enabled` off, or two HPAs scale one Deployment.",
    effect=scaling,
)

# ------------------------------------------------------------------------------------- 5: an owner (a deep dive)

HELMS = upgrade.Managed({}).apply(upgrade.HELM, charts.deployment(2))
KUBECTL = upgrade.Manager("kubectl", updates=True, subresource="scale")

owner = study.Exercise(
    "owner",
    right=str(
        HELMS.update(KUBECTL, ("spec", "replicas"), 2).apply(upgrade.HELM, charts.deployment(3)).obj["spec"]["replicas"]
    ),
    mistakes=[
        ("conflict", "A conflict needs another owner. A write of the same value makes none."),
        ("2", "Helm owns the field and may change it."),
        (3, 'The number is right; write it as text, "3".'),
    ],
    praise="A write that changes nothing takes no ownership.",
)

# --------------------------------------------------------------------------------------------- 6: a cheaper month

BUDGET_DOLLARS, IN_TIME = 11_600, 0.999


def cheap_and_fast(settings: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the month costs less than the budget, and whether enough requests are answered within 5 s."""
    served = costs.serve(**settings)
    return costs.month(served).dollars < BUDGET_DOLLARS, served.attained(5) >= IN_TIME


cheaper = study.Exercise(
    "cheaper",
    right={"target": 3.4, "least": 2},
    mistakes=[
        ({"target": 2.8, "least": 2}, "All requests are in time, and the month costs more than 11,600 dollars."),
        ({"fixed": 4}, "Four replicas are cheap enough, and too many requests wait longer than 5 s."),
        (
            {"target": 3.8, "least": 2},
            "Neither: four requests on a replica are within the HPA's tolerance, so it acts only when requests queue.",
        ),
    ],
    praise="The replicas are fuller, and there is still room for a burst.",
    effect=cheap_and_fast,
)
