"""What KServe's controller makes of an InferenceService: objects, annotations, traffic, an HPA.

Follows KServe 0.20 (commit 0217bdab): `pkg/controller/v1beta1/inferenceservice/` `components/predictor.go`,
`reconcilers/{knative/ksvc_reconciler,hpa/hpa_reconciler,deployment/deployment_reconciler}.go`, `utils/utils.go`;
`pkg/controller/v1alpha1/utils/utils.go`; `pkg/apis/serving/v1beta1/inference_service_status.go`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from mlinfra.admission.kserve import STOP, autoscaler_class, mode
from mlinfra.admission.kserve_storage import MODEL, storage_uris
from mlinfra.admission.rules import Field, decoded, select
from mlinfra.manifest import Manifest

KNATIVE = "autoscaling.knative.dev"
DROPPED = (f"{KNATIVE}/min-scale", f"{KNATIVE}/max-scale", "kubectl.kubernetes.io/last-applied-configuration")
DEFAULT_CPU_UTILIZATION = 80

# -------------------------------------------------------------------------------------------- what is in the cluster


class Made(NamedTuple):
    """An object of the cluster, and how many owners stand above it."""

    depth: int
    kind: str
    name: str


def reconcile(service: Manifest, gateway_api: bool = True) -> list[Made]:
    """What an InferenceService becomes, owners before what they own; one that is stopped has nothing below it.

    In Standard mode the way in is a pair of HTTPRoutes with `gateway_api`, and one Ingress without it, which is the
    default of KServe's Helm chart. In Knative mode it is Istio's VirtualService. Knative's internal objects
    (ServerlessService, Metric, Image, a revision's Services) are left out.
    """
    standard = mode(service) == "Standard"
    made = [Made(0, "InferenceService", service["metadata"]["name"])]
    if str((service["metadata"].get("annotations") or {}).get(STOP)).lower() == "true":
        return made
    for name, component in components(service):
        made += raw_component(name, autoscaler(service, component)) if standard else knative_component(name)
    if not standard:
        return made + istio_routes(service)
    return made + (http_routes(service) if gateway_api else [Made(1, "Ingress", service["metadata"]["name"])])


def components(service: Manifest) -> list[tuple[str, Manifest]]:
    """The predictor, its canaries and the transformer, with the name of what runs each."""
    name, spec = service["metadata"]["name"], service["spec"]
    predictors = [spec["predictor"], *(canary["predictor"] for canary in spec.get("canary") or ())]
    named = [(predictor_name(name, predictor), predictor) for predictor in predictors]
    return named + ([(f"{name}-transformer", spec["transformer"])] if spec.get("transformer") else [])


def autoscaler(service: Manifest, component: Manifest) -> str:
    """Who scales a component: its own annotation counts before the service's, and without one an HPA scales."""
    annotations = service["metadata"].get("annotations") or {}
    return autoscaler_class(annotations | (component.get("annotations") or {}))


def predictor_name(service: str, predictor: Manifest) -> str:
    """The name of the predictor's Deployment, Service and HPA, or of its Knative Service."""
    return "-".join(filter(None, [service, predictor.get("name"), "predictor"]))


SCALERS = {"hpa": ("HorizontalPodAutoscaler",), "keda": ("ScaledObject",), "external": (), "none": ()}


def raw_component(name: str, scaler: str = "hpa") -> list[Made]:
    """Standard mode: plain Kubernetes objects; a canary's HPA has its replicas as minimum and maximum.

    Of a service that scales itself (`none`), or is scaled by others (`external`), an HPA of KServe's is deleted.
    """
    return [Made(1, kind, name) for kind in ("Deployment", "Service", *SCALERS.get(scaler, ()))]


def knative_component(name: str) -> list[Made]:
    """Knative mode: a Knative Service, and what Knative makes of it; the first revision has the number 1."""
    revision = f"{name}-00001"
    return [
        Made(1, "Knative Service", name),
        Made(2, "Route", name),
        Made(2, "Configuration", name),
        Made(3, "Revision", revision),
        Made(4, "PodAutoscaler", revision),
        Made(4, "Deployment", f"{revision}-deployment"),
    ]


def http_routes(service: Manifest) -> list[Made]:
    """Standard mode: routes to the predictor, to the transformer, and by the service's own name.

    The predictor's does not hold `predictor.name`, so that its host stays when a canary is promoted.
    """
    name = service["metadata"]["name"]
    transformer = [f"{name}-transformer"] if service["spec"].get("transformer") else []
    return [Made(1, "HTTPRoute", route) for route in (f"{name}-predictor", *transformer, name)]


def istio_routes(service: Manifest) -> list[Made]:
    """Knative mode: the service's name inside the cluster, and the way in from outside."""
    name = service["metadata"]["name"]
    return [Made(1, "Service", name), Made(1, "VirtualService", name)]


def containers(service: Manifest) -> list[str]:
    """What runs in the predictor's pod: the model is fetched first unless a volume has it, and Knative adds a proxy.

    An image with the model (`oci://`) stands beside the server, as in KServe's chart.
    """
    schemes = [source.partition("://")[0] for source in sources(service)]
    images = [f"-{i}" if i else "" for i in range(sum(scheme in MODELCARS for scheme in schemes))]
    fetch = ["storage-initializer"] if set(schemes) - MOUNTED else []
    proxy = [] if mode(service) == "Standard" else ["queue-proxy"]
    before, beside = ([f"{name}{number}" for number in images] for name in ("modelcar-init", "modelcar"))
    return [*before, *fetch, "kserve-container", *beside, *proxy]


MODELCARS = ("oci", "oci+modelcar")
"""Schemes whose image is a container of the pod."""

MOUNTED = {*MODELCARS, "oci+native", "pvc"}
"""Schemes for which nothing is downloaded; `oci+native` and `pvc` are volumes."""


def sources(service: Manifest) -> list[str]:
    """Where the predictor's model comes from: its URI, the path in a storage that a secret describes, or several."""
    predictor = Field(decoded(service))["spec"]["predictor"]
    whole = Field({"spec": {"predictor": predictor.value}})
    several = [str(uri.value) for uri in select(predictor, "storageUris[].uri") if uri.value]
    paths = [f"storage://{path.value}" for path in select(predictor, f"{MODEL}.storage.path") if path.value]
    return [*(str(uri.value) for uri in storage_uris(whole)), *paths, *several]


# --------------------------------------------------------------------------------------------------- Knative mode


def revision_annotations(component: Manifest, annotations: Mapping[str, str]) -> dict[str, str]:
    """Annotations of the revision's template: those of the InferenceService, overwritten by the fields that are set.

    Its own min-scale and max-scale are dropped. `minReplicas` that is not given is written as 1, a maximum of 0 is
    left out.
    """
    passed_on = {name: value for name, value in annotations.items() if name not in DROPPED}
    low = component.get("minReplicas")
    fields = {
        "target": component.get("scaleTarget"),
        "metric": component.get("scaleMetric"),
        "min-scale": 1 if low is None else low,
        "max-scale": component.get("maxReplicas") or None,
    }
    written = {f"{KNATIVE}/{name}": str(value) for name, value in fields.items() if value is not None}
    return {f"{KNATIVE}/class": "kpa.autoscaling.knative.dev"} | passed_on | written


def traffic(percent: int | None, rolled_out: str, tag_routing: bool = False) -> list[Manifest]:
    """The Knative Service's traffic: the newest revision gets `percent`, and the one that was rolled out the rest.

    Without a percentage, or a revision that was rolled out, the newest gets all.
    """
    latest = {"latestRevision": True} | ({"tag": "latest"} if tag_routing else {})
    if percent is None or not rolled_out:
        return [latest | {"percent": 100}]
    rest = {"latestRevision": False, "revisionName": rolled_out, "percent": 100 - percent, "tag": "prev"}
    return [latest | {"percent": percent}, *([rest] if percent < 100 else [])]


@dataclass(frozen=True)
class Revisions:
    """The newest revision, the last that had all the traffic, and the one before that; all are taken to be ready."""

    latest: str = ""
    rolled_out: str = ""
    previous: str = ""

    def apply(self, revision: str, percent: int | None) -> Revisions:
        """Where reconciling ends for a spec that makes this revision; the percentage alone makes no new one."""
        state = replace(self, latest=revision)
        while (after := state._propagated(percent)) != state:
            state = after
        return state

    def split(self, percent: int | None) -> dict[str, int]:
        """Percent of the traffic by revision; one without any is left out."""
        shares: dict[str, int] = {}
        for target in traffic(percent, self.rolled_out):
            name = target.get("revisionName", self.latest)
            shares[name] = shares.get(name, 0) + target["percent"]
        return {name: share for name, share in shares.items() if share}

    def _propagated(self, percent: int | None) -> Revisions:
        """`PropagateStatus`: all the traffic makes a revision the rolled-out one; less of it takes that back."""
        share = 100 if percent is None else percent
        if self.latest != self.rolled_out:
            fully = share == 100 or not self.rolled_out
            return replace(self, previous=self.rolled_out, rolled_out=self.latest) if fully else self
        return replace(self, rolled_out=self.previous) if share < 100 and self.previous else self


# -------------------------------------------------------------------------------------------------- Standard mode


def hpa(name: str, component: Manifest) -> Manifest:
    """The HPA for a component's Deployment: never below one pod, and a maximum of at least the minimum."""
    low = max(1, component.get("minReplicas") or 1)
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": low,
        "maxReplicas": max(low, component.get("maxReplicas") or 0),
        "metrics": list(hpa_metrics(component)),
        "behavior": {},
    }
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": spec}


def hpa_metrics(component: Manifest) -> Iterator[Manifest]:
    """`getHPAMetrics`: cpu at 80 % by default; memory only with a target; for requests there is no metric at all."""
    if (auto_scaling := component.get("autoScaling")) is not None:
        for metric in auto_scaling.get("metrics") or []:
            yield from _resource_metric(metric.get("resource") or {})
        return
    name, target = component.get("scaleMetric") or "cpu", component.get("scaleTarget")
    if name == "cpu":
        yield _utilization("cpu", DEFAULT_CPU_UTILIZATION if target is None else target)
    elif name == "memory" and target is not None:
        yield _utilization("memory", target)


def _resource_metric(resource: Manifest) -> Iterator[Manifest]:
    """An entry of `autoScaling.metrics`: of cpu the utilization, of memory what its target says."""
    name, target = resource.get("name"), resource.get("target") or {}
    if name == "cpu":
        percent = target.get("averageUtilization")
        yield _utilization("cpu", DEFAULT_CPU_UTILIZATION if percent is None else percent)
    elif name == "memory":
        field = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}.get(target.get("type", ""), "")
        by_type = {"type": target["type"], field: target[field]} if field in target else {}
        yield {"type": "Resource", "resource": {"name": name, "target": by_type}}


def _utilization(name: str, percent: int) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def readiness_probe(container: Manifest) -> Manifest:
    """The container's own probe, or a TCP probe of its first port, which asks nothing about the model."""
    if probe := container.get("readinessProbe"):
        return dict(probe)
    ports = container.get("ports") or [{"containerPort": 8080}]
    counts = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    return {"tcpSocket": {"port": ports[0]["containerPort"]}, **counts}


def canary_replicas(canary: Manifest, stable: Manifest) -> int:
    """Pods of an entry of `spec.canary`: its own minimum, or its share of the stable predictor's, rounded up."""
    own_minimum, stable_minimum = canary["predictor"].get("minReplicas"), stable.get("minReplicas")
    if own_minimum is not None:
        return int(own_minimum)
    pods: int = 1 if stable_minimum is None else stable_minimum
    share: int = canary["trafficPercent"]
    return math.ceil(pods * share / 100)


def weights(service: Manifest) -> dict[str, int]:
    """Percent of the traffic by Deployment in Standard mode: the HTTPRoute's weights."""
    spec, name = service["spec"], service["metadata"]["name"]
    canaries = {predictor_name(name, entry["predictor"]): entry["trafficPercent"] for entry in spec.get("canary") or ()}
    return {predictor_name(name, spec["predictor"]): 100 - sum(canaries.values())} | canaries
