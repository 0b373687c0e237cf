"""KServe: the InferenceService, what its controller makes of it, a canary that decides, and the model server."""

from mlinfra.kserve.canary import CanaryRollout
from mlinfra.kserve.service import Canary, Container, InferenceService, Model, Predictor, Transformer

__all__ = ["Canary", "CanaryRollout", "Container", "InferenceService", "Model", "Predictor", "Transformer"]
