"""Ray's own LLMConfig on a machine without vLLM: JSON of configurations in, their refusals out.

It is imported from its file in Ray's wheel. The one thing missing is pyarrow, which it needs for downloads alone.
"""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

if "pyarrow" not in sys.modules:
    filesystems, pyarrow = ModuleType("pyarrow.fs"), ModuleType("pyarrow")
    vars(filesystems)["FileSystem"] = object
    vars(pyarrow).update(fs=filesystems, __version__="0.0.1")
    sys.modules |= {"pyarrow": pyarrow, "pyarrow.fs": filesystems}

from pydantic import ValidationError
from ray.llm._internal.common.dict_utils import maybe_apply_llm_deployment_config_defaults
from ray.llm._internal.serve.constants import DEFAULT_MAX_ONGOING_REQUESTS, DEFAULT_MAX_TARGET_ONGOING_REQUESTS
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig

DEFAULTS = {
    "max_ongoing_requests": DEFAULT_MAX_ONGOING_REQUESTS,
    "autoscaling_config": {"target_ongoing_requests": DEFAULT_MAX_TARGET_ONGOING_REQUESTS},
}


def refusals(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Path and message of each."""
    try:
        LLMConfig.model_validate(config)
    except ValidationError as refused:
        return [(".".join(map(str, error["loc"])), error["msg"]) for error in refused.errors()]
    return []


def merged(config: dict[str, Any]) -> dict[str, Any]:
    """The options of the deployment, with the defaults of `server/builder.py`."""
    return dict(maybe_apply_llm_deployment_config_defaults(DEFAULTS, config.get("deployment_config", {})))


if __name__ == "__main__":
    configs = json.load(sys.stdin)
    json.dump([{"refused": refusals(config), "options": merged(config)} for config in configs], sys.stdout)
