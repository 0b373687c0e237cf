"""The reader's side of a notebook: guesses, figures, panels and listings. It knows no topic."""

from mlinfra.study.exercise import reveal
from mlinfra.study.figure import Figure, Row, steps
from mlinfra.study.panel import Panel, Slider, panel
from mlinfra.study.source import Listing, source

__all__ = ["Figure", "Listing", "Panel", "Row", "Slider", "panel", "reveal", "source", "steps"]
