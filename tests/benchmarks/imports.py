"""What `import` costs over bare Python: the package and each module that needs no numpy, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.rows import Row, seconds

ROOMS = (
    "mlinfra",
    "mlinfra.manifest",
    "mlinfra.autoscaling.hpa",
    "mlinfra.autoscaling.vpa",
    "mlinfra.autoscaling.knative",
    "mlinfra.autoscaling.keda",
    "mlinfra.autoscaling.loop",
    "mlinfra.gpu.scheduler",
    "mlinfra.gpu.kueue",
    "mlinfra.gpu.mig",
    "mlinfra.kserve.service",
    "mlinfra.kserve.reconcile",
    "mlinfra.kserve.canary",
    "mlinfra.ray_serve.router",
    "mlinfra.pipelines.timing",
    "mlinfra.helm.bill",
)


def rows() -> Iterator[Row]:
    bare = start("pass")
    for room in ROOMS:
        took = max(start(f"import {room}") - bare, 1e-4)
        yield Row("import", room, 1, took, "starting Python", bare, "60 ms", took <= 0.06)


def start(code: str) -> float:
    return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), times=9)
