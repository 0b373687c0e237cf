"""Where Python runs in the reader's browser: what is missing there, and what the reader may add by a click."""

from __future__ import annotations

import sys
from html import escape
from importlib.util import find_spec
from typing import Any

OFFERED = ("numpy",)
"""Packages that the runtime of the browser knows an address and a hash for."""

PLACE = "cdn.jsdelivr.net"


def in_browser() -> bool:
    """Whether this Python runs in a browser, where nothing can be installed by pip."""
    return sys.platform == "emscripten"


def why(package: str) -> str:
    """What the reader is told before the click."""
    return (
        f"The cells up to the next heading need {package}, which is not a part of this site. Everything else runs "
        f"without it. The button gets it from {PLACE}, where the makers of Pyodide keep it: your browser then asks "
        "another host than this one. We have not tested that."
    )


def offer(package: str) -> Any:
    """The reason and a button; nothing is asked of another host before it is pressed."""
    import asyncio

    import ipywidgets as widgets

    button = widgets.Button(description=f"Get {package} from {PLACE}", layout={"width": "max-content"})
    said, tasks = widgets.HTML(_line(why(package))), list[asyncio.Future[None]]()

    def pressed(_: object) -> None:
        button.disabled, said.value = True, _line(f"Getting {package} ...")
        tasks.append(asyncio.ensure_future(_get(package, said, button)))

    button.on_click(pressed)
    return widgets.VBox([said, button])


def only_with(package: str, cell: str) -> None:
    """The cell magic `%%only_with numpy`: runs the cell where the package is there, else says that it was skipped."""
    from IPython.core.getipython import get_ipython

    if find_spec(package.strip()):
        get_ipython().run_cell(cell)
    else:
        print(f"Skipped: {package.strip()} is not here.")


def register() -> None:
    """A notebook in the browser can use the magic from now on: there an error would end Run All."""
    from IPython.core.getipython import get_ipython

    if shell := get_ipython():
        shell.register_magic_function(only_with, "cell", "only_with")


async def _get(package: str, said: Any, button: Any) -> None:
    """Load the package, and tell how that went."""
    import pyodide_js

    await pyodide_js.loadPackage(package)
    here = package in pyodide_js.loadedPackages.to_py()
    button.disabled = here
    after = f"{package} is here. Run the cells below." if here else f"{package} could not be fetched from {PLACE}."
    said.value = _line(after)


def _line(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'
