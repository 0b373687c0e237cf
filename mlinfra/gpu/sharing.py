"""Several pods on one GPU: what time-slicing, MPS and MIG promise each of them, and the device plugin's configuration.

From the README of NVIDIA/k8s-device-plugin 0.20.0, Table 3 of the MIG User Guide (r580), and, for faults under MPS,
https://docs.nvidia.com/deploy/mps/when-to-use-mps.html (Error Containment), read in November 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from mlinfra.admission import Field, accepted, check, refuse
from mlinfra.admission.nouns.gpu import one_resource
from mlinfra.admission.rules import one_of, real, whole
from mlinfra.gpu.nodes import GPU
from mlinfra.manifest import Manifest


@dataclass(frozen=True)
class Technique:
    """A way to share, as far as its users can rely on it."""

    name: str
    memory: str
    memory_is_limited: bool
    faults: str
    faults_stay_inside: bool
    compute: str
    combines_with: str
    max_clients: int | None  # None: no limit


TECHNIQUES = {
    technique.name: technique
    for technique in (
        Technique(
            "timeSlicing",
            "no limit: any client may take all of it",
            False,
            "one fault domain: the plugin promises no isolation",
            False,
            "equal turns, one client at a time; a pod with two replicas gets no larger share",
            "MIG instances, not MPS",
            None,
        ),
        Technique(
            "mps",
            "1/replicas of the GPU for each client",
            True,
            "one fault domain: a fatal GPU exception reaches every client of that GPU",
            False,
            "1/replicas of the threads for each client, all at once",
            "whole GPUs alone",
            48,
        ),
        Technique(
            "mig",
            "its own slices, in hardware",
            True,
            "isolated: a fault stays in its instance",
            True,
            "its own multiprocessors and bandwidth",
            "time-slicing of its instances",
            7,
        ),
    )
}


def which(promise: Callable[[Technique], bool]) -> list[str]:
    """The techniques that keep a promise: `which(lambda t: t.faults_stay_inside)`."""
    return [name for name, technique in TECHNIQUES.items() if promise(technique)]


@dataclass(frozen=True)
class Sharing:
    """The device plugin's `sharing`: every device of a resource is advertised `replicas` times.

    With `fail_requests_greater_than_one` None the plugin's own default holds: true for MPS, else false.
    """

    technique: Annotated[str, one_of("mps", "timeSlicing")]
    replicas: Annotated[int, whole(2)]
    resource: str = GPU
    rename_by_default: bool = False
    fail_requests_greater_than_one: bool | None = None

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> Sharing:
        """The sharing of the plugin's file; Invalid where it shares nothing, or several resources."""
        config = accepted("sharing", manifest, one_resource)
        technique = "mps" if "mps" in config["sharing"] else "timeSlicing"
        shared = config["sharing"][technique]
        (resource,) = shared["resources"]
        name = resource["name"] if "/" in resource["name"] else f"nvidia.com/{resource['name']}"
        fails = shared.get("failRequestsGreaterThanOne")
        return cls(technique, resource["replicas"], name, shared.get("renameByDefault", False), fails)

    @property
    def advertised(self) -> str:
        """The resource that pods ask for."""
        return f"{self.resource}.shared" if self.rename_by_default else self.resource

    def devices(self, gpus: int) -> dict[str, int]:
        """What a node with so many GPUs then has, for `GPUNode(devices=...)`."""
        refuse("Sharing", whole(0)(Field(gpus, "gpus")))
        return {self.advertised: gpus * self.replicas}

    def memory_gib(self, gpu_gib: float) -> float | None:
        """What a client can count on; None for time-slicing, where it is what the others leave."""
        refuse("Sharing", real(0)(Field(gpu_gib, "gpu_gib")))
        return gpu_gib / self.replicas if self.technique == "mps" else None

    def manifest(self) -> Manifest:
        """The plugin's configuration file."""
        shared: Manifest = {
            "renameByDefault": self.rename_by_default,
            "resources": [{"name": self.resource, "replicas": self.replicas}],
        }
        if self.fail_requests_greater_than_one is not None:
            shared["failRequestsGreaterThanOne"] = self.fail_requests_greater_than_one
        return {"version": "v1", "sharing": {self.technique: shared}}
