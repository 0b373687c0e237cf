"""Autoscalers, each deciding as its upstream controller does."""
