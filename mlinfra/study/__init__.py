"""The reader's side of a notebook: guesses, exercises, figures, panels and listings. It knows no topic."""

from mlinfra.study.boxes import Boxes, Cell, Span, bars, grid, timeline, tree
from mlinfra.study.diagram import diagram
from mlinfra.study.diagram_boxes import Arrow
from mlinfra.study.engines import needs, quiet
from mlinfra.study.exercise import Exercise, Verdict
from mlinfra.study.figure import Figure, Row, steps
from mlinfra.study.guess import reveal
from mlinfra.study.listing import Listing, show, show_text, source
from mlinfra.study.panel import Choice, Panel, Slider, panel
from mlinfra.study.text import Text

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
