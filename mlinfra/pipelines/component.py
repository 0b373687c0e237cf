"""Components: a Python function or a container's command, with typed names for what goes in and out.

The interface is read by the KFP SDK itself (kfp 2.17.0, `kfp/dsl/component_factory.py`), so its refusals are KFP's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from mlinfra.admission import Invalid, Problem, check
from mlinfra.admission.common import pinned_image

Types = Mapping[str, type | str]


@contextmanager
def kfp_refusals(what: str, path: str) -> Iterator[None]:
    """What KFP's SDK objects to, as Invalid; its own exceptions have no common base."""
    try:
        yield
    except Invalid as refusal:
        raise Invalid(what, refusal.problems) from refusal.__cause__
    except Exception as refusal:
        raise Invalid(what, [Problem(path, str(refusal).strip())]) from refusal


@dataclass(frozen=True, eq=False)
class Component:
    """What a step runs in `base_image`: a function of its own source, or a command with KFP's placeholders.

    A function's inputs and outputs are its annotations; those of a command are given, parameters as Python types and
    artifacts by KFP's names ("Dataset", "Model"). Invalid when KFP refuses it, or a name never reaches the command.
    """

    base_image: Annotated[str, pinned_image]
    function: Callable[..., Any] | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    inputs: Types = field(default_factory=dict)
    outputs: Types = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)
        with kfp_refusals(f'Component "{self.name}"', "function"):
            assert self.made

    @property
    def name(self) -> str:
        """The function's name, or the first word of the command."""
        return self.function.__name__ if self.function else " ".join(self.command[:1])

    @cached_property
    def made(self) -> Any:
        """The component as KFP's SDK makes it. The image brings kfp, so nothing is installed when the step starts."""
        from kfp import dsl

        if self.function:
            return dsl.component(self.function, base_image=self.base_image, install_kfp_package=False)
        return dsl.container_component(self._container())

    @cached_property
    def output_types(self) -> dict[str, str]:
        """KFP's type of each output: "Integer", or "system.Model@0.0.1" for an artifact."""
        return {name: str(output.type) for name, output in (self.made.component_spec.outputs or {}).items()}

    def artifacts(self) -> list[str]:
        """The outputs that are files, by name."""
        return [name for name, kind in self.output_types.items() if kind.startswith("system.")]

    def _container(self) -> Callable[..., Any]:
        """A function with the signature that the SDK reads, for a command that is given as data."""
        from kfp import dsl

        def container(*_: Any) -> Any:
            return dsl.ContainerSpec(image=self.base_image, command=list(self.command), args=list(self.args))

        annotations = {name: _input(kind) for name, kind in self.inputs.items()}
        annotations |= {name: _output(kind) for name, kind in self.outputs.items()}
        container.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
                for name, annotation in annotations.items()
            ]
        )
        return container


def _input(kind: type | str) -> Any:
    from kfp import dsl

    return dsl.Input[getattr(dsl, kind)] if isinstance(kind, str) else kind


def _output(kind: type | str) -> Any:
    from kfp import dsl

    return dsl.Output[getattr(dsl, kind)] if isinstance(kind, str) else dsl.OutputPath(kind)
