"""GPU scheduling: a cluster and the scheduler that decides as kube-scheduler does, preemption, quota."""

from mlinfra.gpu.cluster import GPUNode, GPURequest, PriorityClass, Taint, Toleration
from mlinfra.gpu.scheduler import GPUScheduler

__all__ = ["GPUNode", "GPURequest", "GPUScheduler", "PriorityClass", "Taint", "Toleration"]
