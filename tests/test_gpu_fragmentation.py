"""Fragmentation: the measure by hand, the lazily kept rankings against asking everybody, and what is never taken twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlinfra.course.exercises import gpu as exercises
from mlinfra.gpu import fragmentation, placement, shapes

NODES = [
    shapes.NodeShape(8000, 64_000, 2, "T4"),
    shapes.NodeShape(16000, 64_000, 4, "T4"),
    shapes.NodeShape(32000, 128_000, 8, "A10"),
]
PODS = st.lists(
    st.builds(
        shapes.PodShape,
        st.sampled_from([500, 2000, 6000]),
        st.sampled_from([1000, 8000]),
        st.just(1),
        st.sampled_from([100, 300, 500, 900, 1000]),
        st.sampled_from([(), ("T4",), ("A10", "V100")]),
    )
    | st.sampled_from([0, 2, 4]).map(lambda gpus: shapes.PodShape(4000, 4000, gpus, 1000 if gpus else 0)),
    min_size=1,
    max_size=40,
)


def wasted(free: list[int], gpu_milli: int, gpus: int = 1, cpu: int = 1) -> float:
    expected = fragmentation.Expected([shapes.TypicalPod(1, gpus, gpu_milli, (), 1.0)], ["any"])
    gpu = np.array([[*free, *[0] * (8 - len(free))]])
    return float(expected.fragmentation(np.array([cpu]), gpu, np.array([0]))[0])


def test_the_measure_by_hand() -> None:
    assert wasted([200, 1000, 1000, 500], 1000) == 700  # on two devices there is too little
    assert wasted([200, 1000, 1000, 500], 400) == 200
    assert wasted([200, 1000, 1000, 500], 1000, gpus=3) == 2700  # it does not run here at all
    assert wasted([200, 1000, 1000, 500], 100, cpu=0) == 2700
    assert wasted([1000] * 8, 0, gpus=0) == 8000  # of no use to a pod without GPUs


@pytest.mark.parametrize("name", list(placement.POLICIES))
@settings(max_examples=25)
@given(pods=PODS)
def test_the_rankings_that_are_kept_are_those_of_asking_everybody(name: str, pods: list[shapes.PodShape]) -> None:
    typical, policy = shapes.typical_pods(pods), placement.POLICIES[name]
    made, cluster, rows = (
        placement.run(NODES, pods, typical, policy),
        fragmentation.Cluster(NODES, typical),
        np.arange(len(NODES)),
    )
    for pod, chosen in zip(pods, made.nodes, strict=True):
        fits = cluster.feasible(pod, rows)
        points, device = policy(cluster, pod, rows)
        points = np.where(fits, points, -1)
        assert chosen == (int(points.argmax()) if fits.any() else None)
        if chosen is not None:
            cluster.place(pod, chosen, int(device[chosen]))
        assert min(cluster.cpu.min(), cluster.memory.min(), cluster.gpu.min()) >= 0
    placed = sum(pod.total_milli for pod, node in zip(pods, made.nodes, strict=True) if node is not None)
    assert cluster.capacity_milli - cluster.free_milli == placed
    assert made.placed == sum(node is not None for node in made.nodes)


@settings(max_examples=25)
@given(PODS, st.integers(0, 5))
def test_at_random_is_a_draw_that_a_seed_repeats(pods: list[shapes.PodShape], seed: int) -> None:
    typical = shapes.typical_pods(pods)
    one, two = (
        placement.run(NODES, pods, typical, placement.at_random(seed), np.random.default_rng(seed)) for _ in range(2)
    )
    assert one == two


def test_a_drawn_tie_goes_anywhere() -> None:
    pod, typical = shapes.PodShape(100, 100, 1, 1000), [shapes.TypicalPod(100, 1, 1000, (), 1.0)]
    drawn = {
        placement.run([NODES[0]] * 4, [pod], typical, placement.fgd, np.random.default_rng(seed)).nodes[0]
        for seed in range(40)
    }
    assert drawn == {0, 1, 2, 3}


@given(st.lists(st.sampled_from([100, 400, 1000]), min_size=1, max_size=8), st.sampled_from([100, 300, 500]))
def test_taking_a_share_of_each_device_in_turn(free: list[int], milli: int) -> None:
    """The short cut gives what the measure gives after the change."""
    typical = [shapes.TypicalPod(1, 1, 300, (), 0.5), shapes.TypicalPod(1, 2, 1000, (), 0.5)]
    expected = fragmentation.Expected(typical, ["any"])
    gpu, cpu, model = np.array([[*free, *[0] * (8 - len(free))]]), np.array([3]), np.array([0])
    relief = expected.relief_by_sharing(cpu, gpu, model, shapes.PodShape(1, 1, 1, milli))
    before = expected.fragmentation(cpu, gpu, model)
    for device, share in enumerate(free):
        if share >= milli:
            changed = gpu.copy()
            changed[0, device] -= milli
            after = expected.fragmentation(cpu - 1, changed, model)
            assert relief[device, 0] == pytest.approx((before - after)[0])


def test_the_openb_cluster() -> None:
    nodes, pods = shapes.openb()
    assert (len(nodes), sum(node.gpus for node in nodes), sum(node.cpu_milli for node in nodes)) == (
        1213,
        6212,
        107_018_000,
    )
    assert (len(pods), sum(pod.shared for pod in pods), sum(pod.gpus == 0 for pod in pods)) == (8152, 3078, 1088)
    typical = shapes.typical_pods(pods)
    assert len(typical) == 35
    assert sum(pod.share for pod in typical) == pytest.approx(1)
    assert all(before.share >= after.share for before, after in pairwise(typical))


def test_the_load_stops_before_it_passes_130_percent() -> None:
    _, pods = shapes.openb()
    for seed in (None, 1):
        asked = list(shapes.load(pods, 6_212_000, seed))
        assert 1.28 * 6_212_000 < sum(pod.total_milli for pod in asked) <= 1.3 * 6_212_000
    assert asked == list(shapes.load(pods, 6_212_000, 1))
    assert asked[:8152] != pods
    assert Counter(asked[:8152]) == Counter(pods)


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
    cluster.place(replace(HALF, cpu_milli=1), 0, 0)
    cluster.place(replace(ONE, cpu_milli=1), 0, 1)
    assert placement.gpu_clustering(cluster, ONE, np.arange(1)).points == [50 + 25 * (8000 - 2500) // 8000]


def test_best_fit_and_the_dot_product_by_hand() -> None:
    """On the first node: C 64,000 and G 2000 of 128,000 and 8000, for c 32,000 and g 1000."""
    assert ranked(placement.best_fit, ONE)[0] == int(100 * (1 - (0.25 * 0.5 + 0.125 * 0.5)))
    assert ranked(placement.dot_product, ONE)[0] == int(100 * (1 - (0.5 * 0.25 + 0.25 * 0.125) / 2))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.lists(st.integers(1, 1000), min_size=1, max_size=4))
def test_the_one_node_of_the_exercise_is_the_measure(free: list[int], typical: list[int]) -> None:
    mean = sum(wasted(free, milli) for milli in typical) / len(typical)
    assert exercises.fragmentation_milli(free, typical) == int(mean + 1e-6)
