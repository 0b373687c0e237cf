"""The page `docs/your-own.md`: every command on it is run, and prints what stands there.

`python tests/test_your_own.py` writes the outputs into the page.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from mlinfra.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "your-own.md"
BLOCK = re.compile(r"^```console\n\$ python -m mlinfra (.*)\n((?:.*\n)*?)```$", re.M)


def printed(command: str) -> str:
    """What the command prints, from the project's folder."""
    with redirect_stdout(io.StringIO()) as output:
        assert main(shlex.split(command)) < 2
    return "\n".join(map(str.rstrip, output.getvalue().splitlines())) + "\n"


def commands() -> dict[str, str]:
    return dict(BLOCK.findall(PAGE.read_text("utf-8")))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_page_prints_what_stands_there(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "chart" in command:
        pytest.importorskip("helm_python")
    monkeypatch.chdir(ROOT)
    assert printed(command) == commands()[command]


def test_the_page_shows_every_command() -> None:
    assert {command.split()[0] for command in commands()} == set(COMMANDS)
    assert len(commands()) == PAGE.read_text("utf-8").count("\n$ ")


def test_the_files_and_flags_that_it_names_are_there() -> None:
    text = PAGE.read_text("utf-8")
    assert all((ROOT / name).exists() for name in re.findall(r"\bexamples/[\w.]+", text))
    assert all((PAGE.parent / link).exists() for link in re.findall(r"\]\(([^)#:]+)\)", text))
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "mlinfra" / "commands").glob("*.py"))
    flags = set(re.findall(r"`(--[a-z0-9-]+)", text)) - {"--help", "--json"}
    assert all(f'"{flag}"' in sources or flag == "--cpu" for flag in flags)


def test_every_example_is_used() -> None:
    text = PAGE.read_text("utf-8")
    unused = [path.name for path in (ROOT / "examples").iterdir() if path.name not in text]
    assert unused == ["serve_config.yaml"], "which the replay of a Ray Serve configuration reads"


def test_the_compiled_pipeline_is_that_of_its_source(tmp_path: Path) -> None:
    compiler = pytest.importorskip("kfp.compiler")
    source = runpy.run_path(str(ROOT / "examples" / "pipeline.py"))
    compiler.Compiler().compile(source["sales_forecast"], str(tmp_path / "pipeline.yaml"))
    comment = r"(?:# .*pipeline\.py .*\n)+"
    stored = (ROOT / "examples" / "pipeline.yaml").read_text("utf-8")
    assert re.sub(comment, "", stored, count=1) == (tmp_path / "pipeline.yaml").read_text("utf-8")


if __name__ == "__main__":
    page = BLOCK.sub(
        lambda match: f"```console\n$ python -m mlinfra {match[1]}\n{printed(match[1])}```", PAGE.read_text("utf-8")
    )
    PAGE.write_text(page, "utf-8")
