"""Tests that kill the mutants which the rooms' own tests let live; the head of each group says where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from test_gpu_preemption import pod
from test_gpu_quota import admit

from mlinfra.gpu import fragmentation, placement, shapes
from mlinfra.gpu.cluster import GPU, GPUNode, GPURequest, NodeInfo
from mlinfra.gpu.filters import Refusal, refusal
from mlinfra.gpu.index import WholeGPUBestFit
from mlinfra.gpu.kueue import Kueue
from mlinfra.gpu.preemption import DisruptionBudget, dry_run
from mlinfra.gpu.profile import DEFAULT_PROFILE
from mlinfra.gpu.quota import ClusterQueue, Quota, Usage, Workload
from mlinfra.gpu.scheduler import GPUScheduler
from mlinfra.gpu.scoring import BestFit, balance

# --------------------------------------------------------------------------------------- gpu: tests/test_gpu_scoring.py


def test_the_source_rule_without_a_preference_is_the_spare_gpus_alone() -> None:
    node = NodeInfo(GPUNode("n", "Tesla-V100-SXM2-32GB", 8, 32))
    assert BestFit().score(GPURequest("p", 1), node) == -70
    assert BestFit().score(GPURequest("p", 1, preferred_gpu_type="Tesla-V100-SXM2-32GB"), node) == 30


def test_ten_spare_gpus_weigh_as_much_as_the_preferred_type() -> None:
    """100 - 10 x 10 beside 0 - 0 x 10: a tie, which goes to the first node."""
    nodes = [GPUNode("wide", "A100", 11, 80), GPUNode("tight", "V100", 1, 32)]
    for order in (nodes, nodes[::-1]):
        assert WholeGPUBestFit(order).place(GPURequest("p", 1, preferred_gpu_type="A100")) == order[0].name


def test_what_a_node_does_not_have_is_not_out_of_balance() -> None:
    assert balance({"cpu": 4000, "memory": 0}, {"cpu": 8000, "memory": 0}) == 100


def test_the_weights_of_the_default_plugins() -> None:
    """`getDefaultPlugins`: TaintToleration 3, NodeAffinity 2, the others 1."""
    assert {plugin.name: plugin.weight for plugin in DEFAULT_PROFILE.plugins} == {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "NodeResourcesFit": 1,
        "NodeResourcesBalancedAllocation": 1,
    }


# ------------------------------------------------------------------------------------- gpu: tests/test_gpu_scheduler.py


@pytest.mark.parametrize("resource", [GPU, "nvidia.com/mig-1g.10gb"])
def test_a_device_that_a_node_does_not_have_is_missing_for_good(resource: str) -> None:
    """One is more than none, and no eviction helps."""
    refused = refusal(GPURequest("one", 1, resource=resource), NodeInfo(GPUNode("cpu-only")))
    assert refused == Refusal((f"Insufficient {resource}",), resolvable=False)


def test_an_explanation_has_the_nodes_in_their_order() -> None:
    """Those that fit, then those that do not, each as they were added."""
    cluster = GPUScheduler([GPUNode(f"n{i}", "Tesla-V100-SXM2-32GB", 2 - i % 2, 32) for i in range(4)])
    said = cluster.explain(GPURequest("two", 2))
    assert (list(said.points), list(said.refused)) == (["n0", "n2"], ["n1", "n3"])


# ------------------------------------------------------------------------------------ gpu: tests/test_gpu_preemption.py


def test_of_a_large_cluster_a_tenth_is_tried() -> None:
    """`minCandidateNodesPercentage` 10: 150 of 1500 nodes, more than the 100 that are the least."""
    infos = [NodeInfo(GPUNode(f"n{i}", cpu=1)) for i in range(1500)]
    for i, info in enumerate(infos):
        info.add(pod(f"v{i}", 1, 0))
    assert len(dry_run(pod("incoming", 1, 1).request, infos)) == 150


@pytest.mark.parametrize(("protected", "looked_at"), [(99, 100), (100, 101), (101, 102)])
def test_the_search_goes_on_until_one_of_the_hundred_breaks_no_budget(protected: int, looked_at: int) -> None:
    """A hundred candidates are enough as soon as one of them, whichever, violates nothing."""
    infos = [NodeInfo(GPUNode(f"n{i}", cpu=1)) for i in range(150)]
    for i, info in enumerate(infos):
        info.add(pod(f"v{i}", 1, 0, app="kept" if i < protected else ""))
    found = dry_run(pod("incoming", 1, 1).request, infos, [DisruptionBudget({"app": "kept"}, 0)])
    assert len(found) == looked_at


# ----------------------------------------------------------------------------------------- gpu: tests/test_gpu_quota.py


def test_in_a_queue_the_higher_priority_goes_first_then_the_older() -> None:
    kueue = Kueue([ClusterQueue("a", "", {GPU: Quota(1)})])
    for name, priority in (("old", 0), ("young", 0), ("urgent", 10)):
        kueue.submit(Workload(name, "a", {GPU: 1}, priority))
    assert [workload.name for workload in kueue.pending("a")] == ["urgent", "old", "young"]
    assert kueue.schedule() == ["urgent"]


def test_everybody_who_need_not_go_is_put_back() -> None:
    """The two small ones are asked first, being newer; once the large one goes, both may stay."""
    kueue = Kueue(
        [
            ClusterQueue("a", "ml", {GPU: Quota(8)}, reclaim_within_cohort="Any"),
            ClusterQueue("b", "ml", {GPU: Quota(8)}),
        ]
    )
    for name, gpus in (("large", 14), ("small-1", 1), ("small-2", 1)):
        assert admit(kueue, Workload(name, "b", {GPU: gpus})) == [name]
    assert admit(kueue, Workload("owner", "a", {GPU: 8})) == ["owner"]
    assert [event.workload for event in kueue.events if event.message.startswith("Preempted")] == ["large"]


def both(name: str, gpus: int, cpu: int, **given: str) -> ClusterQueue:
    return ClusterQueue(name, "ml", {GPU: Quota(gpus), "cpu": Quota(cpu)}, **given)


def test_within_nominal_means_every_resource() -> None:
    usage = Usage({"a": both("a", 4, 4)})
    assert [usage.within_nominal("a", {GPU: n, "cpu": 1}) for n in (4, 5)] == [True, False]


def test_a_queue_that_borrows_one_of_what_is_short_can_be_reclaimed_from() -> None:
    """a is short of GPUs and of cpu; b borrows GPUs alone, for it is c that has a's cpu."""
    kueue = Kueue([both("a", 4, 4, reclaim_within_cohort="Any"), both("b", 4, 8), both("c", 0, 0)])
    assert admit(kueue, Workload("c1", "c", {"cpu": 4})) == ["c1"]
    assert admit(kueue, Workload("b1", "b", {GPU: 8, "cpu": 8})) == ["b1"]
    assert admit(kueue, Workload("a1", "a", {GPU: 4, "cpu": 4})) == ["a1"]
    assert set(kueue.admitted) == {"c1", "a1"}


def test_what_a_head_that_borrows_keeps_ends_at_its_borrowing_limit() -> None:
    """`quotaResourcesToReserve`: the request, or the nominal quota and the limit less what is used."""
    for asked, kept in ((9, 9), (20, 8 + 4 - 2)):
        usage = Usage({"a": ClusterQueue("a", "ml", {GPU: Quota(8, 4)})})
        usage.add(Workload("runs", "a", {GPU: 2}))
        usage.reserve(Workload("waits", "a", {GPU: asked}))
        assert usage.used["a"][GPU] == 2 + kept


def test_who_asks_for_more_of_one_resource_than_its_queue_owns_keeps_nothing_from_others() -> None:
    """`large` is short of GPUs, 6 where its queue owns 4, and of cpu, which it could own: it does not fit at all."""
    kueue = Kueue([both("a", 4, 4, queueing_strategy="StrictFIFO"), both("b", 4, 4), both("c", 4, 4)])
    assert admit(kueue, Workload("b0", "b", {GPU: 4, "cpu": 4})) == ["b0"]
    assert admit(kueue, Workload("c0", "c", {GPU: 4, "cpu": 5})) == ["c0"]
    large, small = Workload("large", "a", {GPU: 6, "cpu": 4}), Workload("small", "c", {GPU: 1, "cpu": 1})
    assert admit(kueue, large, small) == ["small"]


# --------------------------------------------------------------------------------- gpu: tests/test_gpu_fragmentation.py


def ranked(policy: placement.Policy, pod: shapes.PodShape) -> list[int]:
    """Points of 2 GPUs that are free, 4 of which one is half taken, 8 of which one is taken, and 8 free ones."""
    cluster = fragmentation.Cluster(
        [shapes.NodeShape(64_000, 64_000, gpus, "T4") for gpus in (2, 4, 8, 8)],
        [shapes.TypicalPod(1, 1, 1000, (), 1.0)],
    )
    cluster.place(HALF, 1, 0)
    cluster.place(ONE, 2, 0)
    return [int(points) for points in policy(cluster, pod, np.arange(4)).points]


HALF, ONE = shapes.PodShape(32_000, 1, 1, 500), shapes.PodShape(32_000, 1, 1, 1000)


def test_packing_by_hand() -> None:
    """Wholly free: max(33 - f, f); opening n: 50 - n; on a shared one with half free: 100 - 50 // 10."""
    assert ranked(placement.gpu_packing, HALF) == [33 - 2, 100 - 50 // 10, 50 - 1, 33 - 8]
    assert ranked(placement.gpu_packing, ONE) == [33 - 2, 50 - 1, 50 - 1, 33 - 8]


def test_clustering_by_hand() -> None:
    """75 for company of its own kind, 25 for none, 0 for others only; and 25 (8000 - G) // 8000 for what is taken."""
    assert ranked(placement.gpu_clustering, HALF) == [25 + 18, 75 + 14, 0 + 3, 25 + 0]
    assert ranked(placement.gpu_clustering, ONE) == [25 + 18, 0 + 14, 75 + 3, 25 + 0]
    cluster = fragmentation.Cluster(
        [shapes.NodeShape(64_000, 64_000, 4, "T4")], [shapes.TypicalPod(1, 1, 1000, (), 1.0)]
    )
    cluster.place(HALF._replace(cpu_milli=1), 0, 0)
    cluster.place(ONE._replace(cpu_milli=1), 0, 1)
    assert placement.gpu_clustering(cluster, ONE, np.arange(1)).points == [50 + 25 * (8000 - 2500) // 8000]


def test_best_fit_and_the_dot_product_by_hand() -> None:
    """On the first node: C 64,000 and G 2000 of 128,000 and 8000, for c 32,000 and g 1000."""
    assert ranked(placement.best_fit, ONE)[0] == int(100 * (1 - (0.25 * 0.5 + 0.125 * 0.5)))
    assert ranked(placement.dot_product, ONE)[0] == int(100 * (1 - (0.5 * 0.25 + 0.25 * 0.125) / 2))
