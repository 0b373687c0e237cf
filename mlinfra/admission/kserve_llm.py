"""LLMInferenceService, serving.kserve.io/v1alpha2 and v1alpha1: what the webhook and the controller refuse.

KServe main of August 2026 (aaac4e29), `pkg/apis/serving/v1alpha2/llm_inference_service_validation.go`,
`pkg/validation`, and of the controller `pkg/controller/v1alpha2/llmisvc/workload_storage.go`; scaling stands in
`kserve_llm_scaling`. 0.20.0 has no
`rolloutStrategy`. Not here: what may not change in an update (the size of the parallelism), and everything that needs
other objects: base configs, gateways, routes, model names used twice. Of an inline HTTPRoute the rules are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlinfra.admission import door, kserve_llm_scaling
from mlinfra.admission.common import at_most_all, no_pods, percent_or_count
from mlinfra.admission.containers import resource_problems
from mlinfra.admission.custom import CustomKind, Older
from mlinfra.admission.kserve_storage import WITHOUT_EFFECT
from mlinfra.admission.rules import (
    ApiWarning,
    Check,
    Field,
    Needed,
    Problem,
    Rules,
    TextCheck,
    a,
    a_map,
    below,
    broken,
    dns_label,
    dns_subdomain,
    holds,
    quantity_check,
    select,
    whole,
)
from mlinfra.quantity import quantity

API_VERSION = "serving.kserve.io/v1alpha2"
CONTAINER = "main"
"""The container of the template that serves; the controller's own template has it, and the two are merged."""

WORKLOADS = "(spec|spec.prefill)"
SCHEMES = ("hf", "oci", "oci+native", "pvc", "s3")

# ------------------------------------------------------------------------------------------------ single fields

WORKLOAD: Rules = [
    ("replicas", whole(0)),
    ("parallelism.(data|dataLocal|pipeline|tensor)", whole(1)),
    ("parallelism.dataRPCPort", whole(1, 65535)),
    *below("scaling", kserve_llm_scaling.RULES),
    ("rolloutStrategy.(maxSurge|maxUnavailable)", percent_or_count, at_most_all),
    ("kvCacheOffloading.(cpu|secondary[].fileSystem.emptyDir.size)", quantity_check()),
    ("(template|worker).containers[].resources", resource_problems),
]
_name = holds(lambda name: 0 < len(name) <= 253, "must have 1 to 253 characters")
_group = TextCheck("[a-z0-9]([a-z0-9-]*[a-z0-9])?", 63, "must consist of lower case characters", '"qwen"')


def _uri(uri: Field) -> Iterator[Problem]:
    """The controller's: where a model may lie."""
    scheme, found, _ = str(uri.value).partition("://")
    if not found:
        yield uri.invalid("invalid model URI")
    elif scheme not in SCHEMES:
        yield uri.invalid(f"unsupported schema in model URI: known are {', '.join(f'{s}://' for s in SCHEMES)}")


def _storage(spec: Field) -> Iterator[Problem]:
    """The scheme is not looked at when nobody downloads."""
    if spec["model"]["uri"].value is not None:
        disabled = spec["storageInitializer"]["enabled"].value is False
        problems = _uri(spec["model"]["uri"])
        yield from (problem for problem in problems if not (disabled and "unsupported" in problem.message))


RULES: Rules = [
    *below(WORKLOADS, WORKLOAD),
    ("spec.model.lora.(maxRank|maxAdapters|maxCpuAdapters)", whole(1)),
    ("spec.model.lora.adapters", a(list)),
    ("spec.model.lora.adapters[]", a_map),
    ("spec.model.lora.adapters[].name", a(str)),
    ("spec.router.(gateway|ingress).refs[].name", _name),
    ("spec.router.(gateway|ingress).refs[].namespace", dns_label),
    ("spec.router.gateway.refs[].sectionName", dns_subdomain),
    ("spec.router.route.group", holds(bool, "must have 1 to 63 characters"), _group),
    ("spec.router.route.weight", whole(0, 1_000_000)),
    ("spec.router.scheduler.replicas", whole(1, why="scheduler replicas must be greater than zero")),
    ("spec.router.scheduler.pool.spec.endpointPickerRef.name", _name),
    ("spec.router.scheduler.pool.spec.(targetPorts[]|endpointPickerRef.port).number", whole(1, 65535)),
    (
        "spec.router.scheduler.pool.spec.targetPorts",
        holds(lambda ports: 1 <= len(ports) <= 8, "must have 1 to 8 items"),
    ),
]

# ------------------------------------------------------------------------------------------------ the router


def _routes(router: Field) -> Iterator[Problem]:
    """`validateRouterCrossFieldConstraints`: routes are somebody else's or written here; a gateway goes with them."""
    http, gateway = router["route"]["http"], router["gateway"]
    refs, spec = http["refs"], http["spec"]
    if refs.value and spec.value is not None:
        why = f"cannot use both custom HTTPRoute refs ('{refs.path}') and an inline route spec ('{spec.path}')"
        yield Problem(http.path, f"unsupported configuration: {why}; choose one")
    if refs.value and gateway.value is not None and not gateway["refs"].value:
        why = f"custom HTTP routes ('{refs.path}') cannot be used with a managed gateway ('{gateway.path}'); "
        why += f"either remove '{refs.path}' or set '{gateway['refs'].path}'"
        yield Problem(refs.path, f"unsupported configuration: {why}")


def _parents(service: Field) -> Iterator[Problem]:
    """Parents that repeat the gateway's refs are redundant in v1alpha2 and refused in v1alpha1."""
    spec, refs = service["spec"]["router"]["route"]["http"]["spec"], service["spec"]["router"]["gateway"]["refs"]
    if _both(service) and (service["apiVersion"].value != API_VERSION or not _same_gateways(spec["parentRefs"], refs)):
        why = f"managed HTTP route spec ('{spec.path}') has parentRefs that conflict with custom gateway refs "
        why += f"('{refs.path}'); either remove '{refs.path}' or '{spec.path}.parentRefs'"
        yield Problem(spec.path, f"unsupported configuration: {why}")


def _both(service: Field) -> bool:
    router = service["spec"]["router"]
    return bool(router["route"]["http"]["spec"]["parentRefs"].value and router["gateway"]["refs"].value)


def _same_gateways(parents: Field, refs: Field) -> bool:
    keys = [sorted(_gateway(each) for each in listed.each()) for listed in (parents, refs)]
    return keys[0] == keys[1]


def _gateway(reference: Field) -> tuple[str, ...]:
    return tuple(reference[name].value or "" for name in ("namespace", "name", "sectionName"))


def _traffic(router: Field) -> Iterator[Problem]:
    """`validateTrafficFields`: group and weight come together, over routes that the controller makes."""
    route = router["route"]
    group, weight = route["group"], route["weight"]
    if group.value is None and weight.value is None:
        return
    if router["ingress"].value is not None:
        why = "traffic splitting requires Gateway API routing; the controller manages HTTPRoutes, not Ingress resources"
        yield group.invalid(why)
    elif group.value is None:
        yield group.required("weight requires group")
    elif weight.value is None:
        yield weight.required("group requires weight")
    elif route["http"]["refs"].value:
        why = "traffic splitting cannot be used with custom HTTPRoute refs; "
        yield group.invalid(why + "controller-managed routes (route.http.spec or route.http: {}) are required")


def _scheduler_config(config: Field) -> Iterator[Problem]:
    inline, reference = config["inline"], config["ref"]
    if config.value is None:
        return
    if inline.value is None and reference.value is None:
        yield Problem(config.path, "either inline or ref is required")
    elif inline.value is not None and reference.value is not None:
        yield Problem(config.path, "both inline and ref are set, either specify inline or ref")
    elif inline.value == {}:
        yield inline.invalid("inline configuration is invalid")
    elif reference.value is not None and not reference["name"].value:
        yield reference["name"].invalid("name is empty")


# ------------------------------------------------------------------------------------------------ the workloads


def _parallelism(workload: Field) -> Iterator[Problem]:
    """`validateWorkloadParallelism`: several nodes need a way to divide the model, and one only."""
    parallelism = workload["parallelism"]
    data, local, pipeline = (parallelism[name] for name in ("data", "dataLocal", "pipeline"))
    has_data = bool(data.value or local.value)
    if workload["worker"].value is not None and not (has_data or pipeline.value):
        why = "when worker is specified, parallelism must be configured for "
        yield Problem(workload["worker"].path, why + "either data parallelism or pipeline parallelism")
    if has_data and pipeline.value:
        why = "cannot set both pipeline parallelism and data parallelism (data or dataLocal) simultaneously"
        yield Problem(parallelism.path, why)
    if data.value is not None and local.value is None:
        yield Problem(local.path, "dataLocal must be set when data is set")
    if local.value is not None and data.value is None:
        yield Problem(data.path, "data must be set when dataLocal is set")


def _rollout(workload: Field) -> Iterator[Problem]:
    """`ValidateWorkloadRolloutFields`: a rollout that can move."""
    strategy = workload["rolloutStrategy"]
    unavailable, surge = strategy["maxUnavailable"], strategy["maxSurge"]
    if unavailable.value is None or not no_pods(unavailable.value):
        return
    if surge.value is not None and no_pods(surge.value):
        why = "maxUnavailable and maxSurge cannot both be zero; this would prevent any rolling update progress"
        yield Problem(strategy.path, why)
    elif surge.value is None and workload["worker"].value is not None:
        why = "maxSurge is required for multi-node workloads when maxUnavailable is 0, "
        yield surge.required(why + "otherwise no rolling update progress is possible")


def _offloading(workload: Field) -> Iterator[Problem]:
    """`validateKVCacheOffloadingSpec`: tiers on disk below one in memory."""
    offloading = workload["kvCacheOffloading"]
    if offloading["secondary"].value and quantity(offloading["cpu"].value) == 0:
        yield offloading["cpu"].required("cpu must be set when secondary tiers are configured")
    for tier in select(offloading, "secondary[].fileSystem"):
        if tier.value is None:
            yield tier.required("only fileSystem tiers are supported; fileSystem must be set")
        else:
            yield from _one_of(tier, "emptyDir", "pvc")
    for claim in select(offloading, "secondary[].fileSystem.pvc"):
        if claim.value is not None:
            yield from _one_of(claim, "spec", "ref")


def _one_of(field: Field, one: str, other: str) -> Iterator[Problem]:
    fields = [name for name in (one, other) if field[name].value is not None]
    if not fields:
        yield field.required(f"exactly one of {one} or {other} must be set")
    elif len(fields) > 1:
        yield Problem(field.path, f"exactly one of {one} or {other} must be set; multiple are set")


# ------------------------------------------------------------------------------------------------ the model


def _adapters(service: Field) -> Iterator[Problem]:
    """`ValidateLoRAAdapters`: each has a name of its own, which is not the model's and no step of a path."""
    model, seen = service["spec"]["model"], list[str]()
    base = model["name"].value or service["metadata"]["name"].value
    for adapter in model["lora"]["adapters"].each():
        name = adapter["name"]
        if not name.value:
            yield name.required("adapter name is required")
        elif name.value in (".", ".."):
            yield name.invalid('adapter name must not include "." or ".." (path traversal risk)')
        elif name.value in seen:
            yield name.invalid(f"duplicate name (same as adapters[{seen.index(name.value)}])")
        elif name.value == base:
            yield name.invalid(f'adapter name must differ from base model name "{base}"')
        seen.append(name.value)


def _confidential(model: Field) -> Iterator[Problem]:
    secret = model["confidential"]["resourceId"]
    known = re.fullmatch(r"kbs:///[\w.-]+/[\w.-]+/[\w.-]+", secret.value or "", re.A)
    if model["confidential"]["enabled"].value and secret.value and not known:
        yield secret.invalid("must be in the format kbs:///<repo>/<type>/<tag>")


# ------------------------------------------------------------------------------------------------ managed DRA

DRA = "serving.kserve.io/exp-dra-"


def _devices(annotations: Field) -> Iterator[Problem]:
    """`ValidateManagedDRAAnnotations`: a device class, and what may be said of it."""
    values = annotations.value or {}
    requests = {name.removeprefix(DRA): value.strip() for name, value in values.items() if name.startswith(DRA)}
    if requests and "device-class" not in requests:
        yield annotations[f"{DRA}device-class"].required(f"{DRA}device-class is required to enable managed DRA")
    for name, check in DRA_CHECKS.items():
        if name in requests:
            yield from check(Field(requests[name], annotations[DRA + name].path))


DRA_CHECKS: dict[str, Check] = {
    "device-class": lambda field: _text(field, dns_subdomain, "device class must not be empty"),
    "container-name": lambda field: _text(field, dns_label, "container name must not be empty"),
    "device-count": holds(lambda text: not text or bool(re.fullmatch(r"\+?0*[1-9][0-9]*", text)), "must be >= 1"),
    "cel-selector": holds(bool, "cel selector must contain at least one non-empty CEL expression"),
}


def _text(field: Field, form: TextCheck, empty: str) -> Iterator[Problem]:
    yield from form(field) if field.value else iter([field.invalid(empty)])


# ------------------------------------------------------------------------------------------------ the kind


def _picker_problems(inline: Field) -> Iterator[Problem]:
    """What the picker itself objects to in its file, which nobody reads before."""
    for problem in door.validate(inline.value) if inline.value else ():
        if isinstance(problem, Problem):
            yield Problem(f"{inline.path}.{problem.path}", problem.message)


def _warnings(service: Field) -> Iterator[ApiWarning]:
    router, model = service["spec"]["router"], service["spec"]["model"]
    route = router["route"]["http"]["spec"]
    if _both(service):
        why = f"parentRefs can be omitted when {router['gateway']['refs'].path} is set"
        yield ApiWarning(route.path, f"{why}; parentRefs will be derived automatically from gateway refs")
    for problem in _picker_problems(router["scheduler"]["config"]["inline"]):
        yield ApiWarning(problem.path, f"the endpoint picker will not start: {problem.message}")
    if route["rules"].value:
        yield ApiWarning(route["rules"].path, "not checked here: the rules of an HTTPRoute")
    scheme = str(model["uri"].value).partition("://")[0]
    if model["confidential"]["enabled"].value and scheme in WITHOUT_EFFECT:
        yield ApiWarning(model["confidential"].path, f"confidential has no effect with {WITHOUT_EFFECT[scheme]}")


def own_model(service: Field) -> Iterator[Problem]:
    """Our noun's limit: the model stands in the service and not in a base config, and so do its adapters."""
    rules: Rules = [("spec.(model|model.uri)", Needed()), ("spec.model.lora.adapters[].uri", Needed(), a(str))]
    yield from broken(service, rules)


KIND = CustomKind(
    API_VERSION,
    "LLMInferenceService",
    RULES,
    [
        ("spec.router", _routes),
        ("", _parents),
        ("spec.router", _traffic),
        ("spec.router.scheduler.config", _scheduler_config),
        (WORKLOADS, _parallelism),
        (WORKLOADS, kserve_llm_scaling.one_way_to_scale),
        ("spec", kserve_llm_scaling.one_actuator),
        (WORKLOADS, _rollout),
        (WORKLOADS, _offloading),
        ("", _adapters),
        ("spec.model", _confidential),
        ("metadata.annotations", _devices),
        ("spec", _storage),
    ],
    "llminferenceservice",
    older={"serving.kserve.io/v1alpha1": Older("llminferenceservice_v1alpha1", "")},
    warn=_warnings,
)
