"""Components for the tests: small, without torch, and with faults on demand."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

from mlinfra.course import steps
from mlinfra.pipelines import Component, argo

IMAGE = "registry.example.com/python:1.0.0"


def make(rows: int, data: Output[Dataset]) -> None:
    from mlinfra.course.steps import replacing

    with replacing(data.path) as file:
        file.write_text("x" * rows)


def other(rows: int, data: Output[Dataset]) -> None:
    from pathlib import Path

    Path(data.path).write_text("y" * rows)


def read(source: str, data: Output[Dataset]) -> None:
    from pathlib import Path

    Path(data.path).write_text(Path(source).read_text())


def fit(data: Input[Dataset], failures: int, model: Output[Model]) -> float:
    """Fails in the middle of its output, so many times."""
    from pathlib import Path

    from mlinfra.course.steps import replacing

    tried = Path(f"{data.path}.tried")
    tried.write_text(tried.read_text() + "." if tried.exists() else ".")
    with replacing(model.path) as file:
        file.write_text("half")
        if len(tried.read_text()) <= failures:
            raise ValueError("no words")
        file.write_text("a whole model")
    return len(Path(data.path).read_text()) / 100


def die(how: str, data: Output[Dataset]) -> None:
    """Ends in the middle of its output, as the kernel, the interpreter or the program itself may end it."""
    import os
    import signal
    import sys

    from mlinfra.course.steps import replacing

    with replacing(data.path) as file:
        file.write_text("half")
        print(f"about to {how}", flush=True)
        if how == "be killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7) if how == "vanish" else sys.exit(0 if how == "leave early" else 3)


def size(model: Input[Model], metrics: Output[Metrics]) -> int:
    from pathlib import Path

    found = len(Path(model.path).read_text())
    metrics.log_metric("bytes", found)
    Path(metrics.path).write_text("")
    return found


def tell(status: PipelineTaskFinalStatus) -> None:
    print(f"told: {status.state}")


MAKE, READ, FIT, SIZE, TELL, DIE = (Component(IMAGE, function) for function in (make, read, fit, size, tell, die))


def circle() -> Any:
    """KFP's own code for two tasks that wait for each other."""

    @dsl.pipeline(name="circle")
    def pipeline():  # type: ignore[no-untyped-def]
        one, two = MAKE.made(rows=1), MAKE.made(rows=2)
        one.after(two)
        two.after(one)

    return pipeline


TRAINER = Component(
    "registry.example.com/trainer:1.0.0",
    command=("python", "train.py"),
    args=(
        "--data={{$.inputs.artifacts['data'].path}}",
        "--epochs={{$.inputs.parameters['epochs']}}",
        "--model={{$.outputs.artifacts['model'].path}}",
        "--rows={{$.outputs.parameters['rows'].output_file}}",
    ),
    inputs={"data": "Dataset", "epochs": int},
    outputs={"model": "Model", "rows": int},
)
COURSE_WORKFLOW = argo.workflow(steps.pipeline().ir(), steps.pipeline().platform(), {"epochs": 60})


def source_workflow() -> dict[str, Any]:
    """The document of the source notebook, as it prints it."""

    def template(name: str, image: str, command: list[str], requests: dict[str, str], gpus: int = 0) -> dict[str, Any]:
        limits = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
        container = {"image": image, "command": command, "args": [], "resources": {"requests": requests, **limits}}
        return {"name": name, "container": container}

    chain = ["data-preprocessing", "model-training", "model-evaluation", "model-deployment"]
    tasks: list[dict[str, Any]] = [{"name": name, "template": name} for name in chain]
    for task, before in zip(tasks[1:], chain, strict=False):
        task["dependencies"] = [before]
    templates = [
        {"name": "main", "dag": {"tasks": tasks}},
        template(chain[0], "ml-images/preprocessor:latest", ["python", "preprocess.py"], {"cpu": "2", "memory": "8Gi"}),
        template(chain[1], "ml-images/trainer:latest", ["python", "train.py"], {"cpu": "4", "memory": "16Gi"}, 4),
        template(chain[2], "ml-images/evaluator:latest", ["python", "evaluate.py"], {"cpu": "2", "memory": "4Gi"}, 1),
        template(chain[3], "ml-images/deployer:latest", ["python", "deploy.py"], {"cpu": "1", "memory": "2Gi"}),
    ]
    metadata = {"name": "bert-training-pipeline"}
    spec = {"entrypoint": "main", "templates": templates}
    return {"apiVersion": argo.API_VERSION, "kind": "Workflow", "metadata": metadata, "spec": spec}
