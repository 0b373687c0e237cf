"""What the pictures of notebook 03 say is what the compiled pipelines and the schedules give."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pipeline_steps import COURSE, COURSE_WORKFLOW, branches, loop, wide

from mlinfra.course import compiled_file, plans
from mlinfra.course.pictures import pipelines as pictures
from mlinfra.pipelines import KubeflowPipeline, argo
from mlinfra.pipelines.timing import Preemptible


def texts(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</t", svg)


def test_the_graph_has_each_task_what_it_passes_and_the_condition() -> None:
    figure = pictures.graph(COURSE)
    shown = texts(figure.svg)
    assert {"prepare", "train", "evaluate", "deploy", "report", "training", "evaluation", "model"} <= set(shown)
    assert any("Output" in text for text in shown), "the comparison"
    assert figure.description.endswith("prepare, train, evaluate, deploy, report.")


def test_the_graph_of_a_loop_says_how_often() -> None:
    shown = texts(pictures.graph(KubeflowPipeline.compiled(loop)).svg)
    assert {"data, for each of 3 items", "Output, collected"} <= set(shown)


@pytest.mark.parametrize("function", [branches, wide], ids=lambda each: str(each.name))
def test_the_graph_of_a_large_pipeline_has_every_task(function: Any) -> None:
    pipeline = KubeflowPipeline.compiled(function)
    assert {task.name for task in pipeline.tasks} <= set(texts(pictures.graph(pipeline).svg))


def test_the_tree_counts_the_pods_of_a_run() -> None:
    assert f"{len(argo.pods(COURSE_WORKFLOW))} pods" in pictures.argo_tree(COURSE_WORKFLOW).description


def test_the_backend_names_its_parts() -> None:
    shown = " ".join(texts(pictures.backend().svg))
    for part in ("KFP SDK", "API server", "workflow", "driver", "launcher", "metadata store", "object store"):
        assert part in shown


@pytest.mark.parametrize(("gpus", "minutes"), [(1, 215), (2, 155), (3, 95)])
def test_the_timeline_says_how_long_the_fan_out_takes(gpus: int, minutes: int) -> None:
    assert plans.minutes(plans.fan_out(3), gpus) == minutes
    assert f": {minutes} minutes in all" in pictures.trainings(gpus, 3, 60).description


def test_one_more_gpu_makes_grahams_steps_longer() -> None:
    assert [plans.minutes(plans.nine_steps(), gpus) for gpus in (3, 4)] == [12, 15]
    assert "take 15 minutes" in pictures.nine_steps_on(4).description


def test_every_setting_of_the_panels_fits_its_axis() -> None:
    for first_min in (30, 120):
        assert pictures.trainings(1, 4, first_min).svg
    for every_min in (5, 240):
        assert pictures.spot(50, every_min, 60).svg


def test_the_cost_on_spot_is_the_expected_time_times_the_price() -> None:
    expected = Preemptible(4 * 3600, 0.5).expected_s() / (4 * 3600) * 33
    assert f"{expected:.0f} % of the cost" in pictures.spot(50, 30, 33).description


def test_the_annotated_file_is_the_compiled_one() -> None:
    parts = yaml.safe_load(compiled_file.annotated(COURSE.ir, COURSE.platform).text)
    tasks = COURSE.ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert parts["train"] == tasks["train"]
    assert parts["comp-train"] == COURSE.ir["components"]["comp-train"]
    assert parts["condition-2"]["triggerPolicy"]["condition"].startswith(
        tasks["condition-2"]["triggerPolicy"]["condition"][:40]
    )
    assert {"platforms": parts["platforms"]} == COURSE.platform
