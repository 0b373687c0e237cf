"""Which runtime a model gets, by format, protocol, priority or name, and which image."""

from __future__ import annotations

from typing import Any

import pytest

from mlinfra.admission.rules import Invalid
from mlinfra.kserve import runtimes


def model(form: str, protocol: str = "", **given: Any) -> dict[str, Any]:
    asked = {"modelFormat": {"name": form}, **given}
    return asked | ({"protocolVersion": protocol} if protocol else {})


RUNTIMES = {
    ("huggingface", ""): "kserve-huggingfaceserver",
    ("sklearn", ""): "kserve-sklearnserver",
    ("sklearn", "v2"): "kserve-mlserver",
    ("xgboost", "v1"): "kserve-xgbserver",
    ("lightgbm", "v2"): "kserve-mlserver",
    ("tensorflow", ""): "kserve-tensorflow-serving",
    ("tensorflow", "v2"): "kserve-tritonserver",
    ("pytorch", ""): "kserve-torchserve",
    ("pytorch", "grpc-v2"): "kserve-torchserve",
    ("onnx", "v2"): "kserve-tritonserver",
    ("triton", ""): "kserve-tritonserver",
    ("mlflow", "v2"): "kserve-mlserver",
    ("paddle", ""): "kserve-paddleserver",
    ("autogluon", "v2"): "kserve-autogluonserver",
    ("vLLM", ""): "kserve-vllmserver",
    ("vLLM", "grpc-v2"): "kserve-vllmserver",
}


@pytest.mark.parametrize(("asked", "found"), RUNTIMES.items(), ids=str)
def test_the_runtime_for_a_format_and_a_protocol(asked: tuple[str, str], found: str) -> None:
    assert runtimes.runtime(model(*asked)).name == found


@pytest.mark.parametrize("asked", [("onnx", ""), ("mlflow", ""), ("huggingface", "grpc-v2"), ("custom", "")])
def test_no_protocol_means_v1_and_may_leave_no_runtime(asked: tuple[str, str]) -> None:
    with pytest.raises(Invalid, match="no runtime found to support predictor with model type: {" + asked[0]):
        runtimes.runtime(model(*asked))


def test_a_runtime_by_name() -> None:
    assert runtimes.runtime(model("onnx", runtime="kserve-tritonserver")).name == "kserve-tritonserver"
    with pytest.raises(Invalid, match="No ServingRuntimes or ClusterServingRuntimes with the name: mine"):
        runtimes.runtime(model("onnx", runtime="mine"))


def test_what_is_not_chosen_by_itself_can_be_named() -> None:
    named = model("sklearn", runtime="kserve-predictiveserver")
    assert runtimes.runtime(named).name == "kserve-predictiveserver"
    assert runtimes.runtime(model("pytorch", runtime="kserve-tritonserver")).name == "kserve-tritonserver"


def test_a_named_runtime_must_support_the_format_and_a_protocol_that_is_given() -> None:
    with pytest.raises(Invalid, match="kserve-tritonserver does not support specified framework/version"):
        runtimes.runtime(model("sklearn", runtime="kserve-tritonserver"))
    with pytest.raises(Invalid, match="kserve-mlserver does not support specified protocol version"):
        runtimes.runtime(model("sklearn", "v1", runtime="kserve-mlserver"))
    assert runtimes.runtime(model("sklearn", runtime="kserve-mlserver")).name == "kserve-mlserver"


GPU: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}


@pytest.mark.parametrize(
    ("asked", "tag"),
    [
        (model("pytorch"), "pytorch/torchserve-kfs:0.9.0"),
        (model("pytorch", **GPU), "pytorch/torchserve-kfs:0.9.0-gpu"),
        (model("pytorch", runtimeVersion="latest", **GPU), "pytorch/torchserve-kfs:latest"),
        (model("pytorch", runtimeVersion="0.9.0-gpu", **GPU), "pytorch/torchserve-kfs:0.9.0-gpu"),
        (model("sklearn", **GPU), "kserve/sklearnserver:v0.20.0"),
        (model("huggingface", **GPU), "kserve/huggingfaceserver:v0.20.0-gpu"),
        (model("tensorflow", resources={"limits": {"nvidia.com/mig-1g.10gb": "1"}}), "tensorflow/serving:2.6.2-gpu"),
        (model("pytorch", resources={"limits": {"vpc.amazonaws.com/efa": "2"}}), "pytorch/torchserve-kfs:0.9.0"),
        (model("mlflow", "v2", runtimeVersion="1.7.0"), "docker.io/seldonio/mlserver:1.7.0"),
        (model("vLLM"), "vllm/vllm-openai-cpu:latest"),
        (model("vLLM", **GPU), "vllm/vllm-openai:latest"),
        (model("vLLM", runtimeVersion="v0.20.0"), "vllm/vllm-openai:v0.20.0"),
    ],
)
def test_a_runtime_version_costs_the_gpu_suffix(asked: dict[str, Any], tag: str) -> None:
    assert runtimes.image(asked) == tag
