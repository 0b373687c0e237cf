"""One good object of every kind, and what breaks it; messages are those of upstream's validation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from mlinfra import admission, manifest
from mlinfra.admission.core import KINDS

GOOD = {
    obj["kind"]: obj
    for obj in yaml.safe_load_all(
        """
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {nvidia.com/gpu.product: A100}}
spec: {taints: [{key: nvidia.com/gpu, value: present, effect: NoSchedule}]}
status: {allocatable: {cpu: "95", memory: 1Ti, pods: "110", nvidia.com/gpu: "8"}}
---
apiVersion: v1
kind: Pod
metadata: {name: bert, labels: {app.kubernetes.io/name: bert}, annotations: {note: "any text"}}
spec:
  restartPolicy: Never
  resourceClaims: [{name: gpu, resourceClaimName: one-gpu}]
  nodeSelector: {nvidia.com/gpu.product: A100}
  tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
  volumes: [{name: model, emptyDir: {}}]
  containers:
  - name: server
    image: example.org/bert:1.0
    env: [{name: MODEL, value: bert}]
    ports: [{containerPort: 8080, name: http}]
    resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {memory: 1Gi, nvidia.com/gpu: 1}, claims: [{name: gpu}]}
    volumeMounts: [{name: model, mountPath: /models}]
    readinessProbe: {httpGet: {path: /ready, port: http}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bert}
spec:
  replicas: 2
  selector: {matchLabels: {app: bert}, matchExpressions: [{key: tier, operator: Exists}]}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: bert, tier: web}}
    spec: {containers: [{name: server, image: "example.org/bert:1.0"}]}
---
apiVersion: v1
kind: Service
metadata: {name: bert}
spec: {selector: {app: bert}, ports: [{name: http, port: 80, targetPort: http}, {name: metrics, port: 9090}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: bert}
automountServiceAccountToken: false
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: bert}
spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: bert}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bert}
spec:
  rules:
  - host: "*.example.com"
    http: {paths: [{path: /v1, pathType: Prefix, backend: {service: {name: bert, port: {name: http}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bert}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 8000, endPort: 8080}]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: bert}
spec: {maxUnavailable: 50%, selector: {matchLabels: {app: bert}}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: inference}
value: 1000000000
preemptionPolicy: Never
---
apiVersion: v1
kind: ConfigMap
metadata: {name: scheduler}
data: {scheduler-config.yaml: "profiles: []"}
---
apiVersion: batch/v1
kind: Job
metadata: {name: train, labels: {kueue.x-k8s.io/queue-name: research}}
spec:
  parallelism: 2
  completions: 2
  completionMode: Indexed
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: main, image: "train:1"}]}}
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: mig.nvidia.com}
spec: {selectors: [{cel: {expression: "device.driver == 'gpu.nvidia.com'"}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: one-gpu}
spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com, count: 1}}]}}
"""
    )
}


def changed(kind: str, path: str, value: Any) -> manifest.Manifest:
    """The good object with one field set; a value of None removes it."""
    obj: manifest.Manifest = copy.deepcopy(GOOD[kind])
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    branch: Any = obj
    for step in steps:
        branch = branch[step] if isinstance(step, int) else branch.setdefault(step, {})
    if value is None:
        del branch[last]
    else:
        branch[last] = value
    return obj


def test_every_kind_is_here() -> None:
    assert {kind for _, kind in KINDS} == set(GOOD)


@pytest.mark.parametrize("kind", GOOD)
def test_accepted(kind: str) -> None:
    assert admission.validate(GOOD[kind]) == []


C, T = "spec/containers/0", "spec/template/spec/containers/0"
BROKEN = [
    ("DeviceClass", "spec/selectors/0/cel/expression", "", "spec.selectors[0].cel.expression", "Required value"),
    ("ConfigMap", "data", {"a b": "c"}, "data[a b]", "a valid config key must consist of"),
    ("Job", "spec/parallelism", -1, "spec.parallelism", "must be greater than or equal to 0"),
    ("Job", "spec/completionMode", "Both", "spec.completionMode", 'supported values: "Indexed", "NonIndexed"'),
    (
        "Job",
        "spec/template/spec/restartPolicy",
        "Always",
        "spec.template.spec.restartPolicy",
        'valid values: "OnFailure", "Never"',
    ),
    (
        "Job",
        "spec/template/spec/restartPolicy",
        None,
        "spec.template.spec.restartPolicy",
        'valid values: "OnFailure", "Never"',
    ),
    ("Job", f"{T}/name", "Main", "spec.template.spec.containers[0].name", "a lowercase RFC 1123 label"),
    ("Pod", "metadata/name", "a" * 254, "metadata.name", "must be no more than 253 characters"),
    ("Pod", "metadata/namespace", "My", "metadata.namespace", "a lowercase RFC 1123 label"),
    ("Pod", "metadata/labels", {"a b": "c"}, "metadata.labels", "name part must consist of alphanumeric"),
    ("Pod", "metadata/annotations", {"X/y/z": "c"}, "metadata.annotations", "RFC 1123 subdomain"),
    ("Pod", "spec/containers", [], "spec.containers", "Required value"),
    ("Pod", f"{C}/image", " i", "spec.containers[0].image", "must not have leading or trailing whitespace"),
    (
        "Pod",
        f"{C}/imagePullPolicy",
        "Sometimes",
        "spec.containers[0].imagePullPolicy",
        'supported values: "Always", "IfNotPresent", "Never"',
    ),
    (
        "Pod",
        f"{C}/ports/0/containerPort",
        0,
        "spec.containers[0].ports[0].containerPort",
        "must be between 1 and 65535",
    ),
    ("Pod", f"{C}/ports/0/name", "8080", "spec.containers[0].ports[0].name", "must contain at least one letter"),
    (
        "Pod",
        f"{C}/ports/0/protocol",
        "HTTP",
        "spec.containers[0].ports[0].protocol",
        'supported values: "SCTP", "TCP", "UDP"',
    ),
    ("Pod", f"{C}/env/0/name", "A=B", "spec.containers[0].env[0].name", "a valid environment variable name"),
    (
        "Pod",
        f"{C}/env/0/valueFrom",
        {"fieldRef": {"fieldPath": "metadata.name"}},
        "spec.containers[0].env[0].valueFrom",
        "may not be specified when `value` is not empty",
    ),
    ("Pod", f"{C}/volumeMounts/0/name", "data", "spec.containers[0].volumeMounts[0].name", 'Not found: "data"'),
    ("Pod", f"{C}/resources/claims/0/name", "tpu", "spec.containers[0].resources.claims[0]", 'Not found: "tpu"'),
    (
        "Pod",
        f"{C}/resources/requests/gpu",
        1,
        "spec.containers[0].resources.requests[gpu]",
        "must be a standard resource for containers",
    ),
    (
        "Pod",
        f"{C}/readinessProbe",
        {"periodSeconds": 5},
        "spec.containers[0].readinessProbe",
        "must specify a handler type",
    ),
    (
        "Pod",
        f"{C}/readinessProbe/periodSeconds",
        -5,
        "spec.containers[0].readinessProbe.periodSeconds",
        "must be greater than or equal to 0",
    ),
    (
        "Pod",
        f"{C}/livenessProbe",
        {"tcpSocket": {"port": 1}, "successThreshold": 2},
        "spec.containers[0].livenessProbe.successThreshold",
        "must be 1",
    ),
    (
        "Pod",
        f"{C}/securityContext",
        {"privileged": True, "allowPrivilegeEscalation": False},
        "spec.containers[0].securityContext",
        "cannot set `allowPrivilegeEscalation` to false",
    ),
    ("Pod", "spec/securityContext/runAsUser", -1, "spec.securityContext.runAsUser", "must be between 0 and 2147483647"),
    ("Pod", "spec/restartPolicy", "Sometimes", "spec.restartPolicy", "Unsupported value"),
    (
        "Pod",
        "spec/tolerations/0",
        {"operator": "Equal", "value": "x"},
        "spec.tolerations[0].operator",
        "operator must be Exists when `key` is empty",
    ),
    ("Pod", "spec/tolerations/0/tolerationSeconds", 5, "spec.tolerations[0].effect", "effect must be 'NoExecute'"),
    (
        "Pod",
        "spec/volumes/0/configMap",
        {"name": "c"},
        "spec.volumes[0].configMap",
        "may not specify more than 1 volume type",
    ),
    ("Pod", "spec/volumes/0", {"name": "model", "secret": {}}, "spec.volumes[0].secret.secretName", "Required value"),
    ("Pod", f"{C}/env/0", {"name": "A", "valueFrom": {}}, "spec.containers[0].env[0].valueFrom", "must specify one of"),
    (
        "Pod",
        "spec/initContainers",
        [{"name": "server", "image": "i"}],
        "spec.initContainers[0].name",
        'Duplicate value: "server"',
    ),
    (
        "Pod",
        "spec/securityContext/seccompProfile",
        {"type": "Localhost"},
        "spec.securityContext.seccompProfile.localhostProfile",
        "must be set",
    ),
    (
        "Pod",
        f"{C}/resources",
        {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "4Mi"}},
        "spec.containers[0].resources.requests",
        "must be equal to hugepages-2Mi",
    ),
    (
        "Pod",
        "spec/affinity/podAntiAffinity",
        {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]},
        "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
        "can not be empty",
    ),
    ("Pod", "spec", {}, "spec.containers", "Required value"),
    (
        "Pod",
        "spec/volumes/0/hostPath",
        {"path": "/"},
        "spec.volumes[0].hostPath",
        "may not specify more than 1 volume type",
    ),
    (
        "Pod",
        "spec/topologySpreadConstraints",
        [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "spec.topologySpreadConstraints[0].maxSkew",
        "must be greater than zero",
    ),
    ("Deployment", "spec/selector", {}, "spec.selector", "empty selector is invalid for deployment"),
    (
        "Deployment",
        "spec/selector/matchLabels/app",
        "t5",
        "spec.template.metadata.labels",
        "`selector` does not match template `labels`",
    ),
    (
        "Deployment",
        "spec/selector/matchExpressions/0/operator",
        "Is",
        "spec.selector.matchExpressions[0].operator",
        "not a valid selector operator",
    ),
    (
        "Deployment",
        "spec/strategy/type",
        "Recreate",
        "spec.strategy.rollingUpdate",
        "may not be specified when strategy `type` is 'Recreate'",
    ),
    (
        "Deployment",
        "spec/strategy/rollingUpdate/maxSurge",
        0,
        "spec.strategy.rollingUpdate.maxUnavailable",
        "may not be 0 when `maxSurge` is 0",
    ),
    (
        "Deployment",
        "spec/strategy/rollingUpdate/maxSurge",
        "00%",
        "spec.strategy.rollingUpdate.maxUnavailable",
        "may not be 0 when `maxSurge` is 0",
    ),
    (
        "Deployment",
        "spec/strategy/rollingUpdate/maxUnavailable",
        "half",
        "spec.strategy.rollingUpdate.maxUnavailable",
        "a valid percent string",
    ),
    (
        "Deployment",
        "spec/progressDeadlineSeconds",
        0,
        "spec.progressDeadlineSeconds",
        "must be greater than minReadySeconds",
    ),
    ("Deployment", f"{T}/name", "My", "spec.template.spec.containers[0].name", "a lowercase RFC 1123 label"),
    ("Service", "metadata/name", "a.b", "metadata.name", "a lowercase RFC 1123 label"),
    ("Service", "spec/ports/1/name", None, "spec.ports[1].name", "Required value"),
    ("Service", "spec/ports/1/name", "http", "spec.ports[1].name", 'Duplicate value: "http"'),
    ("Service", "spec/ports/0/nodePort", 30000, "spec.ports[0].nodePort", "may not be used when `type` is 'ClusterIP'"),
    ("Service", "spec/ports/0/port", 0, "spec.ports[0].port", "must be between 1 and 65535"),
    ("ServiceAccount", "metadata/name", None, "metadata.name", "name or generateName is required"),
    ("Ingress", "spec/rules", [], "spec", "either `defaultBackend` or `rules` must be specified"),
    ("Ingress", "spec/rules/0/host", "10.0.0.1", "spec.rules[0].host", "must be a DNS name, not an IP address"),
    (
        "Ingress",
        "spec/rules/0/http/paths/0/pathType",
        "Regex",
        "spec.rules[0].http.paths[0].pathType",
        'supported values: "Exact", "ImplementationSpecific", "Prefix"',
    ),
    (
        "Ingress",
        "spec/rules/0/http/paths/0/backend/service/port",
        {},
        "spec.rules[0].http.paths[0].backend.service.port",
        "port name or number is required",
    ),
    ("NetworkPolicy", "spec/policyTypes", ["Both"], "spec.policyTypes[0]", "Unsupported value"),
    (
        "NetworkPolicy",
        "spec/ingress/0/from/0/ipBlock/cidr",
        "10.0.0",
        "spec.ingress[0].from[0].ipBlock.cidr",
        "must be a valid CIDR value",
    ),
    ("NetworkPolicy", "spec/ingress/0/from/0", {}, "spec.ingress[0].from[0]", "must specify a peer"),
    (
        "NetworkPolicy",
        "spec/ingress/0/ports/0/endPort",
        1,
        "spec.ingress[0].ports[0].endPort",
        "must be greater than or equal to `port`",
    ),
    ("PodDisruptionBudget", "spec/maxUnavailable", "150%", "spec.maxUnavailable", "must not be greater than 100%"),
    ("PodDisruptionBudget", "spec/minAvailable", 1, "spec", "minAvailable and maxUnavailable cannot be both set"),
    (
        "PriorityClass",
        "value",
        1_000_000_001,
        "value",
        "maximum allowed value of a user defined priority is 1000000000",
    ),
    ("PriorityClass", "metadata/name", "system-mine", "metadata.name", "reserved for system use only"),
    ("PriorityClass", "preemptionPolicy", "Always", "preemptionPolicy", "Unsupported value"),
    (
        "ResourceClaim",
        "spec/devices/requests/0/exactly/deviceClassName",
        "",
        "spec.devices.requests[0].exactly.deviceClassName",
        "Required value",
    ),
    (
        "ResourceClaim",
        "spec/devices/requests/0/exactly/count",
        -1,
        "spec.devices.requests[0].exactly.count",
        "must be greater than zero",
    ),
    (
        "ResourceClaim",
        "spec/devices/requests/0/exactly",
        None,
        "spec.devices.requests[0]",
        "exactly one of `exactly` or `firstAvailable`",
    ),
]


@pytest.mark.parametrize(
    ("kind", "where", "value", "path", "message"), BROKEN, ids=[f"{b[0]}-{b[3]}-{b[4][:20]}" for b in BROKEN]
)
def test_rejected(kind: str, where: str, value: Any, path: str, message: str) -> None:
    problems = admission.validate(changed(kind, where, value))
    assert [p for p in problems if p.path == path and message in p.message], [str(p) for p in problems]


@pytest.mark.parametrize("obj", [None, [], {}, {"kind": "Pod"}, {"apiVersion": "v2", "kind": "Pod"}])
def test_an_unknown_kind_is_a_problem(obj: Any) -> None:
    assert len(admission.validate(obj)) == 1


ALSO_GOOD = [
    ("Pod", "spec/volumes/0", {"name": "model"}),  # the server makes it an emptyDir
    ("Pod", "spec/restartPolicy", ""),
    ("Pod", f"{C}/imagePullPolicy", ""),
    ("Pod", "spec/priorityClassName", ""),
    ("Pod", "metadata/annotations", {"Example.com/Note": "keys may be upper case here"}),
    ("Pod", "spec/terminationGracePeriodSeconds", 3_000_000_000),
    ("Deployment", "spec/strategy/rollingUpdate/maxSurge", "150%"),
    ("Deployment", f"{T}/image", "i:1 "),
    ("Service", "spec/ports/0/targetPort", 0),
    ("Service", "spec/type", ""),
    ("Ingress", "spec/tls", [{"hosts": ["10.0.0.1"]}]),
    ("ResourceClaim", "spec/devices/requests/0/exactly/count", 0),
]


@pytest.mark.parametrize(("kind", "where", "value"), ALSO_GOOD, ids=[f"{g[0]}-{g[1]}" for g in ALSO_GOOD])
def test_what_the_server_fills_in_or_forgives_is_accepted(kind: str, where: str, value: Any) -> None:
    assert admission.validate(changed(kind, where, value)) == []


def test_a_null_is_a_field_not_given() -> None:
    for kind, where in (("Deployment", "spec/strategy"), ("Service", "spec/ports"), ("PodDisruptionBudget", "spec")):
        obj = copy.deepcopy(GOOD[kind])
        branch: Any = obj
        for step in where.split("/"):
            branch = branch[step]
        target = branch[0] if isinstance(branch, list) else branch
        target |= (
            {"rollingUpdate": None}
            if kind == "Deployment"
            else {"targetPort": None}
            if kind == "Service"
            else {"minAvailable": None}
        )
        assert admission.validate(obj) == []


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": ["v1"], "kind": "Pod"},
        {"apiVersion": "v1", "kind": {}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {1: "a", None: "b"}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": [], "spec": "x"},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [None]}},
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "b"},
            "spec": {"maxUnavailable": "9" * 5000 + "%"},
        },
    ],
)
def test_odd_input_is_refused_without_a_traceback(obj: Any) -> None:
    assert admission.validate(obj)
