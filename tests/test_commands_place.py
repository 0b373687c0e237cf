"""`mlinfra place`: pending pods and their nodes, from what kubectl prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlinfra.__main__ import main
from mlinfra.manifest import Manifest

EXAMPLES = Path(__file__).parents[1] / "examples"


def placed(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, Any]:
    code = main(["place", *map(str, argv), "--json"])
    output, complaint = capsys.readouterr()
    return code, json.loads(output) if code < 2 and output else complaint


def node(name: str, cpu: str = "4", **spec: Any) -> Manifest:
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec, "status": status}


def pod(name: str, cpu: str = "1", phase: str = "", namespace: str = "", metadata: Manifest | None = None, **spec: Any) -> Manifest:  # fmt: skip
    container = {"name": "main", "image": "example.org/a:1", "resources": {"requests": {"cpu": cpu}}}
    head: Manifest = {"name": name, **({"namespace": namespace} if namespace else {}), **(metadata or {})}
    status = {"phase": phase or ("Running" if "nodeName" in spec else "Pending")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": {"containers": [container], **spec}, "status": status}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*objects: Any) -> tuple[int, Any]:
        path = tmp_path / "cluster.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        return placed(capsys, path)

    return call


def test_the_example_places_three_of_four_and_evicts_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = placed(capsys, EXAMPLES / "cluster.json")
    assert code == 1
    assert answer["placed"]["chat-8b-84c9f-n6vjq"] == "gpu-a100-1"
    assert list(answer["failed"]) == ["train-mixtral-5b9cd-j7tsf"]
    assert answer["failed"]["train-mixtral-5b9cd-j7tsf"].startswith("0/6 nodes are available: ")
    (evicted,) = answer["preempted"]
    assert evicted.startswith("train-llama-7d9f4-x2kqp: Preempted by pod chat-8b-84c9f-n6vjq on node gpu-a100-1; ")


def test_another_profile_places_otherwise(place: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects = [node("a"), node("b"), pod("there", nodeName="b"), pod("new")]
    assert place(*objects)[1]["placed"] == {"new": "a"}
    arguments = {"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu"}]}}
    profile = {"pluginConfig": [{"name": "NodeResourcesFit", "args": arguments}]}
    profile["plugins"] = {"score": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}}  # type: ignore[assignment]
    config = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    (tmp_path / "profile.json").write_text(json.dumps({**config, "profiles": [profile]}))
    _, answer = placed(capsys, tmp_path / "cluster.json", "--profile", tmp_path / "profile.json")
    assert answer["placed"] == {"new": "b"}


def test_bound_pods_hold_what_they_request_and_finished_ones_nothing(place: Any) -> None:
    full = pod("full", "4", nodeName="a")
    done = pod("done", "4", phase="Succeeded", nodeName="a")
    assert place(node("a"), full, pod("new"))[0] == 1
    assert place(node("a"), done, pod("new"))[1]["placed"] == {"new": "a"}


def test_a_pod_on_an_unknown_node_is_said_and_the_rest_goes_on(place: Any) -> None:
    code, answer = place(node("a"), pod("lost", nodeName="z"), pod("new"))
    assert code == 0
    assert answer["leftAside"] == ["lost: is bound to z, which is not among these nodes"]


def test_gated_and_deleted_pods_are_not_tried(place: Any) -> None:
    gated = pod("gated", schedulingGates=[{"name": "example.com/wait"}])
    deleted = pod("gone", metadata={"deletionTimestamp": "2026-03-02T08:00:00Z"})
    leaving = pod("leaving", "4", metadata={"deletionTimestamp": "2026-03-02T08:00:00Z"}, nodeName="a")
    code, answer = place(node("a"), leaving, gated, deleted, pod("new"))
    assert code == 1
    assert list(answer["failed"]) == ["new"], "what is in deletion holds its node until it is gone"
    assert answer["leftAside"] == ["1 pod with spec.schedulingGates", "1 pod in deletion"]


def test_a_node_without_status_has_room_for_nothing(place: Any) -> None:
    bare = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}}
    code, answer = place(bare, pod("new"))
    assert code == 1
    assert answer["leftAside"] == ["bare: has no status.allocatable, so nothing fits there"]
    assert "Too many pods" in answer["failed"]["new"]


def test_a_cordoned_node_takes_nothing(place: Any) -> None:
    _, answer = place(node("a", unschedulable=True), pod("new"))
    assert answer["failed"]["new"].startswith("0/1 nodes are available: 1 node(s) were unschedulable.")


def test_two_nodes_of_one_name_are_refused(place: Any) -> None:
    assert place(node("a"), node("a")) == (1, 'node is invalid: name: nodes "a" already exists\n')


def test_a_pod_that_stands_twice_is_refused(place: Any) -> None:
    code, complaint = place(node("a"), pod("p"), pod("p"))
    assert code == 1
    assert 'pods "p" already exists in namespace default' in complaint


def test_pods_of_one_name_in_two_namespaces_are_told_apart(place: Any) -> None:
    _, answer = place(node("a"), pod("p", namespace="one"), pod("p", namespace="two"))
    assert answer["placed"] == {"p": "a", "p.two": "a"}


def test_a_pending_pod_that_the_server_refuses_does_not_stop_the_others(place: Any) -> None:
    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": {"containers": []}}
    code, answer = place(node("a"), bare, pod("new"))
    assert code == 1
    assert answer["placed"] == {"new": "a"}
    assert answer["refused"] == {"bare": "spec.containers: Required value"}


@pytest.mark.parametrize("part", ["spec", "metadata", "status"])
def test_a_pod_of_another_shape_is_refused_in_the_servers_words(part: str, place: Any) -> None:
    code, complaint = place(node("a"), pod("p") | {part: "x"})
    assert code == 1
    assert "cannot unmarshal string" in complaint


def test_a_pod_without_spec_is_refused(place: Any) -> None:
    code, complaint = place(node("a"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
    assert code == 1
    assert "spec.containers: Required value" in complaint


def test_a_live_pod_brings_its_priority(place: Any) -> None:
    system = pod("dns", "4", nodeName="a", priorityClassName="system-cluster-critical", priority=2_000_000_000)
    code, answer = place(node("a"), system, pod("new"))
    assert code == 1
    assert answer["preempted"] == []


def test_a_pod_without_a_class_gets_the_lowest_global_default(place: Any) -> None:
    """As the Priority admission plugin would write it into the pod: 50 here, more than 10 and less than 60."""
    classes = [
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, "globalDefault": default}
        for name, value, default in (("high", 100, True), ("low", 50, True), ("lower", 20, False))
    ]  # fmt: skip
    small, large = pod("small", "4", nodeName="a", priority=10), pod("large", "4", nodeName="b", priority=60)
    _, answer = place(node("a"), node("b"), *classes, small, large, pod("new", "4"))
    assert answer["placed"] == {"new": "a"}
    (evicted,) = answer["preempted"]
    assert evicted.startswith("small: Preempted by pod new")


def budget(name: str, selector: Manifest, allowed: int = 0, namespace: str = "") -> Manifest:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    kind: Manifest = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata}
    return kind | {"spec": {"minAvailable": 1, "selector": selector}, "status": {"disruptionsAllowed": allowed}}


LABELLED = {"app": "web"}


@pytest.mark.parametrize(
    ("selector", "namespace", "victim"),
    [
        ({"matchLabels": LABELLED}, "", "b"),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, "", "b"),
        ({"matchLabels": LABELLED, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, "", "a"),
        ({"matchLabels": LABELLED}, "elsewhere", "a"),
        ({}, "", "a"),
    ],
)
def test_a_budget_protects_the_pods_of_its_namespace_that_it_selects(
    selector: Manifest, namespace: str, victim: str, place: Any
) -> None:
    """On node b the victim is more important, so only a budget moves the choice from a to b. An empty selector covers
    nothing for kube-scheduler (`filterPodsWithPDBViolation`), whatever it does for an eviction.
    """
    small = pod("small", "4", nodeName="a", priority=1, metadata={"labels": LABELLED})
    large = pod("large", "4", nodeName="b", priority=2)
    covering = budget("web", selector, namespace=namespace)
    _, answer = place(node("a"), node("b"), covering, small, large, pod("new", "4", priority=9, priorityClassName="x"))
    assert answer["placed"] == {"new": victim}


def test_the_classes_of_the_system_are_there_without_being_listed(place: Any) -> None:
    _, answer = place(
        node("a"), pod("low", "4", nodeName="a", priority=0), pod("new", "4", priorityClassName="system-node-critical")
    )
    assert answer["placed"] == {"new": "a"}


def test_a_pod_of_a_daemonset_goes_to_its_node_by_name(place: Any) -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    _, answer = place(node("a"), node("b"), pod("agent", affinity={"nodeAffinity": required}))
    assert answer["placed"] == {"agent": "b"}


def test_objects_that_make_pods_are_said_to_be_left_aside(place: Any) -> None:
    template = {"metadata": {"labels": LABELLED}, "spec": pod("x")["spec"]}
    spec = {"selector": {"matchLabels": LABELLED}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    _, answer = place(node("a"), deployment, pod("new"))
    assert any("1 Deployment: only pods are placed here" in note for note in answer["leftAside"]), answer


def test_what_a_pod_requests_beyond_what_is_counted_is_said(place: Any) -> None:
    large = pod("large", schedulingGroup={"podGroupName": "train"})
    large["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = "500Gi"
    _, answer = place(node("a"), large)
    assert answer["notUsed"] == ["spec.schedulingGroup (1 pod)", "requests of ephemeral-storage (1 pod)"]


@pytest.fixture
def bought(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """What is said of pods that fit nowhere, with one pool of CPU nodes."""
    pool = {"apiVersion": "mlinfra.example/v1", "kind": "NodePool", "metadata": {"name": "web"}}
    pool |= {"spec": {"shape": {"cpu": 8, "memory": "32Gi"}, "maxSize": 2}}

    def call(*objects: Manifest) -> Any:
        cluster, pools = tmp_path / "cluster.json", tmp_path / "pools.json"
        cluster.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        pools.write_text(json.dumps(pool))
        return placed(capsys, cluster, "--pools", pools)[1]

    return call


def test_no_node_comes_for_expendable_pods_and_those_of_daemonsets(bought: Any) -> None:
    """cluster-autoscaler's `--expendable-pods-priority-cutoff` is -10; a DaemonSet's pod belongs to a node that is."""
    owner = [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "1", "controller": True}]
    answer = bought(
        node("a", "1"),
        pod("wanted", "6"),
        pod("expendable", "6", priority=-20, priorityClassName="filler"),
        pod("agent", "6", metadata={"ownerReferences": owner}),
    )
    (line,) = answer["nodeAutoscaler"]
    assert line.startswith("TriggeredScaleUp wanted: pod triggered scale-up: [{web 0->1 (max: 2)}]")


def test_a_pool_of_karpenter_is_refused_with_the_version_that_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "gpu"}}))
    _, complaint = placed(capsys, EXAMPLES / "cluster.json", "--pools", pool)
    assert "karpenter.sh/v1" in complaint
    assert complaint.endswith("NodePool is known here in mlinfra.example/v1\n")


def test_nodes_of_a_pool_are_known_by_the_label_of_the_cloud(bought: Any) -> None:
    labels = {"cloud.google.com/gke-nodepool": "web"}
    nodes = [node(name, "1") for name in "ab"]
    for each in nodes:
        each["metadata"]["labels"] = labels
    (line,) = bought(*nodes, pod("wanted", "6"))["nodeAutoscaler"]
    assert "1 max node group size reached" in line


def test_what_the_simulator_does_not_know_is_named(place: Any) -> None:
    spread = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
    claim = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    _, answer = place(node("a"), pod("one", topologySpreadConstraints=spread), pod("two", volumes=claim))
    assert answer["notUsed"] == [
        "spec.topologySpreadConstraints (1 pod)",
        "spec.volumes[].persistentVolumeClaim (1 pod)",
    ]


def test_pods_of_another_scheduler_are_said(place: Any) -> None:
    _, answer = place(node("a"), pod("new", schedulerName="volcano"))
    assert answer["leftAside"] == ["pods ask for the scheduler volcano, and default-scheduler places them here"]


def test_pods_with_claims_for_devices_are_placed_by_the_rest_and_that_is_said(place: Any) -> None:
    """Waiting and bound ones alike, as a live cluster has them."""
    container = {"name": "main", "image": "a:1", "resources": {"requests": {"cpu": "1"}, "claims": [{"name": "gpu"}]}}
    claims = [{"name": "gpu", "resourceClaimTemplateName": "half"}]
    there = pod("there", nodeName="a", resourceClaims=claims, containers=[container])
    code, answer = place(node("a"), there, pod("new", resourceClaims=claims, containers=[container]))
    assert (code, answer["placed"]) == (0, {"new": "a"})
    assert answer["notUsed"] == ["spec.resourceClaims (1 pod)"]
