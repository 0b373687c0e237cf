"""Arguments of Ray Serve LLM's builder, beside Ray's own LLMConfig."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import RAY_SERVICE, VALUES, damaged, paths

from mlinfra import validate
from mlinfra.admission.rules import ApiWarning, Problem
from mlinfra.admission.serve_llm import BUILDER, NEVER_REACHED, PREFIX_ROUTER, PREFIX_ROUTER_OPTIONS
from mlinfra.manifest import Manifest
from mlinfra.ray_serve import Application
from mlinfra.ray_serve.kuberay import RayService

MODEL = {"model_id": "chat", "model_source": "meta-llama/Meta-Llama-3-8B-Instruct"}
PREFIX = {"request_router_class": PREFIX_ROUTER, "request_router_kwargs": {"imbalanced_threshold": 16}}
SCALING = {"min_replicas": 4, "max_replicas": 8, "target_ongoing_requests": 24}
CHAT: Manifest = {
    "model_loading_config": MODEL,
    "accelerator_type": "H100",
    "engine_kwargs": {"max_num_seqs": 32},
    "deployment_config": {"autoscaling_config": SCALING, "request_router_config": PREFIX},
}
HERE = "applications[0].args.llm_configs[0]"


def file_with(*models: Any, **arguments: Any) -> Manifest:
    return {"applications": [{"import_path": BUILDER, "args": {"llm_configs": list(models), **arguments}}]}


def said(model: Any, **arguments: Any) -> list[str]:
    return [str(each) for each in validate(file_with(model, **arguments))]


def test_the_chat_model_is_accepted() -> None:
    assert said(CHAT) == []


def test_a_typo_at_every_level_is_named_and_one_for_vllm_is_not() -> None:
    engine = CHAT | {"engine_kwargs": {"max_num_seq": 32}}
    assert said(engine) == [], "only vLLM knows its arguments"
    scaling = {"autoscaling_config": SCALING | {"min_replica": 4}}
    assert said(engine | {"accelerator_typ": "H100", "deployment_config": scaling}) == [
        f"{HERE}.accelerator_typ: Extra inputs are not permitted",
        f"{HERE}.deployment_config.autoscaling_config.min_replica: unknown key, silently dropped",
    ]


SAID: dict[str, tuple[Manifest, str]] = {
    "model": ({"model_loading_config": MODEL | {"model_sorce": "x"}}, "model_sorce: Extra inputs are not permitted"),
    "no model": ({"model_loading_config": {}}, "model_loading_config.model_id: Field required"),
    "option": ({"deployment_config": {"num_replica": 4}}, "deployment() got an unexpected keyword argument 'num_replica'"),
    "bundles": ({"deployment_config": {"placement_group_bundles": []}}, "by setting the `placement_group_config`"),
    "both counts": ({"deployment_config": {"num_replicas": 4, "autoscaling_config": SCALING}}, "Manually setting num_replicas"),
    "router": ({"deployment_config": {"request_router_config": {"router": "x"}}}, "request_router_config.router: unknown key, silently dropped"),
    "router's option": (
        {"deployment_config": {"request_router_config": PREFIX | {"request_router_kwargs": {"imbalance": 9}}}},
        "PrefixCacheAffinityRouter.initialize_state() got an unexpected keyword argument 'imbalance'",
    ),
    "bounds": ({"deployment_config": {"autoscaling_config": SCALING | {"max_replicas": 2}}}, "max_replicas (2) must be greater"),
    "GPUs": ({"deployment_config": {"ray_actor_options": {"num_gpus": 1.5}}}, "GPU resource quantities >1 must be whole numbers."),
}  # fmt: skip


@pytest.mark.parametrize(("change", "why"), SAID.values(), ids=SAID)
def test_what_is_refused_or_dropped(change: Manifest, why: str) -> None:
    assert any(why in line for line in said(CHAT | change)), said(CHAT | change)


def test_the_arguments_around_the_models() -> None:
    assert said(CHAT, llm_config=[]) == ["applications[0].args.llm_config: Extra inputs are not permitted"]
    assert [str(each) for each in validate({"applications": [{"import_path": BUILDER}]})] == [
        "applications[0].args.llm_configs: Field required"
    ]
    (twice,) = validate(file_with(CHAT, CHAT))
    assert twice.message == "Duplicate models found. Make sure model ids are unique."
    (empty,) = validate(file_with())
    assert empty.message.startswith("List of models is empty.")
    with_dots = file_with(CHAT | {"accelerator_typ": 1})
    with_dots["applications"][0]["import_path"] = BUILDER.replace(":", ".")
    assert len(validate(with_dots)) == 1


def test_what_is_not_checked_here_is_said() -> None:
    assert said("models/chat.yaml") == [f"Warning: {HERE}: not checked here: the file models/chat.yaml"]
    other = {"applications": [{"import_path": "ray.serve.llm:build_pd_openai_app", "args": {"prefill_config": CHAT}}]}
    assert [type(each) for each in validate(other)] == [ApiWarning]


def test_without_a_target_no_load_adds_a_replica() -> None:
    bounds = {"min_replicas": 4, "max_replicas": 8}
    (warning,) = said(CHAT | {"deployment_config": {"autoscaling_config": bounds}})
    assert warning.endswith("is 1,000,000,000 for a language model when it is not given, so no load adds a replica")
    for silent in ({"min_replicas": 4, "max_replicas": 4}, bounds | {"policy": {"policy_function": "a:b"}}):
        assert said(CHAT | {"deployment_config": {"autoscaling_config": silent}}) == []
    old = {"autoscaling_config": SCALING | {"smoothing_factor": 2.0}}
    assert "smoothing_factor: deprecated" in said(CHAT | {"deployment_config": old})[0]


def test_a_ray_service_carries_it_and_reads_it_back() -> None:
    application = Application("chat", BUILDER, args={"llm_configs": [CHAT]})
    assert "deployments" not in application.manifest()
    assert application.ingress == ""
    service = RayService("chat", application, RAY_SERVICE.image, RAY_SERVICE.head, RAY_SERVICE.workers)
    assert validate(service.manifest()) == []
    assert RayService.of(service.manifest()) == service
    typo = service.manifest()
    typo["spec"]["serveConfigV2"] = typo["spec"]["serveConfigV2"].replace("accelerator_type", "accelerator_typ")
    (problem,) = validate(typo)
    assert problem == Problem(f"spec.serveConfigV2: {HERE}.accelerator_typ", "Extra inputs are not permitted")


@pytest.mark.parametrize("path", [path for path in paths(file_with(CHAT)) if path])
def test_a_damaged_file_gets_a_verdict(path: tuple[Any, ...]) -> None:
    for value in VALUES:
        validate(damaged(file_with(CHAT), path, value))


# -------------------------------------------------------------------------------------------------- beside Ray's own

BARE = {"model_loading_config": {"model_id": "chat"}}
CONFIGS: list[Manifest] = [
    BARE,
    CHAT | {"deployment_config": {"autoscaling_config": SCALING}},
    {},
    BARE | {"accelerator_typ": "H100"},
    *(BARE | {"accelerator_type": name} for name in ("A10", "A10G", "H100", "H200", "H1000", "TPU-V6E", "h100", "")),
    *(BARE | {"accelerator_config": {"kind": kind}} for kind in ("cpu", "gpu", "tpu", "npu")),
    BARE | {"accelerator_type": "H100", "accelerator_config": {"kind": "tpu"}},
    BARE | {"accelerator_type": "TPU-V6E", "accelerator_config": {"kind": "gpu"}},
    BARE | {"accelerator_type": "H100", "placement_group_config": {"bundles": [{"CPU": 1}]}},
    BARE | {"accelerator_type": "H100", "placement_group_config": {"bundles": [{"GPU": 1}]}},
    BARE | {"accelerator_type": "H100", "placement_group_config": {"bundle_per_worker": {"TPU": 1}}},
    {"model_loading_config": {"model_id": "chat", "model_sorce": "x"}},
    {"model_loading_config": {"model_id": 3}},
    {"model_loading_config": {"model_id": "chat", "model_source": {"bucket_uri": "s3://models/chat"}}},
    {"model_loading_config": {"model_id": "chat", "model_source": {"bucket_uri": "/models/chat"}}},
    BARE | {"llm_engine": "vLLM"},
    BARE | {"llm_engine": "SGLang"},
    BARE | {"engine_kwargs": {"max_num_seq": 32}},
    BARE | {"engine_kwargs": {"disable_log_stats": True}},
    BARE | {"engine_kwargs": {"disable_log_stats": True}, "log_engine_metrics": False},
    BARE | {"experimental_configs": {"num_router_replicas": 2}},
    BARE | {"lora_config": {"dynamic_lora_loading_path": "s3://adapters"}},
    BARE | {"lora_config": {"dynamic_lora_loading_path": "adapters"}},
    BARE | {"lora_config": {"max_num_adapters_per_replica": 0}},
    BARE | {"callback_config": {"callback_kwargs": {}}},
    BARE | {"callback_config": {"kwargs": {}}},
    BARE | {"deployment_config": []},
    *(BARE | {"deployment_config": {"num_replicas": count}} for count in (2, "auto", "four", -1)),
    BARE | {"deployment_config": {"autoscaling_config": {"min_replicas": 4, "max_replicas": 8}}},
    BARE | {"deployment_config": {"autoscaling_config": {"min_replicas": 4, "max_replicas": 2}}},
    BARE | {"deployment_config": {"max_queued_requests": 0}},
    BARE | {"deployment_config": {"health_check_period_s": -1}},
    BARE | {"runtime_env": {"env_vars": {"HF_TOKEN": "x"}}},
    BARE | {"runtime_env": "x"},
]  # fmt: skip


@pytest.fixture(scope="module")
def rays_own() -> list[Any]:
    script = Path(__file__).parent / "engines" / "ray_llm.py"
    done = subprocess.run(
        [sys.executable, script], input=json.dumps(CONFIGS), capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout[done.stdout.index("[{") :]))


def ours(config: Manifest) -> list[tuple[str, str]]:
    return [(each.path, each.message) for each in validate(file_with(config)) if isinstance(each, Problem)]


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_refused_where_ray_refuses(number: int, rays_own: list[Any]) -> None:
    found, rays = ours(CONFIGS[number]), rays_own[number]["refused"]
    assert bool(found) == bool(rays), (CONFIGS[number], found, rays)
    for path, message in rays:
        if "Invalid" not in message and "." not in path and path:
            assert (f"{HERE}.{path}", message) in found or path == "accelerator_config"
        elif not path:
            assert (HERE, message) in found


def test_a_target_that_is_not_given_is_ten_to_the_ninth(rays_own: list[Any]) -> None:
    """Unless there is a fixed number of replicas, or "auto"."""
    targets = {
        number: answer["options"].get("autoscaling_config", {}).get("target_ongoing_requests")
        for number, answer in enumerate(rays_own)
        if isinstance(CONFIGS[number].get("deployment_config", {}), dict)
    }
    (bounds,) = [
        n
        for n, c in enumerate(CONFIGS)
        if c.get("deployment_config") == {"autoscaling_config": {"min_replicas": 4, "max_replicas": 8}}
    ]
    assert targets[0] == targets[bounds] == NEVER_REACHED
    assert targets[1] == SCALING["target_ongoing_requests"]


def test_the_prefix_router_takes_these_options() -> None:
    package = importlib.util.find_spec("ray")
    assert package
    assert package.origin
    router = "llm/_internal/serve/routing_policies/prefix_aware/prefix_aware_router.py"
    tree = ast.parse((Path(package.origin).parent / router).read_text("utf-8"))
    (initialize,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "initialize_state"
    ]
    assert tuple(argument.arg for argument in initialize.args.args[1:]) == PREFIX_ROUTER_OPTIONS
