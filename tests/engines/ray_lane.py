"""Runs the course's application on a real local Ray, over HTTP, and prints what it saw as one line of JSON.

Ray opens ports on every interface, so this is to be run in a network namespace that has only loopback.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0", "RAY_DEDUP_LOGS": "0"}
os.environ |= {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}  # a lost node is noticed soon

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve._private.common import ReplicaState
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from mlinfra.ray_serve import Application, AutoscalingConfig, Deployment

PORT = 28_765
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
TEXTS = ["the app is great", "support was very rude today", "the search is not slow"]
RATES = (20.0, 40.0)
WORK_S = {"Preprocessor": 0.005, "Encoder": 0.04, "Classifier": 0.01}
CPU = {"num_cpus": 0.1}


def application(encoder: Deployment, ingress_replicas: int = 1, **args: Any) -> Application:
    stages = (Deployment("Preprocessor", 1, max_ongoing_requests=100, ray_actor_options=CPU), encoder)
    ingress = Deployment(
        "Classifier",
        ingress_replicas,
        max_ongoing_requests=100,
        ray_actor_options=CPU,
        calls=("Preprocessor", "Encoder"),
    )
    return Application("bert", "mlinfra.ray_serve.app:build", (*stages, ingress), args=args)


def fixed(replicas: int = 1, ongoing: int = 100) -> Deployment:
    return Deployment("Encoder", replicas, max_ongoing_requests=ongoing, ray_actor_options=CPU)


def deploy(app: Application) -> None:
    """The config file of the application, as `serve deploy` sends it; returns once it runs."""
    client = _get_global_client()
    assert client
    client.deploy_apps(ServeDeploySchema.model_validate(app.config(port=PORT)), _blocking=True)


def ask(text: str, timeout_s: float = 30) -> dict[str, Any]:
    body = json.dumps({"text": text}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", body, timeout=timeout_s) as reply:
        return dict(json.load(reply))


def replicas(name: str) -> int:
    """Running replicas of a deployment."""
    states = serve.status().applications["bert"].deployments[name].replica_states
    return int(states.get(ReplicaState.RUNNING, 0))


def until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Seconds until the condition held; TimeoutError if it does not."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(0.1)
    return round(time.monotonic() - started, 1)


@contextmanager
def load(senders: int, outcomes: list[str]) -> Iterator[None]:
    """So many clients that ask one request after the other, and once more when one fails."""
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            for attempt in ("first", "again", "lost"):
                try:
                    ask(TEXTS[0])
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    outcomes.append(f"failed {attempt}")
                    continue
                outcomes.append("answered")
                break

    with ThreadPoolExecutor(senders) as pool:
        clients = [pool.submit(client) for _ in range(senders)]
        try:
            yield
        finally:
            stop.set()
    for each in clients:
        each.result()


def one_by_one() -> dict[str, Any]:
    """The answer to each text, over HTTP."""
    deploy(application(fixed(2), batching=True))
    return {text: ask(text) for text in TEXTS}


def latencies(per_s: float, count: int = 200) -> list[float]:
    """Seconds of each of so many requests at an even rate, each from its own time on."""
    started = time.monotonic() + 0.5

    def timed(i: int) -> float:
        due = started + i / per_s
        time.sleep(max(0.0, due - time.monotonic()))
        sent = time.monotonic()
        ask(TEXTS[0])
        return time.monotonic() - sent

    with ThreadPoolExecutor(64) as pool:
        return sorted(pool.map(timed, range(count)))


def slow_stages() -> dict[str, Any]:
    """Preprocessor and classifier wait for many requests at once; each of four encoders takes one after the other."""
    deploy(application(fixed(4, ongoing=1), work_s=WORK_S))
    found = {}
    for per_s in RATES:
        latencies(per_s, 20)
        times = latencies(per_s)
        found[str(per_s)] = {"p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)]}
    return found


def batches() -> dict[str, Any]:
    """Sixteen at once through the batching encoders."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, TEXTS * 5 + TEXTS[:1]))
    handle = serve.get_deployment_handle("Encoder", "bert")
    sizes = [handle.sizes.remote().result(timeout_s=10) for _ in range(8)]
    return {"answers": answers[:3], "sizes": max(sizes, key=sum)}


def autoscaling() -> dict[str, Any]:
    scaled = AutoscalingConfig(
        1, 3, 2, upscale_delay_s=0.5, downscale_delay_s=1.0, metrics_interval_s=0.2, look_back_period_s=1.0
    )
    encoder = Deployment("Encoder", max_ongoing_requests=8, ray_actor_options=CPU, autoscaling_config=scaled)
    deploy(application(encoder, work_s={"Encoder": 0.2}, version="v1"))
    outcomes: list[str] = []
    with load(8, outcomes):
        up_s = until(lambda: replicas("Encoder") == 3, 120)
    down_s = until(lambda: replicas("Encoder") == 1, 120)
    return {"up_s": up_s, "down_s": down_s, "failed": sum(o.startswith("failed") for o in outcomes)}


def encoders() -> dict[str, str]:
    """Names of the encoder's replica actors, and their namespaces."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"]: actor["namespace"] for actor in actors if "#Encoder#" in actor["name"]}


def killed() -> dict[str, Any]:
    """One of two encoders dies under load; Serve starts another, and a client's second try is answered."""
    outcomes: list[str] = []
    with load(6, outcomes):
        time.sleep(1)
        before = encoders()
        victim, namespace = next(iter(before.items()))
        ray.kill(ray.get_actor(victim, namespace))
        until(lambda: bool(encoders().keys() - before) and replicas("Encoder") == 2, 120)
    counts = {what: outcomes.count(what) for what in ("answered", "failed first", "failed lost")}
    return counts | {"victim is gone": victim not in encoders()}


def homes() -> list[str]:
    """The node of each encoder."""
    actors = [ray.get_actor(name, namespace) for name, namespace in encoders().items()]
    return [ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"] for actor in actors]


def node_lost(cluster: Cluster) -> dict[str, Any]:
    """A second node joins and gets encoders; under load it is taken away, and they come back on the first."""
    (head,) = set(homes())
    second = cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20, node_ip_address="127.0.0.1")
    deploy(application(fixed(6), version="spread"))
    outcomes, there = list[str](), sum(home != head for home in homes())
    with load(6, outcomes):
        time.sleep(1)
        cluster.remove_node(second, allow_graceful=False)
        back_s = until(lambda: replicas("Encoder") == 6 and set(homes()) == {head}, 120)
    counts = {what: outcomes.count(what) for what in ("answered", "failed first", "failed lost")}
    return counts | {"encoders on the second node": there, "back_s": back_s}


def upgraded() -> dict[str, Any]:
    """The next version of the application in the place of the one that scaled, under load."""
    outcomes, versions = list[str](), [ask(TEXTS[0]).get("version")]
    with load(4, outcomes):
        deploy(application(fixed(), version="v2"))
        until(lambda: ask(TEXTS[0]).get("version") == "v2", 120)
    versions.append(ask(TEXTS[0]).get("version"))
    return {"versions": versions} | {what: outcomes.count(what) for what in ("answered", "failed lost")}


def loopback_up() -> None:
    """A new network namespace has its loopback down; this is `ip link set lo up`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main() -> None:
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        sys.exit("to be run in a network namespace that has only loopback: unshare -n")
    loopback_up()
    cluster = Cluster()
    cluster.add_node(num_cpus=4, object_store_memory=80 * 2**20, include_dashboard=False, node_ip_address="127.0.0.1")
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": PORT},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    try:
        seen: dict[str, Any] = {}
        for part in (one_by_one, batches, killed, slow_stages, autoscaling, upgraded):
            started = time.monotonic()
            seen[part.__name__] = part()
            print(f"{part.__name__} {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        started = time.monotonic()
        seen["node_lost"] = node_lost(cluster)
        print(f"node_lost {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
