"""The reader's side of a notebook: guesses, exercises, figures, panels and listings. It knows no topic."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlinfra.study.boxes import Boxes, Cell, Span, bars, grid, timeline, tree
from mlinfra.study.diagram import diagram
from mlinfra.study.diagram_boxes import Arrow
from mlinfra.study.engines import needs, quiet
from mlinfra.study.exercise import Exercise, Verdict
from mlinfra.study.figure import Figure, Row, steps
from mlinfra.study.guess import reveal
from mlinfra.study.listing import Listing, show, show_text, source
from mlinfra.study.text import Text

if TYPE_CHECKING:
    from mlinfra.study.panels import Choice, Panel, Slider, panel

__all__ = [
    "Arrow",
    "Boxes",
    "Cell",
    "Choice",
    "Exercise",
    "Figure",
    "Listing",
    "Panel",
    "Row",
    "Slider",
    "Span",
    "Text",
    "Verdict",
    "bars",
    "diagram",
    "grid",
    "needs",
    "panel",
    "quiet",
    "reveal",
    "show",
    "show_text",
    "source",
    "steps",
    "timeline",
    "tree",
]


def __getattr__(name: str) -> Any:
    """What needs ipywidgets, which the command line does without, is loaded when it is asked for."""
    if name not in ("Choice", "Panel", "Slider", "panel"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.panels"), name)
