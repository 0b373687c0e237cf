"""The endpoint picker: which replica of an LLM gets a request; and simpler pickers to compare it with."""

from mlinfra.kserve.picker.config import EndpointPickerConfig, PrefillDecider, kserve_default
from mlinfra.kserve.picker.endpoint import InferenceRequest, MetricsCache, PoolEndpoint, ServerMetrics
from mlinfra.kserve.picker.epp import EndpointPicker, SchedulingResult
from mlinfra.kserve.picker.prefix import PrefixIndex, block_hashes
from mlinfra.kserve.picker.profile import PickExplanation, PickFailed, SchedulingProfile, WeightedScorer
from mlinfra.kserve.picker.router import PickerRouter
from mlinfra.kserve.picker.saturation import ConcurrencyDetector, UtilizationDetector, admitted
from mlinfra.kserve.picker.simple import Picker, at_random, least_requests, round_robin, two_choices

__all__ = [
    "ConcurrencyDetector",
    "EndpointPicker",
    "EndpointPickerConfig",
    "InferenceRequest",
    "MetricsCache",
    "PickExplanation",
    "PickFailed",
    "Picker",
    "PickerRouter",
    "PoolEndpoint",
    "PrefillDecider",
    "PrefixIndex",
    "SchedulingProfile",
    "SchedulingResult",
    "ServerMetrics",
    "UtilizationDetector",
    "WeightedScorer",
    "admitted",
    "at_random",
    "block_hashes",
    "kserve_default",
    "least_requests",
    "round_robin",
    "two_choices",
]
