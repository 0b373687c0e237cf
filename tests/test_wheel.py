"""The wheel alone, with the packages that it requires and no others: the command line runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def required(name: str) -> set[str]:
    """The packages that a package needs, extras left out, and what those need."""
    needs = {name}
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needs |= required(requirement.name)
    return needs


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel and links to what it requires."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    shutil.copytree(ROOT / "mlinfra", source / "mlinfra", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(wheel, check=True)
    site = folder / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(site), *folder.glob("*.whl")], check=True)
    for name in required("mlinfra") - {"mlinfra"}:
        for path in {Path(file.parts[0]) for file in metadata.files(name) or () if file.parts[0] != ".."}:
            whole = Path(str(metadata.distribution(name).locate_file(path)))
            if not (site / path).exists() and whole.exists():
                (site / path).symlink_to(whole)
    return site


def mlinfra(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", "-m", "mlinfra", *arguments]
    environment = {"PYTHONPATH": str(site), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=ROOT / "examples", env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("validate hpa.yaml", "1 object, all accepted."),
        ("validate serve_config.yaml", "not checked here: Ray's own schema does that, and Ray is not installed"),
        ("validate chart", "is a chart, and there is no Helm"),
        ("explain hpa.yaml --replicas 4 --metric requests_in_flight=21", "New size: 7"),
        ("replay hpa.yaml --traffic traffic.csv --service-time 2 --concurrency 4", "latency p99, s"),
        ("place cluster.json --pools pools.yaml", "4 pending: 3 placed, 1 not"),
        ("tune hpa.yaml --traffic traffic.csv --service-time 2 --concurrency 4 --p99 5s", "target"),
    ],
)
def test_the_command_line_runs_on_the_wheel_and_what_it_requires(installed: Path, command: str, says: str) -> None:
    done = mlinfra(installed, *command.split())
    assert says in done.stdout + done.stderr, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_packages_of_the_notebooks_are_not_there(installed: Path) -> None:
    """Or the tests above would prove nothing."""
    code = "import numpy"
    done = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(installed)}, capture_output=True)
    assert b"ModuleNotFoundError" in done.stderr
