"""Listings of the package's own source, so that what a notebook shows is what the tests run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Listing:
    """Source text with the module that it stands in."""

    module: str
    text: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self.text, "text/markdown": f"From `{self.module}`:\n\n```python\n{self.text}\n```"}


def source(*things: Callable[..., Any] | type) -> Listing:
    """The source of functions or classes of one module, in the order given."""
    modules = {thing.__module__ for thing in things}
    if len(modules) != 1:
        raise ValueError(f"source: must be from one module, not {sorted(modules)}")
    return Listing(modules.pop(), "\n\n".join(inspect.getsource(thing).rstrip() for thing in things))
