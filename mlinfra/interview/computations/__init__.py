"""The computations of the bank: one function a card, named after the card's id, one module a notebook."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from mlinfra.interview.computations import autoscaling, gpu, helm, kserve, llm, pipelines, ray_serve
from mlinfra.interview.computations.computed import Numbers

COMPUTATIONS: dict[str, Callable[[], Numbers]] = {
    name.replace("_", "-"): function
    for notebook in (kserve, llm, ray_serve, pipelines, gpu, autoscaling, helm)
    for name, function in inspect.getmembers(notebook, inspect.isfunction)
    if function.__module__ == notebook.__name__
}
"""Each computation by the id of its card."""

__all__ = ["COMPUTATIONS", "Numbers"]
