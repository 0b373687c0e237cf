"""The course's training pipeline, as one writes it with KFP's SDK: five components, and the graph of their tasks.

Only a function's own source travels into its container, so each brings its imports along; the image has `mlinfra` and
`kfp`, so nothing is installed when a step starts.
"""

from kfp import dsl, kubernetes
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, PipelineTask, PipelineTaskFinalStatus

from mlinfra.course.steps import IMAGE

GPU_NODES = ("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(count: int, seed: int, training: Output[Dataset], evaluation: Output[Dataset]) -> None:
    """Messages to train on, and 300 others whose texts no run trains on."""
    import json

    from mlinfra.course.messages import evaluation_messages, training_messages
    from mlinfra.course.steps import replacing

    parts = ((training, training_messages(count, seed)), (evaluation, evaluation_messages(300, seed)))
    for dataset, examples in parts:
        dataset.metadata["messages"] = len(examples)
        with replacing(dataset.path) as file:
            file.write_text(json.dumps(examples), "utf-8")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(model: Input[Model], evaluation: Input[Dataset], metrics: Output[Metrics]) -> float:
    """Accuracy beside the champion's, on all messages and on slices; returns the smallest gain of them."""
    import json
    from pathlib import Path

    from mlinfra.course import classifier
    from mlinfra.course.steps import replacing, slices, smallest_gain

    parts = slices(json.loads(Path(evaluation.path).read_text("utf-8")))
    ours, champions = (
        {name: classifier.accuracy(each, examples) for name, examples in parts.items()}
        for each in (classifier.load(Path(model.path)), classifier.load())
    )
    for name in parts:
        metrics.log_metric(name, ours[name])
        metrics.log_metric(f"{name}, champion", champions[name])
    with replacing(metrics.path) as file:  # without a file KFP's local cache takes the step for one never run
        file.write_text(json.dumps(metrics.metadata), "utf-8")
    return smallest_gain(ours, champions)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy(model: Input[Model], service: Output[Artifact]) -> None:
    """The InferenceService that would serve this model, as a file to review; nothing is applied."""
    from mlinfra.course.steps import inference_service, replacing
    from mlinfra.manifest import to_yaml

    with replacing(service.path) as file:
        file.write_text(to_yaml(inference_service(model.uri)), "utf-8")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(status: PipelineTaskFinalStatus) -> None:
    """Runs whatever happened, and says what did."""
    print(f"{status.pipeline_task_name}: {status.state}")


def small(task: PipelineTask) -> PipelineTask:
    """One CPU and 2 GiB: enough for a step that does not train."""
    return task.set_cpu_limit("1").set_memory_limit("2Gi")


def on_a_gpu(task: PipelineTask) -> PipelineTask:
    """Four CPUs, 16 GiB and a GPU, on a node that has one and keeps other pods away."""
    task.set_cpu_limit("4").set_memory_limit("16Gi")
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    kubernetes.add_node_selector(task, *GPU_NODES)
    return kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")


@dsl.pipeline(name="bert-training")
def training_pipeline(count: int = 400, seed: int = 0, epochs: int = 60) -> None:
    """Data, training, evaluation, and behind the gate the manifest; the exit task comes last, whatever happened."""
    with dsl.ExitHandler(small(report()).set_caching_options(False)):
        prepared = small(prepare(count=count, seed=seed))
        trained = on_a_gpu(train(training=prepared.outputs["training"], seed=seed, epochs=epochs))
        trained.set_retry(2, backoff_duration="60s", backoff_max_duration="86400s")
        model = trained.outputs["model"]
        evaluated = small(evaluate(model=model, evaluation=prepared.outputs["evaluation"]))
        with dsl.If(evaluated.outputs["Output"] >= -0.01, name="not worse"):
            small(deploy(model=model))
