"""The reader's side of a notebook: guesses, exercises, figures, panels and listings. It knows no topic."""

from mlinfra.study.engines import needs, quiet
from mlinfra.study.exercise import Exercise, Verdict
from mlinfra.study.figure import Boxes, Cell, Figure, Row, Span, bars, grid, steps, timeline, tree
from mlinfra.study.guess import reveal
from mlinfra.study.listing import Listing, show, show_text, source
from mlinfra.study.panel import Panel, Slider, panel
from mlinfra.study.text import Text

__all__ = [
    "Boxes",
    "Cell",
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
