"""The pictures of notebook 03: graphs of tasks, the backend, what ran, and what takes how long."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

from mlinfra import study
from mlinfra.course.plans import MIN, fan_out, minutes, nine_steps
from mlinfra.manifest import Manifest
from mlinfra.pipelines import CompiledTask, KubeflowPipeline, Source, argo
from mlinfra.pipelines.timing import Preemptible, schedule

HOUR = 3600
WIDEST_ROW = 75  # characters, with the frames of the boxes
COMPARISON = re.compile(r"inputs\.parameter_values\['pipelinechannel--(.+?)-(\w+)'\]")


def graph(pipeline: KubeflowPipeline) -> study.Figure:
    """The tasks of a compiled pipeline, each in the layer below all that it waits for."""
    body = [task for task in pipeline.tasks if not task.is_exit]
    depths = _depths(pipeline)
    layers = {
        f"{depth + 1}{' ' * i}": row
        for depth in sorted(set(depths.values()))
        for i, row in enumerate(_rows([task.name for task in body if depths[task.name] == depth]))
    }
    arrows = [
        study.Arrow(source.task, task.name, _passed(source, task, pipeline))
        for task in body
        for source in dict.fromkeys(task.sources.values())
        if source.task in depths  # and not a group of tasks, as with `dsl.OneOf`
    ]
    arrows += [study.Arrow(*pair, f"if {text}", dashed=True) for pair, text in _gates(body).items()]
    exits = [task.name for task in pipeline.tasks if task.is_exit]
    if exits:
        layers["exit"] = exits
        arrows += [study.Arrow(body[-1].name, name, "whatever happened", dashed=True) for name in exits]
    order = ", ".join(task.name for task in pipeline.tasks)
    said = f"The tasks of {pipeline.name}, in an order in which they can run: {order}."
    return _roomiest(f"The pipeline {pipeline.name}", said, layers, arrows)


def _roomiest(title: str, said: str, layers: dict[str, list[str]], arrows: list[study.Arrow]) -> study.Figure:
    """The diagram; of a large pipeline without labels, or without arrows."""
    for fewer in (arrows, [replace(arrow, label="") for arrow in arrows]):
        with contextlib.suppress(ValueError):
            return study.diagram(title, said, layers, fewer)
    return study.diagram(f"{title}, too large for its arrows", said, layers, [])


def _depths(pipeline: KubeflowPipeline) -> dict[str, int]:
    """How many tasks stand one behind the other before each task."""
    depths: dict[str, int] = {}
    for task in pipeline.tasks:
        if not task.is_exit:
            depths[task.name] = 1 + max((depths[name] for name in task.after), default=-1)
    return depths


def _rows(names: list[str]) -> list[list[str]]:
    """The names in rows that a picture is wide enough for."""
    rows: list[list[str]] = [[]]
    for name in names:
        if rows[-1] and sum(max(14, len(each) + 7) for each in [*rows[-1], name]) > WIDEST_ROW:
            rows.append([])
        rows[-1].append(name)
    return rows


def _gates(tasks: list[CompiledTask]) -> dict[tuple[str, str], str]:
    """For each task under a condition the task whose output is compared, and the comparison."""
    gates = {}
    names = {task.name for task in tasks}
    for task in tasks:
        for condition in task.conditions:
            if (compared := COMPARISON.search(condition)) and compared[1] in names:
                gates[compared[1], task.name] = COMPARISON.sub(compared[2], condition)
    return gates


def _passed(source: Source, task: CompiledTask, pipeline: KubeflowPipeline) -> str:
    """The output's name, with how often a loop takes it, or that it is collected from a loop."""
    producer = pipeline.task(source.task)
    entered = [loop for loop in task.loops if loop not in producer.loops]
    left = [loop for loop in producer.loops if loop not in task.loops]
    times = "".join(f", for each of {len(loop.items)} items" for loop in entered)
    return f"{source.name}{times}{', collected' if left else ''}"


def backend() -> study.Figure:
    """Who takes a compiled pipeline, who starts the pods of a run, and where its data lie."""
    layers = {
        "your machine": ["KFP SDK:\npipeline.yaml"],
        "KFP backend": ["API server:\nIR to Workflow"],
        "cluster": ["Kubernetes API:\nWorkflow", "workflow\ncontroller"],
        "pods of a task": ["driver", "executor:\nlauncher + command"],
        "stores": ["metadata store\n(MLMD)", "object store"],
    }
    arrows = [
        study.Arrow("KFP SDK:\npipeline.yaml", "API server:\nIR to Workflow", "run create"),
        study.Arrow("API server:\nIR to Workflow", "Kubernetes API:\nWorkflow", "create"),
        study.Arrow("workflow\ncontroller", "Kubernetes API:\nWorkflow", "watch", dashed=True),
        study.Arrow("workflow\ncontroller", "driver", "1: start", dashed=True),
        study.Arrow("workflow\ncontroller", "executor:\nlauncher + command", "2: start", dashed=True),
        study.Arrow("driver", "metadata store\n(MLMD)", "inputs, cache"),
        study.Arrow("executor:\nlauncher + command", "metadata store\n(MLMD)", "results"),
        study.Arrow("executor:\nlauncher + command", "object store", "files"),
    ]
    said = (
        "The SDK compiles the pipeline, and the API server makes an Argo Workflow of it. For each task Argo's "
        "controller starts a driver, which asks the metadata store for inputs and cache, and then the executor. Its "
        "launcher moves files from and to the object store."
    )
    return study.diagram("The backend of Kubeflow Pipelines", said, layers, arrows)


def argo_tree(workflow: Manifest) -> study.Figure:
    """A Workflow as the tree that Argo runs."""
    pods = argo.pods(workflow)
    said = f"A driver and an executor for each task, and a driver for each graph: {len(pods)} pods."
    return study.tree("What Argo runs", said, argo.nested(workflow))


def trainings(gpus: int, trainings: int, first_min: int) -> study.Figure:
    """When each step of the fan-out runs, on an axis that stays."""
    plan = fan_out(trainings, first_min)
    spans = schedule(plan, gpus).spans
    rows = {step.name: [_span_min(spans[step.name], f"{step.duration_s / MIN:g}", int(step.gpus > 0))] for step in plan}
    said = (
        f"{trainings} trainings on {gpus} GPUs, the first of {first_min} minutes: "
        f"{minutes(plan, gpus):.0f} minutes in all. One more GPU would make it {minutes(plan, gpus + 1):.0f}."
    )
    return study.timeline("What runs when", said, rows, end=360)


def _span_min(span: tuple[float, float], text: str, fill: int) -> study.Span:
    """A span in minutes."""
    start_s, end_s = span
    return study.Span(start_s / MIN, end_s / MIN, text, fill)


def nine_steps_on(gpus: int) -> study.Figure:
    """Graham's nine steps on so many GPUs; the long step is coloured."""
    plan = nine_steps()
    spans = schedule(plan, gpus).spans
    rows = {name: [_span_min(span, name, int(name == "i"))] for name, span in spans.items()}
    said = (
        f"On {gpus} GPUs the nine steps take {minutes(plan, gpus):.0f} minutes. "
        f"The longest, i, starts at minute {spans['i'][0] / MIN:.0f}."
    )
    return study.timeline(f"Nine steps on {gpus} GPUs", said, rows, end=15)


def spot(per_100h: int, every_min: int, price: int) -> study.Figure:
    """What four hours of training cost on spot nodes, in percent of on demand: retried, and with checkpoints."""
    rate = per_100h / 100
    on_spot = {
        "retries": Preemptible(4 * HOUR, rate),
        "checkpoints": Preemptible(4 * HOUR, rate, every_min * 60, checkpoint_s=60),
    }
    rows = {"on demand": {"work": 100.0}}
    for name, step in on_spot.items():
        overhead_s = sum(step.segments_s()) - step.work_s
        lost_s = step.expected_s() - step.work_s - overhead_s
        parts = {"work": step.work_s, "writing checkpoints": overhead_s, "lost work": lost_s}
        rows[name] = {part: price * seconds / step.work_s for part, seconds in parts.items()}
    hours = {name: f"{step.expected_s() / HOUR:.2f} hours" for name, step in on_spot.items()}
    said = (
        f"{per_100h} preemptions in 100 hours, spot at {price} % of the price. With retries alone: {hours['retries']}, "
        f"{sum(rows['retries'].values()):.0f} % of the cost. With a checkpoint every {every_min} minutes: "
        f"{hours['checkpoints']}, {sum(rows['checkpoints'].values()):.0f} %."
    )
    return study.bars("The cost of four hours of training", said, rows, "%", top=200)
