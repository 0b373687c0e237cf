"""What placeholders of a Workflow's templates may name, as Argo's lint finds out before anything runs.

`resolveAllVariables`, `addItemsToScope` and `addOutputsToScope` in `workflow/validate/validate.go` and the ancestors
of a task in `workflow/common/ancestry.go` of Argo Workflows 4.1. Expressions (`{{= }}`) are left to the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mlinfra.admission.rules import Field, select

POD_TYPES = ("container", "containerSet", "script", "resource", "data")
LEAVES = (*POD_TYPES, "http", "plugin")
TYPES = (*LEAVES, "steps", "dag", "suspend")
WITH_RESULT = ("container", "containerSet", "script", "data", "http", "plugin")
RESULT = ("outputs.result", "exitCode")
PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.S)
CHECKED = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
OF_TIME = ("workflow.creationTimestamp", "workflow.duration", "workflow.scheduledTime")
AT_RUN_TIME = ("outputs.", "tasks.name", "steps.name", *OF_TIME)
OF_METADATA = ("annotations", "annotations.json", "labels", "labels.json")
GLOBALS = ("name", "namespace", "mainEntrypoint", "serviceAccountName", "uid", "status", *OF_METADATA)


class Scope(NamedTuple):
    """What placeholders may name: whole names, and beginnings of names that only a run can tell."""

    names: frozenset[str]
    prefixes: tuple[str, ...] = AT_RUN_TIME

    def also(self, *names: str, prefixes: tuple[str, ...] = ()) -> Scope:
        return Scope(self.names | set(names), self.prefixes + prefixes)

    def joined(self, other: Scope) -> Scope:
        return Scope(self.names | other.names, self.prefixes + other.prefixes)


def unresolved(value: Any, scope: Scope) -> str:
    """The first placeholder that names nothing, in Argo's words; empty when each names something."""
    for tag in tags(value):
        name = tag.strip()
        if name.startswith(CHECKED) and name not in scope.names and not name.startswith(scope.prefixes):
            return f"failed to resolve {{{{{tag}}}}}"
    return ""


def tags(value: Any) -> Iterator[str]:
    """What stands in double braces, anywhere inside; expressions are left to the run."""
    if isinstance(value, str):
        yield from (tag for tag in PLACEHOLDER.findall(value) if not tag.startswith("="))
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for child in children:
        yield from tags(child)


def global_names(workflow: Field) -> Scope:
    """Names that any template may use; what another Workflow's templates bring is not known."""
    spec, metadata = workflow["spec"], workflow["metadata"]
    names = [f"workflow.{name}" for name in GLOBALS]
    parameters = [parameter["name"].value for parameter in spec["arguments"]["parameters"].each()]
    names += [f"workflow.parameters.{name}" for name in parameters]
    names += ["workflow.parameters", "workflow.parameters.json"] if parameters else []
    for kind in ("annotations", "labels"):
        names += [f"workflow.{kind}.{key}" for key in metadata[kind].value or ()]
        names += [f"workflow.{kind}.{key}" for key in spec["workflowMetadata"][kind].value or ()]
    names += [f"workflow.labels.{key}" for key in spec["workflowMetadata"]["labelsFrom"].value or ()]
    names += ["workflow.priority"] if spec["priority"].value is not None else []
    names += ["workflow.failures"] if spec["onExit"].value else []
    return Scope(frozenset(names)).joined(_exported(spec))


def _exported(spec: Field) -> Scope:
    """Outputs that get a name for the whole Workflow; one that is computed, or defined elsewhere, may be any."""
    names: list[str] = []
    elsewhere = any(task["templateRef"].value or task["inline"].value for _, task in _every_call(spec))
    for kind in ("parameters", "artifacts"):
        for name in select(spec, f"templates[].outputs.{kind}[].globalName"):
            names += [f"workflow.outputs.{kind}.{name.value}"] if name.value else []
    computed = elsewhere or any("{{" in name for name in names)
    return Scope(frozenset(names), ("workflow.outputs.",) if computed else ())


def _every_call(spec: Field) -> Iterator[tuple[str, Field]]:
    for template in spec["templates"].each():
        yield from calls(template)


def calls(template: Field) -> Iterator[tuple[str, Field]]:
    """The tasks and steps of a template, with the names that errors give them."""
    name = template["name"].value
    for task in template["dag"]["tasks"].each():
        yield f"templates.{name}.tasks.{task['name'].value}", task
    for i, group in enumerate(template["steps"].each()):
        for step in group.each():
            yield f"templates.{name}.steps[{i}].{step['name'].value or ''}", step


def type_of(template: Field) -> str:
    """What a template is, by the one field that says so."""
    return next((name for name in TYPES if template[name].value is not None), "")


def own_names(template: Field) -> Scope:
    """Inputs of the template, where they lie, and the name of its pod."""
    kind = type_of(template)
    parameters = [f"inputs.parameters.{entry['name'].value}" for entry in template["inputs"]["parameters"].each()]
    artifacts = [f"inputs.artifacts.{entry['name'].value}" for entry in template["inputs"]["artifacts"].each()]
    names = [*parameters, *artifacts, *(["inputs.parameters"] if parameters else [])]
    names += [f"{artifact}.path" for artifact in artifacts] if kind in LEAVES else []
    names += ["pod.name"] if kind in POD_TYPES else []
    return Scope(frozenset(names))


def called_template(task: Field, templates: Mapping[str, Field]) -> Field | None:
    """The template that a task or step runs; None when it is defined elsewhere, or by a placeholder."""
    if isinstance(task["inline"].value, Mapping):
        return task["inline"]
    return None if task["templateRef"].value else templates.get(task["template"].value)


def items_of(task: Field) -> tuple[Scope, str]:
    """`addItemsToScope`: what `{{item}}` may be, and what is wrong with the loop."""
    items, sequence = task["withItems"].value, task["withSequence"]
    if sum(map(bool, (items, task["withParam"].value, sequence.value is not None))) > 1:
        return Scope(frozenset()), "only one of withItems, withParam, withSequence can be specified"
    if items is not None and not isinstance(items, list):
        return Scope(frozenset()), "withItems must be a list"
    if sequence["count"].value is not None and sequence["end"].value is not None:
        return Scope(frozenset()), "only one of count or end can be defined in withSequence"
    keys = [f"item.{key}" for item in items or () if isinstance(item, Mapping) for key in item]
    keys += [f"item.[{i}]" for item in items or () if isinstance(item, list) for i in range(len(item))]
    return Scope(frozenset(keys), ("item.",) if task["withParam"].value else ()), ""


def loops(task: Field) -> bool:
    return bool(task["withItems"].value or task["withParam"].value)


def outputs_of(task: Field, templates: Mapping[str, Field], node: str) -> Scope:
    """`addOutputsToScope`: what others may take of a task or step (`node`); of one defined elsewhere, anything."""
    prefix, template = f"{node}.{task['name'].value}", called_template(task, templates)
    names = [f"{prefix}.{name}" for name in ("id", "startedAt", "finishedAt", "hostNodeName")]
    if template is None:
        return Scope(frozenset(names), (f"{prefix}.outputs.", f"{prefix}.ip", f"{prefix}.exitCode"))
    names += [f"{prefix}.ip"] if template["daemon"].value else []
    names += [f"{prefix}.{name}" for name in RESULT] if type_of(template) in WITH_RESULT else []
    names += [f"{prefix}.outputs.parameters"] if loops(task) else []
    for kind in ("parameters", "artifacts"):
        names += [f"{prefix}.outputs.{kind}.{entry['name'].value}" for entry in template["outputs"][kind].each()]
    return Scope(frozenset(names))


def results(template: Field, templates: Mapping[str, Field], node: str, scope: Scope) -> Scope:
    """The outputs of all tasks, or of all steps with how they ended."""
    for _, task in calls(template):
        scope = scope.joined(outputs_of(task, templates, node))
        scope = scope.also(f"steps.{task['name'].value}.status") if node == "steps" else scope
    return scope


def needs(task: Field) -> dict[str, str]:
    """What a task depends on, by `dependencies` or in the expression `depends`, and with which result."""
    others = dict.fromkeys(task["dependencies"].value or (), "")
    return others | dict(re.findall(r"([-\w]+)(?:\.(\w+))?", task["depends"].value or ""))


def ancestors(name: str, tasks: Mapping[str, Field]) -> set[str]:
    """All that a task waits for, directly or not."""
    waiting, before = [name], set[str]()
    while waiting:
        others = set(needs(tasks[waiting.pop()])) & tasks.keys()
        waiting += others - before
        before |= others
    return before
