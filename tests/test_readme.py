"""Every command of the README is run, or stands here with the reason why it is not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from waiting import until

from mlinfra import Problem, validate

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
COMMANDS = ("make", "python", "pip", "pytest", "conda", "jupyter")

RUN = (
    "make mock SEED=7",
    "make answers SEED=7",
    "make review",
    "make paper",
    "make manifests",
    "make refresh NB=06",
    "make facts",
    "python -m mlinfra.study.copies work",
    "python -m mlinfra.interview chain release",
    "python -m mlinfra validate examples/hpa.yaml",
    "python -m mlinfra explain examples/hpa.yaml --replicas 4 --metric requests_in_flight=21",
    "python -m mlinfra replay examples/hpa.yaml --traffic examples/traffic.csv --service-time 2 --concurrency 4",
)
SERVE = ("make lab", "jupyter lab work/01_kserve.ipynb")
GATE = {
    "make test": "is the gate",
    "make site": "is what the site's test builds",
    "python -m http.server --bind 127.0.0.1 --directory build/site": "is how the site's test serves it",
    "python tests/summary.py": "is what `make test` runs",
    "pytest --nbval": "is a part of the gate",
    "pytest tests/conformance --cases DIR": "is a part of the gate, on the project's own folder",
}
PARSED = {
    "conda env create -f environment.yml": "needs conda and its channels",
    "conda activate mlinfra": "needs conda",
    "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu": "another index than CI has",
    "pip install -r requirements.txt -e .": "is what the Makefile did to make the environment of this run",
    'pip install -e ".[notebooks]"': "another environment; the extra is a part of the lock",
    "pip install .": "is what `test_wheel.py` does, without the network",
    "make lab TORCH=pypi": "another environment, of several GB",
    "make lab ONLY=notebooks": "another environment",
    "make bench": "measures for minutes, on a machine that does nothing else",
    "make mutants": "runs the tests some two hundred times",
    "make refresh": "is `make refresh NB=06`, six times",
}


def commands(text: str) -> list[str]:
    """The commands of code blocks, without their comments, and of inline code that begins with one."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines += [code for code in inline if code.split()[0] in COMMANDS and " " in code]
    return list(dict.fromkeys(part.strip() for line in lines for part in line.split("&&") if part.strip()))


def test_every_command_is_run_or_has_a_reason_why_not() -> None:
    listed = {*RUN, *SERVE, *GATE, *PARSED}
    assert set(commands(TEXT)) == listed
    assert all(shlex.split(command)[0] in COMMANDS for command in listed)


def test_what_is_only_parsed_names_what_there_is() -> None:
    named = [word for command in PARSED for word in shlex.split(command) if word.endswith((".txt", ".yml"))]
    assert named
    assert all((ROOT / word).exists() for word in named)
    extra = re.search(r"\.\[(\w+)\]", " ".join(PARSED))
    assert extra
    assert f"\n{extra[1]} = [" in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"pip install {(ROOT / 'requirements.txt').read_text('utf-8').partition('torch==')[1]}" in " ".join(PARSED)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the project, which shares the environment and is older than it: make installs nothing there."""
    folder = tmp_path_factory.mktemp("clone") / "mlinfra"
    unwanted = shutil.ignore_patterns(
        ".git", ".venv", "build", "work", ".hypothesis", ".*_cache", "*.egg-info", "__pycache__"
    )
    shutil.copytree(ROOT, folder, ignore=unwanted)
    for name in ("pyproject.toml", "requirements.txt"):
        os.utime(folder / name, (0, 0))
    (folder / ".venv").symlink_to(Path(sys.prefix))
    return folder


def started(command: str, folder: Path) -> subprocess.Popen[str]:
    """The command in the folder, in a process group of its own, with this environment's programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "BROWSER": "true"}
    return subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", RUN)
def test_a_command_of_the_readme_runs_in_a_clean_copy(command: str, clone: Path) -> None:
    process = started(command, clone)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.strip()
    if command in CHECKS:
        CHECKS[command](clone, output)


@pytest.mark.slow
def test_a_clean_copy_leaves_the_environment_to_the_project(clone: Path) -> None:
    """Else `mlinfra` would be imported from a folder that is gone after the tests."""
    output, _ = started("make --dry-run environment", clone).communicate()
    assert "pip" not in output, output


@pytest.mark.slow
@pytest.mark.parametrize("command", SERVE)
def test_a_command_that_serves_does_so(command: str, clone: Path) -> None:
    process = started(command if command.startswith("make") else f"{command} {AS_ROOT}", clone)
    lines = list[str]()
    assert process.stdout
    try:
        for line in process.stdout:
            lines.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\S+token=\w+", line):
                until("the page", lambda: "JupyterLab" in _page(address[0]), lambda: lines)
                return
        raise AssertionError("".join(lines))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


AS_ROOT = "--allow-root" if os.name == "posix" and os.getuid() == 0 else ""


def _page(address: str) -> str:
    """The page; empty while the server does not answer yet."""
    try:
        with urllib.request.urlopen(address) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


def manifests_are_read_back(clone: Path, _: str) -> None:
    """At least one file a notebook, each of one object that is accepted as it was when it was shown."""
    folders = sorted((clone / "build" / "manifests").iterdir())
    assert [folder.name for folder in folders] == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    for path in (clone / "build" / "manifests").rglob("*.yaml"):
        documents = list(yaml.safe_load_all(path.read_text("utf-8")))
        assert verdict(documents) == [], path


def verdict(documents: list[dict[str, object]]) -> list[object]:
    """What is refused of the documents of a file: of an object by its kind, of a pipeline by KFP's own loader."""
    if "pipelineInfo" in documents[0]:
        from kfp import components

        return [] if components.load_component_from_text(yaml.safe_dump_all(documents)) else ["not loaded"]
    (obj,) = documents
    return [each for each in validate(obj) if isinstance(each, Problem)]


def nothing_changed(_: Path, output: str) -> None:
    assert re.search(r"^same +\S*06_helm\.ipynb$", output, re.M), output


CHECKS: dict[str, Callable[[Path, str], None]] = {
    "make manifests": manifests_are_read_back,
    "make refresh NB=06": nothing_changed,
}


def test_the_readmes_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert capsys.readouterr().out
