"""Translates `mig_placements.json` into calls of `mlinfra.gpu.mig`: every profile, and the documented sequences."""

from __future__ import annotations

import math
from typing import Any

from mlinfra.admission.rules import Invalid
from mlinfra.gpu import mig

Case = dict[str, Any]

FIELDS = {
    "create",
    "error",
    "free_memory_slices_before_failure",
    "gpu",
    "key",
    "kind",
    "lesson",
    "observed_placements",
    "unordered",
}
COMPARED = ("name", "compute_slices", "memory_slices", "placement_starts", "max_count", "memory_gib", "sm")


def cases(content: Case) -> list[Case]:
    """One case for each profile of each GPU, one for each share of the multiprocessors, and the sequences."""
    return [
        *(_profile(gpu, row) for gpu, table in content["gpus"].items() for row in table["profiles"]),
        *(_share(gpu, shares) for gpu, shares in content["compute_fraction"]["real_share_of_gpu_sms"].items()),
        *map(_sequence, content["order_cases"]),
    ]


def _profile(gpu: str, row: Case) -> Case:
    expected = {field: row[field] for field in COMPARED} | {"resource": row["resource_name_mixed"]}
    return {"id": f"{gpu}-{row['key']}", "kind": "profile", "gpu": gpu, "key": row["key"], "expected": expected}


def _share(gpu: str, shares: Case) -> Case:
    return {"id": f"{gpu}-shares", "kind": "shares", "gpu": gpu, "expected": {"shares": shares}}


def _sequence(case: Case) -> Case:
    expected: Case = {"created": case.pop("fail_index", len(case["create"]))}
    if case["observed_placements"] is not None:
        places = [tuple(place) for place in case["observed_placements"]]
        expected["placements"] = sorted(places) if case.get("unordered") else places
    if slices := case.get("free_memory_slices_before_failure"):
        expected["free"] = slices
    del case["expect"]
    return case | {"kind": "sequence", "expected": expected}


def profile(case: Case) -> Case:
    found = mig.profiles(case["gpu"])[case["key"]]
    return {field: getattr(found, field) for field in COMPARED if field != "placement_starts"} | {
        "placement_starts": list(found.starts),
        "resource": found.resource,
    }


def shares(case: Case) -> Case:
    gpu = next(name for name in ("A100-40GB", "H100-80GB") if name.startswith(case["gpu"]))
    known = mig.profiles(gpu)
    expected = case["expected"]["shares"]
    ours = {key: known[key].sm_share for key in expected}
    close = all(share and math.isclose(share, expected[key], abs_tol=5e-5) for key, share in ours.items())
    return {"shares": expected if close else ours}


def sequence(case: Case) -> Case:
    board = mig.MIGPartitioner(case["gpu"])
    for key in case["create"]:
        try:
            board.create(key)
        except Invalid:
            break
    places = [(instance.key, instance.start) for instance in board.instances]
    return {
        "created": len(places),
        "placements": sorted(places) if case.get("unordered") else places,
        "free": [i for i in range(8) if not board.taken >> i & 1],
    }


KINDS = {"profile": profile, "shares": shares, "sequence": sequence}


def expectation(case: Case) -> Case:
    return dict(case["expected"])


def answer(case: Case) -> Case:
    return KINDS[case["kind"]](case)
