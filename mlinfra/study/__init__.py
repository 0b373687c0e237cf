"""The reader's side of a notebook: guesses, exercises, figures, panels and listings. It knows no topic."""

from mlinfra.study.exercise import Exercise, Verdict, reveal
from mlinfra.study.figure import Figure, Row, steps
from mlinfra.study.listing import Listing, show, source
from mlinfra.study.panel import Panel, Slider, panel

__all__ = [
    "Exercise",
    "Figure",
    "Listing",
    "Panel",
    "Row",
    "Slider",
    "Verdict",
    "panel",
    "reveal",
    "show",
    "source",
    "steps",
]
