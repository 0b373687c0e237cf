"""KServe: InferenceService and LLMInferenceService, what the controller makes of them, a canary, LLM routing."""

from mlinfra.kserve.canary import CanaryRollout
from mlinfra.kserve.llm_service import LLMInferenceService, LLMWorkload
from mlinfra.kserve.service import Canary, Container, InferenceService, Model, Predictor, Transformer

__all__ = [
    "Canary",
    "CanaryRollout",
    "Container",
    "InferenceService",
    "LLMInferenceService",
    "LLMWorkload",
    "Model",
    "Predictor",
    "Transformer",
]
