"""Argo Workflows: what KFP's backend makes of a pipeline, and the pods that a Workflow has.

Follows kubeflow/pipelines 2.17 (`backend/src/v2/compiler/argocompiler/{argo,dag,container}.go`): two pods a task.
Left out: proxies, scratch volumes, security contexts, loops and importers, the hashes in names of arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlinfra.admission import validate
from mlinfra.admission.nouns.pipelines import dags, without_loops
from mlinfra.admission.rules import refuse
from mlinfra.manifest import Manifest

API_VERSION = "argoproj.io/v1alpha1"
DRIVER, LAUNCHER = "ghcr.io/kubeflow/kfp-driver:2.17.0", "ghcr.io/kubeflow/kfp-launcher:2.17.0"
PLACEHOLDER_IMAGE = "gcr.io/ml-pipeline/should-be-overridden-during-runtime"
V2 = {"pipelines.kubeflow.org/v2_component": "true"}
EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"

# ------------------------------------------------------------------------------------- what the backend compiles


def workflow(ir: Manifest, platform: Manifest | None = None, arguments: Mapping[str, Any] | None = None) -> Manifest:
    """The Workflow that the backend submits for an IR: a driver and an executor for every task."""
    for each in dags(ir).values():
        refuse("pipeline", without_loops(each["tasks"]))
    name = ir["pipelineInfo"]["name"]
    spec = {
        "entrypoint": "entrypoint",
        "serviceAccountName": "pipeline-runner",
        "podMetadata": {"annotations": V2, "labels": V2},
        "arguments": {"parameters": _specifications(ir, platform or {})},
        "templates": [
            *_machinery(ir, name),
            *(template for dag in dags(ir) for template in _dag(dag, ir, platform or {})),
            _entrypoint(arguments or {}),
        ],
    }
    return {"apiVersion": API_VERSION, "kind": "Workflow", "metadata": {"generateName": f"{name}-"}, "spec": spec}


def _specifications(ir: Manifest, platform: Manifest) -> list[Manifest]:
    """Components, containers and platform settings as JSON; the drivers get them as arguments."""
    executors = ir["deploymentSpec"]["executors"]
    values = {f"components-{name}": spec for name, spec in {**ir["components"], "root": ir["root"]}.items()}
    labels = {name: spec["executorLabel"] for name, spec in ir["components"].items() if "executorLabel" in spec}
    values |= {f"implementations-{name}": executors[label]["container"] for name, label in labels.items()}
    settings = _kubernetes(platform)
    values |= {f"kubernetes-{name}": settings[label] for name, label in labels.items() if label in settings}
    return [{"name": name, "value": _json(value)} for name, value in values.items()]


def _kubernetes(platform: Manifest) -> Manifest:
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    return dict(kubernetes.get("deploymentSpec", {}).get("executors", {}))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _parameters(values: Mapping[str, str]) -> Manifest:
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]}


def _dag(name: str, ir: Manifest, platform: Manifest) -> Iterator[Manifest]:
    """The template of a DAG, and before it those of the exit tasks, which hang on what they watch as hooks."""
    tasks = (ir["root"] if name == "root" else ir["components"][name])["dag"]["tasks"]
    exits = {task: spec for task, spec in sorted(tasks.items()) if _is_exit(spec)}
    hooks = {watched: f"exit-hook-{name}-{task}" for task, spec in exits.items() for watched in spec["dependentTasks"]}
    inputs = {"parameters": [{"name": "parent-dag-id"}]}
    for task, spec in exits.items():
        yield {"name": f"exit-hook-{name}-{task}", "inputs": inputs, "dag": {"tasks": _task(task, spec, ir, platform)}}
    body = [
        each
        for task, spec in sorted(tasks.items())
        if task not in exits
        for each in _task(task, spec, ir, platform, hooks.get(task))
    ]
    yield {"name": name, "inputs": inputs, "dag": {"tasks": body}}


def _is_exit(task: Manifest) -> bool:
    return bool(task.get("triggerPolicy", {}).get("strategy") == EXIT)


def _task(name: str, task: Manifest, ir: Manifest, platform: Manifest, hook: str | None = None) -> list[Manifest]:
    """Driver and executor of a task; of a task that is a DAG, the driver and the DAG."""
    component = task["componentRef"]["name"]
    is_dag = "dag" in ir["components"][component]
    inputs = {"component": f"{{{{workflow.parameters.components-{component}}}}}", "task": _json(task)}
    inputs |= {"parent-dag-id": "{{inputs.parameters.parent-dag-id}}"}
    if not is_dag:
        inputs["container"] = f"{{{{workflow.parameters.implementations-{component}}}}}"
        if ir["components"][component]["executorLabel"] in _kubernetes(platform):
            inputs["kubernetes-config"] = f"{{{{workflow.parameters.kubernetes-{component}}}}}"
    template = "system-dag-driver" if is_dag else "system-container-driver"
    driver: Manifest = {"name": f"{name}-driver", "template": template, "arguments": _parameters(inputs)}
    if task.get("dependentTasks") and not _is_exit(task):
        driver["depends"] = " && ".join(f"{other}.Succeeded" for other in sorted(task["dependentTasks"]))
    return [driver, _executed(name, task, component if is_dag else None, hook)]


def _executed(name: str, task: Manifest, dag: str | None, hook: str | None) -> Manifest:
    retried = "retry-" if "retryPolicy" in task else ""
    if dag:
        outputs = {"parent-dag-id": "execution-id", "condition": "condition"}
    else:
        outputs = {"pod-spec-patch": "pod-spec-patch", "cached-decision": "cached-decision"}
    from_driver = {argument: _driver_output(name, output) for argument, output in outputs.items()}
    executed: Manifest = {
        "name": name,
        "template": dag or f"{retried}system-container-executor",
        "arguments": _parameters(from_driver | ({} if dag else _retries(task))),
        "depends": f"{name}-driver.Succeeded",
    }
    if task.get("triggerPolicy", {}).get("condition"):
        executed["when"] = f"{_driver_output(name, 'condition')} != false"
    if hook:
        argument = _parameters({"parent-dag-id": "{{inputs.parameters.parent-dag-id}}"})
        executed["hooks"] = {"exit": {"template": hook, "arguments": argument}}
    return executed


def _driver_output(task: str, output: str) -> str:
    return f"{{{{tasks.{task}-driver.outputs.parameters.{output}}}}}"


RETRIES = {
    "retry-max-count": "maxRetryCount",
    "retry-backoff-duration": "backoffDuration",
    "retry-backoff-factor": "backoffFactor",
    "retry-backoff-max-duration": "backoffMaxDuration",
}


def _retries(task: Manifest) -> dict[str, str]:
    """The retry policy as Argo takes it: seconds without a unit."""
    policy = task.get("retryPolicy")
    return {name: _plain(policy.get(key, 0)) for name, key in RETRIES.items()} if policy else {}


def _plain(value: Any) -> str:
    return value.removesuffix("s") if isinstance(value, str) else f"{value:g}"


def _entrypoint(arguments: Mapping[str, Any]) -> Manifest:
    runtime = _json({"parameterValues": dict(arguments)})
    inputs = {
        "component": "{{workflow.parameters.components-root}}",
        "runtime-config": runtime,
        "driver-type": "ROOT_DAG",
    }
    tasks = [
        {"name": "root-driver", "template": "system-dag-driver", "arguments": _parameters(inputs)},
        {
            "name": "root",
            "template": "root",
            "depends": "root-driver.Succeeded",
            "arguments": _parameters(
                {"parent-dag-id": "{{tasks.root-driver.outputs.parameters.execution-id}}", "condition": ""}
            ),
        },
    ]
    return {"name": "entrypoint", "dag": {"tasks": tasks}}


def _machinery(ir: Manifest, pipeline: str) -> list[Manifest]:
    """The templates that every pipeline has; those for retries only where a task asks for some."""
    retried = any("retryPolicy" in task for dag in dags(ir).values() for task in dag["tasks"].values())
    container = {"pod-spec-patch": "", "cached-decision": "false", "condition": "true"}
    return [
        _driver("container", pipeline, ["component", "task", "container"], {"kubernetes-config": ""}, container),
        _driver(
            "dag",
            pipeline,
            ["component"],
            {"runtime-config": "", "task": ""},
            {"execution-id": None, "condition": "true"},
        ),
        *_executor("", []),
        *(_executor("retry-", list(RETRIES)) if retried else []),
    ]


def _driver(
    kind: str, pipeline: str, needed: list[str], optional: Mapping[str, str], outputs: Mapping[str, str | None]
) -> Manifest:
    """Looks up inputs, condition and cache in the metadata store, and says what the executor's pod is to be."""
    defaults = {**optional, "parent-dag-id": "0", "iteration-index": "-1"}
    defaults |= {"driver-type": "DAG"} if kind == "dag" else {}
    inputs = [*needed, *defaults]
    args = ["--type", "{{inputs.parameters.driver-type}}" if kind == "dag" else "CONTAINER"]
    args += ["--pipeline_name", pipeline, "--run_id", "{{workflow.uid}}", "--run_name", "{{workflow.name}}"]
    flags = {name: name.replace("-", "_") for name in inputs if name != "driver-type"} | {
        "parent-dag-id": "dag_execution_id"
    }
    for name, flag in flags.items():
        args += [f"--{flag}", f"{{{{inputs.parameters.{name}}}}}"]
    for name in outputs:
        args += [f"--{name.replace('-', '_')}_path", f"{{{{outputs.parameters.{name}.path}}}}"]
    paths = [
        {
            "name": name,
            "valueFrom": {"path": f"/tmp/outputs/{name}"} | ({} if default is None else {"default": default}),
        }
        for name, default in outputs.items()
    ]
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    return {
        "name": f"system-{kind}-driver",
        "inputs": {
            "parameters": [*({"name": n} for n in needed), *({"name": n, "default": d} for n, d in defaults.items())]
        },
        "outputs": {"parameters": paths},
        "container": {"image": DRIVER, "command": ["driver"], "args": args, "resources": resources},
    }


def _executor(prefix: str, retries: list[str]) -> list[Manifest]:
    """A DAG of one task, left out when the driver found the result in the cache; and its pod."""
    patch, inner = ["pod-spec-patch", *retries], f"{prefix}system-container-impl"
    task = {
        "name": "executor",
        "template": inner,
        "arguments": _parameters({name: f"{{{{inputs.parameters.{name}}}}}" for name in patch}),
    }
    mount = {"volumeMounts": [{"name": "kfp-launcher", "mountPath": "/kfp-launcher"}]}
    limits = {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
    launcher = {
        "name": "kfp-launcher",
        "image": LAUNCHER,
        "args": ["--copy", "/kfp-launcher/launch"],
        "resources": limits,
    }
    names = [{"name": name} for name in patch]
    pod: Manifest = {
        "name": inner,
        "inputs": {"parameters": names},
        "podSpecPatch": "{{inputs.parameters.pod-spec-patch}}",
        "volumes": [{"name": "kfp-launcher", "emptyDir": {}}],
        "initContainers": [launcher | {"command": ["launcher-v2"]} | mount],
        "container": {"image": PLACEHOLDER_IMAGE, "command": ["should-be-overridden-during-runtime"]} | mount,
    }
    if retries:
        limit, duration, factor, longest = (f"{{{{inputs.parameters.{name}}}}}" for name in retries)
        backoff = {"duration": duration, "factor": factor, "maxDuration": longest}
        pod["retryStrategy"] = {"limit": limit, "backoff": backoff}
    decision = {"name": "cached-decision", "default": "false"}
    dag = {"tasks": [task | {"when": "{{inputs.parameters.cached-decision}} != true"}]}
    executor = {"name": f"{prefix}system-container-executor", "inputs": {"parameters": [*names, decision]}, "dag": dag}
    return [executor, pod]


def nested(obj: Manifest) -> list[tuple[int, str, str]]:
    """The run as a tree: depth, what it is (DAG, driver, executor, hook), and the task's name."""
    refuse("Workflow", validate(obj))
    templates = {template["name"]: template for template in obj["spec"]["templates"]}
    return [(0, "Workflow", obj["metadata"]["generateName"]), *_nested(templates, obj["spec"]["entrypoint"], 1)]


def _nested(templates: Mapping[str, Manifest], name: str, depth: int) -> Iterator[tuple[int, str, str]]:
    for task in templates[name]["dag"]["tasks"]:
        called = task["template"]
        if called.startswith(("system-", "retry-system-")):
            yield depth, "driver" if called.endswith("driver") else "executor", task["name"]
        else:
            yield depth, "DAG", task["name"]
            yield from _nested(templates, called, depth + 1)
        for hook in task.get("hooks", {}).values():
            yield depth, "hook", hook["template"]
            yield from _nested(templates, hook["template"], depth + 1)


def pods(obj: Manifest) -> list[str]:
    """The pods of a run in which nothing is cached or skipped, by the tasks that they belong to."""
    refuse("Workflow", validate(obj))
    templates = {template["name"]: template for template in obj["spec"]["templates"]}
    return list(_pods(templates, templates[obj["spec"]["entrypoint"]]))


def _pods(templates: Mapping[str, Manifest], template: Manifest) -> Iterator[str]:
    if "dag" not in template:
        yield template["name"]
        return
    for task in template["dag"]["tasks"]:
        called = templates[task["template"]]
        if "dag" not in called or task["template"].endswith("system-container-executor"):
            yield task["name"]
        else:
            yield from _pods(templates, called)
        for hook in task.get("hooks", {}).values():
            yield from _pods(templates, templates[hook["template"]])
