"""The chart: strict lint, every combination of its switches, values that drive something, refusals; and the source's."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import math
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra import manifest
from mlinfra.admission.rules import Invalid
from mlinfra.helm import Chart
from mlinfra.helm.chart import EPOCH, SWITCHES, environment, layered, mistyped, validate, with_values
from mlinfra.helm.engine import CommandLine, HelmFailed, engine

CHART = Chart.inference()
ENVIRONMENTS = ("development", "staging", "production")
OTHERS = {"InferenceService": validate}


@pytest.mark.parametrize("name", ["default", *ENVIRONMENTS])
def test_strict_lint_finds_nothing(name: str) -> None:
    values = environment(name) if name in ENVIRONMENTS else {}
    assert CHART.lint(values) == []
    assert validate(CHART.objects(values)) == []


def combinations() -> Iterator[dict[str, Any]]:
    for environment_values in ({}, *map(environment, ENVIRONMENTS)):
        for switched in itertools.product((True, False), repeat=len(SWITCHES)):
            yield layered(environment_values, *map(with_values, SWITCHES, switched))


def test_every_combination_of_the_switches_renders_parses_and_validates() -> None:
    rendered, texts = 0, set[str]()
    for values in combinations():
        files = CHART.render(values)
        texts |= {text for name, text in files.items() if not name.endswith("NOTES.txt")}
        rendered += 1
    assert rendered == 4 * 2 ** len(SWITCHES) == 2048
    objects = [obj for text in texts for obj in yaml.safe_load_all(text) if obj]
    assert len(objects) > 100, "different objects, each validated once"
    assert validate(objects) == []


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values


OTHER = {
    "image.pullPolicy": "Always",
    "imagePullSecrets": ["registry"],
    "model.storageUri": "gs://other/model",
    "resources.requests.cpu": "3",
    "resources.requests.memory": "5Gi",
    "resources.limits.cpu": "3",
    "resources.limits.memory": "9Gi",
    "autoscaling.metric": "cpu",
    "service.type": "NodePort",
    "ingress.annotations": {"a": "b"},
    "ingress.hosts": [{"host": "other.example.com", "paths": [{"path": "/", "pathType": "Exact"}]}],
    "serviceAccount.annotations": {"a": "b"},
    "networkPolicy.fromNamespaces": ["other"],
    "monitoring.path": "/other",
    "kserve.mode": "Knative",
    "startup.timeoutSeconds": 310,
}
ON = layered(*(with_values(switch, True) for switch in SWITCHES if switch not in ("kserve.enabled", "redis.enabled")))


@pytest.mark.parametrize("path", [".".join(path) for path, _ in leaves(CHART.values)])
def test_every_value_drives_something(path: str) -> None:
    """Somewhere: with everything on, without autoscaling, as an InferenceService, or with a cache."""
    default = {".".join(path): value for path, value in leaves(CHART.values)}[path]
    changed = OTHER.get(
        path, not default if isinstance(default, bool) else default + 1 if isinstance(default, int) else f"{default}x"
    )
    places: list[dict[str, Any]] = [
        {},
        ON,
        layered(ON, with_values("autoscaling.enabled", False)),
        layered(ON, with_values("kserve.enabled", True)),
    ]
    places.append(layered(ON, with_values("cache.host", "cache.example.com")))
    assert any(CHART.render(layered(place, with_values(path, changed))) != CHART.render(place) for place in places)


def test_no_replicas_while_something_scales() -> None:
    def spec(enabled: bool) -> Any:
        objects = CHART.objects({"autoscaling": {"enabled": enabled}})
        return next(obj["spec"] for obj in objects if obj["kind"] == "Deployment")

    assert "replicas" not in spec(True)
    assert spec(False)["replicas"] == 2


def test_secure_by_default() -> None:
    pods = [obj for obj in CHART.objects({"redis": {"enabled": True}}) if obj["kind"] in ("Deployment", "Pod")]
    assert len(pods) == 3
    for obj in pods:
        spec = obj["spec"]["template"]["spec"] if obj["kind"] == "Deployment" else obj["spec"]
        (container,) = spec["containers"]
        assert manifest.RESTRICTED.items() <= container["securityContext"].items()
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["image"].rpartition(":")[2] not in ("", "latest")
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys() & container["resources"]["requests"].keys()
        assert spec["automountServiceAccountToken"] is False
    environments = {
        obj["metadata"]["name"]: obj["spec"]["template"]["spec"]["containers"][0]["env"] for obj in pods[:2]
    }
    secret = {"secretKeyRef": {"name": "bert-cache", "key": "password"}}
    assert all(secret in [entry.get("valueFrom") for entry in env] for env in environments.values()), "from a Secret"


def test_the_drain_is_longer_than_its_delay_and_probes_cover_the_start() -> None:
    spec = next(obj for obj in CHART.objects() if obj["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["terminationGracePeriodSeconds"] == container["lifecycle"]["preStop"]["sleep"]["seconds"] + 60
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 300
    assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_gpus_come_with_a_place() -> None:
    def pod(enabled: bool) -> Any:
        return next(o for o in CHART.objects({"gpu": {"enabled": enabled}}) if o["kind"] == "Deployment")["spec"][
            "template"
        ]["spec"]

    assert pod(True)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"nodeSelector", "tolerations"} <= pod(True).keys()
    assert not {"nodeSelector", "tolerations"} & pod(False).keys()
    assert "nvidia.com/gpu" not in pod(False)["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"replicaCount": "2"}, "replicaCount: got string, want integer"),
        ({"replicas": 2}, "values: additional properties 'replicas' not allowed"),
        ({"image": {"tag": "latest"}}, "image.tag: 'not' failed"),
        ({"gpu": {"count": 9}}, "gpu.count: maximum: got 9, want 8"),
        ({"model": {"storageUri": None}}, "model: missing property 'storageUri'"),
        ({"model": {"storageUri": "/mnt/model"}}, "model.storageUri: '/mnt/model' does not match pattern"),
        ({"ingress": {"hosts": [{"host": "a", "paths": ["/"]}]}}, "ingress.hosts.0.paths.0: got string, want object"),
        ({"resources": {"limits": {"memory": "8GB"}}}, "resources.limits.memory: '8GB' does not match pattern"),
        ({"rollout": {"maxSurge": 0}}, "rollout: 'not' failed"),
        ({"autoscaling": {"metric": "gpu"}}, "autoscaling.metric: value must be one of"),
        ({"service": {"port": 0}, "gpu": {"count": 0}}, "gpu.count: minimum: got 0, want 1; service.port: minimum"),
    ],
)
def test_bad_values_are_refused_by_the_schema(values: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        CHART.render(values)
    assert why in str(refusal.value)
    assert CHART.lint(values) != []


@pytest.mark.parametrize("kserve", [True, False])
def test_what_a_schema_cannot_say_is_said_by_a_template(kserve: bool) -> None:
    """Two values compared; the linter lets it pass, because `fail` does nothing there."""
    values = {"kserve": {"enabled": kserve}, "autoscaling": {"minReplicas": 5, "maxReplicas": 4}}
    with pytest.raises(Invalid, match="maxReplicas: must be greater than or equal to minReplicas"):
        CHART.render(values)
    assert CHART.lint(values) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/ {}\n:", max_size=4),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=150)
@given(st.sampled_from([".".join(path) for path, _ in leaves(CHART.values)]), JSON)
def test_any_value_is_refused_or_gives_objects_that_validate(path: str, value: Any) -> None:
    values: dict[str, Any] = layered(ON, with_values(path, value))
    try:
        objects = CHART.objects(values)
    except Invalid:
        return
    assert validate(objects) == []


def test_the_values_of_layers() -> None:
    assert layered({"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}}, {"a": {"x": None}}) == {"a": {"x": None, "y": [3]}}
    base = {"a": {"b": 1}}
    merged = layered(base, {"a": {"b": 2}}, {"c": base["a"]})
    merged["c"]["b"] = 7
    assert base == {"a": {"b": 1}}
    with pytest.raises(Invalid, match='Unsupported value: "test"'):
        environment("test")


def test_helm_lays_values_over_each_other_as_we_do() -> None:
    layers: list[dict[str, Any]] = [
        {"gpu": {"count": 3}},
        {"networkPolicy": {"fromNamespaces": []}},
        environment("production"),
    ]
    for values in layers:
        whole = layered(CHART.values, values)
        assert CHART.render(values) == CHART.render(whole)


def test_a_package_is_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, two = (Chart.inference().package(tmp_path / name) for name in ("a", "b"))
    assert one.name == "bert-inference-1.2.0.tgz"
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        dates = {member.name.partition("/")[2]: member.mtime for member in archive}
    assert set(dates.values()) - {dates["Chart.lock"]} == {EPOCH}, "the lock has the date that is written in it"


def test_the_lock_belongs_to_the_dependencies() -> None:
    """Helm's digest: SHA-256 of requirements and locked versions as compact JSON (`resolver.go`, HashReq)."""
    asked = {"name": "redis", "version": "0.1.0", "repository": "", "condition": "redis.enabled"}
    locked = {name: asked[name] for name in ("name", "version", "repository")}
    digest = hashlib.sha256(json.dumps([[asked], [locked]], separators=(",", ":")).encode()).hexdigest()
    assert yaml.safe_load(CHART.files["Chart.yaml"])["dependencies"] == [asked]
    assert yaml.safe_load(CHART.files["Chart.lock"])["digest"] == f"sha256:{digest}"
    assert yaml.safe_load(CHART.files["charts/redis/Chart.yaml"])["version"] == asked["version"]


@pytest.mark.parametrize(
    ("given", "why"),
    [({"name": "Bert"}, "name"), ({"name": ""}, "name"), ({"version": "one"}, "not a valid SemVer"), ({"app_version": ""}, "appVersion")],
)  # fmt: skip
def test_a_bad_name_or_version_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        Chart.inference(**given)


@pytest.mark.parametrize(
    "given", [{"app_version": "2.0.0+cu12"}, {"version": "1.02.0"}, {"version": "1.2.0-.."}, {"name": "a" * 60}]
)
def test_what_does_not_fit_a_label_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        Chart.inference(**given)


def test_files_stay_below_the_charts_folder() -> None:
    for path in ("/etc/x", "../x", "templates/../../x", ""):
        with pytest.raises(Invalid, match="must be a path below the chart's folder"):
            Chart({path: "text"})
    with pytest.raises(Invalid, match=r"values\.yaml: must be a map"):
        assert Chart({"values.yaml": "[1]"}).values


def test_several_unknown_keys_are_named_in_order() -> None:
    for _ in range(5):
        with pytest.raises(Invalid, match="additional properties 'aa', 'bb', 'cc' not allowed"):
            CHART.render({"cc": 1, "aa": 1, "bb": 1})


def test_an_inference_service_scales_on_what_its_mode_can() -> None:
    for metric, mode, scale_metric in (("cpu", "Standard", "cpu"), ("in_flight", "Knative", "concurrency")):
        values = {"kserve": {"enabled": True}, "autoscaling": {"metric": metric, "target": 5}}
        obj = next(obj for obj in CHART.objects(values) if obj["kind"] == "InferenceService")
        assert obj["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == mode
        assert (obj["spec"]["predictor"]["scaleMetric"], obj["spec"]["predictor"]["scaleTarget"]) == (scale_metric, 5)


def test_the_test_pod_is_not_one_of_the_services() -> None:
    objects = {obj["kind"]: obj for obj in CHART.objects()}
    selector = objects["Service"]["spec"]["selector"]
    assert not selector.items() <= objects["Pod"]["metadata"]["labels"].items()
    assert selector.items() <= objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()


def test_another_name_renders_too() -> None:
    objects = Chart.inference("search-ranker", "0.1.0", "3.0.0").objects(release="ranker")
    assert {obj["metadata"]["name"] for obj in objects} == {"ranker-search-ranker", "ranker-search-ranker-ready"}
    assert validate(objects) == []
    for release in ("Bad Name", "", "a.b", "a" * 54):
        with pytest.raises(Invalid, match="release is invalid: name: "):
            CHART.objects(release=release)
    with pytest.raises(Invalid, match="release is invalid: namespace: "):
        CHART.objects(namespace="A b")


@pytest.mark.parametrize("release", ["a", "1", "null", "x" * 53])
@pytest.mark.parametrize(("path", "value"), [("kserve.enabled", True), ("serviceAccount.annotations", {"a b": "c"})])
def test_what_the_schema_accepts_the_server_accepts(path: str, value: Any, release: str) -> None:
    with suppress(Invalid):
        objects = CHART.objects(with_values(path, value), release)
        assert validate(objects) == []
        assert {obj["metadata"]["labels"]["app.kubernetes.io/instance"] for obj in objects} == {release}


@pytest.mark.parametrize("value", [math.nan, math.inf, datetime.date(2026, 1, 1)])
def test_a_value_that_json_has_not(value: object) -> None:
    with pytest.raises(Invalid, match="must be text, numbers, maps and lists"):
        CHART.render({"replicaCount": value})


# ------------------------------------------------------------------------------------------ the source notebook's


def source_chart(**fixed: str) -> Chart:
    """Its three files as it dumps them; `fixed` replaces or adds files."""
    about = {
        "apiVersion": "v2",
        "name": "bert-inference",
        "version": "1.2.0",
        "appVersion": "2.0.0",
        "dependencies": [
            {
                "name": "redis",
                "version": "17.0.0",
                "repository": "https://charts.bitnami.com/bitnami",
                "condition": "redis.enabled",
            }
        ],
    }
    values = {
        "replicaCount": 2,
        "image": {"repository": "ml-images/bert-inference", "tag": "latest"},
        "model": {"name": "bert-base"},
        "resources": {"limits": {"cpu": "4", "nvidia.com/gpu": "1"}},
        "service": {"port": 8080},
        "ingress": {"enabled": True, "hosts": [{"host": "bert.example.com", "paths": ["/"]}]},
        "redis": {"enabled": True},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": '{{ include "chart.fullname" . }}',
            "labels": '{{- include "chart.labels" . | nindent 4 }}',
        },
        "spec": {
            "replicas": "{{ .Values.replicaCount }}",
            "selector": {"matchLabels": '{{- include "chart.labels" . | nindent 6 }}'},
            "template": {
                "metadata": {"labels": '{{- include "chart.labels" . | nindent 8 }}'},
                "spec": {
                    "containers": [
                        {
                            "name": "{{ .Chart.Name }}",
                            "image": "{{ .Values.image.repository }}:{{ .Values.image.tag }}",
                            "ports": [{"containerPort": "{{ .Values.service.port }}"}],
                            "resources": "{{ toYaml .Values.resources | nindent 12 }}",
                        }
                    ]
                },
            },
        },
    }
    files = {"Chart.yaml": about, "values.yaml": values, "templates/deployment.yaml": deployment}
    return Chart({path: yaml.dump(content) for path, content in files.items()} | fixed)


HELPERS = '{{ define "chart.fullname" }}bert{{ end }}{{ define "chart.labels" }}app: bert{{ end }}'
ALONE = "apiVersion: v2\nname: bert-inference\nversion: 1.2.0\nappVersion: 2.0.0\n"
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: bert
spec:
  rules:
    {{- range .Values.ingress.hosts }}
    - host: {{ .host }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ .path }}
          {{- end }}
    {{- end }}
"""


def test_h1_helpers_that_do_not_exist() -> None:
    with pytest.raises(Invalid, match='no template "chart'):
        source_chart().render()


def test_h2_every_expression_is_a_string() -> None:
    broken = source_chart(**{"templates/_helpers.tpl": HELPERS, "Chart.yaml": ALONE})
    assert broken.lint() == [], "the linter does not see it"
    (first, *_) = validate(broken.objects())
    assert str(first) == (
        "Deployment/bert: metadata.labels: json: cannot unmarshal string into Go struct field "
        "ObjectMeta.metadata.labels of type map[string]string"
    )
    paths = {problem.path.partition(": ")[2] for problem in mistyped(broken.objects())}
    assert paths == {
        "metadata.labels",
        "spec.replicas",
        "spec.selector.matchLabels",
        "spec.template.metadata.labels",
        "spec.template.spec.containers[0].ports[0].containerPort",
        "spec.template.spec.containers[0].resources",
    }


def test_h3_a_dependency_that_is_not_there(tmp_path: Path) -> None:
    declared = source_chart(**{"templates/_helpers.tpl": HELPERS})
    assert any("chart directory is missing these dependencies: redis" in line for line in declared.lint())
    with pytest.raises(Invalid, match=r"found in Chart\.yaml, but missing in charts/ directory: redis"):
        declared.package(tmp_path)


def test_h4_paths_that_are_strings() -> None:
    with pytest.raises(Invalid, match="can't evaluate field path in type interface"):
        source_chart(**{"templates/_helpers.tpl": HELPERS, "templates/ingress.yaml": INGRESS}).render()


def test_h5_values_that_drive_nothing() -> None:
    chart = source_chart(**{"templates/_helpers.tpl": HELPERS})
    assert chart.render({"ingress": {"enabled": False}}) == chart.render()
    deployment = chart.render()["templates/deployment.yaml"]
    assert ":latest" in deployment
    assert not any(word in deployment for word in ("Probe", "securityContext", "tolerations", "serviceAccountName"))


# ------------------------------------------------------------------------------------------------ helm on the PATH


def test_the_command_line_is_asked_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for `helm` that says what it was given, in the shape of Helm's own output."""
    script = tmp_path / "helm"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/asked; cat > {tmp_path}/values\n'
        'case "$1" in\n'
        '  template) test "$2" != bad || { echo "Error: execution error at (x.yaml:1:1): no" >&2; exit 1; }\n'
        '    printf -- "---\\n# Source: c/templates/a.yaml\\nkind: A\\n---\\n# Source: c/templates/b.yaml\\nkind: B\\n";;\n'
        '  lint) echo "[INFO] Chart.yaml: icon is recommended"; echo "[WARNING] templates/: odd"; exit 1;;\n'
        '  package) echo "Successfully packaged chart and saved it to: /x/c-1.0.0.tgz";;\n'
        "esac\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    helm = CommandLine()
    assert helm.render(Path("c"), {"a": 1}, "bert", "prod") == {
        "c/templates/a.yaml": "kind: A\n",
        "c/templates/b.yaml": "kind: B\n\n",
    }
    assert json.loads((tmp_path / "values").read_text()) == {"a": 1}
    assert (tmp_path / "asked").read_text() == "template bert c --namespace prod --values -\n"
    assert helm.lint(Path("c"), {}) == ["[WARNING] templates/: odd"]
    assert helm.package(Path("c"), Path("/x")) == Path("/x/c-1.0.0.tgz")
    with pytest.raises(HelmFailed, match=r"^execution error"):
        helm.render(Path("c"), {}, "bad", "prod")


def test_an_engine_is_chosen_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlinfra.helm.engine.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/helm")
    assert isinstance(engine(), CommandLine)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="no Helm: pip install helm-python-sdk"):
        engine()
