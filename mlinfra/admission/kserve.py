"""InferenceService, serving.kserve.io/v1beta1: what the webhook and the controller of KServe 0.20/0.21 refuse.

`pkg/apis/serving/v1beta1/{inference_service_validation,component,predictor}.go` and
`pkg/controller/v1beta1/inferenceservice`; storage and KEDA's metrics stand in `kserve_storage` and `kserve_keda`. Not
here: batchers, tracing, and which GPUs several nodes may have; their fields are known, their rules are not.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlinfra.admission import kserve_keda, kserve_llm, kserve_storage
from mlinfra.admission.common import pinned_image
from mlinfra.admission.containers import resource_problems
from mlinfra.admission.custom import CustomKind
from mlinfra.admission.door import validate
from mlinfra.admission.kserve_storage import FRAMEWORKS
from mlinfra.admission.rules import (
    Field,
    Needed,
    Problem,
    Rules,
    TextCheck,
    below,
    between,
    broken,
    decoded,
    one_of,
    refuse,
    select,
    whole,
)
from mlinfra.manifest import Manifest

API_VERSION = "serving.kserve.io/v1beta1"
MODE = "serving.kserve.io/deploymentMode"
AUTOSCALER = "serving.kserve.io/autoscalerClass"
KNATIVE_CLASS = "autoscaling.knative.dev/class"
CONTAINER = "kserve-container"
MODES = ("Standard", "Knative")
OLD_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}


# ------------------------------------------------------------------------------------------------ the refusals

_NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_service_name = TextCheck(
    _NAME,
    46,  # "isvc.NAME-transformer" is the value of a label, which may have 63
    "a InferenceService name must consist of lower case alphanumeric characters or '-', and must start with "
    "alphabetical character.",
    '"my-name" or "abc-123"',
)


def _implementations(predictor: Field) -> list[str]:
    """What a predictor is made of, counted as the webhook counts: a lone container of any name is one too.

    A key of old has taken the place of `model` by then, whatever stood there.
    """
    names = [name for name in FRAMEWORKS if predictor[name].value is not None]
    names = names or (["model"] if predictor["model"].value is not None else [])
    containers = list(predictor["containers"].each())
    names += ["containers" for container in containers if container["name"].value == CONTAINER]
    return names or (["containers"] if containers else [])


def _one_implementation(predictor: Field) -> Iterator[Problem]:
    """`ExactlyOneErrorFor`, which names the Go fields; here they are named as in a manifest."""
    names = _implementations(predictor)
    if len(names) != 1:
        choices, listed = ", ".join([*FRAMEWORKS, "model", "containers"]), ", ".join(names) or "none"
        yield Problem(predictor.path, f"exactly one of [{choices}] must be specified in PredictorSpec; found: {listed}")


def _replicas(component: Field) -> Iterator[Problem]:
    """A minimum that is not given counts as 1, a maximum of 0 as none."""
    low, high = component["minReplicas"].value, component["maxReplicas"].value
    if high and (1 if low is None else low) > high:
        yield component["minReplicas"].invalid("'MinReplicas' cannot be greater than MaxReplicas")


def _no_name(name: Field) -> Iterator[Problem]:
    if name.value:
        yield name.forbidden("the 'name' field is not allowed in standard predictor")


def _one_container(transformer: Field) -> Iterator[Problem]:
    if not transformer["containers"].value:
        yield Problem(transformer.path, "exactly one of [containers] must be specified in TransformerSpec")


COMPONENT: Rules = [
    ("minReplicas", whole(0, why="'MinReplicas' cannot be less than 0")),
    ("maxReplicas", whole(0, why="'MaxReplicas' cannot be less than 0")),
    ("containerConcurrency", whole(0, why="parallelism cannot be less than 0")),
    ("canaryTrafficPercent", between(0, 100)),
    ("containers[].(name|image)", Needed()),
]
_NO_RUNTIME = Needed("no runtime can be found without the format of the model")
PREDICTOR: Rules = [
    *COMPONENT,
    (
        "name",
        TextCheck(_NAME, 63, "a predictor's name must consist of lower case alphanumeric characters or '-'", "'v2'"),
    ),
    ("model.(modelFormat|modelFormat.name)", _NO_RUNTIME),
    ("model.protocolVersion", one_of("v1", "v2", "grpc-v1", "grpc-v2")),
]
RULES: Rules = [
    ("spec", Needed()),
    (f"spec.predictor.{kserve_storage.MODEL}.name", _no_name),
    *below("spec.(predictor|canary[].predictor)", PREDICTOR),
    *below("spec.(transformer|explainer)", COMPONENT),
    ("spec.canary[].predictor.name", Needed("canary predictor.name is required")),
    ("spec.canary[].trafficPercent", between(0, 100)),
]


def mode(obj: Manifest) -> str:
    """The deployment mode that the annotation asks for, by its present name; Knative is the webhook's own default."""
    name = (obj.get("metadata", {}).get("annotations") or {}).get(MODE) or "Knative"
    return OLD_MODES.get(str(name), str(name))


STOP = "serving.kserve.io/stop"
AUTOSCALERS = ("hpa", "external", "keda", "none")


def autoscaler_class(annotations: Manifest) -> str:
    """Who scales a component in Standard mode; without the annotation an HPA does."""
    return str(annotations.get(AUTOSCALER, "hpa"))


def _autoscaling(service: Field) -> Iterator[Problem]:
    """Which metric may scale depends on who scales; an HPA that was not asked for by name is not checked."""
    annotations = service["metadata"]["annotations"].value or {}
    scaler = annotations.get(AUTOSCALER)
    if scaler not in (None, *AUTOSCALERS):
        yield Problem(f"metadata.annotations.{AUTOSCALER}", f"[{scaler}] is not a supported autoscaler class type")
    if mode(service.value) == "Standard":
        yield from _hpa_metrics(service) if scaler == "hpa" else ()
        for component in select(service, COMPONENTS) if scaler == "keda" else ():
            yield from kserve_keda.component_metrics(component)
    elif annotations.get(KNATIVE_CLASS) == "hpa.autoscaling.knative.dev":
        yield from _hpa_metrics(service)
    else:
        yield from _kpa_metrics(service)


COMPONENTS = "spec.(predictor|transformer|explainer)"


def _hpa_metrics(service: Field) -> Iterator[Problem]:
    for component in select(service, COMPONENTS):
        metric, target = component["scaleMetric"], component["scaleTarget"]
        if metric.value not in (None, "cpu", "memory"):
            yield metric.invalid(f"[{metric.value}] is not a supported metric")
        elif metric.value == "memory" and target.value is not None and target.value < 1:
            yield target.invalid("the target memory should be greater than 1 MiB")
        elif target.value is not None and not 1 <= target.value <= 100:
            yield target.invalid(kserve_keda.PERCENT)
        for source in component["autoScaling"]["metrics"].each():
            yield from kserve_keda.hpa_source(source)


def _kpa_metrics(service: Field) -> Iterator[Problem]:
    for component in select(service, COMPONENTS):
        metric, target, strategy = (component[name] for name in ("scaleMetric", "scaleTarget", "deploymentStrategy"))
        if metric.value not in (None, "concurrency", "rps"):
            yield metric.invalid(f"[{metric.value}] is not a supported metric")
        elif metric.value == "rps" and target.value is not None and target.value < 1:
            yield target.invalid("the target for rps should be greater than 1")
        if strategy.value is not None:
            yield strategy.forbidden("customizing deploymentStrategy is only supported for raw deployment mode")


def _several_nodes(service: Field) -> Iterator[Problem]:
    """`validateMultiNodeVariables`: nobody scales a model on several nodes, and every node can reach it."""
    workers, model = (service["spec"]["predictor"][name] for name in ("workerSpec", "model"))
    if workers.value is None:
        return
    if len(workers["containers"].value or ()) > 1:
        yield workers["containers"].forbidden("setting multiple containers in workerSpec is not allowed")
    for name in ("pipelineParallelSize", "tensorParallelSize"):
        size, title = workers[name], name[0].upper() + name[1:]
        if size.value is not None and size.value < 1:
            yield size.invalid(f"WorkerSpec.{title} cannot be less than 1({size.value})")
    if model.value is not None:
        yield from _model_of_several_nodes(model, (service["metadata"]["annotations"].value or {}).get(AUTOSCALER, ""))


def _model_of_several_nodes(model: Field, scaler: str) -> Iterator[Problem]:
    for variable in model["env"].each():
        if (name := variable["name"].value) in ("PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE"):
            yield Problem(variable.path, f"setting {name} in environment variables is not allowed")
    uri, scheme = model["storageUri"], str(model["storageUri"].value).partition("://")[0]
    if uri.value is None:
        yield uri.required("StorageURI must be set for multinode enabled")
    elif scheme not in ("pvc", "oci"):
        yield uri.invalid(f"Multinode only supports 'pvc' and 'oci' Storage Protocol({scheme})")
    if scaler != "none":
        yield Problem(f"metadata.annotations.{AUTOSCALER}", f"Multinode only supports 'none' autoscaler({scaler})")


def _canaries(service: Field) -> Iterator[Problem]:
    """`validateCanarySpecs`: fixed replicas, distinct names, at most all the traffic."""
    canaries, stable = service["spec"]["canary"], service["spec"]["predictor"]
    if not canaries.value:
        return
    if mode(service.value) != "Standard":
        yield canaries.forbidden("canary is only supported in Standard deployment mode")
    if not set(_implementations(stable)) & {*FRAMEWORKS, "model"}:
        yield stable["model"].required("canary requires a stable predictor with a model")
    names = [stable["name"].value]
    for canary in canaries.each():
        predictor = canary["predictor"]
        yield from _one_implementation(predictor)
        yield from _fixed_replicas(predictor, stable["minReplicas"].value)
        if (name := predictor["name"]).value in names:
            what = "conflicts with stable predictor name" if name.value == names[0] else "is duplicated"
            yield name.invalid(f"canary predictor.name {what}")
        names.append(name.value)
    if (total := sum(canary["trafficPercent"].value for canary in canaries.each())) > 100:
        yield Problem(canaries.path, f"sum of canary trafficPercent values ({total}) must be <= 100")


def _fixed_replicas(canary: Field, stable_min: int | None) -> Iterator[Problem]:
    for name in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
        if canary[name].value is not None:
            yield canary[name].forbidden(f"canary must not set {name} (canary uses fixed replicas)")
    if canary["workerSpec"].value is not None:
        yield canary["workerSpec"].forbidden("multi-node is not yet supported for canary")
    least = 1 if stable_min is None else stable_min
    if (canary["minReplicas"].value or 0) > least:
        yield canary["minReplicas"].invalid(f"must not exceed stable predictor minReplicas ({least})")


_OF_THE_DEPLOYMENT: Rules = [
    (f"spec.(predictor|canary[].predictor).(model|{'|'.join(FRAMEWORKS)}).resources", resource_problems),
    ("spec.(predictor|transformer|explainer|canary[].predictor).containers[].resources", resource_problems),
]
"""What the API server refuses in the Deployment that the controller makes, after the webhook has accepted."""

KIND = CustomKind(
    API_VERSION,
    "InferenceService",
    RULES,
    [
        ("spec.predictor", _one_implementation),
        (COMPONENTS, _replicas),
        ("spec.transformer", _one_container),
        *_OF_THE_DEPLOYMENT,
        *kserve_storage.ACROSS,
        ("", _autoscaling),
        ("", _several_nodes),
        ("", _canaries),
    ],
    "inferenceservice",
    _service_name,
    warn=kserve_storage.warnings,
)


# ------------------------------------------------------------------------------------------------- the pitfalls


def pitfalls(obj: Manifest) -> list[Problem]:
    """What everyone accepts and nobody means: fields that are ignored, or read otherwise than they look.

    Invalid when somebody refuses the object.
    """
    refuse("InferenceService", validate(obj))
    return advice(obj)


def advice(obj: Manifest) -> list[Problem]:
    """The pitfalls of an object that is known to be accepted."""
    service = Field(decoded(obj))
    predictor = service["spec"]["predictor"]
    return [*_annotations(service), *_ignored(service), *_images(predictor)]


def _annotations(service: Field) -> Iterator[Problem]:
    annotations = service["metadata"]["annotations"]
    if MODE not in (annotations.value or {}):
        yield Problem("metadata.annotations", f"without {MODE} the installation's default holds, and they differ")
    for name, instead in {"min": "minReplicas", "max": "maxReplicas"}.items():
        for key in (f"autoscaling.knative.dev/{name}Scale", f"autoscaling.knative.dev/{name}-scale"):
            if key in (annotations.value or {}):
                yield annotations[key].invalid(
                    f"is dropped or overruled: KServe writes {name}-scale from spec.predictor.{instead}"
                )
    target = annotations["autoscaling.knative.dev/target"]
    if target.value is not None:
        yield target.invalid(
            "is a number of requests, not a percentage: set spec.predictor.scaleMetric and scaleTarget"
        )


def _ignored(service: Field) -> Iterator[Problem]:
    """Fields of the other mode, and a metric that the webhook looks at in the other mode alone."""
    standard, predictor = mode(service.value) == "Standard", service["spec"]["predictor"]
    scaler = (service["metadata"]["annotations"].value or {}).get(AUTOSCALER)
    for problem in _hpa_metrics(service) if standard and scaler is None else ():
        yield Problem(problem.path, f"{problem.message}; without the annotation {AUTOSCALER}: hpa nobody says so")
    if standard and scaler == "keda" and not predictor["autoScaling"]["metrics"].value:
        why = "without it the ScaledObject has no triggers, and the API server refuses it"
        yield predictor["autoScaling"]["metrics"].required(why)
    if standard and scaler == "keda" and (canaries := service["spec"]["canary"]).value:
        why = "may have no autoScaling, so its ScaledObject has no triggers, and the API server refuses that"
        yield Problem(canaries.path, f"a canary {why}")
    percent = predictor["canaryTrafficPercent"]
    if standard and percent.value is not None:
        yield percent.invalid("is ignored in Standard mode, and all traffic goes to the new model: use spec.canary")
    least = predictor["minReplicas"]
    if standard and least.value == 0 and scaler in (None, "hpa"):
        yield least.invalid("is taken for 1 in Standard mode, which does not scale to zero")
    if not standard and predictor["name"].value:
        yield predictor["name"].invalid("is for spec.canary, which is only supported in Standard deployment mode")
    for concurrency in select(service, "spec.(predictor|transformer).containerConcurrency"):
        if standard and concurrency.value:
            yield concurrency.invalid("is ignored in Standard mode: no queue-proxy stands in front of the container")


def _images(predictor: Field) -> Iterator[Problem]:
    for name in FRAMEWORKS:
        if predictor[name].value is not None:
            yield Problem(predictor[name].path, f"is the old form of model.modelFormat.name: {name}")
            if predictor["model"].value is not None:
                yield Problem(predictor["model"].path, f"is overwritten by spec.predictor.{name}")
    for version in select(predictor, f"(model|{'|'.join(FRAMEWORKS)}).runtimeVersion"):
        if version.value == "latest":
            yield version.invalid("is not pinned, and with a runtimeVersion KServe does not add -gpu for a GPU")
    yield from broken(predictor, [("containers[].image", pinned_image)])


KINDS = {kind.kind: kind for kind in (KIND, kserve_llm.KIND)}
