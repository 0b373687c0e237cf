"""The cluster of a RayService: KubeRay 1.7, `ValidateRayClusterSpec` in `controllers/ray/utils/validation.go`.

And what the webhook of the RayCluster says that the operator makes of it. Not here: the rules of fields behind a gate
that is off by default (network policies, TLS, the history server, RocksDB), which are named in a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission.rules import ApiWarning, Field, Problem, Rules, label_key, label_value, select

RAY_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")
AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"
FAULT_TOLERANCE = "ray.io/ft-enabled"
GATES = {
    "networkPolicy": "spec.networkPolicy requires the RayClusterNetworkPolicy feature gate to be enabled",
    "tlsOptions": "spec.tlsOptions requires the RayClusterMTLS feature gate to be enabled",
    "historyServerOptions": "RayClusterHistoryServer feature gate is not enabled",
}


# ------------------------------------------------------------------------------------------------------ any group


def _groups(cluster: Field) -> Iterator[tuple[str, Field]]:
    """The head's group and the workers', by the names that errors give them."""
    yield "Head", cluster["headGroupSpec"]
    for group in cluster["workerGroupSpecs"].each():
        yield str(group["groupName"].value), group


def _pods(cluster: Field) -> Iterator[Problem]:
    """Every group has a container for Ray."""
    for name, group in _groups(cluster):
        what = "headGroupSpec" if name == "Head" else "workerGroupSpec"
        if not (containers := group["template"]["spec"]["containers"]).value:
            yield Problem(containers.path, f"{what} should have at least one container")


def _start_params(cluster: Field) -> Iterator[Problem]:
    """Resources are said once; labels have a field of their own."""
    for name, group in _groups(cluster):
        params = group["rayStartParams"]
        if group["resources"].value and any(params[resource].value for resource in RAY_RESOURCES):
            why = f"resource fields should not be set in both rayStartParams and Resources for {name} group"
            yield Problem(group["resources"].path, f"{why}; please use only one")
        if params["labels"].value is not None:
            why = f"rayStartParams['labels'] is not supported for {name} group"
            yield Problem(params["labels"].path, f"{why}; please use the top-level Labels field instead")


def _labels(cluster: Field) -> Iterator[Problem]:
    """Labels of Ray have the form of Kubernetes'."""
    for name, group in _groups(cluster):
        for key, value in (group["labels"].value or {}).items():
            for problem in label_key(Field(key, group["labels"].path)):
                why = f"invalid label key for {name} group: '{key}', error: {problem.message}"
                yield Problem(problem.path, why)
            for problem in label_value(Field(value, group["labels"].path)):
                why = f"invalid label value for key '{key}' in {name} group: '{value}', error: {problem.message}"
                yield Problem(problem.path, why)


# -------------------------------------------------------------------------------------------------------- workers


def _names(cluster: Field) -> Iterator[Problem]:
    """The webhook of the RayCluster: a name stands for one group."""
    names = [group["groupName"].value for group in cluster["workerGroupSpecs"].each()]
    for i, group in enumerate(cluster["workerGroupSpecs"].each()):
        if group["groupName"].value in names[:i]:
            yield Problem(group.path, f'Invalid value: "{names[i]}": worker group names must be unique')


def _replicas(cluster: Field) -> Iterator[Problem]:
    """Bounds that the API server has filled in: from none to as many as there may be."""
    for group in cluster["workerGroupSpecs"].each():
        name, low, high = f"worker group {group['groupName'].value}", group["minReplicas"], group["maxReplicas"]
        for bound, word in ((low, "minReplicas"), (high, "maxReplicas")):
            if (bound.value or 0) < 0:
                yield Problem(bound.path, f"{name} has negative {word} {bound.value}")
        if high.value is not None and (low.value or 0) > high.value:
            why = f"{name} has minReplicas {low.value or 0} greater than maxReplicas {high.value}"
            yield Problem(low.path, why)


def _autoscales(cluster: Field) -> bool:
    return bool(cluster["enableInTreeAutoscaling"].value)


def _second_version(cluster: Field) -> bool:
    """Whether the newer autoscaler is chosen, in its options or by the head's environment."""
    return cluster["autoscalerOptions"]["version"].value == "v2" or _head_environment(cluster).get(AUTOSCALER_V2) in (
        "1",
        "true",
    )


def _head_environment(cluster: Field) -> dict[str, str]:
    """The head's variables by name; the container of Ray is the first."""
    containers = cluster["headGroupSpec"]["template"]["spec"]["containers"].value or [{}]
    return {entry["name"]: str(entry.get("value", "")) for entry in containers[0].get("env", ())}


def _of_the_second_version(cluster: Field) -> Iterator[Problem]:
    """A group's own patience and its priority are read by the newer autoscaler only."""
    for group in cluster["workerGroupSpecs"].each():
        name, idle, priority = f"worker group {group['groupName'].value}", *map(group.__getitem__, IDLE_AND_PRIORITY)
        if (idle.value or 0) < 0:
            yield Problem(idle.path, f"{name}: idleTimeoutSeconds must be non-negative, got {idle.value}")
        elif idle.value is not None and not _second_version(cluster):
            yield Problem(idle.path, f"{name}: idleTimeoutSeconds is set, but autoscaler v2 is not enabled. {CHOOSE}")
        if priority.value:
            yield from _priority(cluster, name, priority)


IDLE_AND_PRIORITY = ("idleTimeoutSeconds", "priority")
CHOOSE = (
    "Please set .spec.autoscalerOptions.version to 'v2' (or set RAY_enable_autoscaler_v2 environment variable to "
    "'true' in the head pod if using KubeRay < 1.4.0)"
)


def _priority(cluster: Field, name: str, priority: Field) -> Iterator[Problem]:
    version = cluster["rayVersion"].value or ""
    if not version:
        why = "priority is set, but RayVersion was not specified. Ray version 2.56.0 or later is required"
        yield Problem(priority.path, f"{name}: {why}")
    elif _numbers(version) < (2, 56):
        why = f"priority is set, but minimum Ray version is 2.56.0, got {version}"
        yield Problem(priority.path, f"{name}: {why}")
    elif not _second_version(cluster):
        why = "autoscaler v2 is not enabled. Priority is only supported with autoscaler v2 enabled"
        yield Problem(priority.path, f"{name}: priority is set to {priority.value}, but {why}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part[:9]) for part in re.findall(r"\d+", version))


def _suspended(cluster: Field) -> Iterator[Problem]:
    for group in cluster["workerGroupSpecs"].each():
        if group["suspend"].value and _autoscales(cluster):
            why = f"worker group {group['groupName'].value} cannot be suspended with Autoscaler enabled"
            yield Problem(group["suspend"].path, why)


# ------------------------------------------------------------------------------------------------- the autoscaler


def _autoscaler(cluster: Field) -> Iterator[Problem]:
    """Options of the autoscaler that contradict each other, or the head's environment."""
    options, chosen = cluster["autoscalerOptions"], _head_environment(cluster).get(AUTOSCALER_V2)
    idle = options["idleTimeoutSeconds"]
    if (idle.value or 0) < 0:
        yield Problem(idle.path, f"autoscalerOptions.idleTimeoutSeconds must be non-negative, got {idle.value}")
    if not _autoscales(cluster) and chosen in ("1", "true"):
        why = f"environment variable {AUTOSCALER_V2} cannot be set to '{chosen}' when enableInTreeAutoscaling is false."
        yield Problem(cluster.path, f"{why} Please set enableInTreeAutoscaling: true to use autoscaler v2")
    if _autoscales(cluster) and options["version"].value is not None and chosen is not None:
        why = f"both .spec.autoscalerOptions.version and head Pod env var {AUTOSCALER_V2} are set"
        yield Problem(options["version"].path, f"{why}, please only use the former")


def _restarts(cluster: Field) -> Iterator[Problem]:
    """The newer autoscaler replaces a pod, it does not restart it."""
    if not _autoscales(cluster) or cluster["autoscalerOptions"]["version"].value != "v2":
        return
    for name, group in _groups(cluster):
        policy = group["template"]["spec"]["restartPolicy"]
        if policy.value not in (None, "", "Never"):
            whose = "head Pod" if name == "Head" else f"worker group {name}"
            yield Problem(policy.path, f"restartPolicy for {whose} should be Never or unset when using autoscaler V2")


# ---------------------------------------------------------------------------------- the head's memory, and its door

REDIS = {
    "RAY_REDIS_ADDRESS": "RedisAddress",
    "REDIS_PASSWORD": "RedisPassword",
}


def _redis(cluster: Field) -> Iterator[Problem]:
    """Redis is told in one place."""
    environment, options = _head_environment(cluster), cluster["gcsFaultToleranceOptions"]
    params = cluster["headGroupSpec"]["rayStartParams"]
    instead = "GcsFaultToleranceOptions is enabled - use GcsFaultToleranceOptions"
    if options.value is not None and params["redis-password"].value:
        yield Problem(params["redis-password"].path, PASSWORD.format(instead=instead))
    for name, option in REDIS.items() if options.value is not None else ():
        if name in environment:
            yield Problem(options.path, f"cannot set `{name}` env var in head Pod when {instead}.{option} instead")
    if params["redis-username"].value or "REDIS_USERNAME" in environment:
        why = "cannot set redis username in rayStartParams or environment variables"
        yield Problem(params.path, f"{why} - use GcsFaultToleranceOptions.RedisUsername instead")


PASSWORD = "cannot set `redis-password` in rayStartParams when {instead}.RedisPassword instead"


def _authentication(cluster: Field) -> Iterator[Problem]:
    options, version = cluster["authOptions"], cluster["rayVersion"].value or ""
    if options["enableK8sTokenAuth"].value:
        yield Problem(options.path, "K8s token auth mode is currently not supported for RayService")
    if options["mode"].value == "token" and not version:
        why = "RayVersion was not specified. Ray version 2.52.0 or later is required"
        yield Problem(options["mode"].path, f"authOptions.mode is 'token' but {why}")
    elif options["mode"].value == "token" and _numbers(version) < (2, 52):
        why = f"authOptions.mode is 'token' but minimum Ray version is 2.52.0, got {version}"
        yield Problem(options["mode"].path, why)


def _service_name(cluster: Field) -> Iterator[Problem]:
    name = cluster["headGroupSpec"]["headService"]["metadata"]["name"]
    if name.value:
        yield Problem(name.path, f"{name.path} should not be set")


def _upgrade_strategy(cluster: Field) -> Iterator[Problem]:
    """The operator marks the cluster as made by a RayService, which may not have a strategy."""
    if cluster["upgradeStrategy"]["type"].value is not None:
        why = "upgradeStrategy cannot be set when RayCluster is created by RayService"
        yield Problem(cluster["upgradeStrategy"].path, why)


def fault_tolerance(service: Field) -> Iterator[Problem]:
    """The annotation of old and the options exclude each other, and Redis needs one of them."""
    annotations = service["metadata"]["annotations"]
    cluster = service["spec"]["rayClusterConfig"]
    options, enabled = cluster["gcsFaultToleranceOptions"], str(annotations[FAULT_TOLERANCE].value or "")
    if enabled and options.value is not None:
        why = "Please use only GcsFaultToleranceOptions to configure GCS fault tolerance"
        yield Problem(options.path, f"{FAULT_TOLERANCE} annotation and GcsFaultToleranceOptions are both set. {why}")
    tolerant = options.value is not None or enabled.lower() == "true"
    if not tolerant and "RAY_REDIS_ADDRESS" in _head_environment(cluster):
        why = "RAY_REDIS_ADDRESS is set which implicitly enables GCS fault tolerance, but GcsFaultToleranceOptions"
        yield Problem(
            options.path,
            f"{why} is not set. Please set GcsFaultToleranceOptions to enable GCS fault tolerance",
        )


RULES: Rules = [
    ("", rule)
    for rule in (
        _pods,
        _start_params,
        _labels,
        _names,
        _replicas,
        _of_the_second_version,
        _suspended,
        _autoscaler,
        _restarts,
        _redis,
        _authentication,
        _service_name,
        _upgrade_strategy,
    )
]


# ------------------------------------------------------------------------------------- what is accepted with a word


def warnings(cluster: Field) -> Iterator[ApiWarning]:
    """Gates that are off by default, and replicas that the operator moves between their bounds."""
    for name, why in GATES.items():
        if cluster[name].value is not None:
            yield ApiWarning(cluster[name].path, f"by default the operator says: {why}")
    for group in select(cluster, "workerGroupSpecs[]"):
        low, high = group["minReplicas"].value or 0, group["maxReplicas"].value
        replicas = group["replicas"].value or 0
        least = max(low, replicas)
        made = least if high is None else min(least, high)
        if group["replicas"].value is not None and made != replicas:
            why = f"{replicas} is not between minReplicas and maxReplicas: the operator makes {made}"
            yield ApiWarning(group["replicas"].path, why)
