"""The nouns of a pipeline: its inputs, its tasks, what flows between them, conditions and retries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from mlinfra.admission import Count, check
from mlinfra.admission.rules import one_of, real
from mlinfra.manifest import Resources
from mlinfra.pipelines.component import Component

Value = str | int | float | bool | list[Any] | dict[str, Any]


@dataclass(frozen=True)
class PipelineInput:
    """A parameter of the pipeline."""

    name: str


@dataclass(frozen=True)
class TaskOutput:
    """What another task puts out; "Output" is what its function returns."""

    task: str
    name: str = "Output"


Source = PipelineInput | TaskOutput
Argument = Value | Source
OPERATORS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
"""KFP's comparisons, by the names of Python's functions."""


@dataclass(frozen=True)
class If:
    """`dsl.If`, a comparison that is made when the run gets there: `left` operator `right`."""

    left: Source
    operator: Annotated[str, one_of(*OPERATORS)]
    right: str | int | float | bool

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Retry:
    """A failed step starts again, at most `max_retry_count` times, after a pause that grows by the factor.

    On a cluster no attempt starts later than `backoff_max_duration_s` after the *first* one started (Argo's
    maxDuration), and KFP's default is an hour. Locally it caps one pause.
    """

    max_retry_count: Count
    backoff_duration_s: Count = 0
    backoff_factor: Annotated[float, real(1)] = 2.0
    backoff_max_duration_s: Count = 3600

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Task:
    """One step of a pipeline: a component, its arguments, and how the cluster is to run it."""

    name: str
    component: Component
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    when: If | None = None
    resources: Resources | None = None
    retry: Retry | None = None
    enable_cache: bool = True
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def upstream(self) -> set[str]:
        """The tasks that must have finished before this one."""
        arguments = [*self.arguments.values(), *([self.when.left] if self.when else [])]
        return {*self.after, *(argument.task for argument in arguments if isinstance(argument, TaskOutput))}
