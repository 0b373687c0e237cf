"""Pipelines on KFP's local runner: the course's own, and small ones that fail, repeat and remember."""

from __future__ import annotations

import builtins
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from pipeline_steps import (
    MAKE,
    component,
    contained,
    dying,
    leaving,
    loop,
    make,
    other,
    reader,
    returned,
    small,
    variant,
)

from mlinfra.admission import validate
from mlinfra.admission.rules import Invalid
from mlinfra.course import classifier, steps
from mlinfra.course.pipeline import training_pipeline
from mlinfra.pipelines import KubeflowPipeline, Source, local
from mlinfra.pipelines.cache import Cache
from mlinfra.pipelines.compiled import Value

SMALL = KubeflowPipeline.compiled(small)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> local.LocalRun:
    return local.run(training_pipeline, tmp_path_factory.mktemp("clean"))


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
    assert metrics["plain"] == metrics["plain, champion"] > 0.95
    held_out = classifier.evaluation_messages(300, 0)
    assert metrics["all"] == pytest.approx(classifier.accuracy(classifier.load(), held_out))
    assert trained.output("prepare", "training").metadata == {"messages": 400}
    manifest = yaml.safe_load(trained.output("deploy", "service").path.read_text())
    assert validate(manifest) == []
    assert manifest["spec"]["predictor"]["model"]["storageUri"] == str(trained.output("train", "model").path)


def test_the_gate_lets_a_model_lose_a_point_and_not_more() -> None:
    """272/300 less 275/300 is -0.010000000000000009 in binary."""
    assert steps.smallest_gain({"all": 272 / 300}, {"all": 275 / 300}) == -0.01
    assert steps.smallest_gain({"all": 0.9, "turned": 0.1}, {"all": 0.8, "turned": 0.15}) == -0.05


def test_the_service_names_a_runtime_that_reads_the_file() -> None:
    service, runtime = steps.inference_service("s3://a/b"), steps.serving_runtime()
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [each["name"] for each in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_the_gate_refuses_a_worse_model(tmp_path: Path) -> None:
    run = local.run(training_pipeline, tmp_path, {"epochs": 3})
    assert run.states()["deploy"] == "skipped"
    assert run.states()["report"] == "ran"
    assert run.output("evaluate") < -0.01
    with pytest.raises(ValueError, match=r"output: deploy\.service: must be one of prepare\.evaluation, "):
        run.output("deploy", "service")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_failing_step_is_tried_again_as_asked(tmp_path: Path) -> None:
    run = local.run(small, tmp_path, {"failures": 2})
    assert run.tasks["fit"].attempts == 3
    assert run.output("fit", "model").path.read_text() == "a whole model"
    assert run.output("size") == 13
    assert "told: SUCCEEDED" in run.log


def test_a_step_that_keeps_failing_fails_the_run_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    with pytest.raises(local.RunFailed, match=r'^task "fit" failed 3 times: ValueError: no words$') as failure:
        local.run(small, tmp_path, {"failures": 3})
    assert failure.value.run.states() == {"make": "ran", "fit": "failed", "size": "skipped", "tell": "ran"}
    assert "told: FAILED" in failure.value.run.log
    assert files(tmp_path) == {"data", "data.tried", "executor_output.json"}, "no model, and nothing unfinished"


@pytest.mark.parametrize("how", ["be killed", "vanish", "exit"])
def test_a_step_that_ends_in_the_middle_fails_the_run_with_its_reason(tmp_path: Path, how: str) -> None:
    with pytest.raises(local.RunFailed, match=r'^task "die" failed once: \w') as failure:
        local.run(dying, tmp_path, {"how": how})
    assert failure.value.run.states() == {"die": "failed", "tell": "ran"}
    assert f"about to {how}" in failure.value.run.log
    assert "data" not in files(tmp_path), "no artifact that is half there"


def test_a_step_that_leaves_early_with_nothing_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(local.RunFailed, match=r"die") as failure:
        local.run(leaving, tmp_path)
    assert "about to leave early" in failure.value.run.log
    assert failure.value.run.states() == {"die": "ran", "fit": "skipped"}


def test_nothing_is_left_behind_in_this_process(tmp_path: Path) -> None:
    from kfp.local.config import LocalExecutionConfig

    before, printing, handlers = os.environ.get("TMPDIR"), builtins.print, logging.getLogger().handlers[:]
    local.run(small, tmp_path)
    local.run(loop, tmp_path)
    assert builtins.print is printing, "KFP indents what is printed, and in a loop forgets to stop"
    assert logging.getLogger().handlers == handlers
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
    run = local.run(small, tmp_path / "some runs")
    assert set(run.states().values()) == {"ran"}
    assert sys.executable == str(spaced)


def test_a_container_needs_its_image(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"tasks\[trainer\]: The SubprocessRunner only supports"):
        local.run(contained, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"row": 3}, r"arguments\[row\]: no such parameter; there are failures, rows"),
        ({"rows": "3"}, "'3': must be of type int"),
    ],
)
def test_bad_arguments_start_nothing(arguments: dict[str, Value], why: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=why):
        local.run(small, tmp_path, arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_does_not_see_what_lies_behind_a_path(tmp_path: Path) -> None:
    source = tmp_path / "messages.txt"

    def text(cache: bool, place: Path = source) -> tuple[str, str]:
        run = local.run(reader, tmp_path / "runs", {"source": str(place)}, cache=cache)
        return run.states()["read"], run.output("read", "data").path.read_text()

    source.write_text("old")
    assert text(cache=True) == ("ran", "old")
    source.write_text("new")
    assert text(cache=True) == ("cached", "old"), "the lie"
    assert text(cache=False) == ("ran", "new")
    dated = source.rename(tmp_path / "messages-2.txt")
    assert text(True, dated) == ("ran", "new")


def test_the_simulated_cache_skips_what_the_real_one_skips(tmp_path: Path) -> None:
    cache = Cache()
    uncached, edited = variant(make_cached=False), variant(fit_failures=0)
    runs: list[tuple[Any, dict[str, Value]]] = [
        (uncached, {}),
        (variant(), {}),
        (variant(), {}),
        (variant(), {"rows": 80}),
        (variant(), {}),
        (edited, {}),
        (uncached, {}),
        (variant(), {"failures": 1}),
    ]
    for pipeline, arguments in runs:
        simulated = cache.run(KubeflowPipeline.compiled(pipeline), arguments)
        assert simulated == local.run(pipeline, tmp_path, arguments, cache=True).states()


def making(made: Any) -> KubeflowPipeline:
    def body():  # type: ignore[no-untyped-def]
        made(rows=7)

    return KubeflowPipeline.compiled(dsl.pipeline(name="p")(body))


def test_the_key_has_image_source_and_parameters() -> None:
    cache = Cache()
    for each in (MAKE, component(make, "registry.example.com/python:2.0.0"), component(other)):
        assert set(cache.run(making(each)).values()) == {"ran"}
        assert set(cache.run(making(each)).values()) == {"cached"}


def test_a_refused_run_leaves_the_cache_alone() -> None:
    cache, sized = Cache(), KubeflowPipeline.compiled(returned)
    wrong: list[dict[str, Value]] = [{}, {"row": 7}, {"rows": "7"}]
    for arguments in wrong:
        with pytest.raises(Invalid, match=r"values\[|arguments\["):
            cache.run(sized, arguments)
    with pytest.raises(Invalid, match="is in a loop, which this model of the cache leaves out"):
        cache.run(KubeflowPipeline.compiled(loop))
    assert cache == Cache()
    assert set(cache.run(sized, values={Source("Output", "size"): 13}).values()) == {"ran"}


def test_another_pipeline_shares_no_cache() -> None:
    cache = Cache()
    assert set(cache.run(SMALL).values()) == {"ran"}
    assert set(cache.run(KubeflowPipeline.compiled(variant("other"))).values()) == {"ran"}
    assert set(cache.run(KubeflowPipeline.compiled(variant())).values()) == {"cached"}


def test_no_two_artifacts_share_an_id() -> None:
    """Five from the first run; the second finds what `prepare` put out, and makes three more."""
    cache, course = Cache(), KubeflowPipeline.compiled(training_pipeline)
    cache.run(course)
    cache.run(course, {"epochs": 3})
    ids = [number for made in cache.executions.values() for number in made.values()]
    assert sorted(ids) == list(range(1, 9))


def test_a_loop_runs_and_its_outputs_are_lists_in_the_order_of_the_items(tmp_path: Path) -> None:
    run = local.run(loop, tmp_path)
    assert run.output("take") == [6, 3, 9]
    assert run.output("largest") == 9
    assert run.tasks["take"].attempts == 3
