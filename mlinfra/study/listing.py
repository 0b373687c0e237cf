"""Listings: the package's own source and the manifests of a notebook, as text that the tests compare."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlinfra.manifest import Manifest, Problem, to_yaml

REFUSED = "# refused: "


@dataclass(frozen=True)
class Listing:
    """Text in a language, under a line that says what it is; a long one is folded."""

    caption: str
    language: str
    text: str
    folded: bool = False

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        fenced = f"```{self.language}\n{self.text.rstrip()}\n```"
        shown = f"{self.caption}\n\n{fenced}"
        if self.folded:
            shown = f"<details><summary>{self.caption}</summary>\n\n{fenced}\n\n</details>"
        return {"text/plain": self.text, "text/markdown": shown}


def source(*things: Callable[..., Any] | type) -> Listing:
    """The source of functions or classes of one module, in the order given: what is shown is what runs."""
    modules = {thing.__module__ for thing in things}
    if len(modules) != 1:
        raise ValueError(f"source: must be from one module, not {sorted(modules)}")
    text = "\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    return Listing(f"From `{modules.pop()}`:", "python", text)


def show(obj: Manifest, validate: Callable[[Manifest], list[Problem]]) -> Listing:
    """The manifest as YAML with its verdict; what is refused carries the objections as comments on top."""
    problems = validate(obj)
    refusals = "".join(f"{REFUSED}{problem}\n" for problem in problems)
    verdict = "The API server would refuse this:" if problems else "Accepted by the strict check:"
    return Listing(verdict, "yaml", refusals + to_yaml(obj))
