"""The nouns of a pipeline: its inputs, its tasks, what flows between them, conditions and retries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlinfra.admission.rules import Field, Invalid, Problem, refuse, whole
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


Argument = Value | PipelineInput | TaskOutput
OPERATORS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True)
class Condition:
    """A comparison that is made when the run gets there: `left` operator `right`."""

    left: PipelineInput | TaskOutput
    operator: str
    right: str | int | float | bool

    def __post_init__(self) -> None:
        refuse(
            "condition",
            [] if self.operator in OPERATORS else [Field(self.operator, "operator").unsupported([*OPERATORS])],
        )
        if not is_json(self.right) or (isinstance(self.right, str) and set(self.right) & set("'\"\\")):
            raise Invalid("condition", [Problem("right", f"{self.right!r}: must be finite, and text without quotes")])


@dataclass(frozen=True)
class Retry:
    """A failed step starts again, at most `max_retry_count` times, after a pause that grows by the factor.

    On a cluster no attempt starts later than `backoff_max_duration_s` after the *first* one started (Argo's
    maxDuration), and KFP's default is an hour. Locally it caps one pause.
    """

    max_retry_count: int
    backoff_duration_s: int = 0
    backoff_factor: float = 2.0
    backoff_max_duration_s: int = 3600

    def __post_init__(self) -> None:
        retry = Field(vars(self))
        refuse("retry", [p for name in RETRY for p in whole(0)(retry[name])])
        refuse("retry", [] if self.backoff_factor >= 1 else [retry["backoff_factor"].invalid("must be 1 or more")])


RETRY = ("max_retry_count", "backoff_duration_s", "backoff_max_duration_s")


@dataclass(frozen=True)
class Task:
    """One step of a pipeline: a component, its arguments, and how the cluster is to run it."""

    name: str
    component: Component
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    when: Condition | None = None
    resources: Resources | None = None
    retry: Retry | None = None
    enable_cache: bool = True
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def upstream(self) -> set[str]:
        """The tasks that must have finished before this one."""
        arguments = [*self.arguments.values(), *([self.when.left] if self.when else [])]
        return {*self.after, *(argument.task for argument in arguments if isinstance(argument, TaskOutput))}


def is_json(value: object) -> bool:
    """Whether KFP can write the value: JSON has no NaN and no infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
