"""Resources of a whole pod beside those of its containers: `validatePodResources`, pkg/apis/core/validation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from mlinfra.admission.containers import resource_name, resource_problems
from mlinfra.admission.rules import Field, Problem, quantity_check, select
from mlinfra.quantity import canonical, quantity

Sums = dict[str, Fraction]
FOR_PODS = ["cpu", "hugepages-", "memory"]


def pod_level_resources(spec: Field) -> Iterator[Problem]:
    """Cpu, memory and huge pages alone, and room for all containers."""
    resources = spec["resources"]
    if not resources["limits"].value and not resources["requests"].value:
        return
    amounts = select(resources, "(limits|requests)[]")
    others = [amount for amount in amounts if not for_pods(resource_name(amount))]
    yield from (Field(resource_name(amount), amount.path).unsupported(FOR_PODS) for amount in others)
    if not others and not unreadable(spec):
        yield from list(resource_problems(Field(with_default_requests(spec), resources.path))) or room(spec)


def for_pods(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def unreadable(spec: Field) -> bool:
    """Whether some container's amount is none, which is said where it stands."""
    amounts = select(spec, "(containers|initContainers)[].resources.(limits|requests)[]")
    return any(list(quantity_check()(amount)) for amount in amounts)


def with_default_requests(spec: Field) -> dict[str, dict[str, object]]:
    """What the server fills in: the sum of the containers' requests, or else the pod's limit."""
    limits, requests = (spec["resources"][part].value or {} for part in ("limits", "requests"))
    sums = {name: total for name, total in container_requests(spec).items() if name in ("cpu", "memory")}
    filled = {name: text_of(name, total) for name, total in sums.items()} | requests
    return {"limits": limits, "requests": limits | filled}


def room(spec: Field) -> Iterator[Problem]:
    """The pod requests what its containers request together, and no container has a higher limit than the pod."""
    limits, requests = (spec["resources"][part] for part in ("limits", "requests"))
    for name, total in container_requests(spec).items():
        request = requests[name]
        if request.value is not None and quantity(request.value) < total:
            text = f"must be greater than or equal to aggregate container requests of {text_of(name, total)}"
            yield Field(canonical(request.value), f"{requests.path}[{name}]").invalid(text)
    for i, container in enumerate(spec["containers"].each()):
        for limit in select(container, "resources.limits[]"):
            most = limits[resource_name(limit)].value
            if most is not None and quantity(limit.value) > quantity(most):
                path = f"{spec['resources'].path}.containers[{i}][{resource_name(limit)}].limits"
                text = f"must be less than or equal to pod limits of {canonical(most)}"
                yield Field(canonical(limit.value), path).invalid(text)


def container_requests(spec: Field) -> Sums:
    """Of containers and sidecars together, or of the largest step of the start, with the sidecars before it."""
    running = sidecars = start = Sums()
    for container in spec["containers"].each():
        running = added(running, requests_of(container))
    for container in spec["initContainers"].each():
        step = added(sidecars, requests_of(container))
        sidecars = step if container["restartPolicy"].value == "Always" else sidecars
        start = {name: max(start.get(name, Fraction(0)), step.get(name, Fraction(0))) for name in start | step}
    total = added(running, sidecars)
    return {name: max(total.get(name, Fraction(0)), start.get(name, Fraction(0))) for name in total | start}


def requests_of(container: Field) -> Sums:
    """The server takes the limit where no request is made."""
    limits, requests = (container["resources"][part].value or {} for part in ("limits", "requests"))
    return {name: quantity(amount) for name, amount in (limits | requests).items()}


def added(left: Sums, right: Sums) -> Sums:
    return {name: left.get(name, Fraction(0)) + right.get(name, Fraction(0)) for name in left | right}


def text_of(name: str, total: Fraction) -> str:
    """A sum as the server shows it: thousandths of cpu, powers of two of memory."""
    kibi = total / 1024
    binary = name != "cpu" and kibi.denominator == 1
    return canonical(f"{kibi}Ki" if binary else f"{math.ceil(total * 1000)}m")
