"""Compiled pipelines, read back: what the file says of each task, what is refused, and what is only unwise."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp import dsl, kubernetes
from pipeline_steps import COURSE, IMAGE, MAKE, SIZE, TOLERATION, circle, component, loop, make, trainer

from mlinfra.admission.kfp import pitfalls
from mlinfra.admission.rules import Invalid
from mlinfra.course import steps
from mlinfra.course.pipeline import GPU_NODES, training_pipeline
from mlinfra.pipelines import KubeflowPipeline, Loop, Source
from mlinfra.pipelines.compiled import compile_text


def piped(build: Callable[[], Any]) -> KubeflowPipeline:
    """The pipeline with the tasks that a function makes."""

    def body() -> None:
        build()

    return KubeflowPipeline.compiled(dsl.pipeline(body, name="p"))


def test_compiles_to_the_same_bytes_whatever_the_hash_seed() -> None:
    code = "from mlinfra.course.pipeline import training_pipeline as p; from mlinfra.pipelines import argo, compiled; "
    code += "k = compiled.KubeflowPipeline.compiled(p); "
    code += "print(compiled.compile_text(p), argo.workflow(k.ir, k.platform), [t.name for t in k.tasks], sep='')"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert texts.pop().startswith(compile_text(training_pipeline))


def test_kfp_loads_back_what_it_compiled() -> None:
    from kfp.components import load_component_from_text

    text = compile_text(training_pipeline)
    assert set(load_component_from_text(text).component_spec.inputs or {}) == {"count", "seed", "epochs"}
    with pytest.raises(KeyError, match="pipelineInfo"):
        load_component_from_text("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n")


def test_the_course_pipeline_is_read_in_the_order_of_what_waits_for_what() -> None:
    assert KubeflowPipeline.of(*yaml.safe_load_all(compile_text(training_pipeline))) == COURSE
    assert (COURSE.name, COURSE.parameters) == ("bert-training", {"count": 400, "epochs": 60, "seed": 0})
    waiting = {task.name: set(task.after) for task in COURSE.tasks}
    assert list(waiting) == ["prepare", "train", "evaluate", "deploy", "report"]
    assert waiting["evaluate"] == {"prepare", "train"}
    assert waiting["deploy"] == {"evaluate", "train"}
    assert waiting["report"] == {"prepare", "train", "evaluate", "deploy"}


def test_a_task_has_what_the_file_says_of_it() -> None:
    train = COURSE.task("train")
    assert train.sources == {
        "training": Source("training", "prepare"),
        "seed": Source("seed"),
        "epochs": Source("epochs"),
    }
    assert train.retry == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "86400s",
    }
    assert train.resources.manifest() == {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}}
    assert train.placement == {"nodeSelector": {"labels": dict([GPU_NODES])}, "tolerations": [TOLERATION]}
    assert (train.gpus, train.enable_cache, train.artifacts()) == (1, True, ["model"])
    assert train.container["image"] == steps.IMAGE
    assert "pip install" not in str(train.container["command"]), "the image brings what the step needs"
    assert COURSE.task("evaluate").output_types == {"Output": "NUMBER_DOUBLE", "metrics": "system.Metrics"}


def test_groups_are_dissolved() -> None:
    deploy, report = COURSE.task("deploy"), COURSE.task("report")
    assert deploy.conditions == ("inputs.parameter_values['pipelinechannel--evaluate-Output'] >= -0.01",)
    assert deploy.sources == {"model": Source("model", "train")}
    assert (report.is_exit, report.enable_cache, deploy.is_exit) == (True, False, False)


def test_a_loop_hands_on_what_its_task_puts_out() -> None:
    looped = KubeflowPipeline.compiled(loop)
    assert [task.name for task in looped.tasks] == ["make", "take", "largest"]
    taken, largest = looped.task("take"), looped.task("largest")
    assert taken.loops == (Loop((2, 1, 3), parallelism=2),)
    assert taken.sources == {"data": Source("data", "make"), "factor": Source("item")}
    assert largest.sources == {"sizes": Source("Output", "take")}
    assert largest.after == ("take",)


def test_steps_for_the_schedule_hold_the_gpus_of_the_file() -> None:
    durations = {"prepare": 60, "train": 600, "evaluate": 60, "deploy": 5}
    planned = COURSE.steps(durations)
    assert [(step.name, step.gpus) for step in planned] == [
        ("prepare", 0),
        ("train", 1),
        ("evaluate", 0),
        ("deploy", 0),
    ]
    assert planned[3].after == ("evaluate", "train")


def test_an_unknown_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"task: 'fit': must be one of prepare, train"):
        COURSE.task("fit")


def placed(**toleration: Any) -> KubeflowPipeline:
    return piped(lambda: kubernetes.add_toleration(MAKE(rows=1), **toleration))


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: KubeflowPipeline.compiled(circle), r"tasks: make waits for make-2 waits for make: a circle never"),
        (lambda: KubeflowPipeline.of({"kind": "Workflow"}), "pipelineInfo: Required value: the file is no compiled"),
        (lambda: placed(key="a", operator="Sometimes"), r"exec-make.tolerations\[0\].operator: Unsupported value"),
        (
            lambda: piped(lambda: kubernetes.add_node_selector(MAKE(rows=1), "a b!", "x")),
            "exec-make.nodeSelector: Invalid",
        ),
    ],
)
def test_what_could_never_run_is_refused(build: Callable[[], object], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        build()


def test_seconds_of_a_toleration_are_accepted_as_kfp_writes_them() -> None:
    pipeline = placed(key="a", operator="Exists", effect="NoExecute", toleration_seconds=60)
    assert pipeline.task("make").placement["tolerations"][0]["tolerationSeconds"] == "60"


def test_kfp_itself_compiles_a_circle() -> None:
    """Why the refusal is ours: the SDK writes two tasks that wait for each other."""
    tasks = circle.pipeline_spec.root.dag.tasks
    assert {name: list(task.dependent_tasks) for name, task in tasks.items()} == {
        "make": ["make-2"],
        "make-2": ["make"],
    }


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: MAKE(), "missing 1 required argument: rows"),
        (lambda: MAKE(rows=7, row=8), 'got an unexpected keyword argument "row"'),
        (lambda: MAKE(rows=7.5), "'NUMBER_DOUBLE' is incompatible with the input type 'NUMBER_INTEGER'"),
        (lambda: SIZE(model=MAKE(rows=7).output), "'system.Dataset@0.0.1' is incompatible with the input type"),
        (lambda: component(lambda rows: rows), "Missing type annotation for argument: rows"),
    ],
)
def test_what_kfp_itself_refuses(build: Callable[[], object], why: str) -> None:
    with pytest.raises(Exception, match=r".") as refusal:
        piped(build)
    assert why in str(refusal.value)


def said(pipeline: KubeflowPipeline) -> list[str]:
    return [str(problem) for problem in pitfalls(pipeline.ir, pipeline.platform)]


def test_the_course_pipeline_has_no_pitfalls() -> None:
    assert said(COURSE) == []


def on_gpu(retry: bool = False) -> Any:
    task = MAKE(rows=1).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    return task.set_retry(2) if retry else task


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: component(make, "registry.example.com/a:latest")(rows=1), "tasks[make].image: Invalid value"),
        (lambda: component(make, "registry.example.com:5000/a")(rows=1), "is not pinned: name a version or a digest"),
        (lambda: dsl.component(make, base_image=IMAGE)(rows=1), "tasks[make].command: installs packages"),
        (lambda: MAKE(rows=1), "tasks[make].resourceMemoryLimit: not given: nothing keeps the step to its share"),
        (on_gpu, "tasks[make].tolerations: not given: nvidia.com/gpu nodes are usually tainted"),
        (on_gpu, "tasks[make].retryPolicy: not given"),
        (lambda: on_gpu(True), "backoffMaxDuration: an hour, the default: it counts from the first attempt's start"),
    ],
)
def test_what_kfp_takes_and_will_go_wrong(build: Callable[[], Any], why: str) -> None:
    assert any(why in line for line in said(piped(build))), said(piped(build))


def test_a_digest_is_a_version() -> None:
    pinned = component(make, "registry.example.com:5000/trainer@sha256:" + "0" * 64)
    assert not any("pinned" in line for line in said(piped(lambda: pinned(rows=1))))


def test_a_name_that_never_reaches_the_command_is_a_pitfall() -> None:
    whole = piped(lambda: trainer(data=MAKE(rows=1).output, epochs=3))
    assert not any("never reaches" in line for line in said(whole))
    del whole.ir["deploymentSpec"]["executors"]["exec-trainer"]["container"]["args"][1:]
    lost = [line for line in said(whole) if "never reaches" in line]
    assert [line.partition(": ")[0] for line in lost] == [
        "tasks[trainer].inputs[epochs]",
        "tasks[trainer].outputs[model]",
        "tasks[trainer].outputs[rows]",
    ]
    assert "{{$.outputs.parameters['rows'].output_file}}" in lost[2]


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """For each of up to seven tasks those before it that it waits for."""
    return [draw(st.lists(st.sampled_from(range(i)), unique=True)) if i else [] for i in range(draw(st.integers(1, 7)))]


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_what_waits_for_what_survives_the_compilation(waits: list[list[int]]) -> None:
    def build() -> None:
        made: list[Any] = []
        for i, before in enumerate(waits):
            made.append(MAKE(rows=i).after(*(made[j] for j in before)))

    names = ["make", *(f"make-{i}" for i in range(2, len(waits) + 1))]
    pipeline = piped(build)
    assert {task.name: set(task.after) for task in pipeline.tasks} == {
        names[i]: {names[j] for j in before} for i, before in enumerate(waits)
    }
    order = [task.name for task in pipeline.tasks]
    assert all(order.index(before) < order.index(task.name) for task in pipeline.tasks for before in task.after)
