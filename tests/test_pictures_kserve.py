"""The pictures of notebook 01, and what kubectl would print: they say what the model computes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlinfra.__main__ import main
from mlinfra.admission import validate
from mlinfra.admission.kserve import pitfalls
from mlinfra.course import kserve_mistakes, kserve_tables, measured, starts
from mlinfra.course.exercises.kserve import STABLE, V2_FILES
from mlinfra.course.pictures import kserve as pictures
from mlinfra.kserve import CanaryRollout, Model, canary, runtimes
from mlinfra.manifest import Manifest

BY_REQUESTS = replace(STABLE.predictor, name="", scale_metric="concurrency", scale_target=8)
KNATIVE = replace(STABLE, mode="Knative", predictor=BY_REQUESTS)
assert isinstance(STABLE.predictor.model, Model)
ROLLOUT = CanaryRollout(KNATIVE, replace(STABLE.predictor.model, storage_uri=V2_FILES), "v2")


def changed(service: Manifest, **fields: int) -> Manifest:
    """The service with fields of its predictor."""
    return service | {"spec": {"predictor": service["spec"]["predictor"] | fields}}


def test_the_tree_has_the_objects_of_the_mode_and_the_way_in() -> None:
    assert "2 HTTPRoute" in pictures.objects(STABLE).description
    assert "1 Ingress" in pictures.objects(STABLE, gateway_api=False).description
    assert "queue-proxy" in pictures.objects(KNATIVE).svg
    assert "queue-proxy" not in pictures.objects(STABLE).svg


def test_only_knatives_path_has_an_activator() -> None:
    assert "activator" in pictures.knative_path().svg
    assert "activator" not in pictures.standard_path().svg
    assert "KServe&#x27;s webhooks" in pictures.control_path().svg


def test_cold_starts_are_drawn_with_their_sums() -> None:
    said = pictures.cold_starts({"as it is": {"load": 30, "weights": 70}, "on the node": {"load": 30}}).description
    assert said == "as it is: 100 s; on the node: 30 s."


def test_the_measured_starts_are_drawn_and_tabled_as_they_were_measured() -> None:
    assert pictures.measured_starts().description.count("read weights") == len(measured.cold_start()) == 4
    rows = dict(line.split("  ", 1) for line in starts.table().splitlines())
    assert "219 MB at 35 to 52 MB/s" in rows["read weights"]
    assert "60 to 64 times the second" in rows["first batch"]
    assert 9 < starts.first_answer_s() < 10


def test_the_outlook_is_the_verdict_and_then_what_kserve_makes() -> None:
    refused = kserve_tables.outlook(changed(STABLE.manifest(), minReplicas=30))
    assert "refused: spec.predictor.minReplicas" in refused
    assert "becomes" not in refused
    accepted = kserve_tables.outlook(STABLE.manifest())
    assert "becomes in Standard mode: 1 Deployment, 1 Service, 1 HorizontalPodAutoscaler, 2 HTTPRoute" in accepted
    assert "image: kserve/huggingfaceserver:v0.20.0-gpu" in accepted
    assert "is ignored in Standard mode" in kserve_tables.outlook(changed(STABLE.manifest(), canaryTrafficPercent=5))


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        ({"containers": [{"name": "kserve-container", "image": "bert:1.0.0"}]}, "image: bert:1.0.0"),
        ({"model": {"modelFormat": {"name": "mlflow"}, "storageUri": "s3://m/v1"}}, "image: no runtime found"),
        (
            {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "s3://m/v1", "runtime": "ours"}},
            "image: that of ours, which is not one of the chart's runtimes",
        ),
    ],
)
def test_the_outlook_names_the_image_or_why_there_is_none(predictor: Manifest, said: str) -> None:
    assert said in kserve_tables.outlook(STABLE.manifest() | {"spec": {"predictor": predictor}})


def test_the_outlook_of_another_object_is_its_verdict() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}}
    assert kserve_tables.outlook(namespace).startswith("Namespace ml\n")
    assert "refused" in kserve_tables.outlook({"metadata": {}})


@pytest.mark.parametrize(("errors_per_1000", "low", "high"), [(5, 0, 8), (10, 70, 95), (30, 100, 100)])
def test_the_share_that_is_rolled_back_is_the_promised_one(errors_per_1000: int, low: int, high: int) -> None:
    seen = pictures.simulate_looks(ROLLOUT, 10, errors_per_1000, 20)
    assert low <= sum(seen.rolled_back) <= high
    assert f"{sum(seen.rolled_back)} of 100 rollouts" in pictures.looks(ROLLOUT, 10, errors_per_1000, 20).description


def test_a_rollout_has_a_dot_at_each_look_until_it_ends() -> None:
    seen = pictures.simulate_looks(ROLLOUT, 10, 5, 20)
    passed = [zs for zs, rolled_back in zip(seen.z, seen.rolled_back, strict=True) if not rolled_back]
    assert {len(zs) for zs in passed} == {canary.LOOKS}
    assert pictures.looks(ROLLOUT, 10, 5, 20).svg.count("h.1") == sum(map(len, seen.z))


@pytest.mark.parametrize("share", [1, 17, 50])
def test_any_share_and_any_traffic_can_be_drawn(share: int) -> None:
    for errors_per_1000, per_s in ((1, 1), (30, 200)):
        assert pictures.looks(ROLLOUT, share, errors_per_1000, per_s).description


# -------------------------------------------------------------------------------------------------- what kubectl prints


def test_the_service_in_both_modes() -> None:
    header, standard = kserve_tables.inference_service(STABLE).splitlines()
    assert header.split() == list(kserve_tables.SERVICE_COLUMNS)
    assert standard.split() == ["bert-classifier", "http://bert-classifier-ml-production.example.com", "True", "5m"]
    revisions = ["bert-00001", "bert-00002"]
    canary_row = kserve_tables.inference_service(KNATIVE, revisions, percent=10).splitlines()[1].split()
    assert canary_row[1:6] == ["http://bert-classifier.ml-production.example.com", "True", "90", "10", "bert-00001"]
    alone = kserve_tables.inference_service(KNATIVE, revisions).splitlines()[1].split()
    assert alone[3:] == ["100", "bert-00002", "5m"]


def test_every_runtime_is_listed_and_a_missing_one_is_an_event() -> None:
    listed = kserve_tables.cluster_serving_runtimes().splitlines()[1:]
    assert [line.split()[0] for line in listed] == [each.name for each in runtimes.RUNTIMES]
    assert kserve_tables.describe_runtime({"modelFormat": {"name": "sklearn"}}).endswith("kserve-sklearnserver")
    assert "InternalError" in kserve_tables.describe_runtime({"modelFormat": {"name": "onnx"}})


def test_a_diff_has_the_changed_lines_alone() -> None:
    text = kserve_tables.changes("changes", KNATIVE.manifest(), ROLLOUT.stage_manifest(10)).text
    changed = [line.strip("+- ") for line in text.splitlines() if line[0] in "+-"]
    assert [line.partition(":")[0] for line in changed] == ["canaryTrafficPercent", "storageUri", "storageUri"]


# ------------------------------------------------------------------------------------------------------------ mistakes


def test_what_is_called_refused_is_refused_and_what_is_accepted_is_ignored() -> None:
    assert all(validate(obj) for obj in kserve_mistakes.refused(KNATIVE.manifest()).values())
    assert validate(kserve_mistakes.CANARY_OF_ITS_OWN_MAKING)
    assert not validate(kserve_mistakes.REPLICAS_BY_ANNOTATION)
    assert len(pitfalls(kserve_mistakes.REPLICAS_BY_ANNOTATION)) >= 5


def test_only_the_model_that_is_not_loaded_is_the_servers_fault() -> None:
    kserve_server = pytest.importorskip("mlinfra.course.kserve_server")
    replies = kserve_mistakes.bad_requests(kserve_server.bert_classifier("bert"), "bert")
    assert [reply.status for reply in replies.values()] == [400, 422, 400, 400, 400, 404, 503]
    assert len(kserve_mistakes.table(replies).splitlines()) == 7


def test_a_server_is_ready_before_its_model_is() -> None:
    """KServe 0.21 answers 200 for the server whatever its models do; a probe has to ask for the model."""
    kserve_server = pytest.importorskip("mlinfra.course.kserve_server")
    loading = kserve_server.Endpoint(kserve_server.ClassifierModel("new"))
    assert loading.get("/v2/health/ready").status == 200
    assert loading.get("/v2/models/new/ready").status == 503


def test_the_printed_run_of_the_command_is_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[1]
    cells = json.loads((root / "notebooks" / "01_kserve.ipynb").read_text("utf-8"))["cells"]
    [console] = ["".join(cell["source"]) for cell in cells if cell["id"] == "own-keyboard"]
    path = str(root / "examples" / "inferenceservice.yaml")
    assert main(["validate", path]) == 1
    assert capsys.readouterr().out.replace(path, "examples/inferenceservice.yaml") in console
