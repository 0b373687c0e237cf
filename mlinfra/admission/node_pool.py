"""NodePool, mlinfra.example/v1: what a pool of nodes may say. Form and words are ours: no API server has it."""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission.custom import CustomKind
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    dns_label,
    label_key,
    label_value,
    labels,
    one_of,
    quantity_check,
    real,
    whole,
)
from mlinfra.manifest import extended

API_VERSION = "mlinfra.example/v1"
GPU = "nvidia.com/gpu"


def sizes(spec: Field) -> Iterator[Problem]:
    """The maximum is not below the minimum."""
    low, high = spec["minSize"].value or 0, spec["maxSize"]
    if high.value is not None and high.value < low:
        yield high.invalid(f"must be greater than or equal to minSize ({low})")


def devices(shape: Field) -> Iterator[Problem]:
    """Extended resources; GPUs are counted by `gpus`."""
    for name in shape["devices"].value or {}:
        if not extended(name) or name == GPU:
            yield shape["devices"].invalid(f"{name}: must be an extended resource other than {GPU}, which gpus counts")


SHAPE: Rules = [
    ("gpuType", label_value),
    ("(gpus|gpuMemoryGiB)", whole(0)),
    ("(cpu|memory)", Needed(), quantity_check(positive=True)),
    ("pods", whole(1)),
    ("devices[]", whole(0)),
]
NODE_POOL = CustomKind(
    API_VERSION,
    "NodePool",
    [
        *((f"spec.shape.{path}", *checks) for path, *checks in SHAPE),
        ("spec.labels", labels),
        ("spec.taints[].key", Needed(), label_key),
        ("spec.taints[].value", label_value),
        ("spec.taints[].effect", Needed(), one_of("NoExecute", "NoSchedule", "PreferNoSchedule")),
        ("spec.pricePerHour", real(0)),
        ("spec.capacity", one_of("on-demand", "spot")),
        ("spec.boot.(nodeSeconds|gpuSeconds|imageSeconds)", real(0)),
        ("spec.minSize", whole(0)),
        ("spec.maxSize", whole(1)),
    ],
    [("spec", sizes), ("spec.shape", devices)],
    "nodepool",
    name=dns_label,
)
KINDS = {"NodePool": NODE_POOL}
