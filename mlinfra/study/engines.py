"""The engines that a notebook runs on, and their chatter kept out of its outputs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from mlinfra.study.offer import OFFERED, in_browser, offer, register

INSTALL = 'pip install "mlinfra[notebooks,engines]" (on Linux first torch from PyTorch\'s CPU wheel index, see README)'
AT_HOME = "run it on a machine of your own, see README"
LAST_LINES = 10


def needs(*packages: str) -> Any:
    """What the notebook runs on; ModuleNotFoundError says what is missing and how to install it.

    In a browser, where pip installs nothing, one package that can be added is offered instead.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if in_browser():
        register()
    if not missing:
        return f"installed: {', '.join(packages)}"
    if not in_browser():
        raise ModuleNotFoundError(f"this notebook needs {', '.join(missing)}: {INSTALL}")
    if len(missing) == 1 and missing[0] in OFFERED:
        return offer(missing[0])
    raise ModuleNotFoundError(f"this notebook needs {', '.join(missing)}, which does not run in a browser: {AT_HOME}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What an engine prints, logs or warns is kept; if it fails, RuntimeError ends in the last lines of it."""
    said, level = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)  # an engine's handlers write to the streams that they found at import
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        lines = said.getvalue().splitlines()[-LAST_LINES:]
        raise RuntimeError("\n".join([f"{type(error).__name__}: {error}", *lines])) from error
    finally:
        logging.disable(level)
