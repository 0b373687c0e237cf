"""Production ML infrastructure on Kubernetes, taught by simulators that decide as the real controllers do."""

from mlinfra.admission import ApiWarning, Invalid, Problem, validate

__all__ = ["ApiWarning", "Invalid", "Problem", "validate"]
__version__ = "0.1.0"
