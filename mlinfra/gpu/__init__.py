"""GPU scheduling: a cluster and the scheduler that decides as kube-scheduler does, quota, and parts of GPUs."""

from mlinfra.gpu.affinity import Taint, Toleration
from mlinfra.gpu.mig import MIGPartitioner
from mlinfra.gpu.nodes import GPUNode
from mlinfra.gpu.pods import GPURequest, PriorityClass
from mlinfra.gpu.scheduler import GPUScheduler

__all__ = ["GPUNode", "GPURequest", "GPUScheduler", "MIGPartitioner", "PriorityClass", "Taint", "Toleration"]
