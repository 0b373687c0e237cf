"""MIG: nothing overlaps, what is released is free, the counts of all layouts, and the manifests."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlinfra import admission
from mlinfra.gpu import mig
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest
from mlinfra.gpu.scheduler import GPUScheduler

GPUS = ["A100-40GB", "A100-80GB", "H100-80GB", "H100-NVL-94GB", "H200-141GB", "B200-180GB", "A30-24GB"]
SIZES = ["1g", "1g+me", "1g.2x", "2g", "2g+me", "3g", "4g", "7g"]
MEDIA = (*mig.PLAIN, "1g.2x", "1g+me")


@given(st.sampled_from(GPUS), st.lists(st.tuples(st.sampled_from(SIZES), st.integers(0, 3)), max_size=30))
def test_instances_never_overlap_and_release_restores(gpu: str, steps: list[tuple[str, int]]) -> None:
    board = mig.MIGPartitioner(gpu)
    for key, leave in steps:
        before = board.taken, list(board.instances)
        if key not in board.profiles or not board.legal_starts(key):
            with pytest.raises(admission.Invalid):
                board.create(key)
            assert (board.taken, board.instances) == before
            continue
        created = board.create(key)
        slices = [i for one in board.instances for i in held(board, one)]
        assert len(slices) == len(set(slices))
        assert max(slices) < board.profiles["1g"].starts[-1] + 2
        if leave == 0:
            board.destroy(created)
            assert (board.taken, board.instances) == before
    assert sum(board.profiles[one.key].media for one in board.instances) <= 1


def held(board: mig.MIGPartitioner, instance: mig.Instance) -> range:
    return range(instance.start, instance.start + board.profiles[instance.key].memory_slices)


@pytest.mark.parametrize(
    ("gpu", "keys", "states", "maximal", "multisets"),
    [
        ("A100-40GB", mig.PLAIN, 298, 19, 14),
        ("H100-80GB", (*mig.PLAIN, "1g.2x"), 723, 78, 38),
        ("B200-180GB", MEDIA, 2319, 239, 64),
        ("A30-24GB", mig.PLAIN, 26, 5, 4),
        ("A30-24GB", ("1g", "1g+me", "2g", "2g+me", "4g"), 76, 17, 8),
    ],
)
def test_the_counts_of_all_layouts(gpu: str, keys: tuple[str, ...], states: int, maximal: int, multisets: int) -> None:
    found = mig.maximal_layouts(gpu, keys)
    assert len(set(mig.layouts(gpu, keys))) == len(list(mig.layouts(gpu, keys))) == states
    assert len(found) == maximal
    assert len({tuple(sorted(i.key for i in layout)) for layout in found}) == multisets


@given(st.lists(st.sampled_from(["1g", "2g", "3g", "4g"]), max_size=8))
def test_the_best_packing_is_no_worse_than_the_drivers(keys: list[str]) -> None:
    def compute(layout: mig.Layout) -> int:
        return sum(mig.profiles("A100-40GB")[instance.key].compute_slices for instance in layout)

    best, driver = mig.best_packing("A100-40GB", keys), mig.in_order("A100-40GB", keys)
    assert compute(best) >= compute(driver)
    for layout in (best, driver):
        assert Counter(instance.key for instance in layout) <= Counter(keys)


def test_the_order_puzzle() -> None:
    small_first, large_first = ["1g", "1g", "2g", "3g"], ["3g", "2g", "1g", "1g"]
    assert len(mig.in_order("A100-40GB", small_first)) == 3
    assert len(mig.in_order("A100-40GB", large_first)) == len(mig.best_packing("A100-40GB", small_first)) == 4


@pytest.mark.parametrize(
    ("gpu", "gib", "name"),
    [
        ("A100-80GB", 5, "1g.10gb"),
        ("A100-80GB", 15, "1g.20gb"),  # the source notebook says 2g.20gb
        ("A100-80GB", 9.7, "1g.20gb"),  # a 1g.10gb has 9.62 GiB
        ("A100-40GB", 39, "7g.40gb"),
        ("B200-180GB", 45, "1g.45gb"),
    ],
)
def test_the_smallest_profile(gpu: str, gib: float, name: str) -> None:
    assert mig.smallest_for(gpu, gib).name == name


def test_shares_of_the_multiprocessors_are_not_sevenths() -> None:
    h100, b200 = mig.profiles("H100-80GB"), mig.profiles("B200-180GB")
    assert h100["3g"].sm_share == 60 / 132 > 3 / 7
    assert mig.profiles("A100-80GB")["1g"].sm_share == 14 / 108 < 1 / 7
    assert b200["3g"].sm_share is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: mig.MIGPartitioner("V100"), 'gpu: Unsupported value: "V100": supported values: "A100-40GB"'),
        (lambda: mig.MIGPartitioner("A30-24GB").create("3g"), 'profile: Unsupported value: "3g"'),
        (lambda: mig.MIGPartitioner("A100-40GB").create("3g", 1), "3g.20gb is invalid: start: Insufficient Resources"),
        (lambda: mig.MIGPartitioner("A100-40GB").destroy(mig.Instance("1g", 0)), 'instances "1g" at 0 not found'),
        (lambda: mig.smallest_for("A30-24GB", 30), "gib: Invalid value: 30: must be less than or equal to 23.44"),
        (lambda: mig.MIGConfig("A100-40GB", {"two": {"3g": 3}}), "must fit on one A100-40GB"),
        (lambda: mig.MIGConfig("A30-24GB", {"two": {"3g": 1}}), 'mig-configs.two: Unsupported value: "3g"'),
    ],
)
def test_what_a_gpu_refuses(wrong: Any, message: str) -> None:
    with pytest.raises(admission.Invalid, match=re.escape(message)):
        wrong()


# --------------------------------------------------------------------------------------------------------- manifests


def test_a_mig_instance_is_an_extended_resource_like_any_other() -> None:
    small = mig.profiles("A100-80GB")["1g"]
    pod = GPURequest("bert-classifier", 1, cpu=2, memory="8Gi", resource=small.resource)
    assert admission.validate(pod.manifest("registry.example/bert:1.4.2", ("serve",))) == []
    cluster = GPUScheduler([GPUNode("cut", "NVIDIA-A100-SXM4-80GB", 0, 80, devices={small.resource: 1})])
    cluster.submit(pod)
    assert cluster.schedule() == [("bert-classifier", "cut")]
    cluster.submit(GPURequest("second", 1, resource=small.resource))
    cluster.schedule()
    assert cluster.events[-1].message.startswith(f"0/1 nodes are available: 1 Insufficient {small.resource}.")
    with pytest.raises(admission.Invalid, match="must be an extended resource"):
        GPURequest("p", 1, resource="cpu")


def test_media_extensions_in_a_resource_name() -> None:
    assert mig.profiles("A100-40GB")["1g+me"].resource == "nvidia.com/mig-1g.5gb.me"


def test_the_file_of_mig_parted() -> None:
    balanced = mig.MIGConfig("A100-80GB", {"all-balanced": {"1g": 2, "2g": 1, "3g": 1}}).manifest()
    (cut,) = balanced["mig-configs"]["all-balanced"]
    assert cut["mig-devices"] == {"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1}


def test_claims_and_their_class() -> None:
    one, two = (mig.resource_claim("half", mig.profiles("H100-80GB")["3g"], count) for count in (1, 2))
    assert [admission.validate(obj) for obj in (one, two, mig.device_class())] == [[], [], []]
    assert "constraints" not in one["spec"]["devices"]
    assert two["spec"]["devices"]["constraints"][0]["matchAttribute"] == "gpu.nvidia.com/parentUUID"
    with pytest.raises(admission.Invalid, match="count: Invalid value: 0"):
        mig.resource_claim("none", mig.profiles("H100-80GB")["3g"], 0)


def test_a_file_of_mig_parted_is_read_back() -> None:
    made = mig.MIGConfig("H100-80GB", {"off": {}, "sevens": {"1g": 7}, "media": {"1g+me": 1, "3g": 1}})
    assert mig.MIGConfig.of(made.manifest(), "H100-80GB") == made


def parted(**part: Any) -> dict[str, Any]:
    whole = {"devices": "all", "mig-enabled": True, "mig-devices": {"1g.10gb": 7}} | part
    return {"version": "v1", "mig-configs": {"cut": [{k: v for k, v in whole.items() if v is not None}]}}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (parted() | {"version": "v2"}, "version: unknown version: v2"),
        ({"mig-configs": parted()["mig-configs"]}, "version: Required value: unable to parse with missing 'version' field"),
        (parted() | {"mig-config": {}}, "mig-config: unexpected field: mig-config"),
        ({"version": "v1", "mig-configs": {}}, "mig-configs: Required value: at least one entry is required"),
        (parted(devices=None), "mig-configs[cut][0].devices: Required value"),
        (parted(devices="some"), 'mig-configs[cut][0].devices: Invalid value: "some": must be all, or a list of indices'),
        (parted(**{"mig-enabled": None}), "mig-configs[cut][0].mig-enabled: Required value"),
        (parted(**{"mig-devices": None}), "mig-configs[cut][0].mig-devices: Required value: when 'mig-enabled' is true"),
        (parted(**{"mig-enabled": False}), "mig-configs[cut][0].mig-devices: Forbidden: MIG devices included when 'mig-enabled' is false"),
        (parted(**{"mig-devices": {"1g.10gb": 0}}), 'mig-configs[cut][0].mig-devices: Invalid value: {"1g.10gb": 0}: all counts for all MigProfiles are 0'),
        (parted(gpus=1), "mig-configs[cut][0].gpus: unexpected field: gpus"),
    ],
)  # fmt: skip
def test_a_file_that_mig_parted_does_not_read(config: dict[str, Any], problem: str) -> None:
    assert [str(each) for each in admission.validate(config)] == [problem]


def test_a_profile_is_written_with_its_memory() -> None:
    for profile, right in (("1g.10gb", True), ("1c.3g.40gb", True), ("1g.10gb+me", True), ("1g", False)):
        assert (admission.validate(parted(**{"mig-devices": {profile: 1}})) == []) is right


@pytest.mark.parametrize(
    ("config", "gpu", "message"),
    [
        (parted(devices=[0, 1]), "H100-80GB", "only all is read"),
        (parted(), "B200-180GB", 'Unsupported value: "1g.10gb"'),
        (parted(**{"mig-devices": {"3g.40gb": 3}}), "H100-80GB", "must fit on one H100-80GB"),
    ],
)
def test_a_file_for_other_gpus(config: dict[str, Any], gpu: str, message: str) -> None:
    with pytest.raises(admission.Invalid, match=message):
        mig.MIGConfig.of(config, gpu)
