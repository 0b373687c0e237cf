"""Pods and nodes, pkg/apis/core/validation of Kubernetes 1.37, as tables of paths and checks."""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.common import (
    SELECTOR,
    descending_path,
    distinct,
    exactly_one,
    ip_address,
    match_expression,
    no_backsteps,
    user_id,
)
from mlinfra.admission.containers import CONTAINER, SECURITY, of_init_containers
from mlinfra.admission.podlevel import pod_level_resources
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
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


def mounts_and_claims(spec: Field) -> Iterator[Problem]:
    """A container may use only the volumes and resource claims that its pod declares."""
    volumes = {volume["name"].value for volume in spec["volumes"].each()}
    claims = {claim["name"].value for claim in spec["resourceClaims"].each()}
    for mount in select(spec, "(containers|initContainers)[].(volumeMounts|volumeDevices)[].name"):
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


SPREAD = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"


def spread(constraint: Field) -> Iterator[Problem]:
    when, least, keys = constraint["whenUnsatisfiable"], constraint["minDomains"], constraint["matchLabelKeys"]
    if least.value is not None and when.value == "ScheduleAnyway":
        yield least.invalid(SPREAD)
    if keys.value and constraint["labelSelector"].value is None:
        yield keys.forbidden("must not be set when labelSelector is not set")


def spread_once(constraints: Field) -> Iterator[Problem]:
    pairs: list[tuple[str, str]] = []
    for constraint in constraints.each():
        key, when = pair = (constraint["topologyKey"].value, constraint["whenUnsatisfiable"].value)
        if pair in pairs:
            yield Problem(constraint.path, f'Duplicate value: "{{{key}, {when}}}"')
        pairs.append(pair)


def sleeps(spec: Field) -> Iterator[Problem]:
    """A hook's sleep ends before the pod is killed, 30 seconds after it was told to stop."""
    grace = spec["terminationGracePeriodSeconds"].value
    grace_s = 30 if grace is None else max(grace, 1)
    for sleep in select(spec, "(containers|initContainers)[].lifecycle.(postStart|preStop).sleep"):
        seconds = sleep["seconds"].value or 0
        if not 0 <= seconds <= grace_s:
            why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
            yield Field(seconds, sleep.path).invalid(why)


def host_ports(spec: Field) -> Iterator[Problem]:
    """A port of the node is taken once, and in the node's own network it is the container's."""
    taken: list[str] = []
    for port in select(spec, "containers[].ports[]"):
        number = port["hostPort"].value or (port["containerPort"].value if spec["hostNetwork"].value else 0)
        name = f"{port['protocol'].value or 'TCP'}/{port['hostIP'].value or ''}/{number}"
        if spec["hostNetwork"].value and number != port["containerPort"].value:
            yield port["hostPort"].invalid("must match `containerPort` when `hostNetwork` is true")
        if number and name in taken:
            yield Problem(port["hostPort"].path, f'Duplicate value: "{name}"')
        taken.append(name)


def own_namespaces(spec: Field) -> Iterator[Problem]:
    """A pod with users of its own, or processes of its own, does not have the node's beside them."""
    if spec["hostUsers"].value is False:
        for name, path in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
            if spec[name].value:
                yield spec[path].forbidden("when `pod.Spec.HostUsers` is false")  # upstream's capitals
    if spec["hostPID"].value and spec["shareProcessNamespace"].value:
        yield spec["shareProcessNamespace"].invalid("ShareProcessNamespace and HostPID cannot both be enabled")


def name_servers(spec: Field) -> Iterator[Problem]:
    """With a policy of None the pod says whom it asks."""
    config = spec["dnsConfig"]
    if spec["dnsPolicy"].value == "None" and config.value is None:
        yield config.required("must provide `dnsConfig` when `dnsPolicy` is None")
    elif spec["dnsPolicy"].value == "None" and not config["nameservers"].value:
        yield config["nameservers"].required("must provide at least one DNS nameserver when `dnsPolicy` is None")
    if len(config["nameservers"].value or ()) > 3:
        yield config["nameservers"].invalid("must not have more than 3 nameservers")


def file_mode(field: Field) -> Iterator[Problem]:
    """0755 in YAML is octal; 755 is not, and is more than there is."""
    if type(field.value) is not int or not 0 <= field.value <= 0o777:
        yield field.invalid("must be a number between 0 and 0777 (octal), both inclusive")


def node_requirement(field: Field) -> Iterator[Problem]:
    operator = field["operator"]
    yield from label_key(field["key"])
    if operator.value in ("Gt", "Lt"):
        if len(field["values"].value or ()) != 1:
            yield field["values"].required("must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        yield from match_expression(field)


in_hundred = holds(lambda weight: type(weight) is int and 1 <= weight <= 100, "must be in the range 1-100")

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

HOST_PATHS = ("BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")

_TOKEN = "volumes[].projected.sources[].serviceAccountToken"
_REQUIRED, _PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
_NODES = f"{_REQUIRED}.nodeSelectorTerms"
_PODS = "affinity.(podAffinity|podAntiAffinity)"
_TERM = f"{_PODS}.({_REQUIRED}[]|{_PREFERRED}[].podAffinityTerm)"

NODE_AFFINITY: Rules = [
    (_NODES, Needed("must have at least one node selector term")),
    (f"{_NODES}[].matchExpressions[]", node_requirement),
    (f"{_PREFERRED}[].preference.matchExpressions[]", node_requirement),
    (f"{_PREFERRED}[].weight", in_hundred),
]

POD: Rules = [
    ("containers", Needed()),
    *below("(containers|initContainers)[]", CONTAINER),
    ("", of_init_containers),
    ("", sleeps),
    ("", host_ports),
    ("", own_namespaces),
    ("", pod_level_resources),
    ("", name_servers),
    ("dnsConfig.nameservers[]", ip_address),
    ("dnsConfig.options[].name", Needed("must not be empty")),
    ("restartPolicy", one_of("Always", "Never", "OnFailure")),
    ("preemptionPolicy", one_of("Never", "PreemptLowerPriority")),
    ("schedulingGates[].name", label_key),
    ("schedulingGates", distinct("name", "name")),
    ("subdomain", dns_label),
    ("nodeName", dns_subdomain),
    ("hostAliases[].ip", ip_address),
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
    ("volumes[].hostPath.path", Needed(), no_backsteps),
    ("volumes[].hostPath.type", one_of(*HOST_PATHS)),
    ("volumes[].nfs.(server|path)", Needed()),
    ("volumes[].csi.driver", Needed()),
    ("volumes[].(configMap|secret|projected).defaultMode", file_mode),
    ("volumes[].(configMap|secret).items[].(key|path)", Needed()),
    ("volumes[].(configMap|secret).items[].path", descending_path),
    (f"{_TOKEN}.path", Needed(), descending_path),
    (f"{_TOKEN}.expirationSeconds", whole(600, 2**32, "may not specify a duration less than 10 minutes")),
    ("volumes[].ephemeral.volumeClaimTemplate", Needed()),
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
    ("topologySpreadConstraints[].topologyKey", Needed("can not be empty"), label_key),
    ("topologySpreadConstraints[].whenUnsatisfiable", Needed(), one_of("DoNotSchedule", "ScheduleAnyway")),
    ("topologySpreadConstraints[].(nodeAffinityPolicy|nodeTaintsPolicy)", one_of("Honor", "Ignore")),
    ("topologySpreadConstraints[]", spread),
    ("topologySpreadConstraints", spread_once),
    *below("topologySpreadConstraints[].labelSelector", SELECTOR),
    *below("affinity.nodeAffinity", NODE_AFFINITY),
    (f"{_PODS}.{_PREFERRED}[].weight", in_hundred),
    (f"{_TERM}.topologyKey", Needed("can not be empty"), label_key),
    *below(f"{_TERM}.labelSelector", SELECTOR),
    *below("securityContext", SECURITY),
    ("securityContext.(fsGroup|supplementalGroups[])", user_id),
    ("securityContext.fsGroupChangePolicy", one_of("Always", "OnRootMismatch")),
]
