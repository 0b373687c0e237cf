"""Bounds of plain values, written where a value is declared (`gpus: Count = 0`), and `check(self)`, which asks them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

from mlinfra.admission.door import check_manifest
from mlinfra.admission.rules import Check, Field, Needed, Problem, Rules, broken, real, refuse, whole

Count = Annotated[int, whole(0)]
AtLeastOne = Annotated[int, whole(1)]
Finite = Annotated[float, real()]
NotNegative = Annotated[float, real(0)]
Share = Annotated[float, real(0, 1)]


def check(obj: Any, by_kind: bool = True) -> None:
    """Raise Invalid when a bound in the annotations of an object, a rule of its class or one of its kind is broken.

    Each is asked only if the one before objects to nothing. Rules of a class stand in `admission.nouns`, in the module
    that is called like the room (the subpackage, such as `gpu`); they read the fields under their names in Python.
    Those of a kind are asked when `obj.manifest()` is a whole manifest, unless `by_kind` is False: for a noun of which
    there are many, and whose bounds say the same.
    """
    problems = list(broken(Field(vars(obj)), bounds(obj.__class__))) or list(_class_problems(obj))
    refuse(f'{type(obj).__name__} "{obj.name}"' if getattr(obj, "name", "") else type(obj).__name__, problems)
    manifest = obj.manifest() if by_kind and hasattr(obj, "manifest") else {}
    if "kind" in manifest:
        check_manifest(manifest)


@cache
def bounds(noun: type) -> Rules:
    """The checks in the annotations of a class, by field; only a field that may be None may be missing or empty.

    Not those inside a container's type, such as `tuple[Count, ...]`.
    """
    rules: Rules = []
    for name, hint in get_type_hints(noun, include_extras=True).items():
        parts = [hint, *get_args(hint)]
        checks = [rule for part in parts for rule in getattr(part, "__metadata__", ())]
        if checks:
            rules.append((name, *checks) if NoneType in parts else (name, Needed(), *checks))
    return rules


def _class_problems(obj: Any) -> Iterator[Problem]:
    package, *rooms = type(obj).__module__.split(".")
    if package == "mlinfra":
        rules: dict[str, Check] = import_module(f"mlinfra.admission.nouns.{rooms[0]}").RULES
        yield from rules.get(type(obj).__name__, _no_problems)(Field(vars(obj)))


def _no_problems(noun: Field) -> Iterator[Problem]:
    return iter(())
