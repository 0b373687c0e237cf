"""Common mistakes with KServe, as objects and requests that one can try."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mlinfra.manifest import Manifest

V1_FILES, V2_FILES = "s3://models/bert-classifier/v1", "s3://models/bert-classifier/v2"

REPLICAS_BY_ANNOTATION: Manifest = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {
        "name": "bert-classifier",
        "annotations": {
            "autoscaling.knative.dev/minScale": "2",
            "autoscaling.knative.dev/maxScale": "20",
            "autoscaling.knative.dev/target": "70",
        },
    },
    "spec": {
        "predictor": {
            "pytorch": {
                "storageUri": V1_FILES,
                "runtimeVersion": "latest",
                "resources": {"limits": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}},
            }
        }
    },
}
"""Meant for 2 to 20 replicas at 70 % utilization; everything is accepted, and none of it happens."""

CANARY_OF_ITS_OWN_MAKING: Manifest = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "bert-classifier", "namespace": "ml-production"},
    "spec": {
        "predictor": {"pytorch": {"storageUri": V1_FILES}},
        "canaryTrafficPercent": 10,
        "canaryPredictor": {"pytorch": {"storageUri": V2_FILES}},
    },
}
"""A canary with fields that do not exist."""


def refused(service: Manifest) -> dict[str, Manifest]:
    """The service, in Knative mode, with one mistake each, by who refuses it."""
    name_of_a_digit = {**deepcopy(service), "metadata": {"name": "1bert"}}
    container = {"name": "kserve-container", "image": "bert:1.0.0"}
    return {
        "API server: a framework called custom": _with(service, custom={"image": "bert"}),
        "API server: a text instead of a number": _with(service, minReplicas="2"),
        "webhook: a minimum above the maximum": _with(service, minReplicas=30),
        "webhook: a metric of the other mode": _with(service, scaleMetric="cpu"),
        "webhook: a model and a container": _with(service, containers=[container]),
        "webhook: a name that starts with a digit": name_of_a_digit,
        "Knative, when KServe writes the traffic": _with(service, canaryTrafficPercent=150),
        "controller, in the status: no format": _with(service, model={"storageUri": V1_FILES}),
    }


def _with(service: Manifest, **fields: Any) -> Manifest:
    changed = deepcopy(service)
    changed["spec"]["predictor"] |= fields
    return changed


def bad_requests(service: Any, name: str) -> dict[str, Any]:
    """The replies to seven bad requests; the last goes to a server whose model is not loaded yet."""
    from mlinfra.course import classifier, kserve_server

    v1, v2 = f"/v1/models/{name}:predict", f"/v2/models/{name}/infer"
    tensor = {"name": "texts", "datatype": "BYTES", "shape": [3], "data": ["good", "bad"]}
    loading = kserve_server.Endpoint(kserve_server.ClassifierModel("new"))
    return {
        "broken JSON to V1": service.post(v1, '{"inst'),
        "broken JSON to V2": service.post(v2, '{"inp'),
        "no instances": service.post(v1, {"texts": ["good"]}),
        "a number for a text": service.post(v1, {"instances": [3]}),
        "a shape for three": service.post(v2, {"inputs": [tensor]}),
        "an unknown model": service.post("/v1/models/bort:predict", {"instances": ["good"]}),
        "a model not loaded": loading.post("/v1/models/new:predict", {"instances": [[0] * classifier.LENGTH]}),
    }


def table(replies: dict[str, Any]) -> str:
    """What was wrong, the status, and the beginning of the error, one reply a line."""
    lines = []
    for what, reply in replies.items():
        said = reply.body.get("error") or reply.body["detail"][0]["msg"]
        lines.append(f"{what:20} {reply.status}  {said[:80]}")
    return "\n".join(lines)
