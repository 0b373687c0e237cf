"""Argo's walk through the templates of a Workflow: types, names, and calls with their arguments.

`workflow/validate/validate.go` and `ProcessArgs` in `workflow/common/util.go` of Argo Workflows 4.1, where values of
the Workflow's own arguments may still come (`argo lint`). Not here: the order of several containers, what a
resource's manifest says, metrics, the inside of inline templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mlinfra.admission.argo_scope import (
    LEAVES,
    PLACEHOLDER,
    TYPES,
    Scope,
    ancestors,
    called_template,
    calls,
    global_names,
    items_of,
    loops,
    outputs_of,
    own_names,
    results,
    type_of,
    unresolved,
)
from mlinfra.admission.rules import Field, Problem

CHOICES = "choose one of: container, containerSet, steps, script, resource, dag, suspend, template, template ref"

NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
PARAMETER = re.compile(r"[-a-zA-Z0-9_]+")


# ------------------------------------------------------------------------------------------------- the whole Workflow


def problems(workflow: Field) -> Iterator[Problem]:
    """What is wrong with a Workflow that has its templates with it."""
    spec, name = workflow["spec"], workflow["metadata"]["name"]
    if len(str(name.value or "")) > 63:
        why = f"must not be more than 63 characters long (currently {len(name.value)})"
        yield Problem(name.path, f'workflow name "{name.value}" {why}')
    if spec["workflowTemplateRef"].value:
        if spec["templates"].value:
            why = "Templates is invalid field in spec if workflow referred WorkflowTemplate reference"
            yield Problem(spec["templates"].path, why)
        return
    templates = {template["name"].value: template for template in spec["templates"].each()}
    yield from _arguments("spec.arguments.", spec["arguments"], may_be_empty=True)
    yield from _hooks("hooks", spec["hooks"])
    for first in (spec["entrypoint"], spec["onExit"]):
        if (called := templates.get(first.value)) is not None:
            yield from _supplied(f"templates.{first.value}", called, spec["arguments"], first.path)
    known = global_names(workflow)
    for template in templates.values():
        yield from _template(template, templates, known)
        yield from _image(template, spec["templateDefaults"])


# ------------------------------------------------------------------------------------------------------ one template


def _template(template: Field, templates: Mapping[str, Field], known: Scope) -> Iterator[Problem]:
    place, kind = f"templates.{template['name'].value}", type_of(template)
    yield from _one_type(place, template)
    yield from _inputs(place, template)
    scope = own_names(template).joined(known)
    if kind == "dag":
        yield from _dag(place, template, templates, scope)
        scope = results(template, templates, "tasks", scope)
    elif kind == "steps":
        yield from _steps(place, template, templates, scope)
        scope = results(template, templates, "steps", scope)
    elif why := unresolved(template.value, scope):
        yield Problem(template.path, f"{place}: {why}")
    yield from _limits(place, template)
    yield from _timeouts(template)
    yield from _leaf(place, template)
    yield from _outputs(place, template, scope)


def _one_type(place: str, template: Field) -> Iterator[Problem]:
    number = sum(template[name].value is not None for name in TYPES)
    if number != 1:
        what = "multiple template types specified" if number else "template type unspecified"
        yield Problem(template.path, f"{place} {what}. {CHOICES}")


def _image(template: Field, defaults: Field) -> Iterator[Problem]:
    """Of all defaults, the lint reads those of images; the controller merges the others when it runs a template."""
    for kind in ("container", "script"):
        image = template[kind]["image"]
        if template[kind].value is not None and not (image.value or defaults[kind]["image"].value):
            yield Problem(image.path, f"templates.{template['name'].value}.{kind}.image may not be empty")


def _limits(place: str, template: Field) -> Iterator[Problem]:
    """What is for leaves, and what for the others."""
    leaf = type_of(template) not in ("dag", "steps")
    for name, allowed, where in (
        ("activeDeadlineSeconds", leaf, "leaf templates"),
        ("parallelism", not leaf, "steps and dag templates"),
    ):
        if template[name].value is not None and not allowed:
            yield Problem(template[name].path, f"{place}.{name} is only valid for {where}")


TITLES = {"dag": "DAG", "steps": "Steps", "suspend": "Suspend"}


def _timeouts(template: Field) -> Iterator[Problem]:
    """Only what runs has a time limit of its own, with a unit."""
    kind, timeout, pending = type_of(template), template["timeout"], template["pendingTimeout"]
    for limit, name in ((timeout, "timeout"), (pending, "pendingTimeout")):
        if limit.value and kind in TITLES:
            yield Problem(limit.path, f"{TITLES[kind]} template doesn't support {name} field")
    if kind not in TITLES and re.fullmatch(r"[+-]?\d+", timeout.value or "", re.A):
        yield Problem(timeout.path, f"{template['name'].value} has invalid duration format in timeout")


def _leaf(place: str, template: Field) -> Iterator[Problem]:
    """An object that is made is described, in one place; of several containers one has the files."""
    resource, containers = template["resource"], template["containerSet"]["containers"]
    described = [name for name in ("manifest", "manifestFrom") if resource[name].value]
    if resource.value is not None and resource["action"].value not in ("delete", "get") and len(described) != 1:
        either = f"either {place}.resource.manifest or {place}.resource.manifestFrom must be specified"
        both = "shouldn't have both `manifest` and `manifestFrom` specified in `Manifest` for resource template"
        yield Problem(resource.path, both if described else either)
    moved = [template["inputs"]["artifacts"], template["outputs"]["parameters"], template["outputs"]["artifacts"]]
    names = [container["name"].value for container in containers.each()]
    if names and "main" not in names and any(entries.value for entries in moved):
        why = 'must have a container named "main" for input or output'
        yield Problem(containers.path, f"{place}.containerSet.containers {why}")


def _inputs(place: str, template: Field) -> Iterator[Problem]:
    for kind in ("parameters", "artifacts"):
        yield from _names(f"{place}.inputs.{kind}", template["inputs"][kind], PARAMETER)
    for artifact in template["inputs"]["artifacts"].each():
        name = f"{place}.inputs.artifacts.{artifact['name'].value}"
        yield from _artifact_path(name, artifact, type_of(template))
        if artifact["from"].value:
            yield Problem(artifact["from"].path, f"{name}.from not valid in inputs")


def _artifact_path(name: str, artifact: Field, kind: str) -> Iterator[Problem]:
    """Files lie somewhere in a leaf, and nowhere else."""
    if kind in LEAVES and not artifact["path"].value:
        yield Problem(artifact.path, f"error in {name}: Artifact '{artifact['name'].value}' did not specify a path")
    elif kind not in LEAVES and artifact["path"].value:
        yield Problem(artifact["path"].path, f"{name}.path only valid in container/script templates")


NAME_RULE = "name must consist of alpha-numeric characters or '-', and must start with an alpha-numeric character"
PARAMETER_RULE = "Parameter/Artifact name must consist of alpha-numeric characters, '_' or '-'"


def _names(place: str, entries: Field, form: re.Pattern[str]) -> Iterator[Problem]:
    """`validateWorkflowFieldNames`: each has one, of that form, of its own."""
    names = [str(entry["name"].value or "") for entry in entries.each()]
    for i, (name, entry) in enumerate(zip(names, entries.each(), strict=True)):
        if not name:
            yield Problem(entry["name"].path, f"{place}[{i}].name is required")
        elif not form.fullmatch(name):
            why = PARAMETER_RULE + " e.g. my_param_1, MY-PARAM-1" if form is PARAMETER else NAME_RULE
            yield Problem(entry["name"].path, f"{place}[{i}].name: '{name}' is invalid: {why}")
        elif name in names[:i]:
            yield Problem(entry["name"].path, f"{place}[{i}].name '{name}' is not unique")


# ------------------------------------------------------------------------------------------- what is called with what


def _supplied(place: str, template: Field, arguments: Field, path: str) -> Iterator[Problem]:
    """`ProcessArgs`: an input has a value of its own, a default, or an argument."""
    values = {entry["name"].value: entry for entry in arguments["parameters"].each()}
    for parameter in template["inputs"]["parameters"].each():
        name = parameter["name"].value
        if not _has_value(values.get(name, parameter), with_default=name not in values):
            yield Problem(path, f"{place} inputs.parameters.{name} was not supplied")
    files = {entry["name"].value for entry in arguments["artifacts"].each()}
    for artifact in template["inputs"]["artifacts"].each():
        if artifact["name"].value not in files and not artifact["optional"].value and not _is_located(artifact):
            yield Problem(path, f"{place} inputs.artifacts.{artifact['name'].value} was not supplied")


def _has_value(parameter: Field, with_default: bool) -> bool:
    names = ("value", "default") if with_default else ("value",)
    direct = any(parameter[name].value is not None for name in names)
    return direct or parameter["valueFrom"]["configMapKeyRef"].value is not None


LOCATIONS = ("artifactory", "azure", "gcs", "git", "hdfs", "http", "oss", "plugin", "raw", "s3")


def _is_located(artifact: Field) -> bool:
    return any(artifact[name].value is not None for name in LOCATIONS)


def _arguments(prefix: str, arguments: Field, may_be_empty: bool = False) -> Iterator[Problem]:
    """`validateArguments`: names, and a value or a place for each."""
    for kind in ("parameters", "artifacts"):
        yield from _names(f"{prefix}{kind}", arguments[kind], PARAMETER)
    for parameter in arguments["parameters"].each():
        yield from _value(f"{prefix}{parameter['name'].value}", parameter, may_be_empty)
    for artifact in arguments["artifacts"].each():
        name = f"{prefix}{artifact['name'].value}"
        if not artifact["from"].value and not artifact["fromExpression"].value and not _is_located(artifact):
            yield Problem(artifact.path, f"{name}.from, artifact location, or key is required")
        if artifact["from"].value and artifact["fromExpression"].value:
            yield Problem(artifact.path, f"{name} shouldn't have both `from` and `fromExpression` in Artifact")


def _value(name: str, parameter: Field, may_be_empty: bool) -> Iterator[Problem]:
    value, source, choices = parameter["value"], parameter["valueFrom"], parameter["enum"]
    if value.value is None and source.value is None and not may_be_empty:
        yield Problem(parameter.path, f"{name}.value or {name}.valueFrom is required")
    if source.value is not None and (
        not {"configMapKeyRef", "event", "supplied"} & source.value.keys()
        or {"path", "jsonPath", "parameter", "expression"} & source.value.keys()
    ):
        yield Problem(source.path, f"{name}.valueFrom only allows: default, configMapKeyRef and supplied")
    if choices.value == []:
        yield Problem(choices.path, f"{name}.enum should contain at least one value")
    elif choices.value and value.value is not None and value.value not in choices.value:
        yield Problem(value.path, f"{name}.value should be present in {name}.enum list")


def _hooks(place: str, hooks: Field) -> Iterator[Problem]:
    """All but the one at the end say when."""
    for name, hook in (hooks.value or {}).items():
        if name != "exit" and not hook.get("expression"):
            yield Problem(hooks[name].path, f"{place}.{name} Expression required")


def _call(place: str, task: Field, templates: Mapping[str, Field], scope: Scope, where: str) -> Iterator[Problem]:
    """One task or step: what it calls, with what, and how often; `where` is the place that a placeholder is told of."""
    template = called_template(task, templates)
    items, fault = items_of(task)
    inputs = task["inline"]["inputs"]["parameters"].each() if task["inline"].value else ()
    inner = [f"inputs.parameters.{parameter['name'].value}" for parameter in inputs]
    if template is None and not task["templateRef"].value and "{{" not in str(task["template"].value):
        yield Problem(task["template"].path, f"{place} template name '{task['template'].value or ''}' undefined")
    if fault:
        yield Problem(task.path, f"{place} {fault}")
    elif why := unresolved(task.value, scope.joined(items).also(*inner)):
        yield Problem(task.path, f"{where} {why}")
    yield from _arguments(f"{place}.arguments.", task["arguments"])
    if template is not None:
        yield from _supplied(place, template, task["arguments"], task.path)


# ------------------------------------------------------------------------------------------------- steps and a DAG


def _steps(place: str, template: Field, templates: Mapping[str, Field], scope: Scope) -> Iterator[Problem]:
    """Each step sees those that are written before it."""
    names: list[str] = []
    for where, step in calls(template):
        group, name = where.rpartition("].")[0] + "]", str(step["name"].value or "")
        if not name:
            yield Problem(step["name"].path, f"{group}.name is required")
        elif name in names:
            yield Problem(step["name"].path, f"{group}.name '{name}' is not unique")
        elif not NAME.fullmatch(PLACEHOLDER.sub("x", name)):
            why = f"{group}.name '{name}' is invalid: {NAME_RULE} (e.g. My-name1-2, 123-NAME)"
            yield Problem(step["name"].path, why)
        names.append(name)
        scope = scope.also(f"steps.{name}.status")
        own = outputs_of(step, templates, "steps")
        ending = own if "exit" in (step["hooks"].value or {}) else Scope(frozenset())
        yield from _call(where, step, templates, scope.joined(ending), f"{place}.steps")
        yield from _hooks(where, step["hooks"])
        scope = scope.joined(own)


RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")


def _dag(place: str, template: Field, templates: Mapping[str, Field], scope: Scope) -> Iterator[Problem]:
    """Each task sees the outputs of all, but may take those only of the tasks that it waits for."""
    tasks = {str(task["name"].value): task for task in template["dag"]["tasks"].each()}
    scope = results(template, templates, "tasks", scope)
    for where, task in calls(template):
        before = ancestors(str(task["name"].value), tasks)
        statuses = [f"tasks.{name}.status" for name in before]
        statuses += [f"tasks.{task['name'].value}.status"] if task["hooks"].value else []
        yield from _call(where, task, templates, scope.also(*statuses), where)
        yield from _conditions(where, task, tasks)
        yield from _dependencies(where, task["arguments"], before)
    for name in str(template["dag"]["target"].value or "").split(" "):
        if name and "{{" not in name and name not in tasks:
            yield Problem(template["dag"]["target"].path, f"{place}.targets: target '{name}' is not defined")


def _conditions(where: str, task: Field, tasks: Mapping[str, Field]) -> Iterator[Problem]:
    """Results that there are, and those of a loop for a loop."""
    depends = task["depends"].value or ""
    for name, result in re.findall(r"([a-zA-Z0-9][-a-zA-Z0-9]*?)\.([A-Z][a-zA-Z]+)", depends):
        if result not in RESULTS:
            yield Problem(task["depends"].path, f"{where} task result '{result}' for task '{name}' is invalid")
        elif result in ("AnySucceeded", "AllFailed") and name in tasks and not _repeats(tasks[name]):
            why = "uses an items-based condition such as .AnySucceeded or .AllFailed but does not contain any items"
            yield Problem(task["depends"].path, f"{where} dependency '{name}' {why}")
    if task["continueOn"].value is not None and any(other["depends"].value for other in tasks.values()):
        why = "cannot use 'continueOn' when using 'depends'. Instead use 'dep-task.Failed'/'dep-task.Errored'"
        yield Problem(task["continueOn"].path, f"{where.partition('.tasks.')[0]} {why}")


def _repeats(task: Field) -> bool:
    return loops(task) or task["withSequence"].value is not None


def _dependencies(where: str, arguments: Field, before: set[str]) -> Iterator[Problem]:
    """`validateDAGTaskArgumentDependency`: who takes from a task waits for it."""
    for kind, field in (("parameter", "value"), ("artifact", "from")):
        for entry in arguments[f"{kind}s"].each():
            source = str(entry[field].value or "")
            other = source.split(".")[1] if source.startswith("{{tasks.") else ""
            if other and other not in before:
                name = entry["name"].value
                yield Problem(entry.path, f"{where} missing dependency '{other}' for {kind} '{name}'")


# ----------------------------------------------------------------------------------------------------------- outputs

WAYS = ("path", "jqFilter", "jsonPath", "parameter", "expression", "supplied")


def _outputs(place: str, template: Field, scope: Scope) -> Iterator[Problem]:
    kind, outputs = type_of(template), template["outputs"]
    if kind in ("dag", "steps") and (why := unresolved(outputs.value, scope)):
        yield Problem(outputs.path, f"{place}.outputs {why}")
    for name in ("parameters", "artifacts"):
        yield from _names(f"{place}.outputs.{name} ", outputs[name], PARAMETER)
    for artifact in outputs["artifacts"].each():
        yield from _artifact_path(f"{place}.outputs.artifacts.{artifact['name'].value}", artifact, kind)
    for parameter in outputs["parameters"].each():
        yield from _output(f"{place}.outputs.parameters.{parameter['name'].value}", parameter, kind)


def _output(name: str, parameter: Field, kind: str) -> Iterator[Problem]:
    """A value, or one way to find it, which is that of the template's type."""
    source = parameter["valueFrom"]
    ways = [way for way in WAYS if source[way].value not in (None, "")]
    if parameter["value"].value is not None:
        if source.value is not None:
            yield Problem(parameter.path, f"{name} has both valueFrom and value specified, choose one")
    elif source.value is None:
        yield Problem(parameter.path, f"{name} does not have valueFrom or value specified")
    elif len(ways) != 1:
        what = "multiple valueFrom types specified" if ways else "valueFrom type unspecified"
        choices = "path, jqFilter, jsonPath, parameter, raw" + ("" if ways else ", expression")
        yield Problem(source.path, f"{what}. choose one of: {choices}")
    elif kind in ("container", "containerSet", "script") and ways != ["path"]:
        yield Problem(source.path, f"{name}.path must be specified for {kind[0].upper()}{kind[1:]} templates")
    elif kind in ("dag", "steps") and ways[0] not in ("parameter", "expression"):
        yield Problem(source.path, f"{name}.parameter or expression must be specified for {TITLES[kind]} templates")
