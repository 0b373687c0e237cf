"""Sharing: the table can be asked, the configuration is the plugin's, and the scheduler counts what it advertises."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlinfra import admission
from mlinfra.gpu import sharing
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.scheduler import GPUScheduler


def test_who_survives_a_neighbour() -> None:
    assert sharing.which(lambda t: t.faults_stay_inside) == ["mig"]
    assert sharing.which(lambda t: t.memory_is_limited) == ["mps", "mig"]
    assert sharing.which(lambda t: t.max_clients is None or t.max_clients >= 10) == ["timeSlicing", "mps"]


def test_eight_gpus_in_ten_replicas() -> None:
    assert sharing.Sharing("timeSlicing", 10).devices(8) == {"nvidia.com/gpu": 80}


def test_the_plugins_file() -> None:
    made = sharing.Sharing("timeSlicing", 4, rename_by_default=True, fail_requests_greater_than_one=True)
    assert made.manifest() == {
        "version": "v1",
        "sharing": {
            "timeSlicing": {
                "renameByDefault": True,
                "failRequestsGreaterThanOne": True,
                "resources": [{"name": "nvidia.com/gpu", "replicas": 4}],
            }
        },
    }


def test_what_a_client_can_count_on() -> None:
    assert sharing.Sharing("mps", 4).memory_gib(80) == 20
    assert sharing.Sharing("timeSlicing", 4).memory_gib(80) is None


def test_the_scheduler_counts_replicas_as_devices() -> None:
    shared = sharing.Sharing("timeSlicing", 4, rename_by_default=True)
    cluster = GPUScheduler([GPUNode("n", devices=shared.devices(1))])
    for i in range(5):
        cluster.submit(GPURequest(f"notebook-{i}", 1, resource=shared.advertised))
    assert len(cluster.schedule()) == 4
    assert cluster.events[-1].message.startswith("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.shared.")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"technique": "mig"}, 'technique: Unsupported value: "mig": supported values: "mps", "timeSlicing"'),
        ({"replicas": 1}, "replicas: Invalid value: 1: must be greater than or equal to 2"),
        (
            {"technique": "mps", "resource": "nvidia.com/mig-1g.5gb"},
            'resource: Unsupported value: "nvidia.com/mig-1g.5gb": supported values: "nvidia.com/gpu"',
        ),
    ],
)
def test_refused(wrong: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"technique": "timeSlicing", "replicas": 4}
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        sharing.Sharing(**given | wrong)


@pytest.mark.parametrize(
    "made",
    [
        sharing.Sharing("timeSlicing", 4, "nvidia.com/mig-1g.10gb", rename_by_default=True),
        sharing.Sharing("mps", 10, fail_requests_greater_than_one=False),
        sharing.Sharing("mps", 10),
    ],
)
def test_a_file_is_read_back(made: sharing.Sharing) -> None:
    assert sharing.Sharing.of(made.manifest()) == made


def test_what_is_not_given_is_left_to_the_plugin() -> None:
    """Without the key it is true for MPS, and false for time-slicing (k8s-device-plugin 1762)."""
    assert "failRequestsGreaterThanOne" not in sharing.Sharing("mps", 10).manifest()["sharing"]["mps"]


def plugin_file(**sections: Any) -> dict[str, Any]:
    return {"version": "v1", "flags": {"migStrategy": "none"}} | sections


def replicated(**resource: Any) -> dict[str, Any]:
    return {"resources": [{"name": "nvidia.com/gpu", "replicas": 4} | resource]}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (plugin_file(version="v2"), "version: unknown version: v2"),
        (plugin_file(flags={"migStrategy": "mix"}), 'flags.migStrategy: Unsupported value: "mix": supported values: "mixed", "none", "single"'),
        (plugin_file(sharing={"timeSlicing": {}}), "sharing.timeSlicing.resources: Required value: no resources specified"),
        (plugin_file(sharing={"mps": replicated(replicas=1)}), "sharing.mps.resources[0].replicas: Invalid value: 1: number of replicas must be >= 2"),
        (plugin_file(sharing={"mps": replicated(replicas=49)}), "sharing.mps.resources[0].replicas: Invalid value: 49: must be less than or equal to 48, the clients of a GPU"),
        (plugin_file(sharing={"mps": replicated(name="nvidia.com/mig-1g.5gb")}), 'sharing.mps.resources[0].name: Unsupported value: "nvidia.com/mig-1g.5gb": supported values: "nvidia.com/gpu"'),
        (plugin_file(sharing={"timeslicing": replicated()}), "Warning: sharing.timeslicing: unknown key, silently dropped"),
        (plugin_file(sharing={"timeSlicing": replicated(), "mps": replicated()}), "Warning: sharing.timeSlicing: ignored beside mps"),
    ],
)  # fmt: skip
def test_a_file_that_the_plugin_would_not_start_with_or_not_heed(config: dict[str, Any], problem: str) -> None:
    assert [str(each) for each in admission.validate(config)] == [problem]
    assert admission.validate(plugin_file(sharing={"timeSlicing": replicated()})) == []


def test_a_number_in_quotes_is_none() -> None:
    with pytest.raises(admission.Invalid, match='gpus: Invalid value: "8": must be an integer'):
        sharing.Sharing("mps", 10).devices("8")  # type: ignore[arg-type]
    with pytest.raises(admission.Invalid, match='gpu_gib: Invalid value: "80": must be a number'):
        sharing.Sharing("mps", 10).memory_gib("80")  # type: ignore[arg-type]


def test_several_resources_are_not_one_sharing() -> None:
    two = replicated()["resources"] + replicated(name="nvidia.com/mig-1g.5gb")["resources"]
    with pytest.raises(admission.Invalid, match="only one resource is read"):
        sharing.Sharing.of(plugin_file(sharing={"timeSlicing": {"resources": two}}))
    with pytest.raises(admission.Invalid, match="sharing: Required value"):
        sharing.Sharing.of(plugin_file())
