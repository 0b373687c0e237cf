"""Pipelines as data: what KFP compiles of them, and every refusal with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_steps import FIT, IMAGE, MAKE, SIZE, TELL, TRAINER, circle, make

from mlinfra.admission.rules import Invalid
from mlinfra.course import steps
from mlinfra.manifest import Resources
from mlinfra.pipelines import Component, If, Pipeline, PipelineInput, Retry, Task, TaskOutput, argo

MADE = Task("make", MAKE, {"rows": 7})
DATA = TaskOutput("make", "data")
FITTED = Task("fit", FIT, {"data": DATA, "failures": 0})


def test_compiles_to_the_same_bytes_whatever_the_hash_seed() -> None:
    code = "from mlinfra.course import steps; from mlinfra.pipelines import argo; p = steps.pipeline(); "
    code += "print(p.compile(), argo.workflow(p.ir(), p.platform()), sep='')"
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
    course = steps.pipeline()
    assert texts == {f"{course.compile()}{argo.workflow(course.ir(), course.platform())}\n"}


def test_kfp_loads_back_what_it_compiled() -> None:
    from kfp.components import load_component_from_text

    text = steps.pipeline().compile()
    assert set(load_component_from_text(text).component_spec.inputs or {}) == {"count", "seed", "epochs"}
    with pytest.raises(KeyError, match="pipelineInfo"):
        load_component_from_text("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n")


def task_of(ir: dict[str, Any], name: str) -> dict[str, Any]:
    dags = [ir["root"]["dag"], *(spec["dag"] for spec in ir["components"].values() if "dag" in spec)]
    return next(dict(dag["tasks"][name]) for dag in dags if name in dag["tasks"])


def test_the_pieces_of_the_format() -> None:
    ir, platform = yaml.safe_load_all(steps.pipeline().compile())
    assert (ir["schemaVersion"], ir["pipelineInfo"]["name"]) == ("2.1.0", "bert-training")
    train = task_of(ir, "train")
    assert train["dependentTasks"] == ["prepare"]
    assert train["inputs"]["artifacts"]["training"]["taskOutputArtifact"] == {
        "outputArtifactKey": "training",
        "producerTask": "prepare",
    }
    assert train["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "86400s",
    }
    container = ir["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert container["image"] == steps.IMAGE
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["resources"]["resourceMemoryLimit"] == "16Gi"
    assert "pip install" not in str(container["command"]), "the image brings what the step needs"
    gate = task_of(ir, "condition-2")["triggerPolicy"]["condition"]
    assert gate == "inputs.parameter_values['pipelinechannel--evaluate-Output'] >= -0.01"
    assert ir["root"]["dag"]["tasks"]["report"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert ir["root"]["dag"]["tasks"]["report"]["cachingOptions"] == {}
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert settings == {"nodeSelector": {"labels": steps.GPU_NODES}, "tolerations": [steps.TOLERATION]}


def test_a_containers_names_reach_its_command() -> None:
    fitted = Task("fit", TRAINER, {"data": DATA, "epochs": PipelineInput("epochs")})
    ir = Pipeline("p", [MADE, fitted], {"epochs": 3}).ir()
    assert ir["deploymentSpec"]["executors"]["exec-fit"]["container"]["args"] == list(TRAINER.args)
    assert ir["components"]["comp-fit"]["outputDefinitions"]["parameters"]["rows"]["parameterType"] == "NUMBER_INTEGER"


def test_one_component_may_run_twice_under_two_names() -> None:
    ir = Pipeline("p", [MADE, Task("again", MAKE, {"rows": 8}, after=("make",))]).ir()
    assert task_of(ir, "again")["dependentTasks"] == ["make"]


def refused(make: Callable[[], object], why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        make()
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ([], "tasks: Required value: a pipeline has at least one task"),
        ([MADE, MADE], 'tasks[1].name: Duplicate value: "make"'),
        ([Task("Make It", MAKE, {"rows": 7})], 'tasks[0].name: Invalid value: "Make It"'),
        ([Task("", MAKE, {"rows": 7})], "tasks[0].name: Required value"),
        ([Task("make", MAKE, {"rows": 7}, after=("prep",))], "tasks[make].after: task 'prep' does not exist. Available: make"),
        ([Task("make", MAKE, {"rows": PipelineInput("rows")})], "parameter 'rows' does not exist. Available: none"),
        ([Task("make", MAKE, {"rows": TaskOutput("prep")})], "task 'prep' does not exist"),
        ([MADE, Task("fit", FIT, {"data": TaskOutput("make", "dat"), "failures": 0})], "output 'dat' does not exist. Available: data"),
        ([Task("make", MAKE, {"rows": 7}, after=("make",))], "make waits for make: a circle never starts"),
        ([Task("make", MAKE, {"rows": 7}, after=("fit",)), FITTED], "a circle never starts"),
        ([Task("make", MAKE)], "make() missing 1 required argument: rows"),
        ([Task("make", MAKE, {"rows": 7, "row": 8})], 'got an unexpected keyword argument "row"'),
        ([Task("make", MAKE, {"rows": "7"})], "Argument type 'STRING' is incompatible with the input type 'NUMBER_INTEGER'"),
        ([Task("make", MAKE, {"rows": 7.5})], "'NUMBER_DOUBLE' is incompatible with the input type 'NUMBER_INTEGER'"),
        ([MADE, Task("size", SIZE, {"model": DATA})], "'system.Dataset@0.0.1' is incompatible with the input type 'system.Model@0.0.1'"),
        ([MADE, Task("again", MAKE, {"rows": DATA})], "is incompatible with the input type 'NUMBER_INTEGER'"),
        ([MADE, Task("size", SIZE, {"model": "s3://models/bert"})], "'STRING' is incompatible with the input type 'system.Model"),
        ([MADE, Task("again", MAKE, {"rows": 1}, when=If(DATA, "==", 1))], "'data' is an artifact; only parameters compare"),
        (
            [MADE, FITTED, Task("gate", MAKE, {"rows": 1}, when=If(TaskOutput("fit"), ">", 0.5)), Task("on", MAKE, {"rows": 2}, after=("gate",))],
            "Found task on which depends on gate",
        ),
        ([Task("condition-1", MAKE, {"rows": 7})], "is a name that KFP gives to a group of tasks"),
        ([Task("exit-handler-1", MAKE, {"rows": 7})], "is a name that KFP gives to a group of tasks"),
        ([MADE, Task("make-driver", MAKE, {"rows": 7})], "is the name of the driver of another task"),
        ([Task("1a", MAKE, {"rows": 7})], "must begin with a letter"),
        ([Task("make", MAKE, {"rows": 7}, node_selector={"a b!": "x"})], "tasks[make].node_selector: Invalid value"),
        ([Task("make", MAKE, {"rows": 7}, resources=Resources(limits={"a.io/x": 1, "b.io/y": 1}))], "one kind of accelerator"),
        ([Task("make", MAKE, {"rows": 7}, tolerations=({"key": "a", "operator": "Sometimes"},))], "tasks[make].tolerations[0].operator: Unsupported value"),
    ],
)  # fmt: skip
def test_a_bad_graph_is_refused(tasks: Any, why: str) -> None:
    refused(lambda: Pipeline("p", tasks), why)


def test_kfp_itself_compiles_a_circle() -> None:
    """Why the refusal is ours: the SDK writes two tasks that wait for each other."""
    tasks = circle().pipeline_spec.root.dag.tasks
    assert {name: list(task.dependent_tasks) for name, task in tasks.items()} == {
        "make": ["make-2"],
        "make-2": ["make"],
    }


@pytest.mark.parametrize("name", ["P p", "", "-bert", "a" * 64, "bert_training"])
def test_a_bad_name_is_refused_where_kfp_would_change_it(name: str) -> None:
    refused(lambda: Pipeline(name, [MADE]), "name: ")


@pytest.mark.parametrize(
    ("on_exit", "why"),
    [
        (Task("fit", FIT, {"data": DATA, "failures": 0}), "the exit task cannot depend on any other task"),
        (Task("make", MAKE, {"rows": 1}), 'Duplicate value: "make"'),
        (Task("tell", TELL, when=If(PipelineInput("rows"), ">", 1)), "the exit task runs always"),
    ],
)
def test_a_bad_exit_task_is_refused(on_exit: Task, why: str) -> None:
    refused(lambda: Pipeline("p", [MADE], {"rows": 3}, on_exit=on_exit), why)


def unpinned() -> Component:
    return Component("registry.example.com/trainer:latest", make)


def dropped() -> Component:
    return Component("a:1", command=("train",), inputs={"epochs": int})


def unannotated() -> Component:
    return Component("a:1", lambda rows: rows)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (unpinned, "is not pinned: name a version or a digest"),
        (lambda: Component("registry.example.com:5000/trainer", make), "is not pinned: name a version or a digest"),
        (lambda: Component("", make), "base_image: Required value"),
        (lambda: Component(IMAGE), "function: must be given, or else a command"),
        (lambda: Component(IMAGE, make, command=("train",)), "one of the two"),
        (lambda: Component(IMAGE, make, inputs={"rows": int}), "its annotations name inputs and outputs"),
        (dropped, "inputs[epochs]: never reaches the command: no argument has {{$.inputs.parameters['epochs']}}"),
        (lambda: Component(IMAGE, command=("t",), outputs={"model": "Model"}), "{{$.outputs.artifacts['model'].path}}"),
        (
            lambda: Component(IMAGE, command=("t",), outputs={"rows": int}),
            "{{$.outputs.parameters['rows'].output_file}}",
        ),
        (lambda: Component(IMAGE, command=("t", "{{$.inputs.parameters['x']}}")), "no such parameter among the inputs"),
        (lambda: Component(IMAGE, command=("t",), inputs={"data": "Data"}), 'Unsupported value: "Data"'),
        (unannotated, "Missing type annotation for argument: rows"),
        (lambda: Retry(-1), "max_retry_count: Invalid value: -1: must be greater than or equal to 0"),
        (lambda: Retry(1, backoff_factor=0.5), "backoff_factor"),
        (lambda: If(PipelineInput("x"), "=", 1), 'operator: Unsupported value: "="'),
        (lambda: If(PipelineInput("x"), ">", float("nan")), "right: Invalid value: NaN: must be finite"),
        (lambda: If(PipelineInput("x"), "==", "it's"), "text without quotes"),
    ],
)
def test_a_bad_part_is_refused(make: Callable[[], object], why: str) -> None:
    refused(make, why)


def test_a_digest_is_a_version() -> None:
    assert Component("registry.example.com:5000/trainer@sha256:" + "0" * 64, make)


def test_resources_that_kfp_does_not_know_are_refused() -> None:
    disk = Resources({"ephemeral-storage": "1Gi"})
    refused(
        lambda: Pipeline("p", [Task("make", MAKE, {"rows": 7}, resources=disk)]),
        "ephemeral-storage: KFP has no such resource",
    )
    half = Resources({"memory": "0.5Gi"}, {"memory": "0.5Gi"})
    ir = Pipeline("p", [Task("make", MAKE, {"rows": 7}, resources=half)]).ir()
    assert ir["deploymentSpec"]["executors"]["exec-make"]["container"]["resources"]["resourceMemoryLimit"] == "512Mi"


@pytest.mark.parametrize(
    "parameters", [{"a b": 1}, {"class": 1}, {"n": float("nan")}, {"n": float("inf")}, {"n": [{1, 2}]}]
)
def test_a_bad_parameter_is_refused(parameters: Any) -> None:
    refused(lambda: Pipeline("p", [MADE], parameters), "parameters[")


def test_tolerations_and_counts_arrive_as_kfp_writes_them() -> None:
    seconds = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
    task = Task("make", MAKE, {"rows": 7}, tolerations=(seconds,), resources=Resources(limits={"nvidia.com/gpu": "1k"}))
    made = Pipeline("p", [task])
    executor = made.platform()["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-make"]
    assert executor["tolerations"][0]["tolerationSeconds"] == "60"
    container = made.ir()["deploymentSpec"]["executors"]["exec-make"]["container"]
    assert container["resources"]["accelerator"]["resourceCount"] == "1000"


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    """Up to seven tasks in any order; each waits for some of those before it in another order."""
    names = draw(st.permutations([f"t{i}" for i in range(draw(st.integers(1, 7)))]))
    tasks = [
        Task(name, MAKE, {"rows": i}, after=tuple(draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else ()))
        for i, name in enumerate(names)
    ]
    return draw(st.permutations(tasks))


@settings(max_examples=40)
@given(graphs())
def test_what_waits_for_what_survives_the_compilation(tasks: list[Task]) -> None:
    pipeline = Pipeline("p", tasks)
    compiled = pipeline.ir()["root"]["dag"]["tasks"]
    assert {name: set(task.get("dependentTasks", [])) for name, task in compiled.items()} == {
        task.name: set(task.after) for task in tasks
    }
    order = [task.name for task in pipeline.in_order()]
    assert all(order.index(before) < order.index(task.name) for task in tasks for before in task.after)
