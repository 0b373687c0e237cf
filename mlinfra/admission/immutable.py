"""Fields that may not change once an object exists, by kind: what an update refuses beyond the rules of the object.

From the `Validate...Update` functions of pkg/apis/{apps,batch,core,networking,rbac,resource,scheduling,storage}/
validation, Kubernetes 1.37. Left out: Pods, Ingress classes, volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mlinfra.admission.rules import Field, Problem, decoded
from mlinfra.manifest import Manifest

Update = Callable[[Field, Field], Iterator[Problem]]


def update_problems(old: Manifest, new: Manifest) -> list[Problem]:
    """Why the server would refuse that an object becomes another; empty when it is only refused for what it is."""
    rules = UPDATES.get(str(new.get("kind")), ())
    before, after = Field(decoded(old)), Field(decoded(new))
    return [problem for rule in rules for problem in rule(before, after)]


def at(field: Field, path: str) -> Field:
    """The field at a path of names."""
    for name in path.split("."):
        field = field[name]
    return field


def immutable(path: str, why: str = "field is immutable") -> Update:
    """The field stays as it was made."""

    def rule(old: Field, new: Field) -> Iterator[Problem]:
        if at(old, path).value != at(new, path).value:
            yield at(new, path).invalid(why)

    return rule


def kept(path: str, default: str | None = None) -> Update:
    """The field stays, where the server has filled it in when the manifest says nothing."""

    def rule(old: Field, new: Field) -> Iterator[Problem]:
        before, after = at(old, path).value or default, at(new, path).value or default
        if after is not None and before is not None and before != after:
            yield at(new, path).invalid("field is immutable")

    return rule


def forbidden(path: str, why: str) -> Update:
    """The field stays, and the server has words of its own for it."""

    def rule(old: Field, new: Field) -> Iterator[Problem]:
        if at(old, path).value != at(new, path).value:
            yield at(new, path).forbidden(why)

    return rule


def only(path: str, fields: tuple[str, ...], why: str) -> Update:
    """Of the map nothing but these fields may change."""

    def rule(old: Field, new: Field) -> Iterator[Problem]:
        before, after = (at(obj, path).value or {} for obj in (old, new))
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        if changed - {*fields}:
            yield at(new, path).forbidden(why)

    return rule


def _cluster_ip(old: Field, new: Field) -> Iterator[Problem]:
    """An address that was given stays, unless the Service becomes an ExternalName."""
    before, after = old["spec"]["clusterIP"], new["spec"]["clusterIP"]
    external = "ExternalName" in (old["spec"]["type"].value, new["spec"]["type"].value)
    if before.value and after.value and before.value != after.value and not external:
        addresses = Field([after.value], "spec.clusterIPs[0]")
        yield addresses.invalid("may not change once set")


def _immutable_data(old: Field, new: Field) -> Iterator[Problem]:
    """A ConfigMap or Secret that is immutable keeps its data, and stays immutable."""
    if old["immutable"].value is not True:
        return
    why = "field is immutable when `immutable` is set"
    if new["immutable"].value is not True:
        yield new["immutable"].forbidden(why)
    for name in ("data", "stringData", "binaryData"):
        if old[name].value != new[name].value:
            yield new[name].forbidden(why)


def _completions(old: Field, new: Field) -> Iterator[Problem]:
    """The number of an Indexed Job may change together with its parallelism."""
    before, after = old["spec"]["completions"], new["spec"]["completions"]
    indexed = new["spec"]["completionMode"].value == "Indexed"
    if before.value != after.value and not (indexed and after.value == new["spec"]["parallelism"].value):
        yield after.invalid("field is immutable")


STATEFUL_SET = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_NAMES = ", ".join(f"'{name}'" for name in STATEFUL_SET[:-1])
SELECTOR = immutable("spec.selector")
UPDATES: dict[str, tuple[Update, ...]] = {
    "ClusterRoleBinding": (immutable("roleRef", "cannot change roleRef"),),
    "ConfigMap": (_immutable_data,),
    "DaemonSet": (SELECTOR,),
    "Deployment": (SELECTOR,),
    "Job": (
        _completions,
        kept("spec.selector"),
        immutable("spec.template"),
        kept("spec.completionMode", "NonIndexed"),
        immutable("spec.podFailurePolicy"),
        immutable("spec.backoffLimitPerIndex"),
        immutable("spec.successPolicy"),
        kept("spec.managedBy"),
    ),
    "PersistentVolumeClaim": (
        only(
            "spec",
            ("resources", "volumeAttributesClassName"),
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ),
    ),
    "PriorityClass": (
        forbidden("value", "may not be changed in an update."),
        kept("preemptionPolicy", "PreemptLowerPriority"),
    ),
    "ReplicaSet": (SELECTOR,),
    "ResourceClaim": (immutable("spec"),),
    "ResourceClaimTemplate": (immutable("spec"),),
    "RoleBinding": (immutable("roleRef", "cannot change roleRef"),),
    "Secret": (_immutable_data, kept("type", "Opaque")),
    "Service": (_cluster_ip,),
    "StatefulSet": (
        only(
            "spec",
            STATEFUL_SET,
            f"updates to statefulset spec for fields other than {_NAMES} and '{STATEFUL_SET[-1]}' are forbidden",
        ),
    ),
    "StorageClass": (
        forbidden("provisioner", "updates to provisioner are forbidden."),
        forbidden("parameters", "updates to parameters are forbidden."),
    ),
}
