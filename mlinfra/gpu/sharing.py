"""Several pods on one GPU: what time-slicing, MPS and MIG promise each of them, and the device plugin's configuration.

From the README of NVIDIA/k8s-device-plugin 0.20.0 and Table 3 of the MIG User Guide (r580).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mlinfra.admission.rules import Field, Invalid, Needed, Problem, Rules, broken, one_of, refuse, whole
from mlinfra.gpu.cluster import GPU
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
            "shared: one client's fault ends the others",
            False,
            "equal turns, one client at a time; more replicas give nobody a larger share",
            "MIG instances, not MPS",
            None,
        ),
        Technique(
            "mps",
            "1/replicas of the GPU for each client",
            True,
            "partly shared",
            False,
            "1/replicas of the threads for each client, all at once",
            "whole GPUs alone",
            48,
        ),
        Technique(
            "mig",
            "its own slices, in hardware",
            True,
            "its own",
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


def _most_clients(sharing: Field) -> Iterator[Problem]:
    most = TECHNIQUES[sharing["technique"].value].max_clients if sharing["technique"].value in TECHNIQUES else None
    if most and sharing["replicas"].value > most:
        yield sharing["replicas"].invalid(f"must be less than or equal to {most}, the clients of a GPU")


@dataclass(frozen=True)
class Sharing:
    """The device plugin's `sharing`: every device of a resource is advertised `replicas` times."""

    technique: str
    replicas: int
    resource: str = GPU
    rename_by_default: bool = False
    fail_requests_greater_than_one: bool = False

    def __post_init__(self) -> None:
        refuse("sharing", broken(Field(vars(self)), SHARING))
        if self.technique == "mps" and self.resource != GPU:
            raise Invalid("sharing", [Field(self.resource, "resource").unsupported([GPU])])

    @property
    def advertised(self) -> str:
        """The resource that pods ask for."""
        return f"{self.resource}.shared" if self.rename_by_default else self.resource

    def devices(self, gpus: int) -> dict[str, int]:
        """What a node with so many GPUs then has, for `GPUNode(devices=...)`."""
        refuse("sharing", whole(0)(Field(gpus, "gpus")))
        return {self.advertised: gpus * self.replicas}

    def memory_gib(self, gpu_gib: float) -> float | None:
        """What a client can count on; None for time-slicing, where it is what the others leave."""
        return gpu_gib / self.replicas if self.technique == "mps" else None

    def manifest(self) -> Manifest:
        """The plugin's configuration file."""
        shared = {
            "renameByDefault": self.rename_by_default,
            "failRequestsGreaterThanOne": self.fail_requests_greater_than_one,
            "resources": [{"name": self.resource, "replicas": self.replicas}],
        }
        return {"version": "v1", "sharing": {self.technique: shared}}


SHARING: Rules = [
    ("technique", Needed(), one_of("mps", "timeSlicing")),
    ("replicas", Needed(), whole(2)),
    ("", _most_clients),
]
