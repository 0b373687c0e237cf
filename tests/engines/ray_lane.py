"""Runs the course's application on a real local Ray, over HTTP, and prints what it saw as one line of JSON.

Ray opens ports on every interface, so this is to be run in a network namespace that has only loopback. Ray is started
once. Every wait is for an event, with a limit that only a hang reaches; the test raises Ray's own limits to it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import joblib
import ray
import spoilable
from click.testing import CliRunner
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve import scripts
from ray.serve._private import api
from ray.serve._private.common import ReplicaState
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ServeDeploySchema
from ray.util.joblib import register_ray
from waiting import HANG_S, until

from mlinfra.autoscaling import hpa, loop, tune
from mlinfra.commands.scalers import MEASURES
from mlinfra.course import classifier, ray_app
from mlinfra.manifest import ObjectReference
from mlinfra.ray_serve import Application, AutoscalingConfig, Deployment

PORT = 28_765
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
TEXTS = ["the app is great", "support was very rude today", "the search is not slow"]
RATES = (20.0, 40.0)
WORK_S = {"Preprocessor": 0.005, "Encoder": 0.04, "Classifier": 0.01}
CPU = {"num_cpus": 0.1}
AGENT_PORTS = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")
MODEL, STAND_IN = "mlinfra.course.ray_app:app", "stand_in:build"
CLASSIFY = "/classify"


def application(import_path: str, encoder: Deployment, threshold: float = 0.5, **args: Any) -> Application:
    """The config with which the application runs; the stand-in has no threshold."""
    stages = (Deployment("Preprocessor", 1, max_ongoing_requests=100, ray_actor_options=CPU), encoder)
    calls = ("Preprocessor", "Encoder")
    setting = {"threshold": threshold} if import_path == MODEL else None
    ingress = Deployment("Classifier", 1, 100, ray_actor_options=CPU, calls=calls, user_config=setting)
    return Application("bert", import_path, (*stages, ingress), args=args)


def deploy(app: Application) -> None:
    """The config file of the application, as `serve deploy` sends it; returns once it runs."""
    client = _get_global_client()
    assert client
    client.deploy_apps(ServeDeploySchema.model_validate(app.config(port=PORT)))
    until("the application to run", lambda: _runs(app), lambda: serve.status().applications)


def _runs(app: Application) -> bool:
    """Whether every replica is of this config and runs; RuntimeError when Serve gave up."""
    status = serve.status().applications[app.name]
    if status.status == ApplicationStatus.DEPLOY_FAILED:
        raise RuntimeError(f"Serve could not deploy: {status.message}")
    return status.status == ApplicationStatus.RUNNING


def ask(text: str, path: str = "/") -> dict[str, Any]:
    with post(path, {"text": text}) as reply:
        return dict(json.load(reply))


def post(path: str, body: Any) -> Any:
    """The reply, open to be read; HTTPError where the server refuses."""
    headers = {"Content-Type": "application/json"}
    sent = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode(), headers)
    return urllib.request.urlopen(sent, timeout=HANG_S)


def running(name: str) -> int:
    """Running replicas of a deployment."""
    states = serve.status().applications["bert"].deployments[name].replica_states
    return int(states.get(ReplicaState.RUNNING, 0))


class Load:
    """Clients that ask one request after the other, each again until it is answered; how many tries each took."""

    def __init__(self, clients: int) -> None:
        self.tries: list[int] = []
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._client) for _ in range(clients)]

    def _client(self) -> None:
        while not self._stop.is_set():
            self.tries.append(self._answered())

    def _answered(self) -> int:
        for attempt in range(1, 1_000):
            try:
                ask(TEXTS[0])
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05 * attempt)
            else:
                return attempt
        raise RuntimeError("a request was not answered in 1,000 tries")

    def more(self, answers: int) -> None:
        """Wait for so many more answers."""
        goal = len(self.tries) + answers
        until(f"{answers} answers", lambda: len(self.tries) >= goal or self._failed(), lambda: len(self.tries))

    def _failed(self) -> bool:
        return any(client.done() for client in self._clients)

    def stop(self) -> dict[str, int]:
        """Requests answered, and the most tries that one took."""
        self._stop.set()
        for client in self._clients:
            client.result()
        return {"answered": len(self.tries), "most tries": max(self.tries)}


@contextmanager
def load(clients: int, outcome: dict[str, Any]) -> Iterator[Load]:
    """Clients while the block runs; what became of their requests is added to the outcome."""
    senders = Load(clients)
    try:
        yield senders
    finally:
        outcome |= senders.stop()


def one_by_one() -> dict[str, Any]:
    """The application as the notebook shows it: the answer to each text over HTTP, and what the command line prints."""
    deploy(application(MODEL, AUTO))
    return {
        "answers": [ask(text, CLASSIFY) for text in TEXTS],
        "status": printed("status"),
        "config": printed("config"),
        "auto": replicas_by_the_load("Encoder"),
    }


AUTO = Deployment("Encoder", "auto", max_ongoing_requests=16, ray_actor_options=CPU)


def printed(command: str) -> str:
    """What `serve status` or `serve config` prints of the application.

    The command asks the dashboard for the details; here the controller gives them, and the command prints them.
    """
    client = _get_global_client()
    assert client
    with patch.object(scripts, "ServeSubmissionClient") as dashboard:
        dashboard.return_value.get_serve_details.return_value = client.get_serve_details()
        return CliRunner().invoke(scripts.cli, [command], catch_exceptions=False).output


def replicas_by_the_load(name: str) -> dict[str, Any]:
    """The bounds and the target with which a deployment scales."""
    client = _get_global_client()
    assert client
    options = client.get_serve_details()["applications"]["bert"]["deployments"][name]["deployment_config"]
    scaling = options["autoscaling_config"]
    return {option: scaling[option] for option in ("min_replicas", "max_replicas", "target_ongoing_requests")}


def refused() -> dict[str, Any]:
    """FastAPI's refusal of a message without a text."""
    try:
        post(CLASSIFY, {"txt": TEXTS[0]})
    except urllib.error.HTTPError as refusal:
        return {"status": refusal.code, "body": json.load(refusal)}
    raise RuntimeError("a message without a text was not refused")


def streamed() -> dict[str, Any]:
    """The lines of a streaming response, and the same over a handle."""
    with post("/stream", [{"text": text} for text in TEXTS]) as reply:
        lines = [json.loads(line) for line in reply]
        chunked = reply.headers.get("Transfer-Encoding")
    handle = serve.get_app_handle("bert").options(stream=True)
    answers: Any = handle.lines.remote([ray_app.Message(text=text) for text in TEXTS])
    return {"lines": lines, "encoding": chunked, "by handle": list(map(json.loads, answers))}


def reconfigured() -> dict[str, Any]:
    """Another threshold in the file reaches the replica that runs."""
    before = actors("Classifier")
    deploy(application(MODEL, AUTO, threshold=0.95))
    until("the new threshold", lambda: ask(TEXTS[1], CLASSIFY)["label"] == "unsure")
    return {"same replica": actors("Classifier") == before}


def healed() -> dict[str, Any]:
    """A replica whose health check fails three times is replaced by another one."""
    handle = serve.run(spoilable.app, name="spoilable", route_prefix=None)
    before = actors("Encoder", "spoilable")
    handle.spoil.remote().result(timeout_s=HANG_S)
    until("another replica", lambda: bool(actors("Encoder", "spoilable").keys() - before.keys()))
    until("the ill one to be gone", lambda: not actors("Encoder", "spoilable").keys() & before.keys())
    vector = handle.remote(classifier.tokens(TEXTS[0])).result(timeout_s=HANG_S)
    serve.delete("spoilable")
    return {"vector": vector}


def batches() -> dict[str, Any]:
    """Sixteen at once through the batching encoder, until some shared a batch."""
    handle = serve.get_deployment_handle("Encoder", "bert")
    answers: list[dict[str, Any]] = []

    def some_shared_a_batch() -> bool:
        with ThreadPoolExecutor(16) as pool:
            answers[:] = pool.map(lambda text: ask(text, CLASSIFY), TEXTS * 5 + TEXTS[:1])
        return max(sizes()) > 1

    def sizes() -> list[int]:
        return list(handle.sizes.remote().result(timeout_s=HANG_S))

    until("a batch of more than one", some_shared_a_batch, sizes)
    return {"answers": answers, "sizes": sizes()}


def autoscaling() -> dict[str, Any]:
    """From one encoder to three under load; one of them is killed and replaced; without load back to one.

    An encoder works for a second, so that nearly all clients are in it at any time, however slow the rest is.
    """
    scaled = AutoscalingConfig(
        1, 3, 2, upscale_delay_s=0.5, downscale_delay_s=1.0, metrics_interval_s=0.2, look_back_period_s=1.0
    )
    encoder = Deployment("Encoder", max_ongoing_requests=8, ray_actor_options=CPU, autoscaling_config=scaled)
    deploy(application(STAND_IN, encoder, work_s=WORK_S | {"Encoder": 1.0}, version="v1"))
    outcome: dict[str, Any] = {}
    with load(8, outcome) as clients:
        until("three encoders", lambda: running("Encoder") == 3, lambda: running("Encoder"))
        outcome["failed while scaling"] = sum(tries > 1 for tries in clients.tries)
        before = encoders()
        victim, namespace = next(iter(before.items()))
        ray.kill(ray.get_actor(victim, namespace))
        until("an encoder in the place of the killed one", lambda: bool(encoders().keys() - before), encoders)
        until("three encoders again", lambda: running("Encoder") == 3, lambda: running("Encoder"))
        outcome["the killed one is gone"] = victim not in encoders()
        clients.more(20)
    until("one encoder", lambda: running("Encoder") == 1, lambda: running("Encoder"))
    return outcome


def upgraded(cluster: Cluster) -> dict[str, Any]:
    """The next version in the place of the one that scaled, under load; its six encoders spread over two nodes."""
    outcome: dict[str, Any] = {"versions": [ask(TEXTS[0])["version"]]}
    size = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
    cluster.add_node(wait=False, node_ip_address="127.0.0.1", **size, **agent_ports(28_780))
    until("the second node", lambda: len(alive()) == 2, alive)
    encoder = Deployment("Encoder", 6, max_ongoing_requests=1, ray_actor_options=CPU)
    with load(4, outcome) as clients:
        deploy(application(STAND_IN, encoder, work_s=WORK_S, version="v2"))
        until("an answer of the new version", lambda: ask(TEXTS[0])["version"] == "v2")
        clients.more(20)
    outcome["versions"].append(ask(TEXTS[0])["version"])
    return outcome


def latencies(per_s: float, count: int = 200) -> list[float]:
    """Seconds of each of so many requests at an even rate, each from its own time on."""
    started = time.monotonic() + 0.5

    def timed(i: int) -> float:
        time.sleep(max(0.0, started + i / per_s - time.monotonic()))
        sent = time.monotonic()
        ask(TEXTS[0])
        return time.monotonic() - sent

    with ThreadPoolExecutor(64) as pool:
        return sorted(pool.map(timed, range(count)))


def slow_stages() -> dict[str, Any]:
    """Preprocessor and classifier wait for many requests at once; each of six encoders takes one after the other."""
    figures = {}
    for per_s in RATES:
        latencies(per_s, 20)
        times = latencies(per_s)
        figures[str(per_s)] = {"p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)]}
    return figures


def tuned() -> dict[str, Any]:
    """Settings of an HPA tried by workers on both nodes, and by this process alone."""
    register_ray()  # type: ignore[no-untyped-call]
    metric = hpa.External("in_flight", hpa.AverageValue(3))
    scaler = hpa.HorizontalPodAutoscaler("bert", ObjectReference("Deployment", "bert"), 8, 2, (metric,))
    counts = tuple(60 if 12 <= i < 36 else 5 for i in range(60))
    trial = tune.Trial(scaler, counts, 10.0, loop.Service(2.0, 4, activator=True), (MEASURES["in-flight"][1],))
    settings = tune.around(scaler).settings(100)
    with joblib.parallel_config(backend="ray"):
        workers, on_ray = joblib.effective_n_jobs(-1), tune.tune(trial, settings)
    return {"workers": workers, "on Ray": on_ray, "alone": tune.tune(trial, settings, jobs=1)}


def node_lost(cluster: Cluster) -> dict[str, Any]:
    """Under load the second node is taken away, and its encoders come back on the first."""
    (second,) = cluster.worker_nodes
    head = ray.get_runtime_context().get_node_id()
    outcome: dict[str, Any] = {"encoders by node": sorted(Counter(homes()).values())}
    with load(6, outcome) as clients:
        clients.more(20)
        cluster.remove_node(second, allow_graceful=False)
        until("six encoders on the first node", lambda: running("Encoder") == 6 and set(homes()) == {head}, homes)
        clients.more(20)
    return outcome


def encoders() -> dict[str, str]:
    return actors("Encoder")


def actors(deployment: str, app: str = "bert") -> dict[str, str]:
    """Names of a deployment's replica actors, and their namespaces."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"]: actor["namespace"] for actor in named if f"{app}#{deployment}#" in actor["name"]}


def homes() -> list[str]:
    """The node of each encoder."""
    actors = [ray.get_actor(name, namespace) for name, namespace in encoders().items()]
    return [ray._private.state.actors(actor._actor_id.hex())["Address"]["NodeID"] for actor in actors]


def alive() -> list[str]:
    """The nodes that Ray counts as alive."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def agent_ports(first: int) -> dict[str, int]:
    """Ports of a node's agents; Ray aborts where an agent has not chosen its own within 15 seconds."""
    return {name: first + i for i, name in enumerate(AGENT_PORTS)}


def loopback_up() -> None:
    """A new network namespace has its loopback down; this is `ip link set lo up`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main() -> None:
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        sys.exit("to be run in a network namespace that has only loopback: unshare -n")
    loopback_up()
    cluster = Cluster()
    head = {"num_cpus": 4, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster.add_node(wait=False, node_ip_address="127.0.0.1", **head, **agent_ports(28_770))
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    setattr(api, "HTTP_PROXY_TIMEOUT", HANG_S)  # noqa: B010 - it has no other setting
    serve.start(
        http_options={"host": "127.0.0.1", "port": PORT},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    try:
        seen: dict[str, Any] = {}
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "one_by_one": one_by_one,
            "refused": refused,
            "streamed": streamed,
            "batches": batches,
            "reconfigured": reconfigured,
            "healed": healed,
            "autoscaling": autoscaling,
            "upgraded": lambda: upgraded(cluster),
            "slow_stages": slow_stages,
            "tuned": tuned,
            "node_lost": lambda: node_lost(cluster),
        }
        for name, part in parts.items():
            started = time.monotonic()
            seen[name] = part()
            print(f"{name} {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
