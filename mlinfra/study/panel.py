"""Sliders above one picture that a pure function draws; the picture is swapped, never displayed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets
from traitlets import link

from mlinfra.study.figure import WIDTH, Figure

Number = int | float


@dataclass(frozen=True)
class Slider:
    """A whole label with its unit, the range, and the value at the start; floats make a float slider."""

    label: str
    low: Number
    high: Number
    value: Number
    step: Number = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "value", "step"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 2**53:
                raise ValueError(f'slider "{self.label}": {name}: {number!r}: must be a number')
        if not self.low <= self.value <= self.high or self.step <= 0:
            why = "the value must be from low to high, and the step above 0"
            raise ValueError(f'slider "{self.label}": {self.low}, {self.high}, {self.value}, {self.step}: {why}')

    def widgets(self, live: bool) -> tuple[Any, Any]:
        """The slider, and a number box of the same name: the twin that a screen reader can read and type into."""
        whole = all(isinstance(n, int) for n in (self.low, self.high, self.value, self.step))
        slider, box = (
            (widgets.IntSlider, widgets.BoundedIntText) if whole else (widgets.FloatSlider, widgets.BoundedFloatText)
        )
        given = {"value": self.value, "min": self.low, "max": self.high, "step": self.step, "description": self.label}
        return (
            slider(
                **given,
                readout=False,
                continuous_update=live,
                style={"description_width": "initial"},
                layout={"width": f"{WIDTH - 120}px", "max_width": "100%"},
            ),
            box(**given, style={"description_width": "0px"}, layout={"width": "90px"}),
        )


class Panel(widgets.VBox):  # type: ignore[misc]
    """A drawing function with its sliders; `at` moves them from code and gives the figure."""

    def __init__(self, draw: Callable[..., Figure], sliders: dict[str, Slider], live: bool) -> None:
        self._draw, self._sliders = draw, {}
        self._view = widgets.HTML()
        rows = []
        for name, slider in sliders.items():
            handle, box = slider.widgets(live)
            handle.observe(self._redraw, "value")
            link((handle, "value"), (box, "value"))  # after the redraw: a jslink would make the picture wait
            self._sliders[name] = handle
            rows.append(widgets.HBox([handle, box], layout={"flex_flow": "row wrap"}))
        super().__init__([*rows, self._view])
        if live:
            self.add_class("mlinfra-live")
        self._redraw()

    def _redraw(self, _: object = None) -> None:
        self._figure, self._error = None, None
        try:
            self._figure = self._draw(**{name: slider.value for name, slider in self._sliders.items()})
            picture, said = self._figure.svg, self._figure.description
        except Exception as error:  # shown to the reader: a front end only logs what a callback raises
            self._error, picture, said = error, "", f"This setting has no picture: {error}"
        self._view.value = f'{picture}<p role="status">{escape(said)}</p>'

    def at(self, **values: Number) -> Figure:
        """The figure with the sliders moved to these values; they move back afterwards."""
        for name, value in values.items():
            self._check(name, value)
        before = {name: self._sliders[name].value for name in values}
        try:
            for name, value in values.items():
                self._sliders[name].value = value
            if self._error is not None:
                raise self._error
            assert self._figure is not None
            return self._figure
        finally:
            for name, value in before.items():
                self._sliders[name].value = value

    def _check(self, name: str, value: Number) -> None:
        if name not in self._sliders:
            raise ValueError(f'slider "{name}": must be one of {", ".join(self._sliders)}')
        slider = self._sliders[name]
        whole = isinstance(slider, widgets.IntSlider)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"{name}: {value!r}: must be a {'whole ' if whole else ''}number")
        if not slider.min <= value <= slider.max:
            raise ValueError(f"{name}: {value}: must be from {slider.min} to {slider.max}")

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        widget = super()._repr_mimebundle_(**kwargs)
        still = self._figure.bundle() if self._figure else {}
        return {**widget, **still}, {"image/png": {"width": WIDTH}} if still else {}


def panel(draw: Callable[..., Figure], live: bool = True, **sliders: Slider) -> Panel:
    """Sliders that redraw `draw(**values)`; `live=False` waits for the handle to be released (slow drawings)."""
    if not sliders:
        raise ValueError("a panel needs a slider")
    return Panel(draw, sliders, live)
