"""Which pod keeps its node: the rules of cluster-autoscaler 1.37, in their order (`simulator/drainability/rules`).

The first rule that has something to say decides. Not modelled: rules of custom controllers, whose pods count as not
replicated, as by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mlinfra.admission import NotNegative, accepted, check
from mlinfra.manifest import Manifest

REPLICATED = ("Job", "ReplicaSet", "ReplicationController", "StatefulSet")
"""Controllers that make a new pod in the place of one that was evicted. A Deployment's pods belong to a ReplicaSet."""
EXTRA_GRACE_S = 30.0
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
SAFE_VOLUMES = f"{SAFE_TO_EVICT}-local-volumes"
MIRROR = "kubernetes.io/config.mirror"
SKIP, MOVE, DAEMONSET = "skip", "move", "daemonset"


@dataclass(frozen=True)
class PodTraits:
    """What decides whether a pod may be moved; the default is a running pod of a Job.

    `disruptions_allowed` is what its PodDisruptionBudget has left (None: it has no budget), `deleted_s_ago` how long
    ago it was told to stop, `safe_to_evict` the annotation, `local_volumes` hostPath and emptyDir on disk.
    """

    controller: str = "Job"
    namespace: str = "default"
    safe_to_evict: str = ""
    disruptions_allowed: int | None = None
    local_volumes: tuple[str, ...] = ()
    safe_local_volumes: tuple[str, ...] = ()
    mirror: bool = False
    age_s: NotNegative = 0.0
    phase: str = "Running"
    restart_policy: str = "Always"
    deleted_s_ago: float | None = None
    grace_s: NotNegative = 30.0

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest, disruptions_allowed: int | None = None) -> PodTraits:
        """A running pod by its manifest; what its budget allows stands in the budget's status."""
        obj = accepted("Pod", manifest)
        metadata, spec = obj["metadata"], obj["spec"]
        notes = metadata.get("annotations", {})
        owners = [owner["kind"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller")]
        return cls(
            next(iter(owners), ""),
            metadata.get("namespace", "default"),
            notes.get(SAFE_TO_EVICT, ""),
            disruptions_allowed,
            tuple(volume["name"] for volume in spec.get("volumes", ()) if is_local(volume)),
            tuple(name for name in notes.get(SAFE_VOLUMES, "").split(",") if name),
            MIRROR in notes,
            restart_policy=spec.get("restartPolicy", "Always"),
            grace_s=float(spec.get("terminationGracePeriodSeconds", 30)),
        )

    @property
    def long_terminating(self) -> bool:
        """Whether it should be gone by now: it was told to stop, and its grace and half a minute are over."""
        return self.deleted_s_ago is not None and self.deleted_s_ago > self.grace_s + EXTRA_GRACE_S


def is_local(volume: Manifest) -> bool:
    """Whether a volume lies on the node's disk."""
    return "hostPath" in volume or ("emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory")


OF_A_JOB = PodTraits()
Rule = Callable[[PodTraits, float], str]
"""What becomes of a pod: skip, move, daemonset, the reason why it blocks, or "" for the next rule to say."""


def mirror(pod: PodTraits, timeout_s: float) -> str:
    return SKIP if pod.mirror else ""


def long_terminating(pod: PodTraits, timeout_s: float) -> str:
    return SKIP if pod.long_terminating else ""


def daemonset(pod: PodTraits, timeout_s: float) -> str:
    return DAEMONSET if pod.controller == "DaemonSet" else ""


def safe_to_evict(pod: PodTraits, timeout_s: float) -> str:
    return MOVE if pod.safe_to_evict == "true" else ""


def finished(pod: PodTraits, timeout_s: float) -> str:
    """It has failed, or succeeded and is not started again."""
    succeeded = pod.phase == "Succeeded" and pod.restart_policy in ("Never", "OnFailure")
    return MOVE if pod.phase == "Failed" or succeeded else ""


def replicated(pod: PodTraits, timeout_s: float) -> str:
    return "" if pod.controller in REPLICATED else "NotReplicated"


def system(pod: PodTraits, timeout_s: float) -> str:
    """A pod of kube-system without a budget blocks in its first hour; after it, it moves whatever else it says."""
    if pod.namespace != "kube-system" or pod.disruptions_allowed is not None:
        return ""
    return MOVE if pod.age_s > timeout_s else "UnmovableKubeSystemPod"


def not_safe_to_evict(pod: PodTraits, timeout_s: float) -> str:
    return "NotSafeToEvictAnnotation" if pod.safe_to_evict == "false" else ""


def local_storage(pod: PodTraits, timeout_s: float) -> str:
    return "LocalStorageRequested" if set(pod.local_volumes) - set(pod.safe_local_volumes) else ""


def budget(pod: PodTraits, timeout_s: float) -> str:
    no_room = pod.disruptions_allowed is not None and pod.disruptions_allowed < 1
    return "NotEnoughPdb" if no_room else ""


RULES: tuple[Rule, ...] = (
    mirror,
    long_terminating,
    daemonset,
    safe_to_evict,
    finished,
    replicated,
    system,
    not_safe_to_evict,
    local_storage,
    budget,
)


def verdict(pod: PodTraits, system_pod_timeout_s: float = 3600.0) -> str:
    """What the first rule says that says anything; a pod that none objects to moves."""
    return next(filter(None, (rule(pod, system_pod_timeout_s) for rule in RULES)), MOVE)


class PodsToMove(NamedTuple):
    """The pods of a node that must find another, its DaemonSets' pods, or which pod keeps it and why."""

    moved: list[str]
    daemonset: list[str]
    blocked_by: str = ""
    reason: str = ""


def pods_to_move(names: Iterable[str], traits: Mapping[str, PodTraits], system_pod_timeout_s: float) -> PodsToMove:
    """All pods of a node, judged in their order, until one blocks; one of which nothing is known is a Job's."""
    moves = PodsToMove([], [])
    for name in names:
        said = verdict(traits[name], system_pod_timeout_s) if name in traits else MOVE
        if said == MOVE:
            moves.moved.append(name)
        elif said == DAEMONSET:
            moves.daemonset.append(name)
        elif said != SKIP:
            return PodsToMove([], [], name, said)
    return moves
