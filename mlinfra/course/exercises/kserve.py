"""The exercises of notebook 01."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from mlinfra import study
from mlinfra.admission import validate
from mlinfra.admission.kserve import pitfalls
from mlinfra.course.exercises.llm import spread_the_prompt as spread_the_prompt
from mlinfra.kserve import InferenceService, Model, Predictor, canary, reconcile, runtimes
from mlinfra.manifest import Manifest, Resources

GPU = Resources({"cpu": 1, "memory": "4Gi"}, {"cpu": 2, "memory": "8Gi", "nvidia.com/gpu": 1})

# ------------------------------------------------------------------------------------------------- a pinned GPU image

ONE_GPU = {"limits": {"nvidia.com/gpu": "1"}}


def pytorch(**fields: Any) -> Manifest:
    return {"modelFormat": {"name": "pytorch"}, **fields}


def running(model: Manifest) -> str:
    """The image that runs a `model`, and whether the container has a GPU."""
    if not isinstance(model, dict) or "modelFormat" not in model:
        raise ValueError('a model is a dict with the key "modelFormat"')
    return f"{runtimes.image(model)}, {'one GPU' if runtimes.has_gpu(model) else 'no GPU'}"


gpu_image = study.Exercise(
    "gpu-image",
    right=pytorch(runtimeVersion="0.9.0-gpu", resources=ONE_GPU),
    mistakes=[
        (
            pytorch(runtimeVersion="0.9.0", resources=ONE_GPU),
            "With a version KServe replaces the whole tag and adds nothing. This is the build for CPUs, on a node with "
            "a GPU that it does not use.",
        ),
        (
            pytorch(runtimeVersion="0.9.0-gpu"),
            "The image is right, and the container has no GPU: KServe looks at resources.limits.",
        ),
        (
            pytorch(runtimeVersion="latest-gpu", resources=ONE_GPU),
            "A tag that moves is no version: what runs tomorrow is not what you tested.",
        ),
        (pytorch(), "That is the build for CPUs without a GPU: set the limits, and the version."),
    ],
    praise="The tag is yours as soon as you write a version, so the -gpu is yours to write, too.",
    effect=running,
)

# ------------------------------------------------------------------------------------------------ metrics of an HPA

MOVED = {"minReplicas": 2, "maxReplicas": 20, "scaleMetric": "concurrency", "scaleTarget": 8}

metrics_left = study.Exercise(
    "metrics-left",
    right=len(reconcile.hpa("bert-classifier-predictor", MOVED)["spec"]["metrics"]),
    mistakes=[
        (1, "That would be cpu, the default when no metric is set. Here one is set that the HPA does not know."),
        (2, "At most one metric comes from scaleMetric."),
    ],
    praise="None. The API server fills in cpu at 80 %, and the target of 8 is lost.",
)

# --------------------------------------------------------------------------------------------------------- speak V2


def tensor(messages: list[str], name: str = "tokens", datatype: str = "INT64", shape: list[int] | None = None) -> Any:
    """The body of a V2 request with the messages' tokens."""
    from mlinfra.course import classifier

    rows = [classifier.tokens(message) for message in messages]
    whole = [len(rows), classifier.LENGTH]
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape or whole, "data": rows}]}


def texts(messages: list[str]) -> Any:
    return {"inputs": [{"name": "texts", "datatype": "BYTES", "shape": [len(messages)], "data": messages}]}


@cache
def predictor() -> Any:
    """The classifier's own server, without the transformer."""
    from mlinfra.course import kserve_server

    loaded = kserve_server.ClassifierModel("clf")
    loaded.load()
    return kserve_server.Endpoint(loaded)


def replied(body: Any) -> Any:
    """What the predictor says to the body of a request."""
    tensors = body.get("inputs") or [{}]
    if -1 in tensors[0].get("shape", []):
        return "status 400: a request must give the number of rows; -1 is for metadata"
    reply = predictor().post("/v2/models/clf/infer", body)
    return reply.body["outputs"][0]["data"] if reply.status == 200 else f"status {reply.status}, {reply.body}"


speak_v2 = study.Exercise(
    "speak-v2",
    right=tensor,
    cases=[(["the app is great"],), (["support was very rude today", "the app is great"],)],
    mistakes=[
        (lambda m: tensor(m, name="texts"), "The tensor must have the name that the metadata give."),
        (lambda m: tensor(m[:1]), "Only the first message is in it."),
        (texts, "These are texts. The predictor takes tokens; the transformer is not in front of it."),
        (lambda m: tensor(m, shape=[len(m)]), "The shape needs the length of a row, too."),
        (lambda m: tensor(m, datatype="FP32"), "The datatype must be the one that the metadata name."),
    ],
    praise="The predictor answered both.",
    effect=replied,
)

# ------------------------------------------------------------------------------------------------- a sample in minutes

EQUAL_ARMS_PER_S = canary.effective_sample([(canary.Counts(38), canary.Counts(2))])
NEEDED = canary.largest_sample(0.005, 0.01)

sample_minutes = study.Exercise(
    "sample-minutes",
    right=math.ceil(NEEDED / EQUAL_ARMS_PER_S / 60),
    mistakes=[
        (
            math.ceil(NEEDED / 2 / 60),
            "That is when the canary alone has 4,804. The stable version has 19 times as many, and an uneven pair is "
            "worth more than its smaller arm.",
        ),
        (math.ceil(NEEDED / 40 / 60), "That is the traffic of both together. Most of it does not reach the canary."),
        (math.floor(NEEDED / EQUAL_ARMS_PER_S / 60), "Almost: after 21 whole minutes a few requests are missing."),
    ],
    praise="And 15 minutes would have been too early.",
)

# ------------------------------------------------------------------------------------------- a canary in Standard mode

V2_FILES = "s3://models/bert-classifier/v2"
STABLE = InferenceService(
    "bert-classifier",
    Predictor(
        model=Model("huggingface", "s3://models/bert-classifier/v1", GPU, protocol_version="v2"),
        name="v1",
        min_replicas=2,
        max_replicas=20,
        scale_metric="cpu",
        scale_target=70,
    ),
    namespace="ml-production",
)


def split(service: Manifest) -> str:
    """Who refuses the manifest, what is ignored in it, or which files get which share of the traffic."""
    if problems := validate(service):
        return f"refused: {'; '.join(map(str, problems))}"
    if ignored := pitfalls(service):
        return f"accepted, but {'; '.join(map(str, ignored))}"
    spec, weights = service["spec"], reconcile.weights(service)
    predictors = [spec["predictor"], *(entry["predictor"] for entry in spec.get("canary", []))]
    shares = [(each["model"]["storageUri"], share) for each, share in zip(predictors, weights.values(), strict=True)]
    return ", ".join(f"{share} % to {files}" for files, share in shares)


def with_canary(**changes: Any) -> Callable[[int], Manifest]:
    """A function that adds a canary to the stable service; with changes to the canary's predictor."""

    def answer(percent: int) -> Manifest:
        service = STABLE.manifest()
        model = {"name": "kserve-container", **service["spec"]["predictor"]["model"], "storageUri": V2_FILES}
        entry = {"name": "v2", "model": model} | changes
        service["spec"]["canary"] = [{"trafficPercent": percent, "predictor": entry}]
        return service

    return answer


def in_place(percent: int) -> Manifest:
    """Knative mode's way."""
    service = STABLE.manifest()
    service["spec"]["predictor"]["canaryTrafficPercent"] = percent
    service["spec"]["predictor"]["model"]["storageUri"] = V2_FILES
    return service


def unnamed(percent: int) -> Manifest:
    service = with_canary()(percent)
    del service["spec"]["canary"][0]["predictor"]["name"]
    return service


standard_canary = study.Exercise(
    "standard-canary",
    right=with_canary(),
    cases=[(10,), (50,)],
    mistakes=[
        (
            in_place,
            "canaryTrafficPercent belongs to Knative mode. Standard mode ignores it, and the new model gets all the "
            "traffic at once.",
        ),
        (
            with_canary(name="v1"),
            "The canary needs a name of its own: its Deployment would be the stable one.",
        ),
        (unnamed, "Without a name the canary's Deployment would be called like the stable one: the webhook refuses."),
        (
            with_canary(maxReplicas=20),
            "A canary has fixed replicas: its share of the stable minimum. The webhook refuses a maximum.",
        ),
        (
            with_canary(model={"name": "kserve-container", **STABLE.manifest()["spec"]["predictor"]["model"]}),
            "Both arms serve version 1: the canary compares it with itself.",
        ),
    ],
    praise="The HTTPRoute gets these weights once the canary's Deployment is ready.",
    effect=split,
)
