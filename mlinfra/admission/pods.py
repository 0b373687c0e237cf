"""Containers and pods, pkg/apis/core/validation of Kubernetes 1.37, as tables of paths and checks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission.common import (
    SELECTOR,
    distinct,
    exactly_one,
    match_expression,
    not_negative,
    port_name,
    port_number,
    port_reference,
    protocol,
    user_id,
)
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    TextCheck,
    below,
    between,
    dns_label,
    dns_subdomain,
    holds,
    label_key,
    label_value,
    labels,
    one_of,
    quantity_check,
    select,
    whole,
)
from mlinfra.manifest import extended, not_overcommitted
from mlinfra.quantity import canonical, quantity


def resource_problems(resources: Field) -> Iterator[Problem]:
    """Requests stay below limits; what cannot be overcommitted (a GPU) is whole and has the limit as request."""
    amounts = select(resources, "(limits|requests)[]")
    yield from [problem for amount in amounts for problem in _entry_problems(amount)] or _request_problems(resources)


def _entry_problems(entry: Field) -> Iterator[Problem]:
    name = _resource_name(entry)
    if "/" in name:
        yield from label_key(Field(name, entry.path))
    if "/" not in name and not re.fullmatch("cpu|memory|ephemeral-storage|hugepages-.+", name):
        yield Field(name, entry.path).invalid("must be a standard resource for containers")
    problems = list(quantity_check()(entry))
    if not problems and extended(name) and quantity(entry.value).denominator != 1:
        problems = [Field(canonical(entry.value), entry.path).invalid("must be an integer")]
    yield from problems


def _request_problems(resources: Field) -> Iterator[Problem]:
    limits = resources["limits"].value or {}
    for request in resources["requests"].each():
        name, shown = _resource_name(request), Field(canonical(request.value), resources["requests"].path)
        if name not in limits:
            if not_overcommitted(name):
                yield resources["limits"].required("Limit must be set for non overcommitable resources")
        elif not_overcommitted(name) and quantity(request.value) != quantity(limits[name]):
            yield shown.invalid(f"must be equal to {name} limit of {canonical(limits[name])}")
        elif quantity(request.value) > quantity(limits[name]):
            yield shown.invalid(f"must be less than or equal to {name} limit of {canonical(limits[name])}")


def _resource_name(entry: Field) -> str:
    return entry.path.rpartition("[")[2].rstrip("]")


def toleration(field: Field) -> Iterator[Problem]:
    operator, effect = field["operator"], field["effect"]
    if field["key"].value:
        yield from label_key(field["key"])
    if operator.value in (None, "", "Equal") and field["value"].value:
        yield from (Problem(operator.path, problem.message) for problem in label_value(field["value"]))
    if not field["key"].value and operator.value != "Exists":
        yield operator.invalid(
            'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        )
    if operator.value == "Exists" and field["value"].value:
        yield Field(field["value"].value, operator.path).invalid("value must be empty when `operator` is 'Exists'")
    elif operator.value not in (None, "", "Equal", "Exists"):
        yield operator.unsupported(["Equal", "Exists"])
    if effect.value not in (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        yield effect.unsupported(["NoSchedule", "PreferNoSchedule", "NoExecute"])
    elif field["tolerationSeconds"].value is not None and effect.value != "NoExecute":
        yield effect.invalid("effect must be 'NoExecute' when `tolerationSeconds` is set")


def env_value(field: Field) -> Iterator[Problem]:
    source = field["valueFrom"]
    if field["value"].value and source.value:
        yield source.invalid("may not be specified when `value` is not empty")
    elif source.value is not None and not source.value:
        yield source.invalid("must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")
    elif source.value is not None and len(source.value) > 1:
        yield source.invalid("may not have more than one field specified at a time")


def privilege(field: Field) -> Iterator[Problem]:
    added = field["capabilities"]["add"].value or ()
    if field["allowPrivilegeEscalation"].value is False:
        if field["privileged"].value:
            yield field.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        if "CAP_SYS_ADMIN" in added:
            yield field.invalid("cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")


def seccomp(field: Field) -> Iterator[Problem]:
    local, profile = field["type"].value == "Localhost", field["localhostProfile"]
    if local and not profile.value:
        yield profile.required("must be set when seccomp type is Localhost")
    elif not local and profile.value:
        yield profile.invalid("can only be set when seccomp type is Localhost")


untrimmed = holds(lambda text: text == text.strip(), "must not have leading or trailing whitespace")
only_one = holds(lambda successes: successes in (0, 1), "must be 1")
"""A liveness or startup probe succeeds at once; the server fills in 1 for 0."""

PROBE: Rules = [
    (
        "",
        exactly_one(
            ["exec", "httpGet", "tcpSocket", "grpc"],
            "must specify a handler type",
            "may not specify more than 1 handler type",
        ),
    ),
    ("(httpGet|tcpSocket).port", port_reference),
    ("httpGet.scheme", one_of("HTTP", "HTTPS")),
    ("grpc.port", port_number),
    ("exec.command", Needed()),
    ("(initialDelaySeconds|timeoutSeconds|periodSeconds|successThreshold|failureThreshold)", not_negative),
]

SECURITY: Rules = [
    ("(runAsUser|runAsGroup)", user_id),
    ("seccompProfile.type", one_of("Localhost", "RuntimeDefault", "Unconfined")),
    ("seccompProfile", seccomp),
]

CONTAINER: Rules = [
    ("name", Needed(), dns_label),
    ("image", Needed()),
    ("imagePullPolicy", one_of("Always", "IfNotPresent", "Never")),
    ("resources", resource_problems),
    ("ports[].containerPort", Needed(), port_number),
    ("ports[].hostPort", between(0, 65535)),
    ("ports[].name", port_name),
    ("ports[].protocol", protocol),
    ("ports", distinct("name", "name")),
    (
        "env[].name",
        Needed(),
        TextCheck("[ -<>-~]+", 10**6, "a valid environment variable name must be printable", "'A'"),
    ),
    ("env[]", env_value),
    ("env[].valueFrom.(configMapKeyRef|secretKeyRef).(name|key)", Needed()),
    ("envFrom[].(configMapRef|secretRef).name", Needed()),
    ("terminationMessagePolicy", one_of("FallbackToLogsOnError", "File")),
    ("volumeMounts[].mountPath", Needed()),
    ("volumeMounts", distinct("mountPath", "mountPath")),
    *below("(livenessProbe|readinessProbe|startupProbe)", PROBE),
    ("(livenessProbe|startupProbe).successThreshold", only_one),
    ("securityContext", privilege),
    *below("securityContext", SECURITY),
]


def mounts_and_claims(spec: Field) -> Iterator[Problem]:
    """A container may use only the volumes and resource claims that its pod declares."""
    volumes = {volume["name"].value for volume in spec["volumes"].each()}
    claims = {claim["name"].value for claim in spec["resourceClaims"].each()}
    for mount in select(spec, "(containers|initContainers)[].volumeMounts[].name"):
        if mount.value not in volumes:
            yield Problem(mount.path, f'Not found: "{mount.value}"')
    for claim in select(spec, "(containers|initContainers)[].resources.claims[].name"):
        if claim.value not in claims:
            yield Problem(claim.path.removesuffix(".name"), f'Not found: "{claim.value}"')


def container_names(spec: Field) -> Iterator[Problem]:
    """Containers and init containers share their names with nobody."""
    taken: list[str] = []
    for name in select(spec, "(containers|initContainers)[].name"):
        if name.value and name.value in taken:
            yield Problem(name.path, f'Duplicate value: "{name.value}"')
        taken.append(name.value)


def volume_source(field: Field) -> Iterator[Problem]:
    """One source at most; without any the server makes it an emptyDir."""
    order = {name: i for i, name in enumerate(VOLUMES)}
    sources = sorted((name for name in field.value if name != "name"), key=lambda name: order.get(name, len(order)))
    yield from (field[name].forbidden("may not specify more than 1 volume type") for name in sources[1:])


def node_requirement(field: Field) -> Iterator[Problem]:
    operator = field["operator"]
    if operator.value in ("Gt", "Lt"):
        if len(field["values"].value or ()) != 1:
            yield field["values"].required("must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        yield from match_expression(field)


NODE: Rules = [
    ("spec.taints[].key", Needed(), label_key),
    ("spec.taints[].value", label_value),
    ("spec.taints[].effect", Needed(), one_of("NoExecute", "NoSchedule", "PreferNoSchedule")),
    ("spec.taints", distinct("effect", "key", "effect")),
    ("status.allocatable[]", quantity_check()),
    ("status.capacity[]", quantity_check()),
]

VOLUMES = """emptyDir hostPath gitRepo gcePersistentDisk awsElasticBlockStore secret nfs iscsi glusterfs
    persistentVolumeClaim rbd cinder cephfs flocker downwardAPI fc azureFile configMap vsphereVolume quobyte azureDisk
    storageos photonPersistentDisk projected portworxVolume scaleIO csi ephemeral image""".split()  # noqa: SIM905
"""In the order in which the server looks at them: of two it objects to the second."""

_REQUIRED, _PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
_NODE = f"affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
_PODS = "affinity.(podAffinity|podAntiAffinity)"
_TERM = f"{_PODS}.({_REQUIRED}[]|{_PREFERRED}[].podAffinityTerm)"

POD: Rules = [
    ("containers", Needed()),
    *below("(containers|initContainers)[]", CONTAINER),
    ("restartPolicy", one_of("Always", "Never", "OnFailure")),
    ("dnsPolicy", one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")),
    ("activeDeadlineSeconds", between(1, 2**31 - 1)),
    ("(serviceAccountName|priorityClassName|runtimeClassName)", dns_subdomain),
    ("nodeSelector", labels),
    ("tolerations[]", toleration),
    ("volumes[].name", Needed(), dns_label),
    ("volumes[]", volume_source),
    ("volumes[].configMap.name", Needed()),
    ("volumes[].secret.secretName", Needed()),
    ("volumes[].persistentVolumeClaim.claimName", Needed()),
    ("volumes[].hostPath.path", Needed()),
    ("", container_names),
    ("volumes", distinct("name", "name")),
    ("volumes[].emptyDir.sizeLimit", quantity_check()),
    ("resourceClaims[].name", Needed(), dns_label),
    ("resourceClaims", distinct("name", "name")),
    ("hostname", dns_label),
    (
        "resourceClaims[]",
        exactly_one(
            ["resourceClaimName", "resourceClaimTemplateName"],
            "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        ),
    ),
    ("", mounts_and_claims),
    ("topologySpreadConstraints[].maxSkew", whole(1, why="must be greater than zero")),
    ("topologySpreadConstraints[].minDomains", whole(1, why="must be greater than 0")),
    ("topologySpreadConstraints[].topologyKey", Needed("can not be empty")),
    ("topologySpreadConstraints[].whenUnsatisfiable", Needed(), one_of("DoNotSchedule", "ScheduleAnyway")),
    *below("topologySpreadConstraints[].labelSelector", SELECTOR),
    (_NODE, Needed("must have at least one node selector term")),
    (f"{_NODE}[].matchExpressions[].key", label_key),
    (f"{_NODE}[].matchExpressions[]", node_requirement),
    (f"affinity.nodeAffinity.{_PREFERRED}[].preference.matchExpressions[]", node_requirement),
    (f"affinity.(nodeAffinity|podAffinity|podAntiAffinity).{_PREFERRED}[].weight", between(1, 100)),
    (f"{_TERM}.topologyKey", Needed("can not be empty")),
    *below(f"{_TERM}.labelSelector", SELECTOR),
    *below("securityContext", SECURITY),
    ("securityContext.(fsGroup|supplementalGroups[])", user_id),
    ("securityContext.fsGroupChangePolicy", one_of("Always", "OnRootMismatch")),
]
