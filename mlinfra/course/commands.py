"""What command lines printed when the course's application ran, recorded where the notebooks cannot run them."""

from __future__ import annotations

from importlib.resources import files


def printed(command: str) -> str:
    """The recorded output of a command such as "serve status"."""
    name = command.replace(" ", "_") + ".txt"
    return (files("mlinfra.course") / "files" / name).read_text("utf-8")


def session(*commands: str) -> str:
    """The recorded commands with their outputs, as a terminal shows them."""
    return "\n".join(f"$ {command}\n{printed(command)}" for command in commands)
