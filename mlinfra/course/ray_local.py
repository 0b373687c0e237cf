"""A Ray Serve application in this process: Ray's local testing mode, with HTTP and batches.

Local testing mode makes one replica of each deployment, a thread with an event loop, and opens no port. FastAPI's
routes and `@serve.batch` ask for the context of a replica, which the mode does not set (ray 2.60.0), so it is set here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from ray import serve
from ray.serve import Application, context
from ray.serve._private.common import ReplicaID
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ReplicaRank

from mlinfra.study import quiet

URL = "http://127.0.0.1:8000"
RANK = ReplicaRank(rank=0, node_rank=0, local_rank=0)


@dataclass(frozen=True)
class LocalApplication:
    """The ingress's handle, an HTTP client for its routes, and the replicas by the name of their deployment."""

    handle: DeploymentHandle[Any]
    http: httpx.AsyncClient
    replicas: dict[str, Any]

    def reconfigure(self, name: str, user_config: dict[str, Any]) -> None:
        """A deployment's new `user_config`, as Serve hands it to each running replica."""
        self.replicas[name].reconfigure(user_config)


@cache
def run(app: Application) -> LocalApplication:
    """The application with one replica of each deployment; the same replicas when it is run again."""
    handle = start(app)
    ingress, *_ = wrappers = _wrappers(handle)
    _set_context(ingress)
    http = httpx.AsyncClient(transport=httpx.ASGITransport(ingress._callable.app), base_url=URL)
    return LocalApplication(handle, http, {each._deployment_id.name: each._callable for each in wrappers})


def start(app: Application) -> DeploymentHandle[Any]:
    """The handle of the ingress, once every replica has its `user_config`; the mode itself does not wait for that."""
    with quiet():
        handle = serve.run(app, _local_testing_mode=True)
        for wrapper in _wrappers(handle):
            wrapper.call_reconfigure(wrapper._deployment_config.user_config, rank=RANK).result()
    return handle


def _wrappers(handle: DeploymentHandle[Any]) -> list[Any]:
    """What holds the replicas of the ingress and of those whose handles it got."""
    ingress = _wrapper(handle)
    return [ingress, *(_wrapper(called) for called in ingress._init_args if isinstance(called, DeploymentHandle))]


def _wrapper(handle: DeploymentHandle[Any]) -> Any:
    if not handle.is_initialized:
        handle._init()  # type: ignore[no-untyped-call]
    return handle._router._user_callable_wrapper  # type: ignore[union-attr]


def _set_context(ingress: Any) -> None:
    """One context for all replicas of the process; its limit is high, because the mode has none."""
    context._set_internal_replica_context(
        replica_id=ReplicaID("local", ingress._deployment_id),
        servable_object=ingress._callable,
        _deployment_config=ingress._deployment_config.model_copy(update={"max_ongoing_requests": 1_000}),
        rank=RANK,
        world_size=1,
    )
