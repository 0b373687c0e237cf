"""RayService, ray.io/v1: KubeRay 1.7, `ray-operator/controllers/ray/utils/validation.go`.

The webhook looks at the name alone; the rest is refused by the controller, in an event. `serveConfigV2` is checked by
nobody before Serve itself gets it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from mlinfra.admission import raycluster, serve
from mlinfra.admission.custom import CustomKind, Older
from mlinfra.admission.go_values import seconds
from mlinfra.admission.rules import ApiWarning, Field, Needed, Problem, Rules, TextCheck, below, whole

V1ALPHA1_IS_DEPRECATED = (
    "ray.io/v1alpha1 RayService is deprecated; use ray.io/v1 RayService. "
    "v1alpha1 receives no new fields and will be unavailable in KubeRay 1.9."
)
UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")


def _serve_config(text: Field) -> Iterator[Problem]:
    """The YAML inside, as Serve would look at it; where Ray is not installed, that it is YAML."""
    import yaml

    try:
        config = yaml.safe_load(text.value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        yield text.invalid(f"must be YAML: {str(error).splitlines()[0]}")
        return
    if not isinstance(config, dict):
        yield text.invalid("must be a map")
        return
    for problem in serve.refusals(config) if serve.is_ray_here() else ():
        yield Problem(f"{text.path}: {problem.path}", problem.message)


def _deprecations(service: Field) -> Iterator[ApiWarning]:
    """Names of old in the YAML inside, and that nobody looked at it where Ray is not installed."""
    import yaml

    text = service["spec"]["serveConfigV2"]
    if text.value and not serve.is_ray_here():
        yield ApiWarning(text.path, serve.NOT_CHECKED)
    for warning in serve.deprecations(yaml.safe_load(text.value)) if text.value else ():
        yield ApiWarning(f"{text.path}: {warning.path}", warning.message)


def _upgrade(kind: Field) -> Iterator[Problem]:
    if kind.value not in UPGRADES:
        names = f"{UPGRADES[1]}, {UPGRADES[0]}, or {UPGRADES[2]}"
        yield kind.invalid(f"Spec.UpgradeStrategy.Type value {kind.value} is invalid, valid options are {names}")


def _incremental(spec: Field) -> Iterator[Problem]:
    strategy = spec["upgradeStrategy"]
    if strategy["type"].value == UPGRADES[1]:
        if not spec["rayClusterConfig"]["enableInTreeAutoscaling"].value:
            yield strategy["type"].invalid("Ray Autoscaler is required for NewClusterWithIncrementalUpgrade")
        if strategy["clusterUpgradeOptions"].value is None:
            yield strategy["clusterUpgradeOptions"].required(
                "ClusterUpgradeOptions are required for NewClusterWithIncrementalUpgrade"
            )
        else:
            yield from _steps(strategy["clusterUpgradeOptions"])


def _steps(options: Field) -> Iterator[Problem]:
    """`ValidateClusterUpgradeOptions`; a surge that is not given is all."""
    surge, step = options["maxSurgePercent"], options["stepSizePercent"]
    for percent in (surge, step):
        if percent.value is not None and not 0 <= percent.value <= 100:
            yield percent.invalid(f"{percent.path.rpartition('.')[2]} must be between 0 and 100")
    if step.value > (100 if surge.value is None else surge.value):
        yield step.invalid("stepSizePercent must be less than or equal to maxSurgePercent")
    if options["intervalSeconds"].value <= 0:
        yield options["intervalSeconds"].invalid("intervalSeconds must be greater than 0")
    if not options["gatewayClassName"].value:
        why = "gatewayClassName is required for NewClusterWithIncrementalUpgrade"
        yield options["gatewayClassName"].required(why)


def _timeout(text: Field) -> Iterator[Problem]:
    """A duration in Go's words, or whole seconds; the webhook looks at it."""
    name = "ray.io/initializing-timeout"
    try:
        amount, unit = seconds(text.value), "duration"
    except ValueError:
        whole_seconds = re.fullmatch(r"[+-]?[0-9]{1,18}", text.value)
        amount, unit = (int(text.value) if whole_seconds else math.nan), "integer (seconds)"
    if math.isnan(amount) and text.value:
        form = "Expected Go duration format (e.g., '5m', '1h') or positive integer seconds"
        yield Problem(text.path, f"annotation {name} has invalid format: {text.value}. {form}")
    elif amount <= 0:
        yield Problem(text.path, f"annotation {name} must be a positive {unit}, got: {text.value}")


def _annotations(service: Field) -> Iterator[Problem]:
    text = service["metadata"]["annotations"]["ray.io/initializing-timeout"]
    yield from _timeout(text) if text.value else ()


def _warnings(service: Field) -> Iterator[ApiWarning]:
    yield from _deprecations(service)
    yield from raycluster.warnings(service["spec"]["rayClusterConfig"])


CLUSTER = "spec.rayClusterConfig"
RULES: Rules = [
    ("spec.serveConfigV2", _serve_config),
    ("spec.upgradeStrategy.type", _upgrade),
    (CLUSTER, Needed()),
    (f"{CLUSTER}.headGroupSpec.template", Needed()),
    (f"{CLUSTER}.workerGroupSpecs[].(groupName|template)", Needed()),
    (
        "spec.rayClusterDeletionDelaySeconds",
        whole(0, why="Spec.RayClusterDeletionDelaySeconds should be a non-negative integer"),
    ),
]
KIND = CustomKind(
    "ray.io/v1",
    "RayService",
    RULES,
    [
        ("", _annotations),
        *below(CLUSTER, raycluster.RULES),
        ("", raycluster.fault_tolerance),
        ("spec", _incremental),
    ],
    "rayservice",
    TextCheck(
        "[a-z]([-a-z0-9]*[a-z0-9])?",
        47,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character",
        "'my-name',  or 'abc-123'",
    ),
    older={"ray.io/v1alpha1": Older("rayservice_v1alpha1", V1ALPHA1_IS_DEPRECATED)},
    warn=_warnings,
)
KINDS = {KIND.kind: KIND}
