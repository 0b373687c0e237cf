"""Nodes: what one offers (`node`), the pools they come from (`pool`), and the autoscaler that adds and removes them."""

from mlinfra.gpu.nodes.node import COUNT, GPU, HOSTNAME, MEMORY, PRODUCT, Amount, Amounts, GPUNode, Name

__all__ = ["COUNT", "GPU", "HOSTNAME", "MEMORY", "PRODUCT", "Amount", "Amounts", "GPUNode", "Name"]
