"""A canary that decides: the sequential test, the rollout in stages of traffic, and made-up traffic to try it on."""

from mlinfra.kserve.canary.rollout import PROMOTED, ROLLED_BACK, CanaryDecision, CanaryRollout, Progress
from mlinfra.kserve.canary.sequential import (
    LOOKS,
    Counts,
    Evidence,
    boundary,
    canary_share,
    effective_sample,
    evidence,
    exact_sample_size,
    largest_sample,
    sample_size,
    stage_evidence,
)
from mlinfra.kserve.canary.traffic import Traffic, trial

__all__ = [
    "LOOKS",
    "PROMOTED",
    "ROLLED_BACK",
    "CanaryDecision",
    "CanaryRollout",
    "Counts",
    "Evidence",
    "Progress",
    "Traffic",
    "boundary",
    "canary_share",
    "effective_sample",
    "evidence",
    "exact_sample_size",
    "largest_sample",
    "sample_size",
    "stage_evidence",
    "trial",
]
