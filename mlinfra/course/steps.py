"""What the pipeline's steps share: files that appear whole, slices, the gate's number, and what `deploy` proposes.

A step imports this module in its own container. There KFP has no decorators (`kfp.dsl` is cut down when a step runs),
so the components themselves stand in `pipeline.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlinfra.manifest import Manifest, Resources

IMAGE = "registry.example.com/mlinfra:1.0.0"
RUNTIME = "mlinfra-classifier"


@contextlib.contextmanager
def replacing(path: str) -> Iterator[Path]:
    """A file beside `path` that takes its place when the block succeeds; a failed step leaves neither."""
    unfinished = Path(f"{path}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def slices(examples: list[tuple[str, int]]) -> dict[str, list[tuple[str, int]]]:
    """All messages, and two parts: those where a word turns another around, and the plain ones."""
    turned = [example for example in examples if " not " in example[0]]
    return {"all": examples, "plain": [example for example in examples if example not in turned], "turned": turned}


def smallest_gain(ours: Mapping[str, float], champions: Mapping[str, float]) -> float:
    """The smallest difference of accuracies, rounded to six digits: 272/300 - 275/300 is -0.01 and not a bit less."""
    return min(round(ours[name] - champions[name], 6) for name in champions)


def inference_service(storage_uri: str) -> Manifest:
    """The service with this model; it names the runtime, for no runtime of KServe's own reads a bare state dict."""
    from mlinfra.kserve import InferenceService, Model, Predictor

    resources = Resources({"cpu": 1, "memory": "2Gi"}, {"cpu": 1, "memory": "2Gi"})
    model = Model("pytorch", storage_uri, resources, protocol_version="v2", runtime=RUNTIME)
    predictor = Predictor(model=model, min_replicas=2, max_replicas=20, scale_metric="cpu", scale_target=70)
    return InferenceService("bert-classifier", predictor, namespace="ml-production").manifest()


def serving_runtime() -> Manifest:
    """The runtime that reads it: the course's own KServe server, which knows the class behind the weights."""
    container = {
        "name": "kserve-container",
        "image": IMAGE,
        "command": ["python", "-m", "mlinfra.course.kserve_server"],
        "args": ["--model_name={{.Name}}", "--model_dir=/mnt/models"],
        "resources": Resources({"cpu": 1, "memory": "2Gi"}, {"cpu": 1, "memory": "2Gi"}).manifest(),
    }
    formats = [{"name": "pytorch", "version": "2", "autoSelect": False}]
    spec = {"supportedModelFormats": formats, "protocolVersions": ["v1", "v2"], "containers": [container]}
    metadata = {"name": RUNTIME, "namespace": "ml-production"}
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": metadata, "spec": spec}
