"""GPU scheduling: a cluster and the scheduler that decides as kube-scheduler does, quota, and parts of GPUs."""

from mlinfra.gpu.cluster import GPUNode, GPURequest, PriorityClass, Taint, Toleration
from mlinfra.gpu.mig import MIGPartitioner
from mlinfra.gpu.scheduler import GPUScheduler

__all__ = ["GPUNode", "GPURequest", "GPUScheduler", "MIGPartitioner", "PriorityClass", "Taint", "Toleration"]
