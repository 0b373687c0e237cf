"""Pipelines on KFP's own local runner (kfp 2.17.0, `kfp/local/`): every task is a process here, offline, one by one.

It honours retries, conditions, exit handlers and, if asked, a cache. Resources and placement mean nothing to it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlinfra.admission import refuse
from mlinfra.admission.nouns.pipelines import local_tasks, run_arguments
from mlinfra.pipelines.compiled import CompiledTask, KubeflowPipeline, Value

COLOUR = re.compile(r"\x1b\[\d+m")
LOGGED = re.compile("(INFO|WARNING|ERROR) - ")


@dataclass(frozen=True)
class Artifact:
    """A file that a task put out, with its metadata; metrics are metadata alone."""

    path: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRun:
    """What became of a task: ran, cached, skipped or failed; and what it put out."""

    state: str
    attempts: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalRun:
    """What became of every task, and all that was printed."""

    tasks: Mapping[str, TaskRun]
    log: str

    def states(self) -> dict[str, str]:
        return {name: task.state for name, task in self.tasks.items()}

    def output(self, task: str, name: str = "Output") -> Any:
        """A parameter's value, or an Artifact; ValueError when the task put out no such thing."""
        outputs = self.tasks[task].outputs if task in self.tasks else {}
        if name not in outputs:
            names = [f"{name}.{output}" for name, each in self.tasks.items() for output in each.outputs]
            raise ValueError(f"output: {task}.{name}: must be one of {', '.join(names) or 'none'}")
        return outputs[name]


class RunFailed(RuntimeError):
    """A task failed for good; `run` has what happened until then."""

    def __init__(self, message: str, run: LocalRun) -> None:
        self.run = run
        super().__init__(message)


def run(
    pipeline: Callable[..., Any], folder: Path, arguments: Mapping[str, Value] | None = None, cache: bool = False
) -> LocalRun:
    """Run a pipeline with its artifacts below `folder`; Invalid when it cannot run here, RunFailed when a task failed.

    With `cache` a task whose component and inputs were seen before (below the same folder) is not run again.
    """
    compiled, arguments = KubeflowPipeline.compiled(pipeline), arguments or {}
    refuse("local run", [*local_tasks(compiled.tasks), *run_arguments(compiled.parameters, arguments)])
    folder = folder.resolve()
    before = set(_runs(compiled, folder))
    printed = io.StringIO()
    with _plain_executable(), _configured(folder, cache), _captured(printed):
        try:
            pipeline(**arguments)
            failure = None
        except (RuntimeError, ValueError) as error:  # a step that put out nothing is a ValueError of the next
            failure = error
    log = COLOUR.sub("", printed.getvalue())
    done = next(iter(set(_runs(compiled, folder)) - before), folder / "nothing-ran")
    outcome = LocalRun({task.name: _task_run(task, done, log, folder) for task in compiled.tasks}, log)
    if failure:
        raise RunFailed(_reason(outcome, failure), outcome) from failure
    return outcome


def _runs(pipeline: KubeflowPipeline, folder: Path) -> list[Path]:
    return list(folder.glob(f"{pipeline.name}-[0-9]*"))


@contextlib.contextmanager
def _plain_executable() -> Iterator[None]:
    """KFP writes Python's path into a shell script without quotes, so one with a space gets a name without."""
    executable = sys.executable
    if shlex.quote(executable) == executable:
        yield
        return
    with tempfile.TemporaryDirectory() as place:
        wrapper = Path(place) / "python3"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(executable)} "$@"\n', "utf-8")
        wrapper.chmod(0o755)
        sys.executable = str(wrapper)
        try:
            yield
        finally:
            sys.executable = executable


@contextlib.contextmanager
def _configured(folder: Path, cache: bool) -> Iterator[None]:
    """KFP's global configuration for one run; what the steps leave in the folder for temporary files goes with it."""
    from kfp import local
    from kfp.local.config import LocalExecutionConfig

    folder.mkdir(parents=True, exist_ok=True)
    temporary, before = Path(tempfile.mkdtemp(prefix=".temporary-", dir=folder)), os.environ.get("TMPDIR")
    try:
        os.environ["TMPDIR"] = str(temporary)
        runner = local.SubprocessRunner(use_venv=False)
        local.init(runner, str(folder), workspace_root=str(temporary / "workspace"), enable_caching=cache)
        yield
    finally:
        LocalExecutionConfig.instance = None
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        shutil.rmtree(temporary)


@contextlib.contextmanager
def _captured(printed: io.StringIO) -> Iterator[None]:
    """What the runner prints and logs; it writes to the standard output and to the root logger."""
    import warnings

    root, handler = logging.getLogger(), logging.StreamHandler(printed)
    handler.setFormatter(logging.Formatter("%(levelname)s - %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with _one_logger(), contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # images without "python" in their names, resources
            yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@contextlib.contextmanager
def _one_logger() -> Iterator[None]:
    """KFP swaps `print` and the root's handlers around each task, in a loop from several threads: some never return."""
    from kfp.local import logging_utils

    swaps = {name: getattr(logging_utils, name) for name in ("indented_print", "local_logger_context")}
    for name in swaps:
        setattr(logging_utils, name, contextlib.nullcontext)
    try:
        yield
    finally:
        for name, swap in swaps.items():
            setattr(logging_utils, name, swap)


def _task_run(task: CompiledTask, run_folder: Path, log: str, folder: Path) -> TaskRun:
    """What became of a task; in a loop that ran in full each output is a list, in the order of the items."""
    name = re.escape(task.name)
    attempts = len(re.findall(rf"INFO - Executing task '{name}'$", log, re.M))
    hit = re.search(rf"Task {name} cache hit \(key=(\w+)\)", log)
    if attempts:
        if re.findall(rf"Task '{name}' finished with status (\w+)", log)[-1] != "SUCCESS":
            return TaskRun("failed", attempts)
        paths = run_folder.glob(f"**/{task.name}/executor_output.json")
        outputs = [_outputs(path) for path in sorted(paths, key=_iteration)]
        return TaskRun("ran", attempts, ({} if hit else _collected(outputs)) if task.loops else (outputs or [{}])[0])
    if hit:
        entry = next((folder / ".kfp_cache").glob(f"{hit[1]}*.json"))
        return TaskRun("cached", 0, {} if task.loops else _cached(json.loads(entry.read_text("utf-8"))))
    return TaskRun("skipped")


def _iteration(path: Path) -> list[int]:
    """The numbers of the iterations in a path, from the outermost loop on."""
    return [int(number) for number in re.findall(r"-iteration-(\d+)/", str(path))]


def _collected(iterations: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [outputs[name] for outputs in iterations] for name in iterations[0]} if iterations else {}


def _outputs(path: Path) -> dict[str, Any]:
    """What the executor wrote of a task: values of parameters, and artifacts."""
    written = json.loads(path.read_text("utf-8"))
    artifacts = {name: listed["artifacts"][0] for name, listed in written.get("artifacts", {}).items()}
    files = {name: Artifact(Path(each["uri"]), each.get("metadata", {})) for name, each in artifacts.items()}
    return dict(sorted({**written.get("parameterValues", {}), **files}.items()))


def _cached(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: Artifact(Path(value["uri"]), value["metadata"]) if isinstance(value, dict) and "uri" in value else value
        for name, value in sorted(entry.items())
    }


def _reason(outcome: LocalRun, failure: Exception) -> str:
    """The failed task and the last line that it printed, which is its exception."""
    broken = [(name, task) for name, task in outcome.tasks.items() if task.state == "failed"]
    if not broken:  # every step ended well, and KFP missed what one of them should have put out
        return f"no task failed, and yet: {failure}"
    name, failed = broken[0]
    printed = outcome.log.partition(f"Executing task '{name}'")[2].partition("finished with status FAILURE")[0]
    lines = [line.strip() for line in printed.splitlines() if re.search(r"\w", line) and not LOGGED.match(line)]
    times = "once" if failed.attempts == 1 else f"{failed.attempts} times"
    return f'task "{name}" failed {times}: {lines[-1] if lines else "it printed nothing"}'
