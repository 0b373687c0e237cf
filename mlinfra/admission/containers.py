"""Containers, pkg/apis/core/validation of Kubernetes 1.37, as tables of paths and checks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission.common import (
    descending_path,
    distinct,
    exactly_one,
    not_negative,
    port_name,
    port_number,
    port_reference,
    protocol,
    user_id,
)
from mlinfra.admission.rules import (
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    TextCheck,
    below,
    between,
    dns_label,
    holds,
    label_key,
    one_of,
    quantity_check,
    select,
    whole,
)
from mlinfra.manifest import extended, not_overcommitted
from mlinfra.quantity import Quantity, canonical, quantity


def resource_problems(resources: Field) -> Iterator[Problem]:
    """Requests stay below limits; what cannot be overcommitted (a GPU) is whole and has the limit as request."""
    amounts = select(resources, "(limits|requests)[]")
    problems = [problem for amount in amounts for problem in _entry_problems(amount)]
    yield from problems or [*_request_problems(resources), *_huge_page_problems(resources)]


def _huge_page_problems(resources: Field) -> Iterator[Problem]:
    """Huge pages come in whole pages, and not alone."""
    amounts = list(select(resources, "(limits|requests)[]"))
    names = {resource_name(amount) for amount in amounts}
    if any(name.startswith("hugepages-") for name in names) and not names & {"cpu", "memory"}:
        yield resources.forbidden("HugePages require cpu or memory")
    for amount in amounts:
        name = resource_name(amount)
        if name.startswith("hugepages-") and not _whole_pages(name.removeprefix("hugepages-"), amount.value):
            shown = canonical(amount.value)
            yield Field(shown, amount.path).invalid(f"{shown} is not positive integer multiple of {name}")


def _whole_pages(page: str, amount: Quantity) -> bool:
    try:
        return quantity(page) > 0 and (quantity(amount) / quantity(page)).denominator == 1
    except ValueError:
        return False


def _entry_problems(entry: Field) -> Iterator[Problem]:
    name = resource_name(entry)
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
        name, shown = resource_name(request), Field(canonical(request.value), resources["requests"].path)
        if name not in limits:
            if not_overcommitted(name):
                yield resources["limits"].required("Limit must be set for non overcommitable resources")
        elif not_overcommitted(name) and quantity(request.value) != quantity(limits[name]):
            yield shown.invalid(f"must be equal to {name} limit of {canonical(limits[name])}")
        elif quantity(request.value) > quantity(limits[name]):
            yield shown.invalid(f"must be less than or equal to {name} limit of {canonical(limits[name])}")


def resource_name(entry: Field) -> str:
    return entry.path.rpartition("[")[2].rstrip("]")


def env_value(field: Field) -> Iterator[Problem]:
    source = field["valueFrom"]
    if field["value"].value and source.value:
        yield source.invalid("may not be specified when `value` is not empty")
    elif source.value is not None and not source.value:
        yield source.invalid("must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`")
    elif source.value is not None and len(source.value) > 1:
        yield source.invalid("may not have more than one field specified at a time")


ENV_FIELDS = """metadata.name metadata.namespace metadata.uid spec.nodeName spec.serviceAccountName status.hostIP
    status.hostIPs status.podIP status.podIPs""".split()  # noqa: SIM905
NO_ENV_FIELDS = ("metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase")
"""Fields of a pod that the server can read, and does not give to a container."""
ENV_RESOURCES = sorted(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)


def field_path(field: Field) -> Iterator[Problem]:
    """A field of the pod, or one label or annotation: metadata.labels['app']."""
    name, subscript, _ = str(field.value).partition("['")
    if subscript and name not in ("metadata.annotations", "metadata.labels"):
        yield Field(name, field.path.removesuffix(".fieldPath")).invalid("does not support subscript")
    elif not subscript and name in NO_ENV_FIELDS:
        yield field.unsupported(ENV_FIELDS)
    elif not subscript and name not in ENV_FIELDS:
        yield field.invalid(f"error converting fieldPath: field label not supported: {name}")


def resource_field(field: Field) -> Iterator[Problem]:
    """Of a container's resources, those that a container can ask for; not a GPU."""
    if field.value not in ENV_RESOURCES and not str(field.value).startswith(
        ("limits.hugepages-", "requests.hugepages-")
    ):
        yield field.unsupported(ENV_RESOURCES)


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


def one_handler(*names: str) -> Check:
    return exactly_one([*names], "must specify a handler type", "may not specify more than 1 handler type")


header_name = TextCheck(
    "[-A-Za-z0-9]+", 10**6, "a valid HTTP header must consist of alphanumeric characters or '-'", "'X-Header-Name'"
)


def header_names(headers: Field) -> Iterator[Problem]:
    """Upstream names the list, not the place in it."""
    for header in headers.each():
        yield from header_name(Field(header["name"].value, headers.path))


HANDLER: Rules = [
    ("(httpGet|tcpSocket).port", port_reference),
    ("httpGet.scheme", one_of("HTTP", "HTTPS")),
    ("httpGet.httpHeaders", header_names),
    ("grpc.port", port_number),
    ("exec.command", Needed()),
]

HOOK: Rules = [("", one_handler("exec", "httpGet", "tcpSocket", "sleep")), *HANDLER]

PROBE: Rules = [
    ("", one_handler("exec", "httpGet", "tcpSocket", "grpc")),
    *HANDLER,
    ("terminationGracePeriodSeconds", whole(1, 2**63 - 1, "must be greater than 0")),
    ("(initialDelaySeconds|timeoutSeconds|periodSeconds|successThreshold|failureThreshold)", not_negative),
]

SECURITY: Rules = [
    ("(runAsUser|runAsGroup)", user_id),
    ("seccompProfile.type", one_of("Localhost", "RuntimeDefault", "Unconfined")),
    ("seccompProfile", seccomp),
]


def unique_mounts(mounts: Field) -> Iterator[Problem]:
    """Two volumes cannot be mounted in one place."""
    paths = [mount["mountPath"] for mount in mounts.each()]
    for i, path in enumerate(paths):
        if path.value and path.value in [other.value for other in paths[:i]]:
            yield path.invalid("must be unique")


def below_the_volume(mounts: Field) -> Iterator[Problem]:
    """A part of a volume lies inside it; upstream leaves the mount's place out of the path."""
    for mount in mounts.each():
        if mount["subPath"].value and mount["subPathExpr"].value:
            yield mount["subPathExpr"].invalid("subPathExpr and subPath are mutually exclusive")
        for name in ("subPath", "subPathExpr"):
            yield from descending_path(Field(mount[name].value, f"{mounts.path}.{name}"))


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
    ("restartPolicy", one_of("Always", "Never", "OnFailure")),
    ("resizePolicy[].resourceName", Needed(), one_of("cpu", "memory")),
    ("resizePolicy[].restartPolicy", Needed(), one_of("NotRequired", "RestartContainer")),
    (
        "env[].name",
        Needed(),
        TextCheck("[ -<>-~]+", 10**6, "a valid environment variable name must be printable", "'A'"),
    ),
    ("env[]", env_value),
    ("env[].valueFrom.(configMapKeyRef|secretKeyRef).(name|key)", Needed()),
    ("env[].valueFrom.fieldRef.fieldPath", Needed(), field_path),
    ("env[].valueFrom.resourceFieldRef.resource", Needed(), resource_field),
    ("envFrom[].(configMapRef|secretRef).name", Needed()),
    ("terminationMessagePolicy", one_of("FallbackToLogsOnError", "File")),
    ("volumeMounts[].mountPath", Needed()),
    ("volumeDevices[].devicePath", Needed()),
    ("volumeMounts", unique_mounts, below_the_volume),
    *below("lifecycle.(postStart|preStop)", HOOK),
    *below("(livenessProbe|readinessProbe|startupProbe)", PROBE),
    ("(livenessProbe|startupProbe).successThreshold", only_one),
    (
        "readinessProbe.terminationGracePeriodSeconds",
        holds(lambda period_s: False, "must not be set for readinessProbes"),
    ),
    ("securityContext", privilege),
    *below("securityContext", SECURITY),
]


def of_init_containers(spec: Field) -> Iterator[Problem]:
    """What ends before the pod starts is not probed; only a sidecar, which runs on, is."""
    for container in spec["initContainers"].each():
        if container["restartPolicy"].value != "Always":
            for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container[name].value is not None:
                    yield container[name].forbidden("may not be set for init containers without restartPolicy=Always")
