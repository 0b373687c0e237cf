"""The command line as a person calls it: help, exit codes, JSON; `validate` and `explain`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import GOOD

from mlinfra.__main__ import COMMANDS, main
from mlinfra.commands.flags import WorkProgress, duration
from mlinfra.manifest import Manifest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
HPA = str(EXAMPLES / "hpa.yaml")
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Calls a command; its exit code, what it printed, and what it complained of."""

    def call(*argv: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in argv])
        except SystemExit as end:  # argparse's own way
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def written(folder: Path, *objects: Manifest, name: str = "objects.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump_all(objects), "utf-8")
    return path


# ---------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_without_a_command_they_are_shown_with_an_example_each(argv: list[str], said: Said) -> None:
    code, text, complaint = said(*argv)
    assert (code, complaint) == (0, "")
    assert all(f"python -m mlinfra {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_an_example(name: str, said: Said) -> None:
    code, text, _ = said(name, "--help")
    assert code == 0
    assert f"python -m mlinfra {name} " in text.partition("example:")[2]


CALLS = (
    ("validate", HPA),
    ("explain", HPA, "--replicas", "4"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--service-time", "2", "--concurrency", "4"),
    ("replay", EXAMPLES / "vpa.yaml", "--traffic", EXAMPLES / "query_range.json"),
    ("place", EXAMPLES / "cluster.json"),
    ("tune", HPA, "--traffic", EXAMPLES / "traffic.csv", "--p99", "1ms", "--settings", "1", "--jobs", "1"),
)


@pytest.mark.parametrize("argv", CALLS, ids=lambda argv: str(argv[0]))
def test_json_is_all_that_is_printed_for_a_program(argv: tuple[object, ...], said: Said) -> None:
    code, text, complaint = said(*argv, "--json")
    assert code in (0, 1)
    assert complaint == ""
    assert json.loads(text, parse_constant=pytest.fail)


USAGE = (
    ("nothing",),
    ("explain", HPA),
    ("explain", HPA, "--replicas", "-1"),
    ("explain", HPA, "--replicas", "4", "--cpu", "90%"),
    ("explain", HPA, "--replicas", "4", "--metric", "requests_in_flight=much"),
    ("explain", HPA, "--replicas", "4", "--metric", "requests_in_flight=-1"),
    ("explain", HPA, "--replicas", "4", "--metric", "requests_in_flight"),
    ("explain", HPA, "--replicas", "4", "--request", "cpu=0"),
    ("explain", EXAMPLES / "vpa.yaml", "--replicas", "4"),
    ("explain", "none.yaml", "--replicas", "4"),
    ("replay", HPA),
    ("replay", HPA, "--traffic", "none.csv"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--as", "percent"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--service-time", "0"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--service-time", "nan"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--concurrency", "1.5"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--measure", "requests_in_flight=luck"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--measure", "rps=rate"),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--picture", "none/out.svg"),
    ("replay", EXAMPLES / "cluster.json", "--traffic", EXAMPLES / "traffic.csv"),
    ("replay", EXAMPLES / "vpa.yaml", "--traffic", EXAMPLES / "traffic.csv", "--against", HPA),
    ("replay", HPA, "--traffic", EXAMPLES / "traffic.csv", "--against", EXAMPLES / "vpa.yaml"),
    ("place", HPA),
    ("place", EXAMPLES / "cluster.json", "--profile", HPA),
    ("tune", HPA, "--traffic", EXAMPLES / "traffic.csv"),
    ("tune", HPA, "--traffic", EXAMPLES / "traffic.csv", "--p99", "fast"),
    ("validate", EXAMPLES),
)


@pytest.mark.parametrize("argv", USAGE, ids=lambda argv: " ".join(map(str, argv)).replace(str(EXAMPLES), ""))
def test_a_call_that_cannot_be_answered_ends_with_2(argv: tuple[object, ...], said: Said) -> None:
    code, text, complaint = said(*argv)
    assert (code, text) == (2, "")
    assert complaint.splitlines()[-1].startswith("mlinfra")


def test_it_runs_as_a_program_and_ends_with_its_code() -> None:
    command = [sys.executable, "-m", "mlinfra", "validate", "-"]
    done = subprocess.run(command, cwd=ROOT, input=b"kind: Node\n", capture_output=True)
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"1 object, 1 refused." in done.stdout


def test_who_has_read_enough_gets_no_traceback() -> None:
    command = f"{sys.executable} -m mlinfra validate {EXAMPLES / 'cluster.json'} | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("accepted  Node/gpu-a100-1 ")
    assert done.stderr == ""


def test_an_interruption_is_no_traceback(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlinfra.commands.explain.run", interrupted)
    assert said("explain", HPA, "--replicas", "4") == (130, "", "interrupted\n")


def test_half_a_character_is_shown_as_a_question_mark(tmp_path: Path, said: Said) -> None:
    path = tmp_path / "half.json"
    path.write_text('{"apiVersion": "example.com/v1", "kind": "Half", "metadata": {"name": "\\ud800"}}')
    assert said("validate", path)[1].startswith("accepted  Half/?  (")


@pytest.mark.parametrize(
    ("whole_s", "text"), [(5, "5 s"), (3510, "58 min 30 s"), (7200, "2 h"), (604_800, "7 d"), (90_000, "1 d 1 h")]
)
def test_a_duration_has_two_units_at_most(whole_s: float, text: str) -> None:
    assert duration(whole_s) == text


def test_progress_is_shown_on_a_terminal_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, now = Terminal(), [0.0]
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = WorkProgress(1000, "settings")
    progress(1)
    assert terminal.getvalue() == ""
    now[0] = 2.0
    progress(500)
    progress(501)
    progress.end()
    assert terminal.getvalue() == "\r500 of 1,000 settings\r\033[K"


# ------------------------------------------------------------------------------------------------------------- validate


def test_validate_says_what_the_server_would_say(tmp_path: Path, said: Said) -> None:
    wrong = GOOD["Deployment"] | {"spec": {**GOOD["Deployment"]["spec"], "replicas": "two"}}
    code, text, _ = said("validate", written(tmp_path, GOOD["Service"], wrong))
    assert code == 1
    assert "accepted  Service/bert" in text
    assert (
        "  json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" in text
        or "cannot unmarshal string" in text
    )
    assert text.endswith("2 objects, 1 refused.\n")


def test_validate_reads_what_kubectl_prints_from_standard_input(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": [GOOD["Pod"], GOOD["Node"]]}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(items).encode())))
    code, text, _ = said("validate", "-", "--json")
    assert code == 0
    assert [(row["kind"], row["file"]) for row in json.loads(text)["objects"]] == [("Pod", "-"), ("Node", "-")]


def test_validate_says_what_was_not_checked(tmp_path: Path, said: Said) -> None:
    other = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    code, text, _ = said("validate", written(tmp_path, other))
    assert code == 0
    assert "not checked here: Widget in example.com/v1" in text


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    chart = tmp_path / "hello"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: hello\nversion: 0.1.0\n")
    (chart / "values.yaml").write_text("replicas: 1\n")
    template = yaml.safe_dump(GOOD["Deployment"]).replace("replicas: 2", "replicas: {{ .Values.replicas }}")
    (chart / "templates" / "deployment.yaml").write_text(template)
    (chart / "templates" / "nothing.yaml").write_text("# nothing by default\n")
    (chart / "templates" / "NOTES.txt").write_text("Thank you.\n")
    return chart


@pytest.mark.skipif(find_spec("helm_python") is None, reason="no Helm")
def test_validate_renders_a_chart_first(chart: Path, tmp_path: Path, said: Said) -> None:
    assert said("validate", chart)[:2] == (0, f"accepted  Deployment/bert  ({chart})\n\n1 object, all accepted.\n")
    values = written(tmp_path, {"replicas": -1}, name="values.yaml")
    code, text, _ = said("validate", chart, "--values", values)
    assert code == 1
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in text


@pytest.mark.skipif(find_spec("helm_python") is None, reason="no Helm")
@pytest.mark.parametrize("template", ["{{ .Values.replicas.none.none }}", "a: 1\na: 2\n", "just text"])
def test_a_chart_that_does_not_render_to_objects_is_refused(template: str, chart: Path, said: Said) -> None:
    (chart / "templates" / "deployment.yaml").write_text(template)
    code, text, _ = said("validate", chart)
    assert code == 1
    assert text.startswith("refused  Chart/hello")


def test_validate_reads_both_documents_of_a_compiled_pipeline(tmp_path: Path, said: Said) -> None:
    code, text, _ = said("validate", EXAMPLES / "pipeline.yaml")
    assert code == 0
    assert text.startswith("accepted  Pipeline/sales-forecast")
    assert "tasks[fit].tolerations: not given" in text
    ir = yaml.safe_load((EXAMPLES / "pipeline.yaml").read_text("utf-8"))
    tolerations = {"exec-fit": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": tolerations}}}}
    assert "tolerations" not in said("validate", written(tmp_path, ir, platform))[1]
    ir["root"]["dag"]["tasks"]["read-sales"]["dependentTasks"] = ["read-sales"]
    assert "a circle never starts" in said("validate", written(tmp_path, ir))[1]


@pytest.mark.parametrize("broken", [3, {}, {"components": {"a": 3}, "root": {"dag": 4}}], ids=str)
def test_validate_refuses_what_is_no_compiled_pipeline(broken: object, tmp_path: Path, said: Said) -> None:
    document = {"pipelineInfo": {"name": "x"}, **(broken if isinstance(broken, dict) else {"components": broken})}
    code, text, _ = said("validate", written(tmp_path, document))
    assert code == 1
    assert "pipelineInfo: the file is no compiled pipeline" in text


@pytest.mark.skipif(find_spec("helm_python") is None, reason="no Helm")
@pytest.mark.parametrize("values", ["[1]", "a: 1\n---\nb: 2\n", "a: {", None])
def test_values_that_are_no_map_cannot_be_used(values: str | None, chart: Path, tmp_path: Path, said: Said) -> None:
    if values is not None:
        (tmp_path / "mine.yaml").write_text(values)
    code, _, complaint = said("validate", chart, "--values", tmp_path / "mine.yaml")
    assert (code, complaint.count("\n")) == (2, 1)


def test_without_helm_a_chart_cannot_be_read(chart: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise ModuleNotFoundError("no Helm: pip install helm-python-sdk")

    monkeypatch.setattr("mlinfra.helm.engine.engine", none)
    assert said("validate", chart)[0] == 2


# -------------------------------------------------------------------------------------------------------------- explain


def test_explain_gives_the_decision_and_its_reasons(said: Said) -> None:
    code, text, _ = said("explain", HPA, "--replicas", "4", "--metric", "requests_in_flight=21")
    assert code == 0
    assert text.startswith("t=0 s: 4 -> 7 replicas\n")
    assert "Not used:" not in text, "the server's own fields are not listed"


def cpu_hpa(**target: Any) -> Manifest:
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    spec = {"maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "bert"}, "metrics": [metric]}
    head = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "bert"}}
    return {**head, "spec": spec}


@pytest.mark.parametrize(
    ("flags", "desired"),
    [
        (("--cpu", "90%"), 6),
        (("--cpu", "900m"), 6),
        (("--cpu", "450m", "--request", "cpu=500m"), 6),
        (("--cpu", "90%", "--unready", "2"), 4),
        ((), 4),
    ],
)
def test_explain_reads_cpu_as_a_share_or_an_amount(
    flags: tuple[str, ...], desired: int, tmp_path: Path, said: Said
) -> None:
    path = written(tmp_path, cpu_hpa(type="Utilization", averageUtilization=60))
    code, text, _ = said("explain", path, "--replicas", "4", *flags, "--json")
    assert code == 0
    assert json.loads(text)["desired"] == desired


def test_explain_says_what_holds_a_step_down_back(tmp_path: Path, said: Said) -> None:
    path = written(tmp_path, cpu_hpa(type="Utilization", averageUtilization=60))
    _, text, _ = said("explain", path, "--replicas", "4", "--cpu", "30%")
    assert text.startswith("t=0 s: 4 -> 4 replicas\n")
    assert "ScaleDownStabilized" in text


def test_explain_refuses_as_the_server_does(tmp_path: Path, said: Said) -> None:
    code, text, complaint = said(
        "explain", written(tmp_path, cpu_hpa(type="Utilization", averageUtilization=0)), "--replicas", "4"
    )
    assert (code, text) == (1, "")
    assert "spec.metrics[0].resource.target.averageUtilization: " in complaint
