"""MIG: one GPU cut into instances whose places are fixed, and what that does to whoever comes next.

Profiles and places from NVIDIA's MIG User Guide (r580 listings) and go-nvml's A100 and A30 tables; places of H200 and
B200 by family. A start and a size are counted in memory slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from mlinfra.admission import Field, Invalid, Problem, accepted, refuse
from mlinfra.admission.nouns.gpu import all_gpus_alike
from mlinfra.admission.rules import whole
from mlinfra.manifest import Manifest
from mlinfra.tables import table


@dataclass(frozen=True)
class MIGProfile:
    """A size of instance; None where no listing says it. `key` is the same on every GPU, `name` carries its memory."""

    key: str
    name: str
    compute_slices: int
    memory_slices: int
    starts: tuple[int, ...]
    max_count: int
    memory_gib: float | None
    sm: int | None
    sm_of_gpu: int
    copy_engines: int | None = None
    decoders: int | None = None
    jpeg_engines: int | None = None
    ofa_engines: int | None = None

    @property
    def resource(self) -> str:
        """The extended resource of the `mixed` strategy; `+` may not stand in a resource's name."""
        return f"nvidia.com/mig-{self.name.replace('+', '.')}"

    @property
    def nominal_gb(self) -> int:
        """The number in the name, which the usable memory falls short of."""
        return int(self.name.partition(".")[2].partition("gb")[0])

    @property
    def sm_share(self) -> float | None:
        """The part of the GPU's multiprocessors, which is not compute_slices / 7; None where it is not published."""
        return None if self.sm is None else self.sm / self.sm_of_gpu

    @property
    def media(self) -> bool:
        """Whether it holds the media extensions, of which a GPU has one set for all instances."""
        return self.key.endswith("+me")

    def slices(self, start: int) -> int:
        """The memory slices of an instance that begins there, as bits."""
        return ((1 << self.memory_slices) - 1) << start


@cache
def profiles(gpu: str) -> Mapping[str, MIGProfile]:
    """The profiles of a GPU by their key; Invalid for a GPU that has none here."""
    by_gpu = _table()
    if gpu not in by_gpu:
        raise Invalid("MIG", [Field(gpu, "gpu").unsupported(list(by_gpu))])
    return MappingProxyType(by_gpu[gpu])


@cache
def _table() -> dict[str, dict[str, MIGProfile]]:
    by_gpu: dict[str, dict[str, MIGProfile]] = {}
    for row in table("mlinfra.gpu", "mig_profiles"):
        by_gpu.setdefault(row["gpu"], {})[row["key"]] = MIGProfile(
            row["key"],
            row["name"],
            int(row["compute_slices"]),
            int(row["memory_slices"]),
            tuple(map(int, row["starts"].split())),
            int(row["max_count"]),
            float(row["memory_gib"]) if row["memory_gib"] else None,
            int(row["sm"]) if row["sm"] else None,
            int(row["sm_of_gpu"]),
            *(int(row[engine]) if row[engine] else None for engine in ("copy_engines", "decoders", "jpeg", "ofa")),
        )
    return by_gpu


def smallest_for(gpu: str, gib: float) -> MIGProfile:
    """The profile with the least memory that is enough, then with the fewest compute slices.

    Usable GiB where a listing gives them, else the number in the name. Invalid when the whole GPU is too small.
    """
    if not gib >= 0:
        raise Invalid("MIG", [Field(gib, "gib").invalid("must be greater than or equal to 0")])
    enough = [p for p in profiles(gpu).values() if not p.media and _memory(p) >= gib]
    if not enough:
        largest = max(map(_memory, profiles(gpu).values()))
        raise Invalid("MIG", [Field(gib, "gib").invalid(f"must be less than or equal to {largest:g}, all of a {gpu}")])
    return min(enough, key=lambda p: (_memory(p), p.compute_slices))


def _memory(profile: MIGProfile) -> float:
    return profile.nominal_gb if profile.memory_gib is None else profile.memory_gib


# ------------------------------------------------------------------------------------------------------ placements


@dataclass(frozen=True, order=True)
class Instance:
    """A GPU instance: its profile's key, and the memory slice where it begins."""

    key: str
    start: int


class MIGPartitioner:
    """One GPU in MIG mode and its instances. A call that raises has changed nothing."""

    def __init__(self, gpu: str) -> None:
        self.gpu, self.profiles = gpu, profiles(gpu)
        self.instances: list[Instance] = []

    def legal_starts(self, key: str) -> list[int]:
        """Where one more instance could begin now."""
        profile, counts = self.profile(key), Counter(instance.key for instance in self.instances)
        media_taken = profile.media and any(self.profiles[instance.key].media for instance in self.instances)
        if counts[key] >= profile.max_count or media_taken:
            return []
        return [start for start in profile.starts if not profile.slices(start) & self.taken]

    @property
    def taken(self) -> int:
        """The memory slices in use, as bits."""
        return sum(self.profiles[instance.key].slices(instance.start) for instance in self.instances)

    def create(self, key: str, start: int | None = None) -> Instance:
        """An instance at that start, or where the driver would put it; Invalid when none is free."""
        free = self.legal_starts(key)
        if not free or start not in (None, *free):
            raise Invalid(self.profile(key).name, [Problem("start", "Insufficient Resources")])
        instance = Instance(key, self._drivers_choice(key, free) if start is None else free[free.index(start)])
        self.instances.append(instance)
        return instance

    def destroy(self, instance: Instance) -> None:
        """Its slices are free again."""
        if instance not in self.instances:
            raise Invalid("instance", [Problem("key", f'instances "{instance.key}" at {instance.start} not found')])
        self.instances.remove(instance)

    def profile(self, key: str) -> MIGProfile:
        if key not in self.profiles:
            raise Invalid(self.gpu, [Field(key, "profile").unsupported(list(self.profiles))])
        return self.profiles[key]

    def _drivers_choice(self, key: str, free: Sequence[int]) -> int:
        """The start that leaves the most placements legal, then the lowest.

        This rule is inferred: it gives all five sequences that NVIDIA documents, all of them on an A100.
        """
        return max(free, key=lambda start: (self._left_after(key, start), -start))

    def _left_after(self, key: str, start: int) -> int:
        self.instances.append(Instance(key, start))
        left = sum(len(self.legal_starts(other)) for other in self.profiles)
        self.instances.pop()
        return left


# --------------------------------------------------------------------------------------------------------- layouts

PLAIN = ("1g", "2g", "3g", "4g", "7g")
Layout = tuple[Instance, ...]


def layouts(gpu: str, keys: Sequence[str] = PLAIN) -> Iterator[Layout]:
    """Every set of instances of these profiles that fit together, the empty one first.

    A profile of other GPUs is left out; Invalid for a key that none has.
    """
    everywhere = sorted({key for known in _table().values() for key in known})
    refuse(gpu, (Field(key, "keys").unsupported(everywhere) for key in keys if key not in everywhere))
    sizes = [profiles(gpu)[key] for key in dict.fromkeys(keys) if key in profiles(gpu)]
    places = [(Instance(p.key, start), p.slices(start), p.media) for p in sizes for start in p.starts]

    def extended(chosen: Layout, taken: int, media: bool, after: int) -> Iterator[Layout]:
        yield chosen
        for i in range(after, len(places)):
            instance, slices, is_media = places[i]
            if not slices & taken and not (media and is_media):
                yield from extended((*chosen, instance), taken | slices, media or is_media, i + 1)

    return extended((), 0, False, 0)


def maximal_layouts(gpu: str, keys: Sequence[str] = PLAIN) -> list[Layout]:
    """Those to which nothing can be added."""
    return [layout for layout in layouts(gpu, keys) if not _room(gpu, layout, keys)]


def _room(gpu: str, layout: Layout, keys: Sequence[str]) -> bool:
    board = MIGPartitioner(gpu)
    board.instances = list(layout)
    return any(board.legal_starts(key) for key in keys if key in board.profiles)


# --------------------------------------------------------------------------------------------------------- packing


def in_order(gpu: str, keys: Sequence[str]) -> Layout:
    """What the driver places of the requests, one after the other; who does not fit is left out."""
    board = MIGPartitioner(gpu)
    for key in keys:
        if board.legal_starts(key):
            board.create(key)
    return tuple(board.instances)


def best_packing(gpu: str, keys: Sequence[str]) -> Layout:
    """Of all layouts made of these requests one with the most compute slices, by looking at all."""
    requests = Counter(keys)
    possible = (layout for layout in layouts(gpu, tuple(requests)) if Counter(i.key for i in layout) <= requests)
    return max(possible, key=lambda layout: sum(profiles(gpu)[i.key].compute_slices for i in layout))


# ------------------------------------------------------------------------------------------------------- manifests


@dataclass(frozen=True)
class MIGConfig:
    """The file of mig-parted: how to cut every GPU of a node, by the name of a cut; counts are by profile key.

    Invalid for a cut that no order of creation can make.
    """

    gpu: str
    cuts: Mapping[str, Mapping[str, int]]

    def __post_init__(self) -> None:
        for name, counts in self.cuts.items():
            refuse("mig-parted configuration", _misfit(self.gpu, counts, f"mig-configs.{name}"))

    @classmethod
    def of(cls, manifest: Manifest, gpu: str) -> MIGConfig:
        """The file as it cuts this GPU; Invalid where a cut treats some GPUs of a node otherwise than others."""
        config = accepted("mig-parted configuration", manifest, all_gpus_alike)
        keys = {profile.name: key for key, profile in profiles(gpu).items()}
        cuts = {
            name: {keys.get(profile, profile): n for profile, n in parts[0].get("mig-devices", {}).items() if n}
            for name, parts in config["mig-configs"].items()
        }
        return cls(gpu, cuts)

    def manifest(self) -> Manifest:
        return {"version": "v1", "mig-configs": {name: [self._part(counts)] for name, counts in self.cuts.items()}}

    def _part(self, counts: Mapping[str, int]) -> Manifest:
        known = profiles(self.gpu)
        devices = {known[key].name: count for key, count in counts.items()}
        return {"devices": "all", "mig-enabled": bool(devices), "mig-devices": devices}


def _misfit(gpu: str, counts: Mapping[str, int], path: str) -> Iterator[Problem]:
    unknown = [key for key in counts if key not in profiles(gpu)]
    if unknown:
        yield Field(unknown[0], path).unsupported(list(profiles(gpu)))
    elif not any(Counter(instance.key for instance in layout) == counts for layout in layouts(gpu, tuple(counts))):
        yield Field(dict(counts), path).invalid(f"must fit on one {gpu}")


DRIVER = "gpu.nvidia.com"


def device_class() -> Manifest:
    """The class that NVIDIA's DRA driver installs for MIG devices."""
    expression = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'mig'"
    head = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "mig.nvidia.com"}}
    return {**head, "spec": {"selectors": [{"cel": {"expression": expression}}]}}


def resource_claim(name: str, profile: MIGProfile, count: int = 1) -> Manifest:
    """A claim for MIG devices of one profile, all of them on one GPU."""
    refuse("ResourceClaim", whole(1)(Field(count, "count")))
    chosen = {"cel": {"expression": f"device.attributes['{DRIVER}'].profile == '{profile.name}'"}}
    exactly = {"deviceClassName": "mig.nvidia.com", "allocationMode": "ExactCount", "count": count}
    exactly |= {"selectors": [chosen]}
    devices: Manifest = {"requests": [{"name": "mig", "exactly": exactly}]}
    if count > 1:
        devices["constraints"] = [{"requests": ["mig"], "matchAttribute": f"{DRIVER}/parentUUID"}]
    head = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name}}
    return {**head, "spec": {"devices": devices}}
