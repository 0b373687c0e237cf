"""The reader's side of a notebook: guesses, exercises, figures, panels and listings. It knows no topic."""

from mlinfra.study.boxes import Boxes, Cell, Span, bars, grid, timeline, tree
from mlinfra.study.diagram import Arrow, diagram
from mlinfra.study.engines import needs, quiet
from mlinfra.study.exercise import Exercise, Verdict, reveal
from mlinfra.study.figure import Figure, Row, steps
from mlinfra.study.listing import Listing, show, show_text, source
from mlinfra.study.panel import Choice, Panel, Slider, panel

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
