"""A compiled KFP pipeline, read: its tasks with what they wait for, get, hold and repeat.

Reads the intermediate representation of KFP SDK 2.17.0 (`schemaVersion` 2.1.0) and its platform document. In the file
tasks stand in groups: a condition, a loop and an exit handler are each a DAG of their own. Here the groups are
dissolved. Left out: pipelines within pipelines, importers, `dsl.OneOf`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from mlinfra.admission import check
from mlinfra.manifest import Manifest, Resources
from mlinfra.pipelines.timing import Step

EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
Value = str | int | float | bool | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where an input comes from: another task's output, or without a task a parameter of the pipeline."""

    name: str
    task: str = ""


@dataclass(frozen=True)
class Loop:
    """A `dsl.ParallelFor`: its items, when the file has them, and how many run at once; 0 is all."""

    items: tuple[Any, ...] = ()
    parallelism: int = 0


@dataclass(frozen=True)
class CompiledTask:
    """One step: its component and container, what it waits for and gets, and how the cluster is to run it."""

    name: str
    component: Manifest
    container: Manifest
    after: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    constants: Mapping[str, Value] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    loops: tuple[Loop, ...] = ()
    retry: Manifest = field(default_factory=dict)
    enable_cache: bool = False
    is_exit: bool = False
    placement: Manifest = field(default_factory=dict)

    @property
    def resources(self) -> Resources:
        """Requests and limits of the container, as the driver will patch them into the pod."""
        given = self.container.get("resources", {})
        requests: dict[str, str] = {}
        limits: dict[str, str] = {}
        for name in ("cpu", "memory"):
            for side, amounts in (("Request", requests), ("Limit", limits)):
                if amount := given.get(f"resource{name.capitalize()}{side}"):
                    amounts[name] = amount
        if accelerator := given.get("accelerator"):
            limits[accelerator["resourceType"]] = accelerator["resourceCount"]
        return Resources(requests, limits)

    @property
    def gpus(self) -> int:
        return int(self.container.get("resources", {}).get("accelerator", {}).get("resourceCount", 0))

    @property
    def output_types(self) -> dict[str, str]:
        """KFP's type of each output: "NUMBER_DOUBLE", or "system.Model" for an artifact."""
        outputs = self.component.get("outputDefinitions", {})
        parameters = {name: spec["parameterType"] for name, spec in outputs.get("parameters", {}).items()}
        artifacts = {name: spec["artifactType"]["schemaTitle"] for name, spec in outputs.get("artifacts", {}).items()}
        return dict(sorted({**parameters, **artifacts}.items()))

    def artifacts(self) -> list[str]:
        """The outputs that are files, by name."""
        return sorted(self.component.get("outputDefinitions", {}).get("artifacts", {}))


@dataclass(frozen=True)
class KubeflowPipeline:
    """A pipeline as its compiled file says it; Invalid when it could never run, as KFP's compiler does not notice."""

    ir: Manifest
    platform: Manifest = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, ir: Manifest, platform: Manifest | None = None) -> KubeflowPipeline:
        """The pipeline of a file's two documents; the second is there only when a task asks for Kubernetes' own."""
        return cls(ir, platform or {})

    @classmethod
    def compiled(cls, pipeline: Callable[..., Any]) -> KubeflowPipeline:
        """The pipeline of a function under `@dsl.pipeline`, compiled by KFP and read back."""
        import yaml

        return cls.of(*yaml.safe_load_all(compile_text(pipeline)))

    @property
    def name(self) -> str:
        return str(self.ir.get("pipelineInfo", {}).get("name", ""))

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The pipeline's parameters with their defaults; None where a run must give a value."""
        inputs = self.ir["root"].get("inputDefinitions", {}).get("parameters", {})
        return {name: _default(spec) for name, spec in inputs.items()}

    @cached_property
    def tasks(self) -> tuple[CompiledTask, ...]:
        """The tasks, each after all that it waits for; equals in the order of names."""
        by_name = {task.name: task for task in _Reader(self).tasks()}
        order = TopologicalSorter({name: by_name[name].after for name in sorted(by_name)}).static_order()
        return tuple(by_name[name] for name in order)

    def task(self, name: str) -> CompiledTask:
        """The task of this name; ValueError names those that there are."""
        by_name = {task.name: task for task in self.tasks}
        if name not in by_name:
            raise ValueError(f"task: {name!r}: must be one of {', '.join(by_name)}")
        return by_name[name]

    def steps(self, duration_s: Mapping[str, float]) -> list[Step]:
        """The tasks with these durations, for `timing.schedule`; the exit task is left aside."""
        return [
            Step(task.name, duration_s[task.name], task.after, task.gpus) for task in self.tasks if not task.is_exit
        ]

    def manifest(self) -> Manifest:
        """The intermediate representation."""
        return self.ir


def compile_text(pipeline: Callable[..., Any]) -> str:
    """The file that one uploads, written by KFP's compiler: the IR and, if need be, the platform's document."""
    import tempfile
    from pathlib import Path

    from kfp.compiler import Compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        Compiler().compile(pipeline, str(path))
        return path.read_text("utf-8")


def _default(parameter: Manifest) -> Any:
    """The default; None without one."""
    return _typed(parameter.get("defaultValue"), parameter)


def _typed(value: Any, parameter: Manifest) -> Any:
    """A value as its parameter has it: in the file every number is a double."""
    return int(value) if value is not None and parameter["parameterType"] == "NUMBER_INTEGER" else value


def _loop(iterator: Manifest, task: Manifest) -> Loop:
    """The loop of a group of tasks; items that another task puts out are known only when it runs."""
    raw = iterator["items"].get("raw")
    return Loop(tuple(json.loads(raw)) if raw else (), task.get("iteratorPolicy", {}).get("parallelismLimit", 0))


@dataclass(frozen=True)
class _Group:
    """A DAG with what its tasks inherit: the sources of its inputs, what it waits for, conditions and loops."""

    dag: Manifest
    sources: Mapping[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    loops: tuple[Loop, ...] = ()


class _Reader:
    """Goes down the groups of a pipeline and gives its tasks."""

    def __init__(self, pipeline: KubeflowPipeline) -> None:
        self.ir = pipeline.ir
        kubernetes = pipeline.platform.get("platforms", {}).get("kubernetes", {})
        self.placements = kubernetes.get("deploymentSpec", {}).get("executors", {})

    def tasks(self) -> Iterator[CompiledTask]:
        inputs = self.ir["root"].get("inputDefinitions", {}).get("parameters", {})
        yield from self.in_group(_Group(self.ir["root"]["dag"], {name: Source(name) for name in inputs}))

    def in_group(self, group: _Group) -> Iterator[CompiledTask]:
        for name, task in group.dag["tasks"].items():
            component = self.ir["components"][task["componentRef"]["name"]]
            if "dag" in component:
                yield from self.in_group(self.inner_group(group, task, component))
            else:
                yield self.task(group, name, task, component)

    def inner_group(self, group: _Group, task: Manifest, component: Manifest) -> _Group:
        """What the tasks of the group inherit."""
        condition = task.get("triggerPolicy", {}).get("condition")
        iterator = task.get("parameterIterator") or task.get("artifactIterator")
        sources, _ = self.inputs(group, task, component)
        if iterator:
            sources = {**sources, iterator["itemInput"]: Source("item")}
        return _Group(
            component["dag"],
            sources,
            self.after(group, task),
            (*group.conditions, *([condition] if condition else [])),
            (*group.loops, *([_loop(iterator, task)] if iterator else [])),
        )

    def task(self, group: _Group, name: str, task: Manifest, component: Manifest) -> CompiledTask:
        sources, constants = self.inputs(group, task, component)
        label = component["executorLabel"]
        return CompiledTask(
            name,
            component,
            self.ir["deploymentSpec"]["executors"][label].get("container", {}),
            self.after(group, task),
            sources,
            constants,
            group.conditions,
            group.loops,
            task.get("retryPolicy", {}),
            task.get("cachingOptions", {}).get("enableCache", False),
            task.get("triggerPolicy", {}).get("strategy") == EXIT,
            self.placements.get(label, {}),
        )

    def after(self, group: _Group, task: Manifest) -> tuple[str, ...]:
        """The tasks that a task waits for: its own, and those that its group waits for."""
        own = {leaf for name in task.get("dependentTasks", ()) for leaf in self.leaves(group.dag, name)}
        return tuple(sorted(own | set(group.after)))

    def leaves(self, dag: Manifest, name: str) -> Iterator[str]:
        """The task itself, or all tasks of the group that has this name."""
        component = self.ir["components"][dag["tasks"][name]["componentRef"]["name"]]
        if "dag" not in component:
            yield name
            return
        for inner in component["dag"]["tasks"]:
            yield from self.leaves(component["dag"], inner)

    def inputs(self, group: _Group, task: Manifest, component: Manifest) -> tuple[dict[str, Source], dict[str, Value]]:
        """Where each input comes from, and the values of those that are constants."""
        types = component.get("inputDefinitions", {}).get("parameters", {})
        sources: dict[str, Source] = {}
        constants: dict[str, Value] = {}
        given = task.get("inputs", {})
        for name, source in {**given.get("parameters", {}), **given.get("artifacts", {})}.items():
            if "runtimeValue" in source:
                constants[name] = _typed(source["runtimeValue"]["constant"], types[name])
            elif inherited := source.get("componentInputParameter") or source.get("componentInputArtifact"):
                sources[name] = group.sources.get(inherited, Source(inherited))
            elif output := source.get("taskOutputParameter") or source.get("taskOutputArtifact"):
                key = output.get("outputParameterKey") or output["outputArtifactKey"]
                sources[name] = self.produced(group.dag, output["producerTask"], key)
        return sources, constants

    def produced(self, dag: Manifest, producer: str, key: str) -> Source:
        """The task that puts an output out, also when a group hands it on."""
        component = self.ir["components"][dag["tasks"][producer]["componentRef"]["name"]]
        if "dag" not in component:
            return Source(key, producer)
        handed_on = component["dag"].get("outputs", {})
        parameter = handed_on.get("parameters", {}).get(key, {}).get("valueFromParameter")
        artifact = handed_on.get("artifacts", {}).get(key, {}).get("artifactSelectors", [None])[0]
        inner: Mapping[str, Any] = parameter or artifact or {}
        if not inner:
            return Source(key, producer)
        inner_key = inner.get("outputParameterKey") or inner["outputArtifactKey"]
        return self.produced(component["dag"], inner["producerSubtask"], inner_key)
