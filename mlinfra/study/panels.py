"""Sliders and choices above one picture that a pure function draws; the picture is swapped, never displayed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    @property
    def whole(self) -> bool:
        return all(isinstance(n, int) for n in (self.low, self.high, self.value, self.step))

    def check(self, name: str, value: Any) -> None:
        """ValueError for a value that the slider cannot have."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            raise ValueError(f"{name}: {value!r}: must be a {'whole ' if self.whole else ''}number")
        if not self.low <= value <= self.high:
            raise ValueError(f"{name}: {value}: must be from {self.low} to {self.high}")

    def widgets(self, live: bool) -> tuple[Any, ...]:
        """The slider, and a number box of the same name: the twin that a screen reader can read and type into."""
        slider, box = (
            (widgets.IntSlider, widgets.BoundedIntText)
            if self.whole
            else (widgets.FloatSlider, widgets.BoundedFloatText)
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


@dataclass(frozen=True)
class Choice:
    """A label, the texts to choose from, and the one at the start: a dropdown."""

    label: str
    options: Sequence[str]
    value: str

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) < len(self.options):
            raise ValueError(f'choice "{self.label}": {list(self.options)}: must be different texts, one at least')
        self.check(f'choice "{self.label}"', self.value)

    def check(self, name: str, value: Any) -> None:
        """ValueError for a value that is none of the options."""
        if value not in self.options:
            raise ValueError(f"{name}: {value!r}: must be one of {', '.join(self.options)}")

    def widgets(self, live: bool) -> tuple[Any, ...]:
        """The dropdown alone: its label belongs to it, and a screen reader says both."""
        given = {"options": tuple(self.options), "value": self.value, "description": self.label}
        layout = {"width": "max-content", "max_width": "100%"}
        return (widgets.Dropdown(**given, style={"description_width": "initial"}, layout=layout),)


Control = Slider | Choice


class Panel(widgets.VBox):  # type: ignore[misc]
    """A drawing function with its sliders and choices; `at` sets them from code and gives the figure."""

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, Control], live: bool) -> None:
        self._draw, self._controls, self._handles = draw, controls, {}
        self._view = widgets.HTML()
        rows = []
        for name, control in controls.items():
            handle, *twins = control.widgets(live)
            handle.observe(self._redraw, "value")
            for twin in twins:  # after the redraw: a jslink would make the picture wait
                link((handle, "value"), (twin, "value"))
            self._handles[name] = handle
            rows.append(widgets.HBox([handle, *twins], layout={"flex_flow": "row wrap"}))
        super().__init__([*rows, self._view])
        if live:
            self.add_class("mlinfra-live")
        self._redraw()

    def _redraw(self, _: object = None) -> None:
        self._figure, self._error = None, None
        try:
            self._figure = self._draw(**{name: handle.value for name, handle in self._handles.items()})
            picture, said = self._figure.svg, self._figure.description
        except Exception as error:  # shown to the reader: a front end only logs what a callback raises
            self._error, picture, said = error, "", f"This setting has no picture: {error}"
        self._view.value = f'{picture}<p role="status">{escape(said)}</p>'

    def at(self, **values: Number | str) -> Figure:
        """The figure with the sliders and choices set to these values; they go back afterwards."""
        for name, value in values.items():
            if name not in self._controls:
                raise ValueError(f'slider "{name}": must be one of {", ".join(self._controls)}')
            self._controls[name].check(name, value)
        before = {name: self._handles[name].value for name in values}
        try:
            for name, value in values.items():
                self._handles[name].value = value
            if self._error is not None:
                raise self._error
            assert self._figure is not None
            return self._figure
        finally:
            for name, value in before.items():
                self._handles[name].value = value

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        widget = super()._repr_mimebundle_(**kwargs)
        still = self._figure.bundle() if self._figure else {}
        still.pop("text/html", None)  # in a browser: the widget itself is there
        return {**widget, **still}, {"image/png": {"width": WIDTH}} if "image/png" in still else {}


def panel(draw: Callable[..., Figure], live: bool = True, **controls: Control) -> Panel:
    """Sliders and choices that redraw `draw(**values)`; `live=False` waits until a handle is released (slow ones)."""
    if not controls:
        raise ValueError("a panel needs a slider")
    for name, control in controls.items():
        if not isinstance(control, Slider | Choice):
            raise ValueError(f"{name}: {control!r}: must be a study.Slider or a study.Choice")
    return Panel(draw, controls, live)
