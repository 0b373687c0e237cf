"""Pipelines on KFP's local runner: the course's own, and small ones that fail, repeat and remember."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pipeline_steps import DIE, FIT, MAKE, READ, SIZE, TELL, TRAINER, make, other

from mlinfra.admission import validate
from mlinfra.admission.rules import Invalid
from mlinfra.course import classifier, steps
from mlinfra.pipelines import Component, If, Pipeline, PipelineInput, Retry, Task, TaskOutput, local
from mlinfra.pipelines.cache import Cache
from mlinfra.pipelines.task import Value

TASKS = (
    Task("make", MAKE, {"rows": PipelineInput("rows")}),
    Task("fit", FIT, {"data": TaskOutput("make", "data"), "failures": PipelineInput("failures")}, retry=Retry(2)),
    Task("size", SIZE, {"model": TaskOutput("fit", "model")}, when=If(TaskOutput("fit"), ">=", 0.5)),
)
SMALL = Pipeline("small", TASKS, {"rows": 70, "failures": 0}, on_exit=Task("tell", TELL, enable_cache=False))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> local.LocalRun:
    return local.run(steps.pipeline(), tmp_path_factory.mktemp("clean"))


def test_the_course_pipeline_runs_from_a_clean_folder(trained: local.LocalRun) -> None:
    assert trained.states() == dict.fromkeys(("prepare", "train", "evaluate", "deploy", "report"), "ran")


def test_its_model_predicts_as_the_committed_weights_do(trained: local.LocalRun) -> None:
    examples = json.loads(trained.output("prepare", "evaluation").path.read_text())
    ids = [classifier.tokens(text) for text, _ in examples]
    ours, served = (
        classifier.probabilities(model, ids)
        for model in (classifier.load(trained.output("train", "model").path), classifier.load())
    )
    assert [[round(p, 3) for p in row] for row in ours] == [[round(p, 3) for p in row] for row in served]


def test_metrics_and_manifest_are_read_back(trained: local.LocalRun) -> None:
    metrics = trained.output("evaluate", "metrics").metadata
    assert metrics["plain"] == metrics["plain, champion"] == 1.0
    assert metrics["all"] == pytest.approx(classifier.accuracy(classifier.load(), classifier.messages(300, 1)))
    assert trained.output("prepare", "training").metadata == {"messages": 400}
    manifest = yaml.safe_load(trained.output("deploy", "service").path.read_text())
    assert validate(manifest) == []
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == str(trained.output("train", "model").path)


def test_the_gate_refuses_a_worse_model(tmp_path: Path) -> None:
    run = local.run(steps.pipeline(), tmp_path, {"epochs": 3})
    assert run.states()["deploy"] == "skipped"
    assert run.states()["report"] == "ran"
    assert run.output("evaluate") < -0.01
    with pytest.raises(ValueError, match=r"output: deploy\.service: must be one of prepare\.evaluation, "):
        run.output("deploy", "service")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_failing_step_is_tried_again_as_asked(tmp_path: Path) -> None:
    run = local.run(SMALL, tmp_path, {"failures": 2})
    assert run.tasks["fit"].attempts == 3
    assert run.output("fit", "model").path.read_text() == "a whole model"
    assert run.output("size") == 13
    assert "told: SUCCEEDED" in run.log


def test_a_step_that_keeps_failing_fails_the_run_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    with pytest.raises(local.RunFailed, match=r'^task "fit" failed 3 times: ValueError: no words$') as failure:
        local.run(SMALL, tmp_path, {"failures": 3})
    assert failure.value.run.states() == {"make": "ran", "fit": "failed", "size": "skipped", "tell": "ran"}
    assert "told: FAILED" in failure.value.run.log
    assert files(tmp_path) == {"data", "data.tried", "executor_output.json"}, "no model, and nothing unfinished"


@pytest.mark.parametrize("how", ["be killed", "vanish", "exit"])
def test_a_step_that_ends_in_the_middle_fails_the_run_with_its_reason(tmp_path: Path, how: str) -> None:
    dying = Pipeline("dying", [Task("die", DIE, {"how": how})], on_exit=Task("tell", TELL, enable_cache=False))
    with pytest.raises(local.RunFailed, match=r'^task "die" failed once: \w') as failure:
        local.run(dying, tmp_path)
    assert failure.value.run.states() == {"die": "failed", "tell": "ran"}
    assert f"about to {how}" in failure.value.run.log
    assert "data" not in files(tmp_path), "no artifact that is half there"


def test_a_step_that_leaves_early_with_nothing_fails_the_run(tmp_path: Path) -> None:
    leaving = Task("die", DIE, {"how": "leave early"})
    fitted = Task("fit", FIT, {"data": TaskOutput("die", "data"), "failures": 0})
    with pytest.raises(local.RunFailed, match=r"die") as failure:
        local.run(Pipeline("leaving", [leaving, fitted]), tmp_path)
    assert "about to leave early" in failure.value.run.log
    assert failure.value.run.states() == {"die": "ran", "fit": "skipped"}


def test_nothing_is_left_behind_in_this_process(tmp_path: Path) -> None:
    from kfp.local.config import LocalExecutionConfig

    before = os.environ.get("TMPDIR")
    local.run(SMALL, tmp_path)
    assert os.environ.get("TMPDIR") == before
    assert LocalExecutionConfig.instance is None
    assert not (tmp_path / "temporary").exists()


def test_python_may_stand_in_a_folder_with_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP 2.17.0 writes its path into a script without quotes."""
    spaced = tmp_path / "my projects" / "python3"
    spaced.parent.mkdir()
    spaced.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    spaced.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(spaced))
    run = local.run(SMALL, tmp_path / "some runs")
    assert set(run.states().values()) == {"ran"}
    assert sys.executable == str(spaced)


def test_a_container_needs_its_image(tmp_path: Path) -> None:
    fitted = Task("fit", TRAINER, {"data": TaskOutput("make", "data"), "epochs": 3})
    with pytest.raises(Invalid, match=r"tasks\[fit\].component: The SubprocessRunner only supports"):
        local.run(Pipeline("p", [Task("make", MAKE, {"rows": 7}), fitted]), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"row": 3}, r"arguments\[row\]: no such parameter; there are rows, failures"),
        ({"rows": "3"}, "'3': must be of type int"),
    ],
)
def test_bad_arguments_start_nothing(arguments: dict[str, Value], why: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=why):
        local.run(SMALL, tmp_path, arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_does_not_see_what_lies_behind_a_path(tmp_path: Path) -> None:
    source = tmp_path / "messages.txt"
    reader = Pipeline("reader", [Task("read", READ, {"source": PipelineInput("source")})], {"source": str(source)})

    def text(cache: bool, arguments: dict[str, Value] | None = None) -> tuple[str, str]:
        run = local.run(reader, tmp_path / "runs", arguments, cache=cache)
        return run.states()["read"], run.output("read", "data").path.read_text()

    source.write_text("old")
    assert text(cache=True) == ("ran", "old")
    source.write_text("new")
    assert text(cache=True) == ("cached", "old"), "the lie"
    assert text(cache=False) == ("ran", "new")
    dated = source.rename(tmp_path / "messages-2.txt")
    assert text(True, {"source": str(dated)}) == ("ran", "new")


def test_the_simulated_cache_skips_what_the_real_one_skips(tmp_path: Path) -> None:
    cache = Cache()
    values: dict[TaskOutput, Value] = {}
    edited = (TASKS[0], Task("fit", FIT, {"data": TaskOutput("make", "data"), "failures": 0}), *TASKS[2:])
    uncached = (Task("make", MAKE, {"rows": 70}, enable_cache=False), *TASKS[1:])
    parameters: dict[str, Value] = {"rows": 70, "failures": 0}
    for tasks, arguments in [
        (uncached, {}),
        (TASKS, {}),
        (TASKS, {}),
        (TASKS, {"rows": 80}),
        (TASKS, {}),
        (edited, {}),
        (uncached, {}),
        (TASKS, {"failures": 1}),
    ]:
        pipeline = Pipeline("small", tasks, parameters)
        assert cache.run(pipeline, arguments, values) == local.run(pipeline, tmp_path, arguments, cache=True).states()


def test_the_key_has_image_source_and_parameters() -> None:
    def pipeline(component: Component) -> Pipeline:
        return Pipeline("p", [Task("make", component, {"rows": 7})])

    cache = Cache()
    for component in (MAKE, Component("registry.example.com/python:2.0.0", make), Component(MAKE.base_image, other)):
        assert cache.run(pipeline(component)) == {"make": "ran"}
        assert cache.run(pipeline(component)) == {"make": "cached"}


def test_a_refused_run_leaves_the_cache_alone() -> None:
    cache = Cache()
    returned = Task("again", MAKE, {"rows": TaskOutput("size")})
    sized = Pipeline("p", [*(replace(task, when=None) for task in TASKS), returned], SMALL.parameters)
    wrong: list[dict[str, Value]] = [{}, {"row": 7}, {"rows": "7"}]
    for arguments in wrong:
        with pytest.raises(Invalid, match=r"values\[|arguments\["):
            cache.run(sized, arguments)
    assert cache == Cache()
    assert set(cache.run(sized, values={TaskOutput("size"): 13}).values()) == {"ran"}


def test_another_pipeline_shares_no_cache() -> None:
    cache = Cache()
    assert set(cache.run(SMALL).values()) == {"ran"}
    assert set(cache.run(Pipeline("other", TASKS, SMALL.parameters)).values()) == {"ran"}
    assert set(cache.run(SMALL).values()) == {"cached"}


def test_no_two_artifacts_share_an_id() -> None:
    """Five from the first run; the second finds what `prepare` put out, and makes three more."""
    cache, course = Cache(), steps.pipeline()
    cache.run(course)
    cache.run(course, {"epochs": 3})
    ids = [number for made in cache.executions.values() for number in made.values()]
    assert sorted(ids) == list(range(1, 9))
