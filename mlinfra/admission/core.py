"""The core kinds that have rules here, and the verdict on any kind of an API server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from mlinfra.admission.autoscaler import AUTOSCALER, AUTOSCALER_V1
from mlinfra.admission.common import config_key, path_segment
from mlinfra.admission.containers import untrimmed
from mlinfra.admission.gangs import CLAIM_TEMPLATE, POD_GROUP, SLICE, WORKLOAD
from mlinfra.admission.jobs import CRON_JOB, JOB
from mlinfra.admission.knative import config_autoscaler
from mlinfra.admission.network import INGRESS, NETWORK_POLICY, SERVICE
from mlinfra.admission.pods import NODE, POD
from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    below,
    broken,
    dns_label,
    dns_subdomain,
    metadata_problems,
)
from mlinfra.admission.schema import Schema, decode
from mlinfra.admission.workloads import BUDGET, CLAIM, DAEMON_SET, DEPLOYMENT, PRIORITY_CLASS, STATEFUL_SET
from mlinfra.manifest import Manifest


class Kind(NamedTuple):
    """How a kind's objects may be named, the rules for the rest, and the structs that Go always has."""

    name: Check
    rules: Rules
    structs: tuple[str, ...] = ("spec",)


BARE_POD: Rules = [(f"{containers}[].image", untrimmed) for containers in ("containers", "initContainers")]
TEMPLATE = ("spec", "spec.template", "spec.template.metadata", "spec.template.spec")

JOB_TEMPLATE = ("spec", "spec.jobTemplate", *(f"spec.jobTemplate.{path}" for path in TEMPLATE))


def cron_job_name(name: Field) -> Iterator[Problem]:
    """The Jobs that it makes add eleven characters, and may have 63."""
    yield from dns_subdomain(name)
    if len(name.value) > 52:
        yield name.invalid("must be no more than 52 characters")


KINDS: dict[tuple[Any, Any], Kind] = {
    ("v1", "Node"): Kind(dns_subdomain, NODE),
    ("v1", "Pod"): Kind(dns_subdomain, below("spec", [*POD, *BARE_POD])),
    ("v1", "Service"): Kind(dns_label, below("spec", SERVICE)),
    ("v1", "ServiceAccount"): Kind(dns_subdomain, [], ()),
    ("v1", "ConfigMap"): Kind(dns_subdomain, [("data", config_key), ("", config_autoscaler)], ()),
    ("apps/v1", "DaemonSet"): Kind(dns_subdomain, below("spec", DAEMON_SET), TEMPLATE),
    ("apps/v1", "Deployment"): Kind(dns_subdomain, below("spec", DEPLOYMENT), TEMPLATE),
    ("apps/v1", "StatefulSet"): Kind(dns_label, below("spec", STATEFUL_SET), TEMPLATE),
    ("batch/v1", "CronJob"): Kind(cron_job_name, below("spec", CRON_JOB), JOB_TEMPLATE),
    ("batch/v1", "Job"): Kind(dns_subdomain, JOB, TEMPLATE),
    ("autoscaling/v2", "HorizontalPodAutoscaler"): Kind(
        dns_subdomain, below("spec", AUTOSCALER), ("spec", "spec.scaleTargetRef")
    ),
    ("autoscaling/v1", "HorizontalPodAutoscaler"): Kind(
        dns_subdomain, below("spec", AUTOSCALER_V1), ("spec", "spec.scaleTargetRef")
    ),
    ("networking.k8s.io/v1", "Ingress"): Kind(dns_subdomain, INGRESS),
    ("networking.k8s.io/v1", "NetworkPolicy"): Kind(dns_subdomain, below("spec", NETWORK_POLICY)),
    ("policy/v1", "PodDisruptionBudget"): Kind(dns_subdomain, below("spec", BUDGET)),
    ("resource.k8s.io/v1", "DeviceClass"): Kind(dns_subdomain, [("spec.selectors[].cel.expression", Needed())]),
    ("resource.k8s.io/v1", "ResourceClaim"): Kind(dns_subdomain, below("spec", CLAIM)),
    ("resource.k8s.io/v1", "ResourceClaimTemplate"): Kind(
        dns_subdomain, below("spec", CLAIM_TEMPLATE), ("spec", "spec.spec")
    ),
    ("resource.k8s.io/v1", "ResourceSlice"): Kind(dns_subdomain, below("spec", SLICE)),
    ("scheduling.k8s.io/v1", "PriorityClass"): Kind(dns_subdomain, PRIORITY_CLASS, ()),
    ("scheduling.k8s.io/v1beta1", "PodGroup"): Kind(
        dns_subdomain, below("spec", POD_GROUP), ("spec", "spec.schedulingPolicy")
    ),
    ("scheduling.k8s.io/v1beta1", "Workload"): Kind(dns_subdomain, below("spec", WORKLOAD)),
}


NAMES: dict[str, Check] = {"Namespace": dns_label}
"""Of kinds without rules here; those of other groups than these, such as roles, may be called almost anything."""
GROUPS_OF_SUBDOMAINS = ("v1", "apps/v1", "batch/v1", "storage.k8s.io/v1", "coordination.k8s.io/v1")


def verdict(obj: Manifest, schema: Schema) -> list[Problem | ApiWarning]:
    """Why an API server would refuse an object of a core kind; a kind without rules here is checked by schema alone."""
    decoding = decode(Field(obj), schema)
    if decoding.problems:
        return [*decoding.problems]
    key = (obj["apiVersion"], obj["kind"])
    name = NAMES.get(key[1], dns_subdomain if key[0] in GROUPS_OF_SUBDOMAINS else path_segment)
    problems = list(rule_problems(obj) if key in KINDS else metadata_problems(Field(obj)["metadata"], name))
    paths = [problem.path for problem in problems]
    gaps = [gap for gap in decoding.missing if not gap.path.startswith("status.")]  # the server drops what is given
    problems += [gap for gap in gaps if not any(path.startswith(gap.path) for path in paths)]
    if key in KINDS or problems:
        return [*problems]
    return [ApiWarning("kind", f"schema only: this course has no rules of its own for {obj['kind']}")]


def rule_problems(obj: Manifest) -> Iterator[Problem]:
    """What validation objects to once the object has been decoded."""
    kind = KINDS[obj["apiVersion"], obj["kind"]]
    yield from metadata_problems(Field(obj)["metadata"], kind.name)
    yield from broken(Field(_with_structs(obj, kind.structs)), kind.rules)


def _with_structs(obj: Manifest, paths: Iterable[str]) -> Manifest:
    """The object with these branches there, empty if need be, as structs are in Go."""
    full = dict(obj)
    for path in paths:
        *steps, last = path.split(".")
        branch = full
        for step in steps:
            branch[step] = dict(branch[step])
            branch = branch[step]
        branch.setdefault(last, {})
    return full
