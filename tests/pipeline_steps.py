"""Components for the tests: small, without torch, and with faults on demand."""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output, PipelineTaskFinalStatus

from mlinfra.pipelines import Component

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
