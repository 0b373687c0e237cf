"""What goes into a run of a fleet, and what comes out: pods that arrive; waits, bill and utilization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from mlinfra.admission import NotNegative, check
from mlinfra.admission.rules import a
from mlinfra.gpu.nodes.autoscaler import Machine
from mlinfra.gpu.nodes.drain import OF_A_JOB, PodTraits
from mlinfra.gpu.nodes.pool import NodePool
from mlinfra.gpu.pods import GPURequest
from mlinfra.simulation import Simulation


@dataclass(frozen=True)
class PodArrival:
    """A pod, or a gang, that arrives and wants to run so long; `traits` say whether it may be moved.

    Its node pulls the image first, unless that is one which every node has, such as that of a pause pod.
    """

    at_s: NotNegative
    request: Annotated[GPURequest, a(GPURequest)]
    runs_s: NotNegative
    traits: PodTraits = OF_A_JOB
    pulls_image: bool = True

    def __post_init__(self) -> None:
        check(self)


class FleetMoment(NamedTuple):
    """The fleet from this time on: machines that are paid for, GPUs that are there and used, requests that wait."""

    at_s: float
    nodes: int
    gpus: int
    used_gpus: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class FleetSimulation(Simulation):
    """A run: how long each request waited until it first ran (`latencies_s`), and what the fleet did and cost.

    `restarts` counts requests that had to start again, `lost_gpu_s` the GPU seconds which that threw away.
    """

    waits_s: Mapping[str, float]
    finished: Mapping[str, float]
    machines: Sequence[tuple[Machine, float]]  # with the time when it is gone
    timeline: Sequence[FleetMoment]
    pools: Mapping[str, NodePool]
    until_s: float
    restarts: int = 0
    lost_gpu_s: float = 0.0
    passes: int = 0

    @property
    def node_hours(self) -> dict[str, float]:
        """Hours of nodes by pool, from the request for a node until it is gone."""
        seconds = dict.fromkeys(self.pools, 0.0)
        for machine, gone_s in self.machines:
            seconds[machine.pool] += gone_s - machine.created_s
        return {name: of_pool_s / 3600 for name, of_pool_s in seconds.items()}

    @property
    def bill(self) -> dict[str, float]:
        """Dollars by pool."""
        return {name: hours * self.pools[name].price_per_hour for name, hours in self.node_hours.items()}

    @property
    def dollars(self) -> float:
        return sum(self.bill.values())

    @property
    def gpu_hours(self) -> float:
        """Hours of GPUs that could be used."""
        return self._integral("gpus")

    @property
    def used_gpu_hours(self) -> float:
        """Hours of GPUs that pods held."""
        return self._integral("used_gpus")

    @property
    def utilization(self) -> float:
        """The share of the GPU hours that pods held."""
        return self.used_gpu_hours / self.gpu_hours if self.gpu_hours else 0.0

    def _integral(self, name: str) -> float:
        ends = [*(moment.at_s for moment in self.timeline[1:]), self.until_s]
        hours = (getattr(moment, name) * (end - moment.at_s) for moment, end in zip(self.timeline, ends, strict=True))
        return float(sum(hours) / 3600)
