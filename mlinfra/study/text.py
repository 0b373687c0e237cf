"""Markdown as the result of a cell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """Markdown that reads well as plain text too; it looks the same in every notebook.

    A notebook stores it once, as Markdown; its plain form there is the first line.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self.text.partition("\n")[0], "text/markdown": self.text}


def folded(summary: str, markdown: str) -> str:
    """The Markdown behind a line that opens it."""
    return f"<details><summary>{summary}</summary>\n\n{markdown}\n\n</details>"
