"""Components: a Python function or a container's command, with typed names for what goes in and out.

The interface is read by the KFP SDK itself (kfp 2.17.0, `kfp/dsl/component_factory.py`), so its refusals are KFP's.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlinfra.admission.rules import Field, Invalid, Problem, refuse

PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\]")
Types = Mapping[str, type | str]


@dataclass(frozen=True, eq=False)
class Component:
    """What a step runs in `base_image`: a function of its own source, or a command with KFP's placeholders.

    A function's inputs and outputs are its annotations; those of a command are given, parameters as Python types and
    artifacts by KFP's names ("Dataset", "Model"). Invalid when KFP refuses it, or a name never reaches the command.
    """

    base_image: str
    function: Callable[..., Any] | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    inputs: Types = field(default_factory=dict)
    outputs: Types = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse(f'component "{self.title}"', _shapes(self))
        refuse(f'component "{self.title}"', [*_image(self.base_image), *_one_kind(self), *_unused(self)])
        try:
            assert self.made
        except Exception as refusal:  # the SDK's own exceptions have no common base
            raise Invalid(f'component "{self.title}"', [Problem("function", str(refusal))]) from refusal

    @property
    def title(self) -> str:
        """The function's name, or the first word of the command."""
        return getattr(self.function, "__name__", "") if self.function else " ".join(map(str, self.command[:1]))

    @cached_property
    def made(self) -> Any:
        """The component as KFP's SDK makes it. The image brings kfp, so nothing is installed when the step starts."""
        from kfp import dsl

        if self.function:
            return dsl.component(self.function, base_image=self.base_image, install_kfp_package=False)
        return dsl.container_component(self._container())

    def _container(self) -> Callable[..., Any]:
        """A function with the signature that the SDK reads, for a command that is given as data."""
        from kfp import dsl

        def container(*_: Any) -> Any:
            return dsl.ContainerSpec(image=self.base_image, command=list(self.command), args=list(self.args))

        ways = [(self.inputs, dsl.Input, _same), (self.outputs, dsl.Output, dsl.OutputPath)]
        container.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_annotation(kind, *way))
                for types, *way in ways
                for name, kind in types.items()
            ]
        )
        return container


def _same(kind: type) -> type:
    return kind


def _annotation(kind: type | str, artifact: Any, parameter: Callable[[type], Any]) -> Any:
    from kfp import dsl

    return artifact[getattr(dsl, kind)] if isinstance(kind, str) else parameter(kind)


def _shapes(component: Component) -> Iterator[Problem]:
    """What is not even of the right kind."""
    if not isinstance(component.base_image, str):
        yield Field(component.base_image, "base_image").invalid("must be a string")
    if component.function is not None and not inspect.isfunction(component.function):
        yield Problem("function", "must be a function, defined with def")
    for name in ("command", "args"):
        parts = getattr(component, name)
        if not isinstance(parts, tuple) or any(not isinstance(part, str) for part in parts):
            yield Problem(name, "must be a tuple of strings")
    for name in ("inputs", "outputs"):
        if not isinstance(getattr(component, name), Mapping):
            yield Problem(name, "must be a map from names to types")


def _image(image: str) -> Iterator[Problem]:
    """An image whose name stays while its content moves is the cache's blind spot."""
    tag = image.rpartition("/")[2].partition(":")[2]
    if not image:
        yield Problem("base_image", "Required value")
    elif "@sha256:" not in image and tag in ("", "latest"):
        yield Field(image, "base_image").invalid("must name a version or a digest; what `latest` is changes unseen")


def _one_kind(component: Component) -> Iterator[Problem]:
    if bool(component.function) == bool(component.command):
        yield Problem("function", "must be given, or else a command; one of the two")
    elif component.function and (component.args or component.inputs or component.outputs):
        yield Problem("function", "its annotations name inputs and outputs; nothing else may")
    for side in ("inputs", "outputs"):
        for name, kind in getattr(component, side).items():
            if isinstance(kind, str) and kind not in ARTIFACTS:
                yield Field(kind, f"{side}[{name}]").unsupported(list(ARTIFACTS))


ARTIFACTS = ("Artifact", "ClassificationMetrics", "Dataset", "HTML", "Markdown", "Metrics", "Model")


def _unused(component: Component) -> Iterator[Problem]:
    """A name that no argument mentions is not passed at all, and KFP does not mind."""
    if component.function:
        return
    mentioned = {
        match.groups() for part in (*component.command, *component.args) for match in PLACEHOLDER.finditer(part)
    }
    declared = {
        (side, "artifacts" if isinstance(kind, str) else "parameters", name)
        for side in ("inputs", "outputs")
        for name, kind in getattr(component, side).items()
    }
    for side, way, name in sorted(declared - mentioned):
        end = ".path" if way == "artifacts" else ".output_file" if side == "outputs" else ""
        yield Problem(
            f"{side}[{name}]", f"never reaches the command: no argument has {{{{$.{side}.{way}['{name}']{end}}}}}"
        )
    for side, way, name in sorted(mentioned - declared):
        yield Problem("args", f"{{{{$.{side}.{way}['{name}']}}}}: no such {way[:-1]} among the {side}")
