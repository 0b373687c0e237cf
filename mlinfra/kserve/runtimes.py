"""Which server runs a model: KServe's ClusterServingRuntimes, how one is chosen, and which image it has.

The runtimes are those of the Helm chart `kserve-runtime-configs` v0.20.0 (`files/runtimes/resources.yaml` and
`values.yaml` at commit aaac4e29, August 2026), installed with `kserve.servingruntime.enabled`. The choice follows
`pkg/apis/serving/v1beta1/predictor_model.go` and `pkg/controller/v1beta1/inferenceservice/` `components/predictor.go`,
`utils/utils.go` at the same commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from mlinfra.admission.rules import Invalid, Problem
from mlinfra.manifest import Manifest


class Runtime(NamedTuple):
    """A ClusterServingRuntime: its image, its protocols (none: any), and the priority of each format.

    `formats` are those that it is chosen for, `by_name` those that it serves only when a model names it.
    """

    name: str
    image: str
    protocols: tuple[str, ...]
    formats: Mapping[str, int]
    by_name: tuple[str, ...] = ()


RUNTIMES = [
    Runtime("kserve-autogluonserver", "kserve/autogluonserver:v0.20.0", ("v1", "v2"), {"autogluon": 1}),
    Runtime("kserve-huggingfaceserver", "kserve/huggingfaceserver:v0.20.0", ("v2", "v1"), {"huggingface": 1}),
    Runtime("kserve-lgbserver", "kserve/lgbserver:v0.20.0", ("v1", "v2"), {"lightgbm": 1}),
    Runtime(
        "kserve-mlserver",
        "docker.io/seldonio/mlserver:1.5.0",
        ("v2",),
        {"sklearn": 2, "xgboost": 2, "lightgbm": 2, "mlflow": 1},
    ),
    Runtime("kserve-paddleserver", "kserve/paddleserver:v0.20.0", ("v1", "v2"), {"paddle": 1}),
    Runtime("kserve-pmmlserver", "kserve/pmmlserver:v0.20.0", ("v1", "v2"), {"pmml": 1}),
    Runtime(
        "kserve-predictiveserver",
        "kserve/predictiveserver:v0.20.0",
        ("v1", "v2"),
        {},
        by_name=("sklearn", "xgboost", "lightgbm"),
    ),
    Runtime("kserve-sklearnserver", "kserve/sklearnserver:v0.20.0", ("v1", "v2"), {"sklearn": 1}),
    Runtime("kserve-tensorflow-serving", "tensorflow/serving:2.6.2", ("v1", "grpc-v1"), {"tensorflow": 2}),
    Runtime("kserve-torchserve", "pytorch/torchserve-kfs:0.9.0", ("v1", "v2", "grpc-v2"), {"pytorch": 2}),
    Runtime(
        "kserve-tritonserver",
        "nvcr.io/nvidia/tritonserver:23.05-py3",
        ("v2", "grpc-v2"),
        {"tensorrt": 1, "tensorflow": 1, "onnx": 1, "triton": 1},
        by_name=("pytorch",),
    ),
    Runtime("kserve-vllmserver", "vllm/vllm-openai:latest", (), {"vLLM": 1}),
    Runtime("kserve-xgbserver", "kserve/xgbserver:v0.20.0", ("v1", "v2"), {"xgboost": 1}),
]
"""Without `kserve-huggingfaceserver-multinode`, which is for a predictor with a `workerSpec`."""

PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")
GPUS = ("nvidia.com/gpu", "amd.com/gpu", "intel.com/gpu", "habana.ai/gaudi")
GPU_SERVERS = ("tensorflow-serving", "torchserve", "huggingfaceserver")
CPU_SERVERS = ("vllmserver",)


def runtime(model: Manifest) -> Runtime:
    """The runtime for a `predictor.model`, by name, or by format and protocol; Invalid when there is none.

    Of several the highest priority for the format wins, then the first protocol in the order of `PROTOCOLS`. No
    protocol means v1, except for Triton's own format. Versions of formats are not compared.
    """
    if model.get("runtime"):
        return _named(model)
    model_format = model["modelFormat"]["name"]
    protocol = model.get("protocolVersion") or ("v2" if model_format == "triton" else "v1")
    supporting = [each for each in RUNTIMES if model_format in each.formats and _speaks(each, protocol)]
    by_priority = sorted(supporting, key=lambda each: (-each.formats[model_format], _first_protocol(each)))
    return _first(by_priority, f"no runtime found to support predictor with model type: {{{model_format} <nil>}}")


def _named(model: Manifest) -> Runtime:
    """The runtime that the model names; a protocol that the model leaves out is not compared."""
    name, protocol = model["runtime"], model.get("protocolVersion")
    named = [each for each in RUNTIMES if each.name == name]
    found = _first(named, f"No ServingRuntimes or ClusterServingRuntimes with the name: {name}")
    unsupported = f"specified runtime {name} does not support specified"
    able = protocol is None or _speaks(found, protocol)
    _first([found] if able else [], f"{unsupported} protocol version")
    able = model["modelFormat"]["name"] in (*found.formats, *found.by_name)
    return _first([found] if able else [], f"{unsupported} framework/version")


def _speaks(each: Runtime, protocol: str) -> bool:
    return protocol in each.protocols or not each.protocols


def _first_protocol(each: Runtime) -> int:
    return min(map(PROTOCOLS.index, each.protocols), default=len(PROTOCOLS))


def _first(runtimes: list[Runtime], otherwise: str) -> Runtime:
    if not runtimes:
        raise Invalid("predictor", [Problem("spec.predictor.model", otherwise)])
    return runtimes[0]


def image(model: Manifest) -> str:
    """The image that runs: the runtime's, with the tag of `runtimeVersion`, or else the build for a GPU or for CPUs.

    Three servers have builds for GPUs with a tag that ends in `-gpu`; vLLM's repository for CPUs ends in `-cpu`. A
    digest stays.
    """
    server = runtime(model)
    if "@sha256:" in server.image:
        return server.image
    if version := model.get("runtimeVersion"):
        return re.sub(r"(:([\w.\-_]*))?$", f":{version}", server.image, count=1)
    if has_gpu(model):
        return f"{server.image}-gpu" if _is_one_of(server, GPU_SERVERS) else server.image
    return re.sub(r"(:[\w.\-_]*)$", r"-cpu\1", server.image) if _is_one_of(server, CPU_SERVERS) else server.image


def _is_one_of(server: Runtime, names: tuple[str, ...]) -> bool:
    return any(server.name.endswith(name) for name in names)


def has_gpu(model: Manifest) -> bool:
    """Whether the limits of the model's container name an accelerator, or a part of one."""
    limits = model.get("resources", {}).get("limits", {})
    return any(name in GPUS or name.startswith("nvidia.com/mig") for name in limits)
