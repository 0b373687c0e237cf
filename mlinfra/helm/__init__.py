"""Helm: a chart that lints, renders and validates, what an upgrade does, and the bill."""

from mlinfra.helm.chart import Chart

__all__ = ["Chart"]
