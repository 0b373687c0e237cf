"""RayService, ray.io/v1: KubeRay 1.7, `ray-operator/controllers/ray/utils/validation.go`.

The webhook looks at the name alone; the rest is refused by the controller, in an event. `serveConfigV2` is checked by
nobody before Serve itself gets it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission import serve
from mlinfra.admission.custom import CustomKind, Older
from mlinfra.admission.rules import Field, Needed, Problem, Rules, TextCheck, whole

V1ALPHA1_IS_DEPRECATED = (
    "ray.io/v1alpha1 RayService is deprecated; use ray.io/v1 RayService. "
    "v1alpha1 receives no new fields and will be unavailable in KubeRay 1.9."
)
UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")


def _serve_config(text: Field) -> Iterator[Problem]:
    """The YAML inside, as Serve would look at it."""
    import yaml

    try:
        config = yaml.safe_load(text.value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        yield text.invalid(f"must be YAML: {str(error).splitlines()[0]}")
        return
    if not isinstance(config, dict):
        yield text.invalid("must be a map")
        return
    yield from (Problem(f"{text.path}: {problem.path}", problem.message) for problem in serve.validate(config))


def _upgrade(kind: Field) -> Iterator[Problem]:
    if kind.value not in UPGRADES:
        names = f"{UPGRADES[1]}, {UPGRADES[0]}, or {UPGRADES[2]}"
        yield kind.invalid(f"Spec.UpgradeStrategy.Type value {kind.value} is invalid, valid options are {names}")


def _workers(group: Field) -> Iterator[Problem]:
    low, high = group["minReplicas"].value or 0, group["maxReplicas"].value
    if high is not None and low > high:
        yield group["minReplicas"].invalid(
            f"worker group {group['groupName'].value} has minReplicas {low} greater than maxReplicas {high}"
        )


def _incremental(spec: Field) -> Iterator[Problem]:
    strategy = spec["upgradeStrategy"]
    if strategy["type"].value == UPGRADES[1]:
        if not spec["rayClusterConfig"]["enableInTreeAutoscaling"].value:
            yield strategy["type"].invalid("Ray Autoscaler is required for NewClusterWithIncrementalUpgrade")
        if strategy["clusterUpgradeOptions"].value is None:
            yield strategy["clusterUpgradeOptions"].required(
                "ClusterUpgradeOptions are required for NewClusterWithIncrementalUpgrade"
            )


CLUSTER = "spec.rayClusterConfig"
RULES: Rules = [
    ("spec.serveConfigV2", _serve_config),
    ("spec.upgradeStrategy.type", _upgrade),
    (CLUSTER, Needed()),
    (f"{CLUSTER}.headGroupSpec.template", Needed()),
    (f"{CLUSTER}.workerGroupSpecs[].(groupName|template)", Needed()),
    (f"{CLUSTER}.workerGroupSpecs[].(minReplicas|maxReplicas)", whole(0)),
]
KIND = CustomKind(
    "ray.io/v1",
    "RayService",
    RULES,
    [(f"{CLUSTER}.workerGroupSpecs[]", _workers), ("spec", _incremental)],
    "rayservice",
    TextCheck(
        "[a-z]([-a-z0-9]*[a-z0-9])?",
        47,
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character",
        "'my-name',  or 'abc-123'",
    ),
    older={"ray.io/v1alpha1": Older("rayservice_v1alpha1", V1ALPHA1_IS_DEPRECATED)},
)
KINDS = {KIND.kind: KIND}
