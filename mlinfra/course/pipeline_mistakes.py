"""Common mistakes in pipelines: a folder that two pods do not share, a circle, and half a model."""

from kfp import dsl
from kfp.dsl import Model, Output

from mlinfra.course.steps import IMAGE
from mlinfra.manifest import Manifest


def a_shared_folder() -> Manifest:
    """A Workflow of two steps: one writes to /data/processed, and the other reads from there."""
    tasks = [
        {"name": "prepare", "template": "prepare"},
        {"name": "train", "template": "train", "dependencies": ["prepare"]},
    ]
    templates = [
        {"name": "main", "dag": {"tasks": tasks}},
        _step("prepare", "ml-images/preprocessor:latest", "python preprocess.py --output /data/processed"),
        _step("train", "ml-images/trainer:latest", "python train.py --data /data/processed"),
    ]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "bert-training-pipeline"},
        "spec": {"entrypoint": "main", "templates": templates},
    }


def _step(name: str, image: str, command: str) -> Manifest:
    return {"name": name, "container": {"image": image, "command": command.split()}}


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def careless(model: Output[Model]) -> None:
    """Runs out of memory when half of the weights are written to their place."""
    from pathlib import Path

    Path(model.path).write_text("half of the weights")
    raise MemoryError("out of memory")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def careful(model: Output[Model]) -> None:
    """The same, but the weights are written beside their place."""
    from mlinfra.course.steps import replacing

    with replacing(model.path) as file:
        file.write_text("half of the weights")
        raise MemoryError("out of memory")


@dsl.pipeline(name="careless")
def careless_pipeline() -> None:
    careless().set_retry(2)


@dsl.pipeline(name="careful")
def careful_pipeline() -> None:
    careful().set_retry(2)


@dsl.pipeline(name="circle")
def circle() -> None:
    """Two tasks that wait for each other."""
    one, two = careless(), careful()
    one.after(two)
    two.after(one)
