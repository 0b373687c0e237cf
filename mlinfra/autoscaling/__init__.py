"""Autoscalers, each deciding as its upstream controller does, and the closed loop that compares them."""

from mlinfra.autoscaling.hpa import HorizontalPodAutoscaler
from mlinfra.autoscaling.vpa import VerticalPodAutoscaler

__all__ = ["HorizontalPodAutoscaler", "VerticalPodAutoscaler"]
