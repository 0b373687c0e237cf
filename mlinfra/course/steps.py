"""The four steps that train the course's classifier, and the pipeline that they make.

Only a function's own source travels into its container, so each brings its imports along; the image has `mlinfra`.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

from mlinfra.manifest import Manifest, Resources
from mlinfra.pipelines import Component, If, Pipeline, PipelineInput, Retry, Task, TaskOutput

IMAGE = "registry.example.com/mlinfra:1.0.0"
GPU_NODES = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


@contextlib.contextmanager
def replacing(path: str) -> Iterator[Path]:
    """A file beside `path` that takes its place when the block succeeds; a failed step leaves neither."""
    unfinished = Path(f"{path}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def prepare(count: int, seed: int, training: Output[Dataset], evaluation: Output[Dataset]) -> None:
    """Messages to train on, and 300 others that no training sees."""
    import json

    from mlinfra.course.messages import messages
    from mlinfra.course.steps import replacing

    for dataset, examples in ((training, messages(count, seed)), (evaluation, messages(300, seed + 1))):
        dataset.metadata["messages"] = len(examples)
        with replacing(dataset.path) as file:
            file.write_text(json.dumps(examples), "utf-8")


def train(training: Input[Dataset], seed: int, epochs: int, model: Output[Model]) -> None:
    """A classifier's weights, the same for the same data and seed."""
    import json
    from pathlib import Path

    from mlinfra.course import classifier
    from mlinfra.course.steps import replacing

    trained = classifier.train(json.loads(Path(training.path).read_text("utf-8")), seed, epochs)
    model.metadata["epochs"] = epochs
    with replacing(model.path) as file:
        classifier.save(trained, file)


def evaluate(model: Input[Model], evaluation: Input[Dataset], metrics: Output[Metrics]) -> float:
    """Accuracy beside the champion's, on all messages and on slices; the smallest gain of them decides."""
    import json
    from pathlib import Path

    from mlinfra.course import classifier
    from mlinfra.course.steps import replacing, slices

    challenger, champion = classifier.load(Path(model.path)), classifier.load()
    gains = []
    for name, examples in slices(json.loads(Path(evaluation.path).read_text("utf-8"))).items():
        ours, theirs = classifier.accuracy(challenger, examples), classifier.accuracy(champion, examples)
        metrics.log_metric(name, ours)
        metrics.log_metric(f"{name}, champion", theirs)
        gains.append(ours - theirs)
    with replacing(metrics.path) as file:  # without a file KFP's local cache takes the step for one never run
        file.write_text(json.dumps(metrics.metadata), "utf-8")
    return min(gains)


def slices(examples: list[tuple[str, int]]) -> dict[str, list[tuple[str, int]]]:
    """All messages, and two parts: those where a word turns another around, and the plain ones."""
    turned = [example for example in examples if " not " in example[0]]
    return {"all": examples, "plain": [example for example in examples if example not in turned], "turned": turned}


def deploy(model: Input[Model], service: Output[Artifact]) -> None:
    """The InferenceService that would serve this model, as a file to review; nothing is applied."""
    from mlinfra.course.steps import inference_service, replacing
    from mlinfra.manifest import to_yaml

    with replacing(service.path) as file:
        file.write_text(to_yaml(inference_service(model.uri)), "utf-8")


def inference_service(storage_uri: str) -> Manifest:
    """The service of notebook 1 with another model."""
    from mlinfra.kserve import InferenceService, Model, Predictor

    resources = Resources({"cpu": 1, "memory": "4Gi"}, {"cpu": 2, "memory": "8Gi", "nvidia.com/gpu": 1})
    model = Model("huggingface", storage_uri, resources, protocol_version="v2")
    predictor = Predictor(model=model, min_replicas=2, max_replicas=20, scale_metric="cpu", scale_target=70)
    return InferenceService("bert-classifier", predictor, namespace="ml-production").manifest()


def report(status: PipelineTaskFinalStatus) -> None:
    """Runs whatever happened, and says what did."""
    print(f"{status.pipeline_task_name}: {status.state}")


def pipeline() -> Pipeline:
    """Data, training, evaluation, and behind the gate the manifest; the exit task comes last, whatever happened."""
    small = Resources({"cpu": 1, "memory": "2Gi"}, {"cpu": 1, "memory": "2Gi"})
    large = Resources({"cpu": 4, "memory": "16Gi"}, {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1})
    seed = PipelineInput("seed")
    prepared = Task(
        "prepare", Component(IMAGE, prepare), {"count": PipelineInput("count"), "seed": seed}, resources=small
    )
    trained = Task(
        "train",
        Component(IMAGE, train),
        {"training": TaskOutput("prepare", "training"), "seed": seed, "epochs": PipelineInput("epochs")},
        resources=large,
        retry=Retry(2, backoff_duration_s=60, backoff_max_duration_s=86_400),
        node_selector=GPU_NODES,
        tolerations=(TOLERATION,),
    )
    model = TaskOutput("train", "model")
    evaluated = Task(
        "evaluate",
        Component(IMAGE, evaluate),
        {"model": model, "evaluation": TaskOutput("prepare", "evaluation")},
        resources=small,
    )
    gate = If(TaskOutput("evaluate"), ">=", -0.01)
    deployed = Task("deploy", Component(IMAGE, deploy), {"model": model}, when=gate, resources=small)
    told = Task("report", Component(IMAGE, report), enable_cache=False, resources=small)
    parameters = {"count": 400, "seed": 0, "epochs": 60}
    return Pipeline("bert-training", (prepared, trained, evaluated, deployed), parameters, on_exit=told)
