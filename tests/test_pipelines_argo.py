"""Argo Workflows: what the backend makes of an IR, and what is wrong with the source notebook's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pipeline_steps import COURSE, COURSE_WORKFLOW, TOLERATION, chain, loop, source_workflow

from mlinfra.admission import validate
from mlinfra.admission.argo import pitfalls
from mlinfra.admission.rules import Invalid
from mlinfra.pipelines import KubeflowPipeline, argo


def templates(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {template["name"]: template for template in obj["spec"]["templates"]}


def test_every_task_is_a_driver_and_an_executor() -> None:
    tasks = {task["name"]: task for task in templates(COURSE_WORKFLOW)["comp-exit-handler-1"]["dag"]["tasks"]}
    assert tasks["train-driver"]["depends"] == "prepare.Succeeded"
    assert tasks["train-driver"]["template"] == "system-container-driver"
    assert tasks["train"]["depends"] == "train-driver.Succeeded"
    assert tasks["train"]["template"] == "retry-system-container-executor"
    assert tasks["prepare"]["template"] == "system-container-executor"
    assert "depends" not in tasks["prepare-driver"]
    assert tasks["condition-2-driver"]["depends"] == "evaluate.Succeeded && train.Succeeded"
    assert tasks["condition-2"]["when"] == "{{tasks.condition-2-driver.outputs.parameters.condition}} != false"
    given = {each["name"]: each["value"] for each in tasks["train"]["arguments"]["parameters"]}
    assert [given[name] for name in argo.RETRIES] == ["2", "60", "2", "86400"]


def test_the_exit_task_hangs_on_what_it_watches() -> None:
    (watched,) = (task for task in templates(COURSE_WORKFLOW)["root"]["dag"]["tasks"] if "hooks" in task)
    assert (watched["name"], watched["hooks"]["exit"]["template"]) == ("exit-handler-1", "exit-hook-root-report")
    assert [task["name"] for task in templates(COURSE_WORKFLOW)["exit-hook-root-report"]["dag"]["tasks"]] == [
        "report-driver",
        "report",
    ]
    assert "depends" not in templates(COURSE_WORKFLOW)["exit-hook-root-report"]["dag"]["tasks"][0]


def test_the_run_as_a_tree() -> None:
    rows = argo.nested(COURSE_WORKFLOW)
    pods = [name for _, kind, name in rows if kind in ("driver", "executor")]
    assert sorted(pods) == sorted(argo.pods(COURSE_WORKFLOW))
    assert rows[:3] == [(0, "Workflow", "bert-training-"), (1, "driver", "root-driver"), (1, "DAG", "root")]
    assert (3, "DAG", "condition-2") in rows
    assert rows[-3:] == [
        (2, "hook", "exit-hook-root-report"),
        (3, "driver", "report-driver"),
        (3, "executor", "report"),
    ]


def test_a_loop_is_not_translated() -> None:
    with pytest.raises(Invalid, match=r"tasks\[for-loop-2\]: is a loop, which this translation leaves out"):
        argo.workflow(KubeflowPipeline.compiled(loop).ir)


def test_pods_of_a_run() -> None:
    assert len(argo.pods(COURSE_WORKFLOW)) == 2 * 5 + 3
    assert argo.pods(argo.workflow(KubeflowPipeline.compiled(chain).ir)) == [
        "root-driver",
        "fit-driver",
        "fit",
        "make-driver",
        "make",
    ]


def test_what_the_drivers_are_told_is_there() -> None:
    """Every parameter that a template mentions is among its inputs, or an argument of the workflow."""
    arguments = {each["name"] for each in COURSE_WORKFLOW["spec"]["arguments"]["parameters"]}
    for template in COURSE_WORKFLOW["spec"]["templates"]:
        inputs = {each["name"] for each in template.get("inputs", {}).get("parameters", [])}
        for piece in json.dumps(template).split("{{")[1:]:
            kind, _, name = piece.partition("}}")[0].partition(".parameters.")
            assert kind not in ("inputs", "workflow") or name in (inputs if kind == "inputs" else arguments), piece[:60]
    called = templates(COURSE_WORKFLOW)
    for template in called.values():
        for task in template.get("dag", {}).get("tasks", []):
            known = {each["name"] for each in called[task["template"]].get("inputs", {}).get("parameters", [])}
            optional = {each["name"] for each in called[task["template"]]["inputs"]["parameters"] if "default" in each}
            given = {each["name"] for each in task["arguments"]["parameters"]}
            assert known - optional <= given <= known | {"condition"}, task["name"]


def test_the_backends_workflow_is_accepted() -> None:
    assert validate(COURSE_WORKFLOW) == []
    assert validate(argo.workflow(KubeflowPipeline.compiled(chain).ir)) == []


def test_what_argo_accepts_of_the_source_notebook_and_does_not_do() -> None:
    notebook = source_workflow()
    assert validate(notebook) == [], "the schema and the lint take it; it is a Workflow, if not a pipeline of KFP"
    said = [str(problem) for problem in pitfalls(notebook)]
    for why in (
        'metadata.name: Invalid value: "bert-training-pipeline": a second run finds it taken',
        "spec.serviceAccountName: not given",
        "spec.ttlStrategy: not given",
        "waits for data-preprocessing and gets nothing from it: two pods share no files",
        "ml-images/trainer:latest",
        "spec.templates[2].tolerations: not given: nvidia.com/gpu nodes are usually tainted",
        "spec.templates[2].retryStrategy: not given",
        "spec.templates[2].container.resources.limits.cpu: not given",
    ):
        assert any(why in line for line in said), why


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    obj = branch = deepcopy(source_workflow())
    for step in path[:-1]:
        branch = branch[step]
    branch[path[-1]] = value
    return obj


MAIN = ("spec", "templates", 0, "dag", "tasks")


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ((*MAIN, 1, "dependencies"), ["preprocessing"], "spec.templates[0].dag.tasks.model-training: dependency 'preprocessing' not defined"),
        ((*MAIN, 1, "dependencies"), ["model-training"], "dependency cycle detected: model-training->model-training"),
        ((*MAIN, 0, "dependencies"), ["model-deployment"], "dependency cycle detected"),
        ((*MAIN, 1, "name"), "data-preprocessing", "spec.templates[0].dag.tasks[1].name: 'data-preprocessing' is not unique"),
        ((*MAIN, 1, "name"), "model training", "name must consist of alpha-numeric characters"),
        ((*MAIN, 1, "template"), "train", "template name 'train' undefined"),
        ((*MAIN, 0, "depends"), "model-deployment.Succeeded && x", "dependency 'x' not defined"),
        ((*MAIN, 0, "depends"), "model-deployment", "cannot use both 'depends' and 'dependencies'"),
        ((*MAIN, 0, "name"), "1a", "name cannot begin with a digit"),
        (("spec", "templates", 1, "retryStrategy"), {"retryPolicy": "Sometimes"}, 'Unsupported value: "Sometimes"'),
        (MAIN, [], "must have at least one task"),
        (("spec", "entrypoint"), "all", "template name 'all' undefined"),
        (("spec", "entrypoint"), "", "spec.entrypoint: Required value"),
        (("spec", "templates", 2, "name"), "data-preprocessing", "spec.templates[2].name: 'data-preprocessing' is not unique"),
        (("metadata", "name"), "P p", "metadata.name: Invalid value"),
        ((*MAIN, 1, "dependecies"), ["x"], 'unknown field "spec.templates[0].dag.tasks[1].dependecies"'),
        (("spec", "templates", 1, "container", "imagee"), "x", 'unknown field "spec.templates[1].container.imagee"'),
        (MAIN, "all", "spec.templates[0].dag.tasks in body must be of type array"),
        (("spec", "templates", 1, "container", "env"), {"a": 1}, "spec.templates[1].container.env"),
        (("kind",), "Pipeline", "not checked here: Pipeline in argoproj.io/v1alpha1"),
    ],
)  # fmt: skip
def test_what_argo_refuses(path: tuple[Any, ...], value: Any, why: str) -> None:
    assert any(why in str(problem) for problem in validate(changed(path, value))), validate(changed(path, value))


def test_what_refers_elsewhere_is_not_missed() -> None:
    by_name = changed((*MAIN, 3, "template"), "{{workflow.parameters.which}}")
    by_name["spec"]["arguments"] = {"parameters": [{"name": "which"}]}
    assert validate(by_name) == []
    other = changed(("spec", "workflowTemplateRef"), {"name": "shared"})
    assert "Templates is invalid field in spec" in str(validate(other)[0])
    del other["spec"]["entrypoint"], other["spec"]["templates"]
    assert validate(other) == []


def lines(text: str) -> list[str]:
    """The verdict on a Workflow whose templates are given as YAML."""
    spec = {"entrypoint": "main", "templates": yaml.safe_load(dedent(text))}
    return [problem.message for problem in validate(head("argoproj.io/v1alpha1") | {"spec": spec})]


def head(version: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": "Workflow", "metadata": {"generateName": "a-"}}


ECHO = """
  - name: echo
    inputs: {parameters: [{name: message}]}
    outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}
    container: {image: "alpine:3.20", command: [echo, "{{inputs.parameters.message}}"]}
"""
WITH_A = "{name: %s, template: echo, arguments: {parameters: [{name: message, value: '%s'}]}%s}"


def dag(*tasks: str, more: str = "") -> str:
    return f"  - name: main{more}\n    dag: {{tasks: [{', '.join(tasks)}]}}{ECHO}"


def in_steps(*steps: str) -> str:
    return f"  - name: main\n    steps: [{', '.join(f'[{step}]' for step in steps)}]{ECHO}"


def task(name: str, message: str = "hi", more: str = "") -> str:
    return WITH_A % (name, message, f", {more}" if more else "")


LINT: dict[str, tuple[str, str]] = {
    "an input of a task": (
        dag("{name: a, template: echo}"),
        "templates.main.tasks.a inputs.parameters.message was not supplied",
    ),
    "an input of a step": (
        in_steps("{name: a, template: echo}"),
        "templates.main.steps[0].a inputs.parameters.message was not supplied",
    ),
    "an argument without value": (
        dag("{name: a, template: echo, arguments: {parameters: [{name: message}]}}"),
        "templates.main.tasks.a.arguments.message.value or templates.main.tasks.a.arguments.message.valueFrom is",
    ),
    "a step of no template": (
        in_steps("{name: a, template: ech}"),
        "templates.main.steps[0].a template name 'ech' undefined",
    ),
    "a task of no template": (dag("{name: a, template: ech}"), "templates.main.tasks.a template name 'ech' undefined"),
    "a step without a name": (in_steps("{template: echo}"), "templates.main.steps[0].name is required"),
    "two steps of a name": (in_steps(task("a"), task("a")), "templates.main.steps[1].name 'a' is not unique"),
    "a step's odd name": (in_steps(task("a_b")), "templates.main.steps[0].name 'a_b' is invalid"),
    "an input that is none": (
        dag(task("a", "{{inputs.parameters.who}}")),
        "templates.main.tasks.a failed to resolve {{inputs.parameters.who}}",
    ),
    "a task that is none": (
        dag(task("a", "{{tasks.b.outputs.result}}")),
        "templates.main.tasks.a failed to resolve {{tasks.b.outputs.result}}",
    ),
    "an output that is none": (
        dag(task("a"), task("b", "{{tasks.a.outputs.parameters.sung}}", "dependencies: [a]")),
        "templates.main.tasks.b failed to resolve {{tasks.a.outputs.parameters.sung}}",
    ),
    "a task that nobody waits for": (
        dag(task("a"), task("b", "{{tasks.a.outputs.parameters.said}}")),
        "templates.main.tasks.b missing dependency 'a' for parameter 'message'",
    ),
    "a later step": (
        in_steps(task("a", "{{steps.b.outputs.result}}"), task("b")),
        "templates.main.steps failed to resolve {{steps.b.outputs.result}}",
    ),
    "an argument of the workflow": (
        dag(task("a", "{{workflow.parameters.who}}")),
        "templates.main.tasks.a failed to resolve {{workflow.parameters.who}}",
    ),
    "a placeholder of a leaf": (
        dag(task("a")).replace("{{inputs.parameters.message}}", "{{inputs.parameters.massage}}"),
        "templates.echo: failed to resolve {{inputs.parameters.massage}}",
    ),
    "a key of an item": (
        dag(task("a", "{{item.b}}", "withItems: [{a: 1}]")),
        "templates.main.tasks.a failed to resolve {{item.b}}",
    ),
    "two loops": (
        dag(task("a", "{{item}}", "withItems: [1], withParam: '[2]'")),
        "templates.main.tasks.a only one of withItems, withParam, withSequence can be specified",
    ),
    "count and end": (
        dag(task("a", "{{item}}", "withSequence: {count: 1, end: 2}")),
        "templates.main.tasks.a only one of count or end can be defined in withSequence",
    ),
    "no type": ("  - {name: main}", "templates.main template type unspecified. choose one of: container"),
    "two types": (
        "  - {name: main, suspend: {}, container: {image: a}}",
        "templates.main multiple template types specified",
    ),
    "a result": (
        dag(task("a"), task("b", "hi", "depends: a.Succeded")),
        "templates.main.tasks.b task result 'Succeded' for task 'a' is invalid",
    ),
    "a result of a loop": (
        dag(task("a"), task("b", "hi", "depends: a.AnySucceeded")),
        "dependency 'a' uses an items-based condition such as .AnySucceeded or .AllFailed",
    ),
    "going on": (
        dag(task("a", more="continueOn: {failed: true}"), task("b", "hi", "depends: a")),
        "templates.main cannot use 'continueOn' when using 'depends'",
    ),
    "a target": (
        dag(task("a")).replace("dag: {", "dag: {target: b, "),
        "templates.main.targets: target 'b' is not defined",
    ),
    "a deadline": (
        dag(task("a"), more="\n    activeDeadlineSeconds: 5"),
        "templates.main.activeDeadlineSeconds is only valid for leaf templates",
    ),
    "a hook": (
        in_steps(task("a", more="hooks: {slow: {template: echo}}")),
        "templates.main.steps[0].a.slow Expression required",
    ),
    "an output of a DAG": (
        dag(task("a"), more="\n    outputs: {parameters: [{name: x, valueFrom: {path: /x}}]}"),
        "templates.main.outputs.parameters.x.parameter or expression must be specified for DAG templates",
    ),
    "an output of nothing": (
        dag(
            task("a"),
            more="\n    outputs: {parameters: [{name: x, valueFrom: {parameter: '{{tasks.b.outputs.result}}'}}]}",
        ),
        "templates.main.outputs failed to resolve {{tasks.b.outputs.result}}",
    ),
    "a file without a place": (
        dag(task("a")).replace("outputs: {", "outputs: {artifacts: [{name: f}], "),
        "error in templates.echo.outputs.artifacts.f: Artifact 'f' did not specify a path",
    ),
    "a file": (
        dag("{name: a, template: read}") + "  - {name: read, inputs: {artifacts: [{name: f, path: /f}]}, suspend: {}}",
        "templates.main.tasks.a inputs.artifacts.f was not supplied",
    ),
    "a number for a time": (
        "  - {name: main, timeout: '30', container: {image: a}}",
        "main has invalid duration format in timeout",
    ),
    "a time for a DAG": (dag(task("a"), more="\n    timeout: 5m"), "DAG template doesn't support timeout field"),
    "an object of nothing": (
        "  - {name: main, resource: {action: create}}",
        "either templates.main.resource.manifest or templates.main.resource.manifestFrom must be specified",
    ),
    "files of no container": (
        "  - {name: main, containerSet: {containers: [{name: a}]}, inputs: {artifacts: [{name: f, path: /f, raw: {data: x}}]}}",
        'templates.main.containerSet.containers must have a container named "main" for input or output',
    ),
    "an input's odd name": (
        dag(task("a")).replace("{name: message}]", "{name: message}, {name: a b}]"),
        "templates.echo.inputs.parameters[1].name: 'a b' is invalid: Parameter/Artifact name must consist of",
    ),
}


@pytest.mark.parametrize(("text", "why"), LINT.values(), ids=LINT)
def test_what_argos_lint_says_of_templates(text: str, why: str) -> None:
    """`workflow/validate/validate.go` of Argo Workflows 4.1."""
    assert any(why in line for line in lines(text)), lines(text)


SOUND: dict[str, str] = {
    "what waits": dag(task("a"), task("b", "{{tasks.a.outputs.parameters.said}} {{tasks.a.status}}", "depends: a")),
    "what waits for what waits": dag(
        task("a"),
        task("b", "hi", "dependencies: [a]"),
        task("c", "{{tasks.a.outputs.result}}", "dependencies: [b]"),
    ),
    "steps": in_steps(task("a"), task("b", "{{steps.a.outputs.parameters.said}} {{steps.a.status}}")),
    "a loop": dag(task("a", "{{item}}", "withItems: [1, b]"), task("b", "{{tasks.a.outputs.parameters}}", "depends: a.AnySucceeded")),
    "a loop of maps": dag(task("a", "{{item.x}}", "withItems: [{x: 1}]")),
    "a loop by a parameter": dag(task("a", "{{item.any}}", "withParam: '[]'")),
    "a sequence": dag(task("a", "{{item}}", "withSequence: {count: 3}")),
    "names of the run": dag(task("a", "{{workflow.name}} {{ workflow.uid }} {{workflow.creationTimestamp.Y}}")),
    "an expression": dag(task("a", "{{=inputs.parameters.none}}")),
    "other braces": dag(task("a", "{{user.name}} {{")),
    "a default": dag("{name: a, template: echo}").replace("[{name: message}]", "[{name: message, default: hi}]"),
    "another's template": dag(
        "{name: a, templateRef: {name: t, template: x}}", task("b", "{{tasks.a.outputs.parameters.y}}", "depends: a")
    ),
    "a pod": dag(task("a")).replace("{{inputs.parameters.message}}", "{{pod.name}} {{outputs.parameters.said.path}}"),
    "an inline template": dag("{name: a, inline: {container: {image: a}}}"),
    "a condition": dag(task("a"), task("b", "hi", "depends: '!a.Failed && a.Succeeded', when: '{{tasks.a.exitCode}} == 0'")),
}  # fmt: skip


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_what_argos_lint_accepts_of_templates(text: str) -> None:
    assert lines(text) == []


def test_the_name_of_a_workflow_is_the_value_of_a_label() -> None:
    (problem,) = validate(changed(("metadata", "name"), "a" * 64))
    assert problem.message.endswith("must not be more than 63 characters long (currently 64)")


def test_an_image_may_come_from_the_defaults_and_an_input_may_not() -> None:
    """The lint reads `templateDefaults` for images alone; `mergedTemplateDefaultsInto` is the controller's."""
    templates = [{"name": "main", "container": {"args": ["{{inputs.parameters.who}}"]}}]
    defaults = {"inputs": {"parameters": [{"name": "who", "value": "me"}]}, "container": {"image": "a:1"}}
    spec = {"entrypoint": "main", "templates": templates, "templateDefaults": defaults}
    obj = head("argoproj.io/v1alpha1") | {"spec": spec}
    assert [problem.message for problem in validate(obj)] == [
        "templates.main: failed to resolve {{inputs.parameters.who}}"
    ]
    del spec["templateDefaults"]
    assert "templates.main.container.image may not be empty" in [problem.message for problem in validate(obj)]


def test_the_entrypoints_inputs_are_arguments_of_the_workflow() -> None:
    obj = head("argoproj.io/v1alpha1") | {"spec": {"entrypoint": "echo", "templates": yaml.safe_load(dedent(ECHO))}}
    (problem,) = validate(obj)
    assert problem.message == "templates.echo inputs.parameters.message was not supplied"
    for value, whys in (("hi", 0), ("ho", 1)):
        parameter = {"name": "message", "value": value, "enum": ["hi"]}
        obj["spec"]["arguments"] = {"parameters": [parameter]}
        assert len(validate(obj)) == whys
    obj["spec"] |= {"arguments": {"parameters": [{"name": "message", "value": "hi"}]}, "onExit": "bye"}
    assert "template name 'bye' undefined" in validate(obj)[0].message
    obj["spec"] |= {"onExit": "echo", "hooks": {"running": {"template": "echo"}}}
    assert [problem.message for problem in validate(obj)] == ["hooks.running Expression required"]


def test_pitfalls_are_for_what_is_accepted() -> None:
    with pytest.raises(Invalid, match="template name 'all' undefined"):
        pitfalls(changed(("spec", "entrypoint"), "all"))


def test_a_clean_workflow_has_none() -> None:
    clean = source_workflow()
    clean["metadata"] = {"generateName": "bert-"}
    clean["spec"] |= {"serviceAccountName": "pipeline-runner", "ttlStrategy": {"secondsAfterCompletion": 600}}
    for task in clean["spec"]["templates"][0]["dag"]["tasks"][1:]:
        (before,) = task.pop("dependencies")
        passed = {"name": "data", "from": f"{{{{tasks.{before}.outputs.artifacts.data}}}}"}
        task |= {"depends": f"{before}.Succeeded", "arguments": {"artifacts": [passed]}}
    for template in clean["spec"]["templates"][1:]:
        container = template["container"]
        container["image"] = "registry.example.com/step@sha256:" + "0" * 64
        container["resources"]["limits"] = container["resources"]["requests"] | {"nvidia.com/gpu": 1}
        container["resources"]["requests"] = dict(container["resources"]["limits"])
        template |= {"retryStrategy": {"limit": 2}, "tolerations": [TOLERATION]}
        template["outputs"] = {"artifacts": [{"name": "data", "path": "/tmp/data"}]}
    assert validate(clean) == pitfalls(clean) == []
    for template in clean["spec"]["templates"][1:]:
        del template["tolerations"]
    assert {problem.path.rpartition(".")[2] for problem in pitfalls(clean)} == {"tolerations"}
    for task in clean["spec"]["templates"][0]["dag"]["tasks"]:
        task.pop("arguments", None)
    assert any("gets nothing" in problem.message for problem in pitfalls(clean))
    clean["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]
    assert not any("gets nothing" in problem.message for problem in pitfalls(clean)), "a volume may carry it"


def test_the_backends_pieces() -> None:
    """What the drivers, the executors and the launcher need to do their work (argocompiler/container.go)."""
    known, ir, spec = templates(COURSE_WORKFLOW), COURSE.ir, COURSE_WORKFLOW["spec"]
    assert (spec["entrypoint"], spec["serviceAccountName"]) == ("entrypoint", "pipeline-runner")
    arguments = {each["name"]: json.loads(each["value"]) for each in spec["arguments"]["parameters"]}
    assert arguments["implementations-comp-train"] == ir["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert arguments["components-root"] == ir["root"]
    assert arguments["kubernetes-comp-train"]["tolerations"] == [TOLERATION]
    driver = next(task for task in known["comp-exit-handler-1"]["dag"]["tasks"] if task["name"] == "train-driver")
    given = {each["name"]: each["value"] for each in driver["arguments"]["parameters"]}
    assert given["kubernetes-config"] == "{{workflow.parameters.kubernetes-comp-train}}"
    assert given["container"] == "{{workflow.parameters.implementations-comp-train}}"
    assert json.loads(given["task"]) == ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]["train"]
    for prefix in ("", "retry-"):
        (inner,) = known[f"{prefix}system-container-executor"]["dag"]["tasks"]
        assert inner["when"] == "{{inputs.parameters.cached-decision}} != true"
        pod = known[f"{prefix}system-container-impl"]
        assert pod["podSpecPatch"] == "{{inputs.parameters.pod-spec-patch}}"
        assert pod["initContainers"][0]["image"] == argo.LAUNCHER
    backoff = {name: f"{{{{inputs.parameters.retry-backoff-{name}}}}}" for name in ("duration", "factor")}
    backoff["maxDuration"] = "{{inputs.parameters.retry-backoff-max-duration}}"
    strategy = {"limit": "{{inputs.parameters.retry-max-count}}", "backoff": backoff}
    assert known["retry-system-container-impl"]["retryStrategy"] == strategy
    assert "retryStrategy" not in known["system-container-impl"]
    root, body = known["entrypoint"]["dag"]["tasks"]
    runtime = next(each for each in root["arguments"]["parameters"] if each["name"] == "runtime-config")
    assert json.loads(runtime["value"]) == {"parameterValues": {"epochs": 60}}
    assert body["depends"] == "root-driver.Succeeded"


# ------------------------------------------------------------------------------------------------------------- damage


ODD: list[Any] = [None, True, 0, -1, 10**400, 0.5, math.nan, math.inf, "", "5", "é", "\ud800", [], [None], {}, {"a": 1}]
ENTRY = {"name": "main", "dag": {"tasks": [{"name": "a", "template": "s"}]}}
TRAIN_STEP = {"name": "s", "container": {"image": "a:1", "resources": {"limits": {"nvidia.com/gpu": "1"}}}}
SMALL = COURSE_WORKFLOW | {"spec": {"entrypoint": "main", "templates": [ENTRY, TRAIN_STEP]}}


def damaged(value: Any) -> Iterator[Any]:
    """The document with each odd thing in each place."""
    yield from ODD
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        for broken in damaged(child):
            yield {**value, key: broken} if isinstance(value, dict) else [*value[:key], broken, *value[key + 1 :]]


@settings(max_examples=80, derandomize=True)
@given(st.sampled_from([*damaged(SMALL)]))
@example(SMALL | {"spec": {"entrypoint": "s", "templates": [ENTRY, TRAIN_STEP]}})
def test_a_damaged_workflow_is_refused_or_has_pods(document: Any) -> None:
    with suppress(Invalid):
        pitfalls(document)
    if not validate(document):
        argo.pods(document)
