"""The engines that a notebook runs on."""

from __future__ import annotations

from importlib.util import find_spec

INSTALL = 'pip install "mlinfra[notebooks,engines]" (on Linux first torch from PyTorch\'s CPU wheel index, see README)'


def needs(*packages: str) -> str:
    """What the notebook runs on; ModuleNotFoundError says what is missing and how to install it."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise ModuleNotFoundError(f"this notebook needs {', '.join(missing)}: {INSTALL}")
    return f"installed: {', '.join(packages)}"
