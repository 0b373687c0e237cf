"""What an import costs, and what it must not bring along."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, distributions

import pytest
from packaging.specifiers import SpecifierSet

HEAVY = ("numpy", "torch", "ipywidgets", "kubernetes_validate", "jsonschema", "ray", "kfp", "kserve", "helm_python")


@pytest.mark.parametrize(
    "module",
    [
        "mlinfra",
        "mlinfra.manifest",
        "mlinfra.course.data",
        "mlinfra.autoscaling.hpa",
        "mlinfra.autoscaling.llm",
        "mlinfra.gpu.scheduler",
        "mlinfra.gpu.kueue",
        "mlinfra.kserve",
        "mlinfra.helm",
        "mlinfra.kserve.reconcile",
        "mlinfra.pipelines",
        "mlinfra.pipelines.timing",
    ],
)
def test_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_source_notebooks_two_names_still_lead_somewhere() -> None:
    from mlinfra import autoscaling
    from mlinfra.autoscaling import hpa, vpa

    assert autoscaling.HorizontalPodAutoscaler is hpa.HorizontalPodAutoscaler
    assert autoscaling.VerticalPodAutoscaler is vpa.VerticalPodAutoscaler
    with pytest.raises(AttributeError, match="has no attribute 'Autoscaler'"):
        _ = autoscaling.Autoscaler


@pytest.mark.parametrize("installed", [*distributions()], ids=lambda installed: str(installed.name))
def test_every_package_of_the_lock_runs_on_debians_python(installed: Distribution) -> None:
    """Debian 12 has Python 3.11.2; a lock that was made on a newer one can be impossible to install there."""
    assert SpecifierSet(installed.metadata["Requires-Python"] or "").contains("3.11.2")
