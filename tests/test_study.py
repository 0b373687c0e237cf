"""Figures, panels, exercises, listings and working copies."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbclient.exceptions import CellExecutionError

from mlinfra import admission, manifest, study
from mlinfra.study import copies, manifests


def line(*values: float) -> dict[str, list[tuple[float, float]]]:
    return {"value": [(float(t), v) for t, v in enumerate(values)]}


def test_functions_with_the_same_effect_are_the_same() -> None:
    tidy = study.Exercise("tidy", lambda n: [n, 1], [(lambda n: [n], "one is missing")], [(3,), (4,)], effect=sorted)
    assert str(tidy.check(lambda n: [1, n])) == "Right."
    assert "one is missing" in str(tidy.check(lambda n: [n]))
    assert "Your answer raised TypeError" in str(tidy.check(lambda n: n))
    assert "For (3) yours gives [3, 3]" in str(tidy.check(lambda n: [n, n]))


def test_a_notebook_says_which_engine_is_missing() -> None:
    assert study.needs("json", "ast") == "installed: json, ast"
    with pytest.raises(ModuleNotFoundError, match=r"needs no_such_engine: pip install"):
        study.needs("json", "no_such_engine")


def test_an_engine_is_heard_only_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with study.quiet():
        print("starting")
        logging.getLogger("engine").warning("noise")
        warnings.warn("old", stacklevel=1)
    assert capfd.readouterr() == ("", "")

    def fail() -> None:
        print("one\ntwo")
        raise ValueError("broken")

    with pytest.raises(RuntimeError, match="ValueError: broken\none\ntwo"), study.quiet():
        fail()


def draw(cpu: int) -> study.Figure:
    if cpu == 13:
        raise ValueError("13 % is not drawn")
    return study.steps(f"at {cpu}", f"cpu is {cpu}", study.Row("y", line(cpu)))


def test_a_panel_moves_its_sliders_and_moves_them_back() -> None:
    panel = study.panel(draw, cpu=study.Slider("CPU, %", 0, 100, 30))
    assert panel.at(cpu=80).description == "cpu is 80"
    assert panel._figure is not None
    assert panel._figure.description == "cpu is 30"
    assert '<p role="status">cpu is 30</p>' in panel._view.value


def test_there_is_more_than_one_panel_in_a_notebook() -> None:
    assert study.panel is study.panel
    assert callable(study.panel)


def test_a_panel_shows_what_its_callback_raises() -> None:
    panel = study.panel(draw, cpu=study.Slider("CPU, %", 0, 100, 13))
    assert panel._view.value == '<p role="status">This setting has no picture: 13 % is not drawn</p>'
    with pytest.raises(ValueError, match="13 % is not drawn"):
        panel.at(cpu=13)


def engine(name: str, cpu: int) -> study.Figure:
    return study.steps(name, f"{name} at {cpu}", study.Row("y", line(cpu)))


def test_a_panel_chooses_from_names_and_goes_back() -> None:
    choice = study.Choice("Autoscaler", ["HPA", "KPA"], "HPA")
    panel = study.panel(engine, name=choice, cpu=study.Slider("CPU, %", 0, 100, 30))
    assert panel.at(name="KPA").description == "KPA at 30"
    assert panel._figure is not None
    assert panel._figure.description == "HPA at 30"
    (dropdown,) = choice.widgets(live=True)
    assert (dropdown.description, dropdown.value) == ("Autoscaler", "HPA"), "the label is what a screen reader says"
    with pytest.raises(ValueError, match=r"name: 'VPA': must be one of HPA, KPA"):
        panel.at(name="VPA")


@pytest.mark.parametrize(
    ("options", "value", "message"),
    [
        ([], "HPA", "must be different texts, one at least"),
        (["HPA", "HPA"], "HPA", "must be different texts, one at least"),
        (["HPA"], "KPA", "'KPA': must be one of HPA"),
    ],
)
def test_a_choice_offers_different_texts_and_starts_at_one(options: list[str], value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study.Choice("Autoscaler", options, value)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"gpu": 1}, 'slider "gpu": must be one of cpu'), ({"cpu": 101}, "cpu: 101: must be from 0 to 100")],
)
def test_a_panel_refuses_what_its_sliders_cannot_do(values: dict[str, Any], message: str) -> None:
    panel = study.panel(draw, cpu=study.Slider("CPU, %", 0, 100, 30))
    with pytest.raises(ValueError, match=message):
        panel.at(**values)


def test_a_slider_and_its_twin_carry_the_same_whole_label() -> None:
    for slider in (study.Slider("CPU, %", 0, 100, 30), study.Slider("Tolerance", 0.0, 0.3, 0.1, 0.01)):
        handle, box = slider.widgets(live=True)
        assert handle.description == box.description == slider.label
        assert (handle.min, handle.max, handle.value) == (box.min, box.max, box.value)


def halve(n: int) -> int:
    return n // 2


EXERCISES = [
    (study.Exercise("six", 6, [(4, "that is 4")]), 6, 4, "that is 4", 5, "5 is not it"),
    (
        study.Exercise("halve", halve, [(lambda n: n, "not halved")], cases=[(2,), (9,)]),
        lambda n: n // 2,
        lambda n: n,
        "not halved",
        lambda n: n / 2,
        "For (9) yours gives 4.5, and 4 is right.",
    ),
]


@pytest.mark.parametrize(("exercise", "right", "mistake", "word", "other", "difference"), EXERCISES)
def test_the_three_outcomes(
    exercise: study.Exercise, right: Any, mistake: Any, word: str, other: Any, difference: str
) -> None:
    assert exercise.check(...).outcome == "Not attempted"
    assert exercise.check(right).outcome == "Right"
    assert exercise.check(mistake).message == word
    assert exercise.check(other).outcome == "Not yet"
    assert difference in exercise.check(other).message


def test_an_answer_that_changes_its_arguments_does_not_change_the_cases() -> None:
    held = study.Exercise("held", lambda jobs: jobs["a"], [], cases=[({"a": 1},)])
    for _ in range(2):
        assert held.check(lambda jobs: jobs.pop("a")).outcome == "Right"
    assert held.check(lambda jobs: 0).outcome == "Not yet"


def test_an_answer_that_raises_is_told_so() -> None:
    exercise = study.Exercise("halve", halve, [], cases=[(2,)])
    assert exercise.check(lambda n: n / 0).message == "Your answer raised ZeroDivisionError: division by zero, for (2)"


def test_source_is_of_one_module() -> None:
    assert "def halve" in study.source(halve).text
    with pytest.raises(ValueError, match="source: 'halve': must be a function or a class"):
        study.source("halve")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x: 5: must be a study"):
        study.panel(lambda x: study.grid("t", "d"), x=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be from one module"):
        study.source(halve, study.steps)


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bert"}}


def test_show_gives_the_verdict_with_the_manifest() -> None:
    assert study.show(ACCOUNT).text == manifest.to_yaml(ACCOUNT)
    wrong = ACCOUNT | {"metadata": {"name": "My"}}
    assert study.show(wrong).text.startswith("# refused: metadata.name: Invalid value")


def stored(path: Path, text: str) -> None:
    outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": text})]
    cell = nbformat.v4.new_code_cell("x", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


def test_working_copies_are_made_once_and_never_overwritten(tmp_path: Path) -> None:
    originals, work = tmp_path / "notebooks", tmp_path / "work"
    originals.mkdir()
    stored(originals / "01.ipynb", "old")
    assert copies.work_on(originals, work) == ["copied 01.ipynb"]
    (work / "01.ipynb").write_text("mine", "utf-8")
    assert copies.work_on(originals, work) == []
    stored(originals / "01.ipynb", "new")
    (line,) = copies.work_on(originals, work)
    assert line == "01.ipynb: yours is kept, and the course's newer one lies beside it: 01-2.ipynb"
    assert (work / "01.ipynb").read_text("utf-8") == "mine"
    assert '"new"' not in (work / "01-2.ipynb").read_text("utf-8"), "without outputs"
    assert copies.work_on(originals, work) == []


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(manifests.FOLDER, str(tmp_path / "manifests"))
    return tmp_path / "manifests"


def test_a_configuration_without_a_name_is_handed_over_by_its_kind(handed_over: Path) -> None:
    study.show({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"})
    assert [path.name for path in handed_over.iterdir()] == ["kubeschedulerconfiguration.yaml"]


def test_only_accepted_manifests_are_handed_over(handed_over: Path) -> None:
    study.show(ACCOUNT)
    study.show(ACCOUNT | {"metadata": {"name": "My"}})
    study.show(ACCOUNT)
    study.show(ACCOUNT | {"automountServiceAccountToken": False})
    files = sorted(handed_over.iterdir())
    assert [path.name for path in files] == ["serviceaccount-bert-2.yaml", "serviceaccount-bert.yaml"]
    assert yaml.safe_load(files[1].read_text()) == ACCOUNT


def test_without_a_folder_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(manifests.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    study.show(ACCOUNT)
    assert not list(tmp_path.iterdir())


def test_what_an_engine_wrote_is_handed_over_too_once_it_is_accepted(handed_over: Path) -> None:
    rendered = manifest.to_yaml(ACCOUNT) + "---\n{apiVersion: v1, kind: ConfigMap, metadata: {generateName: bert-}}\n"
    folded = study.show_text("Rendered:", rendered)
    assert "<details><summary>Rendered:</summary>" in folded._repr_mimebundle_()["text/markdown"]
    study.show_text("Compiled:", "pipelineInfo: {name: bert}\n---\nplatforms: {}\n")
    assert sorted(path.name for path in handed_over.iterdir()) == [
        "configmap-bert.yaml",
        "pipeline-bert.yaml",
        "serviceaccount-bert.yaml",
    ]
    compiled = yaml.safe_load_all((handed_over / "pipeline-bert.yaml").read_text())
    assert list(compiled) == [{"pipelineInfo": {"name": "bert"}}, {"platforms": {}}]
    with pytest.raises(admission.Invalid, match="Torn: is invalid"):
        study.show_text("Torn:", rendered.replace("ServiceAccount", "ServiceAcount"))


def notebook(path: Path, *sources: str) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]), path)
    return path


def test_a_notebook_hands_over_while_it_runs_and_says_which_engine_is_missing(tmp_path: Path) -> None:
    show = "from mlinfra import manifest, study\nstudy.show(" + repr(ACCOUNT) + ")"
    assert manifests.run(notebook(tmp_path / "01.ipynb", show), tmp_path / "out") == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["serviceaccount-bert.yaml"]
    needy = notebook(tmp_path / "02.ipynb", show, "study.needs('no_such_engine')")
    assert manifests.run(needy, tmp_path / "out").startswith("not run: no_such_engine is not installed. pip install")
    with pytest.raises(CellExecutionError):
        manifests.run(notebook(tmp_path / "03.ipynb", "1 / 0"), tmp_path / "out")


def test_a_call_that_cannot_be_taken_says_in_one_line_what_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manifests.main(["work"]) == copies.main([]) == copies.main(["-x"]) == copies.main(["a", "b"]) == 2
    assert copies.main(["README.md"]) == copies.main(["notebooks"]) == 2
    monkeypatch.chdir(tmp_path)
    assert manifests.main([]) == copies.main(["work"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8
    assert all("python -m mlinfra.study." in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_the_page_beside_the_copies_leads_to_them(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("[1](notebooks/01.ipynb#A) [terms](GLOSSARY.md) [w](https://x.y) [h](#h)")
    assert (
        copies.page(tmp_path, tmp_path / "work") == "[1](01.ipynb#A) [terms](../GLOSSARY.md) [w](https://x.y) [h](#h)"
    )


def test_a_panel_is_a_function_however_often_it_is_asked_for() -> None:
    """Its module has the same name, and importing it must not hide the function."""
    code = "from mlinfra import study; study.Slider; print(callable(study.panel), callable(study.panel))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
