"""Upgrades: rollouts against measured rows and invariants, merges and conflicts in upstream's words, the bill by hand."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra.admission.rules import Invalid
from mlinfra.helm.bill import HOURS_PER_MONTH, Bill, Line, worth
from mlinfra.helm.deployment import Rollout
from mlinfra.helm.field_paths import get, leaves
from mlinfra.helm.field_types import FieldType, MergeFailed
from mlinfra.helm.upgrade import (
    HELM,
    HPA,
    Conflict,
    Managed,
    Manager,
    ReleaseHistory,
    patched,
    three_way_merge,
)


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 4, (1, 1)),
        ("25%", "25%", 3, (1, 0)),
        ("25%", "25%", 1, (1, 0)),
        ("1%", "0%", 1, (1, 0)),
        ("0%", "1%", 2, (0, 1)),
        (0, "10%", 5, (0, 1)),
        ("30%", "10%", 20, (6, 2)),
        (0, 9, 3, (0, 3)),
    ],
)
def test_fenceposts(surge: int | str, unavailable: int | str, replicas: int, expected: tuple[int, int]) -> None:
    """Upstream's table for ResolveFenceposts, and the cap of MaxUnavailable."""
    assert Rollout(replicas, surge, unavailable).fenceposts() == expected


@pytest.mark.parametrize(
    ("rollout", "done_s", "peak", "fewest"),
    [
        (Rollout(20, 5, 0), 4 * 172, 25, 20),
        (Rollout(20, 1, 0), 20 * 172, 21, 20),
        (Rollout(20, 0, 1, gpus=20), 20 * 172, 20, 19),
        (Rollout(20, 0, 5, gpus=20), 4 * 172, 20, 15),
        (Rollout(20), 2 * 172, 25, 15),
        (Rollout(20, 5, 5, gpus=20), 4 * 172, 20, 15),
        (Rollout(20, 5, 0, drain_s=120), 4 * 172, 30, 20),
        (Rollout(20, 5, 0, drain_s=120, gpus=25), 4 * 172 + 3 * 120, 25, 20),
        (Rollout(20, 0, 1, drain_s=120, gpus=20), 20 * (172 + 120), 20, 19),
        (Rollout(20, 5, 0, drain_s=600), 4 * 172, 40, 20),
        (Rollout(4, gpus=4), 4 * 172, 4, 3),
    ],
)
def test_rollouts_by_hand(rollout: Rollout, done_s: float, peak: int, fewest: int) -> None:
    outcome = rollout.simulate()
    assert (outcome.done_s, outcome.peak_gpus, outcome.fewest_serving) == (done_s, peak, fewest)


@pytest.mark.parametrize("rollout", [Rollout(20, 1, 0, gpus=20), Rollout(3, gpus=3), Rollout(1, gpus=1)])
def test_without_a_spare_gpu_a_surge_alone_is_stuck(rollout: Rollout) -> None:
    outcome = rollout.simulate()
    assert outcome.done_s is None
    assert outcome.late_s == 600
    assert outcome.fewest_serving == rollout.replicas, "the old version serves on"


def test_the_deadline_stops_nothing() -> None:
    outcome = Rollout(4, 1, 0, start_s=700).simulate()
    assert outcome.late_s == 600
    assert outcome.done_s == 4 * 700


def test_late_and_stuck_after_some_progress() -> None:
    drained = Rollout(20, 5, 0, drain_s=600, gpus=25).simulate()
    assert drained.late_s == 172 + 600, "pods that only drain are no progress"
    assert drained.done_s == 4 * 172 + 3 * 600
    assert Rollout(4, 1, 0, start_s=600).simulate().late_s is None, "in time, if only just"


def test_the_events_are_the_deployments() -> None:
    outcome = Rollout(4, 2, 0, start_s=100).simulate()
    assert outcome.why().splitlines() == [
        "t=0 s  ScalingReplicaSet  deployment/bert: Scaled up replica set bert-new from 0 to 2",
        "t=100 s  ScalingReplicaSet  deployment/bert: Scaled down replica set bert-old from 4 to 2",
        "t=100 s  ScalingReplicaSet  deployment/bert: Scaled up replica set bert-new from 2 to 4",
        "t=200 s  ScalingReplicaSet  deployment/bert: Scaled down replica set bert-old from 2 to 0",
        't=200 s  NewReplicaSetAvailable  deployment/bert: ReplicaSet "bert-new" has successfully progressed.',
    ]
    stuck = Rollout(1, gpus=1).simulate()
    assert stuck.events[-1].message == 'ReplicaSet "bert-new" has timed out progressing.'


def test_a_pod_that_waits_for_a_gpu_serves_later() -> None:
    assert list(Rollout(2, 1, 0, start_s=100).simulate().latencies_s) == [100, 100]
    drained = Rollout(2, 1, 0, start_s=100, drain_s=50, gpus=3).simulate()
    assert list(drained.latencies_s) == [100, 150], "the second waits until the first old one is gone"
    assert Rollout(1, gpus=1).simulate().latency_s(1.0) == math.inf


def rolling(**spec: Any) -> dict[str, Any]:
    labels = {"app": "bert"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": "bert:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bert", "uid": "b-1", "annotations": {"deployment.kubernetes.io/revision": "1"}},
        "spec": {"selector": {"matchLabels": labels}, "template": template} | spec,
        "status": {"replicas": 1, "observedGeneration": 1},
    }


def test_a_rollout_of_a_deployment() -> None:
    assert Rollout.of(rolling()) == Rollout(1)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "10%"}}
    given = rolling(replicas=4, strategy=strategy, minReadySeconds=10, progressDeadlineSeconds=700)
    assert Rollout.of(given, start_s=90, drain_s=30, gpus=5) == Rollout(4, 1, "10%", 100, 30, 5, 700)
    both_none = {"rollingUpdate": {"maxSurge": "00%", "maxUnavailable": 0}}
    for wrong, why in (
        (rolling(strategy={"type": "Recreate"}), "only a RollingUpdate is simulated"),
        (rolling(strategy=both_none), "may not be 0 when `maxSurge` is 0"),
        (
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}},
            'kind: Unsupported value: "Service',
        ),
        (rolling(replicas=0), "replicas: Invalid value: 0"),
    ):
        with pytest.raises(Invalid) as refusal:
            Rollout.of(wrong)
        assert why in str(refusal.value)


def test_pods_that_drain_are_paid_until_they_are_gone() -> None:
    outcome = Rollout(1, 1, 0, start_s=100, drain_s=50).simulate()
    assert [(m.at_s, m.gpus) for m in outcome.moments] == [(0, 2), (100, 2), (150, 1)]
    assert outcome.gpu_hours() == pytest.approx(2 * 150 / 3600)


def test_a_surge_costs_the_same_whatever_its_size() -> None:
    for surge in (1, 2, 5, 10):
        outcome = Rollout(20, surge, 0).simulate()
        assert outcome.done_s is not None
        assert outcome.gpu_hours() - 20 * outcome.done_s / 3600 == pytest.approx(20 * 172 / 3600)


shares = st.integers(0, 6) | st.integers(0, 100).map("{}%".format)


@given(st.integers(1, 12), shares, shares, st.integers(0, 300), st.integers(0, 300), st.integers(0, 8))
def test_a_rollout_keeps_its_promises(
    replicas: int, surge: Any, unavailable: Any, start: int, drain: int, spare: int
) -> None:
    if {surge, unavailable} <= {0, "0%"}:
        unavailable = 1
    rollout = Rollout(replicas, surge, unavailable, start, drain, replicas + spare)
    above, below = rollout.fenceposts()
    outcome = rollout.simulate()
    for moment in outcome.moments:
        assert moment.serving >= replicas - below
        assert moment.old + moment.new + moment.starting + moment.pending <= replicas + above
        assert moment.gpus <= replicas + spare
    assert (outcome.done_s is None) == (below == 0 and spare == 0), "only no room at all makes it stuck"
    if outcome.done_s is not None:
        assert outcome.moments[-1].new == replicas
        assert outcome.moments[-1].gpus == replicas


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"replicas": 0}, "replicas: Invalid value: 0: must be greater than or equal to 1"),
        ({"replicas": 3, "max_surge": "a"}, "max_surge"),
        ({"replicas": 3, "max_surge": -1}, "max_surge: Invalid value: -1"),
        ({"replicas": 3, "max_surge": 0, "max_unavailable": "0%"}, "may not be 0 when `maxSurge` is 0"),
        ({"replicas": 3, "start_s": math.nan}, "start_s"),
        ({"replicas": 3, "max_unavailable": "150%"}, "must not be greater than 100%"),
        ({"replicas": 3, "max_surge": "00%", "max_unavailable": 0}, "may not be 0"),
        ({"replicas": 3, "progress_deadline_s": 0}, "must be greater than minReadySeconds"),
        ({"replicas": 3, "gpus": 2}, "gpus: Invalid value: 2: must be at least one per replica"),
    ],
)
def test_what_cannot_be_rolled_out(given: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Rollout(**given)
    assert why in str(refusal.value)


# ---------------------------------------------------------------------------------------------------------- merges


def deployment(replicas: int | None = None, image: str = "bert:1", **env: str) -> dict[str, Any]:
    container = {
        "name": "server",
        "image": image,
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "bert"}},
        "template": {"spec": {"containers": [container]}},
    }
    count = {} if replicas is None else {"replicas": replicas}
    return {"kind": "Deployment", "metadata": {"name": "bert"}, "spec": count | spec}


REPLICAS = ("spec", "replicas")
LIVE = deployment(8)


@pytest.mark.parametrize(
    ("old", "new", "replicas"), [(2, 2, 2), (2, None, 1), (None, None, 8), (None, 2, 2), (2, 3, 3)]
)
def test_three_way_merge_and_the_hpa(old: int | None, new: int | None, replicas: int) -> None:
    assert patched(deployment(old), deployment(new), LIVE)["spec"]["replicas"] == replicas


def test_a_merge_keeps_what_others_added() -> None:
    live = deployment(8, A="1", B="2")
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "mesh:1"})
    merged = patched(deployment(A="1", B="2"), deployment(image="bert:2", A="3"), live)
    server, sidecar = merged["spec"]["template"]["spec"]["containers"]
    assert sidecar["name"] == "sidecar"
    assert server["image"] == "bert:2"
    assert server["env"] == [{"name": "A", "value": "3"}], "B was the chart's, and went"
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "bert:1"


def test_the_ports_of_a_service_are_told_apart() -> None:
    both = {"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 90, "targetPort": "metrics"}]}}
    assert patched(both, both, both) == both
    assert Managed({}).apply(HELM, both).apply(HELM, both).obj == both


def test_only_a_deployment_gets_a_default() -> None:
    config = {"kind": "ConfigMap", "data": {"a": "b"}}
    assert Managed({}).apply(HELM, config).obj == config


def test_what_others_own_stays() -> None:
    wrote = Managed({}).apply(HELM, {"m": {}, "n": 1}).update(HPA, ("m", "x"), 3)
    assert wrote.apply(HELM, {"n": 1}).obj == {"m": {"x": 3}, "n": 1}
    shared = Managed({}).apply(HELM, {"n": 1}).apply(Manager("other"), {"n": 1})
    assert shared.apply(HELM, {}).obj == {"n": 1}
    image = ("spec", "template", "spec", "containers", ("name", "server"), "image")
    hot = Managed({}).apply(HELM, deployment(2)).update(Manager("kubectl", updates=True), image, "bert:hot")
    selector = {"matchLabels": {"app": "bert"}}
    bare = {"kind": "Deployment", "metadata": {"name": "bert"}, "spec": {"replicas": 2, "selector": selector}}
    (container,) = hot.apply(HELM, bare).obj["spec"]["template"]["spec"]["containers"]
    assert container == {"name": "server", "image": "bert:hot"}
    gone = Managed({}).apply(HELM, deployment(2)).apply(HELM, bare)
    assert "template" not in gone.obj["spec"]


def test_a_list_without_a_key_is_replaced() -> None:
    assert three_way_merge({"args": ["a"]}, {"args": ["b"]}, {"args": ["a", "c"]}) == {"args": ["b"]}


documents = st.recursive(
    st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
)
maps = st.dictionaries(st.sampled_from("abc"), documents, max_size=3)


@given(maps, maps)
def test_merging_without_drift_gives_the_new_one(old: Any, new: Any) -> None:
    assert three_way_merge(old, new, old) == new
    assert three_way_merge(new, new, new) == new


def test_server_side_apply_and_the_hpa() -> None:
    installed = Managed({}).apply(HELM, deployment(2))
    scaled = installed.update(HPA, REPLICAS, 8)
    assert scaled.owner_of(REPLICAS) == ["kube-controller-manager"]
    with pytest.raises(Conflict) as conflict:
        scaled.apply(HELM, deployment(2, image="bert:2"))
    assert str(conflict.value) == (
        'Apply failed with 1 conflict: conflict with "kube-controller-manager" with subresource "scale" using apps/v1: .spec.replicas'
    )
    forced = scaled.apply(HELM, deployment(2), force=True)
    assert (forced.obj["spec"]["replicas"], forced.owner_of(REPLICAS)) == (2, ["helm"])
    assert scaled.apply(HELM, deployment(8)).owner_of(REPLICAS) == ["helm", "kube-controller-manager"], "shared"
    assert scaled.apply(HELM, deployment()).obj["spec"]["replicas"] == 8, "the other owner keeps it"
    assert installed.apply(HELM, deployment()).obj["spec"]["replicas"] == 1, "nobody else does: the default"


def test_an_empty_map_takes_nothing_away() -> None:
    scaled = Managed({}).apply(HELM, {"spec": {"replicas": 2}}).update(HPA, REPLICAS, 8)
    assert scaled.apply(HELM, {"spec": {}}).obj == {"spec": {"replicas": 8}}


def test_a_refused_apply_changes_nothing() -> None:
    scaled = Managed({}).apply(HELM, deployment(2)).update(HPA, REPLICAS, 8)
    before = (str(scaled.obj), dict(scaled.owners))
    with pytest.raises(Conflict):
        scaled.apply(HELM, deployment(3))
    assert (str(scaled.obj), dict(scaled.owners)) == before


def test_several_conflicts_are_listed() -> None:
    other = Manager("kubectl", updates=True)
    image = ("spec", "template", "spec", "containers", ("name", "server"), "image")
    changed = Managed({}).apply(HELM, deployment(2)).update(other, image, "bert:hot").update(other, REPLICAS, 4)
    with pytest.raises(Conflict) as conflict:
        changed.apply(HELM, deployment(2))
    assert str(conflict.value) == (
        'Apply failed with 2 conflicts: conflicts with "kubectl" using apps/v1:\n- .spec.replicas\n'
        '- .spec.template.spec.containers[name="server"].image'
    )


items = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"value": st.integers(0, 2)}),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
containers = st.fixed_dictionaries(
    {"name": st.just("server")},
    optional={"image": st.sampled_from("ab"), "env": items, "args": st.lists(st.sampled_from("xy"), max_size=2)},
)
pods = st.fixed_dictionaries(
    {"kind": st.just("Pod")},
    optional={
        "metadata": st.fixed_dictionaries({"labels": st.dictionaries(st.sampled_from("cd"), st.sampled_from("ef"))}),
        "spec": st.builds(lambda container: {"containers": [container]}, containers),
    },
)


@given(pods, pods, pods)
def test_merges_are_idempotent_and_change_none_of_the_three(old: Any, new: Any, live: Any) -> None:
    before = deepcopy((old, new, live))
    merged = three_way_merge(old, new, live)
    assert three_way_merge(old, new, merged) == three_way_merge(new, new, merged) == merged
    once = Managed({}).apply(HELM, old).apply(HELM, new)
    assert once.apply(HELM, new) == once
    assert (old, new, live) == before


@given(maps, maps)
def test_applying_alone_gives_what_was_applied(first: Any, second: Any) -> None:
    alone = Managed({}).apply(HELM, {"a": first}).apply(HELM, {"a": second})
    assert dict(leaves(alone.obj["a"], FieldType())) == dict(leaves(second, FieldType())) or not second
    assert all(get(alone.obj, path) == value for path, value in leaves({"a": second}, FieldType()))


T, U = ({"name": n, "port": 443, "protocol": p} for n, p in (("https", "TCP"), ("http3", "UDP")))
A1, A2 = ({"name": "A", "value": value} for value in "12")


def service(*ports: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": list(ports)}}


def with_env(*env: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "env": list(env)}]}}


def test_the_server_tells_ports_apart_by_number_and_protocol() -> None:
    """kubernetes#105610: server-side apply is the way out."""
    assert Managed({}).apply(HELM, service(U, T)).obj["spec"]["ports"] == [U, T]
    without = {"name": "https", "port": 443}
    both = Managed({}).apply(HELM, service(without)).apply(HELM, service(T, U)).obj["spec"]["ports"]
    assert both == [T, U], "a port without a protocol is TCP"


def test_the_client_tells_ports_apart_by_number_and_loses_one() -> None:
    assert patched(service(T), service(U, T), service(T))["spec"]["ports"] == [T]


@pytest.mark.parametrize("env", [(A1,), (A2,)])
def test_a_variable_that_stood_twice_is_gone_after_the_client_has_merged(env: tuple[dict[str, str], ...]) -> None:
    """kubernetes#58477: the directive that deletes one deletes both."""
    assert patched(with_env(A1, A2), with_env(*env), with_env(A1, A2))["spec"]["containers"][0]["env"] == []


def test_the_server_refuses_a_variable_that_stands_twice() -> None:
    with pytest.raises(MergeFailed) as refusal:
        Managed({}).apply(HELM, with_env(A1, A2))
    assert str(refusal.value) == (
        "failed to create typed patch object (default/; /v1, Kind=Pod): "
        '.spec.containers[name="c"].env: duplicate entries for key [name="A"]'
    )


def strategy(**strategy: Any) -> dict[str, Any]:
    obj = deployment(1)
    obj["spec"]["template"]["metadata"] = {"labels": {"app": "bert"}}
    del obj["spec"]["template"]["spec"]["containers"][0]["env"]
    return obj | {"apiVersion": "apps/v1", "spec": obj["spec"] | {"strategy": strategy}}


ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}


@pytest.mark.parametrize("new", [{"type": "Recreate"}, {"type": "Recreate", "rollingUpdate": None}])
def test_a_strategy_that_becomes_recreate(new: dict[str, Any]) -> None:
    """`patchStrategy: retainKeys` drops the other branch in the client; what nobody owns stays for the server."""
    old = strategy(type="RollingUpdate")
    assert patched(old, strategy(**new), strategy(**ROLLING))["spec"]["strategy"] == {"type": "Recreate"}
    with pytest.raises(Invalid, match=r"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy"):
        Managed(strategy(**ROLLING)).apply(HELM, strategy(**new))


def test_volumes_keep_one_source() -> None:
    def pod(**source: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Pod", "spec": {"volumes": [{"name": "v", **source}]}}

    merged = patched(pod(emptyDir={}), pod(configMap={"name": "a"}), pod(emptyDir={}))
    assert merged["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "a"}}]


def test_lists_and_maps_that_are_one_value_are_replaced_whole() -> None:
    def pod(**spec: Any) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Pod", "spec": spec}

    one, two = {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}
    assert patched(pod(tolerations=[one]), pod(tolerations=[two]), pod(tolerations=[one, two])) == pod(
        tolerations=[two]
    )
    before = Managed({}).apply(HELM, pod(nodeSelector={"a": "1"}, tolerations=[one]))
    with pytest.raises(Conflict, match=r"\.spec\.nodeSelector"):
        before.apply(Manager("other"), pod(nodeSelector={"b": "2"}))


def test_finalizers_of_others_stay() -> None:
    def config(*finalizers: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": list(finalizers)}}

    merged = patched(config("ours/old"), config("ours/new"), config("ours/old", "theirs/one"))
    assert merged["metadata"]["finalizers"] == ["theirs/one", "ours/new"]


def test_a_null_deletes() -> None:
    def config(**data: str | None) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}

    assert patched(config(a="1"), config(a=None, b="2"), config(a="1", z="9"))["data"] == {"z": "9", "b": "2"}
    assert Managed({}).apply(HELM, config(a="1")).apply(HELM, config(a=None, b="2")).obj["data"] == {"b": "2"}


def test_an_item_without_its_key_is_named() -> None:
    with pytest.raises(MergeFailed, match="does not contain declared merge key: name"):
        patched(with_env(A1), with_env({"value": "1"}), with_env(A1))
    with pytest.raises(MergeFailed, match=r"env: element 0: associative list with keys has an element that omits all"):
        Managed({}).apply(HELM, with_env({"value": "1"}))


def kind(version: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "m"}, **fields}


def job(image: str) -> dict[str, Any]:
    container = {"name": "c", "image": image}
    return kind("batch/v1", "Job", spec={"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}})


CHANGES = [
    (job("a:1"), job("a:2"), 'Job.batch "m" is invalid: spec.template: Invalid value: {"spec"', "field is immutable"),
    (kind("v1", "Service", spec={"clusterIP": "10.0.0.1"}), kind("v1", "Service", spec={"clusterIP": "None"}), 'Service "m" is invalid: spec.clusterIPs[0]: Invalid value: ["None"]', "may not change once set"),
    (kind("v1", "ConfigMap", immutable=True, data={"a": "1"}), kind("v1", "ConfigMap", immutable=True, data={"a": "2"}), "data: Forbidden", "when `immutable` is set"),
    (kind("scheduling.k8s.io/v1", "PriorityClass", value=1), kind("scheduling.k8s.io/v1", "PriorityClass", value=2), "value: Forbidden", "may not be changed in an update."),
    (kind("resource.k8s.io/v1", "ResourceClaim", spec={}), kind("resource.k8s.io/v1", "ResourceClaim", spec={"devices": {}}), "spec: Invalid value", "field is immutable"),
    (kind("apps/v1", "StatefulSet", spec={"serviceName": "a"}), kind("apps/v1", "StatefulSet", spec={"serviceName": "b"}), "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals'", "'minReadySeconds' are forbidden"),
    (kind("v1", "PersistentVolumeClaim", spec={"storageClassName": "a"}), kind("v1", "PersistentVolumeClaim", spec={"storageClassName": "b"}), "spec: Forbidden", "is immutable after creation"),
    (kind("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef={"name": "a"}), kind("rbac.authorization.k8s.io/v1", "RoleBinding", roleRef={"name": "b"}), "roleRef: Invalid value", "cannot change roleRef"),
    (kind("apps/v1", "DaemonSet", spec={"selector": {}}), kind("apps/v1", "DaemonSet", spec={}), "spec.selector: Invalid value: null", "field is immutable"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "head", "tail"), CHANGES, ids=lambda obj: str(obj.get("kind")) if isinstance(obj, dict) else ""
)
def test_what_may_not_change_fails_the_upgrade(old: Any, new: Any, head: str, tail: str) -> None:
    release = ReleaseHistory("r").upgrade([old]).upgrade([new]).releases[-1]
    assert release.status == "failed"
    assert release.description.startswith(f'Upgrade "r" failed: cannot patch "m" with kind {new["kind"]}: ')
    assert head in release.description
    assert tail in release.description
    assert ReleaseHistory("r").upgrade([old]).upgrade([old]).releases[-1].status == "deployed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (kind("v1", "Service", spec={"clusterIP": "10.0.0.1"}), kind("v1", "Service", spec={})),
        (kind("v1", "Secret"), kind("v1", "Secret", type="Opaque")),
        (kind("apps/v1", "StatefulSet", spec={"replicas": 1}), kind("apps/v1", "StatefulSet", spec={"replicas": 2})),
        (kind("batch/v1", "Job", spec={"parallelism": 1}), kind("batch/v1", "Job", spec={"parallelism": 2})),
    ],
)
def test_what_may_change_or_is_the_default_does_not(old: Any, new: Any) -> None:
    assert ReleaseHistory("r").upgrade([old]).upgrade([new]).releases[-1].status == "deployed"


def test_history() -> None:
    history = ReleaseHistory("bert").upgrade([deployment(2)]).upgrade([deployment(2, image="bert:2")])
    assert [(r.revision, r.status) for r in history.releases] == [(1, "superseded"), (2, "deployed")]
    back = history.rollback()
    assert back.deployed is not None
    assert (back.deployed.revision, back.deployed.description, back.deployed.objects) == (
        3,
        "Rollback to 1",
        [deployment(2)],
    )
    assert [r.status for r in back.releases] == ["superseded", "superseded", "deployed"]
    with pytest.raises(Invalid, match="release has no 7 version"):
        back.rollback(7)


def test_a_revision_keeps_what_was_deployed() -> None:
    objects = [deployment(2)]
    history = ReleaseHistory("bert").upgrade(objects)
    objects[0]["spec"]["replicas"] = 9
    assert history.releases[0].objects[0]["spec"]["replicas"] == 2
    with pytest.raises(Invalid, match="release has no -1 version"):
        history.rollback(-1)


def test_a_rollback_without_a_number_goes_to_the_one_before_the_newest() -> None:
    """`helm rollback RELEASE`: of three revisions the second."""
    history = ReleaseHistory("bert")
    for replicas in (1, 2, 3):
        history = history.upgrade([deployment(replicas)])
    newest = history.rollback().releases[-1]
    assert (newest.description, newest.objects[0]["spec"]["replicas"]) == ("Rollback to 2", 2)


def test_a_selector_cannot_change() -> None:
    other = deployment(2)
    other["spec"]["selector"] = {"matchLabels": {"app": "bert", "version": "2"}}
    history = ReleaseHistory("bert").upgrade([deployment(2)]).upgrade([other])
    assert [r.status for r in history.releases] == ["deployed", "failed"]
    assert "field is immutable" in history.releases[-1].description
    back = history.upgrade([deployment(2)]).rollback(2)
    assert (back.releases[-1].status, back.releases[-1].description[:24]) == ("failed", 'Rollback "bert" failed: ')
    again = history.upgrade([deployment(2, image="bert:2")])
    assert [r.status for r in again.releases] == ["superseded", "failed", "deployed"]


# ------------------------------------------------------------------------------------------------------------ bill


def test_the_bill_by_hand() -> None:
    """A node of 8 GPUs at 24 dollars and 2,500 requests per second: 2.67 dollars a million; at 30 % use 8.89."""
    hour = Bill((Line("serving", 1, 24.0),), 2500 * 3600)
    assert hour.dollars == 24
    assert round(hour.dollars_per_million, 2) == 2.67
    assert round(Bill(hour.lines, 0.3 * hour.requests).dollars_per_million, 2) == 8.89
    month = Bill((Line("serving", 720, 3.0), Line("rollouts", 0.956, 3.0), Line("training", 40, 1.0)), 1e6)
    assert month.by_line() == pytest.approx({"serving": 2160, "rollouts": 2.868, "training": 40})
    assert month.dollars == pytest.approx(2202.868)
    assert month.node_hours == pytest.approx(760.956)


def test_what_a_decision_is_worth() -> None:
    chosen, without = Bill((Line("serving", 100, 3.0),), 1e6), Bill((Line("serving", 150, 3.0),), 1e6)
    assert worth(chosen, {"autoscaling": without}) == {"autoscaling": 150}


def test_an_idle_service_has_no_price_per_request() -> None:
    assert Bill((Line("serving", 1, 3.0),), 0).dollars_per_million == math.inf
    assert Bill((), 0).dollars == 0


def test_less_than_nothing_is_no_traffic() -> None:
    with pytest.raises(Invalid, match="requests: Invalid value: -5: must be greater than or equal to 0"):
        Bill((), -5)


@pytest.mark.parametrize(
    "line", [("serving", -1, 3), ("serving", math.nan, 3), ("serving", math.inf, 3), ("serving", 1, -3)]
)
def test_a_line_that_is_none(line: tuple[Any, ...]) -> None:
    with pytest.raises(Invalid, match=r"node_hours|dollars_per_hour"):
        Line(*line)


def test_a_month_has_720_hours() -> None:
    assert HOURS_PER_MONTH == 30 * 24
    assert Line("idle", 0, 3.0).dollars == 0
    assert Bill((Line("serving", 1, 3.0),), 3).dollars_per_million == 1e6
