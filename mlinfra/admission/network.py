"""Services, Ingresses and NetworkPolicies: pkg/apis/{core,networking}/validation of Kubernetes 1.37."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from mlinfra.admission.common import (
    SELECTOR,
    distinct,
    ip_address,
    port_name,
    port_number,
    port_reference,
    protocol,
    target_port,
)
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    below,
    dns_label,
    dns_subdomain,
    holds,
    label_key,
    labels,
    one_of,
)


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
    pairs: list[tuple[int, str]] = []
    for port in ports.each():
        number, transport = pair = (port["port"].value, port["protocol"].value or "TCP")
        if pair in pairs:
            yield Problem(port.path, f'Duplicate value: {{"protocol":"{transport}","port":{number}}}')
        pairs.append(pair)


def same_node_port(ports: Field) -> Iterator[Problem]:
    """A port of the nodes leads to one port, in each protocol."""
    pairs: list[tuple[int, str]] = []
    for port in ports.each():
        number, _ = pair = (port["nodePort"].value, port["protocol"].value or "TCP")
        if number and pair in pairs:
            yield Problem(port["nodePort"].path, f"Duplicate value: {number}")
        pairs.append(pair)


def from_outside(spec: Field) -> Iterator[Problem]:
    """How traffic from outside is led, for Services that it reaches; a health check for those that lead it locally."""
    policy, check = spec["externalTrafficPolicy"], spec["healthCheckNodePort"]
    if spec["type"].value not in ("LoadBalancer", "NodePort") and not spec["externalIPs"].value:
        if policy.value:
            yield policy.invalid("may only be set for externally-accessible services")
    elif policy.value not in (None, "", "Cluster", "Local"):
        yield policy.unsupported(["Cluster", "Local"])
    if check.value and (spec["type"].value, policy.value) != ("LoadBalancer", "Local"):
        yield check.invalid("may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")


OF_LOAD_BALANCERS = "may only be used when `type` is 'LoadBalancer'"


def by_load_balancer(spec: Field) -> Iterator[Problem]:
    if spec["type"].value == "LoadBalancer":
        for port in spec["ports"].each():
            if port["port"].value == 10250:
                why = "may not expose port 10250 externally since it is used by kubelet"
                yield Field(10250, port.path).invalid(why)
        return
    for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec[name].value is not None:
            yield spec[name].forbidden(OF_LOAD_BALANCERS)
    if spec["loadBalancerSourceRanges"].value:
        yield Problem("spec.LoadBalancerSourceRanges", f"Forbidden: {OF_LOAD_BALANCERS}")  # upstream's capital


def cluster_ip(spec: Field) -> Iterator[Problem]:
    """A Service without an address of its own is for the inside; an ExternalName has neither address nor families."""
    kind, address = spec["type"].value, spec["clusterIP"]
    if kind in ("LoadBalancer", "NodePort") and address.value == "None":
        yield Field("None", "spec.clusterIPs[0]").invalid(f"may not be set to 'None' for {kind} services")
    elif kind == "ExternalName" and address.value:
        yield Problem("spec.clusterIPs", "Forbidden: may not be set for ExternalName services")
    elif address.value not in (None, "", "None"):
        yield from ip_address(Field(address.value, "spec.clusterIPs[0]"))
    if kind == "ExternalName":
        names = ("ipFamilies", "ipFamilyPolicy")
        yield from (spec[n].forbidden("may not be set for ExternalName services") for n in names if spec[n].value)


def affinity(spec: Field) -> Iterator[Problem]:
    """How long a client stays with its pod, for Services that keep it there; three hours unless it is said."""
    config, timeout = spec["sessionAffinityConfig"], spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
    if spec["sessionAffinity"].value != "ClientIP" and config.value is not None:
        yield config.forbidden("must not be set when session affinity is None")
    elif timeout.value is not None and not 0 < timeout.value <= 86400:
        yield timeout.invalid("must be greater than 0 and less than 86400")


def canonical_name(field: Field) -> Iterator[Problem]:
    """A DNS name, perhaps with the dot of the root."""
    yield from dns_subdomain(Field(field.value.removesuffix("."), field.path))


SERVICE: Rules = [
    ("type", one_of("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")),
    ("", service_ports),
    ("", cluster_ip),
    ("externalName", canonical_name),
    ("ports[].port", port_number),
    ("ports[].targetPort", target_port),
    ("ports[].protocol", protocol),
    ("ports[].name", dns_label),
    ("ports[].appProtocol", label_key),
    ("ports", distinct("name", "name"), same_port),
    ("ports", same_node_port),
    ("selector", labels),
    ("sessionAffinity", one_of("ClientIP", "None")),
    ("", affinity),
    ("", from_outside),
    ("", by_load_balancer),
    ("externalIPs[]", ip_address),
    ("internalTrafficPolicy", one_of("Cluster", "Local")),
    ("ipFamilies[]", one_of("IPv4", "IPv6")),
    ("ipFamilyPolicy", one_of("PreferDualStack", "RequireDualStack", "SingleStack")),
    ("trafficDistribution", one_of("PreferClose", "PreferSameNode", "PreferSameZone")),
]


PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")


def absolute_path(field: Field) -> Iterator[Problem]:
    path, free = field["path"], field["pathType"].value == "ImplementationSpecific"
    if field["pathType"].value not in PATH_TYPES or (free and not path.value):
        return
    if not (path.value or "").startswith("/"):
        yield path.invalid("must be an absolute path")
    elif not free:
        odd = [part for part in ("//", "/./", "/../", "%2f", "%2F") if part in path.value]
        yield from (path.invalid(f"must not contain '{part}'") for part in odd)


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


def has_a_backend(spec: Field) -> Iterator[Problem]:
    if not spec["rules"].value and spec["defaultBackend"].value is None:
        yield spec.invalid("either `defaultBackend` or `rules` must be specified")


BACKEND: Rules = [
    ("", backend),
    ("service.name", Needed(), dns_label),
    ("service.port.number", port_number),
    ("service.port.name", port_name),
]


CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def one_class(ingress: Field) -> Iterator[Problem]:
    """Whose Ingress it is, said in one way: by the field, or by the annotation of old."""
    name = ingress["metadata"]["annotations"][CLASS_ANNOTATION].value
    if name is not None and ingress["spec"]["ingressClassName"].value is not None:
        path = f"metadata.annotations[{CLASS_ANNOTATION}]"
        yield Field(name, path).invalid("can not be set when the class field is also set")


INGRESS_SPEC: Rules = [
    ("", has_a_backend),
    ("ingressClassName", holds(bool, "must not be empty"), dns_subdomain),
    ("rules[].host", not_an_address, host_name),
    ("rules[].http.paths", Needed()),
    ("rules[].http.paths[].pathType", Needed("pathType must be specified"), one_of(*PATH_TYPES)),
    ("rules[].http.paths[]", absolute_path),
    *below("(rules[].http.paths[].backend|defaultBackend)", BACKEND),
    ("tls[].hosts[]", host_name),
    ("tls[].secretName", dns_subdomain),
]

INGRESS: Rules = [("", one_class), *below("spec", INGRESS_SPEC)]


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


def two_types(field: Field) -> Iterator[Problem]:
    if len(field.value) > 2:
        yield field.invalid("may not specify more than two policyTypes")


NETWORK_POLICY: Rules = [
    ("policyTypes", two_types),
    *below("podSelector", SELECTOR),
    ("policyTypes[]", one_of("Egress", "Ingress")),
    ("(ingress|egress)[].ports[].port", port_reference),
    ("(ingress|egress)[].ports[].protocol", protocol),
    ("(ingress|egress)[].ports[]", port_range),
    ("(ingress[].from|egress[].to)[]", peer),
    ("(ingress[].from|egress[].to)[].ipBlock.cidr", Needed(), one_cidr),
    *below("(ingress[].from|egress[].to)[].(podSelector|namespaceSelector)", SELECTOR),
]
