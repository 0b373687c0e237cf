"""Configuration files of the GPU tools: how mig-parted cuts GPUs, and how the device plugin shares them.

`api/spec/v1/spec.go` of NVIDIA/mig-parted 0.15 and `api/config/v1` of NVIDIA/k8s-device-plugin 0.20. Of a mig-parted
file it is not known which GPU it is for; whether a cut fits, `mlinfra.gpu.mig` says.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    TextCheck,
    a_map,
    broken,
    label_key,
    one_of,
    select,
    whole,
)
from mlinfra.admission.scheduler import a_list, a_string
from mlinfra.manifest import Manifest

GPU = "nvidia.com/gpu"
MOST_MPS_CLIENTS = 48
FLAGS = (
    "deviceDiscoveryStrategy",
    "failOnInitError",
    "gdrcopyEnabled",
    "gdsEnabled",
    "gfd",
    "migStrategy",
    "mofedEnabled",
    "mpsRoot",
    "nvidiaDevRoot",
    "nvidiaDriverRoot",
    "plugin",
    "useNodeFeatureAPI",
)


def validate(config: Manifest) -> list[Problem | ApiWarning]:
    """Why the tool would not start with the file, and keys that it would drop without a word."""
    if "mig-configs" in config:
        return [*broken(Field(config), MIG_PARTED)]
    return [*broken(Field(config), DEVICE_PLUGIN)] or [*dropped(Field(config))]


def known(*names: str) -> Check:
    """The map has no other keys."""

    def check(field: Field) -> Iterator[Problem]:
        for name in field.value:
            if name not in names:
                yield Problem(field[name].path, f"unexpected field: {name}")

    return check


def version(field: Field) -> Iterator[Problem]:
    if field.value != "v1":
        yield Problem(field.path, f"unknown version: {field.value}")


# ------------------------------------------------------------------------------------------------------- mig-parted


def all_or_indices(field: Field) -> Iterator[Problem]:
    if isinstance(field.value, list):
        for index in field.each():
            yield from whole(0)(index)
    elif field.value != "all":
        yield field.invalid("must be all, or a list of indices")


def enabled_with_devices(part: Field) -> Iterator[Problem]:
    """A GPU in MIG mode says its instances, one that is not has none."""
    enabled, devices = part["mig-enabled"], part["mig-devices"]
    if enabled.value is None:
        yield enabled.required()
    elif enabled.value is True and devices.value is None:
        yield devices.required("when 'mig-enabled' is true")
    elif enabled.value is False and devices.value:
        yield devices.forbidden("MIG devices included when 'mig-enabled' is false")


def boolean(field: Field) -> Iterator[Problem]:
    if not isinstance(field.value, bool):
        yield field.invalid("must be true or false")


PROFILE = TextCheck(
    r"(\d+c\.)?\d+g\.\d+gb([+-][a-z][a-z0-9.]*(,[a-z][a-z0-9.]*)*)?", 63, "must be a MIG profile", "'1g.10gb'"
)


def instances(field: Field) -> Iterator[Problem]:
    for name, count in field.value.items():
        yield from PROFILE(Field(name, field.path))
        yield from whole(0)(Field(count, f"{field.path}[{name}]"))
    if field.value and not any(field.value.values()):
        yield field.invalid("all counts for all MigProfiles are 0")


CUT: Rules = [
    ("", a_map, known("device-filter", "devices", "mig-enabled", "mig-devices"), enabled_with_devices),
    ("devices", Needed(), all_or_indices),
    ("mig-enabled", boolean),
    ("mig-devices", a_map, instances),
]


def cut(parts: Field) -> Iterator[Problem]:
    """What becomes of some GPUs of a node, and of others."""
    if not isinstance(parts.value, list):
        yield parts.invalid("must be a list")
    for part in parts.each():
        yield from broken(part, CUT)


MIG_PARTED: Rules = [
    ("version", Needed("unable to parse with missing 'version' field"), version),
    ("", known("version", "mig-configs")),
    ("mig-configs", Needed("at least one entry is required"), a_map),
    ("mig-configs[]", Needed("at least one entry is required"), cut),
]


# ---------------------------------------------------------------------------------------------------- device plugin


def mps_limits(resource: Field) -> Iterator[Problem]:
    yield from shared_by_mps(resource["name"], resource["replicas"])


def shared_by_mps(name: Field, replicas: Field) -> Iterator[Problem]:
    """Whole GPUs alone, and no more clients than a GPU takes."""
    if name.value not in (GPU, GPU.partition("/")[2]):
        yield name.unsupported([GPU])
    if type(replicas.value) is int and replicas.value > MOST_MPS_CLIENTS:
        yield replicas.invalid(f"must be less than or equal to {MOST_MPS_CLIENTS}, the clients of a GPU")


def replicated(technique: str) -> Rules:
    path = f"sharing.{technique}"
    return [
        (path, a_map),
        (f"{path}.renameByDefault", boolean),
        (f"{path}.failRequestsGreaterThanOne", boolean),
        (f"{path}.resources", Needed("no resources specified"), a_list),
        (f"{path}.resources[].name", Needed("no resource name specified"), a_string, label_key),
        (f"{path}.resources[].replicas", Needed("no replicas specified"), REPLICAS),
    ]


REPLICAS = whole(2, why="number of replicas must be >= 2")
DEVICE_PLUGIN: Rules = [
    ("version", version),
    ("flags", a_map),
    ("flags.migStrategy", one_of("mixed", "none", "single")),
    ("sharing", a_map),
    *replicated("timeSlicing"),
    *replicated("mps"),
    ("sharing.mps.resources[]", mps_limits),
]


def dropped(config: Field) -> Iterator[ApiWarning]:
    """The plugin's parser ignores keys that it does not know, and time-slicing beside MPS."""
    known_keys = {"": ("version", "flags", "resources", "sharing", "imex"), "sharing": ("timeSlicing", "mps")}
    known_keys["flags"] = FLAGS
    for path, names in known_keys.items():
        for part in select(config, path):
            for name in part.value or {}:
                if name not in names:
                    yield ApiWarning(part[name].path, "unknown key, silently dropped")
    if config["sharing"]["mps"].value and config["sharing"]["timeSlicing"].value:
        yield ApiWarning("sharing.timeSlicing", "ignored beside mps")
