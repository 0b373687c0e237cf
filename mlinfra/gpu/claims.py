"""What pods ask of DRA: device classes, and claims with requests, selectors and constraints.

Of CEL there is what this course writes: the driver, an attribute that equals a value, a capacity that is large enough.
Not read: consumable capacity, admin access, configurations, distinctAttribute, constraints on some requests only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from mlinfra.admission import AtLeastOne, accepted, check
from mlinfra.admission.nouns.gpu import (
    AT_LEAST,
    EQUALS,
    FROM_DRIVER,
    cel_terms,
    claim_in_plain_words,
    class_in_plain_words,
)
from mlinfra.admission.rules import dns_label, dns_subdomain, one_of
from mlinfra.gpu.affinity import Toleration
from mlinfra.gpu.cluster import not_found
from mlinfra.gpu.devices import Attribute, Device, DevicePool
from mlinfra.gpu.mig import DRIVER
from mlinfra.manifest import Manifest
from mlinfra.quantity import Quantity, quantity

EXACT_COUNT, ALL = "ExactCount", "All"


class AttributeEquals(NamedTuple):
    """A device without the attribute does not match; upstream's CEL stops with an error there."""

    attribute: str
    value: str | int | bool

    def matches(self, device: Device) -> bool:
        return same(device.attributes.get(self.attribute), self.value)

    def expression(self, driver: str) -> str:
        value = f"'{self.value}'" if isinstance(self.value, str) else str(self.value).lower()
        return f"{_place('attributes', driver, self.attribute)} == {value}"


class CapacityAtLeast(NamedTuple):
    """A device without the capacity does not match."""

    capacity: str
    at_least: Quantity

    def matches(self, device: Device) -> bool:
        return self.capacity in device.capacity and quantity(device.capacity[self.capacity]) >= quantity(self.at_least)

    def expression(self, driver: str) -> str:
        return f"{_place('capacity', driver, self.capacity)}.compareTo(quantity('{self.at_least}')) >= 0"


Selector = AttributeEquals | CapacityAtLeast


def same(one: Attribute, other: Attribute) -> bool:
    """Whether two attributes are there, and of one type and value."""
    return one is not None and type(one) is type(other) and one == other


def _place(kind: str, driver: str, name: str) -> str:
    domain, _, last = name.rpartition("/")
    return f"device.{kind}['{domain or driver}'].{last}"


@dataclass(frozen=True)
class DeviceClass:
    """What an administrator offers: the devices of a driver that match all selectors.

    Pods that ask for `extended_resource_name`, as for any extended resource, get a claim for devices of the class.
    """

    name: Annotated[str, dns_subdomain]
    driver: str
    selectors: tuple[Selector, ...] = ()
    extended_resource_name: str = ""

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> DeviceClass:
        obj = accepted("DeviceClass", manifest, class_in_plain_words)
        expressions = [selector["cel"]["expression"] for selector in obj["spec"]["selectors"]]
        (driver,) = {match[1] for term in cel_terms(expressions) if (match := FROM_DRIVER.fullmatch(term))}
        resource = obj["spec"].get("extendedResourceName", "")
        return cls(obj["metadata"]["name"], driver, selectors_of(expressions, driver), resource)

    def manifest(self) -> Manifest:
        terms = [f"device.driver == '{self.driver}'", *(each.expression(self.driver) for each in self.selectors)]
        head = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": self.name}}
        spec: Manifest = {"selectors": [{"cel": {"expression": " && ".join(terms)}}]}
        if self.extended_resource_name:
            spec["extendedResourceName"] = self.extended_resource_name
        return {**head, "spec": spec}


def selectors_of(expressions: Iterable[str], driver: str) -> tuple[Selector, ...]:
    """The selectors of CEL in our words; the driver's own attributes lose its name."""
    selectors: list[Selector] = []
    for term in cel_terms(expressions):
        if match := EQUALS.fullmatch(term):
            selectors.append(AttributeEquals(_name(match, driver), _value(match[3])))
        elif match := AT_LEAST.fullmatch(term):
            selectors.append(CapacityAtLeast(_name(match, driver), match[3]))
    return tuple(selectors)


def _name(match: re.Match[str], driver: str) -> str:
    domain, name = match[1], match[2]
    return name if domain == driver else f"{domain}/{name}"


def _value(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.lstrip("-").isdecimal() else text[1:-1]


GPU_CLASS = DeviceClass("gpu.nvidia.com", DRIVER, (AttributeEquals("type", "gpu"),), "nvidia.com/gpu")
MIG_CLASS = DeviceClass("mig.nvidia.com", DRIVER, (AttributeEquals("type", "mig"),))
CLASSES = {each.name: each for each in (GPU_CLASS, MIG_CLASS)}
"""The classes of NVIDIA's driver."""


@dataclass(frozen=True)
class DeviceRequest:
    """So many devices of a class, or with the mode All each one that matches."""

    name: Annotated[str, dns_label]
    device_class: DeviceClass
    count: AtLeastOne = 1
    mode: Annotated[str, one_of(EXACT_COUNT, ALL)] = EXACT_COUNT
    selectors: tuple[Selector, ...] = ()
    tolerations: tuple[Toleration, ...] = ()

    def __post_init__(self) -> None:
        check(self)

    def selects(self, pool: DevicePool, device: Device) -> bool:
        """Whether the class and the request itself match."""
        of_driver = pool.driver == self.device_class.driver
        return of_driver and all(each.matches(device) for each in (*self.device_class.selectors, *self.selectors))

    def tolerates(self, device: Device) -> bool:
        """Whether it tolerates each taint of the device that keeps claims away."""
        taints = [taint for taint in device.taints if taint.effect in ("NoExecute", "NoSchedule")]
        return all(any(toleration.tolerates(taint) for toleration in self.tolerations) for taint in taints)

    @classmethod
    def of(cls, name: str, manifest: Manifest, classes: Mapping[str, DeviceClass]) -> DeviceRequest:
        """One `exactly`, or one of `firstAvailable`."""
        if manifest["deviceClassName"] not in classes:
            raise not_found("deviceclass", manifest["deviceClassName"])
        device_class = classes[manifest["deviceClassName"]]
        expressions = [selector["cel"]["expression"] for selector in manifest.get("selectors", ())]
        return cls(
            name,
            device_class,
            manifest.get("count", 1),
            manifest.get("allocationMode", EXACT_COUNT),
            selectors_of(expressions, device_class.driver),
            tuple(Toleration.of(toleration) for toleration in manifest.get("tolerations", ())),
        )

    def manifest(self) -> Manifest:
        request: Manifest = {"deviceClassName": self.device_class.name, "allocationMode": self.mode}
        if self.mode == EXACT_COUNT:
            request["count"] = self.count
        if self.selectors:
            expressions = [each.expression(self.device_class.driver) for each in self.selectors]
            request["selectors"] = [{"cel": {"expression": expression}} for expression in expressions]
        if self.tolerations:
            request["tolerations"] = [toleration.manifest() for toleration in self.tolerations]
        return request


@dataclass(frozen=True)
class FirstAvailable:
    """The first of these requests that can be satisfied."""

    name: Annotated[str, dns_label]
    requests: tuple[DeviceRequest, ...]

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ResourceClaim:
    """Devices that are allocated together or not at all; each of `match_attribute` has one value in all of them.

    An attribute without a domain is one of the driver of the first request.
    """

    name: Annotated[str, dns_subdomain]
    requests: tuple[DeviceRequest | FirstAvailable, ...]
    match_attribute: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest, classes: Mapping[str, DeviceClass] = CLASSES) -> ResourceClaim:
        """The claim of a manifest; Invalid for CEL and for constraints that are not read here."""
        obj = accepted("ResourceClaim", manifest, claim_in_plain_words)
        devices = obj["spec"]["devices"]
        requests = tuple(_request_of(request, classes) for request in devices.get("requests", ()))
        own = f"{_driver(requests)}/" if requests else ""
        constraints = [each["matchAttribute"].removeprefix(own) for each in devices.get("constraints", ())]
        return cls(obj["metadata"]["name"], requests, tuple(constraints))

    def manifest(self) -> Manifest:
        devices: Manifest = {"requests": [_request_manifest(request) for request in self.requests]}
        names, driver = [request.name for request in self.requests], _driver(self.requests)
        attributes = [name if "/" in name else f"{driver}/{name}" for name in self.match_attribute]
        if attributes:
            devices["constraints"] = [{"requests": names, "matchAttribute": name} for name in attributes]
        head = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": self.name}}
        return {**head, "spec": {"devices": devices}}

    def template(self) -> Manifest:
        """The ResourceClaimTemplate from which each pod that names it gets a claim of its own."""
        return self.manifest() | {"kind": "ResourceClaimTemplate", "spec": {"spec": self.manifest()["spec"]}}


def _driver(requests: Sequence[DeviceRequest | FirstAvailable]) -> str:
    """The driver of the first request."""
    first = requests[0]
    return (first if isinstance(first, DeviceRequest) else first.requests[0]).device_class.driver


def _request_of(manifest: Manifest, classes: Mapping[str, DeviceClass]) -> DeviceRequest | FirstAvailable:
    if exactly := manifest.get("exactly"):
        return DeviceRequest.of(manifest["name"], exactly, classes)
    listed = tuple(DeviceRequest.of(each["name"], each, classes) for each in manifest["firstAvailable"])
    return FirstAvailable(manifest["name"], listed)


def _request_manifest(request: DeviceRequest | FirstAvailable) -> Manifest:
    if isinstance(request, DeviceRequest):
        return {"name": request.name, "exactly": request.manifest()}
    return {"name": request.name, "firstAvailable": [{"name": e.name, **e.manifest()} for e in request.requests]}
