"""Autoscalers, each deciding as its upstream controller does, and the closed loop that compares them."""

from importlib import import_module
from typing import Any

_HOME = {"HorizontalPodAutoscaler": "hpa", "VerticalPodAutoscaler": "vpa"}


def __getattr__(name: str) -> Any:
    """The two objects by the names that they always had, loaded when asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
