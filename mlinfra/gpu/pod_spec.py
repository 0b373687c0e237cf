"""What a Pod's `spec` says of its requests and of the nodes where it may run, for `GPURequest.of`."""

from __future__ import annotations

import math
from fractions import Fraction

from mlinfra.admission.nouns.gpu import PREFERRED, REQUIRED
from mlinfra.gpu.affinity import WHOLE_NUMBER, PreferredSchedulingTerm, Requirement, Term, term_of
from mlinfra.gpu.nodes import MEMORY, PRODUCT
from mlinfra.manifest import Manifest
from mlinfra.quantity import Quantity, canonical, quantity

Sums = dict[str, Fraction]


def requests_of(spec: Manifest) -> Sums:
    """What the scheduler counts: the containers with their sidecars, or the largest step of the start, and overhead.

    `PodRequests` of `k8s.io/component-helpers/resource`. (Scoring adds 100m and 200Mi for each container without a
    request; a GPURequest knows the sum alone.)
    """
    running: Sums = {}
    for container in spec["containers"]:
        running = _sum(running, _requests(container))
    sidecars: Sums = {}
    start: Sums = {}
    for container in spec.get("initContainers", ()):
        step = _sum(sidecars, _requests(container))
        if container.get("restartPolicy") == "Always":
            sidecars = step
        start = _larger(start, step)
    total = _larger(_sum(running, sidecars), start) | _requests(spec)
    return _sum(total, {name: quantity(amount) for name, amount in spec.get("overhead", {}).items()})


def claim_templates(spec: Manifest) -> tuple[str, ...]:
    """The ResourceClaimTemplates that it names; claims that pods share are not read."""
    claims = spec.get("resourceClaims", ())
    return tuple(claim["resourceClaimTemplateName"] for claim in claims if "resourceClaimTemplateName" in claim)


def _requests(holder: Manifest) -> Sums:
    """A container's requests, or those of a whole pod; the server takes the limit where no request is made."""
    resources = holder.get("resources", {})
    amounts = resources.get("limits", {}) | resources.get("requests", {})
    return {name: quantity(amount) for name, amount in amounts.items()}


def _sum(one: Sums, other: Sums) -> Sums:
    return {name: one.get(name, Fraction(0)) + other.get(name, Fraction(0)) for name in one | other}


def _larger(one: Sums, other: Sums) -> Sums:
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in one | other}


def amount_text(spec: Manifest, name: str, requests: Sums) -> Quantity | None:
    """An amount of cpu or memory as a container writes it, or its sum in the unit that `kubectl` would choose."""
    if name not in requests:
        return None
    for container in spec["containers"]:
        resources = container.get("resources", {})
        amount: Quantity | None = (resources.get("limits", {}) | resources.get("requests", {})).get(name)
        if amount is not None and quantity(amount) == requests[name]:
            return amount
    if name == "cpu":
        return canonical(f"{math.ceil(requests[name] * 1000)}m")
    size = math.ceil(requests[name])
    return str(size) if size % 1024 else canonical(f"{size // 1024}Ki")


def required_wishes(spec: Manifest) -> Manifest:
    """The GPU type and memory that all required terms name, and what else they require: fields of a GPURequest."""
    terms = [term_of(term) for term in _node_affinity(spec).get(REQUIRED, {}).get("nodeSelectorTerms", ())]
    shared = [requirement for requirement in (terms or [()])[0] if all(requirement in term for term in terms)]
    gpu_type = next((r for r in shared if _is_gpu_type(r)), None)
    memory = next((r for r in shared if _is_whole_gib(r)), None)
    rest = tuple(tuple(r for r in term if r not in (gpu_type, memory)) for term in terms)
    return {
        "required_gpu_type": gpu_type.values[0] if gpu_type else "",
        "gpu_memory_gib": (int(memory.values[0]) + 1) // 1024 if memory else 0,
        "node_affinity": rest if any(rest) else (),
    }


def preferred_wishes(spec: Manifest) -> Manifest:
    """The GPU type that is preferred with all weight, and the other preferences: fields of a GPURequest."""
    terms = [PreferredSchedulingTerm.of(term) for term in _node_affinity(spec).get(PREFERRED, ())]
    wish = next((term for term in terms if term.weight == 100 and _is_wish(term.preference)), None)
    return {
        "preferred_gpu_type": wish.preference[0].values[0] if wish else "",
        "preferred_terms": tuple(term for term in terms if term is not wish),
    }


def _node_affinity(spec: Manifest) -> Manifest:
    affinity: Manifest = spec.get("affinity", {}).get("nodeAffinity", {})
    return affinity


def _is_wish(term: Term) -> bool:
    return len(term) == 1 and _is_gpu_type(term[0])


def _is_gpu_type(requirement: Requirement) -> bool:
    return requirement.key == PRODUCT and requirement.operator == "In" and len(requirement.values) == 1


def _is_whole_gib(requirement: Requirement) -> bool:
    if requirement.key != MEMORY or requirement.operator != "Gt":
        return False
    (bound,) = requirement.values
    return WHOLE_NUMBER.fullmatch(bound) is not None and int(bound) % 1024 == 1023
