"""The commands on inputs as large as a reader's: a week of traffic, a cluster of 1,000 nodes, 1,000 settings."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.rows import Row, seconds
from summary import ROOT

from mlinfra.__main__ import main

EXAMPLES = ROOT / "examples"
SERVICE = ["--service-time", "2", "--concurrency", "4"]
BIN_S, WEEK_S, PER_S = 10, 604_800, 5.0


def rows() -> Iterator[Row]:
    """Each at three sizes; the largest is the one that is promised."""
    with TemporaryDirectory() as folder:
        for days in (1, 3, 7):
            yield replay(Path(folder), days)
        for nodes in (100, 300, 1_000):
            yield place(Path(folder), nodes)
        for settings in (100, 300, 1_000):
            yield tune(settings)


def called(*argv: str) -> float:
    """Seconds of a command; RuntimeError where it gives no answer."""
    codes = list[int]()
    with redirect_stdout(io.StringIO()):
        took = seconds(lambda: codes.append(main(list(argv))))
    if codes[-1] > 1:
        raise RuntimeError(f"{' '.join(argv)}: exit code {codes[-1]}")
    return took


def row(what: str, size: str, amount: int, took: float, target_s: float, largest: bool) -> Row:
    target = f"{target_s:g} s" if largest else ""
    return Row(what, size, amount, took, target=target, met=not largest or took <= target_s)


# -------------------------------------------------------------------------------------------------------------- replay


def week(path: Path, days: int) -> int:
    """Poisson counts by bin of 10 s, with the rhythm of a day, 5 requests a second on average."""
    import numpy as np

    times_s = np.arange(0, WEEK_S * days // 7, BIN_S)
    rates = PER_S * (1 - 0.6 * np.cos(2 * np.pi * times_s / 86_400))
    counts = np.random.default_rng(0).poisson(rates * BIN_S)
    lines = (f"{1_772_409_600 + at_s},{count}" for at_s, count in zip(times_s, counts, strict=True))
    path.write_text("\n".join(["time,requests", *lines]) + "\n", "utf-8")
    return int(counts.sum())


def replay(folder: Path, days: int) -> Row:
    path = folder / f"{days}.csv"
    requests = week(path, days)
    took = called("replay", str(EXAMPLES / "hpa.yaml"), "--traffic", str(path), *SERVICE)
    points = 8_640 * days
    return row("replay of days", f"{points:,} points, {requests:,} requests", requests, took, 10, days == 7)


# --------------------------------------------------------------------------------------------------------------- place


def cluster(path: Path, nodes: int) -> None:
    """Ten bound pods a node, of one or no GPU, and a tenth as many pending ones as there are nodes."""
    chance = random.Random(0)
    items: list[dict[str, Any]] = [node(f"node-{i}") for i in range(nodes)]
    items += [pod(f"bound-{i}", chance.choice((0, 0, 1)), f"node-{i % nodes}") for i in range(10 * nodes)]
    items += [pod(f"pending-{i}", chance.choice((1, 2, 4, 8)), "") for i in range(nodes // 10)]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=4), "utf-8")


def node(name: str) -> dict[str, Any]:
    """As `kubectl get -o json` prints it, from the example."""
    items = json.loads((EXAMPLES / "cluster.json").read_text("utf-8"))["items"]
    (like,) = [item for item in items if item["metadata"]["name"] == "gpu-a100-1"]
    labels = {**like["metadata"]["labels"], "kubernetes.io/hostname": name}
    return {**like, "metadata": {**like["metadata"], "name": name, "labels": labels}}


def pod(name: str, gpus: int, node_name: str) -> dict[str, Any]:
    """As `kubectl get -o json` prints it, from the example."""
    items = json.loads((EXAMPLES / "cluster.json").read_text("utf-8"))["items"]
    (like,) = [item for item in items if item["metadata"]["name"] == "notebook-ada-0"]
    amounts = {"cpu": "2", "memory": "8Gi", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    container = {**like["spec"]["containers"][0], "resources": {"limits": amounts, "requests": amounts}}
    spec = {**like["spec"], "containers": [container], "nodeName": node_name}
    status = like["status"] if node_name else {"phase": "Pending"}
    return {**like, "metadata": {**like["metadata"], "name": name}, "spec": spec, "status": status}


def place(folder: Path, nodes: int) -> Row:
    path = folder / f"{nodes}.json"
    cluster(path, nodes)
    took = called("place", str(path))
    size = f"{nodes:,} nodes, {10 * nodes:,} pods, {nodes // 10} pending"
    return row("place, from kubectl's JSON", size, nodes, took, 5, nodes == 1_000)


# ---------------------------------------------------------------------------------------------------------------- tune


def tune(settings: int) -> Row:
    hour = ["--traffic", str(EXAMPLES / "traffic.csv"), "--p99", "4s", "--settings", str(settings)]
    took = called("tune", str(EXAMPLES / "hpa.yaml"), *hour, *SERVICE)
    return row("tune on an hour, 19,366 requests", f"{settings:,} settings", settings, took, 40, settings == 1_000)
