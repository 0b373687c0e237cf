"""Pods that want GPUs: what they request, where they may run, and how important they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Annotated, Any

from mlinfra.admission import Count, Invalid, Problem, accepted, check
from mlinfra.admission.nouns.gpu import PREFERRED, REQUIRED, only_expressions
from mlinfra.admission.rules import whole
from mlinfra.gpu import pod_spec
from mlinfra.gpu.affinity import (
    PreferredSchedulingTerm,
    Requirement,
    Taint,
    Term,
    Toleration,
    term_manifest,
    term_matches,
)
from mlinfra.gpu.nodes import GPU, MEMORY, PRODUCT, Amount, Amounts, Name
from mlinfra.manifest import Manifest, Resources, extended
from mlinfra.quantity import milli_value, quantity, shown

QUEUE_NAME = "kueue.x-k8s.io/queue-name"
PAUSE = "registry.k8s.io/pause:3.10"
LARGEST_GANG = 10_000


@dataclass(frozen=True)
class PriorityClass:
    """A name for a priority; `preemption_policy` Never queues ahead of others and evicts nobody."""

    name: Name
    value: Annotated[int, whole(-(2**31))]
    preemption_policy: str = "PreemptLowerPriority"
    global_default: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, manifest: Manifest) -> PriorityClass:
        obj = accepted("PriorityClass", manifest)
        return cls(
            obj["metadata"].get("name", ""),
            obj.get("value", 0),
            obj.get("preemptionPolicy", "PreemptLowerPriority"),
            obj.get("globalDefault", False),
            obj.get("description", ""),
        )

    def manifest(self) -> Manifest:
        obj = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": self.name},
            "value": self.value,
            "preemptionPolicy": self.preemption_policy,
            "globalDefault": self.global_default,
        }
        return obj | ({"description": self.description} if self.description else {})


class PodKind:
    """One object for all pods that are equal for the scheduler, so that comparing kinds takes no time."""

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key


@lru_cache(maxsize=100_000)
def kind_of(key: tuple[Any, ...]) -> PodKind:
    """The same object for equal keys."""
    return PodKind(key)


@dataclass(frozen=True)
class GPURequest:
    """A pod that wants GPUs, or a gang of `gang_size` such pods; what is None or empty is not asked for.

    With another `resource` than nvidia.com/gpu it wants so many of those, such as MIG instances; `devices` are further
    extended resources. GPU memory and type are wishes on node labels: `required_gpu_type` and `gpu_memory_gib` filter
    nodes, `preferred_gpu_type` scores them. Of the terms of `node_affinity` one must hold beside these wishes. `claims`
    name ResourceClaimTemplates: from each the pod gets a claim of its own.
    """

    name: Name
    gpu_count: Count = 0
    gpu_memory_gib: Count = 0
    preferred_gpu_type: str = ""
    required_gpu_type: str = ""
    cpu: Amount | None = None
    memory: Amount | None = None
    tolerations: tuple[Toleration, ...] = ()
    priority_class: PriorityClass | None = None
    gang_size: Annotated[int, whole(1, LARGEST_GANG)] = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    resource: str = GPU
    devices: Mapping[str, int] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    node_affinity: tuple[Term, ...] = ()
    preferred_terms: tuple[PreferredSchedulingTerm, ...] = ()
    claims: tuple[str, ...] = ()
    namespace: str = "default"

    def __post_init__(self) -> None:
        for name in ("cpu", "memory"):
            amount = getattr(self, name)
            object.__setattr__(self, name, None if amount is None else shown(amount))
        check(self, by_kind=False)

    @classmethod
    def of(cls, manifest: Manifest, classes: Iterable[PriorityClass] = ()) -> GPURequest:
        """The pod of a manifest; Invalid when the API server would refuse it, or its priority class is not among these.

        A live pod carries its priority, and then needs no classes.
        """
        obj = accepted("Pod", manifest, only_expressions)
        spec = obj["spec"]
        requests = pod_spec.requests_of(spec)
        resource = GPU if GPU in requests else next(filter(extended, requests), GPU)
        return cls(
            obj["metadata"].get("name", ""),
            int(requests.pop(resource, 0)),
            cpu=pod_spec.amount_text(spec, "cpu", requests),
            memory=pod_spec.amount_text(spec, "memory", requests),
            tolerations=tuple(Toleration.of(toleration) for toleration in spec.get("tolerations", ())),
            priority_class=class_of(spec, classes),
            labels=obj["metadata"].get("labels", {}),
            resource=resource,
            devices={name: int(amount) for name, amount in requests.items() if extended(name)},
            node_selector=spec.get("nodeSelector", {}),
            claims=pod_spec.claim_templates(spec),
            namespace=obj["metadata"].get("namespace", "default"),
            **pod_spec.required_wishes(spec),
            **pod_spec.preferred_wishes(spec),
        )

    @property
    def priority(self) -> int:
        return self.priority_class.value if self.priority_class else 0

    @property
    def preempts(self) -> bool:
        """Whether it may evict others."""
        return self.priority_class is None or self.priority_class.preemption_policy != "Never"

    @cached_property
    def requests(self) -> Amounts:
        """What the node must have left."""
        amounts = {self.resource: self.gpu_count} if self.gpu_count else {}
        amounts |= self.devices
        if self.cpu is not None:
            amounts["cpu"] = milli_value(self.cpu)
        if self.memory is not None:
            amounts["memory"] = math.ceil(quantity(self.memory))
        return amounts

    @cached_property
    def required(self) -> tuple[Term, ...]:
        """What the node's labels must say: all requirements of one of these terms."""
        wishes: Term = ()
        if self.required_gpu_type:
            wishes += (Requirement(PRODUCT, "In", (self.required_gpu_type,)),)
        if self.gpu_memory_gib:
            wishes += (Requirement(MEMORY, "Gt", (str(self.gpu_memory_gib * 1024 - 1),)),)
        return tuple(wishes + term for term in self.node_affinity or ((),))

    @cached_property
    def preferred(self) -> tuple[PreferredSchedulingTerm, ...]:
        """What the node's labels had better say."""
        if not self.preferred_gpu_type:
            return self.preferred_terms
        wish = Requirement(PRODUCT, "In", (self.preferred_gpu_type,))
        return (PreferredSchedulingTerm(100, (wish,)), *self.preferred_terms)

    @cached_property
    def kind(self) -> PodKind:
        """What filters and scoring plugins read of it: pods of one kind are equal for them."""
        selector = tuple(sorted(self.node_selector.items()))
        wishes = (selector, self.required, self.preferred, self.preferred_gpu_type)
        amounts = tuple(sorted(self.requests.items()))
        return kind_of((amounts, self.gpu_count, self.tolerations, self.claims, *wishes))

    def tolerates(self, taint: Taint) -> bool:
        return any(toleration.tolerates(taint) for toleration in self.tolerations)

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is one where the pod may run."""
        selected = all(labels.get(key) == value for key, value in self.node_selector.items())
        return selected and any(term_matches(term, labels) for term in self.required)

    def pods(self) -> tuple[GPURequest, ...]:
        """The pods of a gang, numbered; a single pod is its own."""
        if self.gang_size == 1:
            return (self,)
        return tuple(replace(self, name=f"{self.name}-{i}", gang_size=1) for i in range(self.gang_size))

    def manifest(
        self, image: str = PAUSE, command: tuple[str, ...] = (), restart_policy: str = "Never", checkpoints: str = ""
    ) -> Manifest:
        """One pod as a manifest, as the restricted Pod Security Standard wants it.

        `checkpoints` names a PersistentVolumeClaim: its volume is the one folder where the container may write.
        """
        container: Manifest = {
            "name": "main",
            "image": image,
            "resources": self._resources().manifest(),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
        }
        if self.claims:
            container["resources"]["claims"] = [{"name": name} for name in self.claims]
        if command:
            container["command"] = list(command)
        spec: Manifest = {
            "containers": [container],
            "restartPolicy": restart_policy,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        }
        if checkpoints:
            container["volumeMounts"] = [{"name": "checkpoints", "mountPath": "/checkpoints"}]
            spec["volumes"] = [{"name": "checkpoints", "persistentVolumeClaim": {"claimName": checkpoints}}]
        if self.claims:
            spec["resourceClaims"] = [{"name": name, "resourceClaimTemplateName": name} for name in self.claims]
        if self.priority_class:
            spec["priorityClassName"] = self.priority_class.name
        if self.tolerations:
            spec["tolerations"] = [toleration.manifest() for toleration in self.tolerations]
        if self.node_selector:
            spec["nodeSelector"] = dict(self.node_selector)
        if affinity := self._affinity():
            spec["affinity"] = {"nodeAffinity": affinity}
        metadata: Manifest = {"name": self.name} | ({"labels": dict(self.labels)} if self.labels else {})
        if self.namespace != "default":
            metadata["namespace"] = self.namespace
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def job(self, image: str, command: tuple[str, ...], queue: str = "", checkpoints: str = "") -> Manifest:
        """The gang as an indexed Job; with a queue it is for Kueue, which starts it by lifting `suspend`."""
        pod = self.manifest(image, command, checkpoints=checkpoints)
        template = {"spec": pod["spec"]} | ({"metadata": {"labels": dict(self.labels)}} if self.labels else {})
        size = {"completionMode": "Indexed", "completions": self.gang_size, "parallelism": self.gang_size}
        labels = dict(self.labels) | ({QUEUE_NAME: queue} if queue else {})
        metadata = {"name": self.name} | ({"labels": labels} if labels else {})
        spec = size | {"suspend": bool(queue), "template": template}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    def _resources(self) -> Resources:
        """Limits equal requests: of GPUs they must, and the pod gets what it was scheduled for."""
        requests = {"cpu": self.cpu, "memory": self.memory, self.resource: self.gpu_count or None, **self.devices}
        amounts = {name: amount for name, amount in requests.items() if amount is not None}
        return Resources(amounts, amounts)

    def _affinity(self) -> Manifest:
        affinity: Manifest = {}
        if any(self.required):
            affinity[REQUIRED] = {"nodeSelectorTerms": [term_manifest(term) for term in self.required]}
        if self.preferred:
            affinity[PREFERRED] = [term.manifest() for term in self.preferred]
        return affinity


def class_of(spec: Manifest, classes: Iterable[PriorityClass]) -> PriorityClass | None:
    """As the Priority admission plugin resolves the name, or gives the global default to a pod without one.

    In a live pod the priority is filled in. Of several defaults the lowest counts (`plugin/pkg/admission/priority`).
    """
    name = spec.get("priorityClassName")
    if not name and "priority" in spec:
        return None
    if not name:
        return min((each for each in classes if each.global_default), key=lambda each: each.value, default=None)
    for priority_class in classes:
        if priority_class.name == name:
            return priority_class
    if "priority" not in spec:
        raise Invalid("Pod", [Problem("spec.priorityClassName", f"no PriorityClass with name {name} was found")])
    return PriorityClass(name, spec["priority"], spec.get("preemptionPolicy", "PreemptLowerPriority"))
