"""The compiled file of a pipeline as one listing: the parts that matter, with a comment on each."""

from __future__ import annotations

from typing import Any

from mlinfra.manifest import Manifest, to_yaml
from mlinfra.study import Listing

LONGEST = 44


def annotated(ir: Manifest, platform: Manifest) -> Listing:
    """The parts of the course's pipeline that `train`, the gate and the exit task have."""
    tasks = ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    container = ir["deploymentSpec"]["executors"]["exec-train"]["container"]
    parts = {
        "1. The task: its component, what it waits for, where each input comes from, how often it is tried.": {
            "train": tasks["train"]
        },
        "2. The component: typed inputs and outputs, and the label of its executor.": {
            "comp-train": ir["components"]["comp-train"]
        },
        "3. The executor: image, command and resources. The function's source is in the command.": {
            "exec-train": {"container": shortened(container)}
        },
        "4. The condition: a group with `deploy` in it. The comparison is made when the run gets there.": {
            "condition-2": {"triggerPolicy": tasks["condition-2"]["triggerPolicy"]}
        },
        "5. The exit task: it starts when everything before it has completed, well or not.": {
            "report": {"triggerPolicy": ir["root"]["dag"]["tasks"]["report"]["triggerPolicy"]}
        },
        "6. The platform, a second document: what only Kubernetes understands.": platform,
    }
    text = "\n".join(f"# {comment}\n{to_yaml(part)}" for comment, part in parts.items())
    return Listing("The compiled file in six parts (long texts are cut):", "yaml", text)


def shortened(value: Any) -> Any:
    """The value with long texts cut, and without the older fields of resources, which the backend reads last."""
    if isinstance(value, dict):
        older = {"cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest", "type", "count"}
        return {key: shortened(each) for key, each in value.items() if key not in older}
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{' '.join(value.split())[:LONGEST]} ..."
    return value
