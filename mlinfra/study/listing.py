"""Listings: the package's own source and the manifests of a notebook, as text that the tests compare."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlinfra.admission import validate
from mlinfra.admission.rules import Problem, refuse
from mlinfra.manifest import Manifest, to_yaml

REFUSED = "# refused: "


@dataclass(frozen=True)
class Listing:
    """Text in a language, under a line that says what it is; a long one is folded.

    A notebook stores it once, as Markdown; its plain form there is the line above it.
    """

    caption: str
    language: str
    text: str
    folded: bool = False

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        fenced = f"```{self.language}\n{self.text.rstrip()}\n```"
        shown = f"{self.caption}\n\n{fenced}"
        if self.folded:
            shown = f"<details><summary>{self.caption}</summary>\n\n{fenced}\n\n</details>"
        return {"text/plain": self.caption, "text/markdown": shown}


def source(*things: Callable[..., Any] | type) -> Listing:
    """The source of functions or classes of one module, in the order given: what is shown is what runs."""
    for thing in things:
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            raise ValueError(f"source: {thing!r}: must be a function or a class")
    modules = {thing.__module__ for thing in things}
    if len(modules) != 1:
        raise ValueError(f"source: must be from one module, not {sorted(modules)}")
    text = "\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    return Listing(f"From `{modules.pop()}`:", "python", text)


def show(obj: Manifest) -> Listing:
    """The manifest as YAML with its verdict; objections and warnings stand as comments on top."""
    verdict = validate(obj)
    refused = any(isinstance(each, Problem) for each in verdict)
    if not refused:
        _hand_over([obj])
    comments = "".join(f"{REFUSED if isinstance(each, Problem) else '# '}{each}\n" for each in verdict)
    caption = "The API server would refuse this:" if refused else "Accepted by the strict check:"
    return Listing(caption, "yaml", comments + to_yaml(obj))


def show_text(caption: str, text: str) -> Listing:
    """A text of several documents, folded, as an engine wrote it; Invalid when an object among them is refused."""
    import yaml

    documents = [document for document in yaml.safe_load_all(text) if document]
    for document in documents:
        refuse(caption, validate(document) if "kind" in document else ())
    _hand_over(documents)
    return Listing(caption, "yaml", text, folded=True)


def _hand_over(documents: Sequence[Manifest]) -> None:
    """Where `make manifests` runs the notebook, a file; imported here, for `python -m` imports it once more."""
    from mlinfra.study.manifests import hand_over

    hand_over(documents)
