"""Sharing: the table can be asked, the configuration is the plugin's, and the scheduler counts what it advertises."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlinfra import admission
from mlinfra.gpu import sharing
from mlinfra.gpu.cluster import GPUNode, GPURequest
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
