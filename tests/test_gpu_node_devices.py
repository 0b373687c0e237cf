"""Claims in the scheduler: the filter DynamicResources, its words, and devices that come back with the pod."""

from __future__ import annotations

import pytest

from mlinfra.admission import Invalid, validate
from mlinfra.gpu.batch import BatchScheduler
from mlinfra.gpu.claims import GPU_CLASS, MIG_CLASS, AttributeEquals, DeviceRequest, ResourceClaim
from mlinfra.gpu.devices import mig_pool
from mlinfra.gpu.node_devices import NodeDevices
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.scheduler import GPUScheduler

URGENT = PriorityClass("urgent", 1000)


def a_slice(profile: str, name: str) -> ResourceClaim:
    return ResourceClaim(name, (DeviceRequest("mig", MIG_CLASS, selectors=(AttributeEquals("profile", profile),)),))


TEMPLATES = {
    "small": a_slice("1g.5gb", "small"),
    "half": a_slice("3g.20gb", "half"),
    "large": a_slice("4g.20gb", "large"),
    "whole": ResourceClaim("whole", (DeviceRequest("gpu", GPU_CLASS),)),
}


def cluster(gpus: int = 1, kind: type[GPUScheduler] = GPUScheduler) -> GPUScheduler:
    """Two nodes, one without devices."""
    scheduler = kind([GPUNode("plain", cpu="32"), GPUNode("mig", cpu="32")])
    scheduler.publish("mig", NodeDevices([mig_pool("mig", ["A100-40GB"] * gpus)], TEMPLATES))
    return scheduler


def placed(scheduler: GPUScheduler, *claims: str) -> list[str]:
    for number, claim in enumerate(claims):
        scheduler.submit(GPURequest(f"{claim}-{number}", cpu="1", claims=(claim,)))
    return [pod for pod, _ in scheduler.schedule()]


def devices(scheduler: GPUScheduler, pod: str) -> list[str]:
    found = scheduler.nodes["mig"].devices
    assert isinstance(found, NodeDevices)
    return found.devices_of(pod)


@pytest.mark.parametrize("kind", [GPUScheduler, BatchScheduler])
def test_the_order_of_pods_decides_what_fits_and_the_event_says_it(kind: type[GPUScheduler]) -> None:
    scheduler = cluster(kind=kind)
    assert placed(scheduler, "small", "large") == ["small-0"]
    assert devices(scheduler, "small-0") == ["gpu-0-mig-1g5gb-19-0"]
    assert scheduler.events[-1].message == (
        "0/2 nodes are available: 2 cannot allocate all claims. preemption: 0/2 nodes are available: "
        "2 No preemption victims found for incoming pod."
    )
    assert placed(cluster(kind=kind), "large", "small") == ["large-0", "small-1"]


def test_devices_come_back_with_the_pod() -> None:
    scheduler = cluster()
    placed(scheduler, "small", "large")
    scheduler.release("small-0")
    assert scheduler.schedule() == [("large-1", "mig")]
    assert devices(scheduler, "large-1") == ["gpu-0-mig-4g20gb-5-0"]


def test_an_eviction_is_tried_and_frees_no_device() -> None:
    """DRAPreemption (KEP-5690) is off by default."""
    scheduler = cluster()
    placed(scheduler, "whole")
    urgent = GPURequest("urgent", cpu="1", claims=("small",), priority_class=URGENT)
    scheduler.submit(urgent)
    assert scheduler.schedule() == []
    assert "whole-0" in scheduler.running
    assert "1 cannot allocate all claims" in scheduler.events[-1].message.partition("preemption:")[2]


def test_pods_of_a_gang_share_what_is_left_on_one_snapshot() -> None:
    scheduler = cluster()
    scheduler.submit(GPURequest("three", cpu="1", gang_size=3, claims=("half",)))
    assert scheduler.schedule() == [], "a GPU has room for two halves"
    assert not scheduler.nodes["mig"].pods
    assert placed(scheduler, "half", "half") == ["half-0", "half-1"], "all that was reserved was given back"


def test_a_template_that_is_not_there_and_a_node_that_is_not_there() -> None:
    with pytest.raises(Invalid, match='resourceclaimtemplates "none" not found'):
        placed(cluster(), "none")
    with pytest.raises(Invalid, match='nodes "other" not found'):
        cluster().publish("other", NodeDevices([], {}))


def test_a_pod_names_its_templates() -> None:
    request = GPURequest("bert", cpu="1", claims=("half",))
    pod = request.manifest()
    assert validate(pod) == []
    assert pod["spec"]["resourceClaims"] == [{"name": "half", "resourceClaimTemplateName": "half"}]
    assert pod["spec"]["containers"][0]["resources"]["claims"] == [{"name": "half"}]
    assert GPURequest.of(pod) == request


def test_a_template_makes_the_claim() -> None:
    template = TEMPLATES["half"].template()
    assert validate(template) == []
    claim = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "half"}}
    assert ResourceClaim.of({**claim, "spec": template["spec"]["spec"]}) == TEMPLATES["half"]
