"""Objects that several tests use, and ways to damage them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mlinfra.autoscaling import hpa, keda, knative, loop
from mlinfra.kserve import (
    Canary,
    Container,
    InferenceService,
    LLMInferenceService,
    LLMWorkload,
    Model,
    Predictor,
    Transformer,
)
from mlinfra.kserve.picker import kserve_default
from mlinfra.manifest import Manifest, ObjectReference, Resources
from mlinfra.ray_serve import Application, AutoscalingConfig, Deployment
from mlinfra.ray_serve.kuberay import RayService, WorkerGroup

OBJECTS = Path(__file__).parent / "objects"
GOOD = {obj["kind"]: obj for obj in yaml.safe_load_all((OBJECTS / "good.yaml").read_text("utf-8"))}
"""One good object of every core kind whose rules are known."""

BERT = ObjectReference("Deployment", "bert-classifier")

# ---------------------------------------------------------------------- kserve

RESOURCES = Resources({"cpu": 1, "memory": "4Gi"}, {"cpu": 2, "memory": "8Gi", "nvidia.com/gpu": 1})
SMALL = Resources({"cpu": "100m", "memory": "256Mi"}, {"cpu": "500m", "memory": "512Mi"})
BERT_MODEL = Model("huggingface", "s3://models/bert-classifier/v1", RESOURCES, protocol_version="v2")
OWN_SERVER = Container("registry.example.com/bert-server:1.0.0", RESOURCES, ("--model_name=bert",))
PREDICTOR = Predictor(model=BERT_MODEL, min_replicas=2, max_replicas=20)
KNATIVE = InferenceService(
    "bert-classifier",
    replace(PREDICTOR, scale_metric="concurrency", scale_target=8, container_concurrency=16, canary_traffic_percent=10),
    Transformer(container=Container("registry.example.com/bert-tokenizer:1.0.0", SMALL)),
    mode="Knative",
    namespace="ml-production",
)
STANDARD = InferenceService(
    "bert-classifier",
    replace(
        PREDICTOR,
        scale_metric="cpu",
        scale_target=70,
        name="v1",
        node_selector={"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    ),
    canary=(Canary(10, Predictor(model=replace(BERT_MODEL, storage_uri="s3://models/bert-classifier/v2"), name="v2")),),
)
OWN_SERVICE = InferenceService("own", Predictor(model=OWN_SERVER))
SERVICES = [KNATIVE, STANDARD, OWN_SERVICE]
ONE_GPU: dict[str, str | int | float] = {"cpu": 4, "memory": "32Gi", "nvidia.com/gpu": 1}
CHAT = LLMInferenceService(
    "chat",
    "hf://meta-llama/Llama-3.1-8B-Instruct",
    LLMWorkload(Resources(ONE_GPU, ONE_GPU), 3, "--max-model-len=8192"),
    "meta-llama/Llama-3.1-8B-Instruct",
)
SPLIT_CHAT = LLMInferenceService(
    "chat",
    "hf://meta-llama/Llama-3.1-8B-Instruct",
    LLMWorkload(Resources(ONE_GPU, ONE_GPU), 3, image="registry.example.com/vllm:0.33.0"),
    prefill=LLMWorkload(Resources(ONE_GPU, ONE_GPU), 2, node_selector={"nvidia.com/gpu.product": "NVIDIA-H100"}),
    adapters={"french": "hf://example/french"},
    picker=kserve_default("0.20", prefill=True, lora=True),
    namespace="ml-production",
)
LLM_SERVICES = [CHAT, SPLIT_CHAT]

# ------------------------------------------------------------------- ray_serve

PREPROCESSOR = Deployment("Preprocessor", 2)
ENCODER = Deployment(
    "Encoder",
    max_ongoing_requests=16,
    ray_actor_options={"num_gpus": 1},
    autoscaling_config=AutoscalingConfig(1, 4, 8),
)
CLASSIFIER = Deployment(
    "Classifier",
    "auto",
    ray_actor_options={"num_gpus": 0.5},
    calls=("Preprocessor", "Encoder"),
    user_config={"threshold": 0.5},
)
BERT_APPLICATION = Application("bert", "mlinfra.course.ray_app:app", (CLASSIFIER, PREPROCESSOR, ENCODER))
HEAD_RESOURCES = Resources({"cpu": 2, "memory": "4Gi"}, {"cpu": 2, "memory": "4Gi"})
WORKER = Resources({"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1}, {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1})
RAY_SERVICE = RayService(
    "bert", BERT_APPLICATION, "registry.example.com/bert-ray:1.0.0", HEAD_RESOURCES, (WorkerGroup("gpu", WORKER, 1, 4),)
)


# ----------------------------------------------------------------- autoscaling


def autoscaler(**changes: Any) -> hpa.HorizontalPodAutoscaler:
    """The classifier's, with other fields."""
    parts: dict[str, Any] = {"name": "bert", "scale_target_ref": BERT, "max_replicas": 20}
    return hpa.HorizontalPodAutoscaler(**parts | changes)


def scalers() -> dict[str, Callable[[], loop.Autoscaler]]:
    """One autoscaler of each kind, by its short name."""
    goal = (hpa.External("in_flight", hpa.AverageValue(3)),)
    trigger = keda.Trigger("prometheus", {"query": "in_flight"}, 3)
    return {
        "hpa": lambda: loop.ByHPA(hpa.HorizontalPodAutoscaler("b", BERT, 20, 1, goal), lambda s: s.in_flight),
        "kpa": lambda: loop.ByKPA(knative.KPA(knative.Revision(container_concurrency=4, max_scale=20))),
        "keda": lambda: loop.ByKEDA(
            keda.ScaledObject("b", BERT, (trigger,), max_replica_count=20), lambda s: s.in_flight
        ),
    }


def simpy_waits(arrivals_s: list[float], service_s: list[float], servers: int) -> list[float]:
    """The wait of each request in SimPy's queue of so many servers."""
    import simpy

    env = simpy.Environment()
    pool, waits = simpy.Resource(env, servers), [0.0] * len(arrivals_s)

    def request(i: int) -> Any:
        yield env.timeout(arrivals_s[i])
        with pool.request() as turn:
            yield turn
            waits[i] = env.now - arrivals_s[i]
            yield env.timeout(service_s[i])

    for i in range(len(arrivals_s)):
        env.process(request(i))
    env.run()
    return waits


# ---------------------------------------------------------------------- damage


VALUES: tuple[Any, ...] = (None, "x", 5, 1.5, True, [], {}, ["a"], [{}], {"a": "b"})


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, itself first."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        yield from paths(child, (*path, key))


def damaged(obj: Manifest, path: tuple[Any, ...], value: Any) -> Manifest:
    """A copy with another value at a path."""
    damaged_copy = copy.deepcopy(obj)
    branch: Any = damaged_copy
    for step in path[:-1]:
        branch = branch[step]
    if path:
        branch[path[-1]] = value
    return damaged_copy
