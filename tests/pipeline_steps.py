"""Components for the tests: small, without torch, and with faults on demand."""

from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

from mlinfra.course.pipeline import training_pipeline
from mlinfra.pipelines import KubeflowPipeline, argo

IMAGE = "registry.example.com/python:1.0.0"


def component(function: Callable[..., Any], image: str = IMAGE) -> Any:
    """The component of a function in an image that brings kfp."""
    return dsl.component(function, base_image=image, install_kfp_package=False)


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


def double(number: int) -> int:
    return 2 * number


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


def take(data: Input[Dataset], factor: int) -> int:
    from pathlib import Path

    return factor * len(Path(data.path).read_text())


def largest(sizes: list[int]) -> int:
    return int(max(sizes))  # a list of numbers arrives as floats


def tell(status: PipelineTaskFinalStatus) -> None:
    print(f"told: {status.state}")


MAKE, READ, FIT, SIZE, TELL, DIE = (component(function) for function in (make, read, fit, size, tell, die))
TAKE, LARGEST, DOUBLE = component(take), component(largest), component(double)
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


@dsl.container_component
def trainer(data: Input[Dataset], epochs: int, model: Output[Model], rows: dsl.OutputPath(int)):  # type: ignore[no-untyped-def, valid-type]
    return dsl.ContainerSpec(
        image="registry.example.com/trainer:1.0.0",
        command=["python", "train.py"],
        args=[f"--data={data.path}", f"--epochs={epochs}", f"--model={model.path}", f"--rows={rows}"],
    )


@dsl.pipeline(name="circle")
def circle() -> None:
    one, two = MAKE(rows=1), MAKE(rows=2)
    one.after(two)
    two.after(one)


@dsl.pipeline(name="small")
def small(rows: int = 70, failures: int = 0) -> None:
    with dsl.ExitHandler(TELL().set_caching_options(False)):
        fitted = FIT(data=MAKE(rows=rows).output, failures=failures).set_retry(2)
        with dsl.If(fitted.outputs["Output"] >= 0.5):
            SIZE(model=fitted.outputs["model"])


def variant(name: str = "small", make_cached: bool = True, fit_failures: int | None = None) -> Any:
    """The small pipeline without an exit task, with one thing edited."""

    @dsl.pipeline(name=name)
    def edited(rows: int = 70, failures: int = 0) -> None:
        made = MAKE(rows=rows).set_caching_options(make_cached)
        fitted = FIT(data=made.output, failures=failures if fit_failures is None else fit_failures)
        with dsl.If(fitted.set_retry(2).outputs["Output"] >= 0.5):
            SIZE(model=fitted.outputs["model"])

    return edited


@dsl.pipeline(name="dying")
def dying(how: str) -> None:
    with dsl.ExitHandler(TELL().set_caching_options(False)):
        DIE(how=how)


@dsl.pipeline(name="leaving")
def leaving() -> None:
    FIT(data=DIE(how="leave early").output, failures=0)


@dsl.pipeline(name="reader")
def reader(source: str) -> None:
    READ(source=source)


@dsl.pipeline(name="contained")
def contained() -> None:
    trainer(data=MAKE(rows=7).output, epochs=3)


@dsl.pipeline(name="returned")
def returned(rows: int = 70) -> None:
    fitted = FIT(data=MAKE(rows=rows).output, failures=0)
    MAKE(rows=SIZE(model=fitted.outputs["model"]).outputs["Output"])


@dsl.pipeline(name="p")
def chain() -> None:
    FIT(data=MAKE(rows=7).output, failures=0).set_retry(1)


@dsl.pipeline(name="loop")
def loop(count: int = 3) -> None:
    made = MAKE(rows=count)
    with dsl.ParallelFor([2, 1, 3], parallelism=2) as factor:
        taken = TAKE(data=made.output, factor=factor)
    LARGEST(sizes=dsl.Collected(taken.output))


@dsl.pipeline(name="branches")
def branches(limit: int = 3, numbers: list[int] = [1, 2]) -> None:  # noqa: B006
    """Conditions on a parameter, on an item of a loop and on a task; and one of three tasks."""
    first = DOUBLE(number=1)
    with dsl.ParallelFor(numbers) as number, dsl.If(number == limit):
        DOUBLE(number=number)
    with dsl.If(first.output > 2):
        large = DOUBLE(number=2)
    with dsl.Elif(first.output > 1):
        small = DOUBLE(number=3)
    with dsl.Else():
        none = DOUBLE(number=4)
    DOUBLE(number=dsl.OneOf(large.output, small.output, none.output))


@dsl.pipeline(name="wide")
def wide() -> None:
    many = [DOUBLE(number=number) for number in range(12)]
    DOUBLE(number=12).after(*many)
    for each in many[:3]:
        for number in range(8):
            DOUBLE(number=number).after(each)


COURSE = KubeflowPipeline.compiled(training_pipeline)
COURSE_WORKFLOW = argo.workflow(COURSE.ir, COURSE.platform, {"epochs": 60})


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
