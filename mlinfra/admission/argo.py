"""Workflow, argoproj.io/v1alpha1: the lint of Argo Workflows 4.1, which `kubectl apply` does not run.

Of `workflow/validate/validate.go` the names and the graph of tasks stand here, the walk through the templates in
`argo_lint`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mlinfra.admission import argo_lint
from mlinfra.admission.common import pinned_image
from mlinfra.admission.containers import resource_problems
from mlinfra.admission.custom import CustomKind
from mlinfra.admission.door import validate
from mlinfra.admission.rules import Field, Needed, Problem, Rules, circle, decoded, refuse, select
from mlinfra.manifest import Manifest, not_overcommitted
from mlinfra.quantity import quantity

API_VERSION = "argoproj.io/v1alpha1"
_TASK_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")


def _tasks(tasks: Field) -> Iterator[Problem]:
    """Argo's own lint of a DAG: names, what is depended on, and circles."""
    names = [str(task.get("name", "")) for task in tasks.value]
    if not names:
        yield Problem(tasks.path, "must have at least one task")
    for i, name in enumerate(names):
        if not _TASK_NAME.fullmatch(name):
            why = "name must consist of alpha-numeric characters or '-', and must start with an alpha-numeric character"
            yield Problem(f"{tasks.path}[{i}].name", f"'{name}' is invalid: {why}")
        elif name in names[:i]:
            yield Problem(f"{tasks.path}[{i}].name", f"'{name}' is not unique")
        elif name[0].isdigit() and any(_needs(task) for task in tasks.value):
            why = "name cannot begin with a digit when using either 'depends' or 'dependencies'"
            yield Problem(f"{tasks.path}.{name}", why)
    if {"depends", "dependencies"} <= {key for task in tasks.value for key in task}:
        yield Problem(tasks.path, "cannot use both 'depends' and 'dependencies' in the same DAG template")
    needed = {name: _needs(task) for name, task in zip(names, tasks.value, strict=True)}
    for name, others in needed.items():
        yield from (Problem(f"{tasks.path}.{name}", f"dependency '{o}' not defined") for o in others if o not in names)
    if cycle := circle(needed):
        yield Problem(tasks.path, f"dependency cycle detected: {'->'.join(cycle)}")


def _needs(task: Manifest) -> list[str]:
    """What a task depends on, by `dependencies` or in the expression `depends`."""
    others = re.findall(r"([-\w]+)(?:\.\w+)?", task.get("depends", ""))
    return list(dict.fromkeys([*task.get("dependencies", ()), *others]))


def _called(spec: Field) -> Iterator[Problem]:
    """Entrypoint and exit handler name templates that there are, unless those are another Workflow's."""
    if spec["workflowTemplateRef"].value:
        return
    names = [name.value for name in select(spec, "templates[].name")]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Problem(f"{spec.path}.templates[{i}].name", f"'{name}' is not unique")
    if not spec["entrypoint"].value:
        yield spec["entrypoint"].required()
    for name in ("entrypoint", "onExit"):
        if spec[name].value and spec[name].value not in names:
            yield spec[name].invalid(f"template name '{spec[name].value}' undefined")


RULES: Rules = [
    ("spec", Needed()),
    ("spec.templates[].name", Needed()),
    ("spec.templates[].(container|initContainers[]).resources", resource_problems),
    ("spec.templates[].dag.tasks", _tasks),
]
KIND = CustomKind(API_VERSION, "Workflow", RULES, [("spec", _called), ("", argo_lint.problems)], "workflow")
KINDS = {KIND.kind: KIND}


# ------------------------------------------------------------------------- what runs, and does not do what was meant


def pitfalls(obj: Manifest) -> list[Problem]:
    """What Argo accepts of a Workflow that is written by hand, and what will happen; Invalid when Argo refuses it."""
    refuse("Workflow", validate(obj))
    workflow = Field(decoded(obj))
    problems = [*_object(workflow), *_images(workflow), *_gpus(workflow), *_data(workflow)]
    return sorted(problems, key=lambda problem: problem.path)


def _missing(field: Field, consequence: str) -> Problem:
    return Problem(field.path, f"not given: {consequence}")


def _object(workflow: Field) -> Iterator[Problem]:
    spec, name = workflow["spec"], workflow["metadata"]["name"]
    if name.value:
        yield name.invalid("a second run finds it taken (AlreadyExists); generateName gives every run its own")
    if not spec["serviceAccountName"].value:
        yield _missing(spec["serviceAccountName"], "the pods run as `default`, which may not report results")
    if not spec["ttlStrategy"].value:
        yield _missing(spec["ttlStrategy"], "finished runs stay until someone deletes them")


def _images(workflow: Field) -> Iterator[Problem]:
    for image in select(workflow, "spec.templates[].container.image"):
        if "{" not in str(image.value):
            yield from pinned_image(image)


def _gpus(workflow: Field) -> Iterator[Problem]:
    for template in select(workflow, "spec.templates[]"):
        resources = template["container"]["resources"]
        limits = resources["limits"].value or {}
        devices = [name for name, amount in limits.items() if not_overcommitted(name) and quantity(amount)]
        if not devices:
            continue
        if not template["tolerations"].value and not workflow["spec"]["tolerations"].value:
            yield _missing(template["tolerations"], f"{devices[0]} nodes are usually tainted, and the pod waits")
        if not template["retryStrategy"].value:
            yield _missing(template["retryStrategy"], "one lost node ends the run")
        for name in (resources["requests"].value or {}).keys() - limits.keys():
            yield _missing(resources["limits"][name], "nothing keeps the step to what it asked for")


def _data(workflow: Field) -> Iterator[Problem]:
    """A task that depends on another and takes nothing from it."""
    if workflow["spec"]["volumes"].value or workflow["spec"]["volumeClaimTemplates"].value:
        return
    for task in select(workflow, "spec.templates[].dag.tasks[]"):
        for other in _needs(task.value):
            if f"tasks.{other}." not in json.dumps(task.value):
                why = f"waits for {other} and gets nothing from it: two pods share no files, and no output is passed"
                yield Problem(task["arguments"].path, why)
