"""What the API server checks beyond the schema, kind by kind, as tables of paths and checks.

From pkg/apis/{core,apps,autoscaling,networking,policy,resource,scheduling}/validation of Kubernetes 1.37. The tables
hold what a manifest of this course can get wrong; defaults are those that the server fills in first.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlinfra.manifest import (
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    annotation_keys,
    below,
    between,
    dns_label,
    dns_subdomain,
    label_key,
    label_value,
    labels,
    one_of,
    quantity_check,
    resource_problems,
    select,
    text,
    whole,
)


def exactly_one(names: list[str], none: str, more: str) -> Check:
    """One of the branches is given: a handler, a volume's source."""

    def check(field: Field) -> Iterator[Problem]:
        given = [name for name in names if field[name].value is not None]
        if not given:
            yield field.required(none)
        yield from (field[name].forbidden(more) for name in given[1:])

    return check


def distinct(item: str, *keys: str) -> Check:
    """No two items of the list have the same values under the keys."""

    def check(field: Field) -> Iterator[Problem]:
        seen: list[Any] = []
        for entry in field.each():
            value = [entry[key].value for key in keys]
            if None not in value and value in seen:
                yield Problem(entry[item].path if item else entry.path, f'Duplicate value: "{value[0]}"')
            seen.append(value)

    return check


def percent_or_count(field: Field) -> Iterator[Problem]:
    """A count, or a percentage."""
    if not isinstance(field.value, str):
        yield from whole(0)(field)
    elif not re.fullmatch("[0-9]+%", field.value):
        yield field.invalid("a valid percent string must be a numeric followed by an ending '%' (e.g. '1%')")


def at_most_all(field: Field) -> Iterator[Problem]:
    """A percentage, if it is one, up to 100 %."""
    if isinstance(field.value, str) and len(field.value.lstrip("0")) > 3 and field.value.lstrip("0") != "100%":
        yield field.invalid("must not be greater than 100%")


not_negative = whole(0)
port_number = between(1, 65535)
protocol = one_of("SCTP", "TCP", "UDP")
user_id = between(0, 2**31 - 1)


def config_key(field: Field) -> Iterator[Problem]:
    """A file's name: what a ConfigMap's keys become when it is mounted."""
    for key in field.value:
        if not re.fullmatch("[-._a-zA-Z0-9]+", key):
            why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            yield Problem(f"{field.path}[{key}]", f'Invalid value: "{key}": {why}')


def port_name(field: Field) -> Iterator[Problem]:
    """IANA_SVC_NAME: 15 characters, a letter among them, hyphens only inside and alone."""
    name = field.value
    if not name:
        return
    if len(name) > 15:
        yield field.invalid("must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", name):
        yield field.invalid("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    elif not re.search("[a-z]", name):
        yield field.invalid("must contain at least one letter (a-z)")
    elif "--" in name:
        yield field.invalid("must not contain consecutive hyphens")
    elif name.startswith("-") or name.endswith("-"):
        yield field.invalid("must not begin or end with a hyphen")


def port_reference(field: Field) -> Iterator[Problem]:
    yield from (port_name if isinstance(field.value, str) else port_number)(field)


def target_port(field: Field) -> Iterator[Problem]:
    """Empty or 0 is left to the default, the port itself."""
    if field.value not in ("", 0):
        yield from port_reference(field)


def path_segment(field: Field) -> Iterator[Problem]:
    """A name that can stand in a URL: a string without slash and percent sign."""
    if not isinstance(field.value, str):
        yield field.invalid("must be a string")
    elif field.value in (".", ".."):
        yield field.invalid(f"may not be '{field.value}'")
    else:
        yield from (field.invalid(f"may not contain '{c}'") for c in "/%" if c in field.value)


# ------------------------------------------------------------------------------------------------- selectors


def match_expression(field: Field) -> Iterator[Problem]:
    """`In` and `NotIn` have values, `Exists` and `DoesNotExist` have none."""
    operator, values = field["operator"].value, field["values"]
    if operator in ("In", "NotIn"):
        if not values.value:
            yield values.required("must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values.value:
            yield values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    else:
        yield field["operator"].invalid("not a valid selector operator")


SELECTOR: Rules = [
    ("matchLabels", labels),
    ("matchExpressions[].key", Needed(), label_key),
    ("matchExpressions[]", match_expression),
    ("matchExpressions[].values[]", label_value),
]


# ------------------------------------------------------------------------------------------------------- pods


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


def untrimmed(field: Field) -> Iterator[Problem]:
    if field.value != field.value.strip():
        yield field.invalid("must not have leading or trailing whitespace")


def only_one(field: Field) -> Iterator[Problem]:
    """A liveness or startup probe succeeds at once; the server fills in 1 for 0."""
    if field.value not in (0, 1):
        yield field.invalid("must be 1")


PROBE: Rules = [
    (
        "",
        exactly_one(
            ["exec", "httpGet", "tcpSocket", "grpc"],
            "must specify a handler type",
            "may not specify more than 1 handler type",
        ),
    ),
    ("httpGet.port", port_reference),
    ("httpGet.scheme", one_of("HTTP", "HTTPS")),
    ("tcpSocket.port", port_reference),
    ("grpc.port", port_number),
    ("exec.command", Needed()),
    *[(f"{n}Seconds", not_negative) for n in ("initialDelay", "timeout", "period")],
    ("successThreshold", not_negative),
    ("failureThreshold", not_negative),
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
    ("env[].name", Needed(), text("[ -<>-~]+", 10**6, "a valid environment variable name must be printable (e.g. 'A'")),
    ("env[]", env_value),
    *[
        (f"env[].valueFrom.{source}.{name}", Needed())
        for source in ("configMapKeyRef", "secretKeyRef")
        for name in ("name", "key")
    ],
    ("envFrom[].configMapRef.name", Needed()),
    ("envFrom[].secretRef.name", Needed()),
    ("terminationMessagePolicy", one_of("FallbackToLogsOnError", "File")),
    ("volumeMounts[].mountPath", Needed()),
    ("volumeMounts", distinct("mountPath", "mountPath")),
    *[row for name in ("liveness", "readiness", "startup") for row in below(f"{name}Probe", PROBE)],
    *[(f"{name}Probe.successThreshold", only_one) for name in ("liveness", "startup")],
    ("securityContext", privilege),
    ("securityContext.runAsUser", user_id),
    ("securityContext.runAsGroup", user_id),
    ("securityContext.seccompProfile.type", one_of("Localhost", "RuntimeDefault", "Unconfined")),
    ("securityContext.seccompProfile", seccomp),
]


def mounts_and_claims(spec: Field) -> Iterator[Problem]:
    """A container may use only the volumes and resource claims that its pod declares."""
    volumes = {volume["name"].value for volume in spec["volumes"].each()}
    claims = {claim["name"].value for claim in spec["resourceClaims"].each()}
    for containers in ("containers", "initContainers"):
        for mount in select(spec, f"{containers}[].volumeMounts[].name"):
            if mount.value not in volumes:
                yield Problem(mount.path, f'Not found: "{mount.value}"')
        for claim in select(spec, f"{containers}[].resources.claims[].name"):
            if claim.value not in claims:
                yield Problem(claim.path.removesuffix(".name"), f'Not found: "{claim.value}"')


def init_names(spec: Field) -> Iterator[Problem]:
    """Init containers share their names with nobody."""
    taken = [name.value for name in select(spec, "containers[].name")]
    for name in select(spec, "initContainers[].name"):
        if name.value in taken:
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


VOLUMES = """emptyDir hostPath gitRepo gcePersistentDisk awsElasticBlockStore secret nfs iscsi glusterfs
    persistentVolumeClaim rbd cinder cephfs flocker downwardAPI fc azureFile configMap vsphereVolume quobyte azureDisk
    storageos photonPersistentDisk projected portworxVolume scaleIO csi ephemeral image""".split()  # noqa: SIM905
"""In the order in which the server looks at them: of two it objects to the second."""

AFFINITY: Rules = [
    row
    for kind in ("podAffinity", "podAntiAffinity")
    for row in (
        (f"affinity.{kind}.requiredDuringSchedulingIgnoredDuringExecution[].topologyKey", Needed("can not be empty")),
        *below(f"affinity.{kind}.requiredDuringSchedulingIgnoredDuringExecution[].labelSelector", SELECTOR),
        (f"affinity.{kind}.preferredDuringSchedulingIgnoredDuringExecution[].weight", between(1, 100)),
        (
            f"affinity.{kind}.preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm.topologyKey",
            Needed("can not be empty"),
        ),
    )
]

_PREFERRED = "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[]"
_NODE = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"

POD: Rules = [
    ("containers", Needed(), distinct("name", "name")),
    *below("containers[]", CONTAINER),
    *below("initContainers[]", CONTAINER),
    ("restartPolicy", one_of("Always", "Never", "OnFailure")),
    ("dnsPolicy", one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")),
    ("activeDeadlineSeconds", between(1, 2**31 - 1)),
    ("serviceAccountName", dns_subdomain),
    ("priorityClassName", dns_subdomain),
    ("nodeSelector", labels),
    ("tolerations[]", toleration),
    ("volumes[].name", Needed(), dns_label),
    ("volumes[]", volume_source),
    ("volumes[].configMap.name", Needed()),
    ("volumes[].secret.secretName", Needed()),
    ("volumes[].persistentVolumeClaim.claimName", Needed()),
    ("volumes[].hostPath.path", Needed()),
    ("", init_names),
    ("volumes", distinct("name", "name")),
    ("volumes[].emptyDir.sizeLimit", quantity_check()),
    ("resourceClaims[].name", Needed(), dns_label),
    ("resourceClaims", distinct("name", "name")),
    ("hostname", dns_label),
    ("runtimeClassName", dns_subdomain),
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
    (f"{_PREFERRED}.weight", between(1, 100)),
    (f"{_PREFERRED}.preference.matchExpressions[]", node_requirement),
    *AFFINITY,
    ("securityContext.runAsUser", user_id),
    ("securityContext.runAsGroup", user_id),
    ("securityContext.fsGroup", user_id),
    ("securityContext.supplementalGroups[]", user_id),
    ("securityContext.fsGroupChangePolicy", one_of("Always", "OnRootMismatch")),
    ("securityContext.seccompProfile.type", one_of("Localhost", "RuntimeDefault", "Unconfined")),
    ("securityContext.seccompProfile", seccomp),
]


# ------------------------------------------------------------------------------------------------- deployments


def selects_its_pods(spec: Field) -> Iterator[Problem]:
    """The selector exists, is not empty, and matches the labels of the template."""
    selector, found = spec["selector"], spec["template"]["metadata"]["labels"]
    wanted = selector["matchLabels"].value or {}
    if selector.value is None:
        yield selector.required()
    elif not wanted and not selector["matchExpressions"].value:
        yield selector.invalid("empty selector is invalid for deployment")
    if selector.value is None or not _selected(found.value or {}, wanted, selector["matchExpressions"].value or []):
        yield found.invalid("`selector` does not match template `labels`")


def _selected(found: dict[str, str], wanted: dict[str, str], expressions: list[Any]) -> bool:
    """Whether labels match a selector's map and expressions."""
    tests = {
        "In": lambda key, values: found.get(key) in values,
        "NotIn": lambda key, values: found.get(key) not in values,
        "Exists": lambda key, values: key in found,
        "DoesNotExist": lambda key, values: key not in found,
    }
    return all(found.get(key) == value for key, value in wanted.items()) and all(
        tests.get(e.get("operator"), lambda key, values: True)(e.get("key"), e.get("values", ())) for e in expressions
    )


def rollout(spec: Field) -> Iterator[Problem]:
    """A rolling update may not stand still, and its deadline lies beyond the ready time."""
    strategy, rolling = spec["strategy"], spec["strategy"]["rollingUpdate"]
    if strategy["type"].value == "Recreate" and rolling.value is not None:
        yield rolling.forbidden("may not be specified when strategy `type` is 'Recreate'")
    if {rolling["maxUnavailable"].value, rolling["maxSurge"].value} <= {0, "0%"}:
        yield rolling["maxUnavailable"].invalid("may not be 0 when `maxSurge` is 0")
    deadline, ready = spec["progressDeadlineSeconds"], spec["minReadySeconds"].value or 0
    if (600 if deadline.value is None else deadline.value) <= ready or deadline.value == 0:
        yield deadline.invalid("must be greater than minReadySeconds")


def template_metadata(template: Field) -> Iterator[Problem]:
    """Upstream leaves `metadata` out of these two paths."""
    for name, rule in (("labels", labels), ("annotations", annotation_keys)):
        given = template["metadata"][name]
        if given.value is not None:
            yield from rule(Field(given.value, f"{template.path}.{name}"))


DEPLOYMENT: Rules = [
    ("", selects_its_pods),
    ("", rollout),
    ("replicas", not_negative),
    ("minReadySeconds", not_negative),
    ("revisionHistoryLimit", not_negative),
    ("strategy.type", one_of("Recreate", "RollingUpdate")),
    ("strategy.rollingUpdate.maxUnavailable", percent_or_count, at_most_all),
    ("strategy.rollingUpdate.maxSurge", percent_or_count),
    *below("selector", SELECTOR),
    ("template", template_metadata),
    ("template.spec.restartPolicy", one_of("Always")),
    ("template.spec.activeDeadlineSeconds", lambda field: iter([field.forbidden("is not supported in a template")])),
    *below("template.spec", POD),
]


def ends(template: Field) -> Iterator[Problem]:
    """A Job's pods may not run for ever."""
    if template["spec"]["restartPolicy"].value not in ("OnFailure", "Never"):
        yield template["spec"]["restartPolicy"].required('valid values: "OnFailure", "Never"')


JOB: Rules = [
    ("parallelism", not_negative),
    ("completions", not_negative),
    ("backoffLimit", not_negative),
    ("ttlSecondsAfterFinished", not_negative),
    ("activeDeadlineSeconds", not_negative),
    ("completionMode", one_of("Indexed", "NonIndexed")),
    ("template", template_metadata, ends),
    *below("template.spec", POD),
]


# ------------------------------------------------------------------------------ services, ingresses and network


def service_ports(spec: Field) -> Iterator[Problem]:
    kind, ports = spec["type"].value or "ClusterIP", spec["ports"]
    if not ports.value and kind != "ExternalName" and spec["clusterIP"].value != "None":
        yield ports.required()
    if kind == "ExternalName" and not spec["externalName"].value:
        yield spec["externalName"].required()
    for port in ports.each():
        if len(ports.value) > 1 and not port["name"].value:
            yield port["name"].required()
        node_port = port["nodePort"]
        if kind == "ClusterIP" and node_port.value:
            yield node_port.forbidden("may not be used when `type` is 'ClusterIP'")
        elif node_port.value and not 30000 <= node_port.value <= 32767:
            yield node_port.invalid("provided port is not in the valid range. The range of valid ports is 30000-32767")


def same_port(ports: Field) -> Iterator[Problem]:
    """A port and protocol once; TCP is the default."""
    seen = []
    for port in ports.each():
        value = (port["port"].value, port["protocol"].value or "TCP")
        if value in seen:
            yield Problem(port.path, f'Duplicate value: {{"protocol":"{value[1]}","port":{value[0]}}}')
        seen.append(value)


SERVICE: Rules = [
    ("type", one_of("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")),
    ("", service_ports),
    ("ports[].port", port_number),
    ("ports[].targetPort", target_port),
    ("ports[].protocol", protocol),
    ("ports[].name", dns_label),
    ("ports", distinct("name", "name"), same_port),
    ("selector", labels),
    ("sessionAffinity", one_of("ClientIP", "None")),
]


def absolute_path(field: Field) -> Iterator[Problem]:
    path, free = field["path"], field["pathType"].value == "ImplementationSpecific"
    if field["pathType"].value not in ("Exact", "ImplementationSpecific", "Prefix") or (free and not path.value):
        return
    if not (path.value or "").startswith("/"):
        yield path.invalid("must be an absolute path")
    elif not free:
        yield from (
            path.invalid(f"must not contain '{bad}'")
            for bad in ("//", "/./", "/../", "%2f", "%2F")
            if bad in path.value
        )


def backend(field: Field) -> Iterator[Problem]:
    service, port = field["service"], field["service"]["port"]
    if service.value is None and field["resource"].value is None:
        yield field.required("resource or service backend is required")
    elif service.value is not None and field["resource"].value is not None:
        yield field.invalid("cannot set both resource and service backends")
    elif service.value is not None and not port["name"].value and not port["number"].value:
        yield port.required("port name or number is required")
    elif port["name"].value and port["number"].value:
        yield port.invalid("cannot set both port name & port number")


def host_name(field: Field) -> Iterator[Problem]:
    """A DNS name, with a wildcard for the first label at most."""
    yield from dns_subdomain(Field(field.value.removeprefix("*."), field.path))


def not_an_address(field: Field) -> Iterator[Problem]:
    try:
        ipaddress.ip_address(field.value)
        yield field.invalid("must be a DNS name, not an IP address")
    except ValueError:
        return


def not_empty(field: Field) -> Iterator[Problem]:
    """For pointers, where an empty string is not the same as nothing."""
    if not field.value:
        yield field.invalid("must not be empty")


def has_a_backend(spec: Field) -> Iterator[Problem]:
    if not spec["rules"].value and spec["defaultBackend"].value is None:
        yield spec.invalid("either `defaultBackend` or `rules` must be specified")


BACKEND: Rules = [
    ("", backend),
    ("service.name", Needed(), dns_label),
    ("service.port.number", port_number),
    ("service.port.name", port_name),
]

INGRESS: Rules = [
    ("", has_a_backend),
    ("ingressClassName", not_empty, dns_subdomain),
    ("rules[].host", not_an_address, host_name),
    ("rules[].http.paths", Needed()),
    (
        "rules[].http.paths[].pathType",
        Needed("pathType must be specified"),
        one_of("Exact", "ImplementationSpecific", "Prefix"),
    ),
    ("rules[].http.paths[]", absolute_path),
    *below("rules[].http.paths[].backend", BACKEND),
    *below("defaultBackend", BACKEND),
    ("tls[].hosts[]", host_name),
    ("tls[].secretName", dns_subdomain),
]


def one_cidr(field: Field) -> Iterator[Problem]:
    _, slash, bits = field.value.partition("/")
    try:
        ipaddress.ip_network(field.value, strict=False)
    except ValueError:
        slash = ""
    if not slash or not bits.isdigit():
        yield field.invalid("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


def exceptions(block: Field) -> Iterator[Problem]:
    """What is excepted lies inside the block, and is smaller."""
    whole_block = ipaddress.ip_network(block["cidr"].value, strict=False)
    for hole in block["except"].each():
        if list(one_cidr(hole)):
            yield from one_cidr(hole)
            continue
        inner = ipaddress.ip_network(hole.value, strict=False)
        if inner.version != whole_block.version or inner == whole_block or not inner.subnet_of(whole_block):  # type: ignore[arg-type]
            yield hole.invalid("must be a strict subset of `cidr`")


def peer(field: Field) -> Iterator[Problem]:
    if not field.value:
        yield field.required("must specify a peer")
    elif field["ipBlock"].value is not None and len(field.value) > 1:
        yield field.forbidden("may not specify both ipBlock and another peer")
    elif field["ipBlock"]["cidr"].value and not list(one_cidr(field["ipBlock"]["cidr"])):
        yield from exceptions(field["ipBlock"])


def port_range(field: Field) -> Iterator[Problem]:
    port, end = field["port"].value, field["endPort"]
    if end.value is not None and not isinstance(port, int):
        yield end.invalid("may not be specified when `port` is not specified or non-numeric")
    elif end.value is not None and end.value < port:
        yield end.invalid("must be greater than or equal to `port`")
    elif end.value is not None:
        yield from port_number(end)


NETWORK_POLICY: Rules = [
    *below("podSelector", SELECTOR),
    ("policyTypes[]", one_of("Egress", "Ingress")),
    *[
        row
        for direction, side in (("ingress", "from"), ("egress", "to"))
        for row in (
            (f"{direction}[].ports[].port", port_reference),
            (f"{direction}[].ports[].protocol", protocol),
            (f"{direction}[].ports[]", port_range),
            (f"{direction}[].{side}[]", peer),
            (f"{direction}[].{side}[].ipBlock.cidr", Needed(), one_cidr),
            *below(f"{direction}[].{side}[].podSelector", SELECTOR),
            *below(f"{direction}[].{side}[].namespaceSelector", SELECTOR),
        )
    ],
]


# ------------------------------------------------------------------- budgets, priorities, claims and accounts


def one_budget(spec: Field) -> Iterator[Problem]:
    if spec["minAvailable"].value is not None and spec["maxUnavailable"].value is not None:
        yield spec.invalid("minAvailable and maxUnavailable cannot be both set")


BUDGET: Rules = [
    ("", one_budget),
    ("minAvailable", percent_or_count, at_most_all),
    ("maxUnavailable", percent_or_count, at_most_all),
    ("unhealthyPodEvictionPolicy", one_of("AlwaysAllow", "IfHealthyBudget")),
    *below("selector", SELECTOR),
]


def user_priority(field: Field) -> Iterator[Problem]:
    if field.value > 10**9:
        yield field.forbidden("maximum allowed value of a user defined priority is 1000000000")


def not_system(field: Field) -> Iterator[Problem]:
    if str(field.value).startswith("system-"):
        yield field.forbidden("priority class names with 'system-' prefix are reserved for system use only")


PRIORITY_CLASS: Rules = [
    ("metadata.name", not_system),
    ("value", user_priority),
    ("preemptionPolicy", one_of("Never", "PreemptLowerPriority")),
]


def request_kind(field: Field) -> Iterator[Problem]:
    if (field["exactly"].value is None) == (field["firstAvailable"].value is None):
        yield field.required("exactly one of `exactly` or `firstAvailable` is required")


def device_count(field: Field) -> Iterator[Problem]:
    mode, count = field["allocationMode"].value or "ExactCount", field["count"]
    if mode == "ExactCount" and count.value is not None and count.value < 0:
        yield count.invalid("must be greater than zero")
    elif mode == "All" and count.value:
        yield count.invalid("must not be specified when allocationMode is 'All'")


CLAIM: Rules = [
    ("devices.requests[].name", Needed(), dns_label),
    ("devices.requests[]", request_kind),
    ("devices.requests", distinct("name", "name")),
    *[
        row
        for place in ("devices.requests[].exactly", "devices.requests[].firstAvailable[]")
        for row in (
            (f"{place}.deviceClassName", Needed(), dns_subdomain),
            (f"{place}.allocationMode", one_of("All", "ExactCount")),
            (f"{place}.selectors[].cel.expression", Needed()),
            (place, device_count),
        )
    ],
    ("devices.requests[].firstAvailable[].name", Needed(), dns_label),
]


# ------------------------------------------------------------------------------------ HorizontalPodAutoscaler


def replica_range(spec: Field) -> Iterator[Problem]:
    """0 is a minimum only for metrics that exist without pods (HPAScaleToZero, on since 1.37)."""
    low, high = spec["minReplicas"], spec["maxReplicas"]
    from_zero = any(kind.value in ("Object", "External") for kind in select(spec, "metrics[].type"))
    if low.value is not None:
        yield from whole(0 if from_zero else 1)(low)
    if low.value == 0 and not from_zero:
        yield spec["metrics"].forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas"
        )
    if not high.value:
        yield high.required("must be set and greater than 0")
    else:
        yield from whole(1, why="must be greater than 0")(high)
    if type(low.value) is int and type(high.value) is int and high.value < low.value:
        yield high.invalid("must be greater than or equal to `minReplicas`")


SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def metric_source(metric: Field) -> Iterator[Problem]:
    """The source that `type` names is given, and no other."""
    kind = metric["type"]
    if kind.value not in SOURCES:
        yield kind.unsupported(list(SOURCES))
        return
    if metric[SOURCES[kind.value]].value is None:
        yield metric[SOURCES[kind.value]].required("must populate information for the given metric source")
    for other in set(SOURCES.values()) - {SOURCES[kind.value]}:
        if metric[other].value is not None:
            yield metric[other].forbidden("must populate the given metric source only")


def resource_target(target: Field) -> Iterator[Problem]:
    percent, average = target["averageUtilization"], target["averageValue"]
    if percent.value is None and average.value is None:
        yield percent.required("must set either a target raw value or a target utilization")
    if percent.value is not None and average.value is not None:
        yield average.forbidden("may not set both a target raw value and a target utilization")


def total_target(target: Field) -> Iterator[Problem]:
    if target["value"].value is None and target["averageValue"].value is None:
        yield target["averageValue"].required("must set either a target value or averageValue")


def external_target(target: Field) -> Iterator[Problem]:
    yield from total_target(target)
    if target["value"].value is not None and target["averageValue"].value is not None:
        yield target["value"].forbidden("may not set both a target value for metric and a per-pod target")


def target_type(field: Field) -> Iterator[Problem]:
    if field.value not in ("Utilization", "Value", "AverageValue"):
        yield field.invalid("must be either Utilization, Value, or AverageValue")


TARGET: Rules = [
    ("type", target_type),
    ("value", quantity_check(positive=True)),
    ("averageValue", quantity_check(positive=True)),
    ("averageUtilization", whole(1, why="must be greater than 0")),
]


def some_policy(rules: Field) -> Iterator[Problem]:
    if rules["policies"].value == []:
        yield rules["policies"].required("must specify at least one Policy")


SCALING_RULES: Rules = [
    ("stabilizationWindowSeconds", whole(0, 3600)),
    ("selectPolicy", one_of("Disabled", "Max", "Min")),
    ("tolerance", quantity_check()),
    ("", some_policy),
    ("policies[].type", Needed(), one_of("Percent", "Pods")),
    ("policies[].value", Needed(), whole(1, why="must be greater than zero")),
    ("policies[].periodSeconds", Needed(), whole(1, 1800, why="must be greater than zero")),
]

AUTOSCALER: Rules = [
    ("", replica_range),
    ("scaleTargetRef.kind", Needed(), path_segment),
    ("scaleTargetRef.name", Needed(), path_segment),
    ("metrics[]", metric_source),
    ("metrics[].resource.name", Needed("must specify a resource name")),
    ("metrics[].containerResource.name", Needed("must specify a resource name")),
    ("metrics[].containerResource.container", Needed("must specify a container")),
    *[
        row
        for source in ("pods", "object", "external")
        for row in (
            (f"metrics[].{source}.metric.name", Needed("must specify a metric name"), path_segment),
            *below(f"metrics[].{source}.metric.selector", SELECTOR),
        )
    ],
    ("metrics[].object.describedObject.kind", Needed(), path_segment),
    ("metrics[].object.describedObject.name", Needed(), path_segment),
    *[row for source in SOURCES.values() for row in below(f"metrics[].{source}.target", TARGET)],
    ("metrics[].resource.target", resource_target),
    ("metrics[].containerResource.target", resource_target),
    ("metrics[].pods.target.averageValue", Needed("must specify a positive target averageValue")),
    ("metrics[].object.target", total_target),
    ("metrics[].external.target", external_target),
    *below("behavior.scaleUp", SCALING_RULES),
    *below("behavior.scaleDown", SCALING_RULES),
]


class Kind(NamedTuple):
    """How a kind's objects may be named, the rules for the rest, and the structs that Go always has."""

    name: Check
    rules: Rules
    structs: tuple[str, ...] = ("spec",)


BARE_POD: Rules = [(f"{containers}[].image", untrimmed) for containers in ("containers", "initContainers")]
TEMPLATE = ("spec", "spec.template", "spec.template.metadata", "spec.template.spec")

KINDS: dict[tuple[Any, Any], Kind] = {
    ("v1", "Pod"): Kind(dns_subdomain, below("spec", [*POD, *BARE_POD])),
    ("v1", "Service"): Kind(dns_label, below("spec", SERVICE)),
    ("v1", "ServiceAccount"): Kind(dns_subdomain, [], ()),
    ("v1", "ConfigMap"): Kind(dns_subdomain, [("data", config_key)], ()),
    ("apps/v1", "Deployment"): Kind(dns_subdomain, below("spec", DEPLOYMENT), TEMPLATE),
    ("batch/v1", "Job"): Kind(dns_subdomain, below("spec", JOB), TEMPLATE),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): Kind(
        dns_subdomain, below("spec", AUTOSCALER), ("spec", "spec.scaleTargetRef")
    ),
    ("networking.k8s.io/v1", "Ingress"): Kind(dns_subdomain, below("spec", INGRESS)),
    ("networking.k8s.io/v1", "NetworkPolicy"): Kind(dns_subdomain, below("spec", NETWORK_POLICY)),
    ("policy/v1", "PodDisruptionBudget"): Kind(dns_subdomain, below("spec", BUDGET)),
    ("resource.k8s.io/v1", "DeviceClass"): Kind(dns_subdomain, [("spec.selectors[].cel.expression", Needed())]),
    ("resource.k8s.io/v1", "ResourceClaim"): Kind(dns_subdomain, below("spec", CLAIM)),
    ("scheduling.k8s.io/v1", "PriorityClass"): Kind(dns_subdomain, PRIORITY_CLASS, ()),
}
